"""What a look at the name servers of a zone tells of its TLSA records, and of a set on deck (I4).

`answer_of` judges one server; `take` and `sight` go by all of them, and count the wait.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from sslmd.core.dane.content import CertWish, ZoneNotes, is_coming
from sslmd.core.dane.places import Elsewhere, fits, records_for
from sslmd.core.dane.sighting import (
    Answer,
    NameServersSeen,
    Sighting,
    TlsaSeen,
    digests,
    look_again,
    missing_at,
    surplus,
)
from sslmd.core.dane.tlsa import Combination, Known, Owned, heeded, owned
from sslmd.core.dane.zone import KnownZone
from sslmd.core.names import CertId, DomainName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.core.state import CertState

# Records that one message names.
_NAMED = 3


def take(zone: KnownZone, seen: NameServersSeen) -> KnownZone:
    """Return what is known of a zone after its servers showed this."""
    zone = replace(zone, seen=seen, look_trouble=None)
    zone = replace(zone, others=_of_others(zone))
    notes = _with_others(zone)
    shown = [one for server in seen.servers for one in server.owners.values() if one.records]
    if shown and all(one.signed_until is not None for one in shown):
        notes = replace(notes, signed=True)
    content = zone.content
    wanted = owned(content)
    ttls = _shown_ttls(zone)
    longest = {o: ttl for o, ttl in ttls.items() if ttl > notes.ttl}
    for owner, ttl in notes.longest.items():
        longest[owner] = max(ttl, longest.get(owner, 0))
    zone = replace(zone, notes=(notes := replace(notes, longest=longest)))
    answers = [answer_of(zone, one, wanted, stale=True) for one in seen.servers]
    # Whatever is to have another lifetime, or is seen with one: the wait begins anew.
    waits = frozenset(f"{owner} {some.ttl}" for owner, some in content.items())
    waits |= {f"{owner} shown {ttl}" for owner, ttl in ttls.items()}
    waits |= {f"{owner} {whose} gone" for owner, whose in notes.fading}
    sighting = look_again(
        zone.sighting,
        name=None,
        records=digests(wanted) | waits,
        ttl=notes.longest_ttl,
        answers=_reached(answers, seen),
        now=seen.at,
        began=seen.began,
        ended=seen.ended,
    )
    notes = replace(notes, known=(notes.known or frozenset()) | _shown(zone))
    if sighting.complete and zone.wish is not None:
        # What caches held before is gone.
        ttl = max((some.ttl for some in content.values()), default=0)
        longest = {o: value for o, value in ttls.items() if value > ttl}
        notes = replace(notes, ttl=ttl, longest=longest, fading=frozenset())
    return replace(zone, sighting=sighting, notes=notes)


def _of_others(zone: KnownZone) -> dict[DomainName, frozenset[Combination]]:
    """Return the owners with records that are not ours, and the combinations that all show."""
    ours = owned(zone.content) | owned(zone.given.before if zone.given is not None else {})
    found: dict[DomainName, list[frozenset[Combination]]] = {}
    heard = zone.heard
    for owner in {owner for server in heard for owner, _ in surplus(server, ours)}:
        shown = (server.owners[owner].records if owner in server.owners else () for server in heard)
        found[owner] = [frozenset(one.combination for one in some) for some in shown]
    return {owner: frozenset.intersection(*some) for owner, some in found.items()}


def _with_others(zone: KnownZone) -> ZoneNotes:
    """Return notes with what others keep for certificates, and what they have taken away.

    Caches hold that as long as what we withdraw.
    """
    notes = zone.noted
    there = frozenset(
        (owner, str(cert))
        for cert in zone.certs
        for owner, one in zone.kept_by_others(cert).items()
        if one.records
    )
    gone = frozenset(
        pair
        for pair in notes.holders - there
        if pair[0] in zone.elsewhere and not zone.elsewhere[pair[0]].problem
    )
    holders = (notes.holders | there) - gone
    return replace(notes, holders=holders, fading=(notes.fading | gone) - there)


def _shown_ttls(zone: KnownZone) -> dict[DomainName, int]:
    """Return the longest lifetime that was just seen at each owner, in seconds."""
    found: dict[DomainName, int] = defaultdict(int)
    for server in zone.shown:
        for owner, one in server.owners.items():
            if one.ttl:
                found[owner] = max(found[owner], one.ttl)
    for owner, other in zone.elsewhere.items():
        if other.ttl:
            found[owner] = max(found[owner], other.ttl)
    return dict(found)


def _shown(zone: KnownZone) -> Known:
    """Return the combinations at owners all of whose records every server shows.

    Owner by owner: one that is refused, or somebody's delegation, holds up no other (I6).
    """
    assert zone.seen is not None
    found: set[tuple[DomainName, Combination]] = set()
    for owner, some in zone.content.items():
        wanted = frozenset((owner, one) for one in some.records)
        answers = _reached([answer_of(zone, one, wanted) for one in zone.seen.servers], zone.seen)
        if answers and not any(one.missing or one.silent for one in answers):
            found |= {(owner, record.combination) for record in some.records}
    return frozenset(found)


def sight(
    zone: KnownZone, cert: CertId, state: CertState
) -> tuple[Sighting | None, Sighting | None]:
    """Return what the last look tells of the records of a set on deck; None: nothing yet.

    First by all name servers, then by those alone that answer.
    """
    mine, seen = zone.mine(cert), zone.seen
    if seen is None or mine is None or mine.coming is None:
        return None, None
    share = zone.share(cert)
    others = zone.waited_for(cert)
    if not is_coming(state, mine) or share.held or not (share.coming or others):
        return None, None
    answers = []
    for one in seen.servers if share.coming else ():
        shown = answer_of(zone, one, share.needed)
        if not shown.silent and not shown.missing:
            shown = replace(shown, missing=_stronger(one, share.coming))
        answers.append(shown)
    answers = _reached(answers, seen)
    answers += [_answer_there(zone, owner, one, cert, mine) for owner, one in others.items()]
    known = digests(share.needed) | {f"{owner} at {one.at}" for owner, one in others.items()}

    def again(old: Sighting | None, heard: list[Answer]) -> Sighting:
        return look_again(
            old,
            name=mine.coming,
            records=known,
            ttl=zone.ttl_of(cert),
            answers=heard,
            now=seen.at,
            began=seen.began,
            ended=seen.ended,
        )

    heard = [one for one in answers if not one.silent]
    return again(state.sighting, answers), again(zone.apart.get(cert), heard)


def _answer_there(
    zone: KnownZone, owner: DomainName, seen: Elsewhere, cert: CertId, mine: CertWish
) -> Answer:
    """Return what lacks, for the set on deck, of records that others keep."""
    where = owner.text if owner == seen.at else f"{owner} (a CNAME to {seen.at})"
    if seen.problem:
        return Answer(where, silent=Reason(InDns.UNSEEN_THERE, why=seen.problem))
    assert zone.given is not None
    assert mine.coming is not None
    material = zone.given.materials.get(cert, {}).get(mine.coming)
    if material is not None and fits(material, seen.records) is not None:
        return Answer(where)
    wants = zone.given.wants_at(cert, owner)
    made = records_for(material, owner, wants) if material is not None else []
    record = str(made[0][1]) if made else None
    return Answer(where, Reason(InDns.NOT_THERE, record=record))


def answer_of(
    zone: KnownZone, server: TlsaSeen, wanted: frozenset[Owned], *, stale: bool = False
) -> Answer:
    """Return what one server lacks of `wanted`; `stale`: nor may it show what is withdrawn."""
    name = str(server.server)
    if server.silent or server.out_of_reach:
        return Answer(name, silent=server.silent or server.out_of_reach)
    if missing := sorted(missing_at(server, wanted)):
        return Answer(name, _lacks(server, missing))
    for owner in sorted({owner for owner, _ in wanted}):
        if fault := _fault(zone, server, owner):
            return Answer(name, fault)
    if stale and (old := _stale(zone, server)):
        return Answer(name, old)
    return Answer(name)


def _stale(zone: KnownZone, server: TlsaSeen) -> Reason | None:
    """Return what a server still shows that was withdrawn."""
    for owner in sorted({owner for owner, _ in zone.noted.fading}):
        ours = zone.content[owner].records if owner in zone.content else frozenset()
        one = server.owners.get(owner)
        # What stands at the end of a CNAME is another owner's.
        if one is not None and not (one.cname or one.is_cut) and one.records - ours:
            return Reason(InDns.STILL_SHOWN, owner=owner)
    return None


def _fault(zone: KnownZone, server: TlsaSeen, owner: DomainName) -> Reason | None:
    """Return what is wrong with how a server shows what it has at `owner`."""
    one = server.owners.get(owner)
    if one is None or zone.seen is None:
        return None
    if one.signed_until is None and zone.noted.signed:
        return Reason(InDns.NO_SIGNATURES, owner=owner)
    if one.signed_until is not None and one.signed_until <= zone.seen.at:
        return Reason(InDns.SIGNATURES_OVER, owner=owner, until=one.signed_until)
    return None


def _reached(answers: list[Answer], seen: NameServersSeen) -> list[Answer]:
    """Leave out servers that this machine has no way to, as long as there are others."""
    lost = {str(one.server) for one in seen.servers if one.out_of_reach}
    near = [one for one in answers if one.server not in lost]
    return near or answers


def _stronger(server: TlsaSeen, coming: frozenset[Owned]) -> Reason | None:
    """Return what would keep clients from records of a set on deck that are there, or None.

    They go by the strongest digest that they find (RFC 7671 §9), and a server that is behind may
    show one that the set on deck has no record of.
    """
    for owner in sorted({owner for owner, _ in coming}):
        seen = server.owners.get(owner)
        going_by = heeded(seen.records) if seen is not None else frozenset()
        ours = {record for at, record in coming if at == owner}
        useful = {(record.usage, record.selector) for record in ours & going_by}
        asked = {(record.usage, record.selector) for record in ours} - useful
        stronger = [one for one in going_by if (one.usage, one.selector) in asked]
        if stronger:
            return Reason(InDns.STRONGER, owner=owner, record=short(min(stronger)))
    return None


def _lacks(server: TlsaSeen, missing: list[Owned]) -> Reason:
    owners = list(dict.fromkeys(owner for owner, _ in missing))
    faults = [server.owners[owner].fault for owner in owners if owner in server.owners]
    if fault := next(filter(None, faults), None):
        return fault
    some = tuple(f"{owner} TLSA {short(record)}" for owner, record in missing[:_NAMED])
    return Reason(InDns.NOT_SHOWN, records=some, more=len(missing[_NAMED:]) or None)


def short(record: object) -> str:
    """Return the beginning of a record."""
    text = str(record)
    return text if len(text) <= 24 else f"{text[:20]}…"
