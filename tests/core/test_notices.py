"""What is told to whom, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import Refused
from sslmd.core.notice_book import AlarmBook
from sslmd.core.notices import (
    News,
    silence,
    silenced,
    unsilenced,
    without_ended,
)
from sslmd.core.told import Denied
from sslmd.core.windows import Window
from tests.stand.alarm_days import (
    CRITICAL,
    DANE,
    DAY,
    EXPIRY,
    HOUR,
    MAIL,
    MINUTE,
    START,
    WARNING,
    Days,
    case,
)

BERLIN = ZoneInfo("Europe/Berlin")


def test_what_stands_is_told_once_and_its_end() -> None:
    days = Days()
    days.stand(case("a"), case("b"))
    days.go(9 * MINUTE)
    assert days.told == []
    days.go(2 * MINUTE)
    assert days.told == [(News.RAISED, ("a", "b"))]
    days.go(20 * HOUR)
    assert days.told == []
    days.stand()
    days.go(9 * MINUTE)
    assert days.told == []
    days.go(2 * MINUTE)
    assert days.told == [(News.OVER, ("a", "b"))]
    days.go(9 * DAY)
    assert (days.told, days.book.raised) == ([], {})


def test_what_mends_itself_is_not_told() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(9 * MINUTE)
    days.stand()
    days.go(9 * DAY)
    assert days.told == []


def test_it_is_told_again_every_day() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(3 * DAY + HOUR)
    assert days.told == [(News.RAISED, ("a",))] + 3 * [(News.STILL, ("a",))]


def test_what_grows_worse_is_told_at_once() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.stand(case("a", step=1))
    assert (days.decide() is not None, days.told[1:]) == (True, [(News.WORSE, ("a",))])
    days.stand(case("a", severity=CRITICAL))
    days.decide()
    assert days.told == [(News.WORSE, ("a",))]
    # To and fro between two levels is no news.
    for _ in range(20):
        days.stand(case("a"))
        days.go(HOUR / 2)
        days.stand(case("a", severity=CRITICAL))
        days.go(HOUR / 2)
    assert days.told == []


def test_what_is_worse_from_the_start_waits_like_anything_else() -> None:
    days = Days()
    days.stand(case("a", severity=CRITICAL))
    days.go(9 * MINUTE)
    assert days.told == []


def test_others_of_a_known_cause_wait_for_the_next_time() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.stand(case("a"), case("b"))
    days.go(20 * HOUR)
    assert days.told == [(News.RAISED, ("a",))]
    days.go(5 * HOUR)
    assert days.told == [(News.STILL, ("a", "b"))]


def test_others_wait_for_a_day_at_most() -> None:
    days = Days(replace(MAIL, repeat=7 * DAY))
    days.stand(case("a"))
    days.go(HOUR)
    days.stand(case("a"), case("b"))
    days.go(DAY)
    assert days.told == [(News.RAISED, ("a",)), (News.STILL, ("a", "b"))]
    days.go(6 * DAY)
    assert days.told == []


def test_flapping_is_no_news() -> None:
    days = Days()
    for _ in range(30):
        days.stand(case("a"))
        days.go(HOUR / 2)
        days.stand()
        days.go(HOUR / 2)
    news = [news for news, _ in days.told]
    assert news == [News.RAISED, News.OVER, News.RAISED, News.OVER]


def test_the_same_ones_for_another_reason_are_no_news() -> None:
    days = Days()
    for number in range(6):
        days.stand(case("a", f"cause {number}"), case("b", f"cause {number}"))
        days.go(HOUR)
    assert days.told == [(News.RAISED, ("a", "b"))]
    days.stand()
    days.go(HOUR)
    assert days.told == [(News.OVER, ("a", "b"))]


def test_words_that_change_to_and_fro_are_no_news() -> None:
    """And one that joins is told within a day, whatever words it has then."""
    days = Days()
    for hour in range(60):
        words = ("one", "two") if hour % 2 else ("two", "one")
        some = [case("a", words[0]), case("b", words[1])]
        days.stand(*some, *([case("c", words[1])] if hour > 5 else []))
        days.go(HOUR)
    told = days.told
    assert [news for news, _ in told] == 2 * [News.RAISED] + 4 * [News.STILL]
    assert any("c" in names for _, names in told[2:4])


def test_what_is_in_trouble_again_is_not_said_to_be_over() -> None:
    days = Days(replace(MAIL, after=HOUR))
    days.stand(case("a"), case("b"))
    days.go(2 * HOUR)
    days.stand()
    days.go(HOUR / 2)
    days.stand(case("a", "no such account"))
    days.go(50 * MINUTE)
    assert days.told == [(News.RAISED, ("a", "b")), (News.OVER, ("b",))]
    days.stand()
    days.go(2 * DAY)
    assert {news for news, _ in days.told} <= {News.OVER}


def test_who_is_well_is_told_when_one_has_another_trouble() -> None:
    days = Days()
    days.stand(case("a"), case("b"), case("c"))
    days.go(HOUR)
    days.stand(case("a", "no such account"))
    days.go(HOUR)
    assert days.told == [(News.RAISED, ("a", "b", "c")), (News.OVER, ("b", "c"))]
    days.go(DAY)
    days.stand()
    days.go(HOUR)
    assert days.told == [(News.STILL, ("a",)), (News.OVER, ("a",))]


def test_what_was_not_looked_at_is_not_over() -> None:
    days = Days()
    days.stand(case("a", kind=DANE))
    days.go(HOUR)
    days.restart()
    days.stand(unknown=[(DANE, "a")])
    days.go(DAY)
    assert days.told == [(News.RAISED, ("a",))]
    days.stand()
    days.go(HOUR)
    assert days.told == [(News.OVER, ("a",))]


def test_one_message_for_all_that_is_due() -> None:
    days = Days()
    days.stand(*(case(f"site{number}", f"cause {number}") for number in range(50)))
    days.go(HOUR)
    assert len(days.sent) == 1
    assert len(days.sent[0].items) == 50


def test_reminders_wait_for_each_other() -> None:
    days, cases = Days(), []
    for number in range(5):
        cases.append(case(f"site{number}", f"cause {number}"))
        days.stand(*cases)
        days.go(HOUR)
    assert len(days.sent) == 5
    days.sent.clear()
    days.go(2 * DAY)
    assert [len(one.items) for one in days.sent] == [5, 5]


def test_a_flood_of_causes_becomes_a_message_an_hour() -> None:
    days, cases = Days(), []
    for number in range(100):
        cases.append(case(f"site{number}", f"cause {number}"))
        days.stand(*cases)
        days.go(3 * MINUTE)
    assert len(days.sent) <= 12
    days.go(2 * HOUR)
    assert sum(len(one.items) for one in days.sent) == 100


def test_quiet_hours_hold_what_is_not_critical() -> None:
    every = frozenset(range(7))
    quiet = Window(every, 22 * 60, 7 * 60, ZoneInfo("UTC"), "22:00-07:00")
    days = Days(replace(MAIL, quiet=(quiet,)), START + 11 * HOUR)
    days.stand(case("a"), case("b", "worse", severity=CRITICAL), case("c", "short"))
    days.go(HOUR)
    assert days.told == [(News.RAISED, ("b",))]
    days.stand(case("a"))
    days.go(6 * HOUR)
    assert days.told == []
    days.go(2 * HOUR)
    # What was over by then is not told, but for the end of what was.
    assert days.told == [(News.RAISED, ("a",)), (News.OVER, ("b",))]
    always = Window(every, 0, 1440, ZoneInfo("UTC"), "00:00-24:00")
    days = Days(replace(MAIL, quiet=(always,)))
    days.stand(case("a"))
    days.go(HOUR)
    assert days.told == [(News.RAISED, ("a",))]


def test_quiet_hours_last_over_a_weekend() -> None:
    nights = Window(frozenset(range(7)), 22 * 60, 7 * 60, BERLIN, "22:00-07:00")
    weekend = Window(frozenset({5, 6}), 0, 1440, BERLIN, "Sat,Sun 00:00-24:00")
    # With a weekend of 24, of 23 and of 25 hours on Sunday.
    for month, day in ((1, 4), (3, 29), (10, 25)):
        friday = datetime(2030, month, day, 23, tzinfo=BERLIN)
        days = Days(replace(MAIL, quiet=(nights, weekend)), friday)
        days.stand(case("a"))
        days.go(4 * DAY)
        assert days.sent[0].at == (friday + 3 * DAY).replace(hour=7)


def test_a_notifier_hears_what_it_is_to_hear() -> None:
    days = Days(replace(MAIL, about=frozenset({EXPIRY}), level=CRITICAL))
    days.stand(case("a"), case("b", kind=DANE, severity=CRITICAL))
    days.go(DAY)
    assert days.told == []
    days.stand(case("a", severity=CRITICAL))
    days.decide()
    assert days.told == [(News.RAISED, ("a",))]
    # Not that its own messages fail: that is for the others.
    days = Days()
    days.stand(case("mail", kind=AlarmKind.NOTIFIER), case("sms", kind=AlarmKind.NOTIFIER))
    days.go(DAY / 2)
    assert [item.alarm.subjects for item in days.sent[0].items if item.alarm] == [("sms",)]


def test_a_notifier_that_fails_is_sent_what_stands_later() -> None:
    days = Days(works=False)
    days.stand(case("a"), case("b", "other"))
    days.go(DAY)
    trouble = days.book.notifier("mail").trouble
    assert trouble is not None
    assert trouble.attempts > 5
    days.stand(case("a"))
    days.restart()
    days.works = True
    days.go(6 * HOUR)
    assert days.told == [(News.RAISED, ("a",))]
    assert days.book.notifier("mail").trouble is None


def test_another_address_is_tried_at_once() -> None:
    days = Days(works=False)
    days.stand(case("a"))
    days.go(6 * HOUR)
    days.works, days.rule = True, replace(MAIL, fingerprint="other")
    days.decide()
    assert days.told == [(News.RAISED, ("a",))]


def test_a_restart_tells_nothing_again() -> None:
    days = Days()
    days.stand(case("a"), case("b", "other", severity=CRITICAL, step=2))
    for _ in range(12):
        days.go(HOUR)
        days.restart()
    assert days.told == [(News.RAISED, ("b",)), (News.RAISED, ("a",))]


@pytest.mark.parametrize("what", ["a.example:web", "a.example", "www1", "dane"])
def test_a_silence_holds_messages_and_its_end_tells(what: str) -> None:
    days = Days()
    days.book = silenced(days.book, silence(what, 2 * DAY, "root", "maintenance", days.now))
    days.stand(case("a.example:web", kind=DANE, places=("www1",)))
    days.go(47 * HOUR)
    assert days.told == []
    days.go(2 * HOUR)
    assert days.told == [(News.RAISED, ("a.example:web",))]


def test_a_silence_about_one_does_not_silence_the_others() -> None:
    days = Days()
    days.book = silenced(days.book, silence("a", 2 * DAY, "root", "known", days.now))
    days.stand(case("a", severity=CRITICAL), case("b"))
    days.go(HOUR)
    (item,) = days.sent[0].items
    assert item.alarm is not None
    assert (item.alarm.subjects, item.alarm.severity) == (("b",), WARNING)
    days.book = unsilenced(days.book, "a")
    days.decide()
    assert [one.news for one in days.sent[1].items] == [News.WORSE]


def test_the_end_is_told_under_a_silence_too() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.book = silenced(days.book, silence("a", 30 * DAY, "root", "known", days.now))
    days.stand()
    days.go(HOUR)
    assert [news for news, _ in days.told] == [News.RAISED, News.OVER]


@pytest.mark.parametrize("length", [timedelta(), -DAY, 91 * DAY])
def test_a_silence_without_an_end_is_refused(length: timedelta) -> None:
    with pytest.raises(Refused) as caught:
        silence("a", length, "root", "because", START)
    assert caught.value.reason.code is Denied.SILENCE_LENGTH
    with pytest.raises(Refused) as caught:
        silence("a", DAY, "root", " ", START)
    assert caught.value.reason.code is Denied.SILENCE_WHY


def test_silences_go_when_they_ended() -> None:
    book = silenced(AlarmBook(), silence("a", DAY, "root", "known", START))
    assert silenced(book, silence("a", 2 * DAY, "root", "known", START)).silences[1:] == ()
    assert without_ended(book, START + DAY).silences
    assert not without_ended(book, START + 3 * DAY).silences
