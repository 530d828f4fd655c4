"""Every metric with its labels and what it says: the table in docs/monitoring/prometheus.md.

`python -m tests.metric_table docs/monitoring/prometheus.md` writes it there again.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from sslmd.console.answers import Fields
from sslmd.ctl.metric_families import of_certs, of_daemon

_PLACE = re.compile(r"(<!-- metrics: begin -->\n).*(<!-- metrics: end -->)", re.DOTALL)


def table() -> str:
    """Return the rows, in the order in which they are printed."""
    lines = ["| metric | labels | what |", "| --- | --- | --- |"]
    for family in [*of_certs([], datetime.now(UTC)), *of_daemon(Fields({}))]:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        ends = ("_count", "_sum") if family.type == "summary" else ("",)
        names = ", ".join(f"`{name}{end}`" for end in ends)
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        lines.append(f"| {names} | {labels} | {family.documentation} |")
    lines.append("| `sslmd_up` | | Whether the daemon answers. |")
    return "".join(f"{line}\n" for line in lines)


def written(text: str) -> str:
    """Return a page with the table of today."""
    return _PLACE.sub(lambda found: found[1] + table() + found[2], text)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(written(page.read_text()))
