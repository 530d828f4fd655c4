"""What each name server shows: nothing is believed until it is seen (I4, I8).

Every address of every server is asked for every owner, for TXT and for TLSA alike. Whatever comes
back, nothing here raises but for a server that does not answer: a record that was not seen in a
proper answer is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from sslmd.core.dane.sighting import NameServerSeen, OwnerSeen
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.dns.answers import (
    delegation,
    end_of_chain,
    error_in,
    find,
    records_in,
    soa_serial,
    targets_in,
    tlsa_in,
    txt_in,
)
from sslmd.dns.ask import DnsAsker, NameServer, OutOfReach, Unanswered, heard_by_udp
from sslmd.dns.manners import PLACES
from sslmd.net.dns_messages import DnsAnswer, Rrsig

R = TypeVar("R")

# Questions under way at one server, as many as it gets at one time.
AT_ONCE = PLACES


@dataclass(frozen=True, slots=True)
class RecordKind(Generic[R]):
    """A type of records, and how a server is asked for them.

    `read` returns those at a name in an answer, and their TTL. `dnssec`: their signatures are asked
    for as well. `recursive`: the server is a resolver; otherwise it has to be authoritative.
    `by_udp`: it has to answer by UDP.
    """

    name: str
    read: Callable[[DnsAnswer, str], tuple[frozenset[R], int]]
    dnssec: bool = False
    recursive: bool = False
    by_udp: bool = False


TLSA = RecordKind("TLSA", tlsa_in, dnssec=True)
# CAs ask for challenges by UDP.
TXT = RecordKind("TXT", txt_in, by_udp=True)
TXT_OF_RESOLVER = RecordKind("TXT", txt_in, recursive=True)


async def look_at(
    asker: DnsAsker,
    zone: ZoneName,
    servers: Sequence[NameServer],
    owners: Collection[DomainName],
    kind: RecordKind[R],
) -> list[NameServerSeen[R]]:
    """Return what each of the servers shows at the owners, in the order of `servers`.

    They are asked side by side, each at most `AT_ONCE` questions at a time.
    """
    looks = (look_at_server(asker, zone, server, owners, kind) for server in servers)
    return list(await asyncio.gather(*looks))


async def look_at_server(
    asker: DnsAsker,
    zone: ZoneName,
    server: NameServer,
    owners: Collection[DomainName],
    kind: RecordKind[R],
) -> NameServerSeen[R]:
    """Return what one server shows at the owners."""
    waiting = sorted(set(owners), reverse=True)
    found: dict[DomainName, OwnerSeen[R]] = {}
    silent: Reason | None = None
    out_of_reach: Reason | None = None

    async def ask_next() -> None:
        nonlocal silent, out_of_reach
        while waiting:
            owner = waiting.pop()
            try:
                found[owner] = await look_at_owner(asker, zone, server, owner, kind)
            except Unanswered as err:
                # The rest would have to wait as long, one after the other.
                waiting.clear()
                if isinstance(err, OutOfReach):
                    out_of_reach = err.why
                else:
                    silent = err.why

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(waiting))):
            group.create_task(ask_next())
    return NameServerSeen(str(server), dict(sorted(found.items())), silent, out_of_reach)


async def look_at_owner(
    asker: DnsAsker, zone: ZoneName, server: NameServer, owner: DomainName, kind: RecordKind[R]
) -> OwnerSeen[R]:
    """Return what a server shows at one owner. Raises `Unanswered`."""
    answer = await asker.ask(server, owner, kind.name, recursive=kind.recursive, dnssec=kind.dnssec)
    here = owner.text
    cname, cname_ttl = _cname(answer, here)
    if error := error_in(answer):
        # BIND answers SERVFAIL where CNAMEs go in a circle, and shows them.
        fault = Reason(Failed.NS_ANSWERS, rcode=error["rcode"], owner=owner, type=kind.name)
        return OwnerSeen(fault=fault, ttl=cname_ttl, cname=cname)
    if not kind.recursive and not answer.is_authoritative:
        is_cut = delegation(answer, owner, zone) is not None
        fault = Reason(Failed.NS_NOT_AUTHORITATIVE, owner=owner)
        return OwnerSeen(fault=fault, is_cut=is_cut)
    if kind.by_udp and not heard_by_udp(server):
        return OwnerSeen(fault=Reason(Failed.NS_TCP_ALONE))
    # RFC 7671 §7: an alias may stand at the owner.
    end = end_of_chain(answer, here)
    records, ttl = kind.read(answer, end)
    serial = soa_serial(answer)
    if not records and end != here:
        fault = Reason(Failed.NS_CNAME, owner=owner, target=end)
        return OwnerSeen(fault=fault, ttl=cname_ttl, cname=cname, serial=serial)
    is_cut = end == here and not kind.recursive and _is_below(answer, owner, zone)
    signed = _signed_until(answer, end) if records and kind.dnssec else None
    return OwnerSeen(records, max(ttl, cname_ttl), signed, None, cname, is_cut, serial)


async def zone_serial(asker: DnsAsker, server: NameServer, zone: ZoneName) -> int | None:
    """Return the serial of the zone that a server serves, None if it serves none.

    Raises `Unanswered`.
    """
    answer = await asker.ask(server, zone, "SOA")
    return soa_serial(answer) if answer.is_authoritative else None


def _cname(answer: DnsAnswer, here: str) -> tuple[DomainName | None, int]:
    """Return where the CNAME at a name leads, and the longest TTL of those on the way."""
    targets = targets_in(find(answer.answer, here, "CNAME"))
    if not targets:
        return None, 0
    ttl = max(found.ttl for found in answer.answer if found.type == "CNAME")
    try:
        return DomainName.parse(targets[0]), ttl
    except BadName:
        return DomainName(targets[0]), ttl


def _signatures(answer: DnsAnswer) -> list[tuple[str, Rrsig]]:
    """Return the signatures of TLSA records in an answer, and whose they are."""
    return [
        (found.owner, one)
        for found in answer.answer
        for one in records_in(found, Rrsig)
        if one.covers == "TLSA"
    ]


def _is_below(answer: DnsAnswer, owner: DomainName, zone: ZoneName) -> bool:
    """Whether an answer with authority comes from a zone below: it is on the same server."""
    names = [found.owner for found in answer.authority if found.type in ("SOA", "NS")]
    names += [one.signer for _, one in _signatures(answer)]
    return any(
        name.endswith(f".{zone}") and (owner.text == name or owner.text.endswith(f".{name}"))
        for name in names
    )


def _signed_until(answer: DnsAnswer, name: str) -> datetime | None:
    # RFC 4034 §3.1.5: seconds since 1970, in 32 bits.
    ends = [one.expiration for owner, one in _signatures(answer) if owner == name]
    return datetime.fromtimestamp(max(ends), UTC) if ends else None
