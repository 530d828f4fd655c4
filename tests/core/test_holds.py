"""What a CA asks to be left alone with holds what it speaks of, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.buckets import CaLimit
from sslmd.core.errors import CLOCK_TOLERANCE, RateLimited
from sslmd.core.holds import MOST_HOLDS, AccountMade, CaHold, Holds, hold_of, name_key

NOW = datetime(2027, 1, 2, tzinfo=UTC)
CA, OTHER = "https://ca.example/dir", "https://other.example/dir"
LATER = NOW + timedelta(days=2)


def _order(server: str = CA, account: str = "", mark: str = "m", *zones: str):  # type: ignore[no-untyped-def]
    keys = [(CaLimit.ORDERS, (server, account)), (CaLimit.NAMES, (server, mark))]
    return server, [*keys, *((CaLimit.DOMAIN, (server, zone)) for zone in zones)], NOW


@pytest.mark.parametrize(
    ("limit", "whose", "held", "free"),
    [
        (CaLimit.ORDERS, "", _order(mark="x"), _order(account="own")),
        (CaLimit.NAMES, "", _order(account="own"), _order(mark="x")),
        (CaLimit.DOMAIN, "z", _order(CA, "", "x", "z"), _order(CA, "", "m", "y")),
        ("", "", _order(account="own", mark="x"), _order(OTHER)),
    ],
)
def test_what_is_held(limit: str, whose: str, held, free) -> None:  # type: ignore[no-untyped-def]
    err = RateLimited("too much", limit, whose, retry_at=NOW + timedelta(minutes=30))
    hold = hold_of(err, CA, "", "m", NOW)
    assert hold is not None
    holds = Holds()
    holds.add(hold, NOW)
    assert holds.of(*held) == hold
    assert holds.of(*free) is None
    assert holds.noted() == (hold,)
    assert holds.of(held[0], held[1], hold.until) is None


def test_what_a_clock_ahead_has_noted_is_forgotten() -> None:
    ahead = NOW + timedelta(days=30)
    hold = hold_of(RateLimited("busy", "", retry_at=ahead + timedelta(hours=1)), CA, "", "m", ahead)
    assert hold is not None
    holds = Holds()
    holds.add(hold, ahead)
    assert holds.of(CA, (), NOW) is None
    assert holds.noted() == ()


def test_new_accounts_alone() -> None:
    holds = Holds()
    hold = hold_of(RateLimited("too many", CaLimit.ACCOUNTS, retry_at=LATER), CA, "", "m", NOW)
    assert hold is not None
    holds.add(hold, NOW)
    assert holds.of(*_order()) is None
    assert holds.new_account(CA, NOW) == hold
    assert holds.new_account(OTHER, NOW) is None


def test_who_does_not_say_what_holds_all_for_an_hour() -> None:
    hold = hold_of(RateLimited("busy", "", retry_at=LATER), CA, "", "m", NOW)
    assert hold is not None
    assert hold.until == NOW + timedelta(hours=1)


def test_a_name_holds_those_that_have_it_and_the_account() -> None:
    """It is refused to whoever asks for it next, with the same account."""
    err = RateLimited("x", CaLimit.FAILED, "n.example", retry_at=NOW + timedelta(hours=1))
    holds = Holds()
    hold = hold_of(err, CA, "", "m", NOW)
    assert hold is not None
    holds.add(hold, NOW)
    assert holds.of(CA, [name_key(CA, "", "*.N.example")], NOW) == hold
    assert holds.of(CA, [name_key(CA, "own", "n.example")], NOW) is None
    assert holds.of(CA, [name_key(CA, "", "other.example")], NOW) is None


def test_what_names_nothing_holds_nobody_else() -> None:
    for err in (
        RateLimited("x", CaLimit.ORDERS),
        RateLimited("x", CaLimit.DOMAIN, retry_at=LATER),
        RateLimited("x", CaLimit.FAILED, retry_at=LATER),
    ):
        assert hold_of(err, CA, "", "m", NOW) is None


def test_a_registered_domain_holds_the_zones_below_it() -> None:
    holds = Holds()
    err = RateLimited("x", CaLimit.DOMAIN, "Example.com", retry_at=NOW + timedelta(hours=3))
    hold = hold_of(err, CA, "", "m", NOW)
    assert hold is not None
    holds.add(hold, NOW)
    assert holds.of(*_order(CA, "", "m", "lab.example.com")) == hold
    assert holds.of(*_order(CA, "", "m", "example.net", "notexample.com")) is None


@pytest.mark.parametrize("wait", [timedelta(minutes=1), timedelta(hours=2), timedelta(days=7)])
def test_a_clock_that_is_set_back_makes_nobody_wait_twice_as_long(wait: timedelta) -> None:
    hold = CaHold(CA, NOW + wait, at=NOW)
    holds = Holds()
    holds.add(hold, NOW)
    for back in (timedelta(minutes=1), wait / 2, wait, wait * 2, timedelta(days=3650)):
        now = NOW - back
        held = CaHold(CA, NOW + wait, at=NOW).holds(now)
        assert held == (now + max(wait * 2, CLOCK_TOLERANCE) >= hold.until)
        assert not held or hold.until - now <= max(wait * 2, CLOCK_TOLERANCE)
    assert holds.of(CA, (), NOW - timedelta(days=3650)) is None
    assert holds.noted() == ()  # and does not come back when the clock is right again


def test_what_is_over_or_of_no_time_at_all_is_not_taken_in() -> None:
    holds = Holds()
    for until in (NOW, NOW - timedelta(days=1), NOW + timedelta(days=366)):
        holds.add(CaHold(CA, until, at=NOW), NOW)
    assert holds.noted() == ()


def test_a_ca_that_names_ever_other_things_fills_no_memory_and_hides_nothing() -> None:
    holds = Holds()
    whole = CaHold(CA, NOW + timedelta(minutes=30), at=NOW)
    holds.add(whole, NOW)
    for number in range(MOST_HOLDS + 50):
        until = NOW + timedelta(hours=1, seconds=number)
        holds.add(CaHold(CA, until, CaLimit.DOMAIN, f"d{number}", at=NOW), NOW)
    assert len(holds.noted()) == MOST_HOLDS
    assert holds.of(CA, (), NOW) == whole
    longer = CaHold(CA, NOW + timedelta(minutes=50), at=NOW)
    holds.add(longer, NOW)
    assert holds.of(CA, (), NOW) == longer


def test_accounts_are_counted_for_a_week() -> None:
    holds = Holds()
    for days in (0, 1, 6, 8):
        holds.account_made(AccountMade(CA, NOW + timedelta(days=days)))
    holds.account_made(AccountMade(OTHER, NOW + timedelta(days=8)))
    assert [one.at.day for one in holds.accounts_made(CA)] == [8, 10]
    assert len(holds.accounts_made()) == 3


def test_the_longest_stays() -> None:
    holds = Holds()
    for minutes in (10, 30, 20):
        holds.add(CaHold(CA, NOW + timedelta(minutes=minutes), at=NOW), NOW)
    assert [one.until for one in holds.noted()] == [NOW + timedelta(minutes=30)]
