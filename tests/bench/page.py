"""The page of the docs, `docs/benchmarks.md`: one part for each kind of measurement."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def put_into(page: str, lines: Sequence[str]) -> str:
    """Return a page with a part anew: where it was, else at the end. Its heading comes first."""
    before, had, after = page.partition(lines[0])
    rest = ""
    if had:
        _, *others = after.split("\n## ", 1)
        rest = f"\n## {others[0]}" if others else ""
    return "\n".join([before.rstrip(), "", *lines, rest])


def write_part(measure: Callable[[Path], list[str]]) -> None:
    """Measure, and write this part alone of the page named on the command line."""
    page = Path(sys.argv[1])
    scratch = Path(tempfile.mkdtemp(prefix="sslmd-bench-"))
    try:
        lines = measure(scratch / "part")
    finally:
        shutil.rmtree(scratch)
    if lines:
        page.write_text(put_into(page.read_text() if page.exists() else "", lines))
    print("\n".join(lines))
