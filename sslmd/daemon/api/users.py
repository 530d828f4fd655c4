"""Who asks, and what that may cost: one account per user id, and one for all others together.

How much of the event loop's time somebody's work takes is measured, and says when it may go on.

Limits per connection alone are none, as anybody may open more of them. Root and the daemon's own
user are `free`: nothing here counts or delays what they ask. A user id is what SO_PEERCRED tells
in the daemon's own user namespace; whoever has subordinate ids (subuid(5)) has as many accounts,
which is why all others together have limits, too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any, Generic, TypeVar

from sslmd.core.reason import Reason, on_wire
from sslmd.core.told import Denied
from sslmd.core.words.sentence import say
from sslmd.daemon.api import limits
from sslmd.wire.messages import ErrorCode, WireError

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


class CpuShare:
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


# What users of another user namespace look like that have no id in ours: user_namespaces(7).
_OVERFLOW = "/proc/sys/kernel/overflowuid"
_USUAL_OVERFLOW = 65534

# Accounts that are kept although nobody is connected: those who come again still owe CPU time.
_KEPT = 100


def denied(reason: Reason, code: ErrorCode = ErrorCode.REFUSED, **data: Any) -> WireError:
    """Return what refuses a request; `data`: what else the client is told (docs/socket-api.md)."""
    return WireError(code, say(reason), data={**data, **on_wire(reason)})


class Waiting:
    """Bytes of answers that wait to be read; the same object for several clients counts once."""

    def __init__(self) -> None:
        self.total = 0
        self._times: dict[int, int] = {}

    def add(self, piece: bytes) -> None:
        """Count a piece that is held from now on."""
        times = self._times.get(id(piece), 0)
        self._times[id(piece)] = times + 1
        if not times:
            self.total += len(piece)

    def drop(self, piece: bytes) -> None:
        """Count it no more."""
        self._times[id(piece)] -= 1
        if not self._times[id(piece)]:
            del self._times[id(piece)]
            self.total -= len(piece)


class Costs:
    """What is used: by one user, or by all others together."""

    def __init__(self, share: float) -> None:
        self.connections = 0
        self.incoming = 0
        self.waiting = Waiting()
        self.share = CpuShare(share)
        self.lane = asyncio.Lock()


class User:
    """One user id. `free`: root or the daemon's own user, who have no limits but for mistakes."""

    def __init__(self, uid: int, others: Others | None) -> None:
        self.uid = uid
        self.costs = Costs(limits.CPU_OF_ONE)
        self.followers = 0
        self._others = others
        self._places = asyncio.Semaphore(limits.PARALLEL_OF_ONE)

    @property
    def free(self) -> bool:
        """Whether no limits apply."""
        return self._others is None

    def _all(self) -> tuple[Costs, ...]:
        return (self.costs,) if self._others is None else (self.costs, self._others.costs)

    # --- CPU ---

    async def turn(self) -> None:
        """Return when something may be done for this user: one thing for each user in turn.

        What is then done, until the next await, is all that is done for others before the event
        loop has looked at everything else: at an admin who waits to be greeted.
        """
        if self._others is None:
            return
        async with self.costs.lane:
            await self.costs.share.ready()
            async with self._others.costs.lane:
                await self._others.costs.share.ready()
                await asyncio.sleep(0)

    def spend(self, seconds: float) -> None:
        """Charge CPU time."""
        if not self.free:
            for costs in self._all():
                costs.share.spend(seconds)

    def metered(self, work: Coroutine[Any, Any, Result]) -> Metered[Result]:
        """Return something to await that does the work and charges what it takes."""
        return Metered(work, self.spend)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places for requests under way."""
        if self.free:
            yield
            return
        async with self._places:
            yield

    @asynccontextmanager
    async def making(self) -> AsyncIterator[None]:
        """Hold one of the places of others for making a long answer."""
        if self._others is None:
            yield
            return
        async with self._others.making:
            yield

    @contextmanager
    def following(self) -> Iterator[None]:
        """Be a client that follows events; raise `WireError` if there are too many."""
        if not self.free and self.followers >= limits.FOLLOWERS_OF_ONE:
            why = Reason(Denied.FOLLOWERS, uid=self.uid, number=self.followers)
            raise denied(why, ErrorCode.LIMIT)
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1

    # --- memory ---

    def take_in(self, number: int) -> None:
        """Count bytes of a request; raise `WireError` if there are too many."""
        for costs in self._all():
            costs.incoming += number
        if self.free or number <= 0:
            return
        assert self._others is not None
        if self.costs.incoming > limits.INCOMING_OF_ONE:
            raise denied(Reason(Denied.INCOMING, uid=self.uid), ErrorCode.LIMIT)
        if self._others.costs.incoming > limits.INCOMING_OF_OTHERS:
            raise denied(Reason(Denied.INCOMING_OF_OTHERS), ErrorCode.LIMIT)

    def check_room(self) -> None:
        """Raise `WireError` if too many answers wait to be read for another one to be made."""
        if self._others is None:
            return
        if self.costs.waiting.total > limits.WAITING_OF_ONE:
            raise denied(Reason(Denied.UNREAD, uid=self.uid), ErrorCode.LIMIT)
        if self._others.costs.waiting.total > limits.WAITING_OF_OTHERS:
            raise denied(Reason(Denied.UNREAD_OF_OTHERS), ErrorCode.LIMIT)

    @contextmanager
    def holding(self, pieces: Sequence[bytes]) -> Iterator[None]:
        """Count an answer while it waits to be read."""
        for costs in self._all():
            for piece in pieces:
                costs.waiting.add(piece)
        try:
            yield
        finally:
            for costs in self._all():
                for piece in pieces:
                    costs.waiting.drop(piece)


class Others:
    """All who are neither root nor the daemon's own user, together."""

    def __init__(self) -> None:
        self.costs = Costs(limits.CPU_OF_OTHERS)
        self.making = asyncio.Semaphore(limits.MAKING)


class Users:
    """Everybody who is connected, or was and still owes CPU time."""

    def __init__(self) -> None:
        self.others = Others()
        self.own = User(os.geteuid(), None)
        self._known: dict[int, User] = {}

    def of(self, uid: int) -> User:
        """Return the account of a user id."""
        if may_change(uid):
            return self.own
        if uid not in self._known:
            self._forget()
            self._known[uid] = User(uid, self.others)
        return self._known[uid]

    def _forget(self) -> None:
        if len(self._known) < _KEPT:
            return
        for uid, user in list(self._known.items()):
            if not user.costs.connections and user.costs.share.full:
                del self._known[uid]

    def count(self, user: User, number: int) -> None:
        """Count a connection more (1) or less (-1)."""
        user.costs.connections += number
        if not user.free:
            self.others.costs.connections += number

    def problem(self, user: User, most: int, most_of_others: int) -> Reason | None:
        """Return why a user can have no other connection, None if it can.

        `most`: connections of all; `most_of_others` of those without places of their own.
        """
        others = self.others.costs.connections
        if self.own.costs.connections + others >= most or (
            not user.free and others >= most_of_others
        ):
            return Reason(Denied.CLIENTS)
        if not user.free and user.costs.connections >= limits.CONNECTIONS_OF_ONE:
            return Reason(Denied.CONNECTIONS, uid=user.uid, number=user.costs.connections)
        return None


def may_change(uid: int) -> bool:
    """Whether a user id is root's or the daemon's own.

    Whoever has no id in our user namespace looks like one that has the overflow id: that one is
    nobody's own, whoever we are.
    """
    return uid == 0 or (uid == os.geteuid() and uid != overflow_uid())


@cache
def overflow_uid() -> int:
    """Return the id that stands for all that our user namespace does not have."""
    try:
        with open(_OVERFLOW, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return _USUAL_OVERFLOW
