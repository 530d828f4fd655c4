"""What can be known before an order, so that no attempt at the CA is wasted (RFC 8555 §7.1.3).

Asked are the authoritative name servers where a zone is ours, a resolver elsewhere: where the
challenges of dns-01 belong, whether CAA allows this CA, whether the zones' DNSSEC holds.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sslmd.config.model import Config, Validation
from sslmd.core.errors import Permanent, Transient, together
from sslmd.core.names import CertId, DomainName, SanName, ZoneName
from sslmd.core.records import challenge_owner, zone_of
from sslmd.dns.aims import Aim, Aims, Learnt
from sslmd.dns.ask import NameServer
from sslmd.dns.caa import caa_lookup, forbidden
from sslmd.dns.dnssec import bogus
from sslmd.dns.nameservers import addresses_at, authoritative, follow
from sslmd.dns.resolver import Resolver
from sslmd.issuers.directory import Directory

_T = TypeVar("_T")


@dataclass(slots=True)
class Preflight:
    """The checks of one order. `account`: the account's URL at the CA, "" without one yet.

    `learnt`: what earlier tries found out, and this one does.
    """

    cert: CertId
    config: Config
    resolver: Resolver
    directory: Directory
    validation: Validation
    account: str
    learnt: Learnt = field(default_factory=Learnt)
    _servers: dict[ZoneName, asyncio.Task[tuple[NameServer, ...]]] = field(default_factory=dict)

    async def run(self, sans: tuple[SanName, ...]) -> Mapping[str, Aim]:
        """Return the aim of every name, by the name that the CA will give; none for http-01.

        Raises `Permanent` or `Transient` with everything that is in the way.
        """
        hosts = [name for name in sans if isinstance(name, DomainName)]
        aims: dict[str, Aim] = {}
        if self.validation is Validation.DNS_01:
            finding = Aims(self.config, self.resolver, self.servers, self.learnt)
            names = _without_stars(hosts)
            found = await _all([finding.find(challenge_owner(name)) for name in names])
            aims = {str(name): aim for name, aim in zip(names, found, strict=True)}
        await self._check_dnssec({aim.zone for aim in aims.values()} or self._zones_of(hosts))
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
        followed = await follow(host, zone, await self.servers(zone))
        if followed.delegated is not None or not followed.target.is_within(zone):
            return await self.resolver.addresses(followed.target.text)
        return await addresses_at(followed.target, zone, await self.servers(zone))

    def _zones_of(self, hosts: list[DomainName]) -> set[ZoneName]:
        ours = self.config.zones()
        return {zone for host in hosts if (zone := zone_of(host, ours)) is not None}

    async def _check_dnssec(self, zones: set[ZoneName]) -> None:
        resolver = self.config.globals.dns_validating_resolver
        if resolver is None:
            return
        asked = NameServer(resolver.host, resolver.port)
        for problem in await _all([bogus(zone, asked) for zone in sorted(zones)]):
            if problem:
                # Nothing is lost by looking again soon: it is no attempt at the CA.
                raise Transient(problem)

    async def _check_caa(self, hosts: list[DomainName]) -> None:
        if not self.directory.caa_identities:
            return  # nothing to compare with: the CA does not say who it is
        zones = {zone: await self.servers(zone) for zone in self._zones_of(hosts)}
        lookup = caa_lookup(zones, self.resolver)
        reasons = await _all(
            [
                forbidden(
                    name,
                    self.directory.caa_identities,
                    self.validation.value,
                    self.account,
                    lookup,
                )
                for name in hosts
            ]
        )
        if told := [reason for reason in dict.fromkeys(reasons) if reason]:
            raise Permanent("; ".join(told))


def _without_stars(hosts: list[DomainName]) -> list[DomainName]:
    """Return the names as a CA gives them: those of wildcards without the star, each once."""
    return list(dict.fromkeys(DomainName(host.text.removeprefix("*.")) for host in hosts))


async def _all(works: list[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Return what all of them give; raises what failed, together."""
    results = await asyncio.gather(*works, return_exceptions=True)
    if failures := [one for one in results if isinstance(one, BaseException)]:
        raise together(failures)
    return [one for one in results if not isinstance(one, BaseException)]
