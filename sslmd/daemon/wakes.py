"""Wake-ups on APScheduler, for all reconcilers, and a wall-clock tick.

Nothing in it is needed after a restart. Its timers count seconds, which stop while a machine
sleeps and know nothing of a clock that is set; the tick compares the two clocks and has
everything looked at again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

# Seconds between looks at the wall clock.
TICK = 5.0

# Seconds by which the clocks may differ after a tick: adjtime slews by less.
DRIFT = 2.0

# Everything is looked at again at least this often, in case a wake-up was ever missed.
FULL_LOOK = timedelta(hours=6)

# Who is woken: the name of a reconciler, and what of it.
Key = tuple[str, Hashable]

# When, by the kind of wake-up: "renew", "roll", "look". None: not.
Times = tuple[tuple[str, datetime | None], ...]


class Wakes:
    """Calls `wake(key)` when it is time, and `jumped(seconds)` when the wall clock jumped."""

    def __init__(
        self,
        wake: Callable[[Key], None],
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
        self._set: dict[Key, dict[str, datetime]] = {}
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

    def arm(self, key: Key, times: Times) -> None:
        """Have `key` woken at these times, and at no others. One that is past is at once."""
        fresh = {kind: when for kind, when in times if when is not None}
        old = self._set.get(key, {})
        if fresh == old:
            return
        self._set[key] = fresh
        for kind in old.keys() - fresh.keys():
            self._remove(key, kind)
        for kind, when in fresh.items():
            if old.get(kind) != when:
                self._scheduler.add_job(
                    self._fire,
                    DateTrigger(when, UTC),
                    args=(key, kind),
                    id=_name(key, kind),
                    replace_existing=True,
                )

    def drop(self, key: Key) -> None:
        """Forget what was armed for `key`."""
        for kind in self._set.pop(key, {}):
            self._remove(key, kind)

    def _remove(self, key: Key, kind: str) -> None:
        with suppress(JobLookupError):  # it may just have fired
            self._scheduler.remove_job(_name(key, kind))

    async def _fire(self, key: Key, kind: str) -> None:
        if key in self._set:
            self._set[key].pop(kind, None)
            self._wake(key)

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


def _name(key: Key, kind: str) -> str:
    reconciler, ident = key
    return f"{kind} {reconciler} {ident}"
