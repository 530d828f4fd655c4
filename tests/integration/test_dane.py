"""I4 on real servers: no key is served, for one second, whose TLSA record a cache may lack."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.dane_site import ARG, HOST, ZONE, DaneWorld, clean, dane_world
from tests.stand.pair import Pair
from tests.stand.site import reasons_of, without_notes


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DaneWorld]:
    with dane_world(tmp_path) as one:
        yield one


def test_ten_cycles(world: DaneWorld) -> None:
    world.begin()
    probes = world.prober()
    probes.wait_probes(20)
    serials = {world.cycle() for _ in range(10)}
    assert clean(probes).first_seen_keys == 11
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
    told = site.ctl("dane", "--now", status=1).stdout
    assert "would refuse it" in told

    for file in files:
        shutil.copy(site.curr / file.name, file)
    assert world.mail is not None
    assert world.mail.reload().returncode == 0
    site.ctl("dns-refresh")
    for one in world.names:
        one.wait_answer(world.owner, "TLSA", "3 1 1 ")
    assert "all fits" in site.ctl("dane", "--now").stdout


def test_a_tree_of_ssl_mgr_is_taken_over_with_its_records(world: DaneWorld) -> None:
    """Both records are in DNS, nothing is noted: they stay, and the roll waits as ever."""
    world.site.globals["min_roll_mins"] = "60"
    world.begin()
    site = world.site
    site.ctl("force-renew", ARG)
    site.wait_cert(lambda one: one["phase"] == "advertised", "the end of the wait")
    before = site.cert()
    probes = world.prober()
    probes.wait_probes(10)
    site.stop()

    both = world.records()
    assert len(both) == 2
    text = "".join(f"{world.owner}. IN TLSA {record}\n" for record in both)
    folder = site.top / "certs" / ZONE
    for file in (folder / f"tlsa.{ZONE}", world.primary.tlsa_dir / f"tlsa.{ZONE}"):
        file.write_text(text)
    (folder / ".dane.toml").unlink()
    (folder / "mail" / "state.toml").unlink()
    site.start()
    # Nobody knows for how long they have been there, nor with which TTL: half an hour, say.
    after = site.wait_cert(lambda one: "seen" in reasons_of(one), "the wait")
    assert reasons_of(after)["seen"]["ttl"] == 1800
    for which in ("curr", "next"):
        assert without_notes(after, which) == without_notes(before, which)
    assert world.records() == both
    assert f"{world.owner}. 1 IN TLSA" in (world.primary.tlsa_dir / f"tlsa.{ZONE}").read_text()
    probes.wait_probes(10)
    assert probes.outcome().failures == []
