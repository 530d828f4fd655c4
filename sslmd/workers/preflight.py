"""What can be known before an order, so that no attempt at the CA is wasted (RFC 8555 §7.1.3).

Asked are the authoritative name servers where a zone is ours, a resolver elsewhere: where the
challenges of dns-01 belong, whether CAA allows this CA, whether the zones' DNSSEC holds.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sslmd.acme.directory import Directory
from sslmd.config.model import Config, Validation
from sslmd.core.errors import Permanent, Transient, several, together
from sslmd.core.failed import Failed
from sslmd.core.names import CertId, DomainName, SanName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import challenge_owner, zone_of
from sslmd.dns.aims import Aim, Aims, Learnt
from sslmd.dns.ask import NameServer
from sslmd.dns.caa import Lookup, Property, caa_lookup, forbidden, names_account
from sslmd.dns.dnssec import bogus, bogus_here
from sslmd.dns.nameservers import addresses_at, authoritative, follow
from sslmd.dns.resolver import Resolver

_T = TypeVar("_T")


@dataclass(slots=True)
class Preflight:
    """The checks of one order. `account`: the account's URL at the CA, "" without one yet.

    `make_account` makes one and returns its URL. `warn` takes in what could not be checked and
    keeps nobody from an order. `learnt`:
    what earlier tries found out, and this one does.
    """

    cert: CertId
    config: Config
    resolver: Resolver
    directory: Directory
    validation: Validation
    account: str
    make_account: Callable[[], Awaitable[str]]
    warn: Callable[[Reason], None]
    learnt: Learnt = field(default_factory=Learnt)
    _servers: dict[ZoneName, asyncio.Task[tuple[NameServer, ...]]] = field(default_factory=dict)

    async def run(self, sans: tuple[SanName, ...]) -> Mapping[str, Aim]:
        """Return the aim of every name, by the name that the CA will give; none for http-01.

        Raises `Permanent` or `Transient` with everything that is in the way.
        """
        hosts = [name for name in sans if isinstance(name, DomainName)]
        aims: dict[str, Aim] = {}
        # A CA validates the zones of the names as well: their CAA records, addresses, CNAMEs.
        zones = self._zones_of(hosts)
        if self.validation is Validation.DNS_01:
            finding = Aims(self.config, self.resolver, self.servers, self.learnt)
            names = _without_stars(hosts)
            found = await _all([finding.find(challenge_owner(name)) for name in names])
            aims = {str(name): aim for name, aim in zip(names, found, strict=True)}
            zones |= finding.seen | {aim.zone for aim in found}
        await self._check_dnssec(zones)
        await self._check_caa(hosts)
        return aims

    async def servers(self, zone: ZoneName) -> tuple[NameServer, ...]:
        """Return the authoritative name servers of a zone of ours, looked up once."""
        if zone not in self._servers:
            looking = authoritative(zone, self.config.primary_for(zone), self.resolver)
            self._servers[zone] = asyncio.ensure_future(looking)
        return await self._servers[zone]

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses at which a CA finds `name`; itself if it is one.

        Raises `Transient` if nobody tells them.
        """
        try:
            return (str(ipaddress.ip_address(name)),)
        except ValueError:
            host = DomainName.parse(name)
        zone = zone_of(host, self.config.zones())
        if zone is None:
            return await self.resolver.addresses(name)
        try:
            followed = await follow(self.resolver.asker, host, zone, await self.servers(zone))
            if followed.delegated is None and followed.target.is_within(zone):
                return await addresses_at(
                    self.resolver.asker, followed.target, zone, await self.servers(zone)
                )
        except Transient as err:
            # A firewall may keep us from our own name servers, and not the CA.
            for resolver in dict.fromkeys((self._public(), self.resolver)):
                with suppress(Transient):
                    if found := await resolver.addresses(name):
                        return found
            raise err from None
        return await self.resolver.addresses(followed.target.text)

    def _zones_of(self, hosts: list[DomainName]) -> set[ZoneName]:
        ours = self.config.zones()
        return {zone for host in hosts if (zone := zone_of(host, ours)) is not None}

    async def _check_dnssec(self, zones: set[ZoneName]) -> None:
        found = await _all([self._bogus(zone) for zone in sorted(zones)])
        if problems := [problem for problem in found if problem]:
            # Nothing is lost by looking again soon: it is no attempt at the CA.
            raise Transient(several(problems))

    async def _bogus(self, zone: ZoneName) -> Reason | None:
        """Return what is wrong with a zone's DNSSEC, None if nothing is or nobody can tell."""
        resolver = self.config.globals.dns_validating_resolver
        if resolver is not None:
            return await bogus(self.resolver.asker, zone, NameServer(resolver.host, resolver.port))
        with suppress(Transient):  # the system has none
            return await bogus_here(self.resolver.asker, zone, self.resolver.servers())
        return None

    async def _check_caa(self, hosts: list[DomainName]) -> None:
        """Raise `Permanent` if CAA forbids it; what nobody tells is reported, and goes on."""
        unknown: dict[str, Reason] = {}
        lookup = caa_lookup(await self._asked_of(hosts), self._public(), unknown.__setitem__)
        identities = self.directory.caa_identities
        if not identities:
            lookup = _or_nothing(lookup)  # who knows whether that CA looks at CAA at all
        if not self.account and any(
            await _all([names_account(name, identities, lookup) for name in hosts])
        ):
            # Nobody can write the account's URL into a record before there is one (RFC 8657 §3).
            self.account = await self.make_account()
        method = self.validation.value
        judging = [forbidden(name, identities, method, self.account, lookup) for name in hosts]
        if told := [reason for reason in await _all(judging) if reason]:
            raise Permanent(several(told))
        if unknown and identities:
            why = next(iter(unknown.values()))
            self.warn(Reason(Failed.CAA_UNSEEN, names=tuple(unknown), why=why))

    def _public(self) -> Resolver:
        """Return the resolver that sees DNS most as a CA does: the configured one, if any."""
        configured = self.config.globals.dns_validating_resolver
        if configured is None:
            return self.resolver
        return Resolver(self.resolver.asker, [NameServer(configured.host, configured.port)])

    async def _asked_of(self, hosts: list[DomainName]) -> Mapping[ZoneName, tuple[NameServer, ...]]:
        """Return the name servers of our zones, none where nobody tells which they are."""
        found: dict[ZoneName, tuple[NameServer, ...]] = {}
        for zone in self._zones_of(hosts):
            try:
                found[zone] = await self.servers(zone)
            except Transient:
                found[zone] = ()
        return found


def _or_nothing(lookup: Lookup) -> Lookup:
    """Return a lookup that finds nothing where `lookup` fails."""

    async def look(domain: str) -> Sequence[Property]:
        with suppress(Transient, Permanent):
            return await lookup(domain)
        return ()

    return look


def _without_stars(hosts: list[DomainName]) -> list[DomainName]:
    """Return the names as a CA gives them: those of wildcards without the star, each once."""
    return list(dict.fromkeys(DomainName(host.text.removeprefix("*.")) for host in hosts))


async def _all(works: list[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Return what all of them give; raises what failed, together."""
    results = await asyncio.gather(*works, return_exceptions=True)
    if failures := [one for one in results if isinstance(one, BaseException)]:
        raise together(failures)
    return [one for one in results if not isinstance(one, BaseException)]
