"""Tables: aligned columns, the last one for remarks.

In a pipe every row is one line and nothing is cut. On a terminal the remarks wrap beside the
columns, or stand below them where that leaves too little room, and long cells end in "…".
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from sslmd.ctl.text import colours, paint

# (text, colour)
Cell = tuple[str, str]

_GAP = "  "
_INDENT = "    "
_MIN_REMARKS = 30  # columns; narrower is harder to read than lines of their own
_MIN_CELL = 8


class Row:
    """The cells of a row, and its remarks."""

    __slots__ = ("cells", "remarks")

    def __init__(self, cells: Sequence[Cell], remarks: Sequence[Cell] = ()) -> None:
        self.cells = cells
        self.remarks = remarks


def table(header: Sequence[str], rows: Sequence[Row], *, width: int, colour: bool) -> Iterator[str]:
    """Yield the lines of a table. The last of `header` heads the remarks; `width` 0: a pipe."""
    widths = [
        max(len(title), *(len(row.cells[at][0]) for row in rows), 0)
        for at, title in enumerate(header[:-1])
    ]
    if width:
        _narrow(widths, width)
    columns = sum(widths) + len(_GAP) * len(widths)
    room = width - columns if width else 0
    beside = not width or room >= _MIN_REMARKS
    titles = [(title, "bold") for title in header[:-1]]
    for row in [Row(titles, [(header[-1], "bold")] if beside else []), *rows]:
        cells = _GAP.join(
            paint(_cut(text, at).ljust(at), style, on=colour)
            for (text, style), at in zip(row.cells, widths, strict=True)
        )
        if not width:
            remarks = "; ".join(paint(text, style, on=colour) for text, style in row.remarks)
            yield f"{cells}{_GAP}{remarks}".rstrip()
            continue
        lines = _remarks(row, room if beside else width - len(_INDENT), colour=colour)
        first = next(lines, "") if beside else ""
        yield f"{cells}{_GAP}{first}".rstrip()
        for line in lines:
            yield (" " * columns if beside else _INDENT) + line


def print_table(header: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table to stdout as fits it."""
    width = terminal_width()
    for line in table(header, rows, width=width, colour=colours(sys.stdout)):
        print(line)


def terminal_width() -> int:
    """Return the columns of the terminal that stdout is, 0 if it is none."""
    if not sys.stdout.isatty():
        return 0
    import shutil  # only for terminals

    return shutil.get_terminal_size().columns


def terminal_height() -> int:
    """Return the lines of the terminal."""
    import shutil

    return shutil.get_terminal_size().lines


def _narrow(widths: list[int], width: int) -> None:
    """Take columns from the widest until all fit in `width`."""
    while sum(widths) + len(_GAP) * len(widths) > width and max(widths) > _MIN_CELL:
        widths[widths.index(max(widths))] -= 1


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def wrapped(text: str, width: int) -> list[str]:
    """Return `text` in lines of `width`; 0: a pipe, in one."""
    if not width:
        return [text]
    import textwrap  # only for terminals

    return textwrap.wrap(text, max(width, _MIN_CELL), break_on_hyphens=False)


def _remarks(row: Row, width: int, *, colour: bool) -> Iterator[str]:
    for text, style in row.remarks:
        for line in wrapped(text, width):
            yield paint(line, style, on=colour)
