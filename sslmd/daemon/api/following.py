"""A client that follows events: quick to tell, bounded in what is kept for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from sslmd.core.reason import Reason
from sslmd.core.told import Denied
from sslmd.daemon.api.outcomes import denied
from sslmd.daemon.tell.journal import Bus, Record
from sslmd.wire.messages import ErrorCode

# Records kept for a client that reads slowly; one that falls further behind is let go.
MAX_BEHIND = 10_000


class Following:
    """Records that fit, from the start of the `with` block on."""

    def __init__(self, bus: Bus, fits: Callable[[Record], bool]) -> None:
        self._bus = bus
        self._fits = fits
        self._waiting: asyncio.Queue[Record] = asyncio.Queue()
        self._lost = False

    def __enter__(self) -> Self:
        self._end = self._bus.follow(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _take(self, record: Record) -> None:
        if self._waiting.qsize() >= MAX_BEHIND:
            self._lost = True
        elif self._fits(record):
            self._waiting.put_nowait(record)

    async def next(self) -> Record:
        """Return the next record; raise `WireError` when some were lost."""
        if self._lost:
            raise denied(Reason(Denied.TOO_SLOW), ErrorCode.LIMIT)
        return await self._waiting.get()

    async def next_within(self, seconds: float) -> Record | None:
        """Return the next record, None if there is none within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.next()
        except TimeoutError:
            return None
