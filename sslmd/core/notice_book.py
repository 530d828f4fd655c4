"""What is remembered of alarms, so that each is told once: raised since when, told to whom.

The daemon has one `AlarmBook`, on disk as well, and only the functions here and in `core.notices`
make another one of it. Times in it age by what has really passed: a clock that is set moves them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from sslmd.core.alarm import Affected, Alarm, Level, in_order
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import CLOCK_TOLERANCE, Trouble
from sslmd.core.plain import plain
from sslmd.core.trouble import Severity
from sslmd.core.words.sentence import say

DAY = timedelta(days=1)

# What was gone for so long is raised anew when it comes back.
SETTLED = timedelta(minutes=10)

# The longest time that a daemon may have been switched off. A clock that is further ahead than that
# was set.
LONGEST_GAP = timedelta(days=30)

# The most that passes between two looks while the clock is set to and fro; and for how long after
# it was set back nobody goes by it.
GAP = timedelta(minutes=10)
UNSURE = DAY

# Silences end: nobody remembers one after a quarter of a year.
LONGEST_SILENCE = timedelta(days=90)

# Characters of a cause that are kept for the time when it is over.
MOST_OF_CAUSE = 500


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm that stands, or did until `gone`.

    `since`: it stands since then. `subjects`: whom it is about, or was at the end; `newest`: when
    one was added to them; `past`: those of whom it was over before. `text`: its cause, for people;
    `place`: see `Alarm.place`.
    """

    kind: AlarmKind
    text: str
    since: datetime
    newest: datetime
    severity: Severity = Severity.WARNING
    gone: datetime | None = None
    subjects: frozenset[str] = frozenset()
    past: frozenset[str] = frozenset()
    place: str = ""

    @property
    def everyone(self) -> frozenset[str]:
        """Return all whom it was about since then."""
        return self.subjects | self.past


@dataclass(frozen=True, slots=True)
class LastTold:
    """What was last told of an alarm: when, and how urgent it was; `over`: when that was told."""

    at: datetime
    severity: Severity = Severity.WARNING
    step: int = 0
    over: datetime | None = None

    @property
    def level(self) -> Level:
        """How urgent it was said to be."""
        return self.severity, self.step

    def with_earlier(self, other: LastTold | None) -> LastTold:
        """Return it for an alarm of which something else was told before."""
        if other is None:
            return self
        return LastTold(max(self.at, other.at), *max(self.level, other.level), self.over)


@dataclass(frozen=True, slots=True)
class NotifierState:
    """What a notifier was told, by alarm; `sent`: when the last messages went out.

    `trouble`: why messages fail, None if they do not.
    """

    told: Mapping[str, LastTold] = field(default_factory=dict)
    sent: tuple[datetime, ...] = ()
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class AlarmSilence:
    """`who` asked for silence about `what`, and why: a certificate, group, host, zone or kind."""

    what: str
    until: datetime
    who: str
    why: str
    made: datetime

    def holds(self, now: datetime) -> bool:
        """Whether it is in force; not under a clock that was set back by years."""
        return now < self.until <= now + LONGEST_SILENCE + CLOCK_TOLERANCE

    def covers(self, kind: AlarmKind, one: Affected) -> bool:
        """Whether it is about one that an alarm of this kind affects."""
        group = one.name.partition(":")[0]
        return self.what in (str(kind), one.name, group, *one.places)


@dataclass(frozen=True, slots=True)
class AlarmBook:
    """Everything that is remembered; `raised` is by alarm, `notifiers` by name.

    `seen`: when all alarms were last looked at. `unsure`: until then the clock is not believed.
    """

    raised: Mapping[str, Raised] = field(default_factory=dict)
    notifiers: Mapping[str, NotifierState] = field(default_factory=dict)
    silences: tuple[AlarmSilence, ...] = ()
    seen: datetime | None = None
    unsure: datetime | None = None

    def notifier(self, name: str) -> NotifierState:
        """Return how a notifier stands; an empty state for one that is new."""
        return self.notifiers.get(name) or NotifierState()

    def standing(self, kind: AlarmKind) -> frozenset[str]:
        """Return everybody that an alarm of this kind stands for."""
        some = (one for one in self.raised.values() if one.kind is kind and one.gone is None)
        return frozenset().union(*(one.subjects for one in some))

    def differs(self, other: AlarmBook) -> bool:
        """Whether it has more to note than that time went on."""
        return self != replace(other, seen=self.seen)


@dataclass(frozen=True, slots=True)
class Watched:
    """A look at everything: the book after it, and the alarms as they are told, urgent ones first.

    Who fails in one way now and in another way then stays with the alarm that it was first with.
    """

    book: AlarmBook
    alarms: Sequence[Alarm]


def watched(
    book: AlarmBook,
    alarms: Sequence[Alarm],
    now: datetime,
    unknown: Collection[tuple[AlarmKind, str]] = frozenset(),
) -> Watched:
    """Take in that these alarms stand, and no others.

    `unknown` (of which kind, whom it would be about) was not looked at: what stood there stands.
    """
    book = at_time(book, now)
    alarms = _regrouped(book, alarms)
    return Watched(_Look(book, alarms, now, unknown).book(), alarms)


def _regrouped(book: AlarmBook, alarms: Sequence[Alarm]) -> list[Alarm]:
    """Return the alarms with everybody in the one that it was in before, if that stands still."""
    by_id = {one.id: one for one in alarms}
    home: dict[tuple[AlarmKind, str], str] = {}
    for ident, raised in book.raised.items():
        if ident in by_id and raised.gone is None:
            home |= {(raised.kind, name): ident for name in raised.subjects}
    strangers = [
        (alarm.id, there, one)
        for alarm in alarms
        for one in alarm.affected
        if (there := home.get((alarm.kind, one.name), alarm.id)) != alarm.id
    ]
    if not strangers:
        return list(alarms)
    members = {key: {one.name: one for one in alarm.affected} for key, alarm in by_id.items()}
    for here, there, one in strangers:
        del members[here][one.name]
        known = members[there].get(one.name)
        if known is None or one.urgency < known.urgency:
            members[there][one.name] = one
    return in_order(
        replace(by_id[ident], affected=tuple(some[name] for name in sorted(some)))
        for ident, some in members.items()
        if some
    )


class _Look:
    """One look at all alarms."""

    def __init__(
        self,
        book: AlarmBook,
        alarms: Sequence[Alarm],
        now: datetime,
        unknown: Collection[tuple[AlarmKind, str]],
    ) -> None:
        self._before, self._alarms, self._now = book, {one.id: one for one in alarms}, now
        self._standing: dict[AlarmKind, set[str]] = defaultdict(set)
        for one in alarms:
            self._standing[one.kind].update(one.subjects)
        self._unknown: dict[AlarmKind, set[str]] = defaultdict(set)
        for kind, name in unknown:
            self._unknown[kind].add(name)
        self._raised: dict[str, Raised] = {}
        # Who has now what an alarm was about that does not stand any more.
        self._heirs: dict[str, set[str]] = defaultdict(set)
        self._told = {name: dict(one.told) for name, one in book.notifiers.items()}

    def book(self) -> AlarmBook:
        """Return the book after it."""
        for ident, alarm in self._alarms.items():
            self._raised[ident] = self._standing_one(ident, alarm)
        for ident, raised in self._before.raised.items():
            if ident not in self._alarms and (left := self._absent(ident, raised)) is not None:
                self._raised[ident] = left
        notifiers = {
            name: replace(
                one, told={k: v for k, v in self._told[name].items() if k in self._raised}
            )
            for name, one in self._before.notifiers.items()
        }
        return replace(self._before, raised=self._raised, notifiers=notifiers, seen=self._now)

    def _standing_one(self, ident: str, alarm: Alarm) -> Raised:
        """Return what is remembered of an alarm that stands."""
        now, subjects = self._now, frozenset(alarm.subjects)
        old = self._before.raised.get(ident)
        if (old is None or old.gone is not None) and (donor := self._donor(alarm)):
            # The same subjects, for another reason than before: that is no news.
            for told in self._told.values():
                if donor in told:
                    told[ident] = told[donor].with_earlier(told.get(ident))
            self._heirs[donor] |= subjects
            had = self._before.raised[donor]
            old = replace(had, subjects=had.subjects & subjects, past=frozenset())
        elif old is None or not self._is_open(old):
            old = Raised(alarm.kind, "", now, now)
        return replace(
            old,
            text=plain(say(alarm.cause), MOST_OF_CAUSE),
            newest=old.newest if subjects <= old.subjects else now,
            severity=alarm.severity,
            gone=None,
            subjects=subjects,
            past=old.everyone - subjects,
            place=alarm.place,
        )

    def _donor(self, alarm: Alarm) -> str:
        """Return the alarm that most of its subjects had until now, "" for none."""
        homes = (self._had.get((alarm.kind, name), "") for name in alarm.subjects)
        for ident, number in Counter(filter(None, homes)).most_common(1):
            if 2 * number >= len(alarm.subjects):
                return ident
        return ""

    @cached_property
    def _had(self) -> Mapping[tuple[AlarmKind, str], str]:
        """Which alarm everybody had that does not stand any more."""
        return {
            (one.kind, name): ident
            for ident, one in self._before.raised.items()
            if ident not in self._alarms and self._is_open(one)
            for name in one.subjects
        }

    def _is_open(self, raised: Raised) -> bool:
        return raised.gone is None or self._now - raised.gone < SETTLED

    def _absent(self, ident: str, raised: Raised) -> Raised | None:
        """Return what is remembered of an alarm that does not stand, None for nothing."""
        if raised.subjects and raised.subjects <= self._heirs[ident]:
            # It goes on as another alarm; that this one was told is not forgotten.
            for told in self._told.values():
                if ident in told:
                    told[ident] = replace(told[ident], over=told[ident].over or self._now)
            return replace(raised, gone=self._now, subjects=frozenset(), past=frozenset())
        if raised.gone is not None:
            return raised if self._is_kept(ident, raised.gone) else None
        if not raised.subjects.isdisjoint(self._unknown[raised.kind]):
            return raised
        well = raised.subjects - self._standing[raised.kind]
        # It is over for these; the others are told of with what they have now.
        return replace(raised, gone=self._now, subjects=well) if well else raised

    def _is_kept(self, ident: str, gone: datetime) -> bool:
        """Whether what is gone is still to be told, or would not be told again if it came back."""
        owed = any(ident in told and told[ident].over is None for told in self._told.values())
        return owed or self._now - gone < DAY


# --- the clock ---------------------------------------------------------------------------------


def at_time(book: AlarmBook, now: datetime) -> AlarmBook:
    """Return the book at another time; what cannot have passed since the last look is taken out."""
    if book.seen is None:
        return replace(book, seen=now)
    gap = now - book.seen
    if gap < timedelta():
        jump, passed = True, timedelta()
    else:
        is_unsure = book.unsure is not None and book.seen < book.unsure
        jump = gap > (GAP if is_unsure else LONGEST_GAP)
        passed = GAP if jump else gap
    if not jump:
        return replace(book, seen=now)
    book = moved(book, gap - passed)
    return replace(book, seen=now, unsure=now + UNSURE if gap < -CLOCK_TOLERANCE else book.unsure)


def moved(book: AlarmBook, by: timedelta) -> AlarmBook:
    """Return the book after the clock was set by so much: everything is as long ago as before.

    Silences are the admin's, and end when they said.
    """

    def then(when: datetime) -> datetime:
        return _sum(when, by)

    raised = {
        ident: replace(
            one,
            since=then(one.since),
            newest=then(one.newest),
            gone=then(one.gone) if one.gone is not None else None,
        )
        for ident, one in book.raised.items()
    }
    notifiers = {
        name: replace(
            one,
            sent=tuple(map(then, one.sent)),
            told={
                ident: replace(told, at=then(told.at), over=then(told.over) if told.over else None)
                for ident, told in one.told.items()
            },
        )
        for name, one in book.notifiers.items()
    }
    seen = then(book.seen) if book.seen is not None else None
    unsure = then(book.unsure) if book.unsure is not None else None
    return replace(book, raised=raised, notifiers=notifiers, seen=seen, unsure=unsure)


def _sum(when: datetime, by: timedelta) -> datetime:
    try:
        return when + by
    except OverflowError:
        return when


def with_notifiers(book: AlarmBook, names: Iterable[str]) -> AlarmBook:
    """Return the book for the notifiers that there are; what others were told is forgotten."""
    return replace(book, notifiers={name: book.notifier(name) for name in names})
