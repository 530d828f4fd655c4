"""TLSA records of a zone: what it should serve, having it served, and what it does serve (I4).

Three jobs of a zone, none of which waits: `publish` puts together what the certificates of the
zone have to say and gives it to DNS if that is something else than what was given before; `look`
asks every name server. What follows from it is decided elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache, partial

from sslmd.core.dane.content import Given, LookedUp, Wish, ZoneNotes, content_for
from sslmd.core.dane.places import Places, Wants, asked_at
from sslmd.core.dane.sighting import Instant, NameServersSeen
from sslmd.core.dane.tlsa import (
    Content,
    Material,
    ZoneContent,
    owner_of,
    wants_of,
)
from sslmd.core.errors import SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import CertId, DomainName, SetName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.dns import tlsa_publish
from sslmd.dns.ask import NameServer
from sslmd.dns.look import TLSA
from sslmd.dns.look import look_at as look_at_servers
from sslmd.dns.nameservers import authoritative, mail_of
from sslmd.dns.resolver import Resolver
from sslmd.pki.tlsa import material
from sslmd.store import sets
from sslmd.store.layout import CERT, CHAIN, CSR, PRIVKEY, Tree
from sslmd.store.note_kinds import ZONE_NOTE
from sslmd.workers import tlsa_rr
from sslmd.workers.dane import look as look_at
from sslmd.workers.dane import matches
from sslmd.workers.places import find_ends, find_places
from sslmd.workers.tools import Publishing, Site

# MX hosts are looked up this often; a look-up that fails is tried again with the next one.
MX_AGAIN = timedelta(hours=23)

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


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
    publishing: Publishing,
    *,
    again: bool = False,
    last: LookedUp = _NOTHING,
) -> Given:
    """Have DNS given what `wish` comes to; `again`: even if it was given before.

    What can be done is done, although an owner is refused, say: `Given.failure`. Raises
    `Transient` or `Permanent` before anything is changed.
    """
    zone, site, threads = wish.zone, publishing.site, publishing.threads
    found = await prepare(wish, notes, publishing, last)
    remarks = list(found.remarks)
    if found.notes != notes and (wish.certs or notes != ZoneNotes()):
        # Before anything is changed: how long caches hold what was served must not be forgotten.
        path = site.tree.zone_note(zone)
        await threads.in_thread(ZONE_NOTE.write, path, found.notes)
    services = site.config.services
    await threads.in_thread(
        tlsa_rr.of_known_sets, site.tree, services, found.materials, found.notes.mx
    )
    failure, changed = None, found.changed
    if found.ours and (found.changed or again):
        try:
            done = await tlsa_publish.publish(
                publishing.means, zone, found.content.records, again=again
            )
        except SslmError as err:
            failure = err
        else:
            remarks += [done.left] if done.left else []
            changed = changed if done.given else None
    return replace(found, remarks=tuple(remarks), failure=failure, changed=changed)


async def prepare(
    wish: Wish, notes: ZoneNotes, publishing: Publishing, last: LookedUp = _NOTHING
) -> Given:
    """Return what `wish` comes to, and whether it is something else than DNS was given before.

    Asks name servers, and changes nothing. Raises `Transient` or `Permanent`.
    """
    zone, site, threads, means = wish.zone, publishing.site, publishing.threads, publishing.means
    remarks: list[Reason] = []
    if wish.wants_mx:
        notes = await _with_mx(zone, notes, site, means.resolver, remarks)
    before = await threads.in_thread(tlsa_publish.published, means, zone)
    if notes.known is None and before:
        notes = replace(notes, ttl=await _ttl_shown(zone, before, site, means.resolver))
    wants = {one.cert: wants_of(one.entries, zone, one.names, notes.mail) for one in wish.certs}
    asked = {owner for some in wants.values() for owner in some}
    firsts, ends_problem = await find_ends(zone, asked, last.ends, site, means.resolver)
    asked = {o for o in asked if o not in before or o in last.doubted or o in notes.moved}
    places, notes = await find_places(zone, asked, notes, before, last.places, site, means.resolver)
    unwritten = sorted(owner for owner, place in places.items() if not place.is_written)
    remarks += filter(None, (places[owner].why for owner in unwritten))

    material_of = partial(_material, site.tree)
    known = (places, firsts, last.others)
    content, materials, notes = await threads.in_thread(
        content_for, wish, notes, before, material_of, frozenset(), *known
    )
    unfit = await _unfit(wish, content, materials, before, wants, places, publishing)
    if unfit:
        content, materials, notes = await threads.in_thread(
            content_for, wish, notes, before, material_of, frozenset(unfit), *known
        )
    ours = means.updated(zone) is not None or bool(site.config.dns.tlsa_dirs)
    changed = None
    if ours:
        changed = await threads.in_thread(tlsa_publish.differs, means, zone, content.records)
    elif content.records:
        remarks.append(Reason(Failed.NO_WAY_FOR_TLSA, zone=zone))
    if wish.wants_mx and notes.null_mx:
        remarks.append(Reason(InDns.NULL_MX_ENTRIES))
    outside = tuple(h for h in notes.mx or () if wish.wants_mx and not h.is_within(zone))
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
        of_others=ours and await threads.in_thread(tlsa_publish.is_of_others, means, zone),
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
    publishing: Publishing,
) -> dict[DomainName, tuple[CertId, Reason]]:
    """Return owners that get their first records while their port serves another key, and why not.

    Whoever switches DANE on may have a server that reads other files: its first record would turn
    senders away. A port that cannot be reached from here tells nothing.
    """
    fresh = content.records.keys() - before.keys()
    found: dict[DomainName, tuple[CertId, Reason]] = {}
    if not fresh:
        return found
    servers: Sequence[NameServer] = ()
    with suppress(SslmError):
        primary = publishing.site.config.primary_for(wish.zone)
        servers = await authoritative(wish.zone, primary, publishing.means.resolver)
    for one in wish.certs:
        serving = content.shares[one.cert].serving if one.cert in content.shares else frozenset()
        owners = {owner for owner, _ in serving} & fresh
        if not one.proves or not owners:
            continue
        asked = asked_at(wants[one.cert], places, owners)
        ports = await look_at(one.cert, wish.zone, asked, materials[one.cert], servers, publishing)
        for port in ports:
            owner = owner_of(port.port, "tcp", port.host)
            owner = places[owner].at if owner in places else owner
            if port.served.chain and not matches(port.served, content.records[owner].records):
                why = Reason(
                    InDns.PORT_SERVES_OTHER,
                    host=port.host,
                    port=port.port,
                    address=port.served.address,
                    serves=port.other,
                    cert=one.cert,
                )
                found[owner] = (one.cert, why)
    return found


async def _ttl_shown(zone: ZoneName, before: Content, site: Site, resolver: Resolver) -> int:
    """Return the longest TTL that name servers show: files of ssl-mgr's do not tell it."""
    try:
        seen, _ = await look(zone, set(before), site, resolver, ())
    except Transient:
        return 0
    return max((one.ttl for server in seen.servers for one in server.owners.values()), default=0)


async def _with_mx(
    zone: ZoneName, notes: ZoneNotes, site: Site, resolver: Resolver, remarks: list[Reason]
) -> ZoneNotes:
    """Return notes with MX hosts of today; what is known stays when nobody tells."""
    now = site.now()
    known = notes.mx is not None and notes.mx_at is not None
    if known and notes.mx_at is not None and timedelta() <= now - notes.mx_at < MX_AGAIN:
        return notes
    try:
        primary = site.config.primary_for(zone)
        servers = await authoritative(zone, primary, resolver)
        found = await mail_of(resolver.asker, zone, servers)
    except SslmError as err:
        if not known:
            raise
        remarks.append(Reason(InDns.MX_STAY, why=err.reason))
        return notes
    return replace(notes, mx=found.hosts, null_mx=found.is_refused, mx_at=now)


def _material(tree: Tree, cert: CertId, name: SetName) -> Material | None:
    try:
        return material(sets.read_files(tree.set_dir(cert, name), (PRIVKEY, CSR, CERT, CHAIN)))
    except (SslmError, OSError):
        return None


async def look(
    zone: ZoneName,
    owners: set[DomainName],
    site: Site,
    resolver: Resolver,
    known: tuple[NameServer, ...],
) -> tuple[NameServersSeen, tuple[NameServer, ...]]:
    """Ask every address of every authoritative server; those `known` if nobody tells which.

    Return what they showed, and who was asked. Raises `Transient` if there are none.
    """
    try:
        servers = await authoritative(zone, site.config.primary_for(zone), resolver)
    except Transient:
        if not known:
            raise
        servers = known
    began = instant()
    seen = await look_at_servers(resolver.asker, zone, servers, owners, TLSA)
    return NameServersSeen(tuple(seen), began, instant(), site.now()), servers
