"""Finding out where the TLSA records of each owner belong, before any is written (I4).

look first, at every name server of the zone: `dns.owners`
_25._tcp.mail   CNAME _dane.mail       written at _dane.mail, in the same zone
_25._tcp.mail   CNAME x.example.net    not written; what is there is looked at (`look_elsewhere`)
_25._tcp.a.lab  lab is a zone          not written; what is there is looked at
_465._tcp.a.apps, *.apps A             not written: a.apps would lose its address
mail            CNAME mx.example.net   written; what is at _25._tcp.mx.example.net counts first
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from sslmd.core.dane.content import ZoneNotes
from sslmd.core.dane.places import Elsewhere, Ends, Fate, Place, Places, sure_places
from sslmd.core.dane.sighting import at_servers
from sslmd.core.dane.tlsa import Content, Tlsa, endpoint_of, owner_of
from sslmd.core.errors import SslmError
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.dns.answers import LONGEST_CHAIN, tlsa_of
from sslmd.dns.ask import DnsAsker, NameServer
from sslmd.dns.look import TLSA, look_at
from sslmd.dns.nameservers import authoritative, end_of_host
from sslmd.dns.owners import OwnerFacts, OwnerLook
from sslmd.dns.resolver import Resolver
from sslmd.workers.tools import Site

# Seconds for which a record of others counts that has no TTL: none is there.
_NONE = 0


async def places_of(
    asker: DnsAsker,
    zone: ZoneName,
    owners: Collection[DomainName],
    servers: Sequence[NameServer],
) -> dict[DomainName, Place]:
    """Return where the records of each owner belong; raises nothing for what it finds.

    An owner of which nobody tells is `UNKNOWN`, and keeps out no other (I6).
    """
    look = OwnerLook(asker, zone, servers)

    async def one(owner: DomainName) -> Place:
        try:
            return await _place(zone, owner, look)
        except SslmError as err:
            return Place(Fate.UNKNOWN, owner, _not_written(owner, err.reason))

    names = sorted(set(owners))
    found = await asyncio.gather(*map(one, names))
    return dict(zip(names, found, strict=True))


async def _place(zone: ZoneName, owner: DomainName, look: OwnerLook) -> Place:
    name, seen, first = owner, [owner], None
    while True:
        finding = await look.at(name)
        if finding.in_child:
            return _below_cut(zone, owner, finding, first)
        alias = finding.alias
        if alias is None or not alias.is_real:
            break
        first = first or alias.target
        name = alias.target
        if name in seen or len(seen) > LONGEST_CHAIN:
            path = tuple(one.text for one in (*seen, name))
            why = Reason(Failed.CNAMES_CIRCLE, owner=owner, names=path, zone=zone)
            return Place(Fate.NOWHERE, owner, _not_written(owner, why), first)
        seen.append(name)
        if not name.is_within(zone):
            why = Reason(InDns.ALIAS_AWAY, owner=owner, target=name, zone=zone)
            return Place(Fate.ELSEWHERE, name, why, first)
    if lost := _robbed(finding):
        why = Reason(InDns.WOULD_LOSE, host=lost, wildcard=finding.wildcard, zone=zone)
        return Place(Fate.NOWHERE, name, _not_written(owner, why), first)
    if first is not None:
        why = Reason(InDns.ALIAS_HERE, owner=owner, target=name)
        return Place(Fate.MOVED, name, why, first)
    return Place(Fate.HERE, owner)


def _not_written(owner: DomainName, why: Reason) -> Reason:
    return Reason(InDns.NOT_WRITTEN, owner=owner, why=why)


def _below_cut(
    zone: ZoneName, owner: DomainName, finding: OwnerFacts, cname: DomainName | None
) -> Place:
    target = finding.owner if cname is not None else None
    why = Reason(InDns.BELOW_CUT, owner=owner, target=target, child=finding.zone, zone=zone)
    return Place(Fate.ELSEWHERE, finding.owner, why, cname, is_cut=cname is None)


def _robbed(finding: OwnerFacts) -> DomainName | None:
    """Return a host that a record would take from the wildcard that it has its address from.

    Names with an underscore are no hosts: what `*.example.com` gives to `_tcp.example.com` is
    missed by nobody.
    """
    hosts = [name for name in finding.overshadowed if not name.text.startswith("_")]
    return hosts[0] if hosts else None


async def find_places(
    zone: ZoneName,
    owners: Collection[DomainName],
    notes: ZoneNotes,
    before: Content,
    known: Places,
    site: Site,
    resolver: Resolver,
) -> tuple[dict[DomainName, Place], ZoneNotes]:
    """Return where records of owners belong that are not at the owner, and notes of it.

    Only owners that have no records of ours yet are asked about, and those that may be something
    else now. While nobody tells, what is there stays.
    """
    if not owners:
        return {}, replace(notes, moved={})
    try:
        servers = await authoritative(zone, site.config.primary_for(zone), resolver)
    except SslmError as err:
        asked = {
            owner: Place(Fate.UNKNOWN, owner, _not_written(owner, err.reason)) for owner in owners
        }
    else:
        asked = await places_of(resolver.asker, zone, owners, servers)
        notes = await _with_ttls(resolver.asker, zone, asked, notes, before, servers)
    found = sure_places(asked, notes.moved, before, known)
    moved = {owner: place.at for owner, place in found.items() if place.fate is Fate.MOVED}
    return found, replace(notes, moved=moved)


async def _with_ttls(
    asker: DnsAsker,
    zone: ZoneName,
    places: Places,
    notes: ZoneNotes,
    before: Content,
    servers: Sequence[NameServer],
) -> ZoneNotes:
    """Return notes with the lifetime of what stands where we have written nothing yet.

    Records of others, written by hand say, are in caches for that long after they are gone.
    """
    ends = {place.at for place in places.values() if place.at.is_within(zone)}
    fresh = {*places, *ends} - before.keys()
    longest = dict(notes.longest)
    for server in await look_at(asker, zone, servers, fresh, TLSA):
        for owner, one in server.owners.items():
            if one.ttl > notes.ttl:
                longest[owner] = max(longest.get(owner, 0), one.ttl)
    return replace(notes, longest=longest)


async def find_ends(
    zone: ZoneName, owners: Collection[DomainName], known: Ends, site: Site, resolver: Resolver
) -> tuple[dict[DomainName, DomainName], Reason | None]:
    """Return where clients look before they look at an owner, and why that is not known of all.

    The host of a port may be a CNAME: then records at the name where it leads come first (RFC 7671
    §7, RFC 7672 §2.2.3). `known`: what was found last, which stays while nobody tells.
    """
    hosts: dict[DomainName, list[DomainName]] = {}
    for owner in owners:
        with suppress(BadName):
            hosts.setdefault(endpoint_of(owner)[2], []).append(owner)
    if not hosts:
        return {}, None
    try:
        servers = await authoritative(zone, site.config.primary_for(zone), resolver)
    except SslmError as err:
        return {owner: known[owner] for owner in owners if owner in known}, err.reason
    ends = await asyncio.gather(
        *(end_of_host(host, zone, servers, resolver) for host in hosts),
        return_exceptions=True,
    )
    found: dict[DomainName, DomainName] = {}
    problem = None
    for (host, mine), end in zip(hosts.items(), ends, strict=True):
        if isinstance(end, SslmError):
            problem = problem or end.reason.of(host)
            found |= {owner: known[owner] for owner in mine if owner in known}
        elif isinstance(end, BaseException):
            raise end
        elif end != host:
            found |= {owner: first for owner in mine if (first := _owner_at(owner, end))}
    return found, problem


def _owner_at(owner: DomainName, host: DomainName) -> DomainName | None:
    """Return the owner of the same port at another host, None if no name can be so long."""
    port, proto, _ = endpoint_of(owner)
    with suppress(BadName):
        return owner_of(port, proto, host)
    return None


async def look_elsewhere(
    places: Places, ends: Ends, site: Site, resolver: Resolver
) -> dict[DomainName, Elsewhere]:
    """Return what is shown of the records that others keep, by owner; raises nothing.

    And of those at the ends of hosts that are CNAMEs, whoever keeps them. By all name servers of
    the zone if it is one of ours, else by a resolver.
    """
    wanted = {owner: owner for owner in ends.values()}
    wanted |= {owner: one.at for owner, one in places.items() if one.is_checked_elsewhere}
    found = await asyncio.gather(*(look_there(at, site, resolver) for at in wanted.values()))
    return dict(zip(wanted, found, strict=True))


async def look_there(at: DomainName, site: Site, resolver: Resolver) -> Elsewhere:
    """Return what is shown of the TLSA records at a name in any zone; raises nothing."""
    ours = [zone for zone in site.config.zones() if at.is_within(zone)]
    try:
        if ours:
            zone = max(ours, key=lambda one: len(one.text))
            return await _by_servers(at, zone, site, resolver)
        return await _by_resolver(at, site, resolver)
    except SslmError as err:
        return Elsewhere(at, problem=err.reason)


async def _by_servers(at: DomainName, zone: ZoneName, site: Site, resolver: Resolver) -> Elsewhere:
    servers = await authoritative(zone, site.config.primary_for(zone), resolver)
    shown: list[frozenset[Tlsa]] = []
    ttl, problem = 0, None
    for server in await look_at(resolver.asker, zone, servers, [at], TLSA):
        one = server.owners.get(at)
        if one is None:
            problem = problem or at_servers([(server.server, server.silent or server.out_of_reach)])
        elif one.is_cut or (one.cname is not None and not one.records):
            return await _by_resolver(at, site, resolver)  # it leads further
        elif one.fault:
            problem = problem or at_servers([(server.server, one.fault)])
        else:
            shown.append(one.records)
            ttl = max(ttl, one.ttl)
    # A client may ask any of them: what one of them lacks is not there.
    common = frozenset.intersection(*shown) if shown else frozenset()
    return Elsewhere(at, common, ttl, None if shown else problem)


async def _by_resolver(at: DomainName, site: Site, resolver: Resolver) -> Elsewhere:
    named = site.config.globals.dns_validating_resolver
    if named is not None:
        resolver = Resolver(resolver.asker, [NameServer(named.host, named.port)])
    return Elsewhere(at, *tlsa_of(await resolver.lookup(at.text, "TLSA")))
