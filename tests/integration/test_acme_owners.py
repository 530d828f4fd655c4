"""Challenges whose owners are not what they seem, at a BIND that limits its answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import CERT, ZONE, World, names_of, verify, world
from tests.stand.bind import Zone

ELSEWHERE = "* CNAME lb.cdn.invalid."
MANY = [f"n{n}.{ZONE}" for n in range(40)]
LAB = f"lab.{ZONE}"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as one:
        yield one


def test_owners_are_looked_at_before_anything_is_written(here: World) -> None:
    primary = here.bind(
        Zone(ZONE, f"{ELSEWHERE}\nlab NS ns1\n"),
        Zone(LAB, "host A 192.0.2.1"),
        # As one that is not ours: it has a CNAME, and nothing is written there.
        Zone("other.test", f"_acme-challenge.shop CNAME shop.acme.{ZONE}."),
        Zone("updated.test", ELSEWHERE, dynamic=True),
    )
    ca = here.pebble(here.resolver(primary))
    primary.options = "rate-limit { responses-per-second 5; };"
    primary.write_config()
    primary.rndc("reconfig")
    here.site.use(ca)
    here.site.publish(primary)
    here.site.primaries["other.test"] = here.site.primaries["default"]
    here.site.update(primary, "updated.test")
    names = [ZONE, f"*.{ZONE}", f"host.{LAB}", "shop.other.test", "updated.test", *MANY]
    here.site.write({CERT: names})

    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert f"_acme-challenge.host.{LAB} is in zone {LAB}" in line
    assert f"list {LAB} as a group" in line
    assert ca.orders() == 0
    assert here.site.records(primary) == ""

    here.site.primaries[LAB] = here.site.primaries["default"]
    here.site.write({CERT: names})
    here.site.ctl("reload")
    here.site.wait_settled()
    verify(here.site, ca)
    assert names_of(here.site) == set(names)
    assert ca.failures() == 0
    line = here.site.wait_line(f"all records come from *.{ZONE}")
    assert f"acme.{ZONE}" in line
    assert primary.reloads("other.test") == primary.reloads("updated.test") == 0
