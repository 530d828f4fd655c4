"""Texts for people: safe to print, in local time, coloured where that is wanted.

Whatever comes from the daemon passes `printable` first: certificate names, errors of servers
and CAs are other people's words, and must not steer a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime

from sslmd.core import plain as times
from sslmd.core.plain import is_plain, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def printable(value: object) -> str:
    """Return `value` as one plain line; lists joined, None empty."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(printable, value))
    text = value if isinstance(value, str) else str(value)
    # As long as it is: what is read on a terminal was asked for.
    return plain(text, max(len(text) * 10, 1))


def printable_json(text: str) -> str:
    """Return JSON of one line with every control character in a string escaped."""
    if is_plain(text):
        return text
    return "".join(c if is_plain(c) else _json_escape(c) for c in text)


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if char > "\x7f" else f"\\u{ord(char):04x}"


def colours(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream` (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, *, on: bool) -> str:
    """Return `text` in `colour` (a name of `_COLOURS`, or "")."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if on and colour and text else text


def say(text: str = "", colour: str = "") -> None:
    """Print a line to stdout, at once: what is waited for should be seen."""
    print(paint(text, colour, on=colours(sys.stdout)), flush=True)


def complain(text: str, colour: str = "") -> None:
    """Print a line to stderr."""
    print(paint(text, colour, on=colours(sys.stderr)), file=sys.stderr, flush=True)


def clock(moment: datetime | None) -> str:
    """Return a local time with its zone, to the second; "-" for None."""
    return times.clock(moment) if moment else "-"


def count(number: int, noun: str) -> str:
    """Return "1 certificate", "2 certificates"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
