"""What each name server serves of a zone's TLSA records: nothing is believed until seen (I4).

Every address of every server is asked for every owner. Whatever comes back, nothing here raises:
a record that was not seen in a proper answer is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from sslmd.core.dane.sighting import NameServerSeen, OwnerSeen
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.dns.answers import end_of_chain, find, rcode_of, tlsa_in
from sslmd.dns.ask import NameServer, OutOfReach, Unanswered, ask
from sslmd.dns.observe import AT_ONCE, zone_serial
from sslmd.dns.owners import delegation


async def look_at(
    zone: ZoneName, servers: Sequence[NameServer], owners: Collection[DomainName]
) -> list[NameServerSeen]:
    """Return what each of the servers shows at the owners, in the order of `servers`.

    They are asked side by side, each at most `observe.AT_ONCE` questions at a time.
    """
    looks = [_Look(zone, server, owners) for server in servers]
    return list(await asyncio.gather(*(look.run() for look in looks)))


@dataclass(slots=True)
class _Look:
    """One server while it is asked."""

    zone: ZoneName
    server: NameServer
    wanted: Collection[DomainName]
    owners: dict[DomainName, OwnerSeen] = field(default_factory=dict)
    silent: str = ""
    out_of_reach: str = ""
    serial: int | None = None

    async def run(self) -> NameServerSeen:
        # The zone's serial, which only tells how far the server is, goes with the others.
        waiting: list[DomainName | None] = [None, *sorted(set(self.wanted))]
        waiting.reverse()

        async def ask_next() -> None:
            while waiting:
                owner = waiting.pop()
                try:
                    if owner is None:
                        self.serial = await zone_serial(self.server, self.zone)
                    else:
                        self.owners[owner] = await _look(self.server, owner, self.zone)
                except Unanswered as err:
                    # The rest would have to wait as long, one after the other.
                    waiting.clear()
                    if isinstance(err, OutOfReach):
                        self.out_of_reach = err.problem
                    else:
                        self.silent = err.problem

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(waiting))):
                group.create_task(ask_next())
        owners = {owner: self.owners[owner] for owner in sorted(self.owners)}
        return NameServerSeen(str(self.server), owners, self.silent, self.out_of_reach, self.serial)


async def _look(server: NameServer, owner: DomainName, zone: ZoneName) -> OwnerSeen:
    answer = await ask(server, owner, "TLSA", dnssec=True)
    here = dns.name.from_text(owner.text)
    cname, cname_ttl = _cname(answer, here)
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        # BIND answers SERVFAIL where CNAMEs go in a circle, and shows them.
        fault = f"answers {rcode_of(answer)} for {owner} TLSA"
        return OwnerSeen(fault=fault, ttl=cname_ttl, cname=cname)
    if not answer.flags & dns.flags.AA:
        is_cut = delegation(answer, owner, zone) is not None
        return OwnerSeen(fault=f"is not authoritative for {owner}", is_cut=is_cut)
    # RFC 7671 §7: an alias may stand at the owner.
    end = end_of_chain(answer, here)
    records, ttl = tlsa_in(answer, end)
    is_cut = end == here and _is_below(answer, owner, zone)
    if not records and end != here:
        where = end.to_text(omit_final_dot=True)
        fault = f"has a CNAME at {owner} that leads to {where}"
        return OwnerSeen(fault=fault, ttl=cname_ttl, cname=cname)
    signed = _signed_until(answer, end) if records else None
    return OwnerSeen(records, max(ttl, cname_ttl), signed, "", cname, is_cut)


def _cname(answer: dns.message.Message, here: dns.name.Name) -> tuple[DomainName | None, int]:
    """Return where the CNAME at a name leads, and the longest TTL of those on the way."""
    first = find(answer.answer, here, dns.rdatatype.CNAME)
    if first is None:
        return None, 0
    ttls = [rrset.ttl for rrset in answer.answer if rrset.rdtype == dns.rdatatype.CNAME]
    try:
        return DomainName.parse(first[0].target.to_text()), max(ttls)
    except BadName:
        return DomainName(first[0].target.to_text(omit_final_dot=True).lower()), max(ttls)


def _is_below(answer: dns.message.Message, owner: DomainName, zone: ZoneName) -> bool:
    """Whether an answer with authority comes from a zone below: it is on the same server."""
    names = [
        rrset.name.to_text(omit_final_dot=True).lower()
        for rrset in answer.authority
        if rrset.rdtype in (dns.rdatatype.SOA, dns.rdatatype.NS)
    ]
    names += [
        rdata.signer.to_text(omit_final_dot=True).lower()
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.RRSIG and rrset.covers == dns.rdatatype.TLSA
        for rdata in rrset
    ]
    return any(
        name.endswith(f".{zone}") and (owner.text == name or owner.text.endswith(f".{name}"))
        for name in names
    )


def _signed_until(answer: dns.message.Message, name: dns.name.Name) -> datetime | None:
    ends = [
        # RFC 4034 §3.1.5: seconds since 1970, in 32 bits.
        datetime.fromtimestamp(rdata.expiration, UTC)
        for rrset in answer.answer
        if rrset.name == name
        and rrset.rdclass == dns.rdataclass.IN
        and rrset.rdtype == dns.rdatatype.RRSIG
        and rrset.covers == dns.rdatatype.TLSA
        for rdata in rrset
    ]
    return max(ends, default=None)
