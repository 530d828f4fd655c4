"""I4 when things go wrong: servers that lag, fall silent or cannot be reloaded, kills, clocks."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli

from tests.stand.dane_site import ARG, CERT, ZONE, DaneWorld, clean, dane_world
from tests.stand.faketime import faked, needs_faketime
from tests.stand.server import wait_until

SEEN = "its TLSA records are on every name server, the wait lasts until"
LOST = "its TLSA records are no longer everywhere"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DaneWorld]:
    with dane_world(tmp_path) as one:
        yield one


def sighting(world: DaneWorld) -> dict[str, object]:
    """Return what is noted of how long the records of the set on deck have been seen."""
    text = (world.site.top / "certs" / CERT / "state.toml").read_text()
    noted = tomli.loads(text).get("sighting", {})
    assert isinstance(noted, dict)
    return noted


def test_a_secondary_that_lags_and_one_that_falls_silent(tmp_path: Path) -> None:
    with dane_world(tmp_path, lagging=True) as world:
        site = world.site
        world.begin()
        probes = world.prober()
        probes.wait_probes(10)

        # One that lags is named, and waited for.
        before = world.renew()
        lacks = f"{world.third.address} does not show _{world.port}._tcp."
        site.wait_cert(lambda one: lacks in one["reason"], "the server that lacks them, named")
        probes.wait_probes(25)
        assert site.cert()["curr"]["serial"] == before
        assert len(world.records(0)) == 2
        assert len(world.records(2)) == 1
        world.third.refresh(ZONE)
        world.wait_rolled(before)

        # One that is gone for longer than a TTL, in the middle of the wait: it begins anew.
        before = world.renew()
        wait_until(lambda: len(world.records()) == 2, "both records")
        world.third.refresh(ZONE)
        site.wait_line(SEEN, 2)
        world.second.freeze()
        site.wait_line(LOST)
        probes.wait_probes(20)
        down = site.cert()
        assert down["curr"]["serial"] == before
        assert world.second.address in down["reason"]
        world.second.thaw()
        site.wait_line(SEEN, 3)
        world.wait_rolled(before)
        assert clean(probes).first_seen_keys == 3


def test_killed_at_random(world: DaneWorld) -> None:
    world.begin()
    probes = world.prober()
    probes.wait_probes(10)
    dice = random.Random(7)
    for _ in range(5):
        before = str(world.site.cert()["curr"]["serial"])
        world.site.ctl("force-renew", ARG, "--no-wait")
        for _ in range(dice.randint(1, 2)):
            time.sleep(dice.uniform(0.0, 2.5))  # the instant is what is random here
            world.site.kill()
            world.site.start()
        world.wait_rolled(before)
    assert clean(probes).first_seen_keys == 6


def test_postfix_cannot_be_reloaded(world: DaneWorld) -> None:
    site = world.site
    world.begin()
    assert world.mail is not None
    probes = world.prober()
    probes.wait_probes(10)
    old = world.served()
    world.mail.fail_reloads(2)
    before = world.renew()
    site.wait_line("the restart failed: ")
    both = world.wait_shown(2)
    assert old in both
    assert world.served() == old
    assert site.cert()["servers"][0]["state"] == "failed"
    assert site.cert()["curr"]["serial"] != before

    # An admin's request does not wait for the minute to be over; the second try fails as well.
    site.ctl("renew", ARG, status=None)
    site.wait_line("the restart failed: ", 2)
    probes.wait_probes(15)
    assert world.wait_shown(2) == both
    assert world.served() == old
    site.ctl("renew", ARG)
    world.wait_rolled(before)
    assert world.wait_shown(1) == both - {old} == {world.served()}
    assert clean(probes).first_seen_keys == 2


def test_notes_are_lost_while_an_older_key_is_served(world: DaneWorld) -> None:
    """Nobody knows any more that Postfix was not reloaded; that is seen at its port."""
    site = world.site
    world.begin()
    assert world.mail is not None
    probes = world.prober()
    probes.wait_probes(10)
    old = world.served()
    world.mail.fail_reloads(1)
    before = world.renew()
    site.wait_line("the restart failed: ")
    site.kill()
    (site.top / "certs" / CERT / "state.toml").unlink()
    site.start()
    site.wait_line("an older key is still served")
    probes.wait_probes(15)
    assert old in world.wait_shown(2)
    assert world.served() == old
    assert world.mail.reload().returncode == 0
    site.ctl("renew", ARG)
    world.wait_rolled(before)
    assert world.wait_shown(1) == {world.served()} != {old}
    assert clean(probes).first_seen_keys == 2


@needs_faketime
def test_the_wait_is_noted_and_goes_by_no_clock_that_is_set(world: DaneWorld) -> None:
    """Two TTLs of 4 s: the clock jumps by an hour, forward and back, and the daemon is killed."""
    site, offset = world.site, world.top / "offset"
    offset.write_text("+0")
    site.ttl = 4
    world.begin()
    site.stop()
    site.start(env=faked(offset))
    probes = world.prober()
    probes.wait_probes(10)

    old = world.served()
    before = world.renew()
    world.wait_shown(2)
    shown = time.monotonic()
    site.wait_line(SEEN)
    offset.write_text("+1h")
    probes.wait_probes(15)
    assert site.cert()["curr"]["serial"] == before
    offset.write_text("+0")
    probes.wait_probes(5)
    site.kill()
    noted = sighting(world)
    assert "since" in noted, site.lines
    assert float(str(noted["waited"])) > 0
    site.start(env=faked(offset))
    probes.wait_probes(10)
    after = sighting(world)
    # What was noted counts.
    assert after["since"] == noted["since"]
    assert float(str(after["waited"])) >= float(str(noted["waited"]))
    offset.write_text("+1h")
    wait_until(lambda: world.served() != old, "another key")
    assert time.monotonic() - shown >= 2 * site.ttl
    world.wait_rolled(before)
    assert clean(probes).first_seen_keys == 2
