"""What people change while I4 is kept: configuration, include files, MX hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.dane_site import ARG, HOST, RSA, ZONE, DaneWorld, clean, dane_world
from tests.stand.server import wait_until
from tests.stand.site import EC


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DaneWorld]:
    with dane_world(tmp_path) as one:
        yield one


def records_of(text: str) -> list[str]:
    """Return the lines of an include file that say something."""
    return [line for line in text.splitlines() if line and not line.startswith(";")]


def test_files_changed_by_hand_other_mx_hosts_and_the_end(world: DaneWorld) -> None:
    site, primary = world.site, world.primary
    world.begin()
    probes = world.prober()
    probes.wait_probes(10)
    file = primary.tlsa_dir / f"tlsa.{ZONE}"
    ours = file.read_text()
    assert len(records_of(ours)) == 2  # of the zone itself, and of its MX host

    # An include file that somebody changed, and one that is gone.
    file.write_text(f"_25._tcp.{ZONE}. 60 IN TLSA 3 1 1 {'00' * 32}\n")
    assert "2 TLSA records" in site.ctl("dns-refresh", ARG).stdout
    assert file.read_text() == ours
    file.unlink()
    serial = primary.serial(ZONE)
    site.ctl("reload")
    wait_until(lambda: file.exists() and file.read_text() == ours, "the file")
    # The name server's command comes after the file, and writes the serial into the zone file.
    primary.wait_serial(ZONE, serial + 1)
    site.wait_settled()

    # Another MX host of the zone, and one outside.
    zone_file = primary.zone_file(ZONE)
    more = "@ MX 20 mail2\n@ MX 30 mx.example.net.\nmail2 A 127.0.0.1\n"
    zone_file.write_text(zone_file.read_text() + more)
    primary.reload(ZONE)
    for one in world.names:
        one.wait_answer(ZONE, "MX", "mail2")
    assert "3 TLSA records" in site.ctl("dns-refresh", ARG).stdout
    second = world.owner.replace(HOST, f"mail2.{ZONE}")
    assert world.wait_shown(1, second) == world.wait_shown(1) == {world.served()}
    site.wait_line("MX host mx.example.net")
    assert "example.net" not in file.read_text()
    assert "all fits" in site.ctl("dane", "--now").stdout
    world.cycle()

    # Nobody is there to tell of MX hosts.
    ours = file.read_text()
    for one in world.names:
        one.kill()
    site.ctl("dns-refresh", ARG, status=None)
    assert file.read_text() == ours
    for one in world.names:
        one.start()
    assert "3 TLSA records" in site.ctl("dns-refresh", ARG).stdout
    assert world.wait_shown(1, second) == world.wait_shown(1)
    site.wait_settled()
    assert clean(probes).first_seen_keys == 2

    # The end of DANE.
    site.dane = "[]"
    site.write()
    site.ctl("reload")
    world.wait_shown(0)
    world.wait_shown(0, second)
    assert file.read_text().startswith(";")
    assert records_of(file.read_text()) == []
    site.wait_settled()
    before = world.renew()
    world.wait_rolled(before)
    # The group of CAs is no zone, whatever was reloaded.
    assert not any("zone ca:" in line for line in site.lines)


def test_another_combination_while_a_set_is_on_deck(tmp_path: Path) -> None:
    with dane_world(tmp_path, lagging=True) as world:
        site = world.site
        world.begin()
        probes = world.prober()
        probes.wait_probes(10)

        # Its wait for records is over, the other one is not.
        site.globals["min_roll_mins"] = "10"
        site.write()
        site.ctl("reload")
        serving = world.served().split()[-1]
        before = world.renew()
        wait_until(lambda: len(world.records()) == 2, "both records")
        world.third.refresh(ZONE)
        site.wait_cert(lambda one: one["phase"] == "advertised", "the end of the wait")

        # The key in use comes first.
        site.dane = world.entries((3, 1, 1), (3, 1, 2))
        site.write()
        site.ctl("reload")
        wait_until(lambda: len(world.records()) == 3, "the new combination")
        site.wait_cert(lambda one: one["phase"] == "issued", "another wait")
        site.globals["min_roll_mins"] = "0"
        site.write()
        site.ctl("reload")
        probes.wait_probes(15)
        now = site.cert()
        assert "3 1 2 is new there" in now["reason"]
        assert now["curr"]["serial"] == before
        assert sum(one.startswith("3 1 1 ") for one in world.records()) == 2
        assert f"3 1 1 {serving}" in world.records()

        # Then the one on deck.
        world.third.refresh(ZONE)
        wait_until(lambda: len(world.records()) == 4, "all records")
        probes.wait_probes(5)
        assert site.cert()["curr"]["serial"] == before
        world.third.refresh(ZONE)
        world.wait_rolled(before)
        wait_until(lambda: len(world.records()) == 2, "the new records alone")
        assert world.served() in world.records()
        assert clean(probes).first_seen_keys == 2


def test_two_services_at_one_owner(world: DaneWorld) -> None:
    """Clients heed the strongest digest only: it has to be there for the other's key as well."""
    site = world.site
    site.services = {"mail": EC, "mail-rsa": RSA}
    world.begin(dane=False)
    site.danes = {"mail-rsa": world.entries((3, 1, 2))}
    site.dane = world.entries((3, 1, 1))
    site.write()
    site.ctl("reload")
    four = world.wait_shown(4)
    site.wait_settled()
    assert sorted(one[:6] for one in four) == ["3 1 1 ", "3 1 1 ", "3 1 2 ", "3 1 2 "]
    assert world.served() in four
    probes = world.prober()
    probes.wait_probes(10)
    world.cycle()
    site.wait_settled()
    assert len(four & world.wait_shown(4)) == 2
    before = site.serials()
    site.ctl("force-renew", f"{ZONE}:mail-rsa")
    site.wait_on_deck(f"{ZONE}/mail-rsa")
    site.wait_settled()
    after = site.serials()
    assert {name for name in after if after[name] != before[name]} == {f"{ZONE}/mail-rsa"}
    assert four & world.wait_shown(4) == set()
    assert clean(probes).first_seen_keys >= 2


def test_a_class_that_depends_on_tlsa_is_restarted_when_records_change(tmp_path: Path) -> None:
    with dane_world(tmp_path) as world:
        world.begin()
        site = world.site
        site.smtp += "depends = ['tlsa']\n"
        site.write()
        site.ctl("reload")
        world.cycle()
        # For the record of the key to come, for the key itself, and when the old record went.
        site.wait_line("TLSA records of example.com changed", 2)
        site.wait_cert(
            lambda one: [server["state"] for server in one["servers"]] == ["proven"], "the last one"
        )
        restarts = [line for line in site.lines if "smtp on localhost was restarted" in line]
        assert len(restarts) >= 3
