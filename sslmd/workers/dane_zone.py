"""One zone with TLSA records: what it was given, what it was seen serving, what follows (I4)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sslmd.config.model import ServiceConfig
from sslmd.core.names import BadName, CertId, DomainName, ZoneName, covers
from sslmd.core.roll_wait import issued_at
from sslmd.core.sighting import FIRST_PAUSE, Answer, Sighting, digests, look_again
from sslmd.core.standing import Standing
from sslmd.core.state import CertState, Phase
from sslmd.core.times import clock
from sslmd.core.tlsa import (
    Combination,
    Content,
    Known,
    Owned,
    Share,
    Tlsa,
    association,
    endpoint_of,
    heeded,
    owned,
)
from sslmd.core.view import Dane
from sslmd.dns.ask import NameServer
from sslmd.dns.tlsa_look import ServerSeen, missing_at, surplus
from sslmd.store.zone_notes import Holders, ZoneNotes
from sslmd.workers.dane import Finding
from sslmd.workers.tlsa import CertWish, Given, Seen, Wish

# Records that one message names.
_NAMED = 3


@dataclass(slots=True)
class Zone:
    """`wish` is what DNS was given last, as `given`; None: nothing since the start. `tried`: what
    publishing was tried for last. `queued`: certificates whose roll waits for the turn. `servers`:
    those of the last look.

    `noted`: what may be in DNS, while nothing could be given.

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
    changed_at: float = 0.0
    doubted: bool = False
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
        return {*self.content, *before, *(owner for owner, _ in fading), *self._wanted_owners()}

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
        fits = mine.coming is None or _is_coming(entry.state, mine)
        return Dane(
            next=mine.coming if fits else None,
            checked=self._checked(owners, mine),
            unchanged=not share.held and self._is_served(cert, entry.state, share),
            current=current,
            trouble=self.trouble or self.look_trouble,
            unseen=self.look_trouble,
            held=_held(share, self.notes),
            ports=tuple(sorted(filter(None, map(_port_of, owners)))),
            ttl=self.ttl,
            fading=fading,
            fading_until=until,
        )

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
        pairs = self.notes.fading if self.notes is not None else frozenset()
        return min((owner.text for owner, _ in held_by(pairs, cert, entry)), default="")

    @property
    def ttl(self) -> int:
        """The longest that caches may hold a record of ours, in seconds."""
        return self.notes.ttl if self.notes is not None else 0

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
        notes = self.notes
        if _all_signed(seen):
            notes = replace(notes, signed=True)
        content = self.content
        wanted = owned(content)
        answers = [self._answer(one, wanted, ttls=True) for one in seen.servers]
        ttls = frozenset(f"{owner} {some.ttl}" for owner, some in content.items())
        gone = frozenset(f"{owner} {whose} gone" for owner, whose in notes.fading)
        self.sighting = look_again(
            self.sighting,
            name=None,
            records=digests(wanted) | ttls | gone,
            ttl=notes.ttl,
            answers=_reached(answers, seen),
            now=seen.at,
            began=seen.began,
            ended=seen.ended,
        )
        notes = replace(notes, known=(notes.known or frozenset()) | self._shown())
        if self.sighting.complete and self.wish is not None:
            # What caches held before is gone.
            longest = max((some.ttl for some in content.values()), default=0)
            if self.given is not None and self.given.of_others:
                longest = max(longest, _longest(seen))
            notes = replace(notes, ttl=longest, fading=frozenset())
        changed = notes != self.notes
        self.notes = notes
        return changed

    def _shown(self) -> Known:
        """Return the combinations at owners all of whose records every server shows.

        Owner by owner: one that is refused, or somebody's delegation, holds up no other (I6).
        """
        assert self.seen is not None
        found: set[tuple[DomainName, Combination]] = set()
        for owner, some in self.content.items():
            wanted = frozenset((owner, one) for one in some.records)
            answers = _reached([self._answer(one, wanted) for one in self.seen.servers], self.seen)
            if answers and not any(one.missing or one.silent for one in answers):
                found |= {(owner, record.combination) for record in some.records}
        return frozenset(found)

    def sight(self, cert: CertId, state: CertState) -> Sighting | None:
        """Return what the last look tells of the records of a set on deck; None: not yet."""
        mine = self._mine(cert)
        if self.seen is None or mine is None or mine.coming is None:
            return None
        share = self.share(cert)
        if not _is_coming(state, mine) or share.held or not share.coming:
            return None
        answers = []
        for one in self.seen.servers:
            answer = self._answer(one, share.needed)
            if not answer.silent and not answer.missing:
                answer = replace(answer, missing=_stronger(one, share.coming))
            answers.append(answer)
        return look_again(
            state.sighting,
            name=mine.coming,
            records=digests(share.needed),
            ttl=self.ttl,
            answers=_reached(answers, self.seen),
            now=self.seen.at,
            began=self.seen.began,
            ended=self.seen.ended,
        )

    def _mine(self, cert: CertId) -> CertWish | None:
        certs = self.wish.certs if self.wish is not None else ()
        return next((one for one in certs if one.cert == cert), None)

    def _answer(
        self, server: ServerSeen, wanted: frozenset[Owned], *, ttls: bool = False
    ) -> Answer:
        """Return what one server lacks of `wanted`; `ttls`: right lifetimes count as well."""
        name = str(server.server)
        if server.silent or server.out_of_reach:
            return Answer(name, silent=server.silent or server.out_of_reach)
        if missing := sorted(missing_at(server, wanted)):
            return Answer(name, _lacks(server, missing))
        for owner in sorted({owner for owner, _ in wanted}):
            if fault := self._fault(server, owner, ttls=ttls):
                return Answer(name, fault)
        if ttls and (stale := self._stale(server)):
            return Answer(name, stale)
        return Answer(name)

    def _stale(self, server: ServerSeen) -> str:
        """Return what a server still shows that was withdrawn."""
        assert self.notes is not None
        for owner in sorted({owner for owner, _ in self.notes.fading}):
            ours = self.content[owner].records if owner in self.content else frozenset()
            if owner in server.owners and server.owners[owner].records - ours:
                return f"still shows {owner} TLSA records that were withdrawn"
        return ""

    def _fault(self, server: ServerSeen, owner: DomainName, *, ttls: bool) -> str:
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
        of_others = self.given is not None and self.given.of_others
        if ttls and not of_others and self.content[owner].ttl != one.ttl:
            return f"serves {owner} TLSA with a TTL of {one.ttl} s"
        return ""

    def findings(
        self, cert: CertId, state: CertState, now: datetime, limit: timedelta
    ) -> list[Finding]:
        """Return what the last look tells of a certificate's records, server by server.

        `limit`: for how long a set on deck may wait for its records before that is told.
        """
        if self.look_trouble or self.seen is None:
            return [Finding("DNS", self.look_trouble or "not looked at yet", wrong=True)]
        needed = self.share(cert).serving
        owners = {owner for owner, _ in needed}
        found = [Finding("DNS", self.trouble, wrong=True)] if self.trouble else []
        if late := _late(state, now, limit):
            found.append(Finding("on deck", late, wrong=True))
        for whose, text in self.given.unfit.values() if self.given is not None else ():
            if whose == cert:
                found.append(Finding("not published", text, wrong=True))
        before = self.given.before if self.given is not None else {}
        ours = owned(self.content) | owned(before)
        for server in self.seen.servers:
            answer = self._answer(server, needed)
            where = f"name server {answer.server}"
            if server.out_of_reach:
                found.append(Finding(where, f"not asked: it {server.out_of_reach}"))
                continue
            if problem := answer.silent or answer.missing:
                found.append(Finding(where, problem, wrong=True))
                continue
            others = {(at, record) for at, record in surplus(server, ours) if at in owners}
            if others:
                owner, record = min(others)
                text = f"serves {owner} TLSA {_short(record)}, which is not ours; remove it there"
                found.append(Finding(where, text, wrong=True))
                continue
            count = len(needed)
            what = "record" if count == 1 else f"{count} records"
            text = f"shows the {what} of the keys in use" if count else "nothing to show"
            found.append(Finding(where, text))
        if self.unsigned:
            found.append(Finding("DNSSEC", unsigned_text(self.name), warning=True))
        return found

    def shown_everywhere(self) -> dict[DomainName, frozenset[Tlsa]]:
        """Return the records at each owner that every server that answered shows."""
        common: dict[DomainName, frozenset[Tlsa]] = {}
        for server in self.seen.servers if self.seen is not None else ():
            if server.silent or server.out_of_reach:
                continue
            for owner, one in server.owners.items():
                common[owner] = common.get(owner, one.records) & one.records
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


def _longest(seen: Seen) -> int:
    """Return the longest lifetime of the records that were shown, in seconds."""
    return max((one.ttl for server in seen.servers for one in server.owners.values()), default=0)


def _late(state: CertState, now: datetime, limit: timedelta) -> str:
    """Return for what a set on deck has been waiting too long, "" if it has not."""
    next_, sighting = state.next, state.sighting
    if next_ is None or next_.cert is None or state.phase is not Phase.ISSUED:
        return ""
    since = issued_at(next_, state.next_note)
    if now - since < limit or (sighting is not None and sighting.since is not None):
        return ""
    why = sighting.missing if sighting is not None else "they are not published"
    return f"set {next_.name} waits for its TLSA records since {clock(since)}: {why}"


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
                f"serves {owner} TLSA {_short(min(stronger))}, a stronger digest than the set on "
                "deck has there"
            )
    return ""


def _lacks(server: ServerSeen, missing: list[Owned]) -> str:
    owners = list(dict.fromkeys(owner for owner, _ in missing))
    faults = [server.owners[owner].fault for owner in owners if owner in server.owners]
    if fault := next(filter(None, faults), ""):
        return fault
    some = ", ".join(f"{owner} TLSA {_short(record)}" for owner, record in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"lacks {some}{more}"


def _short(record: object) -> str:
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


def _port_of(owner: DomainName) -> str:
    try:
        port, _, host = endpoint_of(owner)
    except BadName:
        return ""
    return f"{host}:{port}"


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
