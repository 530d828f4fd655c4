"""What the TLSA records of a zone come to (I4).

`cert_wish` says what a zone has to know of one certificate, `content_for` what all of them come to,
and what is to be noted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sslmd.core.dane.places import Ends, Fate, Place, Places, Wants, asked_at, moved
from sslmd.core.dane.tlsa import (
    Content,
    DaneEntry,
    Known,
    Material,
    Others,
    Owned,
    Part,
    Share,
    TlsaHosts,
    ZoneContent,
    combinations_of,
    content_of,
    endpoint_of,
    wants_of,
)
from sslmd.core.errors import SslmError
from sslmd.core.names import BadName, CertId, DomainName, SanName, SetName, ZoneName, covers
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.core.state import CertState
from sslmd.core.view import Standing

_NO_PLACES: Places = {}
_NO_ENDS: Ends = {}
_NO_OTHERS: Others = {}


# Owners, each with the name of a certificate.
Holders = frozenset[tuple[DomainName, str]]


@dataclass(frozen=True, slots=True)
class ZoneNotes:
    """`mx`: the zone's MX hosts when they were last looked up, at `mx_at`; None: never. `null_mx`:
    it takes no mail (RFC 7505).

    `known`: the combinations that every name server was seen serving. `ttl`: the longest that
    caches may hold a record of ours, in seconds. `signed`: DNSSEC was seen in use. `holders`: which
    certificates have records at which owners; `fading`: which had some that were withdrawn, and may
    be in caches still ("" for a certificate: it is not known which).

    `longest`: owners where a longer TTL than `ttl` was seen, in seconds, of records that others
    wrote, or of CNAMEs. `moved`: owners that are CNAMEs, and where their records are written.
    """

    mx: tuple[DomainName, ...] | None = None
    mx_at: datetime | None = None
    known: Known | None = None
    ttl: int = 0
    signed: bool = False
    holders: Holders = frozenset()
    fading: Holders = frozenset()
    null_mx: bool = False
    longest: Mapping[DomainName, int] = field(default_factory=dict)
    moved: Mapping[DomainName, DomainName] = field(default_factory=dict)

    @property
    def mail(self) -> tuple[DomainName, ...] | None:
        """The MX hosts; None: the zone takes no mail."""
        return None if self.null_mx else self.mx or ()

    @property
    def longest_ttl(self) -> int:
        """The longest that a cache may hold anything at our owners, in seconds."""
        return max(self.ttl, *self.longest.values(), 0)

    def ttl_at(self, owners: Iterable[DomainName]) -> int:
        """Return the longest that a cache may hold anything at these owners, in seconds."""
        return max(self.ttl, *(self.longest.get(owner, 0) for owner in owners), 0)


@dataclass(frozen=True, slots=True)
class CertWish:
    """One certificate, as its zone has to know it.

    `unsure`: what is served cannot be told. `proves`: its ports may be looked at.
    """

    cert: CertId
    entries: tuple[DaneEntry, ...]
    ttl: int
    names: tuple[SanName, ...]
    serving: tuple[SetName, ...]
    coming: SetName | None
    certified: bool
    proven: bool
    unsure: bool
    proves: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything that the TLSA records of a zone depend on."""

    zone: ZoneName
    certs: tuple[CertWish, ...]

    @property
    def wants_mx(self) -> bool:
        """Whether the zone's MX hosts have a say."""
        return any(entry.hosts is TlsaHosts.MX for one in self.certs for entry in one.entries)


@dataclass(frozen=True, slots=True)
class Given:
    """What was given to DNS. `remarks`: what people should know; `changed`: it was not there.

    `ours`: there is a way to give it; otherwise somebody else has to. `unfit`: why owners were
    left out whose ports serve other keys. `failure`: why some of it, or all, may not be there.
    `of_others`: what is served was written by ssl-mgr, say, with lifetimes of its own. `wants`:
    what each certificate asks for, by the owners that clients ask for; `places`: where those have
    their records, if not there. `ends`: where clients look first, because a host is a CNAME;
    `ends_problem`: why that could not be found out of all of them.
    """

    content: ZoneContent
    materials: Mapping[CertId, Mapping[SetName, Material]]
    notes: ZoneNotes
    before: Content
    changed: Reason | None
    outside: tuple[DomainName, ...]
    ours: bool
    remarks: tuple[Reason, ...]
    unfit: Mapping[DomainName, tuple[CertId, Reason]] = field(default_factory=dict)
    failure: SslmError | None = None
    of_others: bool = False
    wants: Mapping[CertId, Wants] = field(default_factory=dict)
    places: Places = field(default_factory=dict)
    ends: Ends = field(default_factory=dict)
    ends_problem: Reason | None = None

    @property
    def unknown(self) -> frozenset[DomainName]:
        """The owners of which it is not known where their records belong."""
        return frozenset(o for o, place in self.places.items() if place.fate is Fate.UNKNOWN)

    @property
    def is_unfinished(self) -> bool:
        """Whether more may be given before long, although nothing failed."""
        return bool(self.unfit or self.unknown or self.ends_problem)

    @property
    def all_remarks(self) -> frozenset[Reason]:
        """What people should know, with the MX hosts whose records others have to publish."""
        outside = (Reason(InDns.MX_OUTSIDE, host=host) for host in self.outside)
        return frozenset((*self.remarks, *outside))

    def written_of(self, cert: CertId) -> Wants:
        """Return what a certificate asks for, by the owners where it is written."""
        return moved(self.wants.get(cert, {}), self.places)

    def places_of(self, cert: CertId) -> dict[DomainName, Place]:
        """Return the places that are a certificate's."""
        wants = self.wants.get(cert, {})
        return {owner: place for owner, place in self.places.items() if owner in wants}

    def ends_of(self, cert: CertId) -> dict[DomainName, DomainName]:
        """Return the ends that are a certificate's."""
        wants = self.wants.get(cert, {})
        return {owner: first for owner, first in self.ends.items() if owner in wants}

    def wants_at(self, cert: CertId, owner: DomainName) -> Wants:
        """Return what a certificate asks for, at the end of a host that is a CNAME as well."""
        wants = self.wants.get(cert, {})
        at_end = {first: wants[one] for one, first in self.ends.items() if one in wants}
        return wants if owner in wants else {**wants, **at_end}

    def asked_at(self, cert: CertId, owners: Collection[DomainName]) -> set[DomainName]:
        """Return the names that clients ask for, of owners where records are written."""
        return asked_at(self.wants.get(cert, {}), self.places, owners)


NOTHING_GIVEN = Given(ZoneContent({}, {}), {}, ZoneNotes(), {}, None, (), ours=False, remarks=())


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What was found out of a zone before. `places`: where owners have their records, if not there.

    `doubted`: owners that were seen to be something else since; `ends`: where clients look first,
    because a host is a CNAME; `others`: the combinations of records that are not ours.
    """

    places: Places = field(default_factory=dict)
    doubted: Collection[DomainName] = ()
    ends: Ends = field(default_factory=dict)
    others: Others = field(default_factory=dict)


def cert_wish(entry: Standing, entries: tuple[DaneEntry, ...], ttl: int) -> CertWish:
    """Return a certificate as its zone has to know it. `entries`: its `dane_tls`."""
    state = entry.state
    curr, next_ = state.curr, state.next
    served = curr is not None and curr.cert is not None
    serving = [curr.name] if curr is not None and served else []
    serving += [name for name in state.retired if name not in serving]
    coming, certified = None, False
    if next_ is not None and (curr is None or next_.name != curr.name):
        certified = next_.complete
        ahead = entry.wanted.next_ahead and next_.cert is None and next_.has_key
        coming = next_.name if certified or ahead else None
    proven = curr is not None and curr.name in (state.deployed, state.settled)
    return CertWish(
        cert=entry.wanted.spec.id,
        entries=entries,
        ttl=ttl,
        names=entry.wanted.spec.all_names(),
        serving=tuple(serving),
        coming=coming,
        certified=certified,
        proven=proven,
        # What servers use now, if anything, is told by DNS alone: also after the first roll, until
        # they are proven. The service may have had another name before, or lost its state.toml.
        unsure=not served or bool(entry.hold) or not (proven or state.retired),
        proves=entry.proves,
    )


def held_by(pairs: Holders, cert: CertId, entry: Standing) -> Holders:
    """Return which of the records are a certificate's, or of nobody known and may be its own."""
    return frozenset(
        (owner, whose)
        for owner, whose in pairs
        if (whose == str(cert) if whose else is_of(owner, entry.wanted.names))
    )


def is_of(owner: DomainName, names: Collection[str]) -> bool:
    """Whether the port of an owner may serve a certificate with these names."""
    try:
        host = endpoint_of(owner)[2].text
    except BadName:
        return False
    return covers(names, host)


def is_coming(state: CertState, mine: CertWish) -> bool:
    """Whether the set on deck is still the one, and as complete, as DNS was told of."""
    next_ = state.next
    if next_ is None or mine.coming is None:
        return mine.coming is None and (next_ is None or next_.cert is None)
    return next_.name == mine.coming and (next_.cert is not None) == mine.certified


def held(share: Share, notes: ZoneNotes | None, *, serving: bool = True) -> Reason | None:
    """Return why some records of a set on deck are not published, None if all are.

    `serving`: a set of the certificate is in use.
    """
    if share.lacking:
        owner, numbers = min(share.lacking)
        return Reason(InDns.NOT_MADE_IN_USE, owner=owner, numbers=str(numbers))
    known = (notes.known if notes is not None else None) or frozenset()
    if unmade := share.held & known:
        owner, numbers = min(unmade)
        return Reason(InDns.NOT_MADE_ON_DECK, owner=owner, numbers=str(numbers))
    if share.held:
        owner, numbers = min(share.held)
        code = InDns.NEW_THERE if serving else InDns.KEYS_OF_OTHERS
        return Reason(code, owner=owner, numbers=str(numbers))
    return None


def content_for(
    wish: Wish,
    notes: ZoneNotes,
    before: Content,
    material_of: Callable[[CertId, SetName], Material | None],
    without: frozenset[DomainName] = frozenset(),
    places: Places = _NO_PLACES,
    ends: Ends = _NO_ENDS,
    others: Others = _NO_OTHERS,
) -> tuple[ZoneContent, Mapping[CertId, Mapping[SetName, Material]], ZoneNotes]:
    """Return what DNS has to be given, of which sets it is made, and what is to be noted.

    `before`: what may be in DNS now. What was there when nothing was noted yet (a tree of
    ssl-mgr's, or notes that were lost) counts as seen. `without`: owners that are left out;
    `places`: where the records of owners belong, if not there; `ends`: where clients look first;
    `others`: the combinations of records that are not ours.
    """
    known = notes.known if notes.known is not None else combinations_of(before)
    parts, materials = _parts(wish, notes, before, material_of, places)
    if without:
        parts = [
            replace(part, wants={o: what for o, what in part.wants.items() if o not in without})
            for part in parts
        ]
    content = content_of(parts, known, others)
    holders = frozenset(
        (owner, str(cert)) for cert, share in content.shares.items() for owner, _ in share.needed
    )
    # What others keep for it is its own as long as it is there.
    firsts = set(ends.values())
    kept = (one for one in notes.holders if one[0] in firsts or _is_elsewhere(one[0], places))
    holders |= set(kept)
    told = {owner for owner, _ in (*notes.holders, *holders)}
    unknown = {(owner, "") for owner in before if owner not in told}
    shown = {(owner, one) for owner, some in others.items() for one in some}
    ttls = (one.ttl for one in (*before.values(), *content.records.values()))
    notes = replace(
        notes,
        ttl=max(notes.ttl, *ttls, 0),
        known=(known | shown) & combinations_of(content.records),
        holders=holders,
        fading=(notes.fading | notes.holders | unknown) - holders,
    )
    return content, materials, notes


def _is_elsewhere(owner: DomainName, places: Places) -> bool:
    return owner in places and places[owner].is_checked_elsewhere


def _parts(
    wish: Wish,
    notes: ZoneNotes,
    before: Content,
    material_of: Callable[[CertId, SetName], Material | None],
    places: Places,
) -> tuple[list[Part], dict[CertId, dict[SetName, Material]]]:
    parts = []
    materials: dict[CertId, dict[SetName, Material]] = {}
    for one in wish.certs:
        wants = moved(wants_of(one.entries, wish.zone, one.names, notes.mail), places)
        found = {name: material_of(one.cert, name) for name in one.serving}
        serving = {name: what for name, what in found.items() if what is not None}
        coming = None if one.coming is None else material_of(one.cert, one.coming)
        materials[one.cert] = dict(serving)
        if one.coming is not None and coming is not None:
            materials[one.cert][one.coming] = coming
        kept: frozenset[Owned] = frozenset()
        if one.unsure or len(serving) < len(one.serving):
            kept = frozenset(
                (owner, record)
                for owner in wants
                if owner in before
                for record in before[owner].records
            )
        parts.append(
            Part(one.cert, wants, one.ttl, tuple(serving.values()), coming, one.proven, kept)
        )
    return parts, materials
