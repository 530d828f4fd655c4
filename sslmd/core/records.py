"""TXT records of challenges: where they stand, and in which zone."""

from __future__ import annotations

from collections.abc import Container
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


def zone_of(name: DomainName, zones: Container[ZoneName]) -> ZoneName | None:
    """Return the longest of `zones` (a set, where there are many) that `name` is in, else None."""
    text = name.text
    while text:
        if (zone := ZoneName(text)) in zones:
            return zone
        text = text.partition(".")[2]
    return None
