"""What is known of the TLSA records of one certificate's ports: one of six things (I4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sslmd.core.dane.sighting import Sighting
from sslmd.core.reason import Reason


@dataclass(frozen=True, slots=True)
class CheckedPorts:
    """The ports where clients check DANE (`mail.example.com:25`).

    `ttl`: the longest that caches may hold what was served there, in seconds. `usages`: those of
    the records (RFC 6698 §2.1.1).
    """

    names: tuple[str, ...] = ()
    ttl: int = 0
    usages: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Unknown:
    """It is not known what clients find: the records of the set on deck are not published yet.

    Or name servers were not seen. `ports` None: nothing was looked at since the start; `trouble`:
    why it is not known, None if it soon will be.
    """

    ports: CheckedPorts | None = None
    trouble: Reason | None = None


@dataclass(frozen=True, slots=True)
class NoRecords:
    """Name servers were seen without TLSA records at its owners: no client checks its ports."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Records at `owner` were withdrawn that caches may still hold, until then.

    `usages`: those of the records that it has now, as in `CheckedPorts`.
    """

    owner: str
    until: datetime | None = None
    usages: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Records of the set on deck are not published. `why`: what has to be corrected, or comes."""

    ports: CheckedPorts
    why: Reason


@dataclass(frozen=True, slots=True)
class Counting:
    """The records of the set on deck are published, and not yet seen for long enough.

    `sighting` None: they are looked for. `trouble`: why publishing fails, perhaps for others of
    the zone. `silent`: the name servers that do not answer, where all that do have shown
    everything for long enough; None otherwise.
    """

    ports: CheckedPorts
    sighting: Sighting | None = None
    trouble: Reason | None = None
    silent: Reason | None = None


@dataclass(frozen=True, slots=True)
class Everywhere:
    """Every cache that has records of its ports has those of the set on deck.

    `since`: when all name servers were first seen with them; None: they are those of the key in
    use.
    """

    ports: CheckedPorts
    since: datetime | None = None


# What is known right after a start.
UNKNOWN = Unknown()

Dane = Unknown | NoRecords | Withdrawn | HeldBack | Counting | Everywhere


def counted(
    ports: CheckedPorts,
    sighting: Sighting | None,
    trouble: Reason | None = None,
    silent: Reason | None = None,
) -> Counting | Everywhere:
    """Return how far the wait for published records is."""
    if sighting is not None and sighting.complete:
        return Everywhere(ports, sighting.since)
    return Counting(ports, sighting, trouble, silent)


def of_another_set(dane: Dane) -> Dane:
    """Return what would be known if another set were put on deck now."""
    match dane:
        case HeldBack(ports=ports) | Counting(ports=ports) | Everywhere(ports=ports):
            return Counting(ports)
        case _:
            return dane
