"""An alarm: one cause of trouble that stands now, with everything that it affects.

Who fails for one reason shares an alarm: a hundred certificates make one. What the reasons of two
subjects have in common is found by a sketch of their words, without names and numbers; the same
words are noted on disk, so an alarm is the same one after a restart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from operator import attrgetter

from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.reason import Reason
from sslmd.core.trouble import Severity

# What is left of an expiry by the time that a certificate had when its renewal was due: each share
# that it falls below is one step, and the last step is the expiry itself.
STEPS = (1 / 3, 1 / 6, 1 / 10, 0.0)

# Causes of one kind; when there are more, nobody reads them one by one.
MOST_CAUSES = 100
_OTHERS = "others"

# Characters of a reason that make the cause: the rest is names, times and ways out.
_SKETCHED = 400
_MARKS = ".,;:!?()[]{}<>'\"`|=…"
_NO_DIGIT = re.compile(r"\D*\Z").match
_NEVER = datetime.max.replace(tzinfo=UTC)
_KINDS = {kind: number for number, kind in enumerate(AlarmKind)}

Level = tuple[Severity, int]
"""How urgent it is: the severity, and within it the step on the way to an expiry."""


@dataclass(frozen=True, slots=True)
class Affected:
    """Whom an alarm is about, and how urgent it is there.

    `name`: `example.com:web-ec`, a host, a zone, a CA, a file. `step`: see `STEPS`; 0 is none.
    `ends`: when its certificate expires. `places`: hosts and zones that it is about as well.
    """

    name: str
    severity: Severity = Severity.WARNING
    step: int = 0
    ends: datetime | None = None
    places: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        """How urgent it is."""
        return self.severity, self.step

    @property
    def urgency(self) -> tuple[object, ...]:
        """What to sort by, the most urgent first."""
        return -self.severity, -self.step, self.ends or _NEVER, self.name


@dataclass(frozen=True, slots=True)
class AlarmCase:
    """One subject's share of an alarm. Cases with one `key` (of one kind) have one cause."""

    kind: AlarmKind
    key: str
    cause: Reason
    who: Affected


@dataclass(frozen=True)
class Alarm:
    """One cause that stands now; `affected` is in order of names, and has at least one.

    `cause` is the reason of the most urgent of them.
    """

    id: str
    kind: AlarmKind
    cause: Reason
    affected: tuple[Affected, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Return the names of what it is about."""
        return tuple(one.name for one in self.affected)

    @cached_property
    def first(self) -> Affected:
        """The most urgent one."""
        return min(self.affected, key=attrgetter("urgency"))

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.first.severity

    @property
    def level(self) -> Level:
        """How urgent it is."""
        return self.first.level

    @cached_property
    def ends(self) -> datetime | None:
        """When the first of its certificates expires, None if it is about none."""
        return min((one.ends for one in self.affected if one.ends is not None), default=None)

    @property
    def place(self) -> str:
        """The host or zone that the most urgent one is about as well, "" for none."""
        return self.first.places[0] if self.first.places else ""

    def of(self, whom: Callable[[Affected], bool]) -> Alarm | None:
        """Return it for some of those that it affects, None for nobody."""
        left = tuple(filter(whom, self.affected))
        if len(left) == len(self.affected):
            return self
        return Alarm(self.id, self.kind, self.cause, left) if left else None


def alarm_id(kind: AlarmKind, key: str) -> str:
    """Return what an alarm is known by: the same one for the same cause, over restarts."""
    return f"{kind}-{blake2b(key.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


def gathered(cases: Iterable[AlarmCase]) -> list[Alarm]:
    """Return the alarms that some cases make, the most urgent first."""
    by_cause: dict[AlarmKind, dict[str, list[AlarmCase]]] = defaultdict(dict)
    for case in cases:
        by_cause[case.kind].setdefault(case.key, []).append(case)
    return in_order(
        _alarm(kind, key, some)
        for kind, causes in by_cause.items()
        for key, some in _few(causes).items()
    )


def _few(causes: dict[str, list[AlarmCase]]) -> dict[str, list[AlarmCase]]:
    """Return the causes with the most cases, and all others as one cause if there are too many."""
    if len(causes) <= MOST_CAUSES:
        return causes
    order = sorted(causes, key=lambda key: (-len(causes[key]), key))
    few = {key: causes[key] for key in order[: MOST_CAUSES - 1]}
    others = [case for key in order[MOST_CAUSES - 1 :] for case in causes[key]]
    return {**few, _OTHERS: others}


def in_order(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Return alarms, the most urgent first."""
    return sorted(alarms, key=_urgency)


def _alarm(kind: AlarmKind, key: str, cases: list[AlarmCase]) -> Alarm:
    worst: dict[str, Affected] = {}
    for case in sorted(cases, key=lambda case: case.who.urgency):
        worst.setdefault(case.who.name, case.who)
    first = min(cases, key=lambda case: case.who.urgency)
    affected = tuple(worst[name] for name in sorted(worst))
    return Alarm(alarm_id(kind, key), kind, first.cause, affected)


def _urgency(alarm: Alarm) -> tuple[object, ...]:
    first = alarm.first
    return -first.severity, -first.step, first.ends or _NEVER, _KINDS[alarm.kind], alarm.id


def step_of(left: float) -> int:
    """Return the step for the share of its time that a certificate has left, 1 and more: none."""
    return sum(left <= share for share in STEPS)


# --- what reasons have in common ---------------------------------------------------------------


def sketch(text: str, names: Set[str] = frozenset()) -> str:
    """Return what the cause is in a text about `names`: its words without names and numbers.

    `names` are in lower case; a name below one of them is one of them as well.
    """
    words: list[str] = []
    last = ""
    for word in text[:_SKETCHED].lower().split():
        bare = word if word.isalpha() else _sort(word.strip(_MARKS), names)
        # How many names there are in a row says nothing.
        if bare and (bare != last or bare not in ("*", "#")):
            words.append(bare)
            last = bare
    return " ".join(words)


def _sort(word: str, names: Set[str]) -> str:
    """Return "*" for a name, "#" for what has a number in it, and any other word as it is."""
    if not names.isdisjoint(_parts(word)):
        return "*"
    return word if _NO_DIGIT(word) else "#"


def _parts(word: str) -> set[str]:
    """Return the names that a word may be made of: parts of a path, and of a domain name."""
    found = {word}
    for part in word.split("/") if "/" in word else (word,):
        while part:
            found.add(part)
            part = part.partition(".")[2]
    return found
