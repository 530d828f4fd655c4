"""What processes have used: CPU and memory, as proc(5) has it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from tests.stand.site import Site

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> set[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid, *map(int, children)}


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has had, and those of its children that ended."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, words[11:15])) / _TICKS
    return 0.0


def memory_of(pid: int) -> float:
    """Return resident MB."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def wait_live(site: Site, number: int, longest: float) -> int:
    """Wait until so many certificates are live, for so many seconds; return how many are."""
    deadline = time.monotonic() + longest
    while True:
        live = sum(" is live" in line for line in list(site.lines))
        if live >= number or time.monotonic() > deadline:
            return live
        time.sleep(0.2)
