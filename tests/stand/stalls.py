"""How long an event loop does nothing else: for tests that nobody outside can hold it up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

# Seconds that no answer of others may hold up the loop; and between two looks.
LONGEST = 0.2
_EVERY = 0.005


class Stalls:
    """`longest`: seconds of CPU that this thread spent between two turns of the loop.

    Its own CPU time and not the clock: a machine that is busy with something else stalls it too.
    """

    longest = 0.0


@asynccontextmanager
async def watched() -> AsyncIterator[Stalls]:
    """Watch the running loop for as long as the block lasts."""
    stalls = Stalls()

    async def watch() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(_EVERY)
            now = time.thread_time()
            stalls.longest = max(stalls.longest, now - before)
            before = now

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(_EVERY)
    try:
        yield stalls
        await asyncio.sleep(2 * _EVERY)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
