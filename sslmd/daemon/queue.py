"""The job queue: lanes, de-duplication, bounded parallelism, cancel.

Nothing in it needs to survive a restart: the loop fills it again from what is on disk.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

from sslmd.core import jobs
from sslmd.core.jobs import Job, Pool, next_turn

# Who is first: since when a job is urgent, and its number, by which the others come.
Turn = tuple[datetime, int]


class JobQueue:
    """Runs jobs, first come first served, one at a time in each lane.

    `run` does a job and deals with its failures; `done` is called when the job has left the
    queue and its lane is free; `places` is how many jobs of each pool run at a time; `owner` tells
    for whom a job waits, so that nobody's jobs keep out those of others (`core.jobs`). `urgency`:
    since when a job is urgent; those that are come before all others that wait, the longest first.
    """

    def __init__(
        self,
        run: Callable[[Job], Coroutine[Any, Any, None]],
        done: Callable[[Job], None],
        places: Mapping[Pool, int],
        owner: Callable[[Job], str] = lambda _: "",
        urgency: Callable[[Job], datetime | None] = lambda _: None,
    ) -> None:
        self._run = run
        self._done = done
        self._places = places
        self._owner = owner
        self._urgency = urgency
        # Lanes that have something to run, in turn, by the pool and the owner of what comes next in
        # them; each with its number, by which who came first is known among owners.
        self._waiting: dict[Pool, dict[str, deque[tuple[Turn, str]]]] = {
            pool: {} for pool in places
        }
        self._arrivals = count()
        self._lanes: dict[str, deque[Job]] = {}
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._resting: set[str] = set()
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, job: Job) -> bool:
        """Queue `job`; return False if it is queued or running already.

        A queued job of the same key is replaced by the newer one, which knows more.
        """
        if self._closed:
            return False
        lane, key = jobs.lane(job), jobs.key(job)
        running = self._running.get(lane)
        if running is not None and jobs.key(running[0]) == key:
            return False
        queued = self._lanes.setdefault(lane, deque())
        for index, other in enumerate(queued):
            if jobs.key(other) == key:
                queued[index] = job
                return False
        queued.append(job)
        if running is None and len(queued) == 1:
            self._wait(lane)
        self._idle.clear()
        self._start()
        return True

    def queued(self) -> list[Job]:
        """Return the jobs that wait for their turn."""
        return [job for lane in self._lanes.values() for job in lane]

    def running(self) -> list[Job]:
        """Return the jobs that are being done."""
        return [job for job, _ in self._running.values()]

    def in_lane(self, lane: str) -> list[Job]:
        """Return a lane's jobs, the one that runs first."""
        running = [self._running[lane][0]] if lane in self._running else []
        return [*running, *self._lanes.get(lane, ())]

    def runs(self, lane: str) -> bool:
        """Whether a job of a lane is being done."""
        return lane in self._running

    def busy(self, lane: str) -> bool:
        """Whether a lane has a job queued or running."""
        return lane in self._running or bool(self._lanes.get(lane))

    def has(self, pool: Pool) -> bool:
        """Whether a job of a pool is being done, or would be if it had a place."""
        running = (job for job, _ in self._running.values())
        return bool(self._waiting[pool]) or any(jobs.pool(job) is pool for job in running)

    def crowded(self, pool: Pool) -> bool:
        """Whether jobs of a pool wait because its places are taken."""
        return bool(self._waiting[pool]) and self._next(pool) is None

    def _next(self, pool: Pool) -> str | None:
        """Return the owner of what is the next to run, None if nothing may."""
        waiting = self._waiting[pool]
        if not waiting:
            return None
        running = Counter(
            self._owner(job)
            for lane, (job, _) in self._running.items()
            if jobs.pool(job) is pool and lane not in self._resting
        )
        longest_first = sorted(waiting, key=lambda owner: waiting[owner][0])
        return next_turn(longest_first, running, self._places[pool])

    @contextmanager
    def resting(self, lane: str) -> Iterator[None]:
        """To be held while the job that runs in a lane only waits for others of its kind.

        Its place is another's meanwhile: a hundred zones that wait for one command need no place.
        """
        if lane in self._resting:
            yield
            return
        self._resting.add(lane)
        self._start()
        try:
            yield
        finally:
            self._resting.discard(lane)

    def _wait(self, lane: str) -> None:
        job = self._lanes[lane][0]
        lanes = self._waiting[jobs.pool(job)].setdefault(self._owner(job), deque())
        since = self._urgency(job)
        turn = (since or datetime.max.replace(tzinfo=UTC), next(self._arrivals))
        if not lanes or lanes[-1][0] < turn:
            lanes.append((turn, lane))
        else:
            insort(lanes, (turn, lane))

    def _leave(self, lane: str) -> None:
        """Take a lane out of those that wait."""
        for owners in self._waiting.values():
            for owner, lanes in list(owners.items()):
                owners[owner] = deque(one for one in lanes if one[1] != lane)
                if not owners[owner]:
                    del owners[owner]

    def __len__(self) -> int:
        return len(self._running) + sum(map(len, self._lanes.values()))

    async def cancel(self, lane: str) -> list[Job]:
        """Take a lane's jobs out and stop the one that runs; return when it has ended."""
        dropped = list(self._lanes.pop(lane, ()))
        self._leave(lane)
        running = self._running.get(lane)
        if running is not None:
            dropped.insert(0, running[0])
            running[1].cancel()
            await asyncio.wait({running[1]})
        self._note_idle()
        return dropped

    async def idle(self) -> None:
        """Return when nothing is queued or running."""
        await self._idle.wait()

    async def close(self, grace: float | None = None) -> bool:
        """Take no more jobs, drop what is queued, stop what runs, and wait for its end.

        At most `grace` seconds, if given: a thread cannot be stopped. Return whether all ended.
        """
        self._closed = True
        self._lanes.clear()
        for owners in self._waiting.values():
            owners.clear()
        tasks = {task for _, task in self._running.values()}
        for task in tasks:
            task.cancel()
        left: set[asyncio.Task[None]] = set()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=grace)
        self._note_idle()
        return not left

    def _start(self) -> None:
        for pool, owners in self._waiting.items():
            while not self._closed and (owner := self._next(pool)) is not None:
                _, lane = owners[owner].popleft()
                if not owners[owner]:
                    del owners[owner]
                job = self._lanes[lane].popleft()
                if not self._lanes[lane]:
                    del self._lanes[lane]
                task = asyncio.get_running_loop().create_task(self._run(job))
                self._running[lane] = (job, task)
                # Not at the end of `_run`: a task that is cancelled at once never gets there.
                task.add_done_callback(partial(self._ended, lane, job))

    def _ended(self, lane: str, job: Job, task: asyncio.Task[None]) -> None:
        del self._running[lane]
        if self._lanes.get(lane):
            self._wait(lane)
        try:
            if not self._closed:
                self._done(job)
        finally:
            self._start()
            self._note_idle()
        if not task.cancelled() and (err := task.exception()):
            raise err  # a bug; the loop's exception handler tells of it

    def _note_idle(self) -> None:
        if not self._running and not self._lanes:
            self._idle.set()
