"""Whether name servers can be reached from here: by UDP and TCP, on every address.

For those who look at a site before anything depends on it. Nothing is waited for: what does not
answer within a few seconds is reported as silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from sslmd.config.model import Endpoint
from sslmd.core.errors import SslmError
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say
from sslmd.dns.answers import error_in, soa_serial, zone_in
from sslmd.dns.ask import DnsAsker, NameServer, OutOfReach, Unanswered, heard_by_udp
from sslmd.dns.resolver import Resolver
from sslmd.net.dns_messages import DnsAnswer

# Seconds for an answer of a resolver, which may have to ask others first.
PATIENCE = 4.0


@dataclass(frozen=True, slots=True)
class Reached:
    """How one address of a name server answers for a zone.

    `serial` is that of its zone, None where it has none; `fault` then says what its answer is
    instead. `udp` and `tcp`: why there was no answer by that way, "" if there was one. `no_route`:
    nothing can be said from this machine. `part_of`: the zone around it, where it is none.
    """

    server: NameServer
    serial: int | None = None
    fault: str = ""
    udp: str = ""
    tcp: str = ""
    no_route: bool = False
    part_of: str = ""


async def reach(asker: DnsAsker, server: NameServer, zone: ZoneName) -> Reached:
    """Ask one address for the zone's SOA record by UDP and by TCP; never raises."""
    udp, tcp = await asyncio.gather(_by_udp(asker, server, zone), _by_tcp(asker, server, zone))
    if isinstance(udp, OutOfReach):
        return Reached(server, udp=udp.problem, no_route=True)
    no_udp, no_tcp = (one.problem if isinstance(one, Unanswered) else "" for one in (udp, tcp))
    answer = next((one for one in (udp, tcp) if not isinstance(one, Unanswered)), None)
    if answer is None:
        return Reached(server, None, "", no_udp, no_tcp)
    serial = soa_serial(answer)
    fault = error_in(answer)
    if fault is None and not answer.is_authoritative:
        fault = Reason(Failed.NS_NOT_AUTHORITATIVE)
    elif fault is None and serial is None:
        fault = Reason(Failed.NS_NO_SOA)
    if fault is not None:
        return Reached(server, None, say(fault), no_udp, no_tcp)
    around = zone_in(answer, DomainName(zone.text))
    part_of = around.text if around is not None and around != zone else ""
    return Reached(server, serial, "", no_udp, no_tcp, part_of=part_of)


async def _by_udp(asker: DnsAsker, server: NameServer, zone: ZoneName) -> DnsAnswer | Unanswered:
    try:
        answer = await asker.ask(server, zone, "SOA")
    except Unanswered as err:
        return err
    if not heard_by_udp(server):  # the answer came by TCP, in its place
        return Unanswered(server, Reason(Failed.NS_NOT_BY_UDP))
    return answer


async def _by_tcp(asker: DnsAsker, server: NameServer, zone: ZoneName) -> DnsAnswer | Unanswered:
    try:
        return await asker.by_tcp(server, zone, "SOA")
    except Unanswered as err:
        return err


@dataclass(frozen=True, slots=True)
class ResolverAsked:
    """How a resolver answers at one of its addresses; `problem` "" if it does."""

    endpoint: Endpoint
    server: NameServer
    problem: str = ""
    no_route: bool = False


async def ask_resolvers(
    endpoints: Iterable[Endpoint], resolver: Resolver, *, name: str = "."
) -> list[ResolverAsked]:
    """Ask each resolver, on each of its addresses, who is responsible for `name`; never raises.

    All at the same time; it takes as long as the slowest of them, and no longer than `PATIENCE`.
    `resolver` finds the addresses of those that are named.
    """
    found = await asyncio.gather(*(_resolver(one, resolver, name) for one in endpoints))
    return [one for some in found for one in some]


async def _resolver(endpoint: Endpoint, resolver: Resolver, name: str) -> list[ResolverAsked]:
    try:
        addresses, problem = await resolver.addresses(endpoint.host), "has no address"
    except SslmError as err:
        addresses, problem = (), str(err)
    if not addresses:
        return [ResolverAsked(endpoint, NameServer(endpoint.host, endpoint.port), problem)]
    host = "" if endpoint.host in addresses else endpoint.host
    servers = [NameServer(address, endpoint.port, host) for address in addresses]
    return await asyncio.gather(*(_asked(resolver.asker, endpoint, one, name) for one in servers))


async def _asked(
    asker: DnsAsker, endpoint: Endpoint, server: NameServer, name: str
) -> ResolverAsked:
    try:
        answer = await asker.ask(server, name, "SOA", recursive=True, timeout=PATIENCE / 2)
    except OutOfReach as err:
        return ResolverAsked(endpoint, server, err.problem, no_route=True)
    except Unanswered as err:
        return ResolverAsked(endpoint, server, err.problem)
    return ResolverAsked(endpoint, server, say(error_in(answer)))
