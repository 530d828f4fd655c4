"""A daemon's part in telling alarms, on a virtual clock: it looks, asks, sends and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sslmd.core.alarm import Affected, Alarm, AlarmCase, gathered
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import Transient, Trouble
from sslmd.core.notice_book import AlarmBook, watched
from sslmd.core.notices import (
    AlarmMessage,
    News,
    NoticeRule,
    decide_notices,
    not_taken,
    took,
)
from sslmd.core.reason import noted
from sslmd.core.trouble import Severity
from sslmd.store.note_kinds import ALARM_BOOK_NOTE

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
MAIL = NoticeRule("mail")
EXPIRY, DANE, HOST = AlarmKind.EXPIRY, AlarmKind.DANE, AlarmKind.HOST


def case(
    name: str, cause: str = "down", kind: AlarmKind = EXPIRY, severity: Severity = WARNING,
    step: int = 0, places: tuple[str, ...] = (),
) -> AlarmCase:  # fmt: skip
    return AlarmCase(kind, cause, noted(cause), Affected(name, severity, step, places=places))


@dataclass
class Days:
    """The daemon's part: it looks at all alarms, asks, sends and notes; on a virtual clock."""

    rule: NoticeRule = MAIL
    now: datetime = START
    book: AlarmBook = field(default_factory=AlarmBook)
    alarms: list[Alarm] = field(default_factory=list)
    sent: list[AlarmMessage] = field(default_factory=list)
    works: bool = True

    def stand(self, *cases: AlarmCase, unknown: Sequence[tuple[AlarmKind, str]] = ()) -> None:
        self.cases, self._unknown = cases, unknown
        self.look()

    cases: Sequence[AlarmCase] = ()
    _unknown: Sequence[tuple[AlarmKind, str]] = ()

    def look(self) -> None:
        seen = watched(self.book, gathered(self.cases), self.now, self._unknown)
        self.book, self.alarms = seen.book, list(seen.alarms)

    def decide(self) -> datetime | None:
        """Return when to ask again."""
        while True:
            self.look()
            decision = decide_notices(self.rule, self.book, self.alarms, self.now)
            if (message := decision.message) is None:
                assert decision.wake_at is None or decision.wake_at > self.now
                return decision.wake_at
            if self.works:
                self.sent.append(message)
                self.book = took(self.book, message)
            else:
                before = self.book.notifier(self.rule.name).trouble
                attempts = before.attempts if before else 0
                trouble = Trouble.of(Transient("refused"), attempts, self.now, jitter=0.0)
                self.book = not_taken(self.book, self.rule.name, trouble)

    def go(self, length: timedelta) -> None:
        """Let time pass, and do what there is to do meanwhile."""
        end = self.now + length
        while (wake := self.decide()) is not None and wake <= end:
            self.now = wake
        self.now = end
        self.decide()

    @property
    def told(self) -> list[tuple[News, tuple[str, ...]]]:
        """What was told since this was last asked."""
        sent, self.sent = self.sent, []
        return [
            (item.news, tuple(sorted(item.raised.everyone)))
            for message in sent
            for item in message.items
        ]

    def restart(self) -> None:
        read = ALARM_BOOK_NOTE.decode(ALARM_BOOK_NOTE.encode(self.book))
        assert read == self.book
        self.book = read
