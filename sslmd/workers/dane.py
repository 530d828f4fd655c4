"""Seeing for oneself: what a validating resolver, and the ports with TLSA records, say (I4).

Both are asked before something is changed that could not be taken back at once: the resolver before
a key is served, the ports before the records of older keys go; and every day.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sslmd.core.dane.report import Finding
from sslmd.core.dane.tlsa import Material, Owned, Tlsa, association, endpoint_of, heeded
from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, CertId, DomainName, SetName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.dns.ask import DnsAsker, NameServer
from sslmd.dns.dnssec import validated
from sslmd.dns.nameservers import addresses_at
from sslmd.net.probe_messages import Reach, Served, described
from sslmd.servers.probe import NobodyLooked
from sslmd.workers.ports import NO_ADDRESS, PortSeen, look_at_ports
from sslmd.workers.tools import Publishing, Site

# Ports that one message names.
_TOLD = 3


async def ask_resolver(
    asker: DnsAsker, zone: ZoneName, needed: Collection[Owned], site: Site, *, signed: bool
) -> None:
    """Ask the validating resolver, if there is one, for records that have to be there by now.

    `signed`: the zone was seen signed before. Raises `Transient` if it does not show them, or not
    as secure; a zone that never was signed is no obstacle: nobody heeds its records.
    """
    named = site.config.globals.dns_validating_resolver
    if named is None:
        return
    resolver = NameServer(named.host, named.port)
    for owner in sorted({owner for owner, _ in needed}):
        found = await validated(asker, owner, resolver)
        if found.problem:
            raise Transient(found.problem, about=f"zone {zone}")
        if not found.secure:
            if signed:
                why = Reason(Failed.RESOLVER_UNSIGNED, resolver=str(resolver), owner=owner)
                raise Transient(why, about=f"zone {zone}")
            continue
        if lacking := {record for at, record in needed if at == owner} - found.records:
            raise Transient(
                Reason(
                    Failed.RESOLVER_LACKS,
                    resolver=str(resolver),
                    owner=owner,
                    record=str(min(lacking)),
                ),
                about=f"zone {zone}",
            )


def tcp_ports(owners: Iterable[DomainName]) -> list[tuple[DomainName, int]]:
    """Return host and port of the owners whose ports can be looked at: those of TCP."""
    found = []
    for owner in sorted(set(owners)):
        try:
            port, proto, host = endpoint_of(owner)
        except BadName:
            continue
        if proto == "tcp":
            found.append((host, port))
    return found


async def look(
    cert: CertId,
    zone: ZoneName,
    owners: Iterable[DomainName],
    materials: Mapping[SetName, Material],
    servers: Sequence[NameServer],
    publishing: Publishing,
) -> list[PortSeen]:
    """Connect to every address of every port with TLSA records; raises nothing for what it finds.

    Addresses are those that the zone's own name servers give.
    """

    site, resolver = publishing.site, publishing.means.resolver

    async def addresses(host: DomainName) -> tuple[str, ...]:
        if servers:
            return await addresses_at(resolver.asker, host, zone, servers, resolver)
        return await resolver.addresses(host.text)

    ports = tcp_ports(owners)
    return await look_at_ports(
        publishing.means.net, cert, site, publishing.standings, materials, ports, addresses
    )


def prove_ports(cert: CertId, name: SetName, seen: Sequence[PortSeen], *, alone: bool) -> None:
    """Raise `Transient` if a port serves another set of this certificate than `name`, or may do so.

    One that nobody could look at is looked at again; one that cannot be reached tells nothing.

    `alone`: no server class gets the certificate, so that ports are all there is to go by, and one
    of them has to be seen serving it.
    """
    old = [one for one in seen if one.match is not None and one.match != name]
    if old:
        places = tuple(f"{_place(one)} (set {one.match})" for one in old[:_TOLD])
        raise Transient(Reason(Failed.OLDER_KEY_SERVED, places=places), about=cert)
    if untried := [one for one in seen if one.served.reach is Reach.NOT_TRIED]:
        told = tuple(one.what.of(f"port {one.port}") for one in untried[:_TOLD])
        more = len(untried[_TOLD:])
        why = Reason(Failed.NOBODY_LOOKED, host=untried[0].host, seen=told, more=more)
        raise NobodyLooked(why, about=cert)
    if alone and not any(one.match == name for one in seen):
        what = tuple(one.what.of(_place(one)) for one in seen[:_TOLD])
        raise Transient(Reason(Failed.NOBODY_SERVES, set=name, seen=what), about=cert)


def _place(one: PortSeen) -> str:
    return f"{one.host}:{one.port} at {one.served.address}"


def findings_of_ports(
    seen: Sequence[PortSeen],
    name: SetName | None,
    records: Mapping[DomainName, frozenset[Tlsa]],
    spare: Collection[DomainName] = (),
) -> list[Finding]:
    """Judge what ports serve by what DNS shows, as a client does (RFC 7671 §5, §9).

    `records`: those that every name server shows at each owner. A port that cannot be reached from
    here tells nothing, and counts as not seen; but not one that no client connects to: a host
    without address, and `spare` owners.
    """
    found = []
    for one in seen:
        owner = DomainName(f"_{one.port}._tcp.{one.host}")
        here = records.get(owner, frozenset())
        where = f"{one.host}:{one.port}"
        if one.served.address:
            where = f"{where} ({one.served.address})"
        if not one.served.chain:
            if one.why == NO_ADDRESS:
                found.append(Finding(where, Reason(InDns.PORT_NO_ADDRESS)))
            elif owner in spare:
                found.append(Finding(where, Reason(InDns.PORT_SPARE, why=one.what)))
            else:
                found.append(Finding(where, Reason(InDns.UNSEEN, why=one.what), unseen=True))
            continue
        what = described(one.served.facts)
        if one.match is not None:
            what = Reason(InDns.SET, set=one.match, other=name if one.match != name else None)
        code = InDns.PORT_WRONG
        if not here:
            code = InDns.PORT_NO_RECORDS
        elif matches(one.served, here):
            code = InDns.PORT_WELL
        found.append(Finding(where, Reason(code, what=what), wrong=code is InDns.PORT_WRONG))
    return found


def matches(served: Served, records: Collection[Tlsa]) -> bool:
    """Whether a served chain matches one of the records that a client goes by (RFC 7671 §9)."""
    leaf, *above = [
        Material(key, der, der, key) if key else None
        for key, der in zip(served.keys, served.chain, strict=True)
    ]
    if leaf is None:
        return False
    for record in heeded(records):
        if record.combination.wants_issuer:
            candidates = [one for one in above if one is not None]
        else:
            candidates = [leaf]
        if any(association(record.combination, one) == record for one in candidates):
            return True
    return False
