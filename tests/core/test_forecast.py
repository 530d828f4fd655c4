"""How long many orders take within the limits of their CA: what is told is what then happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.buckets import CaLimit, Key, Rate, free_at, taken
from sslmd.core.forecast import Forecast, Planned, Work, forecast

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ORDERS: Key = (CaLimit.ORDERS, ("ca", ""))
RATES = st.builds(
    Rate, st.integers(1, 400), st.integers(1, 700_000).map(lambda s: timedelta(seconds=s))
)
QUICK, SLOW = Work(10 * SECOND, 50), Work(60 * SECOND, 50)


def names(number: int) -> Key:
    return CaLimit.NAMES, ("ca", str(number))


def test_it_says_when_the_last_comes_and_what_it_waits_for() -> None:
    rate = Rate(300, 3 * HOUR)
    got = forecast([Planned((ORDERS,))] * 1000, {}, {CaLimit.ORDERS: rate}, NOW, QUICK, SLOW)
    assert (got.number, got.bound, got.rate, got.crowded) == (1000, CaLimit.ORDERS, rate, False)
    begins = NOW + 700 * timedelta(seconds=36)
    assert abs(got.soonest - begins - QUICK.each) < 2 * SECOND
    assert abs(got.latest - begins - SLOW.each) < 2 * SECOND


def test_without_limits_places_count() -> None:
    free = forecast([Planned()] * 1000, {}, {}, NOW, QUICK, SLOW)
    assert free == Forecast(1000, NOW + 200 * SECOND, NOW + 1200 * SECOND, crowded=True)
    few = forecast([Planned()] * 50, {}, {}, NOW, QUICK, SLOW)
    assert few == Forecast(50, NOW + 10 * SECOND, NOW + 60 * SECOND)
    assert forecast([], {}, {}, NOW, QUICK, SLOW) == Forecast(0, NOW, NOW)


def test_who_waits_for_a_limit_takes_no_place() -> None:
    one = Work(10 * SECOND, 1)
    full = {names(0): NOW + HOUR}
    orders = [Planned((names(0),)), *[Planned((names(number),)) for number in range(1, 4)]]
    got = forecast(orders, full, {CaLimit.NAMES: Rate(1, HOUR)}, NOW, one, one)
    # The others are over long before.
    assert abs(got.latest - NOW - HOUR - 10 * SECOND) < SECOND
    assert got.bound is CaLimit.NAMES


def test_what_is_ordered_beside_takes_its_share_and_is_not_counted() -> None:
    rates = {CaLimit.ORDERS: Rate(1, HOUR)}
    ours, others = Planned((ORDERS,)), Planned((ORDERS,), counts=False)
    got = forecast([others, ours, others, others], {}, rates, NOW, QUICK, QUICK)
    assert got.number == 1
    assert abs(got.latest - NOW - HOUR - QUICK.each) < SECOND


def test_what_does_not_begin_before_a_time() -> None:
    later = Planned(after=NOW + HOUR)
    got = forecast([Planned(), later], {}, {}, NOW, QUICK, QUICK)
    assert got.latest == NOW + HOUR + QUICK.each
    past = forecast([Planned(after=NOW - HOUR)], {}, {}, NOW, QUICK, QUICK)
    assert past.latest == NOW + QUICK.each


@given(RATES, st.integers(1, 60), st.integers(1, 9))
def test_it_is_what_then_happens(rate: Rate, number: int, places: int) -> None:
    work, rates = Work(SECOND, places), {CaLimit.ORDERS: rate}
    got = forecast([Planned((ORDERS,))] * number, {}, rates, NOW, work, work)
    now, full, ends = NOW, None, list[datetime]()
    for _ in range(number):
        now = max(now, free_at(full, rate, now))
        full = taken(full, rate, now)
        if len(ends) >= places:
            now = max(now, sorted(ends)[-places])
        ends.append(now + SECOND)
    assert abs(got.latest - max(ends)) <= SECOND
    assert got.soonest == got.latest
