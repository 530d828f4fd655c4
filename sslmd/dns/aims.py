"""Where a record has to be written so that it is found at its owner: after CNAMEs, in which zone.

In a zone of ours its own name servers are asked (`owners`), and they alone. Elsewhere a resolver
finds the zone and its name servers, and these are asked; the resolver's own word counts only where
they cannot be. So nothing is written where it would not be served:
docs/decisions/2026-11-30-owners-are-looked-at-first.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from sslmd.config.model import Config
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.reason import Reason, Said
from sslmd.core.records import zone_of
from sslmd.dns.answers import LONGEST_CHAIN, targets_in
from sslmd.dns.ask import NameServer
from sslmd.dns.bounds import clock
from sslmd.dns.nameservers import authoritative
from sslmd.dns.owner_view import Alias, Made, Node
from sslmd.dns.owners import Contradictory, OwnerFacts, OwnerLook
from sslmd.dns.resolver import Resolver

# Seconds for which a finding counts at most, whatever its TTL.
KEPT = 600.0

Servers = Callable[[ZoneName], Awaitable[Sequence[NameServer]]]


@dataclass(frozen=True, slots=True)
class Aim:
    """A record is written at `owner` in `zone`.

    `overshadowed`: names that lose what `wildcard` gives them while it is there.
    """

    zone: ZoneName
    owner: DomainName
    wildcard: DomainName | None = None
    overshadowed: tuple[DomainName, ...] = ()


@dataclass(slots=True)
class Learnt:
    """Findings that the next try of an order need not ask for again, while their TTLs last.

    Only what is in order is kept: what is wrong is looked at again.
    """

    _findings: dict[tuple[ZoneName, DomainName], tuple[OwnerFacts, float]] = field(
        default_factory=dict
    )

    def recall(self, zone: ZoneName, owner: DomainName) -> OwnerFacts | None:
        """Return what is still known of an owner in a zone."""
        finding, until = self._findings.get((zone, owner), (None, 0.0))
        return finding if clock() < until else None

    def note(self, finding: OwnerFacts) -> None:
        """Keep a finding if there is nothing to be done about it."""
        if finding.is_plain and not finding.silent:
            until = clock() + min(finding.ttl, KEPT)
            self._findings[finding.asked, finding.owner] = finding, until


class Aims:
    """Finds the aims of an order's records.

    `servers` gives the name servers of a zone of ours, `others` those of any other, both as
    `authoritative` does.
    """

    def __init__(
        self,
        config: Config,
        resolver: Resolver,
        servers: Servers,
        learnt: Learnt,
        others: Servers | None = None,
    ) -> None:
        self._config = config
        self._ours = config.zones()
        self._resolver = resolver
        self._servers = servers
        self._others = others
        self._learnt = learnt
        self._looks: dict[ZoneName, asyncio.Task[OwnerLook]] = {}

    @property
    def seen(self) -> set[ZoneName]:
        """The zones whose name servers were asked, others' among them."""
        return set(self._looks)

    async def find(self, owner: DomainName) -> Aim:
        """Return where a record is written that clients look for at `owner`.

        Raises `Permanent` where it can be written nowhere, with what to do about that, `Transient`
        where that is not known, or the servers of a zone contradict each other.
        """
        chain = [owner]
        while len(chain) <= LONGEST_CHAIN:
            at = chain[-1]
            zone = zone_of(at, self._ours)
            found = await self._elsewhere(at) if zone is None else await self._inside(at, zone)
            if isinstance(found, Aim):
                return found
            if found is None:
                zones, last = tuple(map(str, sorted(self._ours))), at if at != owner else None
                raise Permanent(Reason(Failed.OWNER_NOWHERE, owner=owner, at=last, zones=zones))
            chain.append(found.target)
            if found.target in chain[:-1]:
                names = tuple(map(str, chain))
                raise Permanent(Reason(Failed.CNAMES_CIRCLE, owner=owner, names=names))
        raise Permanent(Reason(Failed.CNAMES_LONG, owner=owner, names=tuple(map(str, chain))))

    async def _inside(self, at: DomainName, zone: ZoneName) -> Aim | Alias:
        """Return the aim of a name in a zone of ours, or the CNAME that is there."""
        finding = await self._finding(at, zone)
        if finding.in_parent and finding.zone in self._ours:
            zone = finding.zone
            finding = await self._finding(at, zone)
        alias = finding.alias
        if alias is None and finding.in_child and finding.node is Node.UNKNOWN:
            alias = await self._alias_in(finding.zone, at)
        if alias is not None and alias.is_real:
            if finding.silent:
                # Later only the target is looked at; but the CA may ask any of these.
                why = finding.silent[0]
                raise Transient(Reason(Failed.ALIAS_UNSURE, owner=at, target=alias.target, why=why))
            return alias
        if finding.in_child:
            why = Reason(Failed.OWNER_BELOW, owner=at, zone=zone, child=finding.zone)
            raise Permanent(why)
        primary = self._config.primary_for(zone)
        if finding.in_parent and primary is not None and primary.update:
            raise Permanent(Reason(Failed.OWNER_ABOVE, owner=at, zone=zone, parent=finding.zone))
        return Aim(zone, at, finding.wildcard, finding.overshadowed)

    async def _finding(self, at: DomainName, zone: ZoneName) -> OwnerFacts:
        if (known := self._learnt.recall(zone, at)) is not None:
            return known
        finding = await (await self._look(zone)).at(at)
        self._learnt.note(finding)
        return finding

    async def _look(self, zone: ZoneName) -> OwnerLook:
        if zone not in self._looks:
            self._looks[zone] = asyncio.ensure_future(self._make_look(zone))
        return await asyncio.shield(self._looks[zone])

    async def _make_look(self, zone: ZoneName) -> OwnerLook:
        if zone in self._ours:
            return OwnerLook(self._resolver.asker, zone, await self._servers(zone))
        if self._others is not None:
            servers = await self._others(zone)
        else:
            below = any(zone.text.endswith(f".{one}") for one in self._ours)
            servers = await authoritative(zone, None, self._resolver, foreign=not below)
        return OwnerLook(self._resolver.asker, zone, servers, foreign=True)

    async def _alias_in(
        self, zone: ZoneName, at: DomainName, unknown: Alias | None = None
    ) -> Alias | None:
        """Return the CNAME of a name in a zone; `unknown` where no name server tells."""
        try:
            return (await (await self._look(zone)).at(at)).alias
        except Contradictory:
            raise
        except Transient:
            return unknown

    async def _elsewhere(self, at: DomainName) -> Alias | None:
        """Return the CNAME of a name in no zone of ours, None without one.

        One that a wildcard made is one as well: nothing of ours ever stands beside it.
        """
        said = None
        if targets := targets_in(await self._resolver.lookup(at.text, "CNAME")):
            try:
                said = Alias(DomainName.parse(targets[0]), Made.HERE, at)
            except BadName as err:
                raise Permanent(Reason(Failed.CNAME_NO_HOST, owner=at, said=Said(err))) from None
        zone = await self._resolver.zone_of(at.text)
        if zone is None:
            return said
        alias = await self._alias_in(zone, at, said)  # the CA asks resolvers of its own, too
        if alias is None and said is not None:
            raise Transient(Reason(Failed.ALIAS_UNKNOWN, owner=at, target=said.target, zone=zone))
        return alias
