"""`make bench`: measures the daemon as a whole process and writes the table of the docs.

Nothing here is a test: a slow machine fails nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from sslmd import __version__
from tests.bench.delivery import deliveries
from tests.bench.orders import orders
from tests.bench.prepare import prepare
from tests.bench.readers import readers
from tests.bench.running import RUNS, Run
from tests.bench.site import write_site
from tests.bench.starts import starts

SIZES = (1_000, 10_000)
FROM_EMPTY = 1_000
IDLE_SECONDS = 60.0


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
    memory, one = run.memory(), "g0.example:s00"
    metrics, report, page = (
        run.seconds_beside(*words)
        for words in (("metrics",), ("report",), ("report", "--html", "-"))
    )
    figures = {
        "start to READY": f"{median(starts):.2f} s",
        "resident memory": f"{memory:.0f} MB",
        "idle CPU over a minute": f"{idle:.2%} of a core",
        "`sslmctl status`": f"{run.seconds('status'):.2f} s",
        "`sslmctl status --json`": f"{run.seconds('status', '--json'):.2f} s",
        "`sslmctl status CERT`": f"{run.seconds('status', one):.3f} s",
        "`sslmctl show CERT`": f"{run.seconds('show', one):.3f} s",
        "`sslmctl status --timeline`": f"{run.seconds('status', '--timeline'):.2f} s",
        "`sslmctl metrics`": f"{metrics[0]:.2f} s",
        "`sslmctl report`": f"{report[0]:.2f} s",
        "`sslmctl report --html`": f"{page[0]:.2f} s",
        "slowest greeting of others meanwhile": f"{max(metrics[1], report[1], page[1]):.3f} s",
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
        started = starts(scratch / "starts")
        delivered = deliveries(scratch / "delivery")
        hostile = readers(scratch / "readers")
    finally:
        shutil.rmtree(scratch)
    page.write_text(_page(columns, empty, [*ordered, "", *started, "", *delivered, "", *hostile]))
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
