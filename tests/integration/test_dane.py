"""I4 on real servers: no key is served, for one second, whose TLSA record a cache may lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.dane_world import DaneWorld, dane_world


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
