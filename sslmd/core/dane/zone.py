"""One zone with TLSA records: what it was given, what it was seen serving, what follows (I4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sslmd.core.dane.content import (
    NOTHING_GIVEN,
    CertWish,
    Given,
    Wish,
    ZoneNotes,
)
from sslmd.core.dane.places import Elsewhere, Ends, Places, fits
from sslmd.core.dane.sighting import (
    FIRST_PAUSE,
    NameServersSeen,
    Sighting,
    TlsaSeen,
    missing_at,
    surplus,
)
from sslmd.core.dane.tlsa import (
    Content,
    Others,
    Share,
    Tlsa,
    TlsaHosts,
    owned,
    wants_of,
)
from sslmd.core.errors import Trouble
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.reason import Reason, said
from sslmd.core.seen import InDns

# An owner, a name server, where it says that a CNAME leads, and whether to a zone below.
Doubt = tuple[DomainName, str, str, bool]

_NOTHING_NOTED = ZoneNotes()


@dataclass(frozen=True, slots=True)
class KnownZone:
    """What is known of a zone; `core.dane.events` changes it.

    `wish` is what DNS was given last, as `given`; None: nothing since the start. `tried`: what
    publishing was tried for last. `again`: it is to be tried again, even for the same.

    `servers`: who was asked in the last look, as `dns` names them. `elsewhere`: what it found
    of records that others keep, `others` of those beside ours at owners of the zone. `doubts`: what
    name servers showed that does not go with the places that were found. `apart`: the sightings by
    those servers alone that answer. `replaced`: what was in DNS before the changes that no name
    server was seen to take yet, None if there are none.

    `failed`: how publishing failed last, without a text where ports are not ready for records.
    `look_trouble`: why looking failed last, `unsaved`: why notes were not written; None: they were.
    `late`: whose set on deck waits for its records for too long. `doubted`: the last comparison
    found something wrong. `stamps`: of the include files, as they were left. `remarks`: what people
    were told; `warned_unsigned`: also that its records are not signed.

    Times (`_at`) are in seconds of a clock that nobody sets: when it is looked at, compared, has
    its MX hosts and owners looked up again (0: not), publishing is tried again, include files are
    compared. `changed_at`: when DNS was given something new. `look_pause`: seconds to the next look
    while none succeeds.
    """

    name: ZoneName
    certs: frozenset[CertId] = frozenset()
    notes: ZoneNotes | None = None
    wish: Wish | None = None
    tried: Wish | None = None
    given: Given | None = None
    again: bool = False
    seen: NameServersSeen | None = None
    servers: tuple[Any, ...] = ()
    sighting: Sighting | None = None
    elsewhere: Mapping[DomainName, Elsewhere] = field(default_factory=dict)
    others: Others = field(default_factory=dict)
    doubts: frozenset[Doubt] = frozenset()
    apart: Mapping[CertId, Sighting] = field(default_factory=dict)
    replaced: Content | None = None
    failed: Trouble | None = None
    look_trouble: Reason | None = None
    unsaved: Reason | None = None
    late: frozenset[CertId] = frozenset()
    doubted: bool = False
    stamps: tuple[object, ...] = ()
    remarks: frozenset[Reason] = frozenset()
    warned_unsigned: bool = False
    look_at: float = 0.0
    look_pause: float = FIRST_PAUSE
    watch_at: float = 0.0
    mx_at: float = 0.0
    places_at: float = 0.0
    retry_at: float = 0.0
    files_at: float = 0.0
    changed_at: float = 0.0

    @property
    def _given(self) -> Given:
        return self.given or NOTHING_GIVEN

    @property
    def noted(self) -> ZoneNotes:
        """The notes, as far as they were read."""
        return self.notes or _NOTHING_NOTED

    @property
    def shown(self) -> tuple[TlsaSeen, ...]:
        """What each name server showed in the last look."""
        return self.seen.servers if self.seen is not None else ()

    @property
    def heard(self) -> list[TlsaSeen]:
        """The same of those that answered."""
        return [one for one in self.shown if not one.silent and not one.out_of_reach]

    @property
    def has_records(self) -> bool:
        """Whether records of ours are, or may be, in DNS or in caches."""
        return self.given is not None and bool(self.certs or self.noted.fading)

    @property
    def trouble(self) -> Reason | None:
        """Why publishing failed last, None if it did not."""
        failed = self.failed
        return (failed.reason or said(failed.text)) if failed is not None and failed.text else None

    @property
    def content(self) -> Content:
        """What DNS was given."""
        return self._given.content.records

    def share(self, cert: CertId) -> Share:
        """Return what of it is a certificate's."""
        return self._given.content.shares.get(cert, Share())

    def owners(self) -> set[DomainName]:
        """Return the names to be asked for: what is served, and what was before."""
        given = self._given
        faded = (owner for owner, _ in self.noted.fading)
        shares = given.content.shares.values()
        held = (owner for one in shares for owner, _ in (*one.held, *one.lacking))
        wanted = (owner for cert in given.wants for owner in self.owners_of(cert))
        every = {*self.content, *given.before, *faded, *held, *wanted, *self.places}
        # The end of a host that is a CNAME may be in another zone.
        return {owner for owner in every if owner.is_within(self.name)}

    @property
    def places(self) -> Places:
        """Where owners have their records, if not there."""
        return self._given.places

    @property
    def ends(self) -> Ends:
        """Where clients look before they look at an owner."""
        return self._given.ends

    def surprises(self) -> frozenset[Doubt]:
        """Return what the last look shows that does not go with the places that were found."""
        found = set()
        for server in self.shown:
            for owner, one in server.owners.items():
                place = self.places.get(owner)
                if owner in self.content or place is not None:
                    known = (None, False) if place is None else (place.cname, place.is_cut)
                    is_told = not one.fault or one.cname is not None or one.is_cut
                    if is_told and (one.cname, one.is_cut) != known:
                        found.add((owner, str(server.server), str(one.cname), one.is_cut))
        return frozenset(found)

    def owners_of(self, cert: CertId) -> set[DomainName]:
        """Return where a certificate has its records, and where it would have them."""
        share = self.share(cert)
        written = self._given.written_of(cert)
        return {*written, *(owner for owner, _ in (*share.needed, *share.held))}

    def kept_by_others(self, cert: CertId) -> dict[DomainName, Elsewhere]:
        """Return what clients check of a certificate's that others write, as far as is known."""
        found = {
            owner: self.elsewhere.get(owner, Elsewhere(place.at, problem=Reason(InDns.NOT_YET)))
            for owner, place in self._given.places_of(cert).items()
            if place.is_checked_elsewhere
        }
        for first in self.ends_of(cert).values():
            unseen = Elsewhere(first, problem=Reason(InDns.NOT_YET))
            found.setdefault(first, self.elsewhere.get(first, unseen))
        return {owner: one for owner, one in found.items() if one.counts}

    def waited_for(self, cert: CertId) -> dict[DomainName, Elsewhere]:
        """Return what of that a roll waits for.

        Where the records go with none of the certificate's keys, clients refuse it as it is: no
        roll makes that worse, and somebody else's host must not keep it from being renewed.
        """
        materials = self._given.materials.get(cert, {})
        return {
            owner: one
            for owner, one in self.kept_by_others(cert).items()
            if one.problem or any(fits(some, one.records) for some in materials.values())
        }

    def ends_of(self, cert: CertId) -> dict[DomainName, DomainName]:
        """Return where clients look before a certificate's owners, whose hosts are CNAMEs."""
        return self._given.ends_of(cert)

    def looked_at(self, cert: CertId) -> set[DomainName]:
        """Return the owners whose ports are to be looked at: each once, however it is called."""
        written = {owner for owner, _ in self.share(cert).serving}
        firsts = set(self.ends_of(cert).values())
        others = self.kept_by_others(cert).keys() - firsts
        # Where nothing is written, clients may still look: at the end of a host that is a CNAME.
        return self._given.asked_at(cert, written) | others

    def ttl_of(self, cert: CertId) -> int:
        """Return the longest that caches may hold a record of a certificate's ports, in seconds.

        One that others wrote at the owner of another certificate is none of its business (I6).
        """
        share = self.share(cert)
        owners = {owner for owner, _ in (*share.needed, *share.held)}
        asked = self._given.asked_at(cert, owners)
        return self.noted.ttl_at({*owners, *asked, *self.kept_by_others(cert)})

    def mine(self, cert: CertId) -> CertWish | None:
        """Return what DNS was given last for a certificate."""
        certs = self.wish.certs if self.wish is not None else ()
        return next((one for one in certs if one.cert == cert), None)

    def spare(self, cert: CertId) -> frozenset[DomainName]:
        """Return the owners of a certificate that no client asks for while the zone has MX hosts.

        `'MX'` stands for the apex as well, which takes the mail of a zone without any (RFC 5321
        §5.1).
        """
        mine, mx = self.mine(cert), self.noted.mx
        if mine is None or not mx or DomainName(self.name.text) in mx:
            return frozenset()
        others = tuple(one for one in mine.entries if one.hosts is not TlsaHosts.MX)
        asked = wants_of(others, self.name, mine.names, ())
        mail = wants_of(mine.entries, self.name, mine.names, ())
        return frozenset(mail.keys() - asked.keys())

    def is_taken(self) -> bool:
        """Whether a name server serves just what was written last."""
        wanted, before = owned(self.content), owned(self.replaced or {})
        return any(
            not missing_at(one, wanted) and not (surplus(one, wanted) & before)
            for one in self.heard
        )

    def is_ignored(self) -> bool:
        """Whether no name server has taken anything of what was written last."""
        wanted, before = owned(self.content), owned(self.replaced or {})
        fresh, gone = wanted - before, before - wanted
        heard = self.heard
        return bool((fresh or gone) and heard) and all(
            fresh <= missing_at(one, wanted) and gone <= surplus(one, wanted) for one in heard
        )

    def shown_to_clients(self) -> dict[DomainName, frozenset[Tlsa]]:
        """Return the records at each owner that every server that answered shows.

        And those that others keep, for the owners that lead there.
        """
        common: dict[DomainName, frozenset[Tlsa]] = {}
        for server in self.heard:
            for owner, one in server.owners.items():
                common[owner] = common.get(owner, one.records) & one.records
        common |= {o: one.records for o, one in self.elsewhere.items() if not one.problem}
        # RFC 7671 §7: with a host that is a CNAME, what is at its end comes first.
        common |= {owner: common[end] for owner, end in self.ends.items() if common.get(end)}
        return common

    @property
    def unsigned(self) -> bool:
        """Whether every name server that answered serves the records without signatures."""
        if self.noted.signed:
            return False
        found = [
            one
            for server in self.shown
            for owner, one in server.owners.items()
            if owner in self.content and one.records
        ]
        return bool(found) and all(one.signed_until is None for one in found)
