"""Which name servers are a zone's, at which addresses; and where a name leads from there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from sslmd.config.model import DnsPrimary, Endpoint
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.reason import Reason, Said
from sslmd.dns.answers import (
    LONGEST_CHAIN,
    addresses_in,
    delegation,
    end_of_chain,
    find,
    rcode_of,
    records_in,
    targets_in,
    unfit,
    zone_in,
)
from sslmd.dns.ask import DnsAsker, NameServer, of_server
from sslmd.dns.bounds import MOST_ADDRESSES, MOST_SERVERS, bounds, why_not_asked
from sslmd.dns.resolver import Resolver
from sslmd.net.dns_messages import DnsAnswer, Mx

# Servers of which an error tells what they said.
MOST_TOLD = 5


async def authoritative(
    zone: ZoneName,
    primary: DnsPrimary | None,
    resolver: Resolver,
    *,
    foreign: bool = False,
) -> tuple[NameServer, ...]:
    """Return every address of every authoritative name server of a zone, within `bounds`.

    Those that `[[dns_primary]]` names; else those of the NS records, asked of the primary, or
    of the resolver without one. A zone that is none has those of the zone around it. `foreign`: of
    others, who have no say in what is asked in this network. Raises `Transient` if none can be
    found.
    """
    found = await name_servers(zone, primary, resolver, foreign=foreign)
    if found.lacking or not found.servers:
        # One that the world may ask and we cannot is no reason to look away.
        why = Reason(Failed.NO_ADDRESSES, hosts=found.lacking or None, cut=found.cut)
        raise Transient(why, about=f"zone {zone}")
    return found.servers


@dataclass(frozen=True, slots=True)
class NameServers:
    """Every address of a zone's name servers, and the hosts among them that have none.

    `cut`: what of them is not asked, and why.
    """

    servers: tuple[NameServer, ...]
    lacking: tuple[str, ...] = ()
    cut: Reason | None = None


async def name_servers(
    zone: ZoneName,
    primary: DnsPrimary | None,
    resolver: Resolver,
    *,
    foreign: bool = False,
) -> NameServers:
    """Return what `authoritative` does, and the name servers without an address beside it.

    What the bounds cut off is remembered for `status`. Raises `Transient` where NS records or
    addresses cannot be asked for.
    """
    if primary is not None and primary.nameservers:  # any that an admin names may be asked
        every = {one: await resolver.addresses(one.host) for one in primary.nameservers}
        for one, addresses in every.items():
            if not addresses:
                raise Transient(Reason(Failed.NO_ADDRESS, host=one.host), about=f"zone {zone}")
        return _bounded(zone, every)
    source = await primary_server(zone, primary, resolver) if primary is not None else None
    names = await _ns_hosts(zone, source, resolver)
    asked = names[:MOST_SERVERS]
    found = await asyncio.gather(*(_addresses(host, source, resolver) for host in asked))
    # A primary on this machine, as the admin says, may say that its zone is served here.
    here = source is not None and bool(why_not_asked(source.address, foreign=False))
    barred: dict[str, Reason] = {}
    if not here:
        there = [address for some in found for address in some]
        barred = {one: why for one in there if (why := why_not_asked(one, foreign=foreign))}
    hosts = {
        Endpoint(host): [one for one in some if one not in barred]
        for host, some in zip(asked, found, strict=True)
    }
    return _bounded(zone, hosts, len(names), barred)


def _bounded(
    zone: ZoneName,
    hosts: Mapping[Endpoint, Sequence[str]],
    number: int = 0,
    barred: Mapping[str, Reason] = MappingProxyType({}),
) -> NameServers:
    """Return the addresses that are asked, and remember of the zone which are not.

    `number`: the name servers that it has in all.
    """
    servers: dict[NameServer, None] = {}
    cuts: list[Reason] = []
    if (number := max(number, len(hosts))) > MOST_SERVERS:
        cuts.append(Reason(Failed.CUT_SERVERS, number=number, most=MOST_SERVERS))
    for host, addresses in list(hosts.items())[:MOST_SERVERS]:
        name = "" if host.host in addresses else host.host
        some = list(dict.fromkeys(addresses))
        if len(some) > MOST_ADDRESSES:
            number, most = len(some), MOST_ADDRESSES
            cuts.append(Reason(Failed.CUT_ADDRESSES, number=number, host=host.host, most=most))
        asked = (NameServer(address, host.port, name) for address in some[:MOST_ADDRESSES])
        servers.update(dict.fromkeys(asked))
    few = sorted(barred.items())[:MOST_ADDRESSES]
    cuts += [Reason(Failed.CUT_ADDRESS, address=address, why=why) for address, why in few]
    cut = Reason(Failed.CUT, what=tuple(cuts[:MOST_ADDRESSES])) if cuts else None
    bounds().cut(zone, cut)
    lacking = tuple(host.host for host, addresses in hosts.items() if not addresses)
    return NameServers(tuple(servers), lacking, cut)


async def primary_server(
    zone: ZoneName, primary: DnsPrimary, resolver: Resolver
) -> NameServer | None:
    """Return the first address of a zone's primary that answers, None if it has none at all.

    A server need not listen on all of them: `localhost` is two. Where none answers it is the first.
    """
    found = await resolver.addresses(primary.server.host)
    name = "" if primary.server.host in found else primary.server.host
    servers = [NameServer(address, primary.server.port, name) for address in found]
    for server in servers[:MOST_ADDRESSES] if len(servers) > 1 else ():
        with suppress(SslmError):
            await resolver.asker.ask(server, zone, "SOA")
            return server
    return servers[0] if servers else None


async def _ns_hosts(zone: ZoneName, source: NameServer | None, resolver: Resolver) -> list[str]:
    """Return the hosts of the NS records: its own, or those of the zone that it is a part of."""
    if source is not None:
        return await _ns_hosts_at(resolver.asker, zone, source)
    found = await resolver.lookup(zone.text, "NS")
    if found is None:
        around = await resolver.zone_of(zone.text)
        if around is not None and around != zone:
            found = await resolver.lookup(around.text, "NS")
    return sorted(targets_in(found))


async def _ns_hosts_at(asker: DnsAsker, zone: ZoneName, source: NameServer) -> list[str]:
    asked = zone
    while True:
        try:
            answer = await asker.ask(source, asked, "NS")
        except SslmError as err:
            why = Reason(Failed.PRIMARY_SILENT, said=err.reason)
            raise Transient(why, about=f"zone {zone}") from None
        is_sure = answer.is_authoritative
        found = find(answer.answer, asked.text, "NS")
        if found is not None and is_sure:
            return sorted(targets_in(found))
        around = zone_in(answer, DomainName(asked.text))
        if not is_sure or around is None or around == asked:
            why = Reason(Failed.PRIMARY_NO_NS, server=str(source), rcode=rcode_of(answer))
            raise Transient(why, about=f"zone {zone}")
        asked = around  # what was asked for is no zone of its own


async def _addresses(host: str, source: NameServer | None, resolver: Resolver) -> tuple[str, ...]:
    """Return a host's addresses: from the primary if they are its own, else from the resolver.

    They are its own if it says so with authority, of both families.
    """
    if source is None:
        return await resolver.addresses(host)
    known: list[str] = []
    with suppress(SslmError):
        for rdtype in ("A", "AAAA"):
            answer = await resolver.asker.ask(source, host, rdtype)
            if not answer.is_authoritative:
                break
            known += addresses_in(find(answer.answer, host, rdtype))
        else:
            if known:
                return tuple(dict.fromkeys(known))
    return await resolver.addresses(host)


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a name leads: `target` after CNAMEs; `delegated`, the zone below that it is in."""

    target: DomainName
    delegated: ZoneName | None = None


async def follow(
    asker: DnsAsker, owner: DomainName, zone: ZoneName, servers: Sequence[NameServer]
) -> Followed:
    """Follow the CNAMEs of `owner` as far as the servers of its zone know them.

    Raises `Transient` if none of them answers, `Permanent` if the CNAMEs lead in a circle or
    to what is no name.
    """
    target = owner
    for _ in range(LONGEST_CHAIN):
        if not target.is_within(zone):
            return Followed(target)
        answer = await any_of(asker, servers, target, zone)
        if child := delegation(answer, target, zone):
            return Followed(target, child)
        if find(answer.answer, target.text, "CNAME") is None:
            return Followed(target)
        try:
            target = DomainName.parse(end_of_chain(answer, target.text))
        except BadName as err:
            why = Reason(Failed.CNAME_NO_HOST, owner=target, said=Said(err))
            raise Permanent(why) from None
    raise Permanent(Reason(Failed.CNAMES_LONG, owner=owner, zone=zone))


async def addresses_at(
    asker: DnsAsker,
    host: DomainName,
    zone: ZoneName,
    servers: Sequence[NameServer],
    resolver: Resolver | None = None,
) -> tuple[str, ...]:
    """Return the IPv4 and IPv6 addresses that the servers of its zone give for `host`.

    With a `resolver`, a host that is a CNAME, or in a zone below, is followed to wherever it leads,
    as clients do. Raises `Transient` if nobody tells.
    """
    here = host.text
    found: list[str] = []
    further = None
    for rdtype in ("A", "AAAA"):
        answer = await any_of(asker, servers, host, zone, rdtype)
        end = end_of_chain(answer, here) if resolver is not None else here
        there = addresses_in(find(answer.answer, end, rdtype))
        found += there
        if not there and (end != here or delegation(answer, host, zone)):
            further = end
    if found or further is None or resolver is None:
        return tuple(dict.fromkeys(found))
    return await resolver.addresses(further)


async def end_of_host(
    host: DomainName, zone: ZoneName, servers: Sequence[NameServer], resolver: Resolver
) -> DomainName:
    """Return the name that has a host's addresses, after all CNAMEs: itself, if it is none.

    Those that leave the zone are followed by the resolver. Where they lead in a circle, nobody has
    addresses, and it is the host itself. Raises `Transient` if nobody tells.
    """
    try:
        answer = await any_of(resolver.asker, servers, host, zone, "A")
    except Transient:
        try:
            await follow(resolver.asker, host, zone, servers)
        except Permanent:
            return host
        raise
    name = end_of_chain(answer, host.text)
    if name == host.text and not delegation(answer, host, zone):
        return host
    if find(answer.answer, name, "A") is None:
        name = await resolver.end_of(name)
    try:
        return DomainName.parse(name)
    except BadName:
        return host  # nobody has addresses there


async def any_of(
    asker: DnsAsker,
    servers: Sequence[NameServer],
    name: DomainName,
    zone: ZoneName,
    rdtype: str = "CNAME",
) -> DnsAnswer:
    """Return the first answer that is one: with authority, or a referral to a zone below.

    Raises `Transient` if there is none, naming the servers and what they said.
    """
    problems = []
    for server in servers:
        try:
            # CNAMEs link by link: asked for TXT, BIND answers SERVFAIL where they go in a circle.
            answer = await asker.ask(server, name, rdtype)
        except Transient as err:
            problems.append(err.reason)
            continue
        if (why := unfit(answer, name, zone)) is None:
            return answer
        problems.append(of_server(server, why))
    raise nobody_tells(zone, name, problems, rdtype)


def nobody_tells(
    zone: ZoneName, name: DomainName, problems: Sequence[Reason], rdtype: str | None = None
) -> Transient:
    """Return the error for a zone whose name servers all say nothing of a name."""
    said = tuple(problems[:MOST_TOLD]) or None
    why = Reason(Failed.NOBODY_TELLS, name=name, type=rdtype, said=said)
    return Transient(why, about=f"zone {zone}")


@dataclass(frozen=True, slots=True)
class Mail:
    """Who takes the mail of a zone. `is_refused`: nobody, by the null MX (RFC 7505)."""

    hosts: tuple[DomainName, ...]
    is_refused: bool = False


async def mail_of(asker: DnsAsker, zone: ZoneName, servers: Sequence[NameServer]) -> Mail:
    """Return the MX hosts of the apex, whatever their preference, sorted.

    By the first of the zone's name servers that answers with authority. None if there is no MX, or
    the null MX (RFC 7505). What is no host name is left out. Raises `Transient` if nobody answers,
    naming zone and servers: then nothing is known.
    """
    apex = DomainName(zone.text)
    answer = await any_of(asker, servers, apex, zone, "MX")
    names = [one.exchange for one in records_in(find(answer.answer, zone.text, "MX"), Mx)]
    hosts = set()
    for name in names:
        try:
            host = DomainName.parse(name)
        except BadName:
            continue
        if not host.is_wildcard:
            hosts.add(host)
    # RFC 7505 §3: it has to be the only one.
    return Mail(tuple(sorted(hosts)), names == ["."])
