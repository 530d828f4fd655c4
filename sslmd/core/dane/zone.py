"""One zone with TLSA records: what it was given, what it was seen serving, what follows (I4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sslmd.core.dane.content import CertWish, Given, Wish, ZoneNotes, held, held_by, is_coming
from sslmd.core.dane.places import Elsewhere, Ends, Fate, Place, Places, fits
from sslmd.core.dane.sighting import (
    NameServersSeen,
    Sighting,
    TlsaSeen,
    digests,
    missing_at,
    surplus,
)
from sslmd.core.dane.tlsa import (
    Content,
    Others,
    Owned,
    Share,
    Tlsa,
    TlsaHosts,
    association,
    owned,
    port_of,
    wants_of,
)
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
from sslmd.core.errors import Trouble
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.state import CertState
from sslmd.core.view import Standing

# An owner, a name server, where it says that a CNAME leads, and whether to a zone below.
Doubt = tuple[DomainName, str, str, bool]


@dataclass(slots=True)
class KnownZone:
    """What is known of a zone.

    `wish` is what DNS was given last, as `given`; None: nothing since the start. `tried`: what
    publishing was tried for last.

    `noted`: what may be in DNS, while nothing could be given. `elsewhere`: what the last look found
    of records that others keep, `others` of those beside ours at owners of the zone. `doubts`: what
    name servers showed that does not go with the places that were found. `apart`: the sightings by
    those servers alone that answer. `replaced`: what was in DNS before the changes that no name
    server was seen to take yet, None if there are none.

    `failed`: how publishing failed last, without a text where ports are not ready for records.
    `look_trouble`: why looking failed last, "" if it did not.
    """

    name: ZoneName
    certs: set[CertId] = field(default_factory=set)
    notes: ZoneNotes | None = None
    wish: Wish | None = None
    tried: Wish | None = None
    given: Given | None = None
    noted: Content = field(default_factory=dict)
    seen: NameServersSeen | None = None
    sighting: Sighting | None = None
    elsewhere: Mapping[DomainName, Elsewhere] = field(default_factory=dict)
    others: Others = field(default_factory=dict)
    doubts: frozenset[Doubt] = frozenset()
    apart: dict[CertId, Sighting] = field(default_factory=dict)
    replaced: Content | None = None
    failed: Trouble | None = None
    look_trouble: str = ""

    @property
    def trouble(self) -> str:
        """Why publishing failed last, "" if it did not."""
        return self.failed.text if self.failed is not None else ""

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
        every = {*self.content, *before, *faded, *self._wanted_owners(), *self.places}
        # The end of a host that is a CNAME may be in another zone.
        return {owner for owner in every if owner.is_within(self.name)}

    @property
    def places(self) -> Places:
        """Where owners have their records, if not there."""
        return self.given.places if self.given is not None else {}

    @property
    def ends(self) -> Ends:
        """Where clients look before they look at an owner."""
        return self.given.ends if self.given is not None else {}

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
        certs = self.given.wants if self.given is not None else {}
        shares = self.given.content.shares.values() if self.given is not None else ()
        held = {owner for one in shares for owner, _ in (*one.held, *one.lacking)}
        return held | {owner for cert in certs for owner in self._owners_of(cert)}

    # --- what a certificate has to know ---

    def dane(self, cert: CertId, entry: Standing) -> Dane:
        """Return what is known of a certificate's records."""
        if fading := self._fading(cert, entry):
            until = self.sighting.opens_at if self.sighting is not None else None
            mine = self.mine(cert) if entry.wanted.dane else None
            entries = mine.entries if mine is not None else ()
            return Withdrawn(fading, until, frozenset(one.usage for one in entries))
        if not entry.wanted.dane:
            return NoRecords()
        if self.tried is None:
            return Unknown()
        mine = self.mine(cert)
        if self.given is None or mine is None:
            # Nothing could be given to DNS yet. What is served is not put at risk for that.
            return Unknown(CheckedPorts(), self.trouble)
        state, share = entry.state, self.share(cert)
        owners = self._owners_of(cert)
        others = self.waited_for(cert)
        unknown = self._unknown(cert, mine)
        asked = self.given.asked_at(cert, owners) | others.keys()
        ports = CheckedPorts(
            tuple(sorted(filter(None, map(port_of, asked)))),
            self.ttl_of(cert),
            frozenset(one.usage for one in mine.entries),
        )
        trouble = self.trouble or self.look_trouble
        if not is_coming(state, mine):
            return Unknown(ports, trouble)
        if not (others or unknown):
            unseen = self._unseen(owners | self._undecided(cert).keys(), mine)
            if unseen is None:
                return NoRecords()
            if unseen:
                return Unknown(ports, trouble or unseen)
        if not (share.held or others or unknown) and self._is_served(cert, state, share):
            return Everywhere(ports)
        if why := held(share, self.notes, serving=bool(mine.serving)) or unknown:
            return HeldBack(ports, why)
        sighting, silent = state.sighting, self._silent(cert, mine)
        if sighting is not None and sighting.set != mine.coming:
            sighting = None
        if self.look_trouble:
            # Nothing is seen now, so the wait does not end; in need, what was seen counts.
            if silent:
                return Counting(ports, sighting, trouble, silent)
            return Unknown(ports, self.look_trouble)
        return counted(ports, sighting, trouble, silent)

    def _owners_of(self, cert: CertId) -> set[DomainName]:
        """Return where a certificate has its records, and where it would have them."""
        share = self.share(cert)
        wants = self.given.written_of(cert) if self.given is not None else {}
        return {*wants, *(owner for owner, _ in (*share.needed, *share.held))}

    def _unseen(self, owners: set[DomainName], mine: CertWish) -> str | None:
        """Return why it is not known whether clients find records of any key at these owners.

        "": they may; None: they do not. Before the first set is served, every name server has to
        be seen without any: whose keys its ports serve until then is not known here.
        """
        if self.given is None or (self.given.ours and owners & {*self.content, *self.given.before}):
            return ""
        if self.seen is None:
            # What is served already is not put at risk.
            return "" if mine.serving else "what its name servers show is being looked up"
        if any(map(self._shows_records, owners)):
            return ""
        if mine.serving:
            return None
        servers = self.seen.servers
        near = [one for one in servers if not one.out_of_reach] or list(servers)
        for server in near:
            if why := server.silent or server.out_of_reach:
                return f"{server.server} {why}"
            for owner in sorted(owners):
                one = server.owners.get(owner)
                # What is in a zone below is for that zone to show.
                if one is None or (one.fault and not (one.is_cut and owner in self.places)):
                    return f"{server.server} {one.fault if one else 'was not asked'}".rstrip()
        return None

    def kept_by_others(self, cert: CertId) -> dict[DomainName, Elsewhere]:
        """Return what clients check of a certificate's that others write, as far as is known."""
        places = self.given.places_of(cert) if self.given is not None else {}
        found = {
            owner: self.elsewhere.get(owner, Elsewhere(place.at, problem="is not looked at yet"))
            for owner, place in places.items()
            if place.is_checked_elsewhere
        }
        for first in self.ends_of(cert).values():
            unseen = Elsewhere(first, problem="is not looked at yet")
            found.setdefault(first, self.elsewhere.get(first, unseen))
        return {owner: one for owner, one in found.items() if one.counts}

    def waited_for(self, cert: CertId) -> dict[DomainName, Elsewhere]:
        """Return what of that a roll waits for.

        Where the records go with none of the certificate's keys, clients refuse it as it is: no
        roll makes that worse, and somebody else's host must not keep it from being renewed.
        """
        materials = self.given.materials.get(cert, {}) if self.given is not None else {}
        return {
            owner: one
            for owner, one in self.kept_by_others(cert).items()
            if one.problem or any(fits(some, one.records) for some in materials.values())
        }

    def ends_of(self, cert: CertId) -> dict[DomainName, DomainName]:
        """Return where clients look before a certificate's owners, whose hosts are CNAMEs."""
        return self.given.ends_of(cert) if self.given is not None else {}

    def looked_at(self, cert: CertId) -> set[DomainName]:
        """Return the owners whose ports are to be looked at: each once, however it is called."""
        if self.given is None:
            return set()
        written = {owner for owner, _ in self.share(cert).serving}
        firsts = set(self.ends_of(cert).values())
        others = self.kept_by_others(cert).keys() - firsts
        # Where nothing is written, clients may still look: at the end of a host that is a CNAME.
        return self.given.asked_at(cert, written) | others

    def _unknown(self, cert: CertId, mine: CertWish) -> str:
        """Return why it is not known where a certificate has its records, "" if it is.

        Before its first set is served, that counts only where name servers show records: nobody
        checks a port that has none.
        """
        whys = (
            place.why
            for owner, place in self._undecided(cert).items()
            if mine.serving or self._shows_records(owner)
        )
        return min(whys, default="")

    def _shows_records(self, owner: DomainName) -> bool:
        shown = (one.owners.get(owner) for one in (self.seen.servers if self.seen else ()))
        return any(one is not None and one.records for one in shown)

    def _undecided(self, cert: CertId) -> dict[DomainName, Place]:
        """Return the owners of a certificate of which it is not known where their records are."""
        places = self.given.places_of(cert) if self.given is not None else {}
        return {owner: one for owner, one in places.items() if one.fate is Fate.UNKNOWN}

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

    def mine(self, cert: CertId) -> CertWish | None:
        """Return what DNS was given last for a certificate."""
        certs = self.wish.certs if self.wish is not None else ()
        return next((one for one in certs if one.cert == cert), None)

    def spare(self, cert: CertId) -> frozenset[DomainName]:
        """Return the owners of a certificate that no client asks for while the zone has MX hosts.

        `'MX'` stands for the apex as well, which takes the mail of a zone without any (RFC 5321
        §5.1).
        """
        mine, notes = self.mine(cert), self.notes
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

    def _heard(self) -> list[TlsaSeen]:
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
        # RFC 7671 §7: with a host that is a CNAME, what is at its end comes first.
        common |= {owner: common[end] for owner, end in self.ends.items() if common.get(end)}
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
