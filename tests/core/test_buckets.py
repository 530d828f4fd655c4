"""Limits as buckets: never more than the CA's, no wait for nothing, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.buckets import (
    LETS_ENCRYPT,
    CaLimit,
    Rate,
    filled,
    free_at,
    is_free,
    rates_of,
    taken,
)

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RATES = st.builds(
    Rate, st.integers(1, 400), st.integers(1, 700_000).map(lambda s: timedelta(seconds=s))
)
SPANS = st.integers(-10_000_000, 10_000_000).map(lambda s: timedelta(seconds=s))


def test_all_at_once_then_one_after_the_other() -> None:
    rate, full = Rate(3, timedelta(seconds=30)), None
    for _ in range(3):
        assert free_at(full, rate, NOW) == NOW
        full = taken(full, rate, NOW)
    assert abs(free_at(full, rate, NOW) - (NOW + 10 * SECOND)) < SECOND / 10
    assert abs(free_at(full, rate, NOW, ahead=2) - (NOW + 30 * SECOND)) < SECOND / 10
    assert free_at(full, rate, NOW + 10 * SECOND) == NOW + 10 * SECOND


@given(RATES, st.lists(st.integers(0, 3_000_000), max_size=60))
def test_whoever_waits_never_takes_more_than_the_rate_allows(rate: Rate, pauses: list[int]) -> None:
    """As a CA counts that refills evenly, with a second of its own in which it counts."""
    now, full, took = NOW, None, list[datetime]()
    for pause in pauses:
        now = max(now + timedelta(seconds=pause), free_at(full, rate, now))
        full = taken(full, rate, now)
        took.append(now)
    level = 0.0  # of a plain bucket that leaks
    before = NOW
    for at in took:
        level = max(level - (at - before) / rate.every * rate.most, 0) + 1
        assert level <= rate.most + 0.02 * rate.most * (SECOND / rate.every) + 1e-6
        before = at


@given(RATES, SPANS, SPANS, st.integers(0, 500))
def test_a_clock_that_jumps_costs_no_more_than_a_full_use(
    rate: Rate, then: timedelta, jump: timedelta, ahead: int
) -> None:
    full = NOW + then
    now = NOW + jump
    at = free_at(full, rate, now, ahead)
    assert now <= at <= now + rate.refill * (ahead + 1)
    assert now < taken(full, rate, now) <= now + rate.every + rate.refill + SECOND / 50


@given(RATES, st.lists(SPANS, max_size=50), SPANS)
def test_what_is_noted_gives_the_bucket_again(
    rate: Rate, spans: list[timedelta], jump: timedelta
) -> None:
    events = [NOW + one for one in spans]
    full = filled(events, rate, NOW + jump)
    assert full is None or full <= NOW + jump + rate.every + SECOND / 50
    kept, again = None, sorted(one for one in events if one <= NOW)
    for at in again:
        kept = taken(kept, rate, at)
    now = max([NOW, *again])
    here = filled(again, rate, now)
    # What is older than the span is of no account, or nearly.
    assert free_at(here, rate, now) <= free_at(kept, rate, now)


def test_limits_are_known_of_lets_encrypt_and_can_be_changed() -> None:
    assert rates_of(LETS_ENCRYPT, {})[CaLimit.ORDERS] == Rate(300, timedelta(hours=3))
    assert CaLimit.ORDERS not in rates_of("https://ca.example/", {})
    given_ = {CaLimit.ORDERS: Rate(1, SECOND), CaLimit.NAMES: None}
    found = rates_of(LETS_ENCRYPT, given_)
    assert found[CaLimit.ORDERS] == Rate(1, SECOND)
    assert CaLimit.NAMES not in found
    assert is_free(LETS_ENCRYPT, CaLimit.ORDERS, renewal=True, replaces=False)
    assert not is_free(LETS_ENCRYPT, CaLimit.NAMES, renewal=True, replaces=False)
    assert is_free(LETS_ENCRYPT, CaLimit.NAMES, renewal=True, replaces=True)
    assert not is_free("https://ca.example/", CaLimit.ORDERS, renewal=True, replaces=True)
