"""What the owner of a record is in DNS, found before anything is written there.

The records that we write have owners (`_acme-challenge.www.example.com` TXT,
`_25._tcp.mail.example.com` TLSA), and the configuration says in which zone they are. DNS may see it
otherwise:

- a part of the zone is a zone of its own (a cut, RFC 1034 §4.2), which hides what is written
  above it;
- the owner is a CNAME, or below a DNAME (RFC 6672): what is written beside it is refused, or
  breaks the zone file;
- a wildcard answers for the owner (RFC 4592): a record at the owner itself is served in its
  place. But it makes nodes of the names above it that were none before, and the wildcard no
  longer answers for those: a host that has its address from `*.apps` has none while there is
  anything below it.

`OwnerLook` asks every name server of one zone, each question once, and gives `OwnerFacts` for each
owner:

    looking = OwnerLook(zone, await authoritative(zone, primary, resolver))
    finding = await looking.at(owner)
    finding.zone       the zone that the owner is in; `finding.in_child`: in one below ours
    finding.alias      the CNAME at the owner; `alias.is_real`: not made by a wildcard
    finding.overshadowed    the names that would lose what a wildcard gives them

Only name servers of the zone are believed: a resolver that lies about it changes nothing.

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.dns.answers import find, rcode_of
from sslmd.dns.ask import NameServer, OutOfReach, Unanswered, ask

# A label that nobody has. It stands in the query logs of name servers: it says who asks.
PROBE = "_sslmd-no-such-name"

# What a wildcard may have, to tell one from another.
_SHAPES = ("A", "AAAA", "MX", "TXT")

# Seconds for which a finding counts where no record of it has a TTL.
_TTL = 60

# Servers that a text names.
_MOST_TOLD = 5


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
class OwnerFacts:
    """What `owner` is, as all name servers say that answer.

    `asked`: the zone whose name servers were asked. `zone`: the one that the owner is in, by the
    SOA or the referral in their answers. `wildcard` is the one that answers for the owner, where
    `node` says so, and `absent` the names from the owner upward that do not exist, up to the
    wildcard's place. `silent`: servers that did not answer, and why, without those that this
    machine has no way to. `ttl`: seconds for which this counts.
    """

    owner: DomainName
    asked: ZoneName
    zone: ZoneName
    node: Node
    alias: Alias | None = None
    wildcard: DomainName | None = None
    absent: tuple[DomainName, ...] = ()
    silent: tuple[str, ...] = ()
    ttl: int = _TTL

    @property
    def in_child(self) -> bool:
        """Whether it is in a zone below the one that was asked, delegated or on the same server."""
        return self.zone != self.asked and DomainName(self.zone.text).is_within(self.asked)

    @property
    def in_parent(self) -> bool:
        """Whether what was asked for as a zone is none, but a part of `zone`."""
        return self.zone != self.asked and not self.in_child

    @property
    def overshadowed(self) -> tuple[DomainName, ...]:
        """The names above the owner that a record there would take from the wildcard, lowest first.

        They do not exist, and get all that they have from `wildcard`. A record at the owner makes
        them empty non-terminals, with nothing (RFC 4592 §2.2.2). Empty where no harm is done.
        """
        return tuple(name for name in self.absent if name != self.owner)

    @property
    def is_plain(self) -> bool:
        """Whether a record at the owner, in the zone that was asked, is served and harms none."""
        real = self.alias is not None and self.alias.is_real
        return self.zone == self.asked and not real and not self.overshadowed


class Contradictory(Transient):
    """A zone's name servers do not say the same; that may pass."""


class OwnerLook:
    """Asks the name servers of one zone about owners. For one attempt: it keeps all answers.

    `foreign`: nothing is written in that zone, and CNAMEs that wildcards make there stay. Elsewhere
    servers need not agree on these: what is written takes their place on all of them.
    """

    def __init__(
        self, zone: ZoneName, servers: Sequence[NameServer], *, foreign: bool = False
    ) -> None:
        self.zone = zone
        self._foreign = foreign
        self._views = [_View(server, zone) for server in dict.fromkeys(servers)]

    async def at(self, owner: DomainName) -> OwnerFacts:
        """Return what `owner`, a name in the zone, is.

        Raises `Transient` if no server tells, `Contradictory` if they contradict each other, naming
        the servers and what they said, and `Permanent` for a CNAME that leads to no host name.
        """
        said = await asyncio.gather(*(view.of(owner) for view in self._views))
        heard = [one for one in said if isinstance(one, _Said)]
        silent = [one for one in said if isinstance(one, _Unheard)]
        if not heard:
            told = "; ".join(str(one) for one in silent[:_MOST_TOLD]) or "it has none"
            raise Transient(f"no name server tells of {owner}: {told}", about=f"zone {self.zone}")
        self._same(owner, heard)
        # One that serves the child knows more than one that only refers to it.
        known = [one for one in heard if one.node is not Node.UNKNOWN] or heard
        best = max(known, key=lambda one: len(one.absent))
        return OwnerFacts(
            owner,
            self.zone,
            best.zone,
            best.node,
            best.alias,
            best.wildcard,
            best.absent,
            tuple(str(one) for one in silent if not one.out_of_reach),
            min(one.ttl for one in heard),
        )

    async def all(self, owners: Iterable[DomainName]) -> dict[DomainName, OwnerFacts | SslmError]:
        """Return the finding of each owner, or why there is none: one keeps out no other (I6)."""
        names = list(dict.fromkeys(owners))
        found = await asyncio.gather(*map(self.at, names), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, SslmError):
                raise one
        return {
            name: one
            for name, one in zip(names, found, strict=True)
            if isinstance(one, OwnerFacts | SslmError)
        }

    def _same(self, owner: DomainName, heard: Sequence[_Said]) -> None:
        """Raise `Contradictory` if the servers do not say the same."""
        tellers: dict[str, list[NameServer]] = {}
        for one in heard:
            tellers.setdefault(one.text(), []).append(one.server)
        if len({one.zone for one in heard}) == 1:
            aliases = {
                (one.alias.target, one.alias.made, one.alias.by)
                if one.alias is not None and (one.alias.is_real or self._foreign)
                else None
                for one in heard
                if one.node is not Node.UNKNOWN
            }
            if len(aliases) <= 1:
                return
        told = "; ".join(
            f"{', '.join(map(str, servers[:_MOST_TOLD]))} {'says' if len(servers) == 1 else 'say'} "
            f"that {text}"
            for text, servers in tellers.items()
        )
        raise Contradictory(
            f"its name servers contradict each other about {owner}: {told}; wait "
            "for the transfer to those that are behind, or make the zone the same on all servers",
            about=f"zone {self.zone}",
        )


@dataclass(frozen=True, slots=True)
class _Said:
    """What one server says of an owner."""

    server: NameServer
    zone: ZoneName
    node: Node
    alias: Alias | None = None
    wildcard: DomainName | None = None
    absent: tuple[DomainName, ...] = ()
    ttl: int = _TTL

    def text(self) -> str:
        """Return the part of it that servers have to agree on."""
        where = f"it is in zone {self.zone}"
        if self.alias is None:
            return where
        through = "" if self.alias.made is Made.HERE else f" through {self.alias.by}"
        return f"{where} and a CNAME to {self.alias.target}{through}"


@dataclass(frozen=True, slots=True)
class _Unheard:
    """Why a server says nothing, with its name. `out_of_reach`: this machine has no way to it."""

    problem: str
    out_of_reach: bool = False

    def __str__(self) -> str:
        return self.problem


class _UselessError(Exception):
    """An answer that says nothing; its text says why, with the server."""


_Question = tuple[str, str, bool]  # name, type, with signatures


@dataclass(frozen=True, slots=True)
class _Gift:
    """What a name has, all of it from one wildcard if from any.

    `depth`: labels of the name that the wildcard stands below, as the signatures say; None if they
    do not tell.
    """

    shape: frozenset[str] = frozenset()
    depth: int | None = None


_NOTHING = _Gift()


class _View:
    """The zone as one server shows it; each question is asked once."""

    def __init__(self, server: NameServer, zone: ZoneName) -> None:
        self.server = server
        self._zone = zone
        self._answers: dict[_Question, dns.message.Message] = {}
        self._turns: defaultdict[_Question, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._silent: Unanswered | None = None

    async def of(self, owner: DomainName) -> _Said | _Unheard:
        """Return what the server says of an owner."""
        try:
            return await self._of(owner)
        except _UselessError as err:
            return _Unheard(str(err))
        except Unanswered as err:
            return _Unheard(str(err), isinstance(err, OutOfReach))

    async def _of(self, owner: DomainName) -> _Said:
        answer = await self._good(owner.text)
        if child := delegation(answer, owner, self._zone):
            return _Said(self.server, child, Node.UNKNOWN, ttl=_least_ttl(answer))
        ttl = _least_ttl(answer)
        here = dns.name.from_text(owner.text)
        cname = find(answer.answer, here, dns.rdatatype.CNAME)
        if cname is None:
            zone = zone_in(answer, owner) or self._zone
            if answer.rcode() == dns.rcode.NXDOMAIN:
                return _Said(self.server, zone, Node.NONE, ttl=ttl)
            node, wildcard, absent = await self._existence(owner, zone)
            return _Said(self.server, zone, node, None, wildcard, absent, ttl)
        target = _name(owner, cname[0].target)
        zone = await self._zone_above(owner)
        if dname := _dname_in(answer, here):
            alias = Alias(target, Made.DNAME, _name(owner, dname))
            return _Said(self.server, zone, Node.NONE, alias, ttl=ttl)
        node, wildcard, absent = await self._existence(owner, zone)
        alias = Alias(target, Made.HERE, owner)
        if wildcard is not None:
            alias = Alias(target, Made.WILDCARD, wildcard)
        return _Said(self.server, zone, node, alias, wildcard, absent, ttl)

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
                if _labels(here) <= gift.depth:
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
        if answer.rcode() == dns.rcode.NXDOMAIN or not answer.flags & dns.flags.AA:
            return _NOTHING
        return await self._gift(probe, answer)

    async def _gift(self, name: str, answer: dns.message.Message) -> _Gift:
        """Return what there is at a name that exists, whose answer to CNAME this is."""
        here = dns.name.from_text(name)
        if cname := find(answer.answer, here, dns.rdatatype.CNAME):
            shape = {f"CNAME {cname[0].target.to_text().lower()}"}
            return _Gift(frozenset(shape), _depth_in(answer, here))
        shape, depth = set(), None
        for rdtype in _SHAPES:
            answer = await self._good(name, rdtype, dnssec=True)
            kind = dns.rdatatype.from_text(rdtype)
            found = find(answer.answer, here, kind) or ()
            shape |= {f"{rdtype} {rdata.to_text().lower()}" for rdata in found}
            depth = _depth_in(answer, here) if depth is None else depth
        return _Gift(frozenset(shape), depth)

    async def _differs(self, name: str, shape: frozenset[str]) -> bool:
        """Whether a name has other data than a wildcard, and is therefore none of its."""
        answer = await self._good(name, dnssec=True)
        if not answer.flags & dns.flags.AA:
            return True
        return (await self._gift(name, answer)).shape != shape

    async def _good(
        self, name: str, rdtype: str = "CNAME", *, dnssec: bool = False
    ) -> dns.message.Message:
        """Return an answer with authority, or a referral to a zone below.

        CNAMEs link by link: asked for TXT, BIND answers SERVFAIL where they go in a circle.
        """
        answer = await self._answer(name, rdtype, dnssec=dnssec)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            # A DNAME may make a name that is too long (YXDOMAIN, RFC 6672 §2.2): no use either.
            raise _UselessError(f"{self.server} answers {rcode_of(answer)}")
        if answer.flags & dns.flags.AA or delegation(answer, DomainName(name), self._zone):
            return answer
        raise _UselessError(f"{self.server} is not authoritative for it")

    async def _answer(self, name: str, rdtype: str, *, dnssec: bool) -> dns.message.Message:
        key = (name, rdtype, dnssec)
        async with self._turns[key]:
            if key in self._answers:
                return self._answers[key]
            if self._silent is not None:
                # The rest would have to wait as long, one after the other.
                raise type(self._silent)(self.server, self._silent.problem)
            try:
                answer = self._answers[key] = await ask(self.server, name, rdtype, dnssec=dnssec)
            except Unanswered as err:
                self._silent = err
                raise
        return answer


def delegation(answer: dns.message.Message, name: DomainName, zone: ZoneName) -> ZoneName | None:
    """Return the zone below ours to which an answer refers (RFC 1034 §4.3.2), None if none."""
    if answer.flags & dns.flags.AA or answer.answer:
        return None
    for rrset in answer.authority:
        if rrset.rdtype != dns.rdatatype.NS:
            continue
        child = rrset.name.to_text().rstrip(".").lower()
        if child.endswith(f".{zone}") and name.is_within(ZoneName(child)):
            return ZoneName(child)
    return None


def zone_in(answer: dns.message.Message, name: DomainName) -> ZoneName | None:
    """Return the zone that the SOA of a negative answer names (RFC 2308 §3), None without one."""
    for rrset in answer.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            zone = ZoneName(rrset.name.to_text().rstrip(".").lower())
            if zone.text and name.is_within(zone):
                return zone
    return None


def _dname_in(answer: dns.message.Message, here: dns.name.Name) -> dns.name.Name | None:
    """Return the owner of the DNAME of which a CNAME at `here` was made, None if there is none."""
    for rrset in answer.answer:
        if rrset.rdtype == dns.rdatatype.DNAME and here.is_subdomain(rrset.name):
            return rrset.name
    return None


def _labels(name: str) -> int:
    return name.count(".") + 1


def _depth_in(answer: dns.message.Message, here: dns.name.Name) -> int | None:
    """Return how many labels a signature covers of a name that a wildcard made (RFC 4034 §3.1.3).

    None where there is no signature, or one as of a name that exists.
    """
    for rrset in answer.answer:
        if rrset.rdtype == dns.rdatatype.RRSIG and rrset.name == here and rrset:
            labels = int(rrset[0].labels)
            return labels if labels < len(here) - 1 else None
    return None


def _least_ttl(answer: dns.message.Message) -> int:
    """Return for how many seconds an answer counts; a negative one as RFC 2308 §5 says."""
    ttls = [rrset.ttl for rrset in answer.answer]
    for rrset in answer.authority:
        if rrset.rdtype == dns.rdatatype.SOA and rrset:
            ttls.append(min(rrset.ttl, int(rrset[0].minimum)))
        elif rrset.rdtype == dns.rdatatype.NS:
            ttls.append(rrset.ttl)
    return min(ttls, default=_TTL)


def _name(owner: DomainName, name: dns.name.Name) -> DomainName:
    try:
        return DomainName.parse(name.to_text())
    except BadName as err:
        raise Permanent(f"the CNAME of {owner} leads to no host: {err}; correct it") from None
