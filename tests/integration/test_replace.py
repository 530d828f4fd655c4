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
