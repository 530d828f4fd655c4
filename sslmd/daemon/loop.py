"""The loop: asks what comes next, runs it, wakes who waits. The same for all reconcilers.

A reconciler looks after things of one kind (certificates, zones, hosts, Diffie-Hellman groups, what
is held). Whatever changes of one of them, it is touched; when everything that happens at this
moment has happened, the loop asks once for its next step. Jobs go to the queue, with its lanes and
places; when one has ended, its thing is touched. Nobody else submits jobs or sets timers, and
nothing here is needed after a restart (I5).

Wake-ups are timers of APScheduler, which count seconds: they stop while a machine sleeps, and know
nothing of a clock that is set. A tick compares the two clocks, and has everything looked at again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from sslmd.core.jobs import Job, Pool, lane, thing_of
from sslmd.daemon.meters import Meters
from sslmd.daemon.queue import JobQueue

# Seconds between looks at the wall clock.
TICK = 5.0

# Seconds by which the clocks may differ after a tick: adjtime slews by less.
DRIFT = 2.0

# Everything is looked at again at least this often, in case a wake-up was ever missed.
FULL_LOOK = timedelta(hours=6)

# What is due later gets no timer yet: full looks come first, and arm it when it is this near. The
# timers of 10,000 certificates, most of them weeks ahead, would take 18 MB.
NEAR = 2 * FULL_LOOK

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
        lagged: Callable[[float], None] = lambda _: None,
    ) -> None:
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
        self._wake = wake
        self._jumped = jumped
        self._now, self._lagged = now, lagged
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
        """Have `key` woken at these times alone; what is past at once, what is not `NEAR` later."""
        horizon = self._now() + NEAR
        fresh = {kind: when for kind, when in times if when is not None and when < horizon}
        old = self._set.get(key, {})
        if fresh == old:
            return
        self._set[key] = fresh
        if not fresh:
            del self._set[key]
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
            self._lagged(self.ticked - counted - TICK)
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


# Orders at a time. Each is a certbot of some 50 MB, and CAs look at how many come at once. More run
# only where one CA had all places and another's certificates came (core.jobs): then up to twice.
ORDERS = 4

# Places of each pool; those of jobs of certificates are --jobs. Zones mostly wait; one that only
# waits for a run of the command has no place. Hosts are an ssh and an rsync each, some 20 MB, that
# mostly wait too; some may be down. Generating takes a core.
PLACES = {
    Pool.ACME: ORDERS,
    Pool.DNS: 16,
    Pool.CHALLENGES: 64,
    Pool.HOSTS: 64,
    Pool.DH: 1,
    Pool.FILES: 2,
    Pool.CAS: 16,
    Pool.ALARMS: 1,
    Pool.NOTICES: 16,
    Pool.ALIVE: 1,
}

# To the next try after what should not have happened.
AFTER_BUG = timedelta(minutes=1)

# Timers set without a pause. Those of a start are thousands, most of them for weeks ahead.
AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Due:
    """What comes next: jobs to be done now, and when to ask again; None: as was said before."""

    jobs: tuple[Job, ...] = ()
    wakes: Times | None = None


class Reconciler(Protocol):
    """Looks after things of one kind, each by an `ident` of its own.

    `step` is quick, and may be asked at any time: it looks at how things stand, has the rules of
    `core` decide, and does nothing itself. `do` does a job and puts what happened into the
    registry; it raises nothing but bugs. `after` is told of every job that has ended, and returns
    what may have another step now.
    """

    @property
    def name(self) -> str:
        """Stands for it in keys of the loop."""

    @property
    def jobs(self) -> tuple[type[Job], ...]:
        """The kinds of jobs that it does."""

    def step(self, ident: Any) -> Due:
        """Return what comes next."""

    async def do(self, job: Any) -> None:
        """Do a job."""

    def after(self, job: Job) -> Iterable[Hashable]:
        """Return what is to be asked for now that a job has ended."""


class OfItsJobs:
    """A reconciler of which a thing has another step when a job of its own has ended."""

    jobs: tuple[type[Job], ...]

    def after(self, job: Job) -> Iterable[Hashable]:
        """Return what a job of ours was about."""
        return (thing_of(job),) if isinstance(job, self.jobs) else ()


class Loop:
    """One per daemon."""

    def __init__(
        self,
        now: Callable[[], datetime],
        parallel: int,
        owner: Callable[[Job], str],
        jumped: Callable[[float], None],
        bug: Callable[[str, BaseException], None],
        turned: Callable[[], None] = lambda: None,
        urgency: Callable[[Job], datetime | None] = lambda _: None,
    ) -> None:
        """`turned` is called after each turn, `jumped` when the wall clock was set.

        `owner` says for whom a job waits, `urgency` since when it is urgent; `bug` is told of steps
        that fail.
        """
        self._now = now
        self._bug = bug
        places = {**PLACES, Pool.WORK: parallel}
        self.queue = JobQueue(self._do, self._done, places, owner, urgency)
        self.meters = Meters(now)
        self._wakes = Wakes(lambda key: self.touch(*key), jumped, now, self.meters.lagged)
        self._reconcilers: dict[str, Reconciler] = {}
        self._does: dict[type[Job], Reconciler] = {}
        self._waits: dict[type[Job], Callable[[Any], None]] = {}
        # What is to be asked for, by the name of its reconciler: in the order of these.
        self._touched: dict[str, dict[Hashable, None]] = {}
        # What is asked for when a job has left its lane, by the lane.
        self._ending: dict[str, set[Key]] = {}
        self._held_back: Counter[Key] = Counter()
        self._turn: asyncio.Handle | None = None
        # Timers of many, which are set a few at a time.
        self._to_arm: dict[Key, Times] = {}
        self._arming: asyncio.Task[None] | None = None
        self._started = self._stopping = False
        self._turned = turned

    def add(self, reconciler: Reconciler, waits: Callable[[Any], None] = lambda _: None) -> None:
        """Have a reconciler asked; those added before it are asked first.

        `waits` is told of a job of its that found no place.
        """
        self._waits |= dict.fromkeys(reconciler.jobs, waits)
        self._reconcilers[reconciler.name] = reconciler
        self._touched[reconciler.name] = {}
        self._does |= dict.fromkeys(reconciler.jobs, reconciler)

    @property
    def ticked(self) -> float:
        """When the wall clock was looked at last, in seconds of CLOCK_MONOTONIC."""
        return self._wakes.ticked

    def start(self) -> None:
        """Take the first turn, and begin to work."""
        self._wakes.start()
        self._started = True
        self.take_turn()

    async def stop(self, grace: float) -> bool:
        """Ask for nothing more and stop what runs; return whether all ended within `grace` s."""
        self._stopping = True
        for waiting in (self._turn, self._arming):
            if waiting is not None:
                waiting.cancel()
        self._wakes.stop()
        return await self.queue.close(grace)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is touched, queued or running."""
        return not len(self.queue) and not any(self._touched.values())

    # --- what changed ---

    def touch(self, name: str, ident: Hashable = "") -> None:
        """Ask for the next step of a thing when everything that happens now has happened."""
        if not self._stopping:
            self._touched[name][ident] = None
            self._turn_soon()

    def forget(self, name: str, ident: Hashable) -> None:
        """A thing is no more."""
        self._touched[name].pop(ident, None)
        self._to_arm.pop((name, ident), None)
        self._wakes.drop((name, ident))

    def settle(self, name: str, ident: Hashable) -> bool:
        """Ask for the next step of a thing now, if it was touched; False: it may not be asked."""
        if ident not in self._touched[name]:
            return True
        if self._is_held_back((name, ident)):
            return False
        times = self._step(self._reconcilers[name], ident)
        if times is not None:
            self._arm((name, ident), times)
        return True

    @contextmanager
    def held_back(self, name: str, *idents: Hashable) -> Iterator[None]:
        """Do not ask for these meanwhile: what was put about them is being written down first."""
        keys: Counter[Key] = Counter((name, ident) for ident in idents)
        self._held_back += keys
        try:
            yield
        finally:
            self._held_back -= keys  # what comes to none is no longer there
            self._turn_soon()

    # --- a turn ---

    def _is_held_back(self, key: Key) -> bool:
        return not self._started or self._stopping or key in self._held_back

    def _turn_soon(self) -> None:
        if self._turn is None and self._started and not self._stopping:
            self._turn = asyncio.get_running_loop().call_soon(self.take_turn)

    def take_turn(self) -> None:
        """Ask for the next step of everything that was touched, each once."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        steps: dict[Key, Times | None] = {}
        ending = set[Key]().union(*self._ending.values())
        for name, touched in self._touched.items():
            for ident in list(touched):
                key = (name, ident)
                # What ends at this moment is asked for when it has ended: once for both.
                if ident in touched and key not in ending and not self._is_held_back(key):
                    steps[key] = self._step(self._reconcilers[name], ident)
        wakes = {key: times for key, times in steps.items() if times is not None}
        self.meters.turned = self._now()
        if not ending:  # what they bring about is written with what follows
            self._turned()
        if len(wakes) <= AT_ONCE:
            for key, times in wakes.items():
                self._arm(key, times)
            return
        self._to_arm |= wakes
        if self._arming is None or self._arming.done():
            self._arming = asyncio.get_running_loop().create_task(self._arm_many())

    def _step(self, reconciler: Reconciler, ident: Hashable) -> Times | None:
        try:
            step = reconciler.step(ident)
        except Exception as err:  # it stops nobody else's (I6)
            self._bug(f"{reconciler.name} {ident}: an error of sslmd's own: {err!r}", err)
            step = Due(wakes=(("look", self._now() + AFTER_BUG),))
        # What its own step brought about, it has seen.
        self._touched[reconciler.name].pop(ident, None)
        for job in step.jobs:
            if not self.queue.busy(lane(job)):
                self.queue.submit(job)
                if not self.queue.runs(lane(job)):
                    self._waits[type(job)](job)
        return step.wakes

    def _arm(self, key: Key, times: Times) -> None:
        self._to_arm.pop(key, None)
        self._wakes.arm(key, times)

    async def _arm_many(self) -> None:
        while self._to_arm:
            for key in list(self._to_arm)[:AT_ONCE]:
                self._wakes.arm(key, self._to_arm.pop(key))
            await asyncio.sleep(0)

    # --- jobs ---

    async def _do(self, job: Job) -> None:
        reconciler = self._does[type(job)]
        try:
            with self.meters.at_work(job):
                await reconciler.do(job)
        finally:
            self._ending[lane(job)] = {(reconciler.name, one) for one in reconciler.after(job)}

    def _done(self, job: Job) -> None:
        self._ending.pop(lane(job), None)  # whatever is left of it: it may just have gone
        for reconciler in self._reconcilers.values():
            for ident in reconciler.after(job):
                self.touch(reconciler.name, ident)
        self._turn_soon()  # also where nothing is left to be asked: what waits is to be written
