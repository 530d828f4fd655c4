"""Challenges of many orders: one write, one command, one wait for a zone, and nothing stays."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from sslmd.config.load import load
from sslmd.config.model import Argv
from sslmd.core.challenges import Patience
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.jobs import PublishChallenges
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import TxtRecord
from sslmd.core.words.sentence import say
from sslmd.daemon.challenges import ChallengeZones
from sslmd.dns.challenges import Challenges
from sslmd.dns.include import CHALLENGE_FILES
from sslmd.dns.means import Means
from sslmd.dns.resolver import Resolver
from sslmd.dns.runs import Pace
from sslmd.store.layout import challenge_file
from tests.stand.asking import ASKER
from tests.stand.responder import Responder, Zone
from tests.stand.server import as_written
from tests.stand.world import START

P = ParamSpec("P")
T = TypeVar("T")

ZONE = ZoneName("example.com")
NET = ZoneName("example.net")
QUICK = Pace(quiet=0.05, longest=1.0, along=0.1)
SOON = Patience(gather=0.2, linger=0.1, longest=0.4)

# Seconds. A bound for what would otherwise hang.
LONG = 20


def record(name: str, value: str = "v", zone: ZoneName = ZONE) -> TxtRecord:
    return TxtRecord(DomainName(f"_acme-challenge.{name}.{zone}"), value)


# Nothing here waits for a clock or a thread.
pytestmark = pytest.mark.virtual_time


class SmallLoop:
    """What the daemon's loop does for the zones; its timers know no virtual time."""

    def __init__(self, challenges: Challenges) -> None:
        self._zones = ChallengeZones(challenges, lambda: START)
        self._running: dict[ZoneName, asyncio.Task[None]] = {}
        self._wakes: dict[ZoneName, asyncio.Handle] = {}
        self._stopped = False

    def touch(self, zone: ZoneName) -> None:
        asyncio.get_running_loop().call_soon(self._turn, zone)

    def _turn(self, zone: ZoneName) -> None:
        if self._stopped:
            return
        due = self._zones.step(zone)
        if due.wakes is not None and zone in self._wakes:
            self._wakes.pop(zone).cancel()
        for _, when in due.wakes or ():
            assert when is not None
            left = (when - START).total_seconds()
            self._wakes[zone] = asyncio.get_running_loop().call_later(left, self._turn, zone)
        for job in due.jobs if zone not in self._running else ():
            assert isinstance(job, PublishChallenges)
            self._running[zone] = asyncio.ensure_future(self._do(job))

    async def _do(self, job: PublishChallenges) -> None:
        try:
            await self._zones.do(job)
        finally:
            del self._running[job.zone]
            for zone in self._zones.after(job):
                assert isinstance(zone, ZoneName)
                self.touch(zone)

    async def stop(self) -> None:
        self._stopped = True
        for timer in self._wakes.values():
            timer.cancel()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)


class World:
    """Two zones, the files that they include, and a command that makes them load those."""

    def __init__(self, top: Path, patience: Patience = SOON) -> None:
        self.top = top
        self.acme = top / "acme"
        self.served = {zone: Zone(str(zone)) for zone in (ZONE, NET)}
        self.calls: list[Argv] = []
        self.told: list[str] = []
        self.command: Callable[[Argv], None] = lambda argv: None
        self.hold = asyncio.Event()
        self.hold.set()
        self.patience = patience

    @asynccontextmanager
    async def open(
        self, *, delay: float = 0, timeout: float = 5, dns: str = "", restart: str = "/reload"
    ) -> AsyncIterator[Challenges]:
        """Serve the zones and make challenges for them."""
        async with Responder(self._answer) as responder:
            self.acme.mkdir(exist_ok=True)
            conf = self.top / "conf.d"
            conf.mkdir(exist_ok=True)
            port = responder.server.port
            (conf / "ssl-mgr.conf").write_text(
                f"""
                [globals]
                dns_check_delay = {delay}
                dns_check_timeout = {timeout}
                dns_xtra_ns = []
                [[dns_primary]]
                domain = 'default'
                server = '127.0.0.1'
                port = {port}
                nameservers = ['127.0.0.1:{port}']
                [dns]
                acme_dir = 'acme'
                restart_cmd = '{restart}'
                {dns}
                """
            )
            self.config = load(conf)
            self.means = Means(
                lambda: self.config, self._run, self._thread, Resolver(ASKER, []), pace=QUICK
            )
            challenges = Challenges(
                self.means,
                lambda event, line: self.told.append(f"{event}: {say(line)}"),
                lambda text, err: self.told.append(f"bug: {text}"),
                lambda zone: loop.touch(zone),
                self.patience,
            )
            loop = SmallLoop(challenges)
            try:
                yield challenges
            finally:
                await loop.stop()
                await challenges.stop()

    def _answer(self, query, tcp):  # type: ignore[no-untyped-def]
        name = query.question[0].name.to_text(omit_final_dot=True)
        zone = next(zone for zone in self.served if name.endswith(zone.text))
        return self.served[zone](query, tcp)

    async def _thread(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return func(*args, **kwargs)

    async def _run(self, argv: Argv) -> None:
        self.calls.append(argv)
        if NET.text not in argv:
            await self.hold.wait()
        self.command(argv)
        named = [zone for zone in self.served if zone.text in argv]
        for zone in named or list(self.served):
            self.load(zone)

    def load(self, zone: ZoneName) -> None:
        served = self.served[zone]
        served.records.clear()
        served.serial += 1
        served.add(zone.text, "NS", f"ns.{zone}.")
        for one in self.file(zone):
            served.add(one.owner.text, "TXT", f'"{one.value}"')

    def file(self, zone: ZoneName = ZONE) -> frozenset[TxtRecord]:
        return CHALLENGE_FILES.read(challenge_file(self.acme, zone)) or frozenset()

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(LONG):
            while not check():
                await asyncio.sleep(0.01)


def silent(how: Reason) -> None:
    """Nobody listens."""


async def shown(challenges: Challenges, order: str, *records: TxtRecord) -> None:
    zones: dict[ZoneName, set[TxtRecord]] = {}
    for one in records:
        zones.setdefault(ZONE if one.owner.is_within(ZONE) else NET, set()).add(one)
    async with asyncio.timeout(LONG):
        wanted = {zone: frozenset(some) for zone, some in zones.items()}
        await challenges.show(order, wanted, silent)


async def test_an_order_alone_waits_for_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, Patience(gather=LONG, linger=LONG))
    async with world.open() as challenges:
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"), record("b"), record("a", "w"))
        assert world.calls == [("/reload", "--serial_bump", "example.com")]
        assert world.file() == {record("a"), record("b"), record("a", "w")}
        content = Path(challenge_file(world.acme, ZONE)).read_text()
        assert '_acme-challenge.a.example.com. 60 IN TXT "v"' in content
        assert world.told == ["dns-published: zone example.com: 3 challenge records written"]


async def test_orders_of_a_zone_share_one_write(tmp_path: Path) -> None:
    world = World(tmp_path, Patience(gather=LONG, linger=0.1))
    async with world.open() as challenges:
        for number in range(5):
            challenges.enter(str(number), [ZONE])
        waits = [
            asyncio.ensure_future(shown(challenges, str(number), record(f"n{number}")))
            for number in range(4)
        ]
        await asyncio.sleep(0.1)
        assert world.calls == []  # one is still to come
        await shown(challenges, "4", record("n4"))
        await asyncio.gather(*waits)
        assert len(world.calls) == 1

        for number in range(5):
            challenges.leave(str(number))
        await world.until(lambda: len(world.calls) == 2)
        await world.until(lambda: not world.file())
        assert Path(challenge_file(world.acme, ZONE)).read_text().startswith(";")
        assert world.served[ZONE].records.keys() == {
            key for key in world.served[ZONE].records if key[1].name == "NS"
        }


async def test_an_order_that_does_not_come_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        challenges.enter("stuck", [ZONE])
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        assert len(world.calls) == 1


async def test_one_that_gives_up_is_not_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, Patience(gather=LONG, linger=LONG))
    async with world.open() as challenges:
        challenges.enter("gone", [ZONE])
        challenges.enter("one", [ZONE])
        wait = asyncio.ensure_future(shown(challenges, "one", record("a")))
        await asyncio.sleep(0.05)
        challenges.leave("gone")
        await wait


async def test_old_records_go_with_the_next_orders_write(tmp_path: Path) -> None:
    world = World(tmp_path, Patience(gather=LONG, linger=LONG, longest=LONG))
    async with world.open() as challenges:
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        challenges.enter("two", [ZONE])
        challenges.leave("one")
        await shown(challenges, "two", record("b"))
        assert world.file() == {record("b")}
        assert len(world.calls) == 2


async def test_zones_with_a_run_each_do_not_wait_for_each_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open(restart="/reload {zone}") as challenges:
        world.hold.clear()  # the command for example.com hangs
        challenges.enter("slow", [ZONE])
        slow = asyncio.ensure_future(shown(challenges, "slow", record("a")))
        await world.until(lambda: world.calls)
        challenges.enter("other", [NET])
        await shown(challenges, "other", record("b", zone=NET))
        assert not slow.done()
        assert world.calls == [("/reload", ZONE.text), ("/reload", NET.text)]
        world.hold.set()
        await slow


async def test_one_order_in_two_zones(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        challenges.enter("one", [ZONE, NET])
        await shown(challenges, "one", record("a"), record("b", zone=NET))
        assert world.file(NET) == {record("b", zone=NET)}
        challenges.leave("one")
        await world.until(lambda: len(world.calls) == 2)
        assert world.calls == [("/reload", "--serial_bump", ZONE.text, NET.text)] * 2
        assert not world.file()
        assert not world.file(NET)


async def test_a_command_that_names_no_zones_is_run_once_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open(dns="pass_zones = false") as challenges:
        challenges.enter("one", [ZONE])
        challenges.enter("two", [NET])
        challenges.enter("three", [NET])
        world.hold.clear()
        waits = [
            asyncio.ensure_future(shown(challenges, "one", record("a"))),
            asyncio.ensure_future(shown(challenges, "two", record("b", zone=NET))),
            asyncio.ensure_future(shown(challenges, "three", record("c", zone=NET))),
        ]
        await world.until(lambda: world.calls)
        await asyncio.sleep(0.2)
        assert world.calls == [("/reload",)]
        world.hold.set()
        await asyncio.gather(*waits)
        assert world.calls == [("/reload",)]


async def test_every_folder_gets_the_challenges(tmp_path: Path) -> None:
    world = World(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    async with world.open() as challenges:
        dns = replace(world.config.dns, acme_dirs=(world.acme, other))
        world.config = replace(world.config, dns=dns)
        await challenges.start([ZONE])
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        for folder in (world.acme, other):
            assert CHALLENGE_FILES.read(challenge_file(folder, ZONE)) == frozenset({record("a")})
        # One that is gone keeps out no other, and is told.
        challenges.enter("two", [ZONE])
        for path in other.iterdir():
            path.unlink()
        other.rmdir()
        await shown(challenges, "two", record("b"))
        assert any(f"acme_dir {other} is not there" in line for line in world.told)
        # One that is taken out of the list gets an empty one.
        other.mkdir()
        challenges.enter("three", [ZONE])
        await shown(challenges, "three", record("c"))
        assert record("c") in (CHALLENGE_FILES.read(challenge_file(other, ZONE)) or ())
        dns = replace(world.config.dns, acme_dirs=(world.acme,))
        world.config = replace(world.config, dns=dns)
        challenges.enter("four", [ZONE])
        await shown(challenges, "four", record("d"))
        assert CHALLENGE_FILES.read(challenge_file(other, ZONE)) == frozenset()


# --- what goes wrong ---------------------------------------------------------------------


async def test_a_command_that_fails_fails_the_orders_of_its_zone_alone(tmp_path: Path) -> None:
    world = World(tmp_path)

    broken = True

    def run(argv: Argv) -> None:
        if "example.com" in argv and broken:
            raise Transient("/reload exited with 1")

    world.command = run
    async with world.open() as challenges:
        challenges.enter("one", [ZONE])
        challenges.enter("two", [NET])
        both = await asyncio.gather(
            shown(challenges, "one", record("a")),
            shown(challenges, "two", record("b", zone=NET)),
            return_exceptions=True,
        )
        assert str(both[0]) == "/reload exited with 1"
        assert both[1] is None
        # The file has the record; what nobody wants any more is taken back with the next write.
        assert world.file() == {record("a")}
        broken = False
        challenges.leave("one")
        challenges.enter("three", [ZONE])
        await shown(challenges, "three", record("c"))
        assert world.file() == {record("c")}


async def test_a_reload_that_serves_the_old_zone_is_found_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open(timeout=1) as challenges:
        world.load = lambda zone: None  # type: ignore[method-assign]
        heard: list[str] = []
        challenges.enter("one", [ZONE])
        wanted = {ZONE: frozenset({record("a")})}
        with pytest.raises(Transient, match="still serves") as failed:
            # Its limit counts by the real clock.
            await asyncio.wait_for(
                challenges.show("one", wanted, lambda how: heard.append(say(how))), 1e6
            )
        assert "serial 1" in str(failed.value)
        assert "named-checkzone" in str(failed.value)
        assert heard


async def test_orders_are_released_one_by_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        whole = world.load

        def load(zone: ZoneName) -> None:
            whole(zone)
            for key in list(world.served[zone].records):
                if b"late" in key[0].labels:
                    del world.served[zone].records[key]

        world.load = load  # type: ignore[method-assign]
        challenges.enter("quick", [ZONE])
        challenges.enter("late", [ZONE])
        late = asyncio.ensure_future(shown(challenges, "late", record("late")))
        await shown(challenges, "quick", record("quick"))
        assert not late.done()
        assert len(world.calls) == 1
        whole(ZONE)
        await late


async def test_one_that_leaves_is_not_looked_for_any_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        world.load = lambda zone: None  # type: ignore[method-assign]
        challenges.enter("one", [ZONE])
        wait = asyncio.ensure_future(shown(challenges, "one", record("a")))
        await world.until(lambda: world.calls)
        challenges.leave("one")
        with suppress(asyncio.CancelledError):
            await wait
        assert wait.cancelled()
        await world.until(lambda: len(world.calls) == 2)  # and taken back
        assert not world.file()


async def test_no_folder_and_no_way_are_that_orders_trouble(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        world.acme.rmdir()
        challenges.enter("one", [ZONE])
        with pytest.raises(Permanent, match=r"acme_dir .*acme is not there; make that directory"):
            await shown(challenges, "one", record("a"))
        assert world.calls == []
        challenges.leave("one")
        world.acme.mkdir()
        challenges.enter("two", [ZONE])
        await shown(challenges, "two", record("b"))


async def test_a_delay_counts_from_the_write(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open(delay=0.5) as challenges:
        challenges.enter("one", [ZONE])
        start = asyncio.get_running_loop().time()
        said: list[str] = []
        async with asyncio.timeout(LONG):
            wanted = {ZONE: frozenset({record("a")})}
            await challenges.show("one", wanted, lambda how: said.append(say(how)))
        assert asyncio.get_running_loop().time() - start >= 0.5
        # A time, not a number of seconds: it is read later than it was said.
        assert any(re.search(r"the CA may look at \d\d:\d\d:\d\d UTC$", one) for one in said), said


# --- what an earlier run left ------------------------------------------------------------


async def test_what_was_left_behind_is_taken_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        note = Path(world.means.tree.challenge_note(ZONE))
        assert CHALLENGE_FILES.read(str(note)) == frozenset({record("a")})
    # Killed: nobody left.
    async with world.open() as challenges:
        await challenges.start([ZONE, NET])
        await world.until(lambda: len(world.calls) >= 2)
        await world.until(lambda: not world.file())
        await world.until(lambda: not note.exists())


async def test_every_zone_has_its_file_from_the_start(tmp_path: Path) -> None:
    """New zones may include them already: one run loads them all."""
    world = World(tmp_path)
    async with world.open() as challenges:
        await challenges.start([ZONE, NET])
        await world.until(lambda: world.calls)
        for zone in (ZONE, NET):
            assert Path(challenge_file(world.acme, zone)).read_text().startswith(";")
        await challenges.start([ZONE, NET])
        await asyncio.sleep(0.3)
        assert world.calls == [("/reload", "--serial_bump", ZONE.text, NET.text)]


async def test_zones_in_use_get_a_file_without_a_run(tmp_path: Path) -> None:
    """What was not there is not included by a zone that is served."""
    world = World(tmp_path)
    async with world.open() as challenges:
        world.means.established = lambda zone: zone == ZONE
        await challenges.start([ZONE, NET])
        await world.until(lambda: world.calls)
        assert Path(challenge_file(world.acme, ZONE)).read_text().startswith(";")
        assert world.calls == [("/reload", "--serial_bump", NET.text)]


async def test_files_of_others_stay_until_the_next_order(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        path = Path(challenge_file(world.acme, ZONE))
        theirs = (
            ';; acme-challenge for : example.com\n_acme-challenge.b.example.com. 60 IN TXT "x"\n'
        )
        path.write_text(theirs)
        await challenges.start([ZONE])
        await asyncio.sleep(0.3)
        assert world.calls == []
        assert path.read_text() == theirs
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        assert world.file() == {record("a")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_file_that_a_signer_owns_is_read_all_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        await challenges.start([ZONE])
        await world.until(lambda: world.calls)
        path = Path(challenge_file(world.acme, ZONE))
        os.chown(path, 12345, 12345)
        before = as_written(path)
        await challenges.start([ZONE])
        await asyncio.sleep(0.3)
        assert len(world.calls) == 1
        assert as_written(path) == before
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        assert path.stat().st_mode & 0o777 == 0o644


async def test_flush_does_not_wait(tmp_path: Path) -> None:
    world = World(tmp_path, Patience(gather=LONG, linger=LONG))
    async with world.open() as challenges:
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        challenges.leave("one")
        await asyncio.wait_for(challenges.flush(), LONG)
        assert not world.file()
        assert len(world.calls) == 2


async def test_refresh_writes_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        await challenges.start([ZONE])
        Path(challenge_file(world.acme, ZONE)).write_text("by hand")
        assert say(await challenges.refresh(ZONE)) == "no challenge records served again"
        assert Path(challenge_file(world.acme, ZONE)).read_text().startswith(";")
        world.command = _fail
        with pytest.raises(SslmError, match="exited"):
            await challenges.refresh(ZONE)


def _fail(argv: Argv) -> None:
    raise Transient("/reload exited with 1")


async def test_another_folder_after_a_reload(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.open() as challenges:
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        old = Path(challenge_file(world.acme, ZONE))
        world.acme = tmp_path / "new"
        world.acme.mkdir()
        dns = replace(world.config.dns, acme_dirs=(world.acme,))
        world.config = replace(world.config, dns=dns)
        challenges.leave("one")
        challenges.enter("two", [ZONE])
        await shown(challenges, "two", record("b"))
        assert world.file() == {record("b")}
        assert CHALLENGE_FILES.read(str(old)) == frozenset()


async def test_an_error_of_our_own_is_told_and_holds_up_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)

    def broken(argv: Argv) -> None:
        raise ZeroDivisionError

    async with world.open() as challenges:
        challenges.enter("one", [ZONE])
        await shown(challenges, "one", record("a"))
        world.command = broken
        challenges.leave("one")
        await world.until(lambda: any(line.startswith("bug: ") for line in world.told))
        challenges.enter("two", [ZONE])
        with pytest.raises(ZeroDivisionError):
            await shown(challenges, "two", record("b"))
        challenges.leave("two")
        world.command = lambda argv: None
        challenges.enter("three", [ZONE])
        await shown(challenges, "three", record("c"))
