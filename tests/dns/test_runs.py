"""Runs of the command of [dns]: one for all zones that wait; one broken zone holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from sslmd.config.load import load
from sslmd.config.model import Argv
from sslmd.core.errors import Overdue, Permanent, Transient
from sslmd.core.host.commands import is_per_zone, runs_for, with_zones
from sslmd.core.names import ZoneName
from sslmd.dns.command import Change
from sslmd.dns.runs import Pace, Runs

P = ParamSpec("P")
T = TypeVar("T")

ZONES = [ZoneName(f"z{number}.example") for number in range(1, 9)]
ONE, TWO, THREE = ZONES[:3]
QUICK = Pace(quiet=0.05, longest=0.5, along=0.2)

# Seconds. A bound for what would otherwise hang.
LONG = 20

NOTHING = b"; nothing\n"


# Nothing here waits for a clock or a thread.
pytestmark = pytest.mark.virtual_time


class World:
    """A command that notes how it was called, and does what the test says."""

    def __init__(self, top: Path, dns: str = "restart_cmd = '/sign'", pace: Pace = QUICK) -> None:
        (top / "conf.d").mkdir()
        self.top = top
        self.config = load(self._conf(dns))
        self.calls: list[Argv] = []
        self.command: Callable[[Argv], None] = lambda argv: None
        self.hold = asyncio.Event()
        self.hold.set()
        self.hold_at = 0  # the call that hangs, counted from 1
        self.running = self.most = 0
        self.runs = Runs(lambda: self.config, self._run, self._thread, pace)

    def _conf(self, dns: str) -> Path:
        (self.top / "conf.d/ssl-mgr.conf").write_text(f"[dns]\n{dns}\n")
        return self.top / "conf.d"

    async def _thread(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return func(*args, **kwargs)

    async def _run(self, argv: Argv) -> None:
        self.calls.append(argv)
        if len(self.calls) == self.hold_at:
            self.hold.clear()
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.hold.wait()
            self.command(argv)
        finally:
            self.running -= 1

    async def ask(self, *zones: ZoneName) -> dict[ZoneName, str]:
        """Ask for a run for zones; return what each was told, "" for well."""
        answers = {zone: self.runs.ask(zone) for zone in zones}
        return {zone: await self.answer(answer) for zone, answer in answers.items()}

    async def answer(self, answer: asyncio.Future[None]) -> str:
        async with asyncio.timeout(LONG):
            try:
                await answer
            except (Transient, Permanent) as err:
                return str(err)
        return ""

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(LONG):
            while not check():
                await asyncio.sleep(0.01)

    def write(self, zone: ZoneName, text: str) -> Change:
        """Write the include file of a zone, as publishing does."""
        path = self.file(zone)
        before = path.read_bytes() if path.exists() else None
        path.write_text(text)
        return Change(str(path), before, text.encode(), NOTHING)

    def file(self, zone: ZoneName) -> Path:
        return self.top / f"include.{zone}"


def names(*zones: ZoneName) -> Argv:
    return ("/sign", "--serial_bump", *(zone.text for zone in zones))


def breaks(*zones: ZoneName) -> Callable[[Argv], None]:
    """A signer that says at the end that one of its zones could not be loaded."""

    def command(argv: Argv) -> None:
        if broken := [zone.text for zone in zones if zone.text in argv]:
            raise Transient(f"/sign exited with 1: {', '.join(broken)} is broken")

    return command


async def test_all_that_wait_share_a_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert set((await world.ask(*reversed(ZONES))).values()) == {""}
    assert world.calls == [names(*ZONES)]


async def test_what_comes_while_it_runs_goes_into_the_next(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.hold.clear()
    first = world.runs.ask(ONE)
    await world.until(lambda: world.calls)
    later = [world.runs.ask(zone) for zone in (ONE, TWO, THREE)]
    await asyncio.sleep(3 * QUICK.quiet)
    assert world.calls == [names(ONE)]
    assert not first.done()
    world.hold.set()
    assert await world.answer(first) == ""
    assert not any(one.done() for one in later)  # they were not in it
    assert [await world.answer(one) for one in later] == [""] * 3
    assert world.calls == [names(ONE), names(ONE, TWO, THREE)]


async def test_files_that_are_being_written_are_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.runs.writing():
        first = world.runs.ask(ONE)
        await asyncio.sleep(3 * QUICK.quiet)
        assert world.calls == []
        second = world.runs.ask(TWO)
    await first
    await second
    assert world.calls == [names(ONE, TWO)]


async def test_but_not_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.runs.writing():
        assert await world.ask(ONE) == {ONE: ""}


async def test_a_failure_is_that_of_the_zones_that_fail_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.command = breaks(TWO)
    told = await world.ask(*ZONES)
    assert told.pop(TWO) == "/sign exited with 1: z2.example is broken"
    assert set(told.values()) == {""}
    assert world.calls == [names(*ZONES), *(names(zone) for zone in ZONES)]
    # Together once more the next time: it may be right by then.
    world.calls.clear()
    world.command = breaks()
    await world.ask(*ZONES)
    assert world.calls == [names(*ZONES)]


async def test_who_comes_while_zones_are_tried_one_by_one_does_not_wait_for_all(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, pace=Pace(quiet=0.05, longest=0.1, along=0.2))
    world.command = breaks(ONE)
    world.hold_at = 3  # all, the first, the second
    answers = [world.runs.ask(zone) for zone in ZONES]
    new = ZoneName("new.example")
    await world.until(lambda: world.running and len(world.calls) == 3)
    mine = world.runs.ask(new)
    again = world.runs.ask(ZONES[7])  # it is still to be tried: that one serves this, too
    await asyncio.sleep(0.3)
    world.hold.set()
    assert await world.answer(mine) == ""
    assert "z1.example is broken" in await world.answer(answers[0])
    assert [await world.answer(answer) for answer in (*answers[1:], again)] == [""] * 8
    assert world.calls == [
        *(names(*ZONES), names(ONE), names(TWO), names(new)),
        *(names(zone) for zone in ZONES[2:]),
    ]


async def test_a_command_that_cannot_be_started_is_not_tried_for_each(tmp_path: Path) -> None:
    world = World(tmp_path)

    def command(argv: Argv) -> None:
        raise Permanent("cannot start /sign: No such file")

    world.command = command
    assert set((await world.ask(*ZONES)).values()) == {"cannot start /sign: No such file"}
    assert len(world.calls) == 1


async def test_a_bug_leaves_nobody_waiting(tmp_path: Path) -> None:
    world = World(tmp_path)

    def command(argv: Argv) -> None:
        raise ZeroDivisionError

    world.command = command
    for answer in [world.runs.ask(zone) for zone in (ONE, TWO)]:
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(answer, LONG)
    world.command = breaks()
    assert await world.ask(ONE) == {ONE: ""}


async def test_who_does_not_wait_any_more_is_left_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    one, two = world.runs.ask(ONE), world.runs.ask(TWO)
    one.cancel()
    await two
    assert world.calls == [names(TWO)]
    three = world.runs.ask(THREE)
    three.cancel()
    await asyncio.sleep(3 * QUICK.quiet)
    assert world.calls == [names(TWO)]


async def test_a_stop_ends_the_command_and_lets_everybody_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.hold.clear()
    first = world.runs.ask(ONE)
    await world.until(lambda: world.running)
    second = world.runs.ask(TWO)
    await asyncio.wait_for(world.runs.stop(), LONG)
    assert first.cancelled()
    assert second.cancelled()
    assert world.running == 0
    assert world.calls == [names(ONE)]


# --- ways to call it ---


async def test_a_run_for_each_zone(tmp_path: Path) -> None:
    world = World(tmp_path, "restart_cmd = '/sign {zone}'")
    world.command = breaks(TWO)
    world.hold.clear()
    answers = {zone: world.runs.ask(zone) for zone in (ONE, TWO)}
    answers[THREE] = world.runs.ask(THREE)
    await world.until(lambda: len(world.calls) == 3)
    more = world.runs.ask(ONE)
    await asyncio.sleep(3 * QUICK.quiet)
    assert len(world.calls) == 3  # never two of one zone at a time
    world.hold.set()
    told = {zone: await world.answer(answer) for zone, answer in answers.items()}
    assert told[ONE] == told[THREE] == ""
    assert "z2.example is broken" in told[TWO]
    assert await world.answer(more) == ""
    assert sorted(world.calls) == [("/sign", zone.text) for zone in (ONE, ONE, TWO, THREE)]


async def test_no_more_than_sixteen_at_a_time(tmp_path: Path) -> None:
    world = World(tmp_path, "restart_cmd = '/sign {zone}'")
    world.hold.clear()
    zones = [ZoneName(f"n{number}.example") for number in range(40)]
    answers = [world.runs.ask(zone) for zone in zones]
    await world.until(lambda: world.running == 16)
    await asyncio.sleep(3 * QUICK.quiet)
    world.hold.set()
    assert [await world.answer(answer) for answer in answers] == [""] * 40
    assert world.most == 16


async def test_commands_in_order_and_not_after_a_failure(tmp_path: Path) -> None:
    world = World(tmp_path, "restart_cmd = ['/sign', '/check {zone}', '/load {zones} now']")
    world.command = lambda argv: breaks(TWO)(argv) if argv[0] == "/check" else None
    told = await world.ask(ONE, TWO, THREE)
    assert (told[ONE], told[THREE]) == ("", "")
    assert "z2.example is broken" in told[TWO]
    assert [call for call in world.calls if call[0] != "/check"] == [
        names(ONE, TWO, THREE),
        ("/load", ONE.text, THREE.text, "now"),
    ]
    assert sorted(call for call in world.calls if call[0] == "/check") == [
        ("/check", zone.text) for zone in (ONE, TWO, THREE)
    ]


async def test_a_reload_counts_from_the_next_run(tmp_path: Path) -> None:
    """Also while zones are tried one by one."""
    world = World(tmp_path)
    corrected = replace(world.config.dns, restart=(("/other",),))

    def command(argv: Argv) -> None:
        world.config = replace(world.config, dns=corrected)
        world.command = breaks()
        raise Transient("/sign exited with 1")

    world.command = command
    answers = [world.runs.ask(zone) for zone in (ONE, TWO)]
    assert [await world.answer(answer) for answer in answers] == ["", ""]
    assert world.calls[1:] == [("/other", "--serial_bump", zone.text) for zone in (ONE, TWO)]


def test_how_a_command_is_called() -> None:
    bump = ("a", "--serial_bump", "x")
    assert with_zones(("a",), ["x"], pass_zones=True) == bump
    assert with_zones(("a", "{zone}"), ["x"], pass_zones=False) == ("a", "x")
    assert runs_for(("a", "{zone}", "b"), ["x", "y"], pass_zones=True) == [
        (("a", "x", "b"), ("x",)),
        (("a", "y", "b"), ("y",)),
    ]
    # A pattern that the program itself puts the zone into, as bind-reload does.
    pattern = ("a", "--zone-file", "/zones/{zone}")
    assert runs_for(pattern, ["x", "y"], pass_zones=True) == [
        ((*pattern, "--serial_bump", "x"), ("x",)),
        ((*pattern, "--serial_bump", "y"), ("y",)),
    ]
    assert not is_per_zone(pattern, pass_zones=False)
    # Who writes {zones} wants one run.
    assert runs_for((*pattern, "{zones}"), ["x", "y"], pass_zones=True) == [
        ((*pattern, "x", "y"), ("x", "y"))
    ]


# --- what is not urgent ---


async def test_what_is_not_urgent_goes_along(tmp_path: Path) -> None:
    world = World(tmp_path, pace=Pace(quiet=0.05, longest=0.5, along=LONG))
    failed: list[str] = []
    world.runs.along(ONE, (), lambda err: failed.append(str(err)))
    await asyncio.sleep(0.2)
    assert world.calls == []
    await world.ask(TWO)
    assert world.calls == [names(ONE, TWO)]
    assert failed == []


async def test_or_has_a_run_before_long(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.command = breaks(ONE)
    failed: list[str] = []
    for zone in (ONE, TWO):
        world.runs.along(zone, (), lambda err: failed.append(str(err)))
    await world.until(lambda: len(world.calls) == 3)
    assert world.calls == [names(ONE, TWO), names(ONE), names(TWO)]
    await world.until(lambda: failed)
    assert failed == ["/sign exited with 1: z1.example is broken"]


async def test_flush_waits_for_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, pace=Pace(quiet=LONG, longest=LONG, along=LONG))
    world.runs.along(ONE, (), lambda err: None)
    await asyncio.wait_for(world.runs.flush(), LONG / 2)
    assert world.calls == [names(ONE)]


# --- a file that makes it fail is put back ---


def loads(world: World, *broken: ZoneName) -> Callable[[Argv], None]:
    """A signer that fails for files with the word BAD in them, and for broken zones."""

    def command(argv: Argv) -> None:
        named = [zone for zone in ZONES if zone.text in argv] or ZONES
        for zone in named:
            file = world.file(zone)
            if zone in broken or (file.exists() and "BAD" in file.read_text()):
                raise Transient(f"/sign exited with 1: {zone}")

    return command


@pytest.mark.parametrize("before", ["", "; older\n"])
async def test_without_which_the_command_succeeds(tmp_path: Path, before: str) -> None:
    world = World(tmp_path)
    world.command = loads(world)
    if before:
        world.file(TWO).write_text(before)
    good = world.runs.ask(ONE, [world.write(ONE, "good")])
    bad = world.runs.ask(TWO, [world.write(TWO, "BAD")])
    assert await world.answer(good) == ""
    told = await world.answer(bad)
    assert told.startswith("/sign exited with 1: z2.example (zone z2.example: without its new")
    # One that was not there stays there: the zone may include it.
    assert world.file(TWO).read_text() == (before or NOTHING.decode())
    assert world.file(ONE).read_text() == "good"
    assert world.calls == [names(ONE, TWO), names(ONE), names(TWO), names(TWO)]


@pytest.mark.parametrize("dns", ["restart_cmd = '/sign'", "restart_cmd = '/s'\npass_zones = false"])
async def test_what_else_the_zone_has_to_say_is_said(tmp_path: Path, dns: str) -> None:
    """I6: a TLSA record that breaks a zone takes no challenge with it, in the same run."""
    world = World(tmp_path, dns)
    other = tmp_path / "challenges"

    def command(argv: Argv) -> None:
        if "BAD" in world.file(ONE).read_text():
            raise Transient("/sign exited with 1: z1.example")

    world.command = command
    bad = world.runs.ask(ONE, [world.write(ONE, "BAD")])
    other.write_text("good")
    good = world.runs.ask(ONE, [Change(str(other), None, b"good", NOTHING)])
    assert await world.answer(good) == ""
    assert "without its new records the command succeeds" in await world.answer(bad)
    await world.runs.flush()
    assert world.file(ONE).read_text() == NOTHING.decode()
    assert other.read_text() == "good"
    # What was loaded last is what there is.
    assert len(world.calls) == 5


async def test_but_not_where_it_fails_all_the_same(tmp_path: Path) -> None:
    """The zone itself is broken, or the command fails although it did its work."""
    world = World(tmp_path)
    world.command = loads(world, TWO)
    world.file(TWO).write_text("; older\n")
    told = await world.answer(world.runs.ask(TWO, [world.write(TWO, "good")]))
    assert told == "/sign exited with 1: z2.example"
    assert world.file(TWO).read_text() == "good"
    # Tried again, nothing of it is new: one run is enough to know.
    world.calls.clear()
    await world.answer(world.runs.ask(TWO, [world.write(TWO, "good")]))
    assert world.calls == [names(TWO)]


async def test_nor_for_a_hang(tmp_path: Path) -> None:
    world = World(tmp_path)

    def command(argv: Argv) -> None:
        raise Overdue("/sign was ended after 120 s")

    world.command = command
    await world.answer(world.runs.ask(TWO, [world.write(TWO, "new")]))
    assert world.file(TWO).read_text() == "new"
    assert world.calls == [names(TWO)]


async def test_what_others_wrote_meanwhile_stays(tmp_path: Path) -> None:
    world = World(tmp_path)

    def command(argv: Argv) -> None:
        world.file(TWO).write_text("by hand")
        raise Transient("/sign exited with 1")

    world.command = command
    await world.answer(world.runs.ask(TWO, [world.write(TWO, "new")]))
    assert world.file(TWO).read_text() == "by hand"


async def test_a_stop_in_between_leaves_what_was_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.command = loads(world)
    world.file(TWO).write_text("; older\n")
    world.hold_at = 2
    answer = world.runs.ask(TWO, [world.write(TWO, "BAD")])
    await world.until(lambda: len(world.calls) == 2 and world.running)
    assert world.file(TWO).read_text() == "; older\n"
    await world.runs.stop()
    assert answer.cancelled()
    assert world.file(TWO).read_text() == "BAD"


async def test_a_command_that_names_no_zones_is_tried_file_by_file(tmp_path: Path) -> None:
    world = World(tmp_path, "restart_cmd = '/sign'\npass_zones = false")
    world.command = loads(world)
    answers = {
        zone: world.runs.ask(zone, [world.write(zone, "BAD" if zone == TWO else "good")])
        for zone in (ONE, TWO, THREE)
    }
    told = {zone: await world.answer(answer) for zone, answer in answers.items()}
    assert (told[ONE], told[THREE]) == ("", "")
    assert "without its new records the command succeeds" in told[TWO]
    assert world.file(ONE).read_text() == world.file(THREE).read_text() == "good"
    assert world.file(TWO).read_text() == NOTHING.decode()
    await world.until(lambda: not world.running and world.runs.idle)
    # All of them, none, one by one, and what is left of them.
    assert world.calls == [("/sign",)] * 6


async def test_and_not_where_nothing_helps(tmp_path: Path) -> None:
    world = World(tmp_path, "restart_cmd = '/sign'\npass_zones = false")
    world.command = loads(world, THREE)
    answers = [world.runs.ask(zone, [world.write(zone, "good")]) for zone in (ONE, TWO)]
    for answer in answers:
        assert await world.answer(answer) == "/sign exited with 1: z3.example"
    assert world.file(ONE).read_text() == world.file(TWO).read_text() == "good"
    assert world.calls == [("/sign",)] * 2


async def test_without_a_command_nobody_waits(tmp_path: Path) -> None:
    world = World(tmp_path, "", pace=Pace(quiet=LONG, longest=LONG, along=LONG))
    assert set((await asyncio.wait_for(world.ask(*ZONES), 1)).values()) == {""}
    assert world.runs.idle
