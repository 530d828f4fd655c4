"""I4 in zones of other kinds: changed by updates, not signed, and no longer believed."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

from tests.stand.bind import Primary, Zone
from tests.stand.dane_site import ARG, ZONE, clean, dane_world
from tests.stand.unbound import Cache, Unbound


def test_dynamic_updates(tmp_path: Path) -> None:
    with dane_world(tmp_path, dynamic=True) as world:
        world.begin()
        probes = world.prober()
        probes.wait_probes(10)
        for _ in range(2):
            world.cycle()
        assert world.wait_shown(1) == {world.served()}
        assert "all fits" in world.site.ctl("dane", "--now").stdout
        assert clean(probes).first_seen_keys == 3
        assert world.primary.calls() == []


def test_a_zone_that_is_not_signed(tmp_path: Path) -> None:
    """Nobody heeds its records, which is told; but nothing stands still for that."""
    with dane_world(tmp_path, signed=False) as world:
        world.begin()
        told = f"zone {ZONE} is not signed, so nobody heeds its TLSA records"
        line = world.site.wait_line(told)
        assert "DANE needs DNSSEC; sign the zone" in line
        world.cycle()
        assert world.wait_shown(1) == {world.served()}
        assert told in world.site.ctl("dane", "--now").stdout
        assert told in world.site.ctl("check", status=1).stdout
        assert sum(told in one and "<4>" in one for one in world.site.lines) == 1


def test_a_zone_that_is_no_longer_believed(tmp_path: Path) -> None:
    with dane_world(tmp_path) as world:
        site, right = world.site, world.resolver
        assert right is not None
        world.begin()
        probes = world.prober()
        probes.wait_probes(10)
        right.stop()
        other = base64.b64encode(hashlib.sha512(b"another key").digest()).decode()
        folder, anchors = world.top / "wrong", {ZONE: f"257 3 13 {other}"}
        wrong = Unbound(folder, [world.primary], port=right.port, cache=Cache.NONE, anchors=anchors)
        with wrong:
            before = world.renew()
            found = site.wait_cert(lambda one: one["attempts"], "a roll that fails")
            assert right.address in found["last_error"]
            assert f"_{world.port}._tcp." in found["last_error"]
            assert right.address in site.ctl("check", status=1).stdout
            assert right.address in site.ctl("status").stdout
            probes.wait_probes(20)
            assert site.cert()["curr"]["serial"] == before
            # Asking for it is no help.
            site.ctl("roll", ARG, status=1)
            assert site.cert()["curr"]["serial"] == before
        right.start()
        site.ctl("roll", ARG)
        world.wait_rolled(before)
        site.ctl("check", status=0)

        # One of its name servers has lost the signatures.
        before = world.renew()
        world.wait_shown(2)
        world.second.stop()
        plain = Primary(world.top / "plain", [Zone(ZONE, world.zone.records)])
        plain.port, plain.address = world.second.port, world.second.address
        shutil.copy(world.primary.tlsa_dir / f"tlsa.{ZONE}", plain.tlsa_dir)
        with plain:
            site.wait_line(
                f"{plain.address} serves _{world.port}._tcp.{ZONE} TLSA without signatures"
            )
            probes.wait_probes(15)
            assert site.cert()["curr"]["serial"] == before
        world.second.start()
        world.wait_rolled(before)
        assert clean(probes).first_seen_keys == 3
