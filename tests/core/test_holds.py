"""What a CA asks to be left alone with holds what it speaks of, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.buckets import CaLimit
from sslmd.core.errors import RateLimited
from sslmd.core.holds import CaHold, Holds, hold_of

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


def test_a_name_holds_its_certificate_alone() -> None:
    assert hold_of(RateLimited("x", CaLimit.FAILED, "n", retry_at=LATER), CA, "", "m", NOW) is None
    assert hold_of(RateLimited("x", CaLimit.ORDERS), CA, "", "m", NOW) is None


def test_the_longest_stays() -> None:
    holds = Holds()
    for minutes in (10, 30, 20):
        holds.add(CaHold(CA, NOW + timedelta(minutes=minutes)), NOW)
    assert [one.until for one in holds.noted()] == [NOW + timedelta(minutes=30)]
