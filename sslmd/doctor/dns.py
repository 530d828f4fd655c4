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
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.nameservers import NameServers, addresses_at, follow, name_servers
from sslmd.dns.reach import Reached, reach
from sslmd.dns.resolver import Resolver
from sslmd.doctor.symptoms import Checkup, Symptom, Symptoms, acme_ca, odd, unseen, well, wrong

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
        yield wrong(
            "DNS",
            f"zone {zone}: its name server {host} has no address; correct the NS record, or give "
            "the name an address",
        )
    for cut in (one.there.cut for one in sets if one.there.cut):
        yield odd("DNS", say(Reason(Failed.NOT_WATCHED, cut=cut, about=f"zone {zone}")))
    marks = _marks(sets)
    if not marks and not any(one.there.lacking for one in sets):
        yield wrong("DNS", f"zone {zone}: there are no name servers; see its NS records")
        return
    reached, late = await case.watch.each(
        "name servers", marks, lambda one: reach(one, zone), f"name server of {zone}"
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
        public = await name_servers(zone, None, Resolver(extra) if extra else case.resolver)
    except SslmError as err:
        text = f"zone {zone}: {err}, so only nameservers of [[dns_primary]] is looked at"
        return [unseen("DNS", text)]
    if not public.servers and not public.lacking:
        return []
    sets.append(_Set(public, " (NS record)"))
    known = {(one.address, one.port) for one in sets[0].there.servers}
    unknown = [one for one in public.servers if (one.address, one.port) not in known]
    if not unknown:
        return []
    return [
        odd(
            "DNS",
            f"zone {zone}: {some_of(unknown, _SHOWN)} of its NS records is not in nameservers of "
            "[[dns_primary]]: a CA and clients may ask it, and nothing waits until it shows new "
            "records; add it there, or leave nameservers out",
        )
    ]


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
        text = f"zone {zone}: serials differ ({told}); see that all get the transfers"
        return [odd("DNS", text)]
    if serials and len(serials) == len(marks):
        serial = next(iter(serials.values()))
        number = count(len(serials), "name server")
        return [well("DNS", f"zone {zone}: {number}, all with serial {serial}")]
    return []


def _is_part(config: Config, zone: ZoneName, around: str) -> list[Symptom]:
    """Tell of a zone that is none, but a part of the one around it."""
    if not around or (ZoneName(around) in config.zones() and zone not in dane_zones(config)):
        return []  # its challenges are written there
    return [
        odd(
            "DNS",
            f"zone {zone} is none: its name servers say that it is a part of {around}; make "
            f"{around} the group, or let its zone file include what is written for {zone}, and "
            "restart_cmd load it",
        )
    ]


def _of_server(zone: ZoneName, one: Reached, mark: str = "") -> Symptom | None:
    """Judge how one address of a name server answers; None: as it should."""
    where = f"zone {zone}: {one.server}{mark}"
    is_six = ":" in one.server.address
    if one.no_route:
        return unseen(
            "DNS", f"{where} {one.udp}; a CA may choose this address: look at it from elsewhere"
        )
    if one.udp and one.tcp:
        family = " or take its AAAA record out" if is_six else " or take it out of the NS records"
        return wrong(
            "DNS",
            f"{where} {one.udp}; a CA may choose this address: start it or open port 53 there,"
            f"{family}",
        )
    if one.fault:
        return wrong(
            "DNS",
            f"{where} {one.fault} for it; load the zone there, or correct the NS records",
        )
    if one.udp:
        return wrong("DNS", f"{where} answers by TCP alone ({one.udp}); open UDP port 53 there")
    if one.tcp:
        return wrong(
            "DNS",
            f"{where} answers by UDP alone ({one.tcp}); open TCP port 53 there: answers that are "
            "too long for UDP need it (RFC 7766)",
        )
    return None


# --- names ----------------------------------------------------------------------------


async def look_at_names(case: Checkup) -> Symptoms:
    """Whether every name of every certificate still leads somewhere."""
    names = _names(case.config)

    async def one(name: DomainName) -> str:
        try:
            return "" if await addresses_of(case, name) else "none"
        except SslmError as err:
            return str(err)

    dead: dict[str, list[DomainName]] = {}
    problems: dict[str, list[DomainName]] = {}
    done, late = await case.watch.each("names", names, one, "name")
    for name, problem in done:
        if problem == "none":
            dead.setdefault(names[name], []).append(name)
        elif problem:
            problems.setdefault(problem, []).append(name)
    for certs, some in dead.items():
        has = "has" if len(some) == 1 else "have"
        yield odd(
            "names",
            f"{certs}: {some_of(some, _SHOWN)} {has} no address, so no client comes by "
            "that name; take it out of the certificate if it is gone",
        )
    for problem, some in problems.items():
        yield unseen("names", f"{some_of(some, _SHOWN)}: {problem}")
    for finding in late:
        yield finding
    if good := sum(not problem for _, problem in done):
        yield well("names", f"{count(good, 'name')} with an address")


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
    followed = await follow(name, zone, there.servers)
    if followed.delegated is not None or not followed.target.is_within(zone):
        return await case.resolver.addresses(followed.target.text)
    return await addresses_at(followed.target, zone, there.servers)
