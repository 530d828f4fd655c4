"""Challenges of all orders in DNS: one write, one command, one wait for a zone (I8).

Orders say that they come (`enter`), hand in their records (`show`, which returns when the whole
world can see them), and go (`leave`). When a zone is written is said by `core.challenges`, and done
by the daemon's loop, which is told of every change (`touch`). Zones share the runs of the command
(`runs`), and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from sslmd.core.challenges import PATIENCE, ChallengesView, Patience
from sslmd.core.errors import Failure, SslmError, Transient, Trouble, reason_of, text_of, wait_after
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.dns.bounds import clock
from sslmd.dns.include import CHALLENGE_FILES
from sslmd.dns.means import Means
from sslmd.dns.notes import noted_zones
from sslmd.dns.proving import OrderPart, WriteWait
from sslmd.dns.publish import ChallengesPublished, Records, left_behind, make_files, publish

Tell = Callable[[str, Reason], None]  # event and what happened, for the journal
Bug = Callable[[str, BaseException], None]  # text and what it was
Touch = Callable[[ZoneName], None]  # whose challenges changed


_DICE = random.SystemRandom()


class Challenges:
    """The challenge records of every zone. One per daemon; all of it in the event loop."""

    def __init__(
        self, means: Means, tell: Tell, bug: Bug, touch: Touch, patience: Patience = PATIENCE
    ) -> None:
        self.patience = patience
        self._means = means
        self._tell, self._bug, self._touch = tell, bug, touch
        self._zones: dict[ZoneName, _Zone] = {}

    async def start(self, zones: Iterable[ZoneName]) -> None:
        """Make sure that every zone has its include file, and take back what was left behind.

        Also in zones that the configuration does not know any more.
        """
        tree = self._means.tree
        noted = await self._means.in_thread(lambda: list(noted_zones(tree, CHALLENGE_FILES)))
        names = sorted({*zones, *noted})
        # All at once, so that the command of `[dns]` runs once for them.
        with self._means.runs.writing():
            await asyncio.gather(*(self._zone(name).look_at_what_is_left() for name in names))

    async def stop(self) -> None:
        """Stop at once, the command as well; the next start takes back what is still in DNS."""
        for zone in self._zones.values():
            await zone.stop()
        await self._means.runs.stop()

    async def flush(self) -> None:
        """Take back now what nobody needs any more; for a daemon that does not stay."""
        await asyncio.gather(*(zone.flush() for zone in self._zones.values()))
        await self._means.runs.flush()

    async def refresh(self, zone: ZoneName) -> Reason:
        """Write a zone's records again and run its command; return what was done."""
        return await self._zone(zone).refresh()

    def enter(self, order: str, zones: Iterable[ZoneName]) -> None:
        """An order that will have records in `zones` has begun."""
        for zone in zones:
            self._zone(zone).enter(order)

    async def show(
        self,
        order: str,
        records: Mapping[ZoneName, Records],
        progress: Callable[[Reason], None],
    ) -> None:
        """Publish an order's records; return when every name server shows them.

        Raises `Transient` or `Permanent`, naming the zone and which server lacks what.
        """
        waits = [
            asyncio.ensure_future(self._zone(zone).show(order, records[zone], progress))
            for zone in records
        ]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()
        if len(waits) > 1:
            # While one zone was waited for, another may have lost what it showed.
            await asyncio.gather(*(self._zone(zone).confirm(order) for zone in records))

    def leave(self, order: str) -> None:
        """An order is over: its records can go."""
        for zone in self._zones.values():
            zone.leave(order)

    @property
    def zones(self) -> Iterable[ZoneName]:
        """The zones that had challenges, or may have had them."""
        return tuple(self._zones)

    def view(self, zone: ZoneName) -> ChallengesView:
        """Return how the challenges of a zone stand."""
        return self._zone(zone).view()

    async def publish(self, zone: ZoneName) -> None:
        """Write what orders want there now, and have it proven; raises nothing."""
        await self._zone(zone).publish()

    def _zone(self, name: ZoneName) -> _Zone:
        if name not in self._zones:
            touch = partial(self._touch, name)
            self._zones[name] = _Zone(name, self._means, self._tell, self._bug, touch)
        return self._zones[name]


class _Zone:
    """One zone: who wants what there, and what is served."""

    def __init__(
        self, name: ZoneName, means: Means, tell: Tell, bug: Bug, touch: Callable[[], None]
    ) -> None:
        self._name = name
        self._means = means
        self._tell, self._bug, self._touch = tell, bug, touch
        self._parts: dict[str, OrderPart] = {}
        self._waits: set[asyncio.Task[None]] = set()
        self._served: Records | None = frozenset()  # None: not known, or not as it should be
        self._publishing = asyncio.Lock()
        self._dirty_since = 0.0
        self._not_before = 0.0
        self._trouble: Trouble | None = None

    # --- what orders want ---

    def enter(self, order: str) -> None:
        self._parts.setdefault(order, OrderPart())

    async def show(self, order: str, records: Records, progress: Callable[[Reason], None]) -> None:
        part = self._parts.setdefault(order, OrderPart())
        part.offer(records, progress)
        self._touch()
        await part.shown()

    async def confirm(self, order: str) -> None:
        part = self._parts.get(order)
        if part is not None:
            await part.confirm()

    def leave(self, order: str) -> None:
        part = self._parts.pop(order, None)
        if part is None:
            return
        part.leave()
        self._dirty_since = clock()
        self._touch()

    def _wanted(self) -> Records:
        return frozenset().union(*(part.records or () for part in self._parts.values()))

    def view(self) -> ChallengesView:
        offered = [part.offered_at for part in self._parts.values() if part.offered]
        return ChallengesView(
            offered_at=min(offered, default=None),
            coming=any(part.records is None for part in self._parts.values()),
            crowded=self._means.crowded(),
            differs=self._served != self._wanted(),
            left_at=self._dirty_since,
            not_before=self._not_before,
        )

    # --- publishing ---

    async def publish(self) -> None:
        async with self._publishing:
            wanted = self._wanted()
            batch = [part for part in self._parts.values() if part.offered]
            for part in batch:
                part.taken()
            try:
                waiting = await WriteWait.begin(self._means, self._name) if batch else None
                self._served = None
                done = await publish(self._means, self._name, wanted)
            except Exception as err:
                self._failed(err, batch)
                return
            self._take(wanted, done)
            for part in batch:
                for record in part.records or ():
                    if record in done.failed:
                        part.fail(done.failed[record])
        if waiting is not None:
            self._spawn(waiting.prove([part for part in batch if part.waits]))

    def _take(self, wanted: Records, done: ChallengesPublished) -> None:
        """Note what is served now, and tell."""
        served = wanted - done.failed.keys()
        if served:
            updated = bool(self._means.updated(self._name)) or None
            what = Reason(InDns.CHALLENGES_GIVEN, number=len(served), updated=updated)
        elif done.before:
            what = Reason(InDns.CHALLENGES_BACK)
        else:
            what = Reason(InDns.NO_CHALLENGES)
        self._tell("dns-published", what.of(f"zone {self._name}"))
        if done.stranded:
            self._tell("order-trouble", done.stranded)
        if done.left:
            self._later(Transient(done.left))
        elif done.failed:
            self._not_before = clock() + 1.0  # until the orders that failed have gone
        else:
            self._served, self._trouble, self._not_before = wanted, None, 0.0

    def _later(self, err: Exception) -> None:
        """What was to be taken back is tried again by the table."""
        now, attempts = datetime.now(UTC), self._trouble.attempts if self._trouble else 0
        failed = self._trouble = Trouble.of(err, attempts, now, jitter=_DICE.random())
        self._not_before = clock() + (failed.next_try - now).total_seconds()
        why = Reason(InDns.OLD_CHALLENGES, why=reason_of(err), at=failed.next_try)
        self._tell("order-trouble", why)

    def _failed(self, err: Exception, batch: list[OrderPart]) -> None:
        """Tell those who wait; what was to be taken back is tried again by the table."""
        for part in batch:
            part.fail(err)
        if batch:
            self._not_before = clock() + wait_after(Failure.TRANSIENT, 1).total_seconds()
            return
        if not isinstance(err, SslmError):
            self._bug(f"zone {self._name}: {text_of(err)}", err)
        self._later(err)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)

    # --- beginning, end ---

    async def look_at_what_is_left(self) -> None:
        if self._parts or self._served is None:
            return  # it is being seen to
        look = partial(left_behind, self._means, self._name)
        left, missing = await self._means.in_thread(look)
        if left:
            self._served = None
            self._dirty_since = clock()
            self._touch()
        elif missing:
            await self._make_files(missing)

    async def _make_files(self, folders: tuple[str, ...]) -> None:
        """Put a file into folders that have none, unless an order is about to do it."""
        async with self._publishing:
            if self._parts or self._served is None:
                return
            try:
                await make_files(self._means, self._name, folders)
            except SslmError as err:
                self._served = None
                self._later(err)
                self._touch()
            else:
                what = Reason(InDns.NO_CHALLENGES)
                self._tell("dns-published", what.of(f"zone {self._name}"))

    async def refresh(self) -> Reason:
        self._served = None
        try:
            await self._publish_now()
        finally:
            self._touch()
        return Reason(InDns.CHALLENGES_AGAIN, number=len(self._wanted()))

    async def flush(self) -> None:
        if self._served != self._wanted():
            with suppress(SslmError):  # told; the next start takes it up
                await self._publish_now()

    async def _publish_now(self) -> None:
        async with self._publishing:
            wanted = self._wanted()
            self._take(wanted, await publish(self._means, self._name, wanted))

    async def stop(self) -> None:
        for task in self._waits:
            task.cancel()
        if self._waits:
            await asyncio.wait(self._waits)
