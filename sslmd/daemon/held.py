"""Certificates that are held are looked at again, so that they go on when their files are right.

Only those: with 10,000 certificates of which none is held, nothing is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sslmd.daemon.registry import Entry

# Between two looks. A person who has put a file back waits for it.
PERIOD = timedelta(seconds=30)

# A look at thousands, or on a slow disk, takes long: it rests for so many times as long after it.
REST = 20


def is_held(entry: Entry) -> bool:
    """Whether files, or an admin, may let a certificate go on; a bug of ours is for a reload."""
    return bool(entry.hold or entry.decision.alarm or entry.unusable) and not entry.bug


class HeldLooks:
    """Calls `look` every now and then, which reads again what is held."""

    def __init__(
        self,
        look: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
        bug: Callable[[str, BaseException], None],
        period: timedelta = PERIOD,
    ) -> None:
        self._look = look
        self._now = now
        self._bug = bug
        self._period = period
        self._task: asyncio.Task[None] | None = None
        # When the next look is; the time of the clock on the wall, for people.
        self.next_at = now() + period

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        rest = self._period
        while True:
            self.next_at = self._now() + rest
            await asyncio.sleep(rest.total_seconds())
            began = time.monotonic()
            # As if it were the last one: what it finds held says when the next is.
            self.next_at = self._now() + self._period
            try:
                await self._look()
            except Exception as err:
                self._bug("looking at what is held met an error of sslmd's own", err)
            rest = max(self._period, timedelta(seconds=REST * (time.monotonic() - began)))
