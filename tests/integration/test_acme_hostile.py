"""A CA that does its clients harm keeps nobody out who wants nothing of it (I6, I13)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stand.acme_site import CERT, ENGINES, ZONE, World, processes, verify, world
from tests.stand.hostile_ca import CHUNKS, DRIP, HUGE, REDIRECT, SILENT, HostileCa
from tests.stand.pebble import Pebble

# Certificates of the bad CA, more than there are places; in the order of their names, they are the
# first.
BAD = [f"aaa.test/s{number}" for number in range(8)]
GOOD = [CERT, f"{ZONE}/mail"]

# Seconds in which those of the other CA are live, and megabytes of the daemon's memory.
MINUTE = 60.0
MOST_MEMORY = 160


@pytest.fixture(params=ENGINES)
def here(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with world(tmp_path, request.param) as one:
        yield one


def configured(here: World, bad: HostileCa) -> Pebble:
    """Write a configuration with certificates of both CAs; return the good one."""
    primary = here.bind(ZONE, "aaa.test")
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.ca += f"""
[bad]
    ca_type = 'certbot'
    ca_engine = '{here.site.engine}'
    ca_validation = 'dns-01'
    ca_server = '{bad.directory}'
    ca_server_root = '{bad.root_file}'
"""
    here.site.publish(primary)
    names = {one: [f"{one.split('/')[1]}.{one.split('/')[0]}"] for one in [*BAD, *GOOD]}
    here.site.write(names)
    for one in BAD:
        path = here.site.conf / one
        path.write_text(path.read_text().replace("'pebble'", "'bad'"))
    return ca


def memory_of(pid: int) -> int:
    """Return how much memory a process had at its peak, in megabytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) >> 10


def bad_ca(here: World, how: str, at: str) -> HostileCa:
    """Return a bad CA, with a Pebble of its own behind it."""
    return HostileCa(here.pebble_behind(), how, at)


def later(here: World, text: str) -> str:
    """Return a line that may come after the time of the site's own patience."""
    with suppress(AssertionError):
        return here.site.wait_line(text)
    return here.site.wait_line(text)


@pytest.mark.parametrize(
    ("how", "at"),
    [
        (DRIP, "/dir"), (SILENT, "/order-plz"), (DRIP, "/order-plz"), (REDIRECT, "/order-plz"),
        (HUGE, "/order-plz"), (CHUNKS, "/order-plz"),
    ],
)  # fmt: skip
def test_the_others_go_on(here: World, how: str, at: str) -> None:
    with bad_ca(here, how, at) as bad:
        ca = configured(here, bad)
        began = time.monotonic()
        here.site.start()
        here.site.wait_settled(*BAD)
        took = time.monotonic() - began
        assert bad.reached.is_set()
        assert took < MINUTE
        verify(here.site, ca)
        assert here.site.process is not None
        assert memory_of(here.site.process.pid) < MOST_MEMORY
        if here.site.engine == "engine":
            if how in (HUGE, CHUNKS):
                assert "too-long" in later(here, "attempt 1 failed")
            elif (how, at) == (DRIP, "/order-plz"):
                assert bad.directory.rpartition("/")[0] in later(here, "attempt 1 failed")
        elif (how, at) == (DRIP, "/order-plz"):
            # In time for those that wait for it, too: each has the same to try.
            line = later(here, "asked for no challenge within 60 s")
            assert bad.directory in line
        elif how in (HUGE, CHUNKS):
            line = later(here, "attempt 1 failed")
            assert "256 MiB of memory" in line
            assert "may send more than a CA should" in line
        here.site.stop()
        assert processes(here.site) == []
