"""What a port serves: looked at as a client connects, and compared with what it should (I4).

The network process looks (`net.probe`); here it is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sslmd.config.model import Probe
from sslmd.core.errors import SslmError, Transient
from sslmd.core.failed import Failed, nobody_asked
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.core.starttls import ProbeWord
from sslmd.net.link import Asker, NetGone
from sslmd.net.probe_messages import TIMEOUT, TLS_LOOK, LookAtPort, LookEnd, Reach, Served

# Seconds for the network process to tell that the time of a look is over.
LATE = 5.0

# Seconds between two looks at a port that does not serve yet what it should: at first, the factor
# by which they grow, and at most.
FIRST_PAUSE, SLOWER, LONGEST_PAUSE = 0.2, 1.5, 2.0

# Seconds after which a port that serves another certificate of ours is believed to be that one's:
# a server that reloads serves the old for a moment.
BELIEVED = 3.0

_TOLD = 4  # addresses that one message tells of


class NobodyLooked(Transient):
    """What a port serves is not known: nobody could look, which is no failure of the server's."""


def is_blind(err: BaseException) -> bool:
    """Whether nothing else failed than the look: nobody could look at a port, or ask for a name."""
    if isinstance(err, NobodyLooked):
        return True
    return isinstance(err, SslmError) and nobody_asked(err.reason)


async def served_at(
    net: Asker,
    address: str,
    port: int,
    word: ProbeWord | None,
    name: str,
    key_kind: str = "",
    *,
    seconds: float = TIMEOUT,
) -> Served:
    """Have it looked at (`LookAtPort`); never raises for what is there, nor if nobody can look."""
    try:
        async with asyncio.timeout(seconds + LATE):
            asked = LookAtPort(address, port, word, name, key_kind, seconds)
            return replace(await net.call(TLS_LOOK, asked), address=address, port=port)
    except TimeoutError:
        why = AtPort.NET_SILENT
    except NetGone:
        why = AtPort.NET_GONE
    return Served(address, port, (), LookEnd(why), Reach.NOT_TRIED)


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
    net: Asker,
    place: ProbedHost,
    probe: Probe,
    proof: Expected,
    seconds: float,
    *,
    turn: asyncio.Semaphore | None = None,
    other: Callable[[Served], str] = no_other,
) -> Reason | None:
    """Look at every address of a port until each of them serves the certificate; return None.

    An address that there is no route to does not count where another one serves something, and
    neither does one of this machine's own that refuses: servers need not listen on all. If those
    that serve the wrong certificate go on serving `other` ones of ours, as it names them, they are
    not this one's ports: that is returned, as a remark. `turn` bounds the looks at a time. Raises
    `Transient` after `seconds`, saying what is there instead, and `NobodyLooked` where nothing
    else than a look is missing.
    """
    if not place.addresses:
        raise Transient(Reason(Failed.HOST_NO_ADDRESS, host=place.host))
    loop = asyncio.get_running_loop()
    turn = turn or asyncio.Semaphore(len(place.addresses))
    begin = loop.time()
    pause = FIRST_PAUSE
    before: dict[str, Served] = {}
    while True:
        seen = await _round(net, place, probe, proof, begin + seconds, turn)
        seen = [_better(one, before.get(one.address)) for one in seen]
        before = {one.address: one for one in seen}
        wrong = _wrong(seen, place, proof)
        if not wrong:
            return None
        spent = loop.time() - begin
        is_last = spent + pause >= seconds
        theirs = [other(one) for one in wrong]
        if all(theirs) and (is_last or spent >= BELIEVED):
            what = theirs[0]
            return Reason(AtPort.NOT_COUNTED, port=probe.port, host=place.host, serves=what)
        if is_last and all(one.reach is Reach.NOT_TRIED for one in wrong):
            told = tuple(one.told for one in wrong[:_TOLD])
            more = max(len(wrong) - _TOLD, 0)
            why = Reason(Failed.NOBODY_LOOKED, host=place.host, seen=told, more=more)
            raise NobodyLooked(why)
        if is_last:
            raise Transient(
                Reason(
                    Failed.NOT_SERVED,
                    host=place.host,
                    name=proof.name or None,
                    seconds=float(seconds),
                    seen=tuple(one.told for one in wrong[:_TOLD]),
                    more=max(len(wrong) - _TOLD, 0),
                    path=proof.path,
                )
            )
        await asyncio.sleep(pause)
        pause = min(pause * SLOWER, LONGEST_PAUSE)


async def missing_at(
    net: Asker,
    place: ProbedHost,
    probe: Probe,
    proof: Expected,
    seconds: float,
    *,
    turn: asyncio.Semaphore,
) -> list[Served]:
    """Look at every address of a port; return what is there instead of the certificate.

    () where each address serves it, counted as `prove` does. Where TLS is spoken it is waited for
    up to `seconds`: a server that reloads serves the old one for a moment.
    """
    loop = asyncio.get_running_loop()
    begin, pause = loop.time(), FIRST_PAUSE
    while True:
        seen = await _round(net, place, probe, proof, loop.time() + TIMEOUT, turn)
        wrong = _wrong(seen, place, proof)
        speaks = any(one.chain for one in wrong)
        if not wrong or not speaks or loop.time() - begin + pause >= seconds:
            return wrong
        await asyncio.sleep(pause)
        pause = min(pause * SLOWER, LONGEST_PAUSE)


def told_of(seen: Sequence[Served]) -> Reason:
    """Return what was seen at some addresses, the first few of them."""
    told, more = tuple(one.told for one in seen[:_TOLD]), len(seen[_TOLD:]) or None
    return Reason(AtPort.SEVERAL, seen=told, more=more)


async def _round(
    net: Asker,
    place: ProbedHost,
    probe: Probe,
    proof: Expected,
    end: float,
    turn: asyncio.Semaphore,
) -> list[Served]:
    async def one(address: str) -> Served:
        async with turn:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                why = LookEnd(AtPort.NO_TIME)
                return Served(address, probe.port, (), why, Reach.UNANSWERED, cut_short=True)
            seconds = min(TIMEOUT, left)
            return await served_at(
                net, address, probe.port, probe.word, proof.name, proof.key_kind, seconds=seconds
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
