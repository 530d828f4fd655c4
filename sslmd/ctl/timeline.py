"""`sslmctl status --timeline`: every certificate as a line of time, on a terminal.

Signs tell what colours tell as well, and ASCII ones take their place where they cannot be shown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime

from sslmd.console.answers import Cert
from sslmd.console.table import terminal_width, wrapped
from sslmd.console.text import colours, paint
from sslmd.ctl.axis import Axis, axis_of
from sslmd.ctl.shade import SIGNS, Shade, shade_of, worst_first

_COLUMNS = 80  # without a terminal
_LEAST_BAR = 24
_MOST_NAME = 30
_MARKED = 10  # columns that a mark of the line takes at least, with its name

_COLOURS = {Shade.CRITICAL: "red", Shade.WARNING: "yellow", Shade.WELL: "green", Shade.COMING: ""}

_SIGNS = {
    "life": "━",
    "due": "╌",
    "next": "─",
    "renew": "◆",
    "roll": "▸",
    "now": "│",
    "more": "→",
    "less": "←",
}
_ASCII = {
    "life": "=",
    "due": "-",
    "next": "~",
    "renew": "R",
    "roll": ">",
    "now": "|",
    "more": "+",
    "less": "+",
}


def timeline(certs: Sequence[Cert], now: datetime) -> Iterator[str]:
    """Yield the lines."""
    if not certs:
        return
    width = max(terminal_width() or _COLUMNS, 40)
    plain = not _can_show("".join(_SIGNS.values()) + "".join(map(_sign, Shade)))
    signs = _ASCII if plain else _SIGNS
    colour = colours(sys.stdout)
    lefts = {cert.name: cert.left(now) for cert in certs}
    last = max(map(len, lefts.values()))
    # State, name, line, and what is left, with gaps between.
    room = width - 2 - 1 - 1 - last
    name = min(max(len(cert.name) for cert in certs), _MOST_NAME, room - _LEAST_BAR)
    bar, axis = room - name, axis_of(certs, now)
    lead = " " * (2 + name + 1)
    yield paint((lead + _marks(axis, bar)).rstrip(), "bold", on=colour)
    for shade, cert in worst_first([(shade_of(cert, now), cert) for cert in certs]):
        state = _ascii_sign(shade) if plain else _sign(shade)
        head = f"{state} {_cut(cert.name, name, ascii_only=plain).ljust(name)}"
        line = "".join(_bar(cert, axis, bar, signs))
        yield (
            f"{paint(head, _COLOURS[shade], on=colour)} {paint(line, _COLOURS[shade], on=colour)} "
            f"{lefts[cert.name]:>{last}}"
        )
    yield ""
    for words in _legend(signs, plain=plain):
        yield from wrapped(words, width)


def _bar(cert: Cert, axis: Axis, width: int, signs: dict[str, str]) -> list[str]:
    def column(moment: datetime) -> int:
        return min(int(axis.at(moment) * width), width - 1)

    cells = [" "] * width
    renew, roll = cert.time("renew_at"), cert.time("roll_at")
    coming = cert.sub("next")
    for one in (cert.curr, coming):
        begin, end = one.time("not_before"), one.time("not_after")
        if begin is None or end is None or end < axis.start or begin > axis.end:
            continue
        first, last = column(begin), column(end)
        due = column(renew) if renew and one is cert.curr else last
        for at in range(first, last + 1):
            if cells[at] == " ":
                kind = "next" if one is coming else "life" if at <= due else "due"
                cells[at] = signs[kind]
        if end > axis.end:
            cells[-1] = signs["more"]
        if begin < axis.start:
            cells[0] = signs["less"]
    cells[column(axis.now)] = signs["now"]
    for moment, sign in ((renew, "renew"), (roll, "roll")):
        if moment is not None and axis.start <= moment <= axis.end:
            cells[column(moment)] = signs[sign]
    return cells


def _marks(axis: Axis, width: int) -> str:
    cells = [" "] * width
    for moment, name in axis.ticks(width // _MARKED):
        at = int(axis.at(moment) * width)
        if at + len(name) <= width and not "".join(cells[max(at - 1, 0) :]).strip():
            cells[at : at + len(name)] = name
    return "".join(cells)


def _legend(signs: dict[str, str], *, plain: bool) -> Iterator[str]:
    states = "  ".join(
        f"{_ascii_sign(shade) if plain else _sign(shade)} {shade.word}" for shade in Shade
    )
    yield states
    names = (
        ("life", "valid"), ("due", "to be renewed"), ("next", "the next one"), ("renew", "renews"),
        ("roll", "rolls"), ("now", "now"),
    )  # fmt: skip
    yield "  ".join(f"{signs[one]} {word}" for one, word in names)


def _cut(name: str, width: int, *, ascii_only: bool) -> str:
    """Return a name with its middle left out where it is too long: both ends tell more."""
    if len(name) <= width:
        return name
    dots = ".." if ascii_only else "…"
    rest = width - len(dots)
    return f"{name[: rest // 2]}{dots}{name[len(name) - (rest - rest // 2) :]}"


def _sign(shade: Shade) -> str:
    return SIGNS[shade][0]


def _ascii_sign(shade: Shade) -> str:
    return SIGNS[shade][1]


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
