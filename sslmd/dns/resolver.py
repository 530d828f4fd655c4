"""Questions to resolvers, for names that are in no zone of ours."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Sequence

from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason, Said
from sslmd.dns.answers import (
    addresses_in,
    end_of_chain,
    error_in,
    find,
    is_at_or_below,
    plain_name,
)
from sslmd.dns.ask import DnsAsker, Mute, NameServer, Unanswered, of_server
from sslmd.dns.bounds import clock
from sslmd.net.dns_messages import DnsAnswer, RecordSet

# Seconds for an answer, all resolvers and tries together, and for one of them to answer.
LIFETIME = 8.0
EACH = 2.0

# Times that each resolver is asked, and seconds after which its file is read again even if it
# looks unchanged: it changes when a machine moves.
ROUNDS = 2
KEPT = 60.0

SYSTEM = "/etc/resolv.conf"


class Resolver:
    """Asks resolvers, in order; `servers` None stands for those of the system's `file`."""

    def __init__(
        self, asker: DnsAsker, servers: Sequence[NameServer] | None = None, file: str = SYSTEM
    ) -> None:
        self.asker = asker
        self._given = None if servers is None else tuple(servers)
        self._file = file
        self._read: tuple[NameServer, ...] = ()
        self._read_at = 0.0
        self._stamp: tuple[int, ...] = ()

    async def lookup(self, name: str, rdtype: str) -> RecordSet | None:
        """Return the records that `name` has, CNAMEs followed; None if it has none.

        Asked for CNAME, that of the name itself. Raises `Transient` when no resolver tells, naming
        them and what they said.
        """
        answer = await self._answer(name, rdtype)
        here = plain_name(name)
        if rdtype != "CNAME":
            here = end_of_chain(answer, here)
        return find(answer.answer, here, rdtype)

    async def zone_of(self, name: str) -> ZoneName | None:
        """Return the zone that a name is in, by the SOA in answers; None if they name none.

        Raises what `lookup` raises.
        """
        while "." in name:
            here = plain_name(name)
            answer = await self._answer(name, "SOA")
            # With a CNAME, the SOA is of where that leads; but no apex is one.
            if find(answer.answer, here, "CNAME") is None:
                for found in (*answer.answer, *answer.authority):
                    if found.type == "SOA" and is_at_or_below(here, found.owner):
                        return ZoneName(found.owner) if found.owner != "." else None
            name = name.partition(".")[2]
        return None

    async def end_of(self, name: str) -> str:
        """Return where the CNAMEs of a name lead, itself if there are none; raises as `lookup`."""
        answer = await self._answer(name, "A")
        return end_of_chain(answer, plain_name(name))

    async def _answer(self, name: str, rdtype: str) -> DnsAnswer:
        """Return the first answer that is one; raises what `lookup` raises."""
        servers = self.servers()
        problems: dict[Reason, None] = {}
        lost = 0.0
        for server in servers * ROUNDS:
            try:
                answer = await self.asker.ask(server, name, rdtype, recursive=True, timeout=EACH)
            except Unanswered as err:
                problems[err.reason] = None
                # What waited for its turn lost no time: others may ask for many names.
                lost += EACH if isinstance(err, Mute) else 0.0
                if lost >= LIFETIME:
                    break
                continue
            if (error := error_in(answer)) is None:
                return answer
            problems[of_server(server, error)] = None
        said = tuple(problems) or None
        raise Transient(Reason(Failed.NOT_LOOKED_UP, name=name, type=rdtype, said=said))

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the IPv4 and IPv6 addresses of a host, itself if it is an address.

        Those that this machine alone knows (`/etc/hosts`) count where DNS has none, and the
        system's resolvers are used. Raises `Transient` when nobody can tell.
        """
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        try:
            found = await asyncio.gather(self.lookup(host, "A"), self.lookup(host, "AAAA"))
        except Transient:
            if known := await self._known_here(host):
                return known
            raise
        addresses = tuple(address for one in found for address in addresses_in(one))
        return addresses or await self._known_here(host)

    async def _known_here(self, host: str) -> tuple[str, ...]:
        return await self.asker.look_up(host) if self._given is None else ()

    def servers(self) -> tuple[NameServer, ...]:
        """Return the resolvers, in order. Raises `Transient` if the system names none."""
        if self._given is not None:
            return self._given
        now = clock()
        try:
            info = os.stat(self._file)
            stamp = (info.st_mtime_ns, info.st_ino, info.st_size)
            if stamp != self._stamp or now - self._read_at >= KEPT:
                self._read = _read(self._file)
                self._stamp, self._read_at = stamp, now
        except OSError as err:
            why = Reason(Failed.RESOLVERS_UNREAD, file=self._file, said=Said(err.strerror))
            raise Transient(why) from None
        if not self._read:
            raise Transient(Reason(Failed.RESOLVERS_NONE, file=self._file))
        return self._read


def _read(file: str) -> tuple[NameServer, ...]:
    """Return the resolvers that a file in the form of resolv.conf(5) names."""
    with open(file, encoding="utf-8", errors="replace") as lines:
        words = [line.split() for line in lines]
    return tuple(NameServer(one[1]) for one in words if len(one) > 1 and one[0] == "nameserver")
