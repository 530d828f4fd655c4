"""What is known of one certificate's TLSA records, by what is known of its zone (I4)."""

from __future__ import annotations

from sslmd.core.dane.content import NOTHING_GIVEN, CertWish, held, held_by, is_coming
from sslmd.core.dane.places import Fate, Place
from sslmd.core.dane.sighting import at_servers, digests
from sslmd.core.dane.tlsa import Share, association, port_of
from sslmd.core.dane.verdict import (
    CheckedPorts,
    Counting,
    Dane,
    Everywhere,
    HeldBack,
    NoRecords,
    Unknown,
    Withdrawn,
    counted,
)
from sslmd.core.dane.zone import KnownZone
from sslmd.core.failed import Failed
from sslmd.core.names import CertId, DomainName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.core.state import CertState
from sslmd.core.view import Standing


def dane_of(zone: KnownZone, cert: CertId, entry: Standing) -> Dane:
    """Return what is known of a certificate's records."""
    if fading := _fading(zone, cert, entry):
        until = zone.sighting.opens_at if zone.sighting is not None else None
        mine = zone.mine(cert) if entry.wanted.dane else None
        entries = mine.entries if mine is not None else ()
        return Withdrawn(fading, until, frozenset(one.usage for one in entries))
    if not entry.wanted.dane:
        return NoRecords()
    if zone.tried is None:
        return Unknown()
    mine = zone.mine(cert)
    if zone.given is None or mine is None:
        # Nothing could be given to DNS yet. What is served is not put at risk for that.
        return Unknown(CheckedPorts(), zone.trouble)
    state, share = entry.state, zone.share(cert)
    owners = zone.owners_of(cert)
    others = zone.waited_for(cert)
    unknown = _unknown(zone, cert, mine)
    asked = zone.given.asked_at(cert, owners) | others.keys()
    ports = CheckedPorts(
        tuple(sorted(filter(None, map(port_of, asked)))),
        zone.ttl_of(cert),
        frozenset(one.usage for one in mine.entries),
    )
    trouble = zone.trouble or zone.look_trouble
    if not is_coming(state, mine):
        return Unknown(ports, trouble)
    if not (others or unknown):
        find = _may_find(zone, owners | _undecided(zone, cert).keys(), mine)
        if find is False:
            return NoRecords()
        if isinstance(find, Reason):
            return Unknown(ports, trouble or find)
    if not (share.held or others or unknown) and _is_served(zone, cert, state, share):
        return Everywhere(ports)
    if why := held(share, zone.notes, serving=bool(mine.serving)) or unknown:
        return HeldBack(ports, why)
    sighting, silent = state.sighting, _silent(zone, cert, mine)
    if sighting is not None and sighting.set != mine.coming:
        sighting = None
    if zone.look_trouble:
        # Nothing is seen now, so the wait does not end; in need, what was seen counts.
        if silent:
            return Counting(ports, sighting, trouble, silent)
        return Unknown(ports, zone.look_trouble)
    return counted(ports, sighting, trouble, silent)


def _may_find(zone: KnownZone, owners: set[DomainName], mine: CertWish) -> bool | Reason:
    """Whether clients may find records of any key at these owners, or why that is not known.

    Before the first set is served, every name server has to be seen without any: whose keys its
    ports serve until then is not known here.
    """
    if zone.given is None or (zone.given.ours and owners & {*zone.content, *zone.given.before}):
        return True
    if zone.seen is None:
        # What is served already is not put at risk.
        return True if mine.serving else Reason(InDns.LOOKED_UP_NOW)
    if any(_shows_records(zone, owner) for owner in owners):
        return True
    if mine.serving:
        return False
    near = [one for one in zone.shown if not one.out_of_reach]
    for server in near or zone.shown:
        if why := server.silent or server.out_of_reach:
            return Reason(Failed.NAME_SERVER, server=server.server, why=why)
        for owner in sorted(owners):
            one = server.owners.get(owner)
            # What is in a zone below is for that zone to show.
            why = Reason(InDns.WAS_NOT_ASKED) if one is None else one.fault
            if why and not (one is not None and one.is_cut and owner in zone.places):
                return Reason(Failed.NAME_SERVER, server=server.server, why=why)
    return False


def _unknown(zone: KnownZone, cert: CertId, mine: CertWish) -> Reason | None:
    """Return why it is not known where a certificate has its records, None if it is.

    Before its first set is served, that counts only where name servers show records: nobody
    checks a port that has none.
    """
    whys = (
        place.why
        for owner, place in sorted(_undecided(zone, cert).items(), key=lambda pair: pair[0])
        if mine.serving or _shows_records(zone, owner)
    )
    return next(whys, None)


def _shows_records(zone: KnownZone, owner: DomainName) -> bool:
    shown = (one.owners.get(owner) for one in zone.shown)
    return any(one is not None and one.records for one in shown)


def _undecided(zone: KnownZone, cert: CertId) -> dict[DomainName, Place]:
    """Return the owners of a certificate of which it is not known where their records are."""
    places = (zone.given or NOTHING_GIVEN).places_of(cert)
    return {owner: one for owner, one in places.items() if one.fate is Fate.UNKNOWN}


def _silent(zone: KnownZone, cert: CertId, mine: CertWish) -> Reason | None:
    """Return which servers are silent if all others showed everything for long enough."""
    apart = zone.apart.get(cert)
    if apart is None or apart.set != mine.coming or not apart.complete:
        return None
    return at_servers((one.server, one.silent or one.out_of_reach) for one in zone.shown)


def _is_served(zone: KnownZone, cert: CertId, state: CertState, share: Share) -> bool:
    """Whether the set on deck needs only records that caches have.

    Those of `curr`, which is served anyhow; those of a set that was `curr` before only if they
    were seen for long enough: by force it may have been rolled before that.
    """
    if not share.coming or not share.coming <= share.serving:
        return False
    seen = zone.sighting
    if seen is not None and seen.complete and digests(share.needed) <= seen.records:
        return True
    sets = (zone.given or NOTHING_GIVEN).materials.get(cert, {})
    material = sets.get(state.curr.name) if state.curr is not None else None
    return material is not None and all(
        association(record.combination, material) == record for _, record in share.coming
    )


def _fading(zone: KnownZone, cert: CertId, entry: Standing) -> str:
    """Return an owner of withdrawn records that caches may still hold, "" if there is none."""
    pairs = zone.noted.fading
    if not entry.wanted.dane:
        # Switched off, and not withdrawn yet.
        holders = zone.noted.holders
        pairs |= frozenset((o, whose) for o, whose in holders if whose == str(cert))
    return min((owner.text for owner, _ in held_by(pairs, cert, entry)), default="")
