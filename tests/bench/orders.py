"""How long orders take with a real CA and real name servers, for `make bench`."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

from tests.stand import bind, pebble
from tests.stand.acme_site import CERT, ZONE, World
from tests.stand.pebble import Pebble

TEN = [ZONE, f"*.{ZONE}", *(f"{letter}.{ZONE}" for letter in "abcdefgh")]
ZONES = ["a.test", "b.test", "c.test"]
TWENTY = 20
HUNDRED = 100
THOUSAND = 1_000
LEGO = 10
RUNS = 3


def orders(top: Path) -> list[str]:
    """Return lines for the page of the docs; one that says why, where programs are missing."""
    if lacking := "; ".join(filter(None, (bind.missing(), pebble.missing()))):
        return [f"Orders were not measured: {lacking}."]
    print("orders at Pebble", file=sys.stderr)
    ten = [_one(top / f"ten{number}") for number in range(RUNS)]
    twenty, reloads = _twenty(top / "twenty")
    counted = ", ".join(map(str, reloads))
    hundred = _many(top / "hundred", HUNDRED, {})
    thousand = _many(top / "thousand", THOUSAND, {"PEBBLE_VA_ALWAYS_VALID": "1"})
    return [
        "Pebble as the CA, which asks to wait a second for the validations and one for the",
        "certificate; BIND as a primary with two secondaries:",
        "",
        f"- ten names, a wildcard among them, by dns-01, from start to live: {median(ten):.1f} s",
        f"- {TWENTY} orders in three zones at once: {twenty:.1f} s, with {counted} reloads",
        f"- {HUNDRED} orders in three zones at once, CA without waits: {hundred}",
        f"- {THOUSAND} orders, the CA believes everything: {thousand}",
        f"- {_lego(top / 'lego')}",
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
        pid = world.site.process.pid
        deadline = began + LONGEST
        while time.monotonic() < deadline:
            live = sum(" is live" in line for line in list(world.site.lines))
            if live >= number:
                break
            time.sleep(0.2)
        seconds, pids = time.monotonic() - began, _family(pid)
        cpu, memory = sum(map(_cpu, pids)), sum(map(_memory, pids))
        counted = ", ".join(str(primary.reloads(zone)) for zone in ZONES)
        done = "" if live >= number else f"only {live} live after "
        return (
            f"{done}{seconds:.1f} s, {cpu / max(live, 1):.3f} CPU-s each and {memory:.0f} MB in "
            f"the daemon and its network process, {counted} reloads"
        )


# Seconds; what is not live then is not waited for.
LONGEST = 900.0
_TICKS = os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> set[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid, *map(int, children)}


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has had, and those of its children that ended."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, words[11:15])) / _TICKS
    return 0.0


def _memory(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _lego(top: Path) -> str:
    """Return what lego takes, a program run for each order, with a CA that believes everything."""
    program = shutil.which("lego")
    if program is None:
        return "lego was not measured: it is not installed"
    top.mkdir(parents=True)
    hook = top / "hook"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    believes = {"PEBBLE_VA_ALWAYS_VALID": "1"}
    with Pebble(top / "pebble", retry_after=0, settings=believes) as ca:
        around = {**os.environ, "LEGO_CA_CERTIFICATES": str(ca.root_file), "EXEC_PATH": str(hook)}
        words = [program, "--path", str(top / "lego"), "--server", ca.directory, "--accept-tos"]
        words += ["--email", "admin@a.test", "--dns", "exec", "--dns.disable-cp"]
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        for number in range(LEGO):
            domain = ["--domains", f"n{number}.a.test", "run"]
            subprocess.run([*words, *domain], env=around, capture_output=True, check=True)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (
        f"{LEGO} orders by lego, one after the other, without DNS: {seconds:.1f} s, "
        f"{cpu / LEGO:.3f} CPU-s each"
    )
