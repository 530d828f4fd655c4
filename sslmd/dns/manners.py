"""How a server is treated: few questions at a time, further apart when it falls silent.

Name servers limit the answers to one address in a second (BIND: `rate-limit`): who asks forty
names at once hears nothing for a while. So every question takes one of a server's few places. A
server that leaves questions without an answer and answers others is asked more slowly. One that
answers a question by TCP that it dropped by UDP, or cut short without need, is asked by TCP for a
while: such limits do not count there, because a sender of TCP cannot be forged.

Who writes a zone names its servers, and may name somebody's who has no part in it. So no address is
asked more often than `LEAST_PAUSE` allows, by however many zones, and one that gives no useful
answer hardly at all.

All times are those of the event loop, in seconds.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.dns.answers import error_in
from sslmd.dns.bounds import QUICK, bounds, clock
from sslmd.net.dns_messages import DnsAnswer

# Questions under way at one server; at a resolver, which waits for others itself.
PLACES = 4
RESOLVER_PLACES = 16

# Between two questions, once a server has left one without an answer; then twice as much each time,
# at most; and how much less after each answer.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
EASING = 0.95

# Seconds between two questions to one address, and for how many seconds' worth of them it may be
# asked at once: 200 in a second, after a rest 100 more.
LEAST_PAUSE = 0.005
REST = 0.5

# Answers in a row that are of no use, or refusals, after which a server gets a question only every
# LONGEST_PAUSE: it may have no part in the zones that name it.
USELESS = 20

# A limit is likely where as many answers came within a second as the narrowest limits in use allow.
# It counts in windows of 15 seconds (BIND's default), so after a flood it lasts as long.
BURST = 5
WITHIN = 1.0
WINDOW = 15.0

# For how long a server is asked by TCP that limits its answers by UDP.
BY_TCP = 60.0

# Times that a question is asked which a server leaves without an answer while it answers others. A
# resolver may do so because others leave it without one.
ATTEMPTS = 12

# Servers that are remembered.
_MOST = 1000


class SharedQuestion:
    """One question, and all who wait for its answer; it ends when nobody does."""

    def __init__(self, asking: asyncio.Future[DnsAnswer]) -> None:
        self._asking = asking
        self._waiting = 0

    async def wait(self) -> DnsAnswer:
        """Return the answer; raises what asking raises."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._asking)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._asking.cancel()


class Manners:
    """What is known of one server from asking it; all of it in the event loop.

    `recursive`: it is asked as a resolver. `attempts`: how often it gets a question at most.
    """

    def __init__(self, *, recursive: bool = False) -> None:
        self.attempts = 1 if recursive else ATTEMPTS
        self._recursive = recursive
        self._places = RESOLVER_PLACES if recursive else PLACES
        self.pause = 0.0
        self.by_udp = False  # it was heard by UDP
        self.unsent: dict[Hashable, SharedQuestion] = {}  # questions that wait for their turn
        self._busy = 0
        self._queue: deque[tuple[asyncio.Future[None], str]] = deque()
        self._next = float("-inf")
        self._slowed = 0.0
        self._answers: deque[float] = deque(maxlen=BURST)
        self._limit_until = 0.0
        self._tcp_until = 0.0
        self._useless = 0
        self._quick = False  # it answered the last question within QUICK

    @property
    def idle(self) -> bool:
        """Whether nobody asks it or waits for it."""
        return not self._busy and not self._queue

    @property
    def prefers_tcp(self) -> bool:
        """Whether it is asked by TCP first."""
        return clock() < self._tcp_until

    @property
    def limit_likely(self) -> bool:
        """Whether it answered so many questions lately that it may be at its limit."""
        return clock() < self._limit_until

    @asynccontextmanager
    async def place(self, about: str) -> AsyncIterator[None]:
        """Wait for a place, and until the next question may be sent; hold the place.

        And one of the turns of all servers together (`bounds`). `about`: the `domain_of` the
        question. Raises what `give_up` was given meanwhile.
        """
        await self._enter(about)
        try:
            await self.turn()
            async with bounds().turn(quick=self._quick):
                yield
        finally:
            self._leave()

    async def turn(self) -> None:
        """Wait until the next question may be sent, in a place."""
        if (wait := self._wait()) > 0:
            await asyncio.sleep(wait)

    def _wait(self) -> float:
        """Return in how many seconds the next question may be sent, and count it."""
        now = clock()
        wait = self._next - now
        if self._useless >= USELESS:
            pause = LONGEST_PAUSE
        else:
            pause = max(self.pause, LEAST_PAUSE)
        rest = REST if pause == LEAST_PAUSE else 0.0
        self._next = max(self._next, now - rest) + pause
        return wait

    async def _enter(self, about: str) -> None:
        if self._busy < self._places and not self._queue:
            self._busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((turn, about))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # it had just been given the place
            elif (turn, about) in self._queue:
                self._queue.remove((turn, about))
            raise

    def _leave(self) -> None:
        while self._queue:
            turn, _ = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)  # the place goes on to it
                return
        self._busy -= 1

    # --- what was heard ---

    def answered(self, seconds: float) -> None:
        """It gave an answer to what was sent so many seconds ago."""
        now = clock()
        self._quick = seconds <= QUICK
        self._answers.append(now)
        if len(self._answers) == BURST and now - self._answers[0] <= WITHIN:
            self._limit_until = now + WINDOW
        self.pause = self.pause * EASING if self.pause > FIRST_PAUSE / 2 else 0.0

    def of_no_use(self, answer: DnsAnswer) -> Reason | None:
        """Return why an answer shows no part in the zone that was asked for, None if it does."""
        refers = any(found.type == "NS" for found in answer.authority)
        if (error := error_in(answer)) or answer.is_authoritative or refers:
            return error
        return Reason(Failed.NS_NOT_AUTHORITATIVE)

    def useless(self, err: Exception | None, about: str) -> None:
        """It gave no useful answer; None: it did.

        When it never does, those who wait with a question `about` the same get `err`. It may
        well have a part in the zones of all others.
        """
        if err is None or self._recursive:
            self._useless = 0
            return
        self._useless += 1
        if self._useless >= USELESS:
            self.give_up(err, about)

    def limited(self) -> None:
        """It answered by TCP alone: it limits what it sends by UDP, if it ever sends anything."""
        if not self.by_udp:
            return
        self._tcp_until = clock() + BY_TCP
        self.pause = 0.0

    def not_by_tcp(self) -> None:
        """It did not answer by TCP either."""
        self._tcp_until = 0.0

    def silent_since(self, sent: float) -> bool:
        """It left a question of then without an answer; return whether it is likely to live.

        It does if it answered others meanwhile, or so many just before that it may be at its limit.
        Then it is asked more slowly from now on.
        """
        self._quick = False
        alive = bool(self._answers and self._answers[-1] >= sent) or self.limit_likely
        if alive and self.attempts > 1 and sent >= self._slowed:
            self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            self._slowed = clock()
        return alive

    def give_up(self, err: Exception, about: str = "") -> None:
        """Let those who wait for a place fail too: each would wait as long, one after the other.

        `about`: those alone whose question is about that domain.
        """
        waiting, self._queue = self._queue, deque()
        for turn, theirs in waiting:
            if about and theirs != about:
                self._queue.append((turn, theirs))
            elif not turn.done():
                turn.set_exception(err)


def domain_of(name: str) -> str:
    """Return the domain that a name is probably a part of: its last two labels."""
    return ".".join(name.lower().removesuffix(".").split(".")[-2:])


_Servers = OrderedDict[tuple[str, int, bool], Manners]
_KNOWN: WeakKeyDictionary[asyncio.AbstractEventLoop, _Servers] = WeakKeyDictionary()


def manners_at(address: str, port: int, *, recursive: bool = False) -> Manners:
    """Return what is known of a server in the running event loop, whoever asks it."""
    known = _KNOWN.setdefault(asyncio.get_running_loop(), OrderedDict())
    key = (address, port, recursive)
    if key not in known:
        for other in [one for one, kept in known.items() if kept.idle][: len(known) - _MOST + 1]:
            del known[other]
        known[key] = Manners(recursive=recursive)
    known.move_to_end(key)
    return known[key]
