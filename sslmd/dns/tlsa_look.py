"""What each name server serves of a zone's TLSA records: nothing is believed until seen (I4).

Every address of every server is asked for every owner. Whatever comes back, nothing here raises:
a record that was not seen in a proper answer is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from sslmd.core.names import DomainName, ZoneName
from sslmd.core.tlsa import Owned, Tlsa
from sslmd.dns.answers import end_of_chain, rcode_of, tlsa_in
from sslmd.dns.ask import NameServer, OutOfReach, Unanswered, ask
from sslmd.dns.observe import AT_ONCE, zone_serial


@dataclass(frozen=True, slots=True)
class OwnerSeen:
    """What a server shows at one owner. `ttl`: seconds, 0 without records.

    `signed_until`: when the last of the signatures over the records ends, None if there is none.
    `fault`: why its answer is none, without the server's name, "" if it is one.
    """

    records: frozenset[Tlsa] = frozenset()
    ttl: int = 0
    signed_until: datetime | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """What one server shows. `owners` has those that were answered.

    `silent`: why it did not answer, `out_of_reach`: why it cannot be asked from this machine, both
    without its name, "" if it was; then nothing more was asked. `serial`: of its zone, None if it
    tells none.
    """

    server: NameServer
    owners: Mapping[DomainName, OwnerSeen]
    silent: str = ""
    out_of_reach: str = ""
    serial: int | None = None


async def look_at(
    zone: ZoneName, servers: Sequence[NameServer], owners: Collection[DomainName]
) -> list[ServerSeen]:
    """Return what each of the servers shows at the owners, in the order of `servers`.

    They are asked side by side, each at most `observe.AT_ONCE` questions at a time.
    """
    looks = [_Look(zone, server, owners) for server in servers]
    return list(await asyncio.gather(*(look.run() for look in looks)))


def missing_at(seen: ServerSeen, wanted: frozenset[Owned]) -> frozenset[Owned]:
    """Return which of the records a server was not seen to serve: all, if it did not answer."""
    return wanted - _records(seen)


def surplus(seen: ServerSeen, wanted: frozenset[Owned]) -> frozenset[Owned]:
    """Return what a server serves, at the owners that it was asked for, and should not."""
    return _records(seen) - wanted


def _records(seen: ServerSeen) -> frozenset[Owned]:
    return frozenset(
        (owner, record) for owner, one in seen.owners.items() for record in one.records
    )


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

    async def run(self) -> ServerSeen:
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
                        self.owners[owner] = await _look(self.server, owner)
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
        return ServerSeen(self.server, owners, self.silent, self.out_of_reach, self.serial)


async def _look(server: NameServer, owner: DomainName) -> OwnerSeen:
    answer = await ask(server, owner, "TLSA", dnssec=True)
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return OwnerSeen(fault=f"answers {rcode_of(answer)} for {owner} TLSA")
    if not answer.flags & dns.flags.AA:
        return OwnerSeen(fault=f"is not authoritative for {owner}")
    # RFC 7671 §7: an alias may stand at the owner.
    here = dns.name.from_text(owner.text)
    end = end_of_chain(answer, here)
    records, ttl = tlsa_in(answer, end)
    if not records and end != here:
        where = end.to_text(omit_final_dot=True)
        return OwnerSeen(fault=f"has a CNAME at {owner} that leads to {where}")
    return OwnerSeen(records, ttl, _signed_until(answer, end) if records else None)


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
