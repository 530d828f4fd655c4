"""Alarms and a clock that is set: nothing floods, nothing is silent for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sslmd.core.notice_book import moved, with_notifiers
from sslmd.core.notices import (
    News,
    silence,
    silenced,
)
from tests.stand.alarm_days import DAY, HOUR, MINUTE, Days, case

YEARS = 2000 * DAY


@pytest.mark.parametrize("jump", [YEARS, -YEARS, HOUR, -HOUR])
def test_a_clock_that_is_set_neither_floods_nor_silences(jump: timedelta) -> None:
    days = Days()
    days.stand(case("a"), case("b", "other"))
    days.go(HOUR)
    assert len(days.sent) == 1
    days.now += jump
    days.go(22 * HOUR)
    assert len(days.sent) == 1
    days.stand(case("a"), case("b", "other"), case("c", "third"))
    days.go(3 * HOUR)
    assert len(days.sent) in (2, 3)
    days.stand()
    days.go(HOUR)
    assert sum(item.news is News.OVER for one in days.sent for item in one.items) == 3


def test_a_clock_that_goes_to_and_fro_does_not_flood() -> None:
    for jump in (YEARS, 20 * DAY, DAY, HOUR):
        days = Days()
        days.stand(case("a"))
        for _ in range(120):
            days.go(MINUTE)
            days.now += jump
            days.go(MINUTE)
            days.now -= jump
        assert len(days.sent) <= 3, jump


def test_a_clock_that_the_daemon_sees_jump() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.book, days.now = moved(days.book, 10 * DAY), days.now + 10 * DAY
    days.go(20 * HOUR)
    assert len(days.sent) == 1
    days.book = moved(days.book, timedelta.max)
    days.book = moved(days.book, timedelta.min)


def test_a_silence_does_not_last_under_another_clock() -> None:
    days = Days()
    days.book = silenced(days.book, silence("a", 2 * DAY, "root", "known", days.now))
    days.stand(case("a"))
    days.go(HOUR)
    days.now -= YEARS
    days.go(HOUR)
    assert days.told == [(News.RAISED, ("a",))]


def test_notifiers_that_left_the_configuration_are_forgotten() -> None:
    days = Days()
    days.stand(case("a"))
    days.go(HOUR)
    days.book = with_notifiers(days.book, ["mail", "sms"])
    assert set(days.book.notifiers) == {"mail", "sms"}
    days.book = with_notifiers(days.book, ["sms"])
    days.stand()
    days.go(3 * DAY)
    assert days.book.raised == {}
