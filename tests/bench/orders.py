"""How long orders take with a real CA and real name servers.

Part of `make bench`; by itself, it writes its part of the page anew:

    python -m tests.bench.orders docs/benchmarks.md
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.bench.family import cpu_of, family, memory_of, wait_live
from tests.bench.others import BELIEVES, beside_others
from tests.bench.page import write_part
from tests.stand import bind, pebble
from tests.stand.acme_site import CERT, ZONE, World

HEADING = "## Orders"

TEN = [ZONE, f"*.{ZONE}", *(f"{letter}.{ZONE}" for letter in "abcdefgh")]
ZONES = ["a.test", "b.test", "c.test"]
TWENTY = 20
HUNDRED = 100
THOUSAND = 1_000
RUNS = 3

# Seconds; what is not live then is not waited for.
LONGEST = 900.0


def orders(top: Path) -> list[str]:
    """Return lines for the page of the docs; one that says why, where programs are missing."""
    if lacking := "; ".join(filter(None, (bind.missing(), pebble.missing()))):
        return [HEADING, "", f"Not measured: {lacking}."]
    print("orders at Pebble", file=sys.stderr)
    ten = [_one(top / f"ten{number}") for number in range(RUNS)]
    twenty, reloads = _twenty(top / "twenty")
    counted = ", ".join(map(str, reloads))
    hundred = _many(top / "hundred", HUNDRED, {})
    thousand = _many(top / "thousand", THOUSAND, BELIEVES)
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return [
        HEADING,
        "",
        "Pebble as the CA, which asks to wait a second for the validations and one for the",
        f"certificate; BIND as a primary with two secondaries ({today}):",
        "",
        f"- ten names, a wildcard among them, by dns-01, from start to live: {median(ten):.1f} s",
        f"- {TWENTY} orders in three zones at once: {twenty:.1f} s, with {counted} reloads",
        f"- {HUNDRED} orders in three zones at once, CA without waits: {hundred}; at most 25 s, "
        "0.15 CPU-s each, one account and 12 reloads of a zone are wanted",
        f"- {THOUSAND} orders, the CA believes everything: {thousand}; at most 120 s and 250 MB "
        "are wanted",
        *(f"- {line}" for line in beside_others(top / "beside")),
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


def _many(top: Path, number: int, settings: Mapping[str, str]) -> str:
    """Return what so many orders in three zones take, from start to live."""
    print(f"{number} orders at Pebble", file=sys.stderr)
    with ExitStack() as stack:
        top.mkdir(parents=True)
        world = World(top, stack)
        primary = world.bind(*ZONES)
        ca = world.pebble(primary, retry_after=0, settings=settings)
        world.site.use(ca)
        world.site.publish(primary)
        names = [(one, ZONES[one % len(ZONES)]) for one in range(number)]
        world.site.write({f"{zone}/s{n:04}": [f"n{n}.{zone}"] for n, zone in names})
        began = time.monotonic()
        world.site.start()
        assert world.site.process is not None
        live = wait_live(world.site, number, LONGEST)
        seconds, pids = time.monotonic() - began, family(world.site.process.pid)
        cpu, memory = sum(map(cpu_of, pids)), sum(map(memory_of, pids))
        counted = ", ".join(str(primary.reloads(zone)) for zone in ZONES)
        accounts = len(list((world.site.top / "certs/.accounts").rglob("regr.json")))
        done = "" if live >= number else f"only {live} live after "
        return (
            f"{done}{seconds:.1f} s, {cpu / max(live, 1):.3f} CPU-s each and {memory:.0f} MB in "
            f"the daemon and its network process, {accounts} account"
            f"{'' if accounts == 1 else 's'}, {counted} reloads"
        )


if __name__ == "__main__":
    write_part(orders)
