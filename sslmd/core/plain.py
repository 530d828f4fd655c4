"""Lines for people: words of others in them, and times.

There is one rule for whatever is logged, answered or shown.

Name servers, CAs, web servers, far hosts, programs, file names and certificates say what they
like. A line of ours has none of it raw: no control character (C0, DEL, C1), no end of a line in
any script's sense, nothing that turns, hides or joins text (bidirectional controls, zero-width
and other invisible characters), no half character, and no end that never comes.

`plain` is applied where a record, an answer or a status line is made. What it returned it returns
again unchanged, so that nothing is ever escaped twice.

Every time that a person sees goes through here: texts of the daemon (reasons, errors, answers, the
journal) have it in the daemon's zone, tables of `sslmctl` in that of who reads them. Programs and
files (JSON, state.toml, names of sets) have UTC. The zone is the one thing that core asks of the
machine: a setting, like its language. It is no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

# For type checkers alone: `typing` is slow to import, and this is part of every `sslmctl`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Characters of a line: a record, a reason, an error.
MOST = 8192

# Lines of a text that has several: a traceback.
MOST_LINES = 200

# Characters of one text in an answer. The longest that is ours lists the names of a certificate.
MOST_OF_TEXT = 1 << 16

# Invisible, though Unicode counts them among letters, marks and signs (Default_Ignorable_Code_Point
# beyond the categories that `str.isprintable` refuses, and the Braille pattern without dots).
_INVISIBLE = frozenset(
    chr(code)
    for some in (
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xE0100, 0xE01F0),
    )
    for code in some
)


# Nearer than this, the time of the day matters too.
_NEAR = timedelta(days=3)


def some_of(items: Sequence[object], most: int) -> str:
    """Return the first `most` of them, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def is_plain(text: str) -> bool:
    """Whether `text` can stand in a line as it is."""
    return text.isprintable() and (text.isascii() or _INVISIBLE.isdisjoint(text))


def plain(text: str, most: int = MOST) -> str:
    """Return `text` as a part of one line of at most `most` characters.

    White space and ends of lines become a space, what is not plain becomes `\\x1b`, `\\u202e`. What
    is too long has its middle left out: at the end stands the way out.
    """
    if len(text) <= most and is_plain(text):
        return text
    if len(text) > 4 * most:  # white space shrinks; but a whole megabyte is not looked at
        text = f"{text[: 3 * most]}…{text[-most:]}"
    line = "".join(map(_escaped, " ".join(text.split())))
    if len(line) <= most:
        return line
    end = most // 4
    return f"{line[: most - end - 1]}…{line[-end:] if end else ''}"


def plain_lines(text: str) -> list[str]:
    """Return the lines of `text` (a traceback), each plain; at most `MOST_LINES` of them."""
    return [plain(line) for line in text.split("\n", MOST_LINES)[:MOST_LINES]]


def plain_values(value: Any) -> Any:
    """Return what JSON is made of with every text in it plain, names of members too."""
    if isinstance(value, str):
        quick = value.isascii() and value.isprintable() and len(value) <= MOST_OF_TEXT
        return value if quick else plain(value, MOST_OF_TEXT)
    if isinstance(value, dict):
        return {plain(key): plain_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(one) for one in value]
    return value


@lru_cache(maxsize=4096)  # texts are long, and have few characters that differ
def _escaped(char: str) -> str:
    return char if is_plain(char) else char.encode("unicode_escape").decode("ascii")


def here(when: datetime) -> datetime:
    """Return an aware time in the zone of this process ($TZ, /etc/localtime)."""
    try:
        return when.astimezone()
    except (OverflowError, ValueError):
        # RFC 5280 §4.1.2.5: 9999-12-31 stands for "no end", and is the last day that there is.
        return when


def clock(when: datetime) -> str:
    """Return `2026-12-01 04:12:05 CET`."""
    return f"{here(when):%Y-%m-%d %H:%M:%S %Z}"


def rfc3339(when: datetime) -> str:
    """Return `2026-12-01T03:12:05Z` (RFC 3339)."""
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def minute(when: datetime) -> str:
    """Return `2026-12-01 04:12 CET`."""
    return f"{here(when):%Y-%m-%d %H:%M %Z}"


def day(when: datetime) -> str:
    """Return `2026-12-01`."""
    return f"{here(when):%Y-%m-%d}"


def hour(when: datetime) -> str:
    """Return `04:12:05 CET`, for what is near."""
    return f"{here(when):%H:%M:%S %Z}"


def local(moment: datetime | None, now: datetime) -> str:
    """Return a local time with its zone, of far ones the date alone; "-" for None."""
    if moment is None:
        return "-"
    far = abs(moment - now) > _NEAR
    return day(moment) if far else minute(moment)


def span(length: timedelta) -> str:
    """Return a length of time in its fitting unit, rounded down: 41 d, 31 h, 12 min."""
    seconds = int(abs(length).total_seconds())
    if seconds >= 2 * 86400:
        return f"{seconds // 86400} d"
    return f"{seconds // 3600} h" if seconds >= 2 * 3600 else f"{seconds // 60} min"
