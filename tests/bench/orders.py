"""How long orders take with a real CA and real name servers, for `make bench`."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.stand import bind, pebble
from tests.stand.acme_site import CERT, ZONE, World

TEN = [ZONE, f"*.{ZONE}", *(f"{letter}.{ZONE}" for letter in "abcdefgh")]
ZONES = ["a.test", "b.test", "c.test"]
TWENTY = 20
RUNS = 3


def orders(top: Path) -> list[str]:
    """Return lines for the page of the docs; one that says why, where programs are missing."""
    if lacking := "; ".join(filter(None, (bind.missing(), pebble.missing()))):
        return [f"Orders were not measured: {lacking}."]
    print("orders at Pebble", file=sys.stderr)
    ten = [_one(top / f"ten{number}") for number in range(RUNS)]
    twenty, reloads = _twenty(top / "twenty")
    counted = ", ".join(map(str, reloads))
    return [
        "Pebble as the CA, which asks to wait a second for the validations and one for the",
        "certificate; BIND as a primary with two secondaries:",
        "",
        f"- ten names, a wildcard among them, by dns-01, from start to live: {median(ten):.1f} s",
        f"- {TWENTY} orders in three zones at once: {twenty:.1f} s, with {counted} reloads",
    ]


def _one(top: Path) -> float:
    with ExitStack() as stack:
        top.mkdir(parents=True)
        world = World(top, stack)
        primary = world.bind()
        watched = [world.secondary(name, primary) for name in ("one", "other")]
        world.site.use(world.pebble(primary))
        world.site.publish(primary, watched)
        world.site.write({CERT: TEN})
        began = time.monotonic()
        world.site.start()
        world.site.wait_line(" is live")
        return time.monotonic() - began


def _twenty(top: Path) -> tuple[float, list[int]]:
    with ExitStack() as stack:
        top.mkdir(parents=True)
        world = World(top, stack)
        primary = world.bind(*ZONES)
        world.site.use(world.pebble(primary))
        world.site.publish(primary)
        names = [(number, ZONES[number % len(ZONES)]) for number in range(TWENTY)]
        world.site.write({f"{zone}/s{n:02}": [f"n{n}.{zone}", zone] for n, zone in names})
        began = time.monotonic()
        world.site.start()
        world.site.wait_line(" is live", TWENTY)
        return time.monotonic() - began, [primary.reloads(zone) for zone in ZONES]
