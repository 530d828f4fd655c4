"""What a port serves: looked at as a client connects, and compared with what it should (I4).

Nothing is verified here: a chain that nobody trusts, small keys and old versions of TLS must not
keep us from seeing what is there. What servers send is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from sslmd.config.model import Probe, ProbeWord
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import shown
from sslmd.core.plain import clock
from sslmd.core.reason import Reason, Said
from sslmd.core.spec import CertFacts
from sslmd.pki.inspect import cert_facts
from sslmd.servers.handshake import ANY, KINDS, OLD, HandshakeError, handshake, system_words
from sslmd.servers.starttls import MOST_LINE, NoTlsError, Talk

# For one look, with all its handshakes.
TIMEOUT = 10.0  # seconds

# Seconds between two looks at a port that does not serve yet what it should: at first, the factor
# by which they grow, and at most.
FIRST_PAUSE, SLOWER, LONGEST_PAUSE = 0.2, 1.5, 2.0

# Seconds after which a port that serves another certificate of ours is believed to be that one's:
# a server that reloads serves the old for a moment.
BELIEVED = 3.0

_TOLD = 4  # addresses that one message tells of
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Reach(StrEnum):
    """How far a connection came. No route: not from this machine, whatever is there."""

    CONNECTED = "connected"
    REFUSED = "refused"
    NO_ROUTE = "no route"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Served:
    """What was seen at one port of one address.

    `chain` is what the server sent, as DER, its own certificate first; () if there was none, and
    then `problem` says why, in a phrase that goes on after "it". `cut_short`: there was less time
    than a look may take, so that this says little.
    """

    address: str
    port: int
    chain: tuple[bytes, ...] = ()
    problem: str = ""
    reach: Reach = Reach.CONNECTED
    cut_short: bool = False

    @property
    def reached(self) -> bool:
        """Whether a connection was made."""
        return self.reach is Reach.CONNECTED

    @property
    def leaf(self) -> bytes | None:
        """The server's own certificate."""
        return self.chain[0] if self.chain else None

    def __str__(self) -> str:
        """Where, and what: for people."""
        what = f"serves {described(self.chain[0])}" if self.chain else self.problem
        return f"{self.address} port {self.port} {what}"


def facts_of(der: bytes) -> CertFacts | None:
    """Return what a certificate says, None if it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers that no certificate should have
            return cert_facts(ssl.DER_cert_to_PEM_cert(der).encode("ascii"))
    except Permanent:
        return None


def described(der: bytes) -> str:
    """Return a certificate in a phrase: serial, names, until when."""
    facts = facts_of(der)
    if facts is None:
        return "a damaged certificate"
    names = shown(", ".join(facts.names) or facts.subject, 100)
    return f"serial {facts.serial} for {names}, valid until {clock(facts.not_after)}"


# --- one look -------------------------------------------------------------------------------


async def served_at(
    address: str,
    port: int,
    word: ProbeWord | None,
    name: str,
    key_kind: str = "",
    *,
    seconds: float = TIMEOUT,
) -> Served:
    """Connect up to three times, and return what is served; never raises for what is there.

    `word` None: how TLS is begun is found out. `name` is sent as SNI (RFC 6066 §3), unless it is
    an address or "". `key_kind` as `describe_key` tells it: a certificate with a key of that kind
    is asked for first (by TLS 1.2 alone), and any if there is none.
    """
    seen = _Attempt(address, port, seconds)
    kind = KINDS.get(key_kind.partition(" ")[0])
    try:
        async with asyncio.timeout(seconds):
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
        what = "come to a handshake" if seen.reach is Reach.CONNECTED else "take a connection"
        return replace(
            seen.nothing(f"does not {what} within {seconds:.2g} s"), cut_short=seconds < TIMEOUT
        )
    except (HandshakeError, NoTlsError) as err:
        return seen.nothing(str(err))
    except OSError as err:
        return seen.nothing(f"breaks off: {system_words(err)}")


@dataclass(slots=True)
class _Attempt:
    """How far a look has come, which may take `seconds`."""

    address: str
    port: int
    seconds: float
    reach: Reach = Reach.UNANSWERED

    def nothing(self, problem: str) -> Served:
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
        return seen.nothing(f"cannot be connected to: {system_words(err)}")
    except (OSError, ValueError) as err:
        if isinstance(err, OSError) and err.errno in _NO_ROUTE:
            seen.reach = Reach.NO_ROUTE
        elif isinstance(err, ConnectionRefusedError):
            seen.reach = Reach.REFUSED
        return seen.nothing(f"cannot be connected to: {system_words(err)}")
    seen.reach = Reach.CONNECTED
    try:
        talk = Talk(reader, writer)
        word = word or await talk.word(seen.port, seen.seconds)
        await talk.start(word)
        chain = await handshake(reader, writer, word, name, ciphers)
        return Served(seen.address, seen.port, chain)
    finally:
        # Nothing is waited for any more; the few bytes of a farewell are with the kernel.
        writer.transport.abort()


# --- looking until it is proven -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProbedHost:
    """A host with its addresses. `own`: it is this machine."""

    host: str
    addresses: tuple[str, ...]
    own: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to be seen: the certificate `leaf` (DER), asked for with `name` as SNI.

    `path` is where servers read it, for the message.
    """

    leaf: bytes
    name: str
    key_kind: str
    path: str


def no_other(_: Served) -> str:
    """No certificate of ours is known."""
    return ""


async def prove(
    place: ProbedHost,
    probe: Probe,
    proof: Expected,
    seconds: float,
    *,
    turn: asyncio.Semaphore | None = None,
    other: Callable[[Served], str] = no_other,
) -> str:
    """Look at every address of a port until each of them serves the certificate; return "".

    An address that there is no route to does not count where another one serves something, and
    neither does one of this machine's own that refuses: servers need not listen on all. If those
    that serve the wrong certificate go on serving `other` ones of ours, as it names them, they are
    not this one's ports: that is returned, as a remark. `turn` bounds the looks at a time. Raises
    `Transient` after `seconds`, saying what is there instead.
    """
    if not place.addresses:
        raise Transient(Reason(Failed.HOST_NO_ADDRESS, host=place.host))
    loop = asyncio.get_running_loop()
    turn = turn or asyncio.Semaphore(len(place.addresses))
    begin = loop.time()
    pause = FIRST_PAUSE
    before: dict[str, Served] = {}
    while True:
        seen = await _round(place, probe, proof, begin + seconds, turn)
        seen = [_better(one, before.get(one.address)) for one in seen]
        before = {one.address: one for one in seen}
        wrong = _wrong(seen, place, proof)
        if not wrong:
            return ""
        spent = loop.time() - begin
        is_last = spent + pause >= seconds
        theirs = [other(one) for one in wrong]
        if all(theirs) and (is_last or spent >= BELIEVED):
            return f"port {probe.port} of {place.host} serves {theirs[0]}: not counted"
        if is_last:
            raise Transient(
                Reason(
                    Failed.NOT_SERVED,
                    host=place.host,
                    name=proof.name or None,
                    seconds=float(seconds),
                    seen=tuple(Said(one) for one in wrong[:_TOLD]),
                    more=max(len(wrong) - _TOLD, 0),
                    path=proof.path,
                )
            )
        await asyncio.sleep(pause)
        pause = min(pause * SLOWER, LONGEST_PAUSE)


async def missing_at(
    place: ProbedHost, probe: Probe, proof: Expected, seconds: float, *, turn: asyncio.Semaphore
) -> list[Served]:
    """Look at every address of a port; return what is there instead of the certificate.

    () where each address serves it, counted as `prove` does. Where TLS is spoken it is waited for
    up to `seconds`: a server that reloads serves the old one for a moment.
    """
    loop = asyncio.get_running_loop()
    begin, pause = loop.time(), FIRST_PAUSE
    while True:
        seen = await _round(place, probe, proof, loop.time() + TIMEOUT, turn)
        wrong = _wrong(seen, place, proof)
        speaks = any(one.chain for one in wrong)
        if not wrong or not speaks or loop.time() - begin + pause >= seconds:
            return wrong
        await asyncio.sleep(pause)
        pause = min(pause * SLOWER, LONGEST_PAUSE)


def told_of(seen: Sequence[Served]) -> str:
    """Return what was seen at some addresses, the first few of them."""
    told = "; ".join(map(str, seen[:_TOLD]))
    return told if len(seen) <= _TOLD else f"{told}; and {len(seen) - _TOLD} more"


async def _round(
    place: ProbedHost, probe: Probe, proof: Expected, end: float, turn: asyncio.Semaphore
) -> list[Served]:
    async def one(address: str) -> Served:
        async with turn:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                text = "was not looked at, others took all the time"
                return Served(address, probe.port, (), text, Reach.UNANSWERED, cut_short=True)
            seconds = min(TIMEOUT, left)
            return await served_at(
                address, probe.port, probe.word, proof.name, proof.key_kind, seconds=seconds
            )

    return await asyncio.gather(*map(one, place.addresses))


def _wrong(seen: Sequence[Served], place: ProbedHost, proof: Expected) -> list[Served]:
    """Return what keeps the proof from being one."""
    if any(one.chain for one in seen):
        excused = {Reach.NO_ROUTE, Reach.REFUSED} if place.own else {Reach.NO_ROUTE}
        seen = [one for one in seen if one.reach not in excused]
    return [one for one in seen if one.leaf != proof.leaf]


def _better(now: Served, before: Served | None) -> Served:
    """Return what tells more of an address: a last look may have had hardly any time."""
    return before if now.cut_short and before is not None and before.chain else now
