"""How much of the event loop's time somebody's work takes, and when it may go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any, Generic, TypeVar

from sslmd.daemon.api import limits

Item = TypeVar("Item")
Result = TypeVar("Result")

# Certificates that an answer is made of without a pause for others.
_AT_ONCE = 50


class Metered(Generic[Result]):
    """Does `work`, and tells after each of its steps how much CPU time that took."""

    def __init__(self, work: Coroutine[Any, Any, Result], spend: Callable[[float], None]) -> None:
        self._work = work
        self._spend = spend

    def __await__(self) -> Generator[Any, None, Result]:
        """Hand on what the work waits for, and what interrupts it."""
        error: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                waits_for = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as end:
                result: Result = end.value
                return result
            finally:
                self._spend(time.thread_time() - began)
            error = None
            try:
                yield waits_for
            except BaseException as err:  # a cancellation, mostly: it is the work's to handle
                error = err


async def gently(items: Iterable[Item], turn: Callable[[], Awaitable[None]]) -> AsyncIterator[Item]:
    """Yield the items; every now and then wait for the `turn` of whom they are for."""
    for number, item in enumerate(items):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
            await turn()
        yield item


class Share:
    """CPU time that fills up at a rate of `rate` seconds a second; who owes some waits."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._level = limits.CPU_AT_ONCE
        self._since = clock()

    @property
    def level(self) -> float:
        """Seconds that may be used at once; less than 0: owed."""
        now = self._clock()
        self._level = min(limits.CPU_AT_ONCE, self._level + (now - self._since) * self._rate)
        self._since = now
        return self._level

    @property
    def full(self) -> bool:
        """Whether nothing was used lately."""
        return self.level >= limits.CPU_AT_ONCE

    def spend(self, seconds: float) -> None:
        """Take off what was used."""
        self._level = self.level - seconds

    async def ready(self) -> None:
        """Return when nothing is owed."""
        while (level := self.level) < 0:  # noqa: ASYNC110 - a time is waited for
            await asyncio.sleep(-level / self._rate)
