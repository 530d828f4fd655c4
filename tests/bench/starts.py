"""How long a command takes from fork to exit, and how much memory.

Part of `make bench`; by itself, it writes its part of the page anew:

    python -m tests.bench.starts docs/benchmarks.md
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.bench.page import write_part
from tests.bench.running import Run

HEADING = "## Starts"
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "conf.d-example"
RUNS = 20

# The peak of a process counts what its parent had at the fork (getrusage(2) of Linux), so that
# the parent is to be small.
_PARENT = """\
import json, os, sys, time
found = []
for number in range(int(sys.argv[1]) + 1):
    began = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    if status:
        sys.exit(f"{sys.argv[2:]}: {status}")
    seconds = time.perf_counter() - began
    found.append((seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))
print(json.dumps(found[1:]))  # once to warm up
"""


@dataclass(frozen=True)
class Figures:
    """Of one command: seconds, the best and the median, seconds of CPU, and MB at its peak."""

    best: float
    seconds: float
    cpu: float
    peak: float


def measured(command: Sequence[str | Path]) -> Figures:
    """Run a command again and again; raises `CalledProcessError` if it fails."""
    parent = [sys.executable, "-I", "-S", "-c", _PARENT, str(RUNS)]
    done = subprocess.run([*parent, *command], stdout=subprocess.PIPE, check=True)
    seconds, cpu, peak = zip(*json.loads(done.stdout), strict=True)
    return Figures(min(seconds), median(seconds), median(cpu), max(peak))


def installed(prefix: Path) -> Path:
    """Install the program for the machine's own Python, as people do; return where commands are."""
    print("installing, about a minute", file=sys.stderr)
    command = ["make", "--silent", "install", f"PREFIX={prefix}"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return prefix / "bin"


def starts(top: Path) -> list[str]:
    """Return lines for the page of the docs."""
    print("starts of commands", file=sys.stderr)
    shutil.copytree(EXAMPLE, top / "conf.d")
    for one in top.rglob("*"):
        one.chmod(one.stat().st_mode & ~0o022)
    commands = installed(top / "installed")
    run = Run(top)
    try:
        run.ready()
        run.all_live()
        cert = top / "certs/example.com/web-ec/curr/cert.pem"
        rows = {
            "`sslmctl status`": measured([commands / "sslmctl", "--socket", run.socket, "status"]),
            "`sslm-info CERT`": measured([commands / "sslm-info", cert]),
            "`from cryptography import x509`, nothing of ours": measured(
                [commands.parent / "lib/sslmd/bin/python", "-c", "from cryptography import x509"]
            ),
        }
    finally:
        run.stop()
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return [
        HEADING,
        "",
        f"Whole processes of commands as `make install` puts them, from fork to exit, {RUNS} runs",
        f"({today}); the daemon has the six certificates of `conf.d-example`:",
        "",
        "| | best | median | CPU, median | memory at its peak |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {one.best:.3f} s | {one.seconds:.3f} s | {one.cpu:.3f} s "
            f"| {one.peak:.0f} MB |"
            for name, one in rows.items()
        ),
    ]


if __name__ == "__main__":
    write_part(starts)
