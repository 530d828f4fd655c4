"""What 200 hostile readers cost an admin, and the daemon.

Part of `make bench`; by itself, it writes its part of the page anew:

    python -m tests.bench.readers docs/benchmarks.md

Needs root: the readers are other users.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.page import write_part
from tests.bench.prepare import prepare
from tests.bench.running import Run, greeting
from tests.bench.site import write_site

HEADING = "## Readers"
HOSTILE = Path(__file__).parents[1] / "stand/hostile_client.py"
READERS = 200
USERS = 4
FIRST_UID = 64_000
SECONDS = 10.0

# What they do (tests/stand/hostile_client.py), in words for the page.
DOING = {
    "idles": "nothing",
    "repeats": "ask for `status` again and again",
    "plans": "ask for `plan` again and again",
    "shows": "ask for `show` again and again",
    "names": "name 100,000 certificates in a request",
    "deaf": "ask for `status` and read nothing",
    "halves": "send most of a request, and then nothing",
    "knocks": "connect and hang up, as fast as that goes",
}


def beside(run: Run, what: str, uid: int) -> tuple[float, float]:
    """Return the slowest greeting, in seconds, and by how many MB the daemon grew."""
    command = [sys.executable, str(HOSTILE), str(run.socket)]
    before = run.memory()
    started = [
        subprocess.Popen(
            [*command, str(uid + user), str(READERS // USERS), what], stdout=subprocess.PIPE
        )
        for user in range(USERS)
    ]
    try:
        for one in started:
            assert one.stdout is not None
            wanted = b"ready 0" if what == "knocks" else b"ready %d" % (READERS // USERS)
            assert one.stdout.readline().strip() == wanted
        slowest, until = 0.0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            slowest = max(slowest, greeting(run.socket))
            time.sleep(0.02)
        return slowest, run.memory() - before
    finally:
        for one in started:
            one.kill()
            one.wait()


def readers(top: Path, sizes: tuple[int, ...] = (1_000, 10_000)) -> list[str]:
    """Return lines for the page of the docs; none without root."""
    if os.geteuid() != 0:
        print("hostile readers: only root can be somebody else; left out", file=sys.stderr)
        return []
    columns = []
    for size in sizes:
        print(f"{READERS} hostile readers, {size} services", file=sys.stderr)
        folder = top / str(size)
        folder.mkdir(parents=True)
        prepare(write_site(folder, size))
        run = Run(folder)
        try:
            run.ready()
            time.sleep(5)  # timers are set after READY
            for path in (top.parent, top, folder, run.socket):
                path.chmod(path.stat().st_mode | 0o007)
            columns.append(
                [beside(run, what, FIRST_UID + 10 * at) for at, what in enumerate(DOING)]
            )
        finally:
            run.stop()
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    rows = []
    for at, words in enumerate(DOING.values()):
        cells = [
            f"{slowest:.3f} s | {max(grown, 0):.0f} MB"
            for slowest, grown in (column[at] for column in columns)
        ]
        rows.append(f"| {words} | {' | '.join(cells)} |")
    heads = " | ".join(f"{size:,} services | memory" for size in sizes)
    return [
        HEADING,
        "",
        f"The slowest greeting of root in {SECONDS:.0f} s beside {READERS} readers of {USERS}",
        f"other users ({today}), whose work is done by the same {os.cpu_count()} cores; and by",
        "how much the daemon grew:",
        "",
        f"| the readers | {heads} |",
        "| --- |" + " ---: |" * (2 * len(sizes)),
        *rows,
    ]


if __name__ == "__main__":
    write_part(readers)
