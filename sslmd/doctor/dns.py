"""What `sslmctl doctor` looks at in DNS: every address of every name server, and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sslmd.config.model import Config, Validation
from sslmd.console.text import count
from sslmd.core.errors import SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, GroupName, ZoneName
from sslmd.core.plain import some_of
from sslmd.core.reason import Reason
from sslmd.core.records import zone_of
from sslmd.core.words.doctor import Diagnosis
from sslmd.dns.ask import NameServer
from sslmd.dns.nameservers import NameServers, addresses_at, follow, name_servers
from sslmd.dns.reach import Reached, reach
from sslmd.dns.resolver import Resolver
from sslmd.doctor.symptoms import (
    Checkup,
    Symptom,
    Symptoms,
    acme_ca,
    alike,
    odd,
    unseen,
    well,
    wrong,
)

# Zones at a time: each has several name servers, and each of those two questions.
_ZONES = 16

_SHOWN = 5  # names that one message tells


def challenge_zones(config: Config) -> list[ZoneName]:
    """Return the zones of names that are proven by dns-01, those beside the group among them."""
    ours = config.zones()
    found: dict[ZoneName, None] = {}
    for cert, service in config.services.items():
        ca = acme_ca(config, service)
        if ca is None or ca.validation is not Validation.DNS_01:
            continue
        found[ZoneName(cert.group)] = None
        for name in service.spec.all_names():
            if isinstance(name, DomainName) and (zone := zone_of(name, ours)) is not None:
                found[zone] = None
    return list(found)


def dane_zones(config: Config) -> list[ZoneName]:
    """Return the zones with TLSA records."""
    return list(
        dict.fromkeys(ZoneName(cert.group) for cert, one in config.services.items() if one.dane)
    )


def zones(config: Config) -> list[ZoneName]:
    """Return the zones that something is written for."""
    return list(dict.fromkeys([*challenge_zones(config), *dane_zones(config)]))


async def look_at_zones(case: Checkup) -> Symptoms:
    """Whether the name servers of every zone are found, answer at every address, and agree."""
    wanted = dict.fromkeys(zones(case.config))
    if challenge_zones(case.config):
        # CNAMEs may lead there.
        named = sorted(one.domain for one in case.config.dns_primaries if one.domain)
        wanted |= dict.fromkeys(named)
    async for finding in case.watch.findings(
        "DNS", wanted, lambda zone: _of_zone(case, zone), "zone", _ZONES
    ):
        yield finding


@dataclass
class _Set:
    """Name servers of a zone from one source, and what is said of each: ` (NS record)`."""

    there: NameServers
    mark: str = ""


async def _of_zone(case: Checkup, zone: ZoneName) -> Symptoms:
    sets: list[_Set] = []
    try:
        sets.append(_Set(await case.servers(zone)))
        primary = case.config.primary_for(zone)
        if primary is not None and primary.nameservers:
            sets[0].mark = " (nameservers)"
            for finding in await _add_public(case, zone, sets):
                yield finding
    except SslmError as err:
        yield wrong("DNS", str(err))
        return
    for host in (host for one in sets for host in one.there.lacking):
        yield wrong("DNS", Diagnosis.NS_NO_ADDRESS, zone=zone, host=host)
    for cut in (one.there.cut for one in sets if one.there.cut):
        yield odd("DNS", Reason(Failed.NOT_WATCHED, cut=cut, about=f"zone {zone}"))
    marks = _marks(sets)
    if not marks and not any(one.there.lacking for one in sets):
        yield wrong("DNS", Diagnosis.NO_NAME_SERVERS, zone=zone)
        return
    reached, late = await case.watch.each(
        "name servers",
        marks,
        lambda one: reach(case.resolver.asker, one, zone),
        f"name server of {zone}",
    )
    for finding in late:
        yield unseen("DNS", finding.text)
    seen = [one for _, one in reached]
    for one in seen:
        if (judged := _of_server(zone, one, marks[one.server])) is not None:
            yield judged
    around = next((one.part_of for one in seen if one.part_of), "")
    for finding in (*_is_part(case.config, zone, around), *_of_serials(zone, seen, marks)):
        yield finding


async def _add_public(case: Checkup, zone: ZoneName, sets: list[_Set]) -> list[Symptom]:
    """Add what the NS records say to what `nameservers` says in their place; tell what differs.

    CAs and clients go by the NS records, as resolvers outside know them.
    """
    try:
        # Who knows zones as the world does: `dns_xtra_ns`, or the system's resolvers.
        extra = [
            NameServer(address, one.port, "" if address == one.host else one.host)
            for one in case.config.globals.dns_extra_servers
            for address in await case.resolver.addresses(one.host)
        ]
        public = await name_servers(
            zone, None, Resolver(case.resolver.asker, extra) if extra else case.resolver
        )
    except SslmError as err:
        return [unseen("DNS", Diagnosis.NS_UNKNOWN, zone=zone, why=err)]
    if not public.servers and not public.lacking:
        return []
    sets.append(_Set(public, " (NS record)"))
    known = {(one.address, one.port) for one in sets[0].there.servers}
    unknown = [one for one in public.servers if (one.address, one.port) not in known]
    if not unknown:
        return []
    return [odd("DNS", Diagnosis.NS_NOT_WATCHED, zone=zone, servers=some_of(unknown, _SHOWN))]


def _marks(sets: Sequence[_Set]) -> dict[NameServer, str]:
    """Return every address once, and which set it is from: nothing where it is in all of them."""
    places: dict[tuple[str, int], tuple[NameServer, list[str]]] = {}
    for one in sets:
        for server in one.there.servers:
            places.setdefault((server.address, server.port), (server, []))[1].append(one.mark)
    return {server: marks[0] if len(marks) < len(sets) else "" for server, marks in places.values()}


def _of_serials(
    zone: ZoneName, seen: Sequence[Reached], marks: Mapping[NameServer, str]
) -> list[Symptom]:
    serials = {one.server: one.serial for one in seen if one.serial is not None}
    if len(set(serials.values())) > 1:
        told = ", ".join(f"{one}{marks[one]}: {serial}" for one, serial in serials.items())
        return [odd("DNS", Diagnosis.SERIALS_DIFFER, zone=zone, serials=told)]
    if serials and len(serials) == len(marks):
        serial, servers = next(iter(serials.values())), count(len(serials), "name server")
        return [well("DNS", Diagnosis.SERIALS_ALIKE, zone=zone, servers=servers, serial=serial)]
    return []


def _is_part(config: Config, zone: ZoneName, around: str) -> list[Symptom]:
    """Tell of a zone that is none, but a part of the one around it."""
    if not around or (ZoneName(around) in config.zones() and zone not in dane_zones(config)):
        return []  # its challenges are written there
    return [odd("DNS", Diagnosis.NO_ZONE, zone=zone, around=around)]


def _of_server(zone: ZoneName, one: Reached, mark: str = "") -> Symptom | None:
    """Judge how one address of a name server answers; None: as it should."""
    facts = {"zone": zone, "server": f"{one.server}{mark}", "udp": one.udp, "tcp": one.tcp}
    if one.no_route:
        return unseen("DNS", Diagnosis.NS_NO_ROUTE, **facts)
    if one.udp and one.tcp:
        is_six = ":" in one.server.address
        return wrong("DNS", Diagnosis.NS_SILENT, **facts, is_six=is_six, is_four=not is_six)
    if one.fault:
        return wrong("DNS", Diagnosis.NS_FAULT, **facts, fault=one.fault)
    if one.udp:
        return wrong("DNS", Diagnosis.NS_TCP_ALONE, **facts)
    return wrong("DNS", Diagnosis.NS_UDP_ALONE, **facts) if one.tcp else None


# --- names ----------------------------------------------------------------------------


async def look_at_names(case: Checkup) -> Symptoms:
    """Whether every name of every certificate still leads somewhere."""
    names = _names(case.config)

    async def one(name: DomainName) -> Sequence[str] | SslmError:
        try:
            return await addresses_of(case, name)
        except SslmError as err:
            return err

    done, late = await case.watch.each("names", names, one, "name")
    for certs, some in alike((name, names[name]) for name, found in done if not found).items():
        facts = {"certs": certs, "names": some_of(some, _SHOWN), "one": len(some) == 1}
        yield odd("names", Diagnosis.NAMES_DEAD, **facts, several=len(some) > 1)
    failed = ((name, str(found)) for name, found in done if isinstance(found, SslmError))
    for problem, some in alike(failed).items():
        yield unseen("names", Diagnosis.ABOUT, what=some_of(some, _SHOWN), why=problem)
    for finding in late:
        yield finding
    if good := sum(isinstance(found, tuple) and bool(found) for _, found in done):
        yield well("names", Diagnosis.NAMES_WELL, names=count(good, "name"))


def _names(config: Config) -> dict[DomainName, str]:
    """Return the names of certificates that clients come by, and whose they are."""
    found: dict[DomainName, list[str]] = {}
    for cert, service in config.services.items():
        if cert.group == GroupName.CA or not service.managed:
            continue
        for name in service.spec.all_names():
            if isinstance(name, DomainName) and not name.is_wildcard:
                found.setdefault(name, []).append(str(cert))
    return {name: ", ".join(certs) for name, certs in found.items()}


async def addresses_of(case: Checkup, name: DomainName) -> tuple[str, ...]:
    """Return the addresses of a name as the world gets them; raises `Transient`, `Permanent`.

    Where its zone is ours its own name servers are asked: resolvers here may say something else.
    """
    config = case.config
    zone = zone_of(name, config.zones())
    # Not every group is a zone, and then it is not known which name servers to ask.
    if zone is None or (config.primary_for(zone) is None and zone not in zones(config)):
        return await case.resolver.addresses(name.text)
    there = await case.servers(zone)
    if not there.servers:
        raise Transient(f"zone {zone} has no name servers that can be asked")
    followed = await follow(case.resolver.asker, name, zone, there.servers)
    if followed.delegated is not None or not followed.target.is_within(zone):
        return await case.resolver.addresses(followed.target.text)
    return await addresses_at(case.resolver.asker, followed.target, zone, there.servers)
