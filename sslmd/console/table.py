"""Tables: aligned columns, the last one for remarks.

In a pipe every row is one line and nothing is cut. On a terminal nothing is cut either: columns
that can be missed are left out, remarks wrap beside the others or stand below them, and a long
first cell stands in a line of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from sslmd.console.text import colours, paint

# (text, colour)
Cell = tuple[str, str]

_GAP = "  "
_INDENT = "    "
_MIN_REMARKS = 30  # columns; narrower is harder to read than lines of their own
_MIN_FIRST = 20  # for most names; longer ones may stand in lines of their own
_MIN_WIDTH = 8


class Row:
    """The cells of a row, and its remarks."""

    __slots__ = ("cells", "remarks")

    def __init__(self, cells: Sequence[Cell], remarks: Sequence[Cell] = ()) -> None:
        self.cells = cells
        self.remarks = [remark for remark in remarks if remark[0]]


def table(
    header: Sequence[str],
    rows: Sequence[Row],
    *,
    width: int,
    colour: bool,
    spare: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the lines of a table. The last of `header` heads the remarks; `width` 0: a pipe.

    `spare`: titles of columns that can be missed on a narrow terminal, first what is missed
    least. They go where each row then is one line; the first, where remarks then wrap beside.
    """
    titles = Row([(title, "bold") for title in header[:-1]], [(header[-1], "bold")])
    every = [titles, *rows]
    columns = zip(*(row.cells for row in every), strict=True)
    widths = [max(len(cell[0]) for cell in column) for column in columns]
    if not width:
        for row in every:
            remarks = "; ".join(paint(text, style, on=colour) for text, style in row.remarks)
            cells = _aligned(row.cells, widths, range(len(widths)), colour=colour)
            yield f"{cells}{_GAP}{remarks}".rstrip()
        return
    longest = max((len(text) for row in every for text, _ in row.remarks), default=0)
    enough = min(_MIN_REMARKS, longest)
    shown = _chosen(header, widths, spare, width, enough)
    if _sum(widths, shown) > width:
        # Longer names stand in lines of their own.
        left = width - _sum(widths, shown[1:]) - len(_GAP)
        widths[0] = max((n for row in every if (n := len(row.cells[0][0])) <= left), default=0)
    room = width - _sum(widths, shown) - len(_GAP)
    if room < len(header[-1]):
        titles.remarks = []
    for row in every:
        if widths[0] == 0:
            yield from _listed(row, titles, shown, width, colour=colour)
            continue
        name, style = row.cells[0]
        if len(name) > widths[0]:
            yield from (paint(line, style, on=colour) for line in wrapped(name, width))
            row = Row([("", ""), *row.cells[1:]], row.remarks)
        cells = _aligned(row.cells, widths, shown, colour=colour)
        yield from _with_remarks(cells, row, width, room, wrap=room >= enough, colour=colour)


def print_table(header: Sequence[str], rows: Sequence[Row], *, indent: str = "") -> None:
    """Print a table to stdout as fits it."""
    width = terminal_width()
    room = max(width - len(indent), _MIN_WIDTH) if width else 0
    for line in table(header, rows, width=room, colour=colours(sys.stdout)):
        print(indent + line)


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


def wrapped(text: str, width: int) -> list[str]:
    """Return `text` in lines of `width`; 0: a pipe, in one."""
    if not width or len(text) <= width:
        return [text]
    import textwrap  # only for terminals

    return textwrap.wrap(text, max(width, _MIN_WIDTH), break_on_hyphens=False)


def _sum(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + len(_GAP) * (len(shown) - 1)


def _chosen(
    header: Sequence[str], widths: Sequence[int], spare: Sequence[str], width: int, remarks: int
) -> Sequence[int]:
    """Return the columns to show: as many as fit; else as fit beside the first one's title."""
    choices = [
        [at for at in range(len(widths)) if header[at] not in spare[:missed]]
        for missed in range(len(spare) + 1)
    ]
    for shown in choices if remarks < _MIN_REMARKS else choices[:2]:
        if _sum(widths, shown) + len(_GAP) + remarks <= width:
            return shown
    for first in (widths[0], _MIN_FIRST, len(header[0])):
        for shown in choices:
            if first + len(_GAP) + _sum(widths, shown[1:]) <= width:
                return shown
    return choices[-1]


def _aligned(
    cells: Sequence[Cell], widths: Sequence[int], shown: Sequence[int], *, colour: bool
) -> str:
    padded = ((cells[at][0].ljust(widths[at]), cells[at][1]) for at in shown)
    return _GAP.join(paint(text, style, on=colour) for text, style in padded)


def _with_remarks(
    cells: str, row: Row, width: int, room: int, *, wrap: bool, colour: bool
) -> Iterator[str]:
    """Yield a row, its remarks beside it if they may `wrap` there, else below.

    The first one stands beside all the same where it fits.
    """
    column = " " * (width - room)
    remarks = row.remarks
    if wrap:
        lines = list(_lines(remarks, room, colour=colour))
        yield f"{cells}{_GAP}{lines[0] if lines else ''}".rstrip()
        yield from (column + line for line in lines[1:])
        return
    first = ""
    if remarks and len(remarks[0][0]) <= room:
        first, remarks = paint(*remarks[0], on=colour), remarks[1:]
    yield f"{cells}{_GAP}{first}".rstrip()
    yield from _below(remarks, width, colour=colour)


def _listed(
    row: Row, titles: Row, shown: Sequence[int], width: int, *, colour: bool
) -> Iterator[str]:
    """Yield a row whose cells have a line each, with their titles."""
    if row is titles:
        return
    (name, style), cells = row.cells[0], row.cells
    yield from (paint(line, style, on=colour) for line in wrapped(name, width))
    named = [(f"{titles.cells[at][0]} {cells[at][0]}", cells[at][1]) for at in shown[1:]]
    yield from _below([*named, *row.remarks], width, colour=colour)


def _below(remarks: Sequence[Cell], width: int, *, colour: bool) -> Iterator[str]:
    for line in _lines(remarks, width - len(_INDENT), colour=colour):
        yield _INDENT + line


def _lines(remarks: Sequence[Cell], width: int, *, colour: bool) -> Iterator[str]:
    for text, style in remarks:
        for line in wrapped(text, width):
            yield paint(line, style, on=colour)
