"""TXT records of challenges: where they stand, and in which zone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sslmd.core.errors import Permanent
from sslmd.core.names import BadName, DomainName, ZoneName


@dataclass(frozen=True, slots=True, order=True)
class TxtRecord:
    """One TXT record of one string. There may be several at one owner."""

    owner: DomainName
    value: str

    def __str__(self) -> str:
        return f"{self.owner} TXT {self.value}"


def challenge_owner(name: DomainName) -> DomainName:
    """Return where the challenge of `name` stands; a wildcard shares it with the name below.

    RFC 8555 §8.4. Raises `Permanent` for a name so long that there is no room for the prefix.
    """
    try:
        return DomainName.parse("_acme-challenge." + name.text.removeprefix("*."))
    except BadName as err:
        raise Permanent(f"{name} cannot be validated by dns-01: {err}; use http-01") from None


def zone_of(name: DomainName, zones: Iterable[ZoneName]) -> ZoneName | None:
    """Return the longest of `zones` that `name` is in, None if it is in none."""
    around = (zone for zone in zones if name.is_within(zone))
    return max(around, key=lambda zone: len(zone.text), default=None)
