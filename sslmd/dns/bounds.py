"""How much name servers may cost: questions under way, name servers of a zone, and what was cut.

Who writes a zone decides how many name servers it has, and at which addresses. So a zone gets so
many of them and no more, and all zones together have so many questions under way. Where that cuts
something off, `remarks` says so, for `status`.

All times are those of the event loop, in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from weakref import WeakKeyDictionary

from sslmd.core.addresses import is_public, no_host
from sslmd.core.failed import Failed
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason

# Questions under way in all, and of those, at servers that did not answer their last question
# quickly: a zone with a hundred silent addresses takes no turn from the others.
MOST_QUESTIONS = 64
MOST_DOUBTFUL = 32
QUICK = 1.0

# Name servers of a zone, and addresses of each. Registries allow up to 13 or so.
MOST_SERVERS = 16
MOST_ADDRESSES = 8

# A wait for one of these turns is told if it was as long as this, and for how long after.
LONG_WAIT = 1.0
TOLD_FOR = 600.0

# Zones of which it is remembered that something was cut off.
_MOST_ZONES = 100


class Bounds:
    """What is bounded over all servers and zones of one event loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MOST_QUESTIONS)
        self._doubtful = asyncio.Semaphore(MOST_DOUBTFUL)
        self._cuts: dict[ZoneName, Reason] = {}
        self._longest = 0.0
        self._told_until = 0.0
        self.under_way = 0

    @asynccontextmanager
    async def turn(self, *, quick: bool) -> AsyncIterator[None]:
        """Hold one of the turns; `quick`: the server answered its last question quickly."""
        began = clock()
        try:
            if not quick:
                await self._doubtful.acquire()
            try:
                await self._turns.acquire()
            except BaseException:
                self._release_doubtful(quick=quick)
                raise
        finally:
            self._waited(clock() - began)
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._turns.release()
            self._release_doubtful(quick=quick)

    def _release_doubtful(self, *, quick: bool) -> None:
        if not quick:
            self._doubtful.release()

    def _waited(self, seconds: float) -> None:
        if seconds < LONG_WAIT:
            return
        now = clock()
        self._longest = max(seconds, self._longest if now < self._told_until else 0.0)
        self._told_until = now + TOLD_FOR

    def cut(self, zone: ZoneName, what: Reason | None) -> None:
        """Remember what of a zone is not asked, None if that is nothing."""
        self._cuts.pop(zone, None)
        if what is not None:
            self._cuts[zone] = what
            if len(self._cuts) > _MOST_ZONES:
                del self._cuts[next(iter(self._cuts))]

    def remarks(self) -> list[Reason]:
        """Return what the bounds cut off now, or lately."""
        cuts = sorted(self._cuts.items())
        told = [Reason(Failed.NOT_WATCHED, cut=cut, about=f"zone {zone}") for zone, cut in cuts]
        if clock() < self._told_until:
            longest, lately = timedelta(seconds=round(self._longest)), timedelta(seconds=TOLD_FOR)
            most, doubtful = MOST_QUESTIONS, MOST_DOUBTFUL
            told.append(
                Reason(Failed.QUEUED, longest=longest, lately=lately, most=most, doubtful=doubtful)
            )
        return told


_OF_LOOP: WeakKeyDictionary[asyncio.AbstractEventLoop, Bounds] = WeakKeyDictionary()


def bounds() -> Bounds:
    """Return those of the running event loop."""
    return _OF_LOOP.setdefault(asyncio.get_running_loop(), Bounds())


def why_not_asked(address: str, *, foreign: bool) -> Reason | None:
    """Return why no zone may have us ask this address, None if it may.

    Its NS records could otherwise have us knock at what listens on this machine, or, of a zone that
    is `foreign`, in this network. CAs do not ask there either.
    """
    if why := no_host(address):
        return why
    return Reason(Failed.ADDRESS_PRIVATE) if foreign and not is_public(address) else None


def clock() -> float:
    """Return the time by the event loop's clock, in seconds."""
    return asyncio.get_running_loop().time()
