"""The loop asks once for all that happens at a moment, and again when a job has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.jobs import Job, Look, Publish, ZoneJob
from sslmd.core.names import ZoneName
from sslmd.daemon.loop import Due, Loop
from tests.reasons import because

ONE, OTHER = ZoneName("example.com"), ZoneName("example.net")
LOOK, PUBLISH = Look(ONE, because("test")), Publish(ONE, because("test"))


class Zones:
    """A reconciler that says what the test wants, and notes what it is asked."""

    name = "zone"
    jobs = (Look, Publish)

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.asked: list[ZoneName] = []
        self.did: list[Job] = []
        self.due: list[Due] = []
        self.go_on = asyncio.Event()
        self.bugs: list[str] = []
        self.turned: list[None] = []
        self.breaks: ZoneName | None = None
        self.is_gone = self.vanishes = False

    def step(self, ident: ZoneName) -> Due:
        self.asked.append(ident)
        if ident == self.breaks:
            raise RuntimeError("a bug")
        return self.due.pop(0) if self.due else Due()

    async def do(self, job: ZoneJob) -> None:
        self.did.append(job)
        await self.go_on.wait()
        self.loop.touch(self.name, job.zone)  # what it brought about
        if self.vanishes:
            asyncio.get_running_loop().call_soon(self.vanish)

    def vanish(self) -> None:
        self.is_gone = True
        self.loop.forget(self.name, ONE)

    def after(self, job: Job) -> Iterable[ZoneName]:
        return (job.zone,) if isinstance(job, ZoneJob) and not self.is_gone else ()


@pytest.fixture
async def zones() -> AsyncIterator[Zones]:
    bugs: list[str] = []

    def bug(text: str, _: BaseException) -> None:
        bugs.append(text)

    turned: list[None] = []
    loop = Loop(
        *(lambda: datetime.now(UTC), 1, lambda _: "", lambda _: None, bug),
        lambda: turned.append(None),
    )
    found = Zones(loop)
    found.bugs, found.turned = bugs, turned
    loop.add(found)
    loop.start()
    yield found
    await loop.stop(1.0)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_happens_together_is_asked_for_once(zones: Zones) -> None:
    for _ in range(3):
        zones.loop.touch("zone", ONE)
    zones.loop.touch("zone", OTHER)
    assert zones.asked == []
    await turns()
    assert zones.asked == [ONE, OTHER]
    assert zones.loop.is_at_rest


async def test_the_end_of_a_job_and_what_it_brought_about_are_asked_for_once(zones: Zones) -> None:
    zones.due = [Due((LOOK,)), Due((PUBLISH,))]
    zones.loop.touch("zone", ONE)
    await turns()
    zones.loop.touch("zone", ONE)
    await turns()
    assert (zones.asked, zones.did) == ([ONE, ONE], [LOOK])  # its lane is busy
    zones.due = [Due((PUBLISH,))]
    zones.go_on.set()
    await turns()
    assert (zones.asked, zones.did) == ([ONE] * 4, [LOOK, PUBLISH])
    assert zones.loop.is_at_rest


async def test_what_goes_as_its_job_ends_keeps_nothing_from_being_written(zones: Zones) -> None:
    """Between the end of a job and its lane being free, a reload takes its thing away."""
    zones.due, zones.vanishes = [Due((LOOK,))], True
    zones.loop.touch("zone", ONE)
    await turns()
    zones.turned.clear()
    zones.go_on.set()
    await turns()
    assert zones.is_gone
    assert zones.turned, "what was noted until then is written"
    zones.turned.clear()
    zones.asked.clear()
    zones.loop.touch("zone", ONE)  # and the next one has it again
    await turns()
    assert (zones.asked, len(zones.turned)) == ([ONE], 1)


async def test_what_is_being_written_down_waits(zones: Zones) -> None:
    with zones.loop.held_back("zone", ONE):
        for name in (ONE, OTHER):
            zones.loop.touch("zone", name)
        await turns()
        assert not zones.loop.settle("zone", ONE)
        assert zones.asked == [OTHER]
    await turns()
    assert zones.asked == [OTHER, ONE]


async def test_what_is_no_more_is_not_asked_for(zones: Zones) -> None:
    zones.loop.touch("zone", ONE)
    zones.loop.touch("zone", OTHER)
    zones.loop.forget("zone", OTHER)
    await turns()
    assert zones.asked == [ONE]


async def test_it_is_asked_for_when_it_is_time(zones: Zones) -> None:
    zones.due = [Due(wakes=(("look", datetime.now(UTC) + timedelta(milliseconds=20)),))]
    zones.loop.touch("zone", ONE)
    async with asyncio.timeout(60):
        while len(zones.asked) < 2:
            await asyncio.sleep(0.01)


async def test_whoever_waits_for_it_has_it_settled(zones: Zones) -> None:
    zones.loop.touch("zone", ONE)
    zones.loop.settle("zone", ONE)
    zones.loop.settle("zone", OTHER)
    assert zones.asked == [ONE]
    await turns()
    assert zones.asked == [ONE]


async def test_one_that_breaks_stops_no_other(zones: Zones) -> None:
    zones.breaks = ONE
    for name in (ONE, OTHER):
        zones.loop.touch("zone", name)
    await turns()
    assert zones.asked == [ONE, OTHER]
    assert zones.bugs == ["zone example.com: an error of sslmd's own: RuntimeError('a bug')"]
    assert zones.loop.is_at_rest
