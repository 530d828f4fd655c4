"""The MX hosts of a zone, which own the TLSA records of port 25 (RFC 7672 §3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dns.name
import dns.rdatatype

from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.dns.answers import find
from sslmd.dns.ask import NameServer
from sslmd.dns.nameservers import any_of


@dataclass(frozen=True, slots=True)
class Mail:
    """Who takes the mail of a zone. `is_refused`: nobody, by the null MX (RFC 7505)."""

    hosts: tuple[DomainName, ...]
    is_refused: bool = False


async def mail_of(zone: ZoneName, servers: Sequence[NameServer]) -> Mail:
    """Return the MX hosts of the apex, whatever their preference, sorted.

    By the first of the zone's name servers that answers with authority. None if there is no MX, or
    the null MX (RFC 7505). What is no host name is left out. Raises `Transient` if nobody answers,
    naming zone and servers: then nothing is known.
    """
    apex = DomainName(zone.text)
    answer = await any_of(servers, apex, zone, "MX")
    found = find(answer.answer, dns.name.from_text(zone.text), dns.rdatatype.MX) or ()
    hosts = set()
    for rdata in found:
        try:
            host = DomainName.parse(rdata.exchange.to_text())
        except BadName:
            continue
        if not host.is_wildcard:
            hosts.add(host)
    # RFC 7505 §3: it has to be the only one.
    names = [rdata.exchange for rdata in found]
    return Mail(tuple(sorted(hosts)), names == [dns.name.root])


async def mx_hosts(zone: ZoneName, servers: Sequence[NameServer]) -> tuple[DomainName, ...]:
    """Return the hosts of `mail_of` alone."""
    return (await mail_of(zone, servers)).hosts
