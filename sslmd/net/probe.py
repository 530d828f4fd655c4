"""What a port serves, looked at as a client connects: how far it came, and the chain.

Nothing is verified here: a chain that nobody trusts, small keys and old versions of TLS must not
keep us from seeing what is there. What servers send is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cryptography import x509

from sslmd.core.errors import Permanent
from sslmd.core.seen import AtPort
from sslmd.core.spec import CertFacts
from sslmd.core.starttls import ProbeWord
from sslmd.net import http_look
from sslmd.net.handshake import (
    ANY,
    KINDS,
    OLD,
    HandshakeError,
    handshake,
    in_thread,
    system_words,
)
from sslmd.net.link import Handlers
from sslmd.net.probe_messages import (
    CHALLENGE_LOOK,
    SITE_LOOK,
    TIMEOUT,
    TLS_LOOK,
    LookAtPort,
    LookEnd,
    Reach,
    Served,
)
from sslmd.net.starttls import MOST_LINE, NoTlsError, Talk
from sslmd.pki.inspect import cert_facts
from sslmd.pki.pem import MALFORMED, key_der

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def facts_of(der: bytes) -> CertFacts | None:
    """Return what a certificate says, None if it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers that no certificate should have
            return cert_facts(ssl.DER_cert_to_PEM_cert(der).encode("ascii"))
    except Permanent:
        return None


def key_of(der: bytes) -> bytes:
    """Return the public key in a certificate, b"" if it is damaged."""
    with suppress(*MALFORMED), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cert = x509.load_der_x509_certificate(der)
        cert.subject, cert.issuer  # noqa: B018  (names are parsed when they are asked for)
        return key_der(der)
    return b""


async def look(asked: LookAtPort) -> Served:
    """Connect up to three times, and return what is served; never raises for what is there."""
    seen = _Attempt(asked.address, asked.port, asked.seconds)
    kind = KINDS.get(asked.key_kind.partition(" ")[0])
    word, name = asked.word, asked.name
    try:
        async with asyncio.timeout(asked.seconds):
            if kind is not None:
                with suppress(HandshakeError):
                    return await _look(seen, word, name, kind)
            try:
                return await _look(seen, word, name, ANY)
            except HandshakeError as err:
                if not err.unsuited:
                    raise
                return await _old(seen, word, name, err)
    except TimeoutError:
        connected = seen.reach is Reach.CONNECTED
        what = AtPort.HANDSHAKE_LATE if connected else AtPort.CONNECTS_LATE
        late = LookEnd(what, number=float(f"{asked.seconds:.2g}"))
        return replace(seen.nothing(late), cut_short=asked.seconds < TIMEOUT)
    except (HandshakeError, NoTlsError) as err:
        return seen.nothing(err.met)
    except OSError as err:
        return seen.nothing(LookEnd(AtPort.BREAKS_OFF, system_words(err)))


@dataclass(slots=True)
class _Attempt:
    """How far a look has come, which may take `seconds`."""

    address: str
    port: int
    seconds: float
    reach: Reach = Reach.UNANSWERED

    def nothing(self, problem: LookEnd) -> Served:
        return Served(self.address, self.port, (), problem, self.reach)


async def _old(seen: _Attempt, word: ProbeWord | None, name: str, before: HandshakeError) -> Served:
    """Look at a server that knows nothing newer than finite fields; say `before` if it does not."""
    try:
        return await _look(seen, word, name, OLD)
    except HandshakeError as err:
        raise (before if err.unsuited else err) from None


async def _look(seen: _Attempt, word: ProbeWord | None, name: str, ciphers: str) -> Served:
    seen.reach = Reach.UNANSWERED
    try:
        reader, writer = await asyncio.open_connection(seen.address, seen.port, limit=MOST_LINE)
    except TimeoutError as err:  # the system's own: ours comes as CancelledError
        return seen.nothing(LookEnd(AtPort.NOT_CONNECTED, system_words(err)))
    except (OSError, ValueError) as err:
        if isinstance(err, OSError) and err.errno in _NO_ROUTE:
            seen.reach = Reach.NO_ROUTE
        elif isinstance(err, ConnectionRefusedError):
            seen.reach = Reach.REFUSED
        return seen.nothing(LookEnd(AtPort.NOT_CONNECTED, system_words(err)))
    seen.reach = Reach.CONNECTED
    try:
        talk = Talk(reader, writer)
        word = word or await talk.word(seen.port, seen.seconds)
        await talk.start(word)
        chain = await handshake(reader, writer, word, name, ciphers)
        return await in_thread(lambda: _read(seen, chain))
    finally:
        # Nothing is waited for any more; the few bytes of a farewell are with the kernel.
        writer.transport.abort()


def _read(seen: _Attempt, chain: Sequence[bytes]) -> Served:
    keys = tuple(map(key_of, chain))
    return Served(seen.address, seen.port, tuple(chain), keys=keys, facts=facts_of(chain[0]))


def handlers() -> Handlers:
    """Return what does each look."""
    return {
        TLS_LOOK: look,
        CHALLENGE_LOOK: http_look.look,
        SITE_LOOK: http_look.look_at_site,
    }
