"""TLSA records of a zone: what it should serve, having it served, and what it does serve (I4).

Three jobs of a zone, none of which waits: `publish` puts together what the certificates of the
zone have to say and gives it to DNS if that is something else than what was given before; `look`
asks every name server. What follows from it is decided elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

from sslmd.core.dane.places import Ends, Fate, Place, Places, Wants, asked_at, moved
from sslmd.core.dane.sighting import Instant
from sslmd.core.dane.tlsa import (
    Content,
    DaneEntry,
    Material,
    Others,
    Owned,
    Part,
    TlsaHosts,
    ZoneContent,
    combinations_of,
    content_of,
    owner_of,
    wants_of,
)
from sslmd.core.errors import SslmError, Transient
from sslmd.core.names import CertId, DomainName, SanName, SetName, ZoneName
from sslmd.dns import tlsa_publish
from sslmd.dns.ask import NameServer
from sslmd.dns.mx import mail_of
from sslmd.dns.nameservers import authoritative
from sslmd.dns.tlsa_look import ServerSeen
from sslmd.dns.tlsa_look import look_at as look_at_servers
from sslmd.pki.tlsa import material
from sslmd.store import sets
from sslmd.store.layout import CERT, CHAIN, CSR, PRIVKEY, Tree
from sslmd.store.zone_notes import ZONE_NOTE, ZoneNotes
from sslmd.workers import tlsa_rr
from sslmd.workers.dane import look as look_at
from sslmd.workers.dane import matches
from sslmd.workers.places import find_ends, find_places
from sslmd.workers.tools import Tools

_NO_PLACES: Places = {}
_NO_ENDS: Ends = {}
_NO_OTHERS: Others = {}

# MX hosts are looked up this often; a look-up that fails is tried again with the next one.
MX_AGAIN = timedelta(hours=23)

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


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
    changed: str
    outside: tuple[DomainName, ...]
    ours: bool
    remarks: tuple[str, ...]
    unfit: Mapping[DomainName, tuple[CertId, str]] = field(default_factory=dict)
    failure: SslmError | None = None
    of_others: bool = False
    wants: Mapping[CertId, Wants] = field(default_factory=dict)
    places: Places = field(default_factory=dict)
    ends: Ends = field(default_factory=dict)
    ends_problem: str = ""

    @property
    def unknown(self) -> frozenset[DomainName]:
        """The owners of which it is not known where their records belong."""
        return frozenset(o for o, place in self.places.items() if place.fate is Fate.UNKNOWN)

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


@dataclass(frozen=True, slots=True)
class ServersSeen:
    """What every name server showed, and when it was asked."""

    servers: tuple[ServerSeen, ...]
    began: Instant
    ended: Instant
    at: datetime


_NOTHING = LookedUp()


@lru_cache(maxsize=1)
def _boot() -> str:
    with suppress(OSError), open(_BOOT_ID, encoding="ascii") as file:
        return file.read().strip()
    return "unknown"


def instant() -> Instant:
    """Return the time by the clock that nobody sets (clock_gettime(2), CLOCK_BOOTTIME)."""
    return Instant(_boot(), time.clock_gettime(time.CLOCK_BOOTTIME))


async def publish(
    wish: Wish,
    notes: ZoneNotes,
    tools: Tools,
    *,
    again: bool = False,
    last: LookedUp = _NOTHING,
) -> Given:
    """Have DNS given what `wish` comes to; `again`: even if it was given before.

    What can be done is done, although an owner is refused, say: `Given.failure`. Raises
    `Transient` or `Permanent` before anything is changed.
    """
    zone, means = wish.zone, tools.means
    found = await prepare(wish, notes, tools, last)
    remarks = list(found.remarks)
    if found.notes != notes and (wish.certs or notes != ZoneNotes()):
        # Before anything is changed: how long caches hold what was served must not be forgotten.
        path = tools.tree.zone_note(zone)
        await tools.in_thread(ZONE_NOTE.write, path, found.notes)
    services = tools.config.services
    await tools.in_thread(
        tlsa_rr.of_known_sets, tools.tree, services, found.materials, found.notes.mx
    )
    failure, changed = None, found.changed
    if found.ours and (found.changed or again):
        try:
            done = await tlsa_publish.publish(means, zone, found.content.records, again=again)
        except SslmError as err:
            failure = err
        else:
            remarks += [done.left] if done.left else []
            changed = changed if done.given else ""
    return replace(found, remarks=tuple(remarks), failure=failure, changed=changed)


async def prepare(wish: Wish, notes: ZoneNotes, tools: Tools, last: LookedUp = _NOTHING) -> Given:
    """Return what `wish` comes to, and whether it is something else than DNS was given before.

    Asks name servers, and changes nothing. Raises `Transient` or `Permanent`.
    """
    zone, means = wish.zone, tools.means
    remarks: list[str] = []
    if wish.wants_mx:
        notes = await _with_mx(zone, notes, tools, remarks)
    before = await tools.in_thread(tlsa_publish.published, means, zone)
    if notes.known is None and before:
        notes = replace(notes, ttl=await _ttl_shown(zone, before, tools))
    wants = {one.cert: wants_of(one.entries, zone, one.names, notes.mail) for one in wish.certs}
    asked = {owner for some in wants.values() for owner in some}
    firsts, ends_problem = await find_ends(zone, asked, last.ends, tools)
    asked = {o for o in asked if o not in before or o in last.doubted or o in notes.moved}
    places, notes = await find_places(zone, asked, notes, before, last.places, tools)
    remarks += sorted(place.why for place in places.values() if not place.is_written)

    def material_of(cert: CertId, name: SetName) -> Material | None:
        return _material(tools.tree, cert, name)

    content, materials, notes = await tools.in_thread(
        content_for, wish, notes, before, material_of, frozenset(), places, firsts, last.others
    )
    unfit = await _unfit(wish, content, materials, before, wants, places, tools)
    if unfit:
        content, materials, notes = await tools.in_thread(
            content_for,
            wish,
            notes,
            before,
            material_of,
            frozenset(unfit),
            places,
            firsts,
            last.others,
        )
    ours = means.updated(zone) is not None or bool(tools.config.dns.tlsa_dirs)
    changed = ""
    if ours:
        changed = await tools.in_thread(tlsa_publish.differs, means, zone, content.records)
    elif content.records:
        remarks.append(
            "there is no way to publish its TLSA records: write tlsa_dirs in [dns], or update = "
            "true in its [[dns_primary]]; or put them into the zone yourself (sslmctl dane)"
        )
    if wish.wants_mx and notes.null_mx:
        remarks.append(
            "it takes no mail (null MX, RFC 7505), so it gets no TLSA records for MX hosts; "
            "remove the entries with 'MX' from dane_tls"
        )
    mx = notes.mx or ()
    outside = tuple(host for host in mx if not host.is_within(zone)) if wish.wants_mx else ()
    return Given(
        content,
        materials,
        notes,
        before,
        changed,
        outside,
        ours,
        tuple(remarks),
        unfit,
        of_others=ours and await tools.in_thread(tlsa_publish.is_of_others, means, zone),
        wants=wants,
        places=places,
        ends=firsts,
        ends_problem=ends_problem,
    )


async def _unfit(
    wish: Wish,
    content: ZoneContent,
    materials: Mapping[CertId, Mapping[SetName, Material]],
    before: Content,
    wants: Mapping[CertId, Wants],
    places: Places,
    tools: Tools,
) -> dict[DomainName, tuple[CertId, str]]:
    """Return owners that get their first records while their port serves another key, and why not.

    Whoever switches DANE on may have a server that reads other files: its first record would turn
    senders away. A port that cannot be reached from here tells nothing.
    """
    fresh = content.records.keys() - before.keys()
    found: dict[DomainName, tuple[CertId, str]] = {}
    if not fresh:
        return found
    servers: Sequence[NameServer] = ()
    with suppress(SslmError):
        primary = tools.config.primary_for(wish.zone)
        servers = await authoritative(wish.zone, primary, tools.resolver)
    for one in wish.certs:
        serving = content.shares[one.cert].serving if one.cert in content.shares else frozenset()
        owners = {owner for owner, _ in serving} & fresh
        if not one.proves or not owners:
            continue
        asked = asked_at(wants[one.cert], places, owners)
        ports = await look_at(one.cert, wish.zone, asked, materials[one.cert], servers, tools)
        for port in ports:
            owner = owner_of(port.port, "tcp", port.host)
            owner = places[owner].at if owner in places else owner
            if port.served.chain and not matches(port.served.chain, content.records[owner].records):
                text = (
                    f"{port.host}:{port.port} ({port.served.address}) serves {port.other}: with "
                    f"TLSA records for {one.cert}, clients that check DANE would refuse it; have "
                    "it read the production tree first"
                )
                found[owner] = (one.cert, text)
    return found


async def _ttl_shown(zone: ZoneName, before: Content, tools: Tools) -> int:
    """Return the longest TTL that name servers show: files of ssl-mgr's do not tell it."""
    try:
        seen = await look(zone, set(before), tools, ())
    except Transient:
        return 0
    return max((one.ttl for server in seen.servers for one in server.owners.values()), default=0)


async def _with_mx(zone: ZoneName, notes: ZoneNotes, tools: Tools, remarks: list[str]) -> ZoneNotes:
    """Return notes with MX hosts of today; what is known stays when nobody tells."""
    now = tools.now()
    known = notes.mx is not None and notes.mx_at is not None
    if known and notes.mx_at is not None and timedelta() <= now - notes.mx_at < MX_AGAIN:
        return notes
    try:
        primary = tools.config.primary_for(zone)
        servers = await authoritative(zone, primary, tools.resolver)
        found = await mail_of(zone, servers)
    except SslmError as err:
        if not known:
            raise
        remarks.append(f"its MX hosts stay as they were known before: {err}")
        return notes
    return replace(notes, mx=found.hosts, null_mx=found.is_refused, mx_at=now)


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


def _material(tree: Tree, cert: CertId, name: SetName) -> Material | None:
    try:
        return material(sets.read_files(tree.set_dir(cert, name), (PRIVKEY, CSR, CERT, CHAIN)))
    except (SslmError, OSError):
        return None


async def look(
    zone: ZoneName, owners: set[DomainName], tools: Tools, known: tuple[NameServer, ...]
) -> ServersSeen:
    """Ask every address of every authoritative server; those `known` if nobody tells which.

    Raises `Transient` if there are none.
    """
    try:
        servers = await authoritative(zone, tools.config.primary_for(zone), tools.resolver)
    except Transient:
        if not known:
            raise
        servers = known
    began = instant()
    seen = await look_at_servers(zone, servers, owners)
    return ServersSeen(tuple(seen), began, instant(), tools.now())
