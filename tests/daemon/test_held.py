"""What is held goes on by itself as soon as its files are right, and costs nothing until then."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sslmd.config.model import Config
from sslmd.core.jobs import ReadHeld
from sslmd.core.names import CertId
from sslmd.core.state import CertState
from sslmd.daemon.api.documents import status_entry
from sslmd.daemon.api.status_document import in_trouble
from sslmd.daemon.held import PERIOD, HeldCerts
from sslmd.daemon.loop import Due
from sslmd.daemon.planner import Planner
from sslmd.daemon.registry import Registry, Taken, entry_of
from sslmd.daemon.tell.journal import Bus, Record
from sslmd.store.certs import Loaded
from sslmd.workers.tools import Tools
from tests.daemon.conftest import EXAMPLE
from tests.stand.tools import believe

ROOT = CertId("ca", "my-root")
SIGNER = CertId("ca", "my-int")
WEB = CertId("example.com", "web-ec")


class Counting(Planner):
    """A planner that tells what it read."""

    def __init__(self, tools: Tools, bus: Bus) -> None:
        super().__init__(tools, bus, 2)
        self.read: list[CertId] = []

    def _read(self, which: Iterable[CertId], config: Config | None = None) -> dict[CertId, Loaded]:
        which = list(which)
        self.read += which
        return super()._read(which, config)


def status(planner: Planner, cert: CertId) -> dict[str, Any]:
    return status_entry(cert, planner.registry[cert])


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trees of the example when everything is issued."""
    top = tmp_path_factory.mktemp("issued")
    shutil.copytree(EXAMPLE, top / "conf.d")
    command = [sys.executable, "-m", "sslmd.daemon.main", "--once", "--conf-dir"]
    command += [str(top / "conf.d"), "--socket", str(top / "s")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return top


@pytest.fixture
async def planner(tools: Tools, issued: Path, tmp_path: Path) -> AsyncIterator[Counting]:
    """A site that is issued, and a daemon that has just been started on it."""
    for tree in ("certs", "prod-certs"):
        shutil.copytree(issued / tree, tmp_path / tree, symlinks=True)
    one = Counting(tools, Bus())
    one.load()
    one.touch_all()
    one.loop.start()
    await one.queue.idle()  # production is at another place now
    one.read.clear()
    yield one
    await one.stop(1.0)


async def test_only_what_is_held_is_read(planner: Counting) -> None:
    await planner.look_at_held()
    assert planner.read == []


async def test_a_ca_goes_on_when_its_key_is_back(planner: Counting) -> None:
    told: list[Record] = []
    planner.bus.follow(told.append)
    curr = planner.tools.tree.link(ROOT, "curr")
    with open(f"{curr}/privkey.pem", "r+b") as file:
        good = file.read()
        file.truncate(0)
    await planner.reconfigure(planner.tools.config)
    one = status(planner, ROOT)
    assert "privkey.pem is not a usable private key" in one["last_error"]
    assert "it is looked at again within a minute" in one["last_error"]
    assert one["next_try"] is not None
    assert in_trouble(planner.registry[ROOT], planner.tools.now())

    planner.read.clear()
    for _ in range(3):
        await planner.look_at_held()
    assert planner.read == [ROOT] * 3
    assert [one.event for one in told].count("held") == 1, "an alarm that stands is said once"

    with open(f"{curr}/privkey.pem", "wb") as file:
        file.write(good)
    await planner.look_at_held()
    assert (one := status(planner, ROOT))["last_error"] is None, one
    assert one["next_try"] is None
    assert not in_trouble(planner.registry[ROOT], planner.tools.now())
    assert told[-1].event == "released"


async def test_a_certificate_goes_on_when_its_state_can_be_read(planner: Counting) -> None:
    told: list[Record] = []
    planner.bus.follow(told.append)
    path = planner.tools.tree.state_file(WEB)
    with open(path, "r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("version = 1", "version = 9", 1))
    await planner.reconfigure(planner.tools.config)
    one = status(planner, WEB)
    assert "is left alone, and its certificate too" in one["last_error"]
    assert one["next_try"] is not None

    with open(path, "w") as file:
        file.write(text)
    await planner.look_at_held()
    assert (one := status(planner, WEB))["last_error"] is None, one
    assert one["phase"] == "settled"
    assert any(one.event == "released" and one.cert == WEB for one in told)


async def test_what_came_to_its_end_during_a_reload_is_read_again(planner: Counting) -> None:
    path = planner.tools.tree.state_file(WEB)
    with open(path, "r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("version = 1", "version = 9", 1))
    reading = asyncio.ensure_future(planner.reconfigure(planner.tools.config))
    await asyncio.sleep(0)  # it has begun
    believe(planner.registry, WEB, state=replace(planner.registry[WEB].state))
    await reading
    assert "is left alone, and its certificate too" in status(planner, WEB)["last_error"]


async def test_a_set_in_use_that_does_not_fit_is_told_while_its_ca_cannot_sign(
    planner: Counting,
) -> None:
    tree = planner.tools.tree
    paths = [f"{tree.link(SIGNER, 'curr')}/privkey.pem", f"{tree.link(WEB, 'curr')}/cert.pem"]
    good = []
    for path in paths:
        with open(path, "r+b") as file:
            good.append(file.read())
            file.truncate(0)
    await planner.reconfigure(planner.tools.config)
    one = status(planner, WEB)
    assert (one["curr"], one["last_error"]) == (None, None)
    assert "cert.pem is not a certificate" in one["unusable"]
    assert in_trouble(planner.registry[WEB], planner.tools.now())

    for path, content in zip(paths, good, strict=True):
        with open(path, "wb") as file:
            file.write(content)
    await planner.look_at_held()
    assert (one := status(planner, WEB))["unusable"] is None, one
    assert one["curr"] is not None
    assert not in_trouble(planner.registry[WEB], planner.tools.now())


async def test_a_link_that_leads_nowhere_is_not_taken_for_no_certificate_yet(
    planner: Counting,
) -> None:
    tree = planner.tools.tree
    key = f"{tree.link(SIGNER, 'curr')}/privkey.pem"
    os.rename(key, f"{key}.away")
    link = tree.link(WEB, "curr")
    leads = os.readlink(link)
    os.unlink(link)
    os.symlink("db/20200101-00:00:00", link)
    await planner.reconfigure(planner.tools.config)
    assert "points to set 20200101-00:00:00, which is not there" in status(planner, WEB)["unusable"]
    assert in_trouble(planner.registry[WEB], planner.tools.now())

    os.rename(f"{key}.away", key)
    os.unlink(link)
    os.symlink(leads, link)
    before = os.listdir(tree.db_dir(WEB))
    await planner.look_at_held()
    one = status(planner, WEB)
    assert (one["unusable"], one["curr"]["set"]) == (None, os.path.basename(leads))
    assert os.listdir(tree.db_dir(WEB)) == before, "nothing was made in its place"


async def test_it_is_looked_at_again_and_again(tools: Tools) -> None:
    now, count, bugs = datetime(2026, 6, 1, tzinfo=UTC), 0, []

    async def look() -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise RuntimeError("a bug")

    def bug(text: str, _: BaseException) -> None:
        bugs.append(text)

    registry = Registry()
    held = HeldCerts(look, registry, lambda: now, bug)
    # Nothing is held.
    assert held.step("") == Due(wakes=(("look", now + PERIOD),))
    now += PERIOD
    assert not held.step("").jobs
    registry.put(WEB, Taken(entry_of(tools.config, tools.config.services[WEB], CertState(), "no")))
    for _ in range(3):  # an error of ours does not end it
        now += PERIOD
        (job,) = held.step("").jobs
        assert isinstance(job, ReadHeld)
        await held.do(job)
        assert held.step("") == Due(wakes=(("look", now + PERIOD),))
    assert (count, len(bugs)) == (3, 1)
