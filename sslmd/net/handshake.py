"""A handshake of TLS with anybody: the chain that a server sends, at a bounded cost.

Who chooses the parameters chooses what they cost: with a Diffie-Hellman group of 10,000 bits, a
client calculates for seconds. So elliptic curves and RSA are offered first, as browsers do; a
server that has neither, an old one, is asked again with finite fields (TLS 1.2 and below), and its
group is measured before anything is done with it. All calculations are done in threads, OpenSSL
gives the interpreter free meanwhile, and the bytes of a handshake are counted.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from sslmd.core.names import shown
from sslmd.core.plain import plain
from sslmd.core.seen import AtPort
from sslmd.core.starttls import ProbeWord
from sslmd.net.probe_messages import MOST_PHRASE, LookEnd
from sslmd.net.starttls import farewell

T = TypeVar("T")

# Bytes that a server may send until the handshake is done. OpenSSL itself takes chains of 100 KB.
MOST_BYTES = 256 << 10

# Bits of a group of finite-field Diffie-Hellman: twice 0.1 s of calculation. A day of work goes
# into making a longer one, and nobody needs it (RFC 7919 ends here).
MOST_DH_BITS = 8192

# One server may have a certificate of each kind (RFC 8446 §4.4.2.2: the client's algorithms decide
# which). For TLS 1.2 and below the cipher suites name the kind; those of 1.3 do not.
# Without a certificate there would be nothing to see: RFC 4346 §A.5 has suites like that.
ANY = "kECDHE:kRSA:!aNULL"
KINDS = {"ec": "kECDHE+aECDSA", "rsa": "kECDHE+aRSA:kRSA"}
OLD = "kDHE:!aNULL"

_PIECE = 16 << 10  # bytes: a record of TLS (RFC 8446 §5.1)
_THREADS = ThreadPoolExecutor(4, thread_name_prefix="handshakes")

# What a server says that has no cipher suite in common with us (RFC 8446 §6.2).
_NOTHING_IN_COMMON = frozenset(
    {"SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_INSUFFICIENT_SECURITY"}
)


async def in_thread(call: Callable[[], T]) -> T:
    """Calculate what somebody else chose."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call)


class HandshakeError(Exception):
    """There was no handshake, and what was met instead.

    `unsuited`: the server has none of the cipher suites that were offered, it says.
    """

    def __init__(
        self, code: AtPort, said: str = "", number: int | None = None, *, unsuited: bool = False
    ) -> None:
        super().__init__(code, said)
        self.met = LookEnd(code, plain(said, MOST_PHRASE), number)
        self.unsuited = unsuited


async def handshake(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    word: ProbeWord,
    name: str,
    ciphers: str,
) -> tuple[bytes, ...]:
    """Return the chain that a server sends, as DER, its own certificate first.

    `ciphers`: one of those above. Takes leave as `word` wants it. Raises `HandshakeError`; the
    caller bounds the time.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls = _context(ciphers).wrap_bio(incoming, outgoing, server_hostname=_sni(name))
    except (ValueError, TypeError):
        raise HandshakeError(AtPort.NO_NAME, shown(name)) from None
    group = _Group() if ciphers == OLD else None
    received = 0
    while True:
        try:
            await in_thread(tls.do_handshake)
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
        except ssl.SSLError as err:
            writer.write(outgoing.read())
            why = str(err.reason or err).replace("_", " ").lower()
            unsuited = err.reason in _NOTHING_IN_COMMON
            if unsuited and _chain_of(tls):
                # It has shown its certificate, so there was a suite (RFC 5246 §7.4.6: a server that
                # insists on a client's certificate answers with this alert).
                raise HandshakeError(AtPort.WANTS_CLIENT) from None
            raise HandshakeError(AtPort.NO_TLS, why, unsuited=unsuited) from None
        try:
            piece = await reader.read(_PIECE)
        except OSError as err:
            raise HandshakeError(AtPort.HANDSHAKE_BROKEN, system_words(err)) from None
        if not piece:
            raise HandshakeError(AtPort.HANDSHAKE_CLOSED)
        received += len(piece)
        if received > MOST_BYTES:
            raise HandshakeError(AtPort.HANDSHAKE_LONG, number=MOST_BYTES >> 10)
        if group is not None:
            group.measure(piece)
        incoming.write(piece)
    chain = _chain_of(tls)
    if not chain:
        raise HandshakeError(AtPort.SHOWS_NONE)
    with suppress(ssl.SSLError):
        if said := farewell(word):
            tls.write(said)
        tls.unwrap()
    writer.write(outgoing.read())
    return chain


class _Group:
    """Reads along, for the group that a server of TLS 1.2 or below wants to use.

    Handshakes are plain text until the keys are there, and with `OLD` every ServerKeyExchange
    begins with the prime (RFC 5246 §7.4.3).
    """

    _HANDSHAKE, _KEY_EXCHANGE = 22, 12

    def __init__(self) -> None:
        self._records = bytearray()
        self._messages = bytearray()
        self._done = False

    def measure(self, piece: bytes) -> None:
        """Take what was received; raises `HandshakeError` if the group is too long."""
        if self._done:
            return
        self._records += piece
        while len(self._records) >= 5:
            size = 5 + int.from_bytes(self._records[3:5], "big")
            if len(self._records) < size:
                break
            if self._records[0] == self._HANDSHAKE:
                self._messages += self._records[5:size]
            del self._records[:size]
        while len(self._messages) >= 6:
            if self._messages[0] == self._KEY_EXCHANGE:
                self._done = True
                if (bits := int.from_bytes(self._messages[4:6], "big") * 8) > MOST_DH_BITS:
                    raise HandshakeError(AtPort.DH_LONG, number=bits)
                return
            size = 4 + int.from_bytes(self._messages[1:4], "big")
            if len(self._messages) < size:
                break
            del self._messages[:size]


@lru_cache(maxsize=len(KINDS) + 2)
def _context(ciphers: str) -> ssl.SSLContext:
    """Return what takes whatever is offered, within `ciphers`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if ciphers != ANY:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:!eNULL:@SECLEVEL=0")
    return context


def _sni(name: str) -> str | None:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.removesuffix(".") or None
    return None


def _chain_of(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the chain as it was sent: Python has it since 3.13, and before behind the scenes."""
    of: Any = tls
    if hasattr(of, "get_unverified_chain"):
        return tuple(of.get_unverified_chain())
    private: Any = getattr(of, "_sslobj", None)
    if hasattr(private, "get_unverified_chain"):
        encoding = getattr(ssl, "_ssl").ENCODING_DER  # noqa: B009
        return tuple(one.public_bytes(encoding) for one in private.get_unverified_chain() or ())
    with suppress(ValueError):  # amid a handshake
        leaf = tls.getpeercert(binary_form=True)
        return (leaf,) if leaf else ()
    return ()


def system_words(err: OSError | ValueError) -> str:
    """Return why, in the system's words."""
    number = err.errno if isinstance(err, OSError) else None
    return (os.strerror(number) if number and number > 0 else shown(str(err))).lower()
