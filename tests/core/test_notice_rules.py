"""Each rule of telling that the stories of `test_notices` would not miss."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sslmd.core.alarm import Affected, AlarmCase, gathered, sketch
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import (
    BesideStanding,
    CertStanding,
    Overview,
    alarms_of,
    cases_of,
    unknown_of,
)
from sslmd.core.failed import Failed
from sslmd.core.names import CertId
from sslmd.core.notice_book import SETTLED, LastTold, NotifierState, watched
from sslmd.core.notices import AT_ONCE, PAUSE, News, decide_notices, silence, silenced
from sslmd.core.reason import Reason, noted
from sslmd.core.trouble import CertStatus
from tests.stand.alarm_days import (
    CRITICAL,
    DANE,
    DAY,
    EXPIRY,
    HOST,
    HOUR,
    MAIL,
    MINUTE,
    START,
    WARNING,
    Days,
    case,
)

CERT = CertId("example.com", "web")


# --- how many messages there are -------------------------------------------------------------


def test_messages_of_other_days_hold_nothing_up() -> None:
    days = Days()
    days.stand(case("a"))
    days.go((AT_ONCE + 1) * DAY + HOUR)
    days.sent.clear()
    days.stand(case("a"), case("b", "other"))
    days.go(11 * MINUTE)
    days.stand(case("a"), case("b", "other"), case("c", "third"))
    days.go(11 * MINUTE)
    assert days.told == [(News.RAISED, ("b",)), (News.RAISED, ("c",))]


def test_messages_of_the_future_hold_up_for_one_pause() -> None:
    days = Days()
    days.stand(case("a"))
    ahead = tuple(START + DAY / 2 + number * MINUTE for number in range(AT_ONCE))
    book = replace(days.book, notifiers={"mail": NotifierState(sent=ahead)})
    now = START + HOUR
    decision = decide_notices(MAIL, book, days.alarms, now)
    assert decision.wake_at == now + PAUSE


# --- silences --------------------------------------------------------------------------------


def test_the_end_of_a_silence_is_not_slept_through() -> None:
    days = Days()
    days.stand(case("a"))
    made = silence("a", 5 * HOUR, "root", "tests", START)
    days.book = silenced(days.book, made)
    assert days.decide() == made.until
    # Not even where something else is to be told later.
    days.stand(case("a"), case("b", "other"))
    days.go(HOUR)
    assert days.told == [(News.RAISED, ("b",))]
    assert days.decide() == made.until


# --- what is news ----------------------------------------------------------------------------


def test_what_comes_again_is_raised_however_bad_it_is() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.stand()
    days.go(HOUR)
    days.stand(case("a", severity=CRITICAL))
    days.go(HOUR)
    assert [news for news, _ in days.told] == [News.RAISED, News.OVER, News.RAISED]


def test_what_was_told_as_critical_is_not_worse_under_its_words_of_before() -> None:
    days = Days(replace(MAIL, repeat=4 * HOUR))
    days.stand(case("a", "one", severity=CRITICAL))
    days.go(HOUR)
    days.stand(case("a", "two"))
    days.go(4 * HOUR)
    assert [news for news, _ in days.told] == [News.RAISED, News.STILL]
    days.stand(case("a", "one", severity=CRITICAL))
    days.go(HOUR)
    assert days.told == []


def test_what_was_told_of_an_alarm_twice_is_the_later_and_the_worse() -> None:
    early, late = LastTold(START, CRITICAL, 3), LastTold(START + DAY, WARNING)
    both = LastTold(START + DAY, CRITICAL, 3)
    assert (late.with_earlier(early), early.with_earlier(late)) == (both, both)
    assert late.with_earlier(None) == late


def test_some_of_them_in_a_greater_trouble_make_it_no_old_one() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.stand(*(case(name, "the network is gone") for name in "abcd"))
    days.go(HOUR)
    assert days.told == [(News.RAISED, ("a",)), (News.RAISED, ("a", "b", "c", "d"))]


# --- whom it is about ------------------------------------------------------------------------


def test_who_has_other_words_now_stays_with_the_others() -> None:
    days = Days()
    days.stand(case("a"), case("b"))
    days.stand(case("a"), case("b", "other"))
    (alarm,) = days.alarms
    assert alarm.subjects == ("a", "b")


def test_nobody_returns_to_an_alarm_that_was_over() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.stand()
    days.go(HOUR)
    days.stand(case("c"), case("a", "other"))
    assert sorted(one.subjects for one in days.alarms) == [("a",), ("c",)]


def test_of_two_troubles_of_one_the_worse_counts() -> None:
    for first, second in ((WARNING, CRITICAL), (CRITICAL, WARNING)):
        days = Days()
        days.stand(case("a", kind=DANE))
        days.stand(case("a", kind=DANE, severity=first), case("a", "other", DANE, severity=second))
        (alarm,) = days.alarms
        assert alarm.severity is CRITICAL


def test_an_end_tells_of_all_whom_it_was_about_and_of_nobody_else() -> None:
    days = Days()
    days.stand(case("a"), case("b"))
    days.go(HOUR)
    days.stand(case("b"))
    days.go(HOUR)
    days.stand()
    days.go(HOUR)
    assert days.told == [(News.RAISED, ("a", "b")), (News.OVER, ("a", "b"))]
    # One who was well, and is in trouble again, is not among them.
    days.stand(case("a"), case("b"))
    days.go(2 * DAY)
    days.stand(case("b"))
    days.go(HOUR)
    days.sent.clear()
    days.stand(*(case(name, "other") for name in "axyz"))
    days.go(HOUR)
    assert (News.OVER, ("b",)) in days.told


# --- since when, and for how long ------------------------------------------------------------


def test_what_was_gone_for_a_moment_stands_since_it_began() -> None:
    for gone, is_new in ((SETTLED - MINUTE, False), (SETTLED + MINUTE, True)):
        days = Days()
        days.stand(case("a"))
        days.go(HOUR)
        days.stand()
        days.go(gone)
        days.stand(case("a"))
        (raised,) = (one for one in days.book.raised.values() if one.gone is None)
        assert (raised.since == days.now) is is_new


def test_the_end_of_one_in_another_trouble_waits_from_when_that_is_over() -> None:
    days = Days(replace(MAIL, after=HOUR))
    days.stand(case("a"))
    days.go(2 * HOUR)
    days.stand(*(case(name, "other") for name in "abc"))
    days.go(DAY / 2)
    days.sent.clear()
    days.stand(*(case(name, "other") for name in "bc"))
    days.go(50 * MINUTE)
    assert days.told == []
    days.go(20 * MINUTE)
    assert days.told == [(News.OVER, ("a",))]


def test_an_end_is_owed_for_as_long_as_messages_fail() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.works = False
    days.stand()
    days.go(3 * DAY)
    days.works = True
    days.go(DAY)
    assert days.told == [(News.RAISED, ("a",)), (News.OVER, ("a",))]


# --- how alarms are made ---------------------------------------------------------------------


def test_how_many_names_there_are_in_a_row_is_no_other_cause() -> None:
    names = frozenset({"a.example", "b.example", "c.example"})
    one, three = "no record for a.example", "no record for a.example, b.example, c.example"
    assert sketch(one, names) == sketch(three, names)
    assert sketch("tried 1 time", names) == sketch("tried 1 2 3 time", names)


def test_the_cause_is_that_of_the_most_urgent() -> None:
    some = [
        AlarmCase(HOST, "key", noted(text), Affected(name, severity))
        for name, text, severity in (
            ("a", "warns", WARNING), ("b", "burns", CRITICAL), ("c", "warns", WARNING),
            ("b", "warns", WARNING),
        )
    ]  # fmt: skip
    (alarm,) = gathered(some)
    assert alarm.cause == noted("burns")
    assert [one.severity for one in alarm.affected] == [WARNING, CRITICAL, WARNING]
    (turned,) = gathered(some[::-1])
    assert turned == alarm


def test_who_is_nearer_to_its_end_by_its_own_life_comes_first() -> None:
    long, short = Affected("a", WARNING, 0, START + DAY), Affected("b", WARNING, 2, START + 9 * DAY)
    (alarm,) = gathered(AlarmCase(EXPIRY, "", noted("down"), who) for who in (long, short))
    assert alarm.first is short


def test_what_of_the_network_process_could_be_safer_is_no_alarm() -> None:
    def raised(code: Failed) -> bool:
        cause = Reason(code, why="ends", user="nobody")
        why = BesideStanding(AlarmKind.NETWORK, "network process", cause)
        return bool(alarms_of(Overview((), [why]), START))

    assert (raised(Failed.NET_DOWN), raised(Failed.NET_NOBODY)) == (True, False)


def test_a_ca_that_asks_early_makes_nobody_late() -> None:
    """The time that there was counts from half of the life at the earliest."""
    for left, step in ((25, 0), (15, 1)):
        ends = START + left * DAY
        status = CertStatus(
            begins=ends - 90 * DAY, ends=ends, renew_at=ends - 89 * DAY, attempts=1, error="down"
        )
        (found,) = cases_of(CertStanding(CERT, status), START)
        assert found.who.step == step


def test_what_was_never_compared_is_neither_well_nor_looked_at() -> None:
    status = CertStatus(begins=START - DAY, ends=START + 89 * DAY)
    new = CertStanding(CERT, status, dane=True)
    seen = replace(new, compared=START)
    assert (AlarmKind.BLIND, CERT.arg) in unknown_of(Overview([new]), START)
    assert unknown_of(Overview([seen]), START + timedelta(hours=1)) == frozenset()


def test_alarms_that_are_looked_at_twice_are_the_same() -> None:
    days = Days()
    days.stand(case("a"), case("b", "other", HOST))
    again = watched(days.book, days.alarms, days.now)
    assert (again.book, list(again.alarms)) == (days.book, days.alarms)
