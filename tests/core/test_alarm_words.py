"""What messages and lines say of alarms: what it is, since when, what is left, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.alarm import Affected, AlarmCase, gathered
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.notice_book import AlarmBook, watched
from sslmd.core.notices import AlarmMessage, NoticeRule, decide_notices, silence, took
from sslmd.core.plain import is_plain, minute
from sslmd.core.reason import noted
from sslmd.core.trouble import Severity
from sslmd.core.words.alarms import (
    ADVICE,
    MOST_ALARMS,
    MOST_OF_SUBJECT,
    TITLES,
    advice,
    body_of,
    silence_line,
    subject_of,
    title,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
EMPTY = AlarmBook()
RULE = NoticeRule("mail", after=timedelta())
BAD = "no\r\nBcc: all@example.com\n\x1b[31m\u202e\u2028<b>{x}[y]\x00 \ud800" + 5000 * "long "


def case(kind: AlarmKind, name: str, cause: str = "down", ends: datetime | None = None,
         severity: Severity = Severity.WARNING, place: str = "") -> AlarmCase:  # fmt: skip
    places = (place,) if place else ()
    return AlarmCase(kind, cause, noted(cause), Affected(name, severity, 0, ends, places))


def message_of(cases: Sequence[AlarmCase], book: AlarmBook = EMPTY, after: timedelta = DAY,
               ) -> tuple[AlarmMessage, AlarmBook]:  # fmt: skip
    now = (book.seen or NOW) + after
    seen = watched(book, gathered(cases), now)
    message = decide_notices(RULE, seen.book, seen.alarms, now).message
    assert message is not None
    return message, took(seen.book, message)


def test_every_kind_has_words() -> None:
    assert set(TITLES) == set(ADVICE) == set(AlarmKind)
    for kind in AlarmKind:
        for names in (["one.example:web"], ["one.example:web", "two.example:web"]):
            (alarm,) = gathered([case(kind, name, place="www1") for name in names])
            assert title(alarm)
            assert advice(alarm)
            assert "{" not in title(alarm) + advice(alarm)


def test_a_message_says_what_since_when_how_long_and_what_to_do() -> None:
    cases = [case(AlarmKind.EXPIRY, f"site{n}.example:web", "no route", NOW + (n + 5) * DAY)
             for n in range(100)]  # fmt: skip
    message, book = message_of([*cases, case(AlarmKind.UNUSED, "z.example:x", "unused")])
    subject, body = subject_of(message, "mx1"), body_of(message)
    assert subject.startswith("mx1: warning: 100 certificates ")
    assert "4 d left" in subject
    assert "1 more" in subject
    paragraphs = body.split("\n\n")
    assert len(paragraphs) == 3
    told = ("no route", minute(NOW + DAY), minute(NOW + 5 * DAY), "site0.example:web, ", "90 more")
    for part in (*told, "sslmctl renew site0.example:web"):
        assert part in paragraphs[0], part
    assert "2" in paragraphs[2]
    over, book = message_of([], book, timedelta(minutes=20))
    assert subject_of(over, "mx1").startswith("mx1: all clear")
    assert "no route" in body_of(over)


def test_an_end_beside_others_is_not_all_clear() -> None:
    _, book = message_of([case(AlarmKind.HOST, "www1"), case(AlarmKind.HOST, "www2", "other")])
    message, book = message_of([case(AlarmKind.HOST, "www2", "other")], book, DAY / 2)
    assert subject_of(message, "mx1").startswith("mx1: over: ")
    assert "clear" not in body_of(message)


def test_what_has_expired() -> None:
    message, _ = message_of([case(AlarmKind.EXPIRY, "a.example:web", ends=NOW - DAY)])
    assert "expired 2 d ago" in subject_of(message, "mx1")


@pytest.mark.parametrize("kind", list(AlarmKind))
def test_no_byte_of_others_is_raw(kind: AlarmKind) -> None:
    message, book = message_of([case(kind, BAD, BAD, NOW, place=BAD), case(kind, "b", BAD, NOW)])
    over, _ = message_of([], book, timedelta(hours=1))
    for one in (message, over):
        subject, body = subject_of(one, "mx1"), body_of(one)
        assert is_plain(subject)
        assert len(subject) <= MOST_OF_SUBJECT
        assert all(map(is_plain, body.split("\n")))
        assert "Bcc" not in [line.strip()[:3] for line in body.split("\n")]
        assert len(body) < 20_000
        body.encode()
    line = silence_line(replace(silence("x", DAY, "root", BAD, NOW), what=BAD))
    assert is_plain(line)


def test_a_message_has_an_end() -> None:
    cases = [case(AlarmKind.HOST, f"www{n}", f"cause {chr(97 + n % 26)}{n}") for n in range(432)]
    message, _ = message_of(cases)
    body = body_of(message)
    assert body.count("is not reached") == MOST_ALARMS
    assert f"and {len(message.items) - MOST_ALARMS} more\n" in body
    assert len(body) < 20_000
