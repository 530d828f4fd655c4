"""`make bench`: measures the daemon as a whole process and writes the table of the docs.

Nothing here is a test: a slow machine fails nothing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from sslmd import __version__
from sslmd.ctl.client import Daemon
from sslmd.wire.messages import Method
from tests.bench.orders import orders
from tests.bench.prepare import prepare
from tests.bench.site import write_site

BIN = Path(sys.executable).parent
SIZES = (1_000, 10_000)
FROM_EMPTY = 1_000
RUNS = 7
IDLE_SECONDS = 60.0


class Run:
    """One daemon on one site."""

    def __init__(self, top: Path) -> None:
        self.socket = top / "sock"
        self.log = top / "log"
        self._output = self.log.open("wb")
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [BIN / "sslmd", "--conf-dir", top / "conf.d", "--socket", self.socket],
            stderr=self._output,
        )

    def ready(self) -> float:
        """Return the seconds from start to READY."""
        while b"is ready" not in self.log.read_bytes():
            if self.process.poll() is not None:
                sys.exit(f"the daemon ended:\n{self.log.read_text()}")
            time.sleep(0.01)
        return time.monotonic() - self.began

    def memory(self) -> float:
        """Return resident MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu(self) -> float:
        """Return the CPU seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def seconds(self, *words: str) -> float:
        """Return the median seconds of an sslmctl command as a whole process."""
        command = [str(BIN / "sslmctl"), "--socket", str(self.socket), *words]

        def once() -> None:
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

        return median(_timed(once))

    def all_live(self) -> float:
        """Return the seconds from start until every certificate is settled."""
        while True:
            with Daemon(str(self.socket)) as daemon:
                certs = json.loads(daemon.call_raw(Method.STATUS))["certs"]
            if all(one["phase"] == "settled" and one["curr"] for one in certs):
                return time.monotonic() - self.began
            time.sleep(0.25)

    def stop(self) -> None:
        """End the daemon."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self._output.close()


def _timed(command: Callable[[], object]) -> list[float]:
    command()  # once to warm up
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        command()
        times.append(time.perf_counter() - began)
    return times


def measure(top: Path, services: int) -> dict[str, str]:
    """Return the figures for a site of that many services, all live."""
    conf_dir = write_site(top, services)
    print(f"{services} services: preparing", file=sys.stderr)
    prepare(conf_dir)
    starts = []
    for _ in range(3):
        run = Run(top)
        starts.append(run.ready())
        run.stop()
    run = Run(top)
    run.ready()
    time.sleep(5)  # timers are set after READY
    print(f"{services} services: idle for {IDLE_SECONDS:.0f} s", file=sys.stderr)
    before = run.cpu()
    time.sleep(IDLE_SECONDS)
    idle = (run.cpu() - before) / IDLE_SECONDS
    one = "g0.example:s00"
    figures = {
        "start to READY": f"{median(starts):.2f} s",
        "resident memory": f"{run.memory():.0f} MB",
        "idle CPU over a minute": f"{idle:.2%} of a core",
        "`sslmctl status`": f"{run.seconds('status'):.2f} s",
        "`sslmctl status --json`": f"{run.seconds('status', '--json'):.2f} s",
        "`sslmctl status CERT`": f"{run.seconds('status', one):.3f} s",
        "`sslmctl show CERT`": f"{run.seconds('show', one):.3f} s",
        "resident memory after that": f"{run.memory():.0f} MB",
    }
    run.stop()
    return figures


def from_empty(top: Path, services: int) -> str:
    """Return how long it takes from an empty tree to all live."""
    print(f"{services} services: from an empty tree", file=sys.stderr)
    write_site(top, services)
    run = Run(top)
    run.ready()
    seconds = run.all_live()
    run.stop()
    return f"{seconds:.1f} s"


def main() -> None:
    """Measure all and write the page named on the command line."""
    page = Path(sys.argv[1])
    scratch = Path(tempfile.mkdtemp(prefix="sslmd-bench-"))
    try:
        columns = {size: measure(scratch / str(size), size) for size in SIZES}
        empty = from_empty(scratch / "empty", FROM_EMPTY)
        ordered = orders(scratch / "orders")
    finally:
        shutil.rmtree(scratch)
    page.write_text(_page(columns, empty, ordered))
    print(page.read_text())


def _page(columns: dict[int, dict[str, str]], empty: str, ordered: list[str]) -> str:
    head = "| | " + " | ".join(f"{size:,} services" for size in columns) + " |"
    rule = "| --- |" + " ---: |" * len(columns)
    names = list(next(iter(columns.values())))
    rows = [
        f"| {name} | " + " | ".join(column[name] for column in columns.values()) + " |"
        for name in names
    ]
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`; figures of one machine on one day, to compare with others of",
            f"the same machine. sslmd {__version__}, {today}, Python {platform.python_version()},",
            f"{os.cpu_count()} cores, {platform.machine()}.",
            "",
            "Every service has an EC P-256 key, three names and the site's own CA, and is live.",
            f"Commands are timed as whole processes, median of {RUNS}; the start, median of 3.",
            "",
            head,
            rule,
            *rows,
            "",
            f"{FROM_EMPTY:,} certificates from an empty tree to all live, all fsynced: {empty}",
            "",
            *ordered,
            "",
        ]
    )


if __name__ == "__main__":
    main()
