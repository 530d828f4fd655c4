"""What is said before TLS: STARTTLS of SMTP (RFC 3207), IMAP (RFC 9051 §6.2.1), POP3 (RFC 2595 §4).

Only as far as needed to see a certificate. What servers send is bounded; the caller bounds the
time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re

from sslmd.core.names import shown
from sslmd.core.plain import plain
from sslmd.core.seen import AtPort
from sslmd.core.starttls import STARTTLS_PORTS, ProbeWord
from sslmd.net.probe_messages import MOST_PHRASE, LookEnd

# Bytes of a line, and lines of an answer. RFC 5321 §4.5.3.1.5 has 512, IMAP more.
MOST_LINE = 4 << 10
MOST_LINES = 64

# The part of the time in which a port nobody knows may greet; where TLS comes first, the client
# speaks first.
GREETING = 0.2

# HTTPS, submissions (RFC 8314), LDAPS, DNS and XMPP and SIP over TLS, imaps, pop3s.
_TLS_PORTS = frozenset({443, 465, 636, 853, 993, 995, 5061, 5223, 8443})
_GREETINGS = {b"220": ProbeWord.SMTP, b"* OK": ProbeWord.IMAP, b"+OK": ProbeWord.POP3}
_REPLY = re.compile(rb"([2-5]\d\d)([ -]|$)(.*)", re.DOTALL)
_FAREWELLS = {
    ProbeWord.SMTP: b"QUIT\r\n",
    ProbeWord.IMAP: b"b LOGOUT\r\n",
    ProbeWord.POP3: b"QUIT\r\n",
}


class NoTlsError(Exception):
    """What is wrong with a server's talk."""

    def __init__(self, code: AtPort, said: str = "", number: int | None = None) -> None:
        super().__init__(code, said)
        self.met = LookEnd(code, plain(said, MOST_PHRASE), number)


class Talk:
    """A conversation in lines with a server that was just connected to.

    Everything raises `NoTlsError` for what is not the protocol, and OSError.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unread: bytes | None = None

    async def word(self, port: int, seconds: float) -> ProbeWord:
        """Find out how TLS is begun here: by the port, else by whether there is a greeting.

        `seconds` is the time for everything; a part of it is waited for a greeting.
        """
        if port in STARTTLS_PORTS:
            return STARTTLS_PORTS[port]
        if port in _TLS_PORTS:
            return ProbeWord.TLS
        try:
            async with asyncio.timeout(seconds * GREETING):
                self._unread = await self._line()
        except TimeoutError:
            return ProbeWord.TLS
        for begin, word in _GREETINGS.items():
            if self._unread.startswith(begin):
                return word
        raise NoTlsError(AtPort.GREETS_ODDLY, _said(self._unread))

    async def start(self, word: ProbeWord) -> None:
        """Come to where the handshake begins."""
        if word is ProbeWord.SMTP:
            await self._smtp()
        elif word is ProbeWord.IMAP:
            await self._imap()
        elif word is ProbeWord.POP3:
            await self._pop3()

    async def _smtp(self) -> None:
        await self._expect(b"220", AtPort.GREETS)
        self._send(f"EHLO {self._literal()}")
        offers = await self._expect(b"250", AtPort.ANSWERS_EHLO)
        # RFC 5321 §4.1.1.1: one keyword a line, with parameters, in any case.
        if not any(line.upper().split()[:1] == [b"STARTTLS"] for line in offers[1:]):
            raise NoTlsError(AtPort.NO_STARTTLS)
        self._send("STARTTLS")
        await self._expect(b"220", AtPort.REFUSES_STARTTLS)

    async def _expect(self, code: bytes, otherwise: AtPort) -> list[bytes]:
        """Read a reply of SMTP (RFC 5321 §4.2.1); return its lines without their code."""
        lines = []
        for _ in range(MOST_LINES):
            line = await self._line()
            match = _REPLY.fullmatch(line)
            if match is None or match[1] != code:
                raise NoTlsError(otherwise, _said(line))
            lines.append(match[3])
            if match[2] != b"-":
                return lines
        raise NoTlsError(AtPort.ENDLESS_REPLY)

    async def _imap(self) -> None:
        line = await self._line()
        if not line.upper().startswith(b"* OK"):
            # Who is greeted with PREAUTH cannot have TLS any more.
            raise NoTlsError(AtPort.GREETS, _said(line))
        self._send("a STARTTLS")
        for _ in range(MOST_LINES):
            line = await self._line()
            if line.startswith(b"a "):
                if line.upper().startswith(b"A OK"):
                    return
                raise NoTlsError(AtPort.REFUSES_STARTTLS, _said(line))
            if not line.startswith(b"* "):
                raise NoTlsError(AtPort.ANSWERS_STARTTLS, _said(line))
        raise NoTlsError(AtPort.ENDLESS_REPLY)

    async def _pop3(self) -> None:
        line = await self._line()
        if not line.startswith(b"+OK"):
            raise NoTlsError(AtPort.GREETS, _said(line))
        self._send("STLS")
        line = await self._line()
        if not line.startswith(b"+OK"):
            raise NoTlsError(AtPort.REFUSES_STLS, _said(line))

    def _literal(self) -> str:
        """Return our address, which stands for a name that nobody has to look up.

        RFC 5321 §4.1.3.
        """
        own = ipaddress.ip_address(str(self._writer.get_extra_info("sockname")[0]).split("%")[0])
        return f"[IPv6:{own}]" if own.version == 6 else f"[{own}]"

    def _send(self, line: str) -> None:
        self._writer.write(line.encode("ascii") + b"\r\n")

    async def _line(self) -> bytes:
        """Return the next line without its end."""
        if self._unread is not None:
            line, self._unread = self._unread, None
            return line
        try:
            return (await self._reader.readuntil(b"\n")).rstrip(b"\r\n")
        except asyncio.IncompleteReadError as err:
            said = _said(err.partial) if err.partial else ""
            raise NoTlsError(AtPort.CLOSES, said) from None
        except asyncio.LimitOverrunError:
            raise NoTlsError(AtPort.LONG_LINE, number=MOST_LINE) from None


def farewell(word: ProbeWord) -> bytes:
    """Return what a client says before it goes, "" where nothing is known to be right."""
    return _FAREWELLS.get(word, b"")


def _said(line: bytes) -> str:
    return shown(line.decode("utf-8", "replace").strip())
