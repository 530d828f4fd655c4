"""Sentences of reasons.

`show`, `status`, `plan`, answers, errors and the journal all call `say`. Each enumeration of
`core.reason` has one table in this folder, with words for every code. Nobody reads a sentence back.

Words are a pattern: `{fact}` stands for a fact, `[…]` is left out when one of the facts in it is
missing, `[[` and `]]` are brackets. `{fact:style}` writes it in one of the `STYLES`. A function in
the place of a pattern looks at facts and returns the pattern to use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from sslmd.core.failed import Failed
from sslmd.core.reason import ABOUT, ALSO, Code, Ended, Held, Reason, Why
from sslmd.core.times import clock, day, minute
from sslmd.core.words.acme import ACME
from sslmd.core.words.decisions import DECISIONS
from sslmd.core.words.dns import DNS
from sslmd.core.words.endings import ENDINGS
from sslmd.core.words.held import HELD
from sslmd.core.words.hosts import HELD_HOSTS

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sslmd.core.reason import Fact

TABLES: Mapping[type[Code], Mapping[Any, str | Callable[..., str]]] = {
    Why: DECISIONS,
    Held: {**HELD, **HELD_HOSTS},
    Ended: ENDINGS,
    Failed: {**ACME, **DNS},
}


def say(reason: Reason | None) -> str:
    """Return the sentence of a reason, "" for None."""
    if reason is None:
        return ""
    facts = dict(reason.facts)
    also, about = facts.pop(ALSO, ()), facts.pop(ABOUT, None)
    words = TABLES[type(reason.code)][reason.code]
    text = fill(words if isinstance(words, str) else words(facts), facts)
    text = text if about is None else f"{about}: {text}"
    assert isinstance(also, tuple)
    return "; ".join([text, *map(written, also)])


def fill(pattern: str, facts: Mapping[str, Fact]) -> str:
    """Return a pattern with its facts; raises KeyError where one is missing outside brackets."""
    text = []
    for optional, pieces in _pieces(pattern):
        if optional and any(not facts.get(piece[0]) for piece in pieces if piece[0]):
            continue
        for name, rest in pieces:
            text.append(STYLES[rest](facts[name]) if name else rest)
    return "".join(text)


@lru_cache(maxsize=2048)
def _pieces(pattern: str) -> tuple[tuple[bool, tuple[tuple[str, str], ...]], ...]:
    """Cut a pattern into parts, each optional or not: facts with their styles, "" with a text."""
    parts: list[tuple[bool, tuple[tuple[str, str], ...]]] = []
    pieces: list[tuple[str, str]] = []
    optional = False
    for mark, name, style, text in _TOKENS.findall(pattern):
        if mark in ("[", "]"):
            parts.append((optional, tuple(pieces)))
            pieces, optional = [], mark == "["
        else:
            pieces.append((name, style) if name else ("", mark[:1] or text))
    parts.append((optional, tuple(pieces)))
    return tuple(parts)


_TOKENS = re.compile(r"(\[\[|\]\]|\[|\])|\{(\w+)(?::(\w+))?\}|([^\[\]{}]+)")


def fields(pattern: str) -> Iterator[str]:
    """Yield the names of the facts in a pattern."""
    return (name for _, name, _, _ in _TOKENS.findall(pattern) if name)


# --- facts ---------------------------------------------------------------------------------


def written(fact: Fact) -> str:
    """Return a fact as it stands in a sentence."""
    if isinstance(fact, Reason):
        return say(fact)
    if isinstance(fact, datetime):
        return clock(fact)
    if isinstance(fact, timedelta):
        return f"{fact / timedelta(minutes=1):g} min"
    if isinstance(fact, tuple):
        return ", ".join(map(written, fact))
    return f"{fact:g}" if isinstance(fact, float) else str(fact)


def _time(write: Callable[[datetime], str]) -> Callable[[Fact], str]:
    def written_so(fact: Fact) -> str:
        assert isinstance(fact, datetime)
        return write(fact)

    return written_so


def _joined(between: str) -> Callable[[Fact], str]:
    def written_so(fact: Fact) -> str:
        return between.join(map(written, fact)) if isinstance(fact, tuple) else written(fact)

    return written_so


def _days(fact: Fact) -> str:
    assert isinstance(fact, timedelta)
    return f"{fact / timedelta(days=1):.1f} d"


def span(fact: Fact) -> str:
    """Return a time span that may be seconds or hours."""
    assert isinstance(fact, timedelta)
    whole = round(fact.total_seconds())
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"


STYLES: dict[str, Callable[[Fact], str]] = {
    "": written,
    "minute": _time(minute),
    "day": _time(day),
    "days": _days,
    "span": span,
    "and": _joined(" and "),
    "lines": _joined("; "),
    "words": _joined(" "),
    "if": lambda _: "",
}
