"""When windows are open: against clocks on the wall, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmd.core.windows import Group, Window, listed, longest_open, longest_wait, next_common, opens

BERLIN = ZoneInfo("Europe/Berlin")
SAT = datetime(2026, 6, 6, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def window(days: str, start: str, end: str, zone: str = "UTC") -> Window:
    chosen = frozenset(map(DAYS.index, days.split(","))) if days else frozenset(range(7))
    first, last = (int(word[:2]) * 60 + int(word[3:]) for word in (start, end))
    return Window(chosen, first, last, ZoneInfo(zone), f"{days} {start}-{end} {zone}".strip())


SATURDAY = window("Sat", "02:00", "05:00", "Europe/Berlin")
EVERY_NIGHT = window("", "22:00", "04:00")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_open(group: Sequence[Window], now: datetime) -> bool:
    """What a clock on the wall says."""
    for one in group:
        wall = now.astimezone(one.zone)
        minute = wall.hour * 60 + wall.minute
        length = one.end - one.start if one.end > one.start else one.end - one.start + 1440
        today, yesterday = wall.weekday(), (wall.weekday() - 1) % 7
        if today in one.days and one.start <= minute < one.start + length:
            return True
        if yesterday in one.days and minute + 1440 < one.start + length:
            return True
    return not group


def test_when_a_window_opens() -> None:
    groups = ((SATURDAY,),)  # 00:00 to 03:00 UTC in summer
    assert next_common(groups, SAT - 2 * DAY) == SAT
    assert next_common(groups, SAT + HOUR) == SAT + HOUR
    last = SAT + 3 * HOUR - timedelta(microseconds=1)
    assert next_common(groups, last) == last
    assert next_common(groups, SAT + 3 * HOUR) == SAT + 7 * DAY
    odd = SAT + timedelta(microseconds=123_457)
    assert opens(groups, odd) == odd


def test_a_window_over_midnight() -> None:
    groups = ((window("Sat", "22:00", "04:00"),),)
    sunday = SAT + DAY + 4 * HOUR - MINUTE
    assert next_common(groups, sunday) == sunday
    assert next_common(groups, SAT + 3 * HOUR) == SAT + 22 * HOUR
    assert next_common(groups, sunday + MINUTE) == SAT + 7 * DAY + 22 * HOUR


def test_a_whole_day_and_days_that_touch() -> None:
    weekend = ((window("Sat,Sun", "00:00", "24:00"),),)
    assert next_common(weekend, SAT + 47 * HOUR) == SAT + 47 * HOUR
    assert next_common(weekend, SAT + 48 * HOUR) == SAT + 7 * DAY
    assert longest_wait(weekend, SAT) == 5 * DAY
    always = ((window("", "00:00", "24:00", "Europe/Berlin"),),)
    assert longest_wait(always, SAT) == timedelta()


def test_nothing_is_asked_of_owners_without_windows() -> None:
    for groups in ((), ((),), ((), ())):
        assert next_common(groups, SAT) == opens(groups, SAT) == SAT
        assert longest_wait(groups, SAT) == timedelta()
    assert next_common(((), (SATURDAY,)), SAT - DAY) == SAT


@pytest.mark.parametrize(
    ("days", "start", "end", "now", "then"),
    [
        # The clock goes from 02:00 to 03:00 on March 29: a part of it is left, or nothing.
        ("Sun", "01:30", "02:30", "2026-03-29 00:45", "2026-03-29 00:45"),
        ("Sun", "01:30", "02:30", "2026-03-29 01:00", "2026-04-04 23:30"),
        ("Sun", "02:30", "03:15", "2026-03-29 00:00", "2026-03-29 01:00"),
        ("Sun", "02:30", "03:15", "2026-03-29 01:15", "2026-04-05 00:30"),
        ("Sun", "02:15", "02:45", "2026-03-23 00:00", "2026-04-05 00:15"),
        ("Sun", "02:00", "05:00", "2026-03-28 00:00", "2026-03-29 01:00"),
        ("Sun", "02:00", "05:00", "2026-03-29 02:59", "2026-03-29 02:59"),
        ("Sun", "02:00", "05:00", "2026-03-29 03:00", "2026-04-05 00:00"),
        # It goes from 03:00 back to 02:00 on October 25: that hour is there twice.
        ("Sun", "02:15", "02:45", "2026-10-25 00:15", "2026-10-25 00:15"),
        ("Sun", "02:15", "02:45", "2026-10-25 00:45", "2026-10-25 01:15"),
        ("Sun", "02:15", "02:45", "2026-10-25 01:45", "2026-11-01 01:15"),
        ("Sun", "02:00", "05:00", "2026-10-24 12:00", "2026-10-25 00:00"),
        ("Sun", "02:00", "05:00", "2026-10-25 03:59", "2026-10-25 03:59"),
        ("Sat", "23:00", "03:00", "2026-10-25 01:59", "2026-10-25 01:59"),
    ],
)
def test_summer_time_begins_and_ends(days: str, start: str, end: str, now: str, then: str) -> None:
    groups = ((window(days, start, end, "Europe/Berlin"),),)
    assert next_common(groups, utc(now)) == utc(then)


def test_how_long_a_group_stays_open() -> None:
    assert longest_open((), SAT) == timedelta()
    sunday = window("Sun", "02:00", "05:00", "Europe/Berlin")
    assert longest_open((sunday,), SAT) == 4 * HOUR  # 02:00 is there twice in autumn
    nights = window("", "22:00", "07:00")
    assert longest_open((nights,), SAT) == 9 * HOUR
    assert longest_open((nights, window("Sat,Sun", "00:00", "24:00")), SAT) == 57 * HOUR
    assert longest_open((window("", "00:00", "24:00"),), SAT) > 365 * DAY


def test_the_longest_wait_knows_of_summer_time() -> None:
    skipped = ((window("Sun", "02:15", "02:45", "Europe/Berlin"),),)
    # From 02:45 on March 22 to 02:15 on April 5, of which an hour is lost.
    assert longest_wait(skipped, SAT) == 14 * DAY - 30 * MINUTE - HOUR
    # From 05:00 on a Saturday in summer to 02:00 on the next one, with an hour more.
    assert longest_wait(((SATURDAY,),), SAT) == 7 * DAY - 3 * HOUR + HOUR


def test_two_zones() -> None:
    new_york = window("Sat", "20:00", "22:00", "America/New_York")
    berlin = window("Sun", "02:00", "04:00", "Europe/Berlin")
    groups = ((new_york,), (berlin,))
    assert next_common(groups, SAT) == utc("2026-06-07 00:00")
    # For some weeks of the year there are five hours between them, not six: one is left in common.
    assert next_common(groups, utc("2026-03-15 00:00")) == utc("2026-03-15 01:00")
    assert next_common(groups, utc("2026-03-15 02:00")) == utc("2026-03-22 01:00")
    wait = longest_wait(groups, SAT)
    assert wait is not None
    assert 7 * DAY - 2 * HOUR <= wait <= 7 * DAY


def test_windows_that_meet_in_summer_only() -> None:
    groups = (
        (window("Sat", "00:00", "01:00"),),
        (window("Sat", "02:00", "03:00", "Europe/Berlin"),),
    )
    assert next_common(groups, SAT + HOUR) == SAT + 7 * DAY
    assert next_common(groups, utc("2026-10-25 00:00")) == utc("2027-04-03 00:00")
    # 00:00 UTC is 01:00 in winter.
    wait = longest_wait(groups, SAT)
    assert wait is not None
    assert 150 * DAY < wait < 170 * DAY


def test_windows_that_never_meet() -> None:
    groups = ((window("Sat", "02:00", "05:00"),), (window("Sun", "02:00", "05:00"),))
    assert next_common(groups, SAT) is None
    assert longest_wait(groups, SAT) is None
    assert opens(groups, SAT + MINUTE) == SAT + MINUTE
    touching = ((window("Sat", "02:00", "05:00"),), (window("Sat", "05:00", "06:00"),))
    assert next_common(touching, SAT) is None


def test_a_window_of_an_owner_is_enough() -> None:
    either = (window("Mon", "02:00", "05:00"), SATURDAY)
    other = (window("Sat", "01:00", "02:00"),)
    assert next_common((either, other), SAT - 3 * DAY) == SAT + HOUR
    assert listed((either, (), other)) == (
        "Mon 02:00-05:00 UTC or Sat 02:00-05:00 Europe/Berlin and Sat 01:00-02:00 UTC"
    )


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
     "Pacific/Apia", "Africa/Casablanca"]
)  # fmt: skip
MINUTES = st.integers(0, 95).map(lambda quarter: quarter * 15)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    days = draw(st.sets(st.integers(0, 6), min_size=1))
    start, length = draw(MINUTES), draw(st.sampled_from([15, 30, 60, 180, 720, 1425]))
    end = start + length
    zone = ZoneInfo(draw(ZONES))
    return Window(frozenset(days), start, end if end <= 1440 else end - 1440, zone, "w")


GROUPS = st.lists(st.lists(windows(), max_size=2).map(tuple), max_size=3).map(tuple)
# Around changes of summer time more often than not.
TIMES = st.builds(
    lambda day, minutes: day + timedelta(minutes=minutes),
    st.sampled_from([utc("2026-03-29"), utc("2026-10-25"), utc("2026-04-05"), utc("2026-12-31")]),
    st.integers(-3 * 1440, 3 * 1440),
)


@settings(max_examples=60)
@given(GROUPS, TIMES)
def test_the_next_opening_is_the_first_minute_that_the_walls_show(
    groups: tuple[Group, ...], now: datetime
) -> None:
    found = next_common(groups, now)
    for minute in range(8 * 1440):
        then = now + minute * MINUTE
        if all(is_open(group, then) for group in groups):
            assert found == then
            return
    assert found is None or found >= now + 8 * DAY


@settings(max_examples=40)
@given(GROUPS, TIMES, st.integers(0, 700).map(timedelta))
def test_nobody_waits_longer_than_the_longest_wait(
    groups: tuple[Group, ...], now: datetime, later: timedelta
) -> None:
    longest = longest_wait(groups, now)
    found = next_common(groups, now + later)
    if longest is None:
        assert found is None
    else:
        assert found is not None
        assert found - now - later <= longest
        for group in groups:
            assert is_open(group, found)


def test_the_longest_wait_is_waited_by_somebody() -> None:
    """Exact, not only enough: at the end of some opening one waits for just as long."""
    groups = ((SATURDAY,), (EVERY_NIGHT,))
    longest = longest_wait(groups, SAT)
    now, waits = utc("2026-01-01"), []
    while now.year == 2026:
        opening = next_common(groups, now)
        assert opening is not None
        waits.append(opening - now)
        now = opening
        while next_common(groups, now) == now:
            now += 15 * MINUTE
    assert max(waits) == longest
