"""What a CA counts: certificates for exactly the same names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.buckets import Rate
from sslmd.core.events import AskDropped, Asked, Rolled, ServersProven, WasIssued
from sslmd.core.lifecycle import advance
from sslmd.core.limits import Spent, failed_too_often, names_mark, spent
from sslmd.core.names import SetName
from sslmd.core.reason import Ended, Reason
from sslmd.core.spec import CertFacts, SetFacts
from sslmd.core.state import (
    Ask,
    CertState,
    FailedValidation,
    Issuance,
    Phase,
    Request,
    SetNote,
)

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
REFILL = timedelta(hours=33, minutes=36)


@pytest.mark.parametrize(
    ("hours", "used", "again"),
    [
        ([], 0, None),
        ([0], 1, None),
        ([0, 0, 0, 0], 4, None),
        ([0, 0, 0, 0, 0], 5, REFILL),
        ([10, 10, 10, 10, 10], 5, REFILL - timedelta(hours=10)),
        # It is refilled, one in 33.6 hours.
        ([34, 34, 34, 34, 34], 4, None),
        ([34, 34, 34, 34, 34, 0], 5, REFILL - timedelta(hours=0.4)),
        ([100, 100, 100, 100, 100], 3, None),
        ([167, 167, 167, 167, 167], 1, None),
        ([169, 169, 169, 169, 169], 0, None),
        # Daily is too often by little, and every 34 hours is not.
        ([0, 24, 48, 72, 96, 120, 144], 3, None),
        ([0, 34, 68, 102, 136], 1, None),
        # The clock was set back.
        ([-50, -50, -50, -50, -50], 5, REFILL),
    ],
)
def test_five_a_week_and_one_more_in_34_hours(
    hours: list[float], used: int, again: timedelta | None
) -> None:
    found = spent([NOW - timedelta(hours=one) for one in hours], NOW)
    assert found == Spent(used, None if again is None else NOW + again)


def test_the_exact_set_of_names_counts() -> None:
    mark = names_mark(["example.com", "*.example.com"])
    assert mark == names_mark(["*.Example.com.", "example.com", "example.com"])
    assert mark != names_mark(["example.com"])
    assert mark != names_mark(["example.com", "*.example.com", "www.example.com"])
    assert names_mark(["a.example", "b.example"]) != names_mark(["a.exampleb.example"])


def test_a_state_remembers_what_still_counts_and_each_certificate_once() -> None:
    def issued(serial: str, days: float, server: str = "https://ca.example/") -> Issuance:
        return Issuance(serial, server, "names", NOW - timedelta(days=days))

    state = CertState()
    for one in (issued("1", 8), issued("2", 6), issued("3", 0), issued("3", 0)):
        state = advance(state, WasIssued(one))
    assert state.issued == (issued("2", 6), issued("3", 0))
    other = issued("3", 0, "https://other.example/")
    assert advance(state, WasIssued(other)).issued == (*state.issued, other)


def test_failed_validations_go_by_the_limit_of_the_ca() -> None:
    failed = [FailedValidation("web.example", NOW - timedelta(minutes=one)) for one in (5, 50, 90)]
    three = Rate(3, timedelta(hours=1))
    worst = failed_too_often(failed, ["*.web.example"], NOW, three)
    assert worst == ("web.example", NOW + timedelta(minutes=10))
    assert failed_too_often(failed, ["web.example"], NOW) is None
    assert failed_too_often(failed, ["web.example"], NOW, None) is None
    assert failed_too_often(failed, ["web.example"], NOW, Rate(1, timedelta(minutes=4))) is None


def test_what_is_revoked_is_noted_until_it_is_used_nowhere() -> None:
    key = "ec secp256r1"
    at = NOW - timedelta(days=20)
    cert = CertFacts("1", at, at + timedelta(days=90), ("a.example",), "", "CN=R", key, False)
    old = SetFacts(SetName.at(at), key, frozenset({"a.example"}), cert, "")
    new = replace(old, name=SetName.at(NOW))
    state = CertState(curr=old, settled=old.name, deployed=old.name)
    ask = Ask(Request.RENEW, NOW, force=True, revoked=True)
    asked = advance(state, Asked(ask))
    assert asked.shows_revoked
    assert not advance(asked, AskDropped(NOW, Reason(Ended.CANCELLED))).shows_revoked
    on_deck = replace(asked, next=new, next_note=SetNote(0.0), phase=Phase.ADVERTISED)
    rolled = advance(on_deck, Rolled(NOW))
    assert rolled.shows_revoked  # servers may still use it
    assert not advance(rolled, ServersProven(NOW)).shows_revoked
    # Also when one more is rolled before they took the other.
    third = replace(new, name=SetName.at(NOW + timedelta(hours=1)))
    again = replace(rolled, next=third, next_note=SetNote(0.0), phase=Phase.ADVERTISED)
    assert advance(again, Rolled(NOW)).shows_revoked
    assert not advance(advance(again, Rolled(NOW)), ServersProven(NOW)).shows_revoked
