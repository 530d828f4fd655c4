"""The job queue: lanes, order, limits, and that no job is lost or done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmd.core import jobs
from sslmd.core.jobs import Certify, Job, MakeKey, Order, Pool, Publish, Restart, Roll, Trial
from sslmd.core.names import CertId, SetName, ZoneName
from sslmd.core.state import TrialAsk, TrialKind
from sslmd.daemon.queue import JobQueue
from tests.reasons import because
from tests.stand.tools import NOW

SET = SetName.at(NOW)


def key(number: int = 0, reason: str = "") -> MakeKey:
    return MakeKey(CertId("example.com", f"s{number}"), because(reason))


def certify(number: int = 0) -> Certify:
    return Certify(CertId("example.com", f"s{number}"), SET, because(""))


def roll(number: int = 0) -> Roll:
    return Roll(CertId("example.com", f"s{number}"), SET, because(""))


def places(work: int) -> dict[Pool, int]:
    return {Pool.WORK: work, Pool.ACME: 1, Pool.HOSTS: work}


def order(number: int = 0) -> Order:
    return Order(CertId("example.com", f"s{number}"), SET, because(""))


class Bench:
    """A queue whose jobs run until they are told to end."""

    def __init__(self, parallel: int = 2) -> None:
        self.queue = JobQueue(self._run, self._done, places(parallel))
        self.began: list[Job] = []
        self.ended: list[Job] = []
        self.left: list[Job] = []
        self.gates: dict[Job, asyncio.Future[None]] = {}
        self.on_done: Callable[[Job], None] = lambda job: None

    async def _run(self, job: Job) -> None:
        self.began.append(job)
        self.gates[job] = asyncio.get_running_loop().create_future()
        await self.gates[job]
        self.ended.append(job)

    def _done(self, job: Job) -> None:
        assert job not in self.queue.running()
        self.left.append(job)
        self.on_done(job)

    async def settle(self) -> None:
        """Let the loop do everything that is due."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def end(self, job: Job, error: Exception | None = None) -> None:
        if error:
            self.gates[job].set_exception(error)
        else:
            self.gates[job].set_result(None)
        await self.settle()

    def submit(self, *all_jobs: Job) -> list[bool]:
        return [self.queue.submit(job) for job in all_jobs]


@contextmanager
def bugs() -> Iterator[list[dict[str, Any]]]:
    """Collect what the loop is told of."""
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        yield told
    finally:
        loop.set_exception_handler(None)


async def test_one_at_a_time_in_a_lane_and_so_many_at_once() -> None:
    bench = Bench(parallel=2)
    bench.submit(key(0), certify(0), key(1), key(2))
    await bench.settle()
    assert bench.began == [key(0), key(1)]
    assert bench.queue.running() == [key(0), key(1)]
    assert set(bench.queue.queued()) == {certify(0), key(2)}
    assert len(bench.queue) == 4
    await bench.end(key(0))
    # The lane of s0 goes to the end of the line.
    assert bench.began == [key(0), key(1), key(2)]
    await bench.end(key(1))
    assert bench.began[-1] == certify(0)
    await bench.end(key(2))
    await bench.end(certify(0))
    assert bench.left == [key(0), key(1), key(2), certify(0)]
    assert len(bench.queue) == 0
    await bench.queue.idle()


async def test_first_come_first_served() -> None:
    bench = Bench(parallel=1)
    order: list[Job] = [key(number) for number in range(20)]
    random.Random(1).shuffle(order)
    bench.submit(*order)
    for job in order:
        await bench.settle()
        await bench.end(job)
    assert bench.left == order


async def test_the_same_is_not_queued_twice() -> None:
    bench = Bench(parallel=1)
    assert bench.submit(key(0, "first"), key(0, "again")) == [True, False]
    await bench.settle()
    assert bench.submit(key(0, "third"), certify(0), key(1, "old")) == [False, True, True]
    # The newer one knows more, and keeps the place of the older.
    assert bench.submit(key(2), key(1, "new")) == [True, False]
    assert bench.queue.queued() == [certify(0), key(1, "new"), key(2)]
    await bench.end(key(0, "first"))
    assert bench.began[-1] == key(1, "new")
    # After its end, the same can come again.
    assert bench.submit(key(0, "first")) == [True]


async def test_different_kinds_share_a_lane_hosts_have_their_own() -> None:
    bench = Bench(parallel=9)
    restarts = [Restart(host, (), because("")) for host in ("a", "b")]
    bench.submit(key(0), roll(0), *restarts)
    await bench.settle()
    assert bench.began == [key(0), *restarts]
    assert bench.submit(Restart("a", (("web", ()),), because("more"))) == [False]
    assert bench.queue.busy("host a")
    assert not bench.queue.busy("host c")
    assert bench.queue.busy(jobs.lane(roll(0)))


async def test_cancel_what_waits_and_what_runs() -> None:
    bench = Bench(parallel=1)
    bench.submit(key(0), certify(0), key(1), key(2))
    await bench.settle()
    assert await bench.queue.cancel("cert example.com/s1") == [key(1)]
    assert await bench.queue.cancel("cert example.com/none") == []
    assert await bench.queue.cancel("cert example.com/s0") == [key(0), certify(0)]
    await bench.settle()
    assert bench.began == [key(0), key(2)]
    assert bench.ended == []
    assert bench.left == [key(0)]
    await bench.end(key(2))
    await bench.queue.idle()


async def test_cancel_before_it_began() -> None:
    """A task that is cancelled before its first step never runs at all; its lane is free."""
    bench = Bench(parallel=1)
    bench.submit(key(0), key(1))
    assert await bench.queue.cancel("cert example.com/s0") == [key(0)]
    await bench.settle()
    assert bench.began == [key(1)]
    assert not bench.queue.busy("cert example.com/s0")
    assert bench.submit(key(0)) == [True]
    await bench.end(key(1))
    await bench.end(key(0))
    await bench.queue.idle()
    assert len(bench.queue) == 0


async def test_cancel_waits_for_the_end() -> None:
    ending, gate = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await gate.wait()

    queue = JobQueue(run, lambda job: None, places(1))
    queue.submit(key(0))
    await asyncio.sleep(0)
    task = asyncio.ensure_future(queue.cancel("cert example.com/s0"))
    await ending.wait()
    # What comes meanwhile waits for the lane.
    assert queue.submit(certify(0))
    assert not task.done()
    assert queue.running() == [key(0)]
    gate.set()
    assert await task == [key(0)]
    assert queue.busy("cert example.com/s0")
    await queue.close()


async def test_idle() -> None:
    bench = Bench(parallel=1)
    await bench.queue.idle()
    bench.submit(key(0), key(1))
    waiting = asyncio.ensure_future(bench.queue.idle())
    await bench.settle()
    await bench.end(key(0))
    assert not waiting.done()
    bench.on_done = lambda job: bench.submit(key(2)).clear() if job == key(1) else None
    await bench.end(key(1))
    assert not waiting.done()  # `done` had more to do
    await bench.end(key(2))
    await waiting


async def test_close_stops_everything() -> None:
    bench = Bench(parallel=1)
    bench.submit(key(0), certify(0), key(1))
    await bench.settle()
    await bench.queue.close()
    assert (bench.ended, bench.left) == ([], [])
    assert len(bench.queue) == 0
    assert bench.submit(key(3)) == [False]
    await bench.queue.idle()
    await bench.queue.close()


async def test_close_at_once() -> None:
    bench = Bench()
    bench.submit(key(0), key(1), key(2))
    await bench.queue.close()
    assert bench.began == []
    assert len(bench.queue) == 0
    await bench.queue.idle()


async def test_a_job_that_raises_stops_nothing_and_is_told_of() -> None:
    bench = Bench(parallel=1)
    bench.submit(key(0), certify(0), key(1))
    await bench.settle()
    with bugs() as told:
        await bench.end(key(0), ValueError("a bug"))
        assert [str(one["exception"]) for one in told] == ["a bug"]
    assert bench.left == [key(0)]
    await bench.end(key(1))
    await bench.end(certify(0))
    await bench.queue.idle()


async def test_a_done_that_raises_stops_nothing_and_is_told_of() -> None:
    bench = Bench(parallel=1)

    def fail(job: Job) -> None:
        raise ValueError("a bug in done")

    bench.on_done = fail
    bench.submit(key(0), key(1))
    await bench.settle()
    with bugs() as told:
        await bench.end(key(0))
        await bench.end(key(1))
        assert [str(one["exception"]) for one in told] == ["a bug in done"] * 2
    await bench.queue.idle()


# --- a random mix ---------------------------------------------------------------------------


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on which waiting takes no time: when nothing is ready, the clock moves on."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-3  # far from its zero, smaller steps are lost in rounding

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready and scheduled:
            self._now = max(self._now, scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


def on_virtual_time(act: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await act()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_the_virtual_loop_waits_for_nothing() -> None:
    async def act() -> None:
        await asyncio.sleep(timedelta(days=1000).total_seconds())
        assert asyncio.get_running_loop().time() >= 86_400_000

    on_virtual_time(act)


steps = st.one_of(
    st.tuples(
        st.just("submit"),
        st.integers(0, 4),
        st.sampled_from([key, certify, roll]),
        st.sampled_from([0.0, 0.5, 1.0, 7.0]),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 4)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.25, 1.0, 3.0])),
)


@settings(max_examples=150)
@given(st.lists(steps, max_size=40), st.integers(1, 4), st.booleans(), st.randoms())
def test_any_mix(
    script: list[tuple[Any, ...]], parallel: int, close: bool, dice: random.Random
) -> None:
    on_virtual_time(lambda: _mix(script, parallel, dice, close=close))


async def _mix(
    script: list[tuple[Any, ...]], parallel: int, dice: random.Random, *, close: bool
) -> None:
    running: Counter[str] = Counter()
    finished: list[Job] = []
    lasts: dict[Job, float] = {}

    async def run(job: Job) -> None:
        lane = jobs.lane(job)
        running[lane] += 1
        try:
            assert running[lane] == 1
            assert running.total() <= parallel
            await asyncio.sleep(lasts[job])
            if dice.random() < 0.1:
                raise ValueError("a bug")
        finally:
            running[lane] -= 1
            finished.append(job)

    left: list[Job] = []
    queue = JobQueue(run, left.append, places(parallel))
    accepted = cancelled = 0
    with bugs() as told:
        for step in script:
            match step:
                case ("submit", number, kind, seconds):
                    job = kind(number)
                    lasts[job] = seconds
                    there = {jobs.key(one) for one in (*queue.queued(), *queue.running())}
                    assert queue.submit(job) is (jobs.key(job) not in there)
                    accepted += jobs.key(job) not in there
                case ("cancel", number):
                    lane = jobs.lane(key(number))
                    begun = {id(one) for one in queue.running()}
                    dropped = await queue.cancel(lane)
                    assert not queue.busy(lane)
                    cancelled += sum(id(one) not in begun for one in dropped)
                case ("wait", seconds):
                    await asyncio.sleep(seconds)
            assert len(queue) == len(queue.queued()) + len(queue.running())
            assert len(queue.running()) <= parallel
            # Work-conserving: nobody waits while there is a free place and a free lane.
            free = {jobs.lane(job) for job in queue.queued()} - {
                jobs.lane(job) for job in queue.running()
            }
            assert not free or len(queue.running()) == parallel
        if close:
            await queue.close()
            assert not queue.submit(key(0))
        else:
            await queue.idle()
            # Each left the queue exactly once.
            assert len(left) == accepted - cancelled
        assert len(queue) == 0
        assert running.total() == 0
        assert all(isinstance(one["exception"], ValueError) for one in told)


@pytest.mark.parametrize("parallel", [1, 3])
async def test_ten_thousand_jobs(parallel: int) -> None:
    count = 0

    async def run(job: Job) -> None:
        nonlocal count
        count += 1

    queue = JobQueue(run, lambda job: None, places(parallel))
    for number in range(5000):
        queue.submit(key(number))
        queue.submit(certify(number))
    await queue.idle()
    assert count == 10_000


async def test_orders_have_places_of_their_own_and_keep_nobody_out() -> None:
    bench = Bench(parallel=1)
    for number in range(3):
        bench.queue.submit(order(number))
    bench.queue.submit(key(7))
    await bench.settle()
    assert bench.began == [order(0), key(7)]
    assert bench.queue.crowded(Pool.ACME)
    assert not bench.queue.crowded(Pool.WORK)

    bench.gates[order(0)].set_result(None)
    await bench.settle()
    assert bench.began == [order(0), key(7), order(1)]
    bench.gates[order(1)].set_result(None)
    await bench.settle()
    assert not bench.queue.crowded(Pool.ACME)


async def test_a_trial_stands_beside_the_jobs_of_its_certificate() -> None:
    bench = Bench(parallel=1)
    trial = Trial(CertId("example.com", "s0"), TrialAsk(TrialKind.TEST, NOW), because(""))
    bench.queue.submit(trial)
    bench.queue.submit(key(0))
    await bench.settle()
    assert bench.began == [trial, key(0)]


async def test_what_comes_after_an_order_waits_in_the_right_pool() -> None:
    bench = Bench(parallel=1)
    bench.queue.submit(key(0))
    bench.queue.submit(order(0))
    bench.queue.submit(order(1))
    await bench.settle()
    assert bench.began == [key(0), order(1)]
    bench.gates[key(0)].set_result(None)
    await bench.settle()
    assert bench.queue.queued() == [order(0)]
    bench.gates[order(1)].set_result(None)
    await bench.settle()
    assert bench.began == [key(0), order(1), order(0)]


async def test_who_only_waits_for_others_of_its_kind_takes_no_place() -> None:
    """A hundred zones that share a run of a command, with places for sixteen."""
    calls: list[list[ZoneName]] = []
    waiting: dict[ZoneName, asyncio.Future[None]] = {}
    most = 0

    async def run(job: Job) -> None:
        nonlocal most
        assert isinstance(job, Publish)
        most = max(most, len(queue.running()) - len(waiting))
        await asyncio.sleep(0.001)  # what is to be written
        waiting[job.zone] = asyncio.get_running_loop().create_future()
        with queue.resting(jobs.lane(job)):
            await waiting[job.zone]

    queue = JobQueue(run, lambda _: None, dict.fromkeys(Pool, 16))
    zones = [ZoneName(f"z{number}.example") for number in range(100)]
    for zone in zones:
        queue.submit(Publish(zone, because("")))
    async with asyncio.timeout(20):
        while len(waiting) < len(zones):
            await asyncio.sleep(0.001)
        assert most <= 16
        calls.append(list(waiting))
        for answer in waiting.values():
            answer.set_result(None)
        await queue.idle()
    assert [len(call) for call in calls] == [100]
    # Each has its place again afterwards, and a second time is no other.
    with queue.resting("zone z1.example"), queue.resting("zone z1.example"):
        assert not queue.crowded(Pool.DNS)
