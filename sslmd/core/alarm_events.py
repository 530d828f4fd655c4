"""What can happen to what is remembered of alarms; `advance_alarms` is the only way on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from sslmd.core.alarm import Alarm
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import Trouble
from sslmd.core.notice_book import AlarmBook, AlarmSilence, watched, with_notifiers
from sslmd.core.notices import (
    AlarmMessage,
    not_taken,
    silenced,
    took,
    unsilenced,
    without_ended,
    works,
)


@dataclass(frozen=True, slots=True)
class AlarmState:
    """The alarms that stand, the most urgent first, and what is remembered of them.

    `looked`: when all were last looked for, None since the start: then nobody knows which stand.
    `unsaved`: why the book could not be written, "" if it could.
    """

    book: AlarmBook = field(default_factory=AlarmBook)
    alarms: tuple[Alarm, ...] = ()
    unsaved: str = ""
    looked: datetime | None = None


@dataclass(frozen=True, slots=True)
class BookRead:
    """This was noted, by the run before."""

    book: AlarmBook


@dataclass(frozen=True, slots=True)
class AlarmsSeen:
    """All alarms were looked for. `unknown`: what could not be, of which kind and about whom."""

    at: datetime
    alarms: tuple[Alarm, ...]
    unknown: Collection[tuple[AlarmKind, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class NotifiersAre:
    """The configuration has these notifiers."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A notifier took a message."""

    message: AlarmMessage


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """A notifier did not."""

    name: str
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class TrialTaken:
    """A notifier took a message that is about nothing: it is not waited for any more."""

    name: str


@dataclass(frozen=True, slots=True)
class SilenceMade:
    """An admin wants silence."""

    silence: AlarmSilence


@dataclass(frozen=True, slots=True)
class SilenceEnded:
    """An admin wants none any more."""

    what: str


@dataclass(frozen=True, slots=True)
class BookUnsaved:
    """What is remembered could not be written; "": it could."""

    why: str


AlarmEvent = (
    BookRead
    | AlarmsSeen
    | NotifiersAre
    | MessageSent
    | MessageFailed
    | TrialTaken
    | SilenceMade
    | SilenceEnded
    | BookUnsaved
)


def advance_alarms(before: AlarmState | None, event: AlarmEvent) -> AlarmState:
    """Return how alarms stand after an event."""
    state = before or AlarmState()
    book = state.book
    match event:
        case BookRead():
            return replace(state, book=event.book)
        case AlarmsSeen(at, alarms, unknown):
            seen = watched(book, alarms, at, unknown)
            book = without_ended(seen.book, at)
            return replace(state, book=book, alarms=tuple(seen.alarms), looked=at)
        case NotifiersAre(names):
            book = with_notifiers(book, names)
        case MessageSent(message):
            # Of a notifier that the configuration has no more, nothing is remembered.
            book = took(book, message) if message.to in book.notifiers else book
        case MessageFailed(name, trouble):
            book = not_taken(book, name, trouble) if name in book.notifiers else book
        case TrialTaken(name):
            book = works(book, name) if name in book.notifiers else book
        case SilenceMade(silence):
            book = silenced(book, silence)
        case SilenceEnded(what):
            book = unsilenced(book, what)
        case BookUnsaved(why):
            return replace(state, unsaved=why)
    return replace(state, book=book)
