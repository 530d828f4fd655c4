"""The network process itself, asked by the daemon's end of it while servers answer anything.

Each input is what a server of this process answers. A fault is whatever ends the network process,
is one of its own, takes too long, or is told and not printable.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import ssl
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sslmd.core.starttls import ProbeWord
from sslmd.net import acme_messages as acme
from sslmd.net.acme_messages import PUBLIC_KEY, SIGN, AcmeAccount, AcmeProblem, CaAddress
from sslmd.net.client import Net
from sslmd.net.dns_messages import EXCHANGE, SEND_UPDATE, AskedBy, DnsQuestion, DnsUpdate
from sslmd.net.link import Handlers, NetGone
from sslmd.net.messages import PING, Alive
from sslmd.net.probe_messages import (
    CHALLENGE_LOOK,
    SITE_LOOK,
    TLS_LOOK,
    LedTo,
    LookAtChallenge,
    LookAtPort,
    LookAtSite,
    NotShown,
    Served,
)
from tests.fuzz.network import _answers, _updates
from tests.fuzz.target import Fault, Target
from tests.stand.odd_certs import key, make

HERE = "127.0.0.1"
HOST = "www.example.com"

# Seconds for one answer that an evil server may hold back, and for all that one input takes.
_LOOK, _ALL = 0.3, 30.0


class Subject:
    """A network process, and servers that answer `data`; in a loop and a thread of their own."""

    def __init__(self, command: tuple[str, ...] = ()) -> None:
        self.data = b""
        self.told: list[str] = []
        self._command = command
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._folder = tempfile.TemporaryDirectory(prefix="sslmd-fuzz-")
        self.ports: dict[str, int] = {}
        self.run(self._start())
        atexit.register(self.close)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have it done there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ALL)

    async def _start(self) -> None:
        async def sign(_: acme.AskSignature) -> acme.Signature:
            return acme.Signature("e30", "c2ln")

        async def public_key(_: acme.OfKey) -> acme.PublicKey:
            return acme.PublicKey('{"kty": "EC"}')

        handlers: Handlers = {SIGN: sign, PUBLIC_KEY: public_key}
        self.net = Net(handlers, self.told.append, self._failed, user="nobody")
        self.net._command = self._command or self.net._command
        await self.net.start()
        for name, serve in (
            ("dns", self._dns),
            ("raw", self._raw),
            ("ca", self._ca),
            ("handshake", self._handshake),
        ):
            listening = await asyncio.start_server(_quietly(serve), HERE, 0)
            self.ports[name] = listening.sockets[0].getsockname()[1]
            # What it was given first: a server has as many datagrams as connections.
            if name == "dns":
                await self._loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(HERE, self.ports[name])
                )
        await self.net.call(PING, Alive())
        self.pid = self.net.pid
        self.told.clear()

    def _failed(self, err: BaseException) -> None:
        self.told.append(repr(err))

    def close(self) -> None:
        """End all of it."""
        if self._loop.is_running():
            with suppress(Exception):
                self.run(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        self._folder.cleanup()

    async def _stop(self) -> None:
        await self.net.stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def ask(self, data: bytes, asking: Callable[[], Coroutine[Any, Any, list[str]]]) -> list[str]:
        """Ask while servers answer `data`; return what people are told of it."""
        self.data = data
        try:
            texts: list[str] = self.run(asking())
        except NetGone as err:
            told, self.pid = list(self.told), self.run(self._pid())
            self.told.clear()
            raise Fault(f"the network process: {err} {told}") from None
        if self.net.pid != self.pid or self.told:
            told, self.pid = list(self.told), self.run(self._pid())
            self.told.clear()
            raise Fault(f"the network process ended: {told}")
        return texts

    async def _pid(self) -> int:
        await self.net.call(PING, Alive())
        return self.net.pid

    # --- servers ---

    async def _dns(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length))[:0xFFFF]
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()

    def answer(self, query: bytes) -> bytes:
        """Return the input as an answer that fits the query: its id, and its one question."""
        end = query.index(b"\0", 12) + 5
        flags = bytes([self.data[2:3][0] | 0x80 if len(self.data) > 2 else 0x84])
        head = query[:2] + flags + self.data[3:4].ljust(1, b"\0") + b"\0\1" + self.data[6:12]
        return head.ljust(12, b"\0") + query[12:end] + self.data[end:]

    async def _raw(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.data)
        await writer.drain()
        writer.write_eof()
        await asyncio.sleep(_LOOK)

    async def _ca(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A CA whose directory and nonces are right, and whose other answers are the input."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        method, path = head.split()[:2]
        status, more, body = self._said(path)
        lines = [b"HTTP/1.1 %d x" % status, b"Replay-Nonce: abc", b"Connection: close", *more]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if method == b"head" else body))
        await writer.drain()
        writer.write_eof()
        await asyncio.wait_for(reader.read(), _LOOK)

    def _said(self, path: bytes) -> tuple[int, list[bytes], bytes]:
        if path == b"/nonce":
            return 200, [], b""
        if path == b"/dir":
            names = ("newAccount", "newOrder", "keyChange", "renewalInfo", "revokeCert")
            urls = dict.fromkeys(names, f"{self.base}/evil")
            return 200, [], json.dumps({**urls, "newNonce": f"{self.base}/nonce"}).encode()
        head, _, body = self.data.replace(b"@", self.base.encode()).partition(b"\n\n")
        first, *rest = head.split(b"\n")
        status = int(first) if first.isdigit() and 200 <= int(first[:4]) <= 599 else 200
        return status, [line.replace(b"\r", b"") for line in rest[:20]], body

    @property
    def base(self) -> str:
        """Where the CA is."""
        return f"http://{HERE}:{self.ports['ca']}"

    async def _handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The first flight of TLS 1.2 (RFC 5246 §7.4), with a certificate that nobody parsed."""
        await reader.read(1 << 14)
        hello = b"\3\3" + bytes(range(32)) + b"\0" + b"\0\x9c" + b"\0"
        one = len(self.data).to_bytes(3, "big") + self.data
        chain = len(one).to_bytes(3, "big") + one
        flight = b"".join(
            bytes([kind]) + len(body).to_bytes(3, "big") + body
            for kind, body in ((2, hello), (11, chain), (14, b""))
        )
        for at in range(0, len(flight), 1 << 14):
            piece = flight[at : at + (1 << 14)]
            writer.write(b"\x16\3\3" + struct.pack("!H", len(piece)) + piece)
        await writer.drain()
        await asyncio.wait_for(reader.read(), _LOOK)

    async def serving(self, der: bytes) -> asyncio.Server | None:
        """Serve a certificate by TLS, None where OpenSSL would not."""
        path = Path(self._folder.name) / "served.pem"
        private = key("fuzz").private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        path.write_bytes(private + ssl.DER_cert_to_PEM_cert(der).encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        try:
            context.load_cert_chain(path)
        except ssl.SSLError:
            return None

        async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        return await asyncio.start_server(_quietly(nothing), HERE, 0, ssl=context)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(self._subject.answer(data)[:1232], addr)


def _quietly(serve: Any) -> Any:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    return served


_subject: list[Subject] = []


def subject() -> Subject:
    """Return the one that all targets share."""
    if not _subject:
        _subject.append(Subject())
    return _subject[0]


# --- name servers ---


def _dns(data: bytes) -> Iterable[str]:
    to = subject()
    port = to.ports["dns"]

    async def ask() -> list[str]:
        # By UDP what is no answer is waited for.
        way = AskedBy.TCP if zlib.crc32(data) % 16 else AskedBy.UDP
        name = "_acme-challenge.www.example.com"
        await to.net.call(EXCHANGE, DnsQuestion(HERE, port, name, "TXT", _LOOK, way))
        await to.net.call(SEND_UPDATE, DnsUpdate(HERE, port, _updates()[1], _LOOK))
        return []  # its words are codes

    return to.ask(data, ask)


# --- ports ---


def _served(data: bytes) -> Iterable[str]:
    to = subject()

    async def ask() -> list[str]:
        seen = [await _look(to, to.ports["handshake"])]
        if (server := await to.serving(data)) is not None:
            seen.append(await _look(to, server.sockets[0].getsockname()[1]))
            server.close()
        return [text for one in seen for text in (str(one), one.described)]

    return to.ask(data, ask)


async def _look(to: Subject, port: int, word: ProbeWord | None = ProbeWord.TLS) -> Served:
    return await to.net.call(TLS_LOOK, LookAtPort(HERE, port, word, HOST, "", 5 * _LOOK))


def _certificates() -> list[bytes]:
    own = key("fuzz")
    return [make("fuzz", own=own).der, make("a" * 60, own=own, serial=1).der, make("", own=own).der]


def _greeted(data: bytes) -> Iterable[str]:
    to = subject()

    async def ask() -> list[str]:
        words = (ProbeWord.SMTP, ProbeWord.IMAP, ProbeWord.POP3, ProbeWord.TLS, None)
        word = words[zlib.crc32(data) % len(words)]
        return [str(await _look(to, to.ports["raw"], word))]

    return to.ask(data, ask)


_GREETINGS = [
    b"220 mail.example.com\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n\x16\x03\x03\0\x04\x0e\0\0\0",
    b"* OK ready\r\na OK\r\n\x15\x03\x01\0\x02\x02\x28",
    b"+OK ready\r\n+OK\r\n\x16\x03\x03",
    b"\x16\x03\x03\0\x31\x02\0\0\x2d\x03\x03" + bytes(32) + b"\0\0\x9c\0\0\x05\0\x0a\0\x01\0",
]


# --- web servers ---


def _shown(data: bytes) -> Iterable[str]:
    to = subject()
    port = to.ports["raw"]

    async def ask() -> list[str]:
        url = f"http://{HOST}:{port}/.well-known/acme-challenge/x"
        asked = LookAtChallenge(HOST, HERE, url, "x.y", (HERE,), (80, 443, port), _LOOK, _LOOK)
        seen: Any = await to.net.call(CHALLENGE_LOOK, asked)
        for _ in range(3):
            if not isinstance(seen, LedTo):
                break
            asked = LookAtChallenge(
                HOST, HERE, seen.url, "x.y", (HERE,), (80, 443, port), _LOOK, _LOOK,
                redirects=seen.redirects, led_to=(HERE,),
            )  # fmt: skip
            seen = await to.net.call(CHALLENGE_LOOK, asked)
        urls = (f"http://{HOST}:{port}/", f"http://other.invalid:{port}/")
        await to.net.call(SITE_LOOK, LookAtSite(HERE, urls, _LOOK))
        return [seen.text] if isinstance(seen, NotShown) else []

    return to.ask(data.replace(b"@", str(port).encode()), ask)


_PAGES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 301 x\r\nLocation: http://other.example:@/x\r\n\r\n",
    b"HTTP/1.1 302 x\r\nLocation: //other.example:@/a/\r\n\r\n",
    b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.0 307 x\r\nLocation: y/" + b"y" * 9000 + b"/\r\n\r\n",
]


# --- CAs ---


def _ca(data: bytes) -> Iterable[str]:
    to = subject()

    async def ask() -> list[str]:
        server = CaAddress(f"{to.base}/dir")
        account, evil = AcmeAccount("key", f"{to.base}/evil"), f"{to.base}/evil"
        steps: tuple[tuple[Any, Any], ...] = (
            (acme.DIRECTORY, acme.OfServer(CaAddress(evil), 5.0)),
            (acme.REGISTER, acme.AskAccount(server, AcmeAccount("key"), binding_kid="kid")),
            (acme.ACCOUNT, acme.ChangeAccount(server, account, ("mailto:a@b",))),
            (acme.KEY_CHANGE, acme.ChangeKey(server, account, "new")),
            (acme.NEW_ORDER, acme.AskOrder(server, account, (HOST,))),
            (acme.ORDER, acme.OfOrder(server, account, evil)),
            (acme.AUTHORIZATIONS, acme.OfAuthorizations(server, account, (evil,) * 3)),
            (acme.OFFER, acme.Offer(server, account, (evil,), (evil,), _LOOK / 3)),
            (acme.FINALIZE, acme.Finalize(server, account, evil, b"csr", _LOOK / 3)),
            (acme.CERTIFICATE, acme.Fetch(server, account, evil, alternates=True)),
            (acme.RENEWAL_INFO, acme.OfCertificate(server, "a.b")),
        )
        found = await to.net.call(*steps[zlib.crc32(data) % len(steps)])
        if not isinstance(found, AcmeProblem):
            return []
        return [
            found.title,
            found.detail,
            found.instance,
            *(one.detail for one in found.subproblems),
        ]

    return to.ask(data, ask)


_ORDER = (
    b'{"status":"pending","identifiers":[{"type":"dns","value":"www.example.com"}],'
    b'"authorizations":["@/evil"],"finalize":"@/evil","certificate":"@/evil"}'
)
_SAID = [
    b"201\nLocation: @/evil\nRetry-After: 1\n\n" + _ORDER,
    b"200\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\n\n" + _ORDER.replace(b"pending", b"valid"),
    b'200\n\n{"status":"pending","identifier":{"type":"dns","value":"a"},"wildcard":true,"challenges":'
    b'[{"type":"dns-01","url":"@/evil","token":"x","status":"invalid","error":{"type":"urn:ietf:'
    b'params:acme:error:dns","detail":"no"}}]}',
    b'403\nContent-Type: application/problem+json\nLink: <@/t>; rel="terms-of-service"\n\n'
    b'{"type":"urn:ietf:params:acme:error:malformed","detail":"no","subproblems":[{"type":"x",'
    b'"detail":"y","identifier":{"type":"dns","value":"a"}}]}',
    b'400\n\n{"type":"urn:ietf:params:acme:error:badNonce","detail":"again"}',
    b'200\nLink: <@/evil>;rel="alternate"\n\n-----BEGIN CERTIFICATE-----\nMAA=\n'
    b"-----END CERTIFICATE-----\n",
    b'200\nRetry-After: 5\n\n{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":'
    b'"9999-12-31T23:59:59Z"},"explanationURL":"https://x.test/"}',
    b"302\nLocation: @/dir\n\n",
    b'201\nLocation: @/evil\n\n{"status":"valid","contact":["mailto:a@b"],"orders":"@/evil"}',
]


_WORDS = (b",", b"\\u0000", b'"', b"[", b"{", b"@", b"\n\n", b"1e999", b"-1", b"null")

TARGETS = (
    Target("process-dns", _dns, _answers, (), (b"\xc0\x0c", b"\x3f", b"\0\x10\0\1", b",")),
    Target("process-served", _served, _certificates, (), (b"\x30\x80", b"\x06\x03\x55\x1d\x11")),
    Target("process-greeting", _greeted, lambda: _GREETINGS, (), (b"220 ", b"250-", b"\x16\3\3")),
    Target("process-shown", _shown, lambda: _PAGES, (), (b"HTTP/1.1 ", b"Location: ", b"//", b",")),
    Target("process-ca", _ca, lambda: _SAID, (), _WORDS),
)
