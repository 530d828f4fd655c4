"""The MX hosts of a zone, which own the TLSA records of port 25 (RFC 7672 §3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import dns.name
import dns.rdatatype

from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.dns.answers import find
from sslmd.dns.ask import NameServer
from sslmd.dns.nameservers import any_of


async def mx_hosts(zone: ZoneName, servers: Sequence[NameServer]) -> tuple[DomainName, ...]:
    """Return the MX hosts of the apex, whatever their preference, sorted.

    By the first of the zone's name servers that answers with authority. None if there is no MX, or
    the null MX (RFC 7505). What is no host name is left out. Raises `Transient` if nobody answers,
    naming zone and servers: then nothing is known.
    """
    apex = DomainName(zone.text)
    answer = await any_of(servers, apex, zone, "MX")
    found = find(answer.answer, dns.name.from_text(zone.text), dns.rdatatype.MX)
    hosts = set()
    for rdata in found or ():
        try:
            host = DomainName.parse(rdata.exchange.to_text())
        except BadName:
            continue
        if not host.is_wildcard:
            hosts.add(host)
    return tuple(sorted(hosts))
