"""Certificates that are held are looked at again, so that they go on when their files are right.

Only those: with 10,000 certificates of which none is held, nothing is read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sslmd.core.errors import is_over
from sslmd.core.jobs import ReadHeld
from sslmd.core.reason import Reason, Why
from sslmd.core.view import Decision
from sslmd.daemon.loop import Due, OfItsJobs
from sslmd.daemon.registry import Entry, Registry

# Between two looks. A person who has put a file back waits for it.
PERIOD = timedelta(seconds=30)

# A look at thousands, or on a slow disk, takes long: it rests for so many times as long after it.
REST = 20


def is_held(entry: Entry, decision: Decision | None = None) -> bool:
    """Whether files, or an admin, may let a certificate go on; a bug of ours is for a reload.

    `decision`: what was just decided, if that is not the entry's yet.
    """
    decided = entry.decision if decision is None else decision
    return bool(entry.hold or decided.alarm or entry.unusable) and not entry.bug


class HeldCerts(OfItsJobs):
    """The reconciler of what is held: reads it again every now and then, by `look`."""

    name = "held"
    jobs = (ReadHeld,)

    def __init__(
        self,
        look: Callable[[], Awaitable[None]],
        registry: Registry,
        now: Callable[[], datetime],
        bug: Callable[[str, BaseException], None],
        period: timedelta = PERIOD,
    ) -> None:
        self._look = look
        self._registry = registry
        self._now = now
        self._bug = bug
        self._period = period
        # When the next look is; the time of the clock on the wall, for people.
        self.next_at = now() + period

    def step(self, ident: str) -> Due:
        """Look when it is time, if anything is held."""
        del ident  # there is one
        now = self._now()
        if is_over(self.next_at, now, REST * self._period):
            if any(map(is_held, self._registry.entries.values())):
                return Due((ReadHeld(Reason(Why.HELD_AGAIN)),))
            self.next_at = now + self._period
        return Due(wakes=(("look", self.next_at),))

    async def do(self, job: ReadHeld) -> None:
        """Look, and rest."""
        del job  # there is one kind
        began = time.monotonic()
        # As if it were the last one: what it finds held says when the next is.
        self.next_at = self._now() + self._period
        try:
            await self._look()
        except Exception as err:
            self._bug("looking at what is held met an error of sslmd's own", err)
        rest = max(self._period, timedelta(seconds=REST * (time.monotonic() - began)))
        self.next_at = self._now() + rest
