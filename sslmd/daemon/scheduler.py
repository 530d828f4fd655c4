"""Wake-ups on APScheduler: a renew job and a roll job per certificate, and a wall-clock tick.

Nothing in it is needed after a restart. Its timers count seconds, which stop while a machine
sleeps and know nothing of a clock that is set; the tick compares the two clocks and has
everything looked at again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from sslmd.core.names import CertId
from sslmd.core.view import Decision

# Seconds between looks at the wall clock.
TICK = 5.0

# Seconds by which the clocks may differ after a tick: adjtime slews by less.
DRIFT = 2.0

# Everything is planned again at least this often, in case a wake-up was ever missed.
FULL_LOOK = timedelta(hours=6)

# An APScheduler date in the past is run at once; a far one costs nothing.
_KINDS = ("renew", "roll", "look")


class Scheduler:
    """Calls `wake(cert)` when it is time, and `jumped(seconds)` when the wall clock jumped."""

    def __init__(
        self,
        wake: Callable[[CertId], None],
        jumped: Callable[[float], None],
        now: Callable[[], datetime],
    ) -> None:
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
        self._wake = wake
        self._jumped = jumped
        self._now = now
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._set: dict[CertId, tuple[datetime | None, ...]] = {}
        self._ticker: asyncio.Task[None] | None = None
        self.ticked = time.monotonic()

    def start(self) -> None:
        """Start the timers."""
        self._scheduler.start()
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    def stop(self) -> None:
        """Stop the timers."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def arm(self, cert: CertId, decision: Decision) -> None:
        """Set the wake-ups of one certificate as its decision wants them."""
        times = _times(decision, self._now())
        old = self._set.get(cert, (None, None, None))
        if times == old:
            return
        self._set[cert] = times
        for kind, before, after in zip(_KINDS, old, times, strict=True):
            if before == after:
                continue
            name = f"{kind} {cert}"
            if after is None:
                self._remove(name)
            else:
                self._scheduler.add_job(
                    self._fire,
                    DateTrigger(after, UTC),
                    args=(cert, kind),
                    id=name,
                    replace_existing=True,
                )

    def drop(self, cert: CertId) -> None:
        """Forget a certificate."""
        for kind, when in zip(_KINDS, self._set.pop(cert, ()), strict=False):
            if when is not None:
                self._remove(f"{kind} {cert}")

    def _remove(self, name: str) -> None:
        with suppress(JobLookupError):  # it may just have fired
            self._scheduler.remove_job(name)

    async def _fire(self, cert: CertId, kind: str) -> None:
        times = self._set.get(cert)
        if times is not None:
            gone = _KINDS.index(kind)
            self._set[cert] = tuple(None if at == gone else t for at, t in enumerate(times))
        self._wake(cert)

    async def _tick(self) -> None:
        wall, counted = self._now(), time.monotonic()
        looked = wall
        while True:
            await asyncio.sleep(TICK)
            self.ticked = time.monotonic()
            expected = wall + timedelta(seconds=self.ticked - counted)
            wall, counted = self._now(), self.ticked
            drift = (wall - expected).total_seconds()
            if abs(drift) > DRIFT or wall - looked >= FULL_LOOK:
                looked = wall
                self._scheduler.wakeup()
                self._jumped(drift if abs(drift) > DRIFT else 0.0)


def _times(decision: Decision, now: datetime) -> tuple[datetime | None, ...]:
    """Renew, roll and look again: those that lie ahead, each moment once."""
    if decision.job is not None:
        return (None, None, None)
    own = (decision.renew_at, decision.roll_at)
    ahead = [when if when and when > now else None for when in own]
    look = decision.wake_at
    return (*ahead, look if look not in ahead else None)
