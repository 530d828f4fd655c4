"""What is told to whom, and when: messages are made of what stands, never of events.

`decide_notices` says what one notifier is to be sent now, or when to ask again. Nothing queues up:
a message that could not be sent is made again of what stands then. `took` notes what was sent.

An alarm is told when it has stood for `after`, again when it is more urgent, every `repeat`, and
when it is over. For one cause there is one message a day, apart from what is more urgent and the
end. What is due at the same time goes out as one message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from sslmd.core.alarm import Affected, Alarm
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import Refused, Trouble
from sslmd.core.notice_book import (
    DAY,
    LONGEST_SILENCE,
    AlarmBook,
    AlarmSilence,
    LastTold,
    NotifierState,
    Raised,
)
from sslmd.core.reason import Reason
from sslmd.core.told import Denied
from sslmd.core.trouble import Severity
from sslmd.core.windows import Window, open_now

# Messages that a notifier gets in a day, one by one; more of them wait for each other, an hour at a
# time.
AT_ONCE = 6
PAUSE = timedelta(hours=1)

# Reminders wait for each other by this share of `repeat`: a mail a day, not one for each cause.
TOGETHER = 0.25

# A long weekend. Hours that last longer are refused (`config.notify`): a warning that waits for
# them would come too late.
LONGEST_QUIET = 4 * DAY


class News(StrEnum):
    """What there is to tell of an alarm."""

    RAISED = "raised"
    WORSE = "worse"
    STILL = "still"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class NoticeRule:
    """What a notifier is to hear, as `[[notify]]` has it.

    `about`: of which kinds; empty: of all. `level`: from which severity on. `quiet`: when only what
    is critical is told. `fingerprint`: of where it sends to; another one is tried at once.
    """

    name: str
    about: frozenset[AlarmKind] = frozenset()
    level: Severity = Severity.WARNING
    after: timedelta = timedelta(minutes=10)
    repeat: timedelta = DAY
    quiet: tuple[Window, ...] = ()
    fingerprint: str = ""

    @property
    def pause(self) -> timedelta:
        """How long what is raised again, or affects more, waits for the next message about it."""
        return min(self.repeat, DAY)


@dataclass(frozen=True, slots=True)
class NewsItem:
    """One thing in a message. `alarm` is None for what is over, and `raised` is what it was."""

    news: News
    id: str
    raised: Raised
    alarm: Alarm | None = None


@dataclass(frozen=True, slots=True)
class AlarmMessage:
    """What to send to the notifier `to`, the most urgent first. `left`: alarms that stand then."""

    to: str
    at: datetime
    items: tuple[NewsItem, ...]
    left: int


@dataclass(frozen=True, slots=True)
class NoticeDecision:
    """What to do for a notifier now: to send `message`, or to ask again at `wake_at` at the latest.

    Neither: nothing stands.
    """

    message: AlarmMessage | None = None
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Due:
    """When something is to be told."""

    at: datetime
    item: NewsItem

    @property
    def is_reminder(self) -> bool:
        return self.item.news is News.STILL


def decide_notices(
    rule: NoticeRule, book: AlarmBook, alarms: Sequence[Alarm], now: datetime
) -> NoticeDecision:
    """Return what to tell a notifier. `alarms`: those that `book` was last `watched` with."""
    state = book.notifier(rule.name)
    silences = [one for one in book.silences if one.holds(now)]
    found = _heard(rule, alarms, silences)
    due = list(_due(rule, state, book, found, now))
    wakes = [one.until for one in silences] if len(found) < len(alarms) else []
    if not due:
        return NoticeDecision(wake_at=min(wakes, default=None))
    at = max(_first(rule, due), _free(state, now))
    trouble = state.trouble
    if trouble is not None and trouble.blocks(now, rule.fingerprint):
        at = max(at, trouble.next_try)
    if at > now:
        return NoticeDecision(wake_at=min([at, *wakes]))
    items = tuple(one.item for one in due if one.at <= now)
    return NoticeDecision(AlarmMessage(rule.name, now, items, len(found)))


def took(book: AlarmBook, message: AlarmMessage) -> AlarmBook:
    """Return the book after a message was sent."""
    state, at = book.notifier(message.to), message.at
    told = dict(state.told)
    for item in message.items:
        if item.alarm is None:
            told[item.id] = replace(told.get(item.id) or LastTold(at), over=at)
        else:
            told[item.id] = LastTold(at, *item.alarm.level)
    sent = (*state.sent, at)[-AT_ONCE:]
    return _with(book, message.to, NotifierState(told, sent))


def not_taken(book: AlarmBook, name: str, trouble: Trouble) -> AlarmBook:
    """Return the book after a message could not be sent."""
    return _with(book, name, replace(book.notifier(name), trouble=trouble))


def works(book: AlarmBook, name: str) -> AlarmBook:
    """Return the book after a message that is about nothing (a test) was taken."""
    return _with(book, name, replace(book.notifier(name), trouble=None))


def _with(book: AlarmBook, name: str, state: NotifierState) -> AlarmBook:
    return replace(book, notifiers={**book.notifiers, name: state})


# --- what is due -------------------------------------------------------------------------------


def _heard(
    rule: NoticeRule, alarms: Sequence[Alarm], silences: Sequence[AlarmSilence]
) -> list[Alarm]:
    """Return of the alarms what a notifier is to hear."""
    found = []
    for alarm in alarms:
        if rule.about and alarm.kind not in rule.about:
            continue
        left = alarm.of(partial(_is_heard, rule, alarm.kind, silences))
        if left is not None and left.severity >= rule.level:
            found.append(left)
    return found


def _is_heard(
    rule: NoticeRule, kind: AlarmKind, silences: Sequence[AlarmSilence], one: Affected
) -> bool:
    """Whether it is told whom an alarm affects; a notifier does not tell that it fails itself."""
    if kind is AlarmKind.NOTIFIER and one.name == rule.name:
        return False
    return not any(silence.covers(kind, one) for silence in silences)


def _due(
    rule: NoticeRule,
    state: NotifierState,
    book: AlarmBook,
    alarms: Sequence[Alarm],
    now: datetime,
) -> Iterator[_Due]:
    """Yield everything that is to be told, now or later; the most urgent first, ends last."""
    quiet = _quiet_until(rule, now)
    for alarm in alarms:
        raised = book.raised.get(alarm.id)
        if raised is None:
            continue
        news, at = _when(rule, alarm, raised, state.told.get(alarm.id))
        if alarm.severity < Severity.CRITICAL:
            at = max(at, quiet or at)
        yield _Due(at, NewsItem(news, alarm.id, raised, alarm))
    yield from _ends(rule, state, book, quiet)


def _ends(
    rule: NoticeRule, state: NotifierState, book: AlarmBook, quiet: datetime | None
) -> Iterator[_Due]:
    """Yield what was told and is over; not of those that are in trouble again."""
    for ident, told in state.told.items():
        raised = book.raised.get(ident)
        if told.over is not None or raised is None or raised.gone is None:
            continue
        again = book.standing(raised.kind)
        if well := raised.subjects - again:
            at = raised.gone + rule.after
            raised = replace(raised, subjects=well, past=raised.past - again)
            yield _Due(max(at, quiet or at), NewsItem(News.OVER, ident, raised))


def _when(
    rule: NoticeRule, alarm: Alarm, raised: Raised, told: LastTold | None
) -> tuple[News, datetime]:
    """Return what is to be told of an alarm that stands, and when."""
    first = raised.since + rule.after
    if told is None:
        return News.RAISED, first
    if alarm.level > told.level:
        return News.WORSE if told.over is None else News.RAISED, first
    if told.over is not None:
        return News.RAISED, max(first, told.at + rule.pause)
    return News.STILL, told.at + (rule.pause if raised.newest > told.at else rule.repeat)


def _first(rule: NoticeRule, due: Sequence[_Due]) -> datetime:
    """Return when the next message is to go out; reminders wait for each other, but for no news."""
    news = [one.at for one in due if not one.is_reminder]
    reminders = [one.at for one in due if one.is_reminder]
    if reminders:
        limit = min(reminders) + rule.repeat * TOGETHER
        news.append(max(at for at in reminders if at <= limit))
    return min(news)


def _quiet_until(rule: NoticeRule, now: datetime) -> datetime | None:
    """Return when the quiet hours end, None if there are none at the moment."""
    if (span := open_now(rule.quiet, now)) is None:
        return None
    begin, end = span
    return end if end - begin <= LONGEST_QUIET else None


def _free(state: NotifierState, now: datetime) -> datetime:
    """Return when the next message may go out: many a day wait for each other."""
    recent = [one for one in state.sent if now - one < DAY]
    return min(recent[-1], now) + PAUSE if len(recent) >= AT_ONCE else now


# --- silences ----------------------------------------------------------------------------------


def silence(what: str, length: timedelta, who: str, why: str, now: datetime) -> AlarmSilence:
    """Return a silence; raises `Refused` for one that has no end soon, or no reason."""
    if not timedelta() < length <= LONGEST_SILENCE:
        raise Refused(Reason(Denied.SILENCE_LENGTH, most=LONGEST_SILENCE.days))
    if not why.strip():
        raise Refused(Reason(Denied.SILENCE_WHY, what=what))
    return AlarmSilence(what, now + length, who, why, now)


def silenced(book: AlarmBook, silence: AlarmSilence) -> AlarmBook:
    """Return the book with a silence, in the place of an older one about the same."""
    others = tuple(one for one in book.silences if one.what != silence.what)
    return replace(book, silences=(*others, silence))


def unsilenced(book: AlarmBook, what: str) -> AlarmBook:
    """Return the book without the silence about something."""
    return replace(book, silences=tuple(one for one in book.silences if one.what != what))


def without_ended(book: AlarmBook, now: datetime) -> AlarmBook:
    """Return the book without silences that ended a day ago: until then the clock may be wrong."""
    left = tuple(one for one in book.silences if one.until > now - DAY)
    return book if left == book.silences else replace(book, silences=left)
