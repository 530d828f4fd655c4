"""The wait before a roll: what it is good for, and when there is none."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.stand.dane_site import ARG, CERT, HOST, DaneWorld, clean, dane_world
from tests.stand.server import wait_until

SEEN = "its TLSA records are on every name server, the wait lasts until"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DaneWorld]:
    with dane_world(tmp_path) as one:
        yield one


def test_a_forced_roll_breaks_what_it_says_for_as_long_as_it_says(world: DaneWorld) -> None:
    """This shows as well that the prober sees what the wait prevents."""
    site = world.site
    site.ttl = 3
    world.begin()
    probes = world.prober()
    probes.wait_probes(40)  # its caches are of different ages by now
    assert probes.failures() == []

    before = world.renew()
    site.wait_line(SEEN)
    refused = site.ctl("roll", ARG, status=1)
    told = refused.stdout + refused.stderr
    assert re.search(r"at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", told), told
    assert "--force" in told
    assert site.cert()["curr"]["serial"] == before

    done = site.ctl("roll", "--force", ARG)
    told = done.stdout + done.stderr
    said = re.search(
        rf"check DANE may refuse example.com:{world.port}, {HOST}:{world.port} "
        r"for up to (\d+) s, until (\S+ \S+) UTC",
        told,
    )
    assert said, told
    assert int(said[1]) <= site.ttl
    # Times in texts have no fractions.
    end = datetime.strptime(said[2], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() + 1
    assert "the wait" in told
    world.wait_rolled(before)
    probes.wait_failure()
    wait_until(lambda: time.time() > end, "the end of it")
    probes.wait_probes(20)
    outcome = probes.outcome()
    assert {one.key for one in outcome.failures} == {world.served().split()[-1]}
    assert max(one.time for one in outcome.failures) <= end


def test_with_a_key_that_is_known_nothing_is_waited_for(world: DaneWorld) -> None:
    """That of `curr` again, and one that was made and published right after the last roll."""
    site = world.site
    site.ttl = 4
    wait = 2 * site.ttl
    world.begin()
    probes = world.prober()
    probes.wait_probes(10)

    # The key of `curr`.
    old = world.served()
    began = time.monotonic()
    before = str(site.cert()["curr"]["serial"])
    done = site.ctl("renew", "--force", "--reuse", ARG)
    told = done.stdout + done.stderr
    assert "with the key of curr" in told
    assert "there is no wait" in told
    before = world.wait_rolled(before)
    assert time.monotonic() - began < wait
    assert world.served() == old
    assert world.wait_shown(1) == {old}

    # One made ahead; the only wait is before anybody asks for it.
    site.globals["dane_next_key"] = "'at-roll'"
    site.write()
    site.ctl("reload")
    both = world.wait_shown(2)
    assert old in both
    ready = "its TLSA records have been seen for long enough"
    shown = time.monotonic()
    site.wait_cert(lambda one: ready in one["reason"], "a next key that is known")
    assert time.monotonic() - shown >= wait - site.ttl
    assert site.cert()["curr"]["serial"] == before
    assert world.served() == old
    began = time.monotonic()
    site.ctl("force-renew", ARG)
    wait_until(lambda: {world.served()} == both - {old}, "the key that was made ahead")
    assert time.monotonic() - began < wait / 2
    # The next one is made after that roll.
    key = world.served()
    site.wait_line("key made", 6)
    fresh = world.wait_shown(2)
    assert fresh & both == {key}
    links = site.top / "certs" / CERT
    assert (links / "next" / "privkey.pem").exists()
    assert not (links / "next" / "cert.pem").exists()
    assert not (site.top / "prod-certs" / CERT / "next" / "cert.pem").exists()
    assert clean(probes).first_seen_keys == 2
