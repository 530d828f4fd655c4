"""I4 on real servers: no key is served, for one second, whose TLSA record a cache may lack."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.dane_world import HOST, DaneWorld, dane_world
from tests.servers.pair import Pair


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DaneWorld]:
    with dane_world(tmp_path) as one:
        yield one


def test_ten_cycles(world: DaneWorld) -> None:
    world.begin()
    probes = world.prober()
    probes.wait_probes(20)
    serials = {world.cycle() for _ in range(10)}
    probes.wait_probes(20)
    outcome = probes.outcome()
    assert outcome.failures == []
    assert outcome.no_tlsa == outcome.unreachable == 0
    assert outcome.first_seen_keys == 11
    assert len(serials) == 10


def test_no_first_record_for_a_port_that_serves_another_key(world: DaneWorld) -> None:
    """It would turn away every sender that checks DANE."""
    own = world.top / "own"
    own.mkdir()
    files = Pair(world.top, "other").put(own)
    world.begin(files=files, dane=False)
    site = world.site
    site.dane = f"[[{world.port}, 'tcp', 3, 1, 1, 'MX']]"
    site.write()
    site.ctl("reload")
    line = site.wait_line("not published")
    assert f"{HOST}:{world.port} (127.0.0.1)" in line
    assert world.records() == []
    told = site.ctl("dane", status=1).stdout
    assert "would refuse it" in told

    for file in files:
        shutil.copy(site.curr / file.name, file)
    assert world.mail is not None
    assert world.mail.reload().returncode == 0
    site.ctl("dns-refresh")
    for one in world.names:
        one.wait_answer(world.owner, "TLSA", "3 1 1 ")
    assert "all fits" in site.ctl("dane").stdout
