"""What is held goes on by itself as soon as its files are right, and costs nothing until then."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from sslmd.config.model import Config
from sslmd.core.events import Asked
from sslmd.core.jobs import CertJob, Order, Pool, ReadHeld, Settle
from sslmd.core.names import CertId
from sslmd.core.spec import KeySpec, KeyType
from sslmd.core.state import Ask, CertState, Request
from sslmd.core.view import Decision
from sslmd.daemon.api.status_document import in_trouble, status_entry
from sslmd.daemon.held import PERIOD, HeldCerts
from sslmd.daemon.hub import Hub
from sslmd.daemon.loop import Due
from sslmd.daemon.registry import Decided, Gone, Registry, Taken, entry_of
from sslmd.daemon.tell.journal import Bus, Record
from sslmd.store.certs import Loaded
from tests.daemon.conftest import EXAMPLE
from tests.reasons import because
from tests.stand.tools import Tools, believe

ROOT = CertId("ca", "my-root")
SIGNER = CertId("ca", "my-int")
WEB = CertId("example.com", "web-ec")
MAIL = CertId("example.com", "mail-ec")


class Counting(Hub):
    """A hub that tells what it read."""

    def __init__(self, tools: Tools, bus: Bus) -> None:
        super().__init__(tools.site, tools.threads, tools.standings, tools.telling, bus, 2)
        self.read: list[CertId] = []

    def _read(self, which: Iterable[CertId], config: Config | None = None) -> dict[CertId, Loaded]:
        which = list(which)
        self.read += which
        return super()._read(which, config)


def status(hub: Hub, cert: CertId) -> dict[str, Any]:
    return status_entry(cert, hub.registry[cert])


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
async def hub(tools: Tools, issued: Path, tmp_path: Path) -> AsyncIterator[Counting]:
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


async def test_only_what_is_held_is_read(hub: Counting) -> None:
    await hub.look_at_held()
    assert hub.read == []


async def test_a_ca_goes_on_when_its_key_is_back(hub: Counting) -> None:
    told: list[Record] = []
    hub.bus.follow(told.append)
    curr = hub.site.tree.link(ROOT, "curr")
    with open(f"{curr}/privkey.pem", "r+b") as file:
        good = file.read()
        file.truncate(0)
    await hub.reconfigure(hub.site.config)
    one = status(hub, ROOT)
    assert "privkey.pem is not a usable private key" in one["last_error"]
    assert "it is looked at again within a minute" in one["last_error"]
    assert one["next_try"] is not None
    assert in_trouble(hub.registry[ROOT], hub.site.now())

    hub.read.clear()
    for _ in range(3):
        await hub.look_at_held()
    assert hub.read == [ROOT] * 3
    assert [one.event for one in told].count("held") == 1, "an alarm that stands is said once"

    with open(f"{curr}/privkey.pem", "wb") as file:
        file.write(good)
    await hub.look_at_held()
    assert (one := status(hub, ROOT))["last_error"] is None, one
    assert one["next_try"] is None
    assert not in_trouble(hub.registry[ROOT], hub.site.now())
    assert told[-1].event == "released"


async def test_a_certificate_goes_on_when_its_state_can_be_read(hub: Counting) -> None:
    told: list[Record] = []
    hub.bus.follow(told.append)
    path = hub.site.tree.state_file(WEB)
    with open(path, "r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("version = 1", "version = 9", 1))
    await hub.reconfigure(hub.site.config)
    one = status(hub, WEB)
    assert "is left alone, and its certificate too" in one["last_error"]
    assert one["next_try"] is not None

    with open(path, "w") as file:
        file.write(text)
    await hub.look_at_held()
    assert (one := status(hub, WEB))["last_error"] is None, one
    assert one["phase"] == "settled"
    assert any(one.event == "released" and one.cert == WEB for one in told)


class Stuck:
    """Jobs of certificates that begin, and end when they may: also those that are cancelled."""

    def __init__(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[CertId] = []
        self.may_end = asyncio.Event()
        monkeypatch.setattr(hub.certs, "_work", self._work)

    async def _work(self, job: CertJob) -> None:
        self.begun.append(job.cert)
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_end.wait()


def _enough_places(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others may have work too, and stay at it, in whatever order they begin."""
    monkeypatch.setitem(hub.queue._places, Pool.WORK, 100)


def force(hub: Hub, cert: CertId) -> None:
    now = hub.site.now()
    hub.registry.put(cert, Asked(Ask(Request.RENEW, now, force=True)))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_job_that_does_not_end_holds_up_the_reload_alone(
    hub: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be stopped: on a disk that hangs it may take for ever (I6)."""
    stuck, config = Stuck(hub, monkeypatch), hub.site.config
    _enough_places(hub, monkeypatch)
    force(hub, WEB)
    await until(lambda: WEB in stuck.begun)
    others = {cert: one for cert, one in config.services.items() if cert != WEB}
    reload = asyncio.create_task(hub.reconfigure(replace(config, services=others)))
    await until(lambda: WEB not in hub.registry)
    for _ in range(10):
        await asyncio.sleep(0)
    force(hub, MAIL)
    await until(lambda: MAIL in stuck.begun)
    assert not reload.done()
    stuck.may_end.set()
    assert await reload == ([], [WEB], [])


async def test_an_order_for_other_names_makes_way_while_it_still_waits_for_its_place(
    hub: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, config = Stuck(hub, monkeypatch), hub.site.config
    stuck.may_end.set()
    name = hub.registry[WEB].state.curr
    assert name is not None
    _enough_places(hub, monkeypatch)
    monkeypatch.setitem(hub.queue._places, Pool.ACME, 0)
    hub.queue.submit(Order(WEB, name.name, because("test")))
    old = config.services[WEB]
    key = KeySpec(KeyType.RSA, bits=2048)
    other = replace(old, spec=replace(old.spec, key=key), fingerprint="other")
    services = {**config.services, WEB: other}
    assert await hub.reconfigure(replace(config, services=services)) == ([], [], [WEB])
    (job,) = hub.queue.in_lane(f"cert {WEB}")
    assert not isinstance(job, Order)
    await until(lambda: WEB in stuck.begun)


async def test_what_leaves_and_what_comes_is_exchanged_at_one_instant(hub: Counting) -> None:
    """Between the two, nobody decides what DNS is to serve (I4)."""
    config, seen = hub.site.config, list[str]()
    old, new = config.services[WEB], CertId("example.com", "renamed")
    others = {cert: one for cert, one in config.services.items() if cert != WEB}
    others[new] = replace(old, spec=replace(old.spec, id=new))

    def hear(cert: CertId, event: object, *_: object) -> None:
        if cert in (WEB, new) and isinstance(event, Gone | Taken):
            seen.append(type(event).__name__)
            asyncio.get_running_loop().call_soon(seen.append, "something else")

    hub.registry.listen(hear)
    assert await hub.reconfigure(replace(config, services=others)) == ([new], [WEB], [])
    assert seen[:2] == ["Gone", "Taken"]


async def test_a_clock_that_is_set_back_delays_no_look(
    hub: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of zones go by another clock, which is not set with it."""
    asked: list[object] = []
    for reconciler in (hub.zones, hub.held):
        step = reconciler.step

        def ask(ident: Any, name: str = reconciler.name, step: Any = step) -> Due:
            asked.append((name, str(ident)))
            return cast(Due, step(ident))

        monkeypatch.setattr(reconciler, "step", ask)
    hub.zones.start()
    await until(lambda: hub.loop.is_at_rest)
    asked.clear()
    hub._clock_jumped(-86_400.0)
    await until(lambda: bool(asked) and hub.loop.is_at_rest)
    assert {("zone", "example.com"), ("held", "")} <= set(asked)


async def test_a_job_that_begins_while_a_request_is_written_down_waits_for_it(
    hub: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(hub, monkeypatch)
    stuck.may_end.set()
    why = because("test")
    job = Settle(WEB, why)
    hub.registry.put(WEB, Decided(Decision(why, job=job)))
    hub.certs._decided_at[WEB] = hub.site.now()
    with hub.loop.held_back("cert", WEB):
        force(hub, WEB)
        await asyncio.wait_for(hub.certs.do(job), 10)
        assert stuck.begun == []
    await until(lambda: stuck.begun == [WEB])


async def test_what_came_to_its_end_during_a_reload_is_read_again(hub: Counting) -> None:
    path = hub.site.tree.state_file(WEB)
    with open(path, "r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("version = 1", "version = 9", 1))
    reading = asyncio.ensure_future(hub.reconfigure(hub.site.config))
    await asyncio.sleep(0)  # it has begun
    believe(hub.registry, WEB, state=replace(hub.registry[WEB].state))
    await reading
    assert "is left alone, and its certificate too" in status(hub, WEB)["last_error"]


async def test_a_set_in_use_that_does_not_fit_is_told_while_its_ca_cannot_sign(
    hub: Counting,
) -> None:
    tree = hub.site.tree
    paths = [f"{tree.link(SIGNER, 'curr')}/privkey.pem", f"{tree.link(WEB, 'curr')}/cert.pem"]
    good = []
    for path in paths:
        with open(path, "r+b") as file:
            good.append(file.read())
            file.truncate(0)
    await hub.reconfigure(hub.site.config)
    one = status(hub, WEB)
    assert (one["curr"], one["last_error"]) == (None, None)
    assert "cert.pem is not a certificate" in one["unusable"]
    assert in_trouble(hub.registry[WEB], hub.site.now())

    for path, content in zip(paths, good, strict=True):
        with open(path, "wb") as file:
            file.write(content)
    await hub.look_at_held()
    assert (one := status(hub, WEB))["unusable"] is None, one
    assert one["curr"] is not None
    assert not in_trouble(hub.registry[WEB], hub.site.now())


async def test_a_link_that_leads_nowhere_is_not_taken_for_no_certificate_yet(
    hub: Counting,
) -> None:
    tree = hub.site.tree
    key = f"{tree.link(SIGNER, 'curr')}/privkey.pem"
    os.rename(key, f"{key}.away")
    link = tree.link(WEB, "curr")
    leads = os.readlink(link)
    os.unlink(link)
    os.symlink("db/20200101-00:00:00", link)
    await hub.reconfigure(hub.site.config)
    assert "points to set 20200101-00:00:00, which is not there" in status(hub, WEB)["unusable"]
    assert in_trouble(hub.registry[WEB], hub.site.now())

    os.rename(f"{key}.away", key)
    os.unlink(link)
    os.symlink(leads, link)
    before = os.listdir(tree.db_dir(WEB))
    for _ in range(10):  # what changes while it is read is looked at the next time
        await hub.look_at_held()
        if (one := status(hub, WEB))["curr"] is not None:
            break
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
    registry.put(
        WEB,
        Taken(
            entry_of(
                tools.site.config,
                tools.site.config.services[WEB],
                CertState(),
                because("no"),
            )
        ),
    )
    for _ in range(3):  # an error of ours does not end it
        now += PERIOD
        (job,) = held.step("").jobs
        assert isinstance(job, ReadHeld)
        await held.do(job)
        assert held.step("") == Due(wakes=(("look", now + PERIOD),))
    assert (count, len(bugs)) == (3, 1)
