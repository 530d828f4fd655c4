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
from sslmd.core.reason import Reason, Said
from sslmd.dns.ask import DnsAsker, NameServer
from sslmd.dns.dnssec import validated
from sslmd.dns.nameservers import addresses_at
from sslmd.net.probe_messages import Reach, Served
from sslmd.servers.probe import NobodyLooked
from sslmd.workers.ports import NO_ADDRESS, PortSeen, look_at_ports
from sslmd.workers.tools import Publishing, Site


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
                raise Transient(
                    f"{resolver} shows {owner} TLSA as not signed, and the zone was "
                    "signed before; see to its DNSSEC, and to its DS in the zone above",
                    about=f"zone {zone}",
                )
            continue
        if lacking := {record for at, record in needed if at == owner} - found.records:
            some = min(lacking)
            raise Transient(
                f"the resolver {resolver} does not show {owner} TLSA {some}, which "
                "every name server has shown for two TTLs; see whether it keeps records for longer "
                "(cache-min-ttl), or flush it",
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
        some = ", ".join(f"{_place(one)} (set {one.match})" for one in old[:3])
        raise Transient(
            f"an older key is still served by {some}: its TLSA records stay; see whether "
            "that server reads the production tree, and was restarted",
            about=cert,
        )
    if untried := [one for one in seen if one.served.reach is Reach.NOT_TRIED]:
        told = tuple(Said(f"port {one.port} {one.served.problem}") for one in untried[:3])
        raise NobodyLooked(
            Reason(
                Failed.NOBODY_LOOKED,
                host=untried[0].host,
                seen=told,
                more=len(untried[3:]),
            ),
            about=cert,
        )
    if alone and not any(one.match == name for one in seen):
        what = "; ".join(
            f"{_place(one)}: {one.served.problem or one.served.described}" for one in seen[:3]
        )
        raise Transient(
            f"nobody was seen serving set {name} yet, so TLSA records of older keys stay "
            f"({what or 'its ports have no address'}); name the servers that use it in a server "
            "class of ssl-mgr.conf, or have the port serve it",
            about=cert,
        )


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
            if one.served.problem == NO_ADDRESS:
                found.append(Finding(where, "has no address, so nobody connects to it"))
            elif owner in spare:
                text = f"is no MX host, so no mail is sent to it ({one.served.problem})"
                found.append(Finding(where, text))
            else:
                found.append(Finding(where, f"not seen: {one.served.problem}", unseen=True))
            continue
        what = f"set {one.match}" if one.match is not None else one.served.described
        if one.match is not None and one.match != name:
            what = f"set {one.match}, not {name}"
        if not here:
            found.append(Finding(where, f"serves {what}; there are no TLSA records"))
        elif matches(one.served, here):
            found.append(Finding(where, f"serves {what}, as its TLSA records say"))
        else:
            text = (
                f"serves {what}, which none of its TLSA records matches: clients that check DANE "
                "refuse it; have it read the production tree and restart it, or correct dane_tls"
            )
            found.append(Finding(where, text, wrong=True))
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
