"""Where clients find the TLSA records of a port, if not at the owner itself (I4).

The owner may be a CNAME, which clients follow (RFC 7671 §7), or lie in a zone of its own. Nothing
is written beside a CNAME, behind a cut, or where it would take a host its address. What others keep
elsewhere is still what clients check, so it is looked at and waited for all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sslmd.core.dane.tlsa import Combination, Content, Material, Owned, Tlsa, association, heeded
from sslmd.core.names import DomainName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns


class Fate(StrEnum):
    """What becomes of the records of an owner.

    `HERE`: they are written at the owner. `MOVED`: it is a CNAME to a name in the zone, and they
    are written there. `ELSEWHERE`: clients find them in another zone, and somebody else writes
    them. `NOWHERE`: a record would do harm, or nobody would find it. `UNKNOWN`: name servers do not
    tell, or contradict each other.
    """

    HERE = "here"
    MOVED = "moved"
    ELSEWHERE = "elsewhere"
    NOWHERE = "nowhere"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the records of one owner are. `at`: where clients find them, after CNAMEs.

    `why`: None where they are at the owner. `cname`: where the CNAME at the owner leads,
    None if there is none; `is_cut`: the owner is in a zone below.
    """

    fate: Fate
    at: DomainName
    why: Reason | None = None
    cname: DomainName | None = None
    is_cut: bool = False

    @property
    def is_written(self) -> bool:
        """Whether we write its records."""
        return self.fate in (Fate.HERE, Fate.MOVED)

    @property
    def is_checked_elsewhere(self) -> bool:
        """Whether clients may find records that are not written by us."""
        return self.fate is Fate.ELSEWHERE


Places = Mapping[DomainName, Place]
# Owners whose host is a CNAME, and the owner of that port at its end, where clients look first.
Ends = Mapping[DomainName, DomainName]
Wants = Mapping[DomainName, frozenset[Combination]]


def sure_places(
    asked: Places, moved: Mapping[DomainName, DomainName], before: Content, known: Places
) -> dict[DomainName, Place]:
    """Return the places that are not at the owner itself, of owners that were asked about.

    While nobody tells what one is, what is there stays: `moved` has those whose records are at the
    end of a CNAME, `before` what may be in DNS, `known` the places that were found last.
    """
    found: dict[DomainName, Place] = {}
    for owner, told in asked.items():
        place = told
        if told.fate is Fate.UNKNOWN:
            if owner in moved:
                why = Reason(InDns.ALIAS_HERE, owner=owner, target=moved[owner])
                place = Place(Fate.MOVED, moved[owner], why, moved[owner])
            elif owner in before:
                continue
            elif owner in known and known[owner].fate is not Fate.UNKNOWN:
                place = known[owner]
        if place.fate is not Fate.HERE:
            found[owner] = place
    return found


def moved(wants: Wants, places: Places) -> dict[DomainName, frozenset[Combination]]:
    """Return what is to be written where, of what is wanted at owners."""
    found: dict[DomainName, set[Combination]] = defaultdict(set)
    for owner, combinations in wants.items():
        place = places.get(owner)
        if place is None or place.is_written:
            found[owner if place is None else place.at] |= combinations
    return {owner: frozenset(found[owner]) for owner in sorted(found)}


def asked_at(wants: Wants, places: Places, owners: Collection[DomainName]) -> set[DomainName]:
    """Return the names that clients ask for: the owners, and those that are CNAMEs to them."""
    found = {o for o in wants if o in places and places[o].at in owners and places[o].is_written}
    ends = {places[o].at for o in found}
    return found | {owner for owner in owners if owner in wants or owner not in ends}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What was seen of records that others keep. `ttl`: seconds, of CNAMEs and records.

    `problem`: why they could not be looked at, None if they could.
    """

    at: DomainName
    records: frozenset[Tlsa] = frozenset()
    ttl: int = 0
    problem: Reason | None = None

    @property
    def counts(self) -> bool:
        """Whether clients check the port, as far as is known."""
        return bool(self.records or self.problem)


def fits(material: Material, records: Collection[Tlsa]) -> Tlsa | None:
    """Return the record that a client takes a set for, None if none of them does (RFC 7671 §9)."""
    for record in sorted(heeded(records)):
        if association(record.combination, material) == record:
            return record
    return None


def records_for(material: Material, owner: DomainName, wants: Wants) -> list[Owned]:
    """Return what somebody would have to write for a set, as the owner's combinations say."""
    made = (association(one, material) for one in sorted(wants.get(owner, ())))
    return [(owner, record) for record in made if record is not None]
