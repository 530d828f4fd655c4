"""Runs of the command of `[dns]`: one for all zones that wait, one after the other (I6).

Whoever has written include files of a zone asks here for a run, and is told how it went. All that
wait at one moment share a run; what comes while it runs goes into the next one. When a run for
several zones fails, each of them is tried by itself. A file without which the command succeeds is
put back to what it held before.

Commands with `{zone}` have a run for each zone, and zones do not wait for each other then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sslmd.config.model import Argv, Config
from sslmd.core.errors import Overdue, SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.host.commands import is_per_zone
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.dns.bounds import clock
from sslmd.dns.command import Change, DnsCommand
from sslmd.processes import InThread


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a run waits for more zones, in seconds.

    `quiet`: until nobody has asked for so long, the last run ended so long ago, and nobody is
    writing files; `alone`: the same where there is one zone, whose challenges and TLSA records can
    go together; `longest`: at most so long after the first. `along`: what is not urgent waits so
    long for a run that it can go with.
    """

    quiet: float = 1.0
    alone: float = 0.2
    longest: float = 8.0
    along: float = 10.0


@dataclass(frozen=True, slots=True)
class _RunAsked:
    """One who waits. `until`: when at the latest, for what is not urgent; None if it is."""

    changes: tuple[Change, ...]
    answer: asyncio.Future[None]
    at: float
    until: float | None = None


_Group = list[_RunAsked]


class Runs:
    """Runs the command of `[dns]`. One per daemon; all of it in the event loop.

    `command`: what does one run.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        run: Callable[[Argv], Awaitable[object]],
        in_thread: InThread,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self.command = DnsCommand(config, run, in_thread)
        self._config = config
        self._lanes: dict[ZoneName | None, _Lane] = {}
        self._writers = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Tell that files of a zone are being written: the next run waits for them, for a while.

        Ask for the run before this ends.
        """
        self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1
            for lane in self._lanes.values():
                lane.wake()

    @property
    def is_written(self) -> bool:
        """Whether files of some zone are being written at this moment."""
        return self._writers > 0

    @property
    def quiet(self) -> float:
        """How long nobody may have asked before a run begins, in seconds."""
        alone = len(self._config().zones()) <= 1
        return min(self.pace.alone, self.pace.quiet) if alone else self.pace.quiet

    def ask(self, zone: ZoneName, changes: Sequence[Change] = ()) -> asyncio.Future[None]:
        """Ask for a run for `zone`, whose files were changed; await the answer.

        It raises what the run failed with, which was for this zone or could not be told apart:
        `Transient`, `Permanent`. Who cancels the answer does not want the run any more.
        """
        return self._ask(zone, changes, None)

    def along(
        self, zone: ZoneName, changes: Sequence[Change], failed: Callable[[Exception], None]
    ) -> None:
        """Have `zone` go along with the next run, or have one of its own before long.

        For what nobody waits for. `failed` is called if it fails.
        """
        answer = self._ask(zone, changes, clock() + self.pace.along)

        def tell(done: asyncio.Future[None]) -> None:
            if not done.cancelled() and isinstance(err := done.exception(), Exception):
                failed(err)

        answer.add_done_callback(tell)

    def _ask(
        self, zone: ZoneName, changes: Sequence[Change], until: float | None
    ) -> asyncio.Future[None]:
        dns = self._config().dns
        answer = asyncio.get_running_loop().create_future()
        if not dns.restart:
            answer.set_result(None)
            return answer
        alone = all(is_per_zone(argv, pass_zones=dns.pass_zones) for argv in dns.restart)
        lane = self._lanes.setdefault(zone if alone else None, _Lane(self, self.command))
        lane.take_in(zone, _RunAsked(tuple(changes), answer, clock(), until))
        return answer

    @property
    def idle(self) -> bool:
        """Whether nobody waits, and nothing runs."""
        return all(lane.task is None or lane.task.done() for lane in self._lanes.values())

    async def flush(self) -> None:
        """Run now what waits to go along; return when every run is over."""
        for lane in self._lanes.values():
            lane.hurry()
        await self._ended()

    async def stop(self) -> None:
        """Stop at once, also the command that runs."""
        for lane in self._lanes.values():
            lane.stop()
        await self._ended()

    async def _ended(self) -> None:
        if tasks := [lane.task for lane in self._lanes.values() if lane.task is not None]:
            await asyncio.wait(tasks)


@dataclass(slots=True)
class _Lane:
    """Zones that share runs, and the task that does them while there is work."""

    runs: Runs
    command: DnsCommand
    task: asyncio.Task[None] | None = None
    _waiting: dict[ZoneName, _Group] = field(default_factory=dict)
    # Those of a run that failed: each is tried by itself.
    _alone: dict[ZoneName, _Group] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: bool = False
    # When the last run for several ended: who waited for it may have something new to say.
    _ended_at: float = 0.0

    def take_in(self, zone: ZoneName, asked: _RunAsked) -> None:
        """Have a zone wait for the next run."""
        groups = self._alone if zone in self._alone else self._waiting
        groups.setdefault(zone, []).append(asked)
        self.wake()

    def wake(self) -> None:
        """See whether it is time for a run."""
        self._changed.set()
        if (self.task is None or self.task.done()) and (self._waiting or self._alone):
            self.task = asyncio.get_running_loop().create_task(self._work())

    def hurry(self) -> None:
        """Wait for nobody from now on."""
        self._hurry = True
        self.wake()

    def stop(self) -> None:
        """Stop at once."""
        if self.task is not None:
            self.task.cancel()

    async def _work(self) -> None:
        try:
            while (rest := self._rest()) is not None or self._alone:
                self._changed.clear()
                if rest is not None and rest <= 0:
                    groups, self._waiting = self._waiting, {}
                    await self._guarded(groups)
                    self._ended_at = clock()
                elif self._alone:
                    zone = next(iter(self._alone))
                    group = [one for one in self._alone.pop(zone) if not one.answer.done()]
                    if not group:
                        continue
                    await self._guarded({zone: group})
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(rest):
                            await self._changed.wait()
        except asyncio.CancelledError:
            for group in (*self._waiting.values(), *self._alone.values()):
                _cancel(group)
            self._waiting, self._alone = {}, {}
            raise

    def _rest(self) -> float | None:
        """Return the seconds until it is time for a run; None if nobody waits."""
        for zone in list(self._waiting):
            self._waiting[zone] = [one for one in self._waiting[zone] if not one.answer.done()]
            if not self._waiting[zone]:
                del self._waiting[zone]
        every = [one for group in self._waiting.values() for one in group]
        if not every or self._hurry:
            return 0.0 if every else None
        pace, now = self.runs.pace, clock()
        ends = [one.until for one in every if one.until is not None]
        if urgent := [one.at for one in every if one.until is None]:
            ends.append(max(min(urgent), self._ended_at) + pace.longest)
            if not self.runs.is_written:
                ends.append(max(*urgent, self._ended_at) + self.runs.quiet)
        return min(ends) - now

    async def _guarded(self, groups: dict[ZoneName, _Group]) -> None:
        """One run for these; whatever happens, nobody waits for ever."""
        every = [asked for group in groups.values() for asked in group]
        try:
            await self._together(groups)
        except asyncio.CancelledError:
            _cancel(every)
            raise
        except Exception as err:
            _answer(every, err)

    async def _together(self, groups: dict[ZoneName, _Group]) -> None:
        """One run for all of them; those for which it failed are tried one by one."""
        failed = await self.command.once(sorted(groups))
        bare: dict[ZoneName, _Group] = {}
        for zone in sorted(groups):
            failure = failed.get(zone)
            if failure is None:
                _answer(groups[zone], None)
            elif not isinstance(failure.error, Transient):
                # A command that cannot be started, say: it is no zone's fault.
                _answer(groups[zone], failure.error)
            elif not failure.shared:
                await self._without_their_files({zone: groups[zone]}, failure.error)
            elif failure.named:
                self._alone.setdefault(zone, []).extend(groups[zone])
            else:
                bare[zone] = groups[zone]
        if bare:
            await self._without_their_files(bare, next(iter(failed.values())).error)

    async def _without_their_files(self, groups: dict[ZoneName, _Group], error: Exception) -> None:
        """A run failed that named one zone, or none: find out whose new files are the reason.

        If the command succeeds with what all of them held before, they come one after the other. If
        it does not, they get back what was written: some commands fail although they did their
        work.
        """
        every = [asked for group in groups.values() for asked in group]
        changes = [change for asked in every for change in asked.changes]
        # A hang is no file's fault.
        put = await self.command.put([] if isinstance(error, Overdue) else changes, older=True)
        try:
            is_better = bool(put) and not await self.command.once(sorted(groups))
        except BaseException:
            await self.command.put(put, older=False)
            raise
        if is_better:
            await self._one_by_one(groups, put, error)
        else:
            await self.command.put(put, older=False)
            _answer(every, error)

    async def _one_by_one(
        self, groups: dict[ZoneName, _Group], put: list[Change], error: Exception
    ) -> None:
        """Without the new files the command succeeds: they come one after the other.

        `put`: those that were put back. What fails with its own files alone keeps out no other, of
        its zone or of others: challenges and TLSA records of a zone have nothing to do with each
        other (I6).
        """
        units = [(zone, some) for zone in sorted(groups) for some in _units(groups[zone], put)]
        blamed = [asked for _, some in units for asked in some]
        for group in groups.values():
            _answer([asked for asked in group if asked not in blamed], None)
        if len(units) == 1:
            _answer(units[0][1], _put_back(units[0][0], error))
            return
        broken = False
        try:
            for zone, some in units:
                theirs = [change for asked in some for change in asked.changes]
                mine = await self.command.put([one for one in put if one in theirs], older=False)
                failed = await self.command.once([zone]) if mine else {}
                put = [one for one in put if one not in mine]
                if zone in failed:
                    broken = True
                    await self.command.put(mine, older=True)
                    _answer(some, _put_back(zone, failed[zone].error))
                else:
                    _answer(some, None)
        except BaseException:
            await self.command.put(put, older=False)
            raise
        if broken:
            await self.command.once(sorted(groups))  # the last that was loaded may have been broken


def _units(group: _Group, put: Sequence[Change]) -> list[_Group]:
    """Return those of a group whose files were put back, together if they wrote the same one."""
    units: list[_Group] = []
    for asked in group:
        if not any(one in put for one in asked.changes):
            continue
        paths = {one.path for one in asked.changes}
        same = [some for some in units if any(c.path in paths for one in some for c in one.changes)]
        units = [some for some in units if some not in same]
        units.append([*(one for some in same for one in some), asked])
    return units


def _put_back(zone: ZoneName, error: Exception) -> Exception:
    if not isinstance(error, SslmError):
        return error
    return Transient(Reason(Failed.PUT_BACK, why=error.reason, zone=zone))


def _answer(group: _Group, error: Exception | None) -> None:
    for one in group:
        if not one.answer.done():
            if error is None:
                one.answer.set_result(None)
            else:
                one.answer.set_exception(error)


def _cancel(group: _Group) -> None:
    for one in group:
        one.answer.cancel()
