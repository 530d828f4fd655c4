"""Limits of a CA are kept to by waiting, and everything of a CA can be replaced within them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import ZONE, World, world
from tests.stand.pebble import Pebble


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as one:
        yield one


def limited(here: World, number: int, orders: str) -> Pebble:
    """Make a site of so many certificates of a CA that takes so many orders."""
    primary = here.bind()
    ca = here.pebble(settings={"PEBBLE_VA_ALWAYS_VALID": "1"})
    here.site.use(ca, more=f"ca_limits = {{ orders = '{orders}' }}")
    here.site.publish(primary)
    here.site.write({f"{ZONE}/s{n:02}": [f"s{n:02}.{ZONE}"] for n in range(number)})
    return ca


def test_orders_wait_for_the_limit_and_say_so(here: World) -> None:
    ca = limited(here, 4, "2/20s")
    here.site.start()
    waits = here.site.wait_reason(f"{ZONE}/s03", "ca-paced")
    assert "pebble allows 2 orders in 20 s" in waits["reason"]
    assert waits["attempts"] == 0
    assert waits["next_try"]
    row = here.site.ctl("plan", f"{ZONE}:s03").stdout
    assert "pebble allows 2 orders" in row
    # Whoever forces it is told as well.
    forced = here.site.ctl("force-renew", f"{ZONE}:s03", status=5)
    assert "pebble allows 2 orders in 20 s" in forced.stdout
    here.site.wait_line("s01: certificate issued")
    assert ca.orders() == 2
    # What was ordered is remembered.
    here.site.stop()
    here.site.start()
    waits = here.site.wait_reason(f"{ZONE}/s03", "ca-paced")
    here.site.wait_settled()
    assert ca.orders() == 4


def test_everything_of_a_ca_is_replaced_within_its_limits_and_over_a_restart(here: World) -> None:
    """Thirty certificates, ten at once, then one in half a second; one fails; a restart amid."""
    ca = limited(here, 12, "60/15s")
    here.site.start()
    before = {cert: one["curr"]["serial"] for cert, one in here.site.wait_settled().items()}
    # From here on few at a time.
    here.site.put("ca-info.conf", here.site.ca.replace("60/15s", "4/8s"))
    here.site.ctl("reload")
    # Without --yes nothing happens, and a forecast is told.
    refused = here.site.ctl("replace", "--ca", "pebble", status=2)
    assert "12 certificates of pebble: about" in refused.stdout
    assert "bounded by 4 orders in 8 s: the last at" in refused.stdout
    assert "give --yes" in refused.stderr
    assert "no CA called nobody" in here.site.ctl("replace", "--ca", "nobody", status=1).stderr
    accepted = here.site.ctl("replace", "--ca", "pebble", "--yes", "--no-wait")
    assert accepted.stdout.splitlines()[-1] == "12 accepted"
    here.site.wait_line("certificate issued", count=14)
    assert "replacing certificates of pebble: " in here.site.ctl("status").stdout
    here.site.kill()
    here.site.start()
    after = here.site.wait_settled()
    assert all(after[cert]["curr"]["serial"] != serial for cert, serial in before.items())
    assert "replacing" not in here.site.ctl("status").stdout
    assert ca.orders() <= 12 + 12 + 4  # those under way when it was killed
