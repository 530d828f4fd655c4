"""Where challenges stand, and in which zone."""

from __future__ import annotations

import pytest

from sslmd.core.errors import Permanent
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.records import TxtRecord, challenge_owner, zone_of

EXAMPLE = ZoneName("example.com")
SUB = ZoneName("sub.example.com")


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("example.com", "_acme-challenge.example.com"),
        ("www.example.com", "_acme-challenge.www.example.com"),
        ("*.example.com", "_acme-challenge.example.com"),
    ],
)
def test_a_challenge_stands_below_its_prefix(name: str, owner: str) -> None:
    assert challenge_owner(DomainName.parse(name)) == DomainName(owner)


def test_a_name_without_room_for_the_prefix_is_refused() -> None:
    name = DomainName.parse(".".join(["a" * 61] * 4))
    with pytest.raises(Permanent, match=r"cannot be validated by dns-01.*use http-01"):
        challenge_owner(name)


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("example.com", EXAMPLE),
        ("www.example.com", EXAMPLE),
        ("sub.example.com", SUB),
        ("a.b.sub.example.com", SUB),
        ("*.sub.example.com", SUB),
        ("notsub.example.com", EXAMPLE),
        ("badexample.com", None),
        ("com", None),
    ],
)
def test_the_longest_zone_around_a_name(name: str, zone: ZoneName | None) -> None:
    assert zone_of(DomainName.parse(name), [SUB, EXAMPLE]) == zone
    assert zone_of(DomainName.parse(name), [EXAMPLE, SUB]) == zone


def test_no_zones_no_zone() -> None:
    assert zone_of(DomainName("example.com"), []) is None


def test_records_sort_by_owner_and_read_well() -> None:
    one = TxtRecord(DomainName("_acme-challenge.a.example"), "z")
    two = TxtRecord(DomainName("_acme-challenge.b.example"), "a")
    assert sorted([two, one]) == [one, two]
    assert str(one) == "_acme-challenge.a.example TXT z"
