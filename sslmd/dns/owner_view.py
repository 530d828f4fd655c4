"""What one server says of the owner of a record: see `owners`.

How a wildcard is found: a name *below* the owner is asked for. Where the owner exists, the wildcard
does not reach below it (the closest encloser is the owner, RFC 4592 §3.3.1), and there is no such
name. Where it answers, the signature says where the wildcard stands (RFC 4035 §5.3.4). Without
signatures, or with those of a server that signs as it answers and hides that (RFC 9824), the data
have to tell: the owner does not exist, or has a wildcard of its own below it, which then gives
other data than the one above.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum, auto

import dns.rcode

from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.reason import Reason, Said
from sslmd.dns.answers import (
    delegation,
    depth_in,
    dname_in,
    find,
    least_ttl,
    targets_in,
    unfit,
    zone_in,
)
from sslmd.dns.ask import DnsAsker, NameServer, OutOfReach, Unanswered
from sslmd.net.dns_messages import DnsAnswer

# A label that nobody has. It stands in the query logs of name servers: it says who asks.
PROBE = "_sslmd-no-such-name"

# What a wildcard may have, to tell one from another.
_SHAPES = ("A", "AAAA", "MX", "TXT")

# Seconds for which a finding counts where no record of it has a TTL.
TTL = 60


class Node(Enum):
    """How a name exists (RFC 4592 §2.2)."""

    OWN = auto()  # it has records, or names below it have some (an empty non-terminal)
    WILDCARD = auto()  # it does not exist, and a wildcard answers for it
    NONE = auto()  # it does not exist, and nothing answers for it (NXDOMAIN)
    UNKNOWN = auto()  # it is in a zone that the servers do not serve


class Made(Enum):
    """Where a CNAME comes from."""

    HERE = auto()  # it is a record at the owner
    WILDCARD = auto()  # of a wildcard: it goes when anything stands at the owner itself
    DNAME = auto()  # of a DNAME above: nothing at the owner is ever served


@dataclass(frozen=True, slots=True)
class Alias:
    """A CNAME in an answer. `by`: the owner of the record that it was made of."""

    target: DomainName
    made: Made
    by: DomainName

    @property
    def is_real(self) -> bool:
        """Whether records of other types cannot stand at the owner."""
        return self.made is not Made.WILDCARD


@dataclass(frozen=True, slots=True)
class OwnerSaid:
    """What one server says of an owner."""

    server: NameServer
    zone: ZoneName
    node: Node
    alias: Alias | None = None
    wildcard: DomainName | None = None
    absent: tuple[DomainName, ...] = ()
    ttl: int = TTL

    def told(self) -> Reason:
        """Return the part of it that servers have to agree on."""
        if self.alias is None:
            return Reason(Failed.OWNER_IS, zone=self.zone)
        by = None if self.alias.made is Made.HERE else self.alias.by
        return Reason(Failed.OWNER_IS, zone=self.zone, target=self.alias.target, by=by)


@dataclass(frozen=True, slots=True)
class OwnerUnheard:
    """Why a server says nothing, with its name. `out_of_reach`: this machine has no way to it."""

    why: Reason
    out_of_reach: bool = False


_Question = tuple[str, str, bool]  # name, type, with signatures


@dataclass(frozen=True, slots=True)
class _Gift:
    """What a name has, all of it from one wildcard if from any.

    `depth`: labels of the name that the wildcard stands below, as the signatures say; None if they
    do not tell.
    """

    shape: frozenset[object] = frozenset()
    depth: int | None = None


_NOTHING = _Gift()


class OwnerView:
    """The zone as one server shows it; each question is asked once."""

    def __init__(self, asker: DnsAsker, server: NameServer, zone: ZoneName) -> None:
        self._asker = asker
        self.server = server
        self._zone = zone
        self._answers: dict[_Question, DnsAnswer] = {}
        self._turns: defaultdict[_Question, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._silent: Unanswered | None = None

    async def of(self, owner: DomainName) -> OwnerSaid | OwnerUnheard:
        """Return what the server says of an owner."""
        try:
            return await self._of(owner)
        except Unanswered as err:
            return OwnerUnheard(err.reason, isinstance(err, OutOfReach))

    async def _of(self, owner: DomainName) -> OwnerSaid:
        answer = await self._good(owner.text)
        if child := delegation(answer, owner, self._zone):
            return OwnerSaid(self.server, child, Node.UNKNOWN, ttl=least_ttl(answer, TTL))
        ttl = least_ttl(answer, TTL)
        here = owner.text
        targets = targets_in(find(answer.answer, here, "CNAME"))
        if not targets:
            zone = zone_in(answer, owner) or self._zone
            if answer.rcode == dns.rcode.NXDOMAIN:
                return OwnerSaid(self.server, zone, Node.NONE, ttl=ttl)
            node, wildcard, absent = await self._existence(owner, zone)
            return OwnerSaid(self.server, zone, node, None, wildcard, absent, ttl)
        target = _name(owner, targets[0])
        zone = await self._zone_above(owner)
        if dname := dname_in(answer, here):
            alias = Alias(target, Made.DNAME, _name(owner, dname))
            return OwnerSaid(self.server, zone, Node.NONE, alias, ttl=ttl)
        node, wildcard, absent = await self._existence(owner, zone)
        alias = Alias(target, Made.HERE, owner)
        if wildcard is not None:
            alias = Alias(target, Made.WILDCARD, wildcard)
        return OwnerSaid(self.server, zone, node, alias, wildcard, absent, ttl)

    async def _zone_above(self, owner: DomainName) -> ZoneName:
        """Return the zone of a CNAME, which is that of the name above it: no apex is a CNAME.

        The answer to a CNAME names no zone; where the name above is one as well, it goes on.
        """
        name = owner.text
        while name != self._zone.text and "." in name:
            name = name.partition(".")[2]
            answer = await self._good(name)
            above = DomainName(name)
            if child := delegation(answer, above, self._zone):
                return child
            if zone := zone_in(answer, above):
                return zone
        return self._zone

    async def _existence(
        self, owner: DomainName, zone: ZoneName
    ) -> tuple[Node, DomainName | None, tuple[DomainName, ...]]:
        """Return whether a name that answers exists; the wildcard if not, and what is absent."""
        gift = await self._below(owner.text) if owner.text != zone.text else _NOTHING
        if not gift.shape:
            return Node.OWN, None, ()
        here, absent = owner.text, []
        while here != zone.text and "." in here:
            above = here.partition(".")[2]
            if gift.depth is not None:
                if here.count(".") + 1 <= gift.depth:
                    break
            elif (await self._below(above)).shape != gift.shape:
                break  # the wildcard stands below `here`, which therefore exists
            absent.append(DomainName(here))
            here = above
            if gift.depth is None and here != zone.text and await self._differs(here, gift.shape):
                break  # what it has is its own, and the wildcard the one below it
        if not absent:
            return Node.OWN, None, ()
        return Node.WILDCARD, DomainName(f"*.{here}"), tuple(absent)

    async def _below(self, name: str) -> _Gift:
        """Return what a wildcard gives to a name below `name`.

        That there is such a name means nothing yet: servers that sign as they answer say so of
        every name, with no data (RFC 9824).
        """
        probe = f"{PROBE}.{name}"
        if len(probe) > 253:
            return _NOTHING
        answer = await self._good(probe, dnssec=True)
        if answer.rcode == dns.rcode.NXDOMAIN or not answer.is_authoritative:
            return _NOTHING
        return await self._gift(probe, answer)

    async def _gift(self, name: str, answer: DnsAnswer) -> _Gift:
        """Return what there is at a name that exists, whose answer to CNAME this is."""
        if cname := find(answer.answer, name, "CNAME"):
            return _Gift(frozenset(cname.records), depth_in(answer, name))
        shape: set[object] = set()
        depth = None
        for rdtype in _SHAPES:
            answer = await self._good(name, rdtype, dnssec=True)
            if found := find(answer.answer, name, rdtype):
                shape.update(found.records)
            depth = depth_in(answer, name) if depth is None else depth
        return _Gift(frozenset(shape), depth)

    async def _differs(self, name: str, shape: frozenset[object]) -> bool:
        """Whether a name has other data than a wildcard, and is therefore none of its."""
        answer = await self._good(name, dnssec=True)
        if not answer.is_authoritative:
            return True
        return (await self._gift(name, answer)).shape != shape

    async def _good(self, name: str, rdtype: str = "CNAME", *, dnssec: bool = False) -> DnsAnswer:
        """Return an answer with authority, or a referral to a zone below.

        CNAMEs link by link: asked for TXT, BIND answers SERVFAIL where they go in a circle.
        """
        key = (name, rdtype, dnssec)
        async with self._turns[key]:
            if key not in self._answers:
                if self._silent is not None:
                    # The rest would have to wait as long, one after the other.
                    raise type(self._silent)(self.server, self._silent.why)
                try:
                    self._answers[key] = await self._asker.ask(
                        self.server, name, rdtype, dnssec=dnssec
                    )
                except Unanswered as err:
                    self._silent = err
                    raise
        if why := unfit(self._answers[key], DomainName(name), self._zone):
            raise Unanswered(self.server, why)
        return self._answers[key]


def _name(owner: DomainName, name: str) -> DomainName:
    try:
        return DomainName.parse(name)
    except BadName as err:
        raise Permanent(Reason(Failed.CNAME_NO_HOST, owner=owner, said=Said(err))) from None
