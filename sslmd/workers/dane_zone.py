"""One zone with TLSA records: what it was given, what it was seen serving, what follows (I4)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from sslmd.config.model import ServiceConfig
from sslmd.core.names import BadName, CertId, DomainName, ZoneName, covers
from sslmd.core.places import Elsewhere, Fate, Places, fits, records_for
from sslmd.core.sighting import FIRST_PAUSE, Answer, Sighting, digests, look_again
from sslmd.core.standing import Standing
from sslmd.core.state import CertState
from sslmd.core.times import clock
from sslmd.core.tlsa import (
    Combination,
    Content,
    Known,
    Owned,
    Share,
    Tlsa,
    TlsaHosts,
    association,
    endpoint_of,
    heeded,
    owned,
    wants_of,
)
from sslmd.core.view import Dane
from sslmd.dns.ask import NameServer
from sslmd.dns.tlsa_look import ServerSeen, missing_at, surplus
from sslmd.store.zone_notes import Holders, ZoneNotes
from sslmd.workers.places import port_of
from sslmd.workers.tlsa import CertWish, Given, Seen, Wish

# Records that one message names.
_NAMED = 3

# An owner, a name server, where it says that a CNAME leads, and whether to a zone below.
Doubt = tuple[DomainName, str, str, bool]


@dataclass(slots=True)
class Zone:
    """`wish` is what DNS was given last, as `given`; None: nothing since the start. `tried`: what
    publishing was tried for last. `queued`: certificates whose roll waits for the turn. `servers`:
    those of the last look.

    `noted`: what may be in DNS, while nothing could be given. `elsewhere`: what the last look found
    of records that others keep. `doubts`: what name servers showed that does not go with the places
    that were found. `apart`: the sightings by those servers alone that answer. `replaced`: what was
    in DNS before the changes that no name server was seen to take yet, None if there are none.

    `late`: whose set on deck waits for its records for too long.

    `trouble`, `look_trouble`, `unsaved`: why publishing, looking, writing notes failed last, "" if
    it did not. Times ending in `_at` are of the event loop's clock, in seconds. `turn` is held by
    who gives records to DNS, and by who makes a server use another key.
    """

    name: ZoneName
    certs: set[CertId] = field(default_factory=set)
    notes: ZoneNotes | None = None
    wish: Wish | None = None
    tried: Wish | None = None
    given: Given | None = None
    noted: Content = field(default_factory=dict)
    seen: Seen | None = None
    sighting: Sighting | None = None
    elsewhere: Mapping[DomainName, Elsewhere] = field(default_factory=dict)
    doubts: frozenset[Doubt] = frozenset()
    apart: dict[CertId, Sighting] = field(default_factory=dict)
    replaced: Content | None = None
    trouble: str = ""
    attempts: int = 0
    retry_at: float = 0.0
    look_trouble: str = ""
    look_pause: float = FIRST_PAUSE
    unsaved: str = ""
    servers: tuple[NameServer, ...] = ()
    look_at: float = 0.0
    watch_at: float = 0.0
    mx_at: float = 0.0
    places_at: float = 0.0
    changed_at: float = 0.0
    doubted: bool = False
    late: set[CertId] = field(default_factory=set)
    files_at: float = 0.0
    stamps: tuple[object, ...] = ()
    again: bool = False
    remarks: frozenset[str] = frozenset()
    queued: set[CertId] = field(default_factory=set)
    warned_unsigned: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def content(self) -> Content:
        """What DNS was given."""
        return self.given.content.records if self.given is not None else {}

    def share(self, cert: CertId) -> Share:
        """Return what of it is a certificate's."""
        shares = self.given.content.shares if self.given is not None else {}
        return shares.get(cert, Share())

    def owners(self) -> set[DomainName]:
        """Return the names to be asked for: what is served, and what was before."""
        before = self.given.before if self.given is not None else {}
        fading = self.notes.fading if self.notes is not None else frozenset()
        faded = (owner for owner, _ in fading)
        return {*self.content, *before, *faded, *self._wanted_owners(), *self.places}

    @property
    def places(self) -> Places:
        """Where owners have their records, if not there."""
        return self.given.places if self.given is not None else {}

    def surprises(self) -> frozenset[Doubt]:
        """Return what the last look shows that does not go with the places that were found."""
        found = set()
        for server in self.seen.servers if self.seen is not None else ():
            for owner, one in server.owners.items():
                place = self.places.get(owner)
                if owner in self.content or place is not None:
                    known = (None, False) if place is None else (place.cname, place.is_cut)
                    is_told = not one.fault or one.cname is not None or one.is_cut
                    if is_told and (one.cname, one.is_cut) != known:
                        found.add((owner, str(server.server), str(one.cname), one.is_cut))
        return frozenset(found)

    def _wanted_owners(self) -> set[DomainName]:
        return {owner for share in self._shares() for owner, _ in (*share.held, *share.lacking)}

    def _shares(self) -> Iterable[Share]:
        return self.given.content.shares.values() if self.given is not None else ()

    # --- what a certificate has to know ---

    def dane(self, cert: CertId, entry: Standing, *, current: bool) -> Dane | None:
        """Return what the plan has to know; `current`: DNS was given what is wanted now."""
        fading = self._fading(cert, entry)
        until = self.sighting.opens_at if fading and self.sighting is not None else None
        if not entry.wanted.dane:
            faded = Dane(None, checked=True, ttl=self.ttl, fading=fading, fading_until=until)
            return faded if fading else None
        if self.tried is None:
            return None
        mine = self._mine(cert)
        if self.given is None or mine is None:
            # Nothing could be given to DNS yet. What is served is not put at risk for that.
            fresh = entry.state.curr is None and not entry.state.retired and not self.noted
            next_ = entry.state.next.name if entry.state.next is not None and fresh else None
            return Dane(next_, checked=not fresh, trouble=self.trouble)
        share = self.share(cert)
        owners = {owner for owner, _ in (*share.needed, *share.held)}
        is_it = mine.coming is None or _is_coming(entry.state, mine)
        others = self.kept_by_others(cert)
        unknown = self._unknown(cert) if mine.serving else ""
        asked = self.given.asked_at(cert, owners) | others.keys()
        return Dane(
            next=mine.coming if is_it else None,
            checked=bool(others or unknown) or self._checked(owners, mine),
            unchanged=not (share.held or others or unknown)
            and self._is_served(cert, entry.state, share),
            current=current,
            trouble=self.trouble or self.look_trouble,
            unseen=self.look_trouble,
            held=_held(share, self.notes) or unknown,
            ports=tuple(sorted(filter(None, map(port_of, asked)))),
            ttl=self.ttl_of(cert),
            fading=fading,
            fading_until=until,
            silent=self._silent(cert, mine),
            usages=frozenset(one.usage for one in mine.entries),
        )

    def kept_by_others(self, cert: CertId) -> dict[DomainName, Elsewhere]:
        """Return what clients check of a certificate's that others write, as far as is known."""
        places = self.given.places_of(cert) if self.given is not None else {}
        found = {
            owner: self.elsewhere.get(owner, Elsewhere(place.at, problem="is not looked at yet"))
            for owner, place in places.items()
            if place.is_checked_elsewhere
        }
        return {owner: one for owner, one in found.items() if one.counts}

    def may_be_elsewhere(self, cert: CertId) -> bool:
        """Whether others may write records for a certificate at any time."""
        places = self.given.places_of(cert) if self.given is not None else {}
        return any(place.is_checked_elsewhere for place in places.values())

    def _unknown(self, cert: CertId) -> str:
        """Return why it is not known where a certificate has its records, "" if it is."""
        places = self.given.places_of(cert) if self.given is not None else {}
        return min((one.why for one in places.values() if one.fate is Fate.UNKNOWN), default="")

    def _silent(self, cert: CertId, mine: CertWish) -> str:
        """Return which servers are silent if all others showed everything for long enough."""
        apart = self.apart.get(cert)
        if apart is None or apart.set != mine.coming or not apart.complete or self.seen is None:
            return ""
        silent = [one for one in self.seen.servers if one.silent or one.out_of_reach]
        return "; ".join(f"{one.server} {one.silent or one.out_of_reach}" for one in silent)

    def _is_served(self, cert: CertId, state: CertState, share: Share) -> bool:
        """Whether the set on deck needs only records that caches have.

        Those of `curr`, which is served anyhow; those of a set that was `curr` before only if they
        were seen for long enough: by force it may have been rolled before that.
        """
        if not share.coming or not share.coming <= share.serving:
            return False
        seen = self.sighting
        if seen is not None and seen.complete and digests(share.needed) <= seen.records:
            return True
        sets = self.given.materials.get(cert, {}) if self.given is not None else {}
        material = sets.get(state.curr.name) if state.curr is not None else None
        return material is not None and all(
            association(record.combination, material) == record for _, record in share.coming
        )

    def _fading(self, cert: CertId, entry: Standing) -> str:
        """Return an owner of withdrawn records that caches may still hold, "" if there is none."""
        notes = self.notes or ZoneNotes()
        pairs = notes.fading
        if not entry.wanted.dane:
            # Switched off, and not withdrawn yet.
            pairs |= frozenset((o, whose) for o, whose in notes.holders if whose == str(cert))
        return min((owner.text for owner, _ in held_by(pairs, cert, entry)), default="")

    @property
    def ttl(self) -> int:
        """The longest that caches may hold a record at our owners, in seconds."""
        return self.notes.longest_ttl if self.notes is not None else 0

    def ttl_of(self, cert: CertId) -> int:
        """Return the longest that caches may hold a record of a certificate's ports, in seconds.

        One that others wrote at the owner of another certificate is none of its business (I6).
        """
        if self.notes is None:
            return 0
        share = self.share(cert)
        owners = {owner for owner, _ in (*share.needed, *share.held)}
        asked = self.given.asked_at(cert, owners) if self.given is not None else set()
        return self.notes.ttl_at({*owners, *asked, *self.kept_by_others(cert)})

    def _checked(self, owners: set[DomainName], mine: CertWish) -> bool:
        """Whether clients may find records of any key at these owners."""
        if self.given is None or (self.given.ours and owners & {*self.content, *self.given.before}):
            return True
        if self.seen is None:
            # Nobody knows what is there. What is served already is not put at risk for that.
            return bool(mine.serving)
        return any(
            one.records
            for server in self.seen.servers
            for owner, one in server.owners.items()
            if owner in owners
        )

    # --- after a look ---

    def take(self, seen: Seen) -> bool:
        """Take in what the servers show; return whether the notes are others now."""
        assert self.notes is not None
        self.seen, self.look_trouble = seen, ""
        notes = self._with_others(self.notes)
        if _all_signed(seen):
            notes = replace(notes, signed=True)
        content = self.content
        wanted = owned(content)
        shown = self._shown_ttls()
        longest = {o: ttl for o, ttl in shown.items() if ttl > notes.ttl}
        for owner, ttl in notes.longest.items():
            longest[owner] = max(ttl, longest.get(owner, 0))
        notes = replace(notes, longest=longest)
        answers = [self.answer(one, wanted, stale=True) for one in seen.servers]
        # Whatever is to have another lifetime, or is seen with one: the wait begins anew.
        ttls = frozenset(f"{owner} {some.ttl}" for owner, some in content.items())
        ttls |= {f"{owner} shown {ttl}" for owner, ttl in shown.items()}
        gone = frozenset(f"{owner} {whose} gone" for owner, whose in notes.fading)
        self.sighting = look_again(
            self.sighting,
            name=None,
            records=digests(wanted) | ttls | gone,
            ttl=notes.longest_ttl,
            answers=_reached(answers, seen),
            now=seen.at,
            began=seen.began,
            ended=seen.ended,
        )
        notes = replace(notes, known=(notes.known or frozenset()) | self._shown())
        if self.sighting.complete and self.wish is not None:
            # What caches held before is gone.
            ttl = max((some.ttl for some in content.values()), default=0)
            longest = {o: value for o, value in shown.items() if value > ttl}
            notes = replace(notes, ttl=ttl, longest=longest, fading=frozenset())
        changed = notes != self.notes
        self.notes = notes
        return changed

    def _with_others(self, notes: ZoneNotes) -> ZoneNotes:
        """Return notes with what others keep for certificates, and what they have taken away.

        Caches hold that as long as what we withdraw.
        """
        there = frozenset(
            (owner, str(cert))
            for cert in self.certs
            for owner, one in self.kept_by_others(cert).items()
            if one.records
        )
        gone = frozenset(
            pair
            for pair in notes.holders - there
            if pair[0] in self.elsewhere and not self.elsewhere[pair[0]].problem
        )
        holders = (notes.holders | there) - gone
        return replace(notes, holders=holders, fading=(notes.fading | gone) - there)

    def _shown_ttls(self) -> dict[DomainName, int]:
        """Return the longest lifetime that was just seen at each owner, in seconds."""
        found: dict[DomainName, int] = defaultdict(int)
        for server in self.seen.servers if self.seen is not None else ():
            for owner, one in server.owners.items():
                if one.ttl:
                    found[owner] = max(found[owner], one.ttl)
        for owner, other in self.elsewhere.items():
            if other.ttl:
                found[owner] = max(found[owner], other.ttl)
        return dict(found)

    def _shown(self) -> Known:
        """Return the combinations at owners all of whose records every server shows.

        Owner by owner: one that is refused, or somebody's delegation, holds up no other (I6).
        """
        assert self.seen is not None
        found: set[tuple[DomainName, Combination]] = set()
        for owner, some in self.content.items():
            wanted = frozenset((owner, one) for one in some.records)
            answers = _reached([self.answer(one, wanted) for one in self.seen.servers], self.seen)
            if answers and not any(one.missing or one.silent for one in answers):
                found |= {(owner, record.combination) for record in some.records}
        return frozenset(found)

    def sight(self, cert: CertId, state: CertState) -> Sighting | None:
        """Return what the last look tells of the records of a set on deck; None: not yet."""
        mine = self._mine(cert)
        if self.seen is None or mine is None or mine.coming is None:
            return None
        share = self.share(cert)
        others = self.kept_by_others(cert)
        if not _is_coming(state, mine) or share.held or not (share.coming or others):
            return None
        answers = []
        for one in self.seen.servers if share.coming else ():
            answer = self.answer(one, share.needed)
            if not answer.silent and not answer.missing:
                answer = replace(answer, missing=_stronger(one, share.coming))
            answers.append(answer)
        answers = _reached(answers, self.seen)
        answers += [self._answer_of(owner, one, cert, mine) for owner, one in others.items()]
        known = digests(share.needed) | {f"{owner} at {one.at}" for owner, one in others.items()}

        def again(old: Sighting | None, heard: list[Answer]) -> Sighting:
            assert self.seen is not None
            return look_again(
                old,
                name=mine.coming,
                records=known,
                ttl=self.ttl_of(cert),
                answers=heard,
                now=self.seen.at,
                began=self.seen.began,
                ended=self.seen.ended,
            )

        self.apart[cert] = again(self.apart.get(cert), [one for one in answers if not one.silent])
        return again(state.sighting, answers)

    def _answer_of(
        self, owner: DomainName, seen: Elsewhere, cert: CertId, mine: CertWish
    ) -> Answer:
        """Return what lacks, for the set on deck, of records that others keep."""
        where = owner.text if owner == seen.at else f"{owner} (a CNAME to {seen.at})"
        if seen.problem:
            return Answer(where, silent=f"cannot be looked at: {seen.problem}")
        assert self.given is not None
        assert mine.coming is not None
        material = self.given.materials.get(cert, {}).get(mine.coming)
        if material is not None and fits(material, seen.records) is not None:
            return Answer(where)
        wants = self.given.wants.get(cert, {})
        made = records_for(material, owner, wants) if material is not None else []
        record = f" {made[0][1]}" if made else ""
        return Answer(where, f"has no record of the set on deck; add TLSA{record} there")

    def _mine(self, cert: CertId) -> CertWish | None:
        certs = self.wish.certs if self.wish is not None else ()
        return next((one for one in certs if one.cert == cert), None)

    def answer(
        self, server: ServerSeen, wanted: frozenset[Owned], *, stale: bool = False
    ) -> Answer:
        """Return what one server lacks of `wanted`; `stale`: nor may it show what is withdrawn."""
        name = str(server.server)
        if server.silent or server.out_of_reach:
            return Answer(name, silent=server.silent or server.out_of_reach)
        if missing := sorted(missing_at(server, wanted)):
            return Answer(name, _lacks(server, missing))
        for owner in sorted({owner for owner, _ in wanted}):
            if fault := self._fault(server, owner):
                return Answer(name, fault)
        if stale and (old := self._stale(server)):
            return Answer(name, old)
        return Answer(name)

    def _stale(self, server: ServerSeen) -> str:
        """Return what a server still shows that was withdrawn."""
        assert self.notes is not None
        for owner in sorted({owner for owner, _ in self.notes.fading}):
            ours = self.content[owner].records if owner in self.content else frozenset()
            one = server.owners.get(owner)
            # What stands at the end of a CNAME is another owner's.
            if one is not None and not (one.cname or one.is_cut) and one.records - ours:
                return f"still shows {owner} TLSA records that were withdrawn"
        return ""

    def _fault(self, server: ServerSeen, owner: DomainName) -> str:
        """Return what is wrong with how a server shows what it has at `owner`."""
        assert self.notes is not None
        assert self.seen is not None
        one = server.owners.get(owner)
        if one is None:
            return ""
        if one.signed_until is None and self.notes.signed:
            return (
                f"serves {owner} TLSA without signatures, in a zone that was signed; see to its "
                "DNSSEC"
            )
        if one.signed_until is not None and one.signed_until <= self.seen.at:
            until = clock(one.signed_until)
            return f"serves signatures of {owner} TLSA that expired on {until}; see to its DNSSEC"
        return ""

    def spare(self, cert: CertId) -> frozenset[DomainName]:
        """Return the owners of a certificate that no client asks for while the zone has MX hosts.

        `'MX'` stands for the apex as well, which takes the mail of a zone without any (RFC 5321
        §5.1).
        """
        mine, notes = self._mine(cert), self.notes
        apex = DomainName(self.name.text)
        if mine is None or notes is None or not notes.mx or apex in notes.mx:
            return frozenset()
        others = tuple(one for one in mine.entries if one.hosts is not TlsaHosts.MX)
        asked = wants_of(others, self.name, mine.names, ())
        mail = wants_of(mine.entries, self.name, mine.names, ())
        return frozenset(mail.keys() - asked.keys())

    def is_taken(self) -> bool:
        """Whether a name server serves just what was written last."""
        wanted, before = owned(self.content), self._before()
        return any(
            not missing_at(one, wanted) and not (surplus(one, wanted) & before)
            for one in self._heard()
        )

    def is_ignored(self) -> bool:
        """Whether no name server has taken anything of what was written last."""
        wanted, before = owned(self.content), self._before()
        fresh, gone = wanted - before, before - wanted
        heard = self._heard()
        return bool((fresh or gone) and heard) and all(
            fresh <= missing_at(one, wanted) and gone <= surplus(one, wanted) for one in heard
        )

    def _before(self) -> frozenset[Owned]:
        return owned(self.replaced or {})

    def _heard(self) -> list[ServerSeen]:
        servers = self.seen.servers if self.seen is not None else ()
        return [one for one in servers if not one.silent and not one.out_of_reach]

    def shown_to_clients(self) -> dict[DomainName, frozenset[Tlsa]]:
        """Return the records at each owner that every server that answered shows.

        And those that others keep, for the owners that lead there.
        """
        common: dict[DomainName, frozenset[Tlsa]] = {}
        for server in self.seen.servers if self.seen is not None else ():
            if server.silent or server.out_of_reach:
                continue
            for owner, one in server.owners.items():
                common[owner] = common.get(owner, one.records) & one.records
        common |= {o: one.records for o, one in self.elsewhere.items() if not one.problem}
        return common

    @property
    def unsigned(self) -> bool:
        """Whether every name server that answered serves the records without signatures."""
        if self.seen is None or (self.notes is not None and self.notes.signed):
            return False
        found = [
            one
            for server in self.seen.servers
            for owner, one in server.owners.items()
            if owner in self.content and one.records
        ]
        return bool(found) and all(one.signed_until is None for one in found)


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


def unsigned_text(zone: ZoneName) -> str:
    """Return what DANE needs that an unsigned zone lacks."""
    return (
        f"zone {zone} is not signed, so nobody heeds its TLSA records (RFC 7672 §2.1): DANE needs "
        "DNSSEC; sign the zone (BIND: dnssec-policy) and have its DS put into the zone above, or "
        "remove dane_tls"
    )


def _is_coming(state: CertState, mine: CertWish) -> bool:
    """Whether the set on deck is still the one, and as complete, as DNS was told of."""
    next_ = state.next
    if next_ is None or mine.coming is None:
        return next_ is None and mine.coming is None
    return next_.name == mine.coming and (next_.cert is not None) == mine.certified


def _all_signed(seen: Seen) -> bool:
    shown = [one for server in seen.servers for one in server.owners.values() if one.records]
    return bool(shown) and all(one.signed_until is not None for one in shown)


def _reached(answers: list[Answer], seen: Seen) -> list[Answer]:
    """Leave out servers that this machine has no way to, as long as there are others."""
    lost = {str(one.server) for one in seen.servers if one.out_of_reach}
    near = [one for one in answers if one.server not in lost]
    return near or answers


def _stronger(server: ServerSeen, coming: frozenset[Owned]) -> str:
    """Return what would keep clients from records of a set on deck that are there, "" if nothing.

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
            return (
                f"serves {owner} TLSA {short(min(stronger))}, a stronger digest than the set on "
                "deck has there"
            )
    return ""


def _lacks(server: ServerSeen, missing: list[Owned]) -> str:
    owners = list(dict.fromkeys(owner for owner, _ in missing))
    faults = [server.owners[owner].fault for owner in owners if owner in server.owners]
    if fault := next(filter(None, faults), ""):
        return fault
    some = ", ".join(f"{owner} TLSA {short(record)}" for owner, record in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"lacks {some}{more}"


def short(record: object) -> str:
    """Return the beginning of a record."""
    text = str(record)
    return text if len(text) <= 24 else f"{text[:20]}…"


def _held(share: Share, notes: ZoneNotes | None) -> str:
    if share.lacking:
        owner, numbers = min(share.lacking)
        return (
            f"{owner} {numbers} cannot be made of a certificate in use (its chain has no issuer); "
            "mend dane_tls"
        )
    known = (notes.known if notes is not None else None) or frozenset()
    if unmade := share.held & known:
        owner, numbers = min(unmade)
        return (
            f"{owner} {numbers} cannot be made of the set on deck (it has no certificate yet, or "
            "its chain no issuer); mend dane_tls, or: sslmctl force-renew"
        )
    if share.held:
        owner, numbers = min(share.held)
        return f"{owner} {numbers} is new there, and published for the key in use first"
    return ""


def cert_wish(entry: Standing, service: ServiceConfig) -> CertWish:
    """Return a certificate as its zone has to know it."""
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
        cert=service.id,
        entries=service.dane,
        ttl=service.dane_ttl,
        names=service.spec.all_names(),
        serving=tuple(serving),
        coming=coming,
        certified=certified,
        proven=proven,
        # What servers use now, if anything, is told by DNS alone: also after the first roll, until
        # they are proven. The service may have had another name before, or lost its state.toml.
        unsure=not served or bool(entry.hold) or not (proven or state.retired),
        proves=entry.proves,
    )
