"""When Diffie-Hellman groups are looked at."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.core.jobs import WriteDh
from sslmd.core.names import CertId
from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say
from sslmd.daemon.dh import DhGroups
from sslmd.daemon.loop import Loop
from sslmd.daemon.tell.journal import Tell
from tests.reasons import text
from tests.stand.tools import Tools


class Noting(DhGroups):
    """Notes why groups are looked at."""

    def __init__(self, tools: Tools, loop: Loop, tell: Tell) -> None:
        super().__init__(tools.site, tools.threads, tools.telling, loop, tell)
        self.reasons: list[str] = []

    async def do(self, job: WriteDh) -> None:
        self.reasons.append(say(job.reason))
        await super().do(job)


class World:
    """The looks, their queue, a clock that stands, and what was told."""

    def __init__(self, tools: Tools, top: Path) -> None:
        self.tools, self.top = tools, top
        self.now = datetime(2126, 6, 1, 12, tzinfo=UTC)  # no timer fires by itself
        self.tools.site.now = lambda: self.now
        self.told: list[str] = []
        self.loop = Loop(
            lambda: datetime.now(UTC), 1, lambda _: "", lambda _: None, tools.telling.bug
        )
        self.queue = self.loop.queue
        self.looks = Noting(tools, self.loop, self._tell)
        self.loop.add(self.looks)

    def _tell(self, event: str, line: Reason | str, priority: int, cert: CertId | None) -> None:
        assert (priority, cert) == (4, None)
        self.told.append(f"{event}: {text(line)}")

    def start(self) -> None:
        """Take the first look."""
        self.loop.touch("dh")
        self.loop.start()

    def configure(self, table: str) -> None:
        """Write another `[dh]` and load it."""
        path = self.top / "conf.d/ssl-mgr.conf"
        before = path.read_text().partition("\n[dh]\n")[0]
        path.write_text(f"{before}\n[dh]\n{table}\n")
        self.tools.site.config = load(self.top / "conf.d")

    async def seen(self) -> list[str]:
        """Return why was looked since the last time."""
        while not self.loop.is_at_rest:
            await self.queue.idle()
            await asyncio.sleep(0)
        reasons, self.looks.reasons = self.looks.reasons, []
        return reasons

    async def later(self, **delta: float) -> list[str]:
        """Let time pass, as a tick of the loop sees it."""
        self.now += timedelta(**delta)
        self.loop.touch("dh")
        return await self.seen()


@pytest.fixture
def world(tools: Tools, tmp_path: Path) -> World:
    return World(tools, tmp_path)


FILES = "prod-certs/example.com/dh"


async def test_without_the_table_nothing_happens(world: World) -> None:
    world.start()
    assert await world.later(days=2) == []
    assert not (world.top / FILES).exists()


async def test_at_the_start_every_day_and_after_a_reload(world: World) -> None:
    world.configure("groups = ['ALL']\nparams = ['ffdhe2048']")
    world.start()
    assert await world.seen() == ["groups that are missing at the start"]
    assert (world.top / FILES / "dhparam.pem").exists()
    assert await world.later(hours=23) == []
    assert await world.later(hours=1) == ["the daily look"]
    assert await world.later(hours=6) == []
    old = world.tools.site.config
    world.configure("groups = ['ALL']\nparams = ['ffdhe3072']")
    await world.looks.reconfigured(old)
    assert await world.seen() == ["the configuration was loaded again"]
    assert (world.top / FILES / "dhparam.pem").readlink() == Path("dh-ffdhe3072.pem")
    assert await world.later(hours=23) == []
    await world.loop.stop(1.0)
    assert await world.later(days=2) == []


async def test_a_clock_that_is_set_back_does_not_stop_it(world: World) -> None:
    world.configure("groups = ['ALL']\nparams = ['ffdhe2048']")
    world.start()
    await world.seen()
    assert await world.later(days=-400) == ["the daily look"]
    assert await world.later(days=1) == ["the daily look"]
    await world.loop.stop(1.0)


async def test_trouble_is_told_and_tried_again(world: World) -> None:
    world.configure("groups = ['example.com']\nparams = ['ffdhe2048']")
    way = world.top / FILES
    way.parent.mkdir(parents=True)
    way.write_text("in the way")
    world.start()
    await world.seen()
    (told,) = world.told
    assert told.startswith("dh-trouble: cannot ")
    assert told.endswith("; it is tried again every day")
    assert world.looks.failures == 1
    way.unlink()
    assert await world.later(days=1) == ["the daily look"]
    assert (way / "dhparam.pem").exists()
    assert len(world.told) == 1
    await world.loop.stop(1.0)


async def test_what_is_generated_for_something_else_is_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = world.top / "bin/openssl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $$ > {world.top}/began\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    world.configure("groups = ['ALL']\nparams = [2048]")
    world.start()
    async with asyncio.timeout(60):
        while not (world.top / "began").exists():
            await asyncio.sleep(0.01)
        same = world.tools.site.config
        await world.looks.reconfigured(same)
        assert world.queue.busy("dh")  # it is for the same: it goes on
        world.configure("groups = ['ALL']\nparams = ['ffdhe2048']")
        await world.looks.reconfigured(same)
        assert await world.seen() == [
            "groups that are missing at the start",
            "the configuration was loaded again",
        ]
    assert (world.top / FILES / "dhparam.pem").exists()
    assert not world.told
    await world.loop.stop(1.0)
