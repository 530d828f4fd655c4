"""Sentences of reasons.

`show`, `status`, `plan`, answers, errors and the journal all call `say`. Each enumeration of
`core.reason` has one table in this folder, with words for every code. Nobody reads a sentence back.

Words are a pattern (`words.pattern`), with the `STYLES` below. A function in the place of a pattern
looks at facts and returns the pattern to use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sslmd.core.failed import Failed
from sslmd.core.plain import clock, day, hour, minute, some_of
from sslmd.core.reason import ABOUT, ALSO, Code, Ended, Held, Reason, Why
from sslmd.core.seen import AtPort, InDns
from sslmd.core.told import Answered, Denied, Doing, Happened, Odd, Reported, ToDo, Would
from sslmd.core.unusable import NotUsable
from sslmd.core.words.acme import ACME
from sslmd.core.words.at_port import AT_PORT
from sslmd.core.words.dane import DANE
from sslmd.core.words.decisions import DECISIONS
from sslmd.core.words.denied import DENIED
from sslmd.core.words.dns import DNS
from sslmd.core.words.doing import DOING, ODD, WOULD
from sslmd.core.words.endings import ANSWERS, ENDINGS
from sslmd.core.words.files import FILES
from sslmd.core.words.happened import HAPPENED
from sslmd.core.words.held import HELD
from sslmd.core.words.hosts import HELD_HOSTS, HOSTS
from sslmd.core.words.net import NET
from sslmd.core.words.notify import NOTIFY
from sslmd.core.words.pattern import fill
from sslmd.core.words.reported import REPORTED, TO_DO

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sslmd.core.reason import Fact

TABLES: Mapping[type[Code], Mapping[Any, str | Callable[..., str]]] = {
    Why: DECISIONS,
    Held: {**HELD, **HELD_HOSTS},
    Ended: ENDINGS,
    Failed: {**ACME, **DNS, **HOSTS, **NET, **NOTIFY},
    Happened: HAPPENED,
    Doing: DOING,
    Odd: ODD,
    Would: WOULD,
    Denied: DENIED,
    Answered: ANSWERS,
    InDns: DANE,
    AtPort: AT_PORT,
    Reported: REPORTED,
    ToDo: TO_DO,
    NotUsable: FILES,
}


def say(reason: Reason | None) -> str:
    """Return the sentence of a reason, "" for None."""
    if reason is None:
        return ""
    facts = dict(reason.facts)
    also, about = facts.pop(ALSO, ()), facts.pop(ABOUT, None)
    words = TABLES[type(reason.code)][reason.code]
    text = fill(words if isinstance(words, str) else words(facts), facts, STYLES)
    text = text if about is None else f"{about}: {text}"
    assert isinstance(also, tuple)
    return "; ".join([text, *map(written, also)])


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


def _some(most: int) -> Callable[[Fact], str]:
    def written_so(fact: Fact) -> str:
        assert isinstance(fact, tuple)
        return some_of(tuple(map(written, fact)), most)

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
    "hour": _time(hour),
    "days": _days,
    "span": span,
    "and": _joined(" and "),
    "lines": _joined("; "),
    "words": _joined(" "),
    "steps": _joined(" -> "),
    "or": _joined(" or "),
    "ten": _some(10),
    "some": _some(5),
    "three": _some(3),
    "two": _some(2),
    "if": lambda _: "",
}
