"""What `sslmctl doctor` looks at with resolvers: DNSSEC, and `dns_xtra_ns` from here."""

from __future__ import annotations

from contextlib import suppress

from sslmd.config.model import Endpoint
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import ZoneName
from sslmd.core.words.doctor import Diagnosis
from sslmd.dns.answers import rcode_of
from sslmd.dns.ask import NameServer, OutOfReach
from sslmd.dns.dnssec import bogus
from sslmd.dns.resolver import Resolver
from sslmd.doctor.dns import challenge_zones, dane_zones, zones
from sslmd.doctor.symptoms import Checkup, Symptom, Symptoms, unseen, well, wrong


async def look_at_dnssec(case: Checkup) -> Symptoms:
    """Whether signatures hold, as a validating resolver sees them; and are there, for DANE."""
    wanted = dane_zones(case.config)
    looked_at = zones(case.config)
    if not looked_at:
        return
    given = case.config.globals.dns_validating_resolver
    resolver = await _validating(case, given)
    if isinstance(resolver, Symptom):
        if wanted or given is not None:
            yield resolver
        return

    async def one(zone: ZoneName) -> Symptoms:
        facts = {"zone": zone, "resolver": resolver}
        try:
            problem = await bogus(case.resolver.asker, zone, resolver)
            answer = await case.resolver.asker.ask(
                resolver, zone, "SOA", recursive=True, dnssec=True
            )
        except SslmError as err:
            yield unseen("DNSSEC", Diagnosis.ABOUT_ZONE, zone=zone, why=err)
            return
        if problem:
            yield wrong("DNSSEC", problem)
        elif answer.is_authentic:
            yield well("DNSSEC", Diagnosis.SIGNED, **facts)
        elif zone in wanted:
            yield wrong("DNSSEC", Diagnosis.TLSA_UNSIGNED, **facts)
        else:
            yield well("DNSSEC", Diagnosis.UNSIGNED, **facts)

    async for finding in case.watch.findings("DNSSEC", looked_at, one, "zone"):
        yield finding


async def _validating(case: Checkup, given: Endpoint | None) -> NameServer | Symptom:
    """Return the validating resolver of the configuration, or the system's if it is one."""
    if given is not None:
        return NameServer(given.host, given.port)
    for resolver in Resolver(case.resolver.asker).servers():
        with suppress(SslmError):
            answer = await case.resolver.asker.ask(
                resolver, ".", "SOA", recursive=True, dnssec=True
            )
            if answer.is_authentic:
                return resolver
    return unseen("DNSSEC", Diagnosis.NO_VALIDATING)


async def look_at_extra_servers(case: Checkup) -> Symptoms:
    """Whether the resolvers of `dns_xtra_ns`, which have to show challenges, know the zones."""
    asked = challenge_zones(case.config)
    extra = case.config.globals.dns_extra_servers
    if not asked or not extra:
        return

    done, late = await case.watch.each(
        "resolvers", extra, lambda endpoint: _extra(case, endpoint, asked), "resolver"
    )
    for finding in (finding for _, found in done for finding in found):
        yield finding
    for finding in late:
        yield unseen("DNS", finding.text)
    if good := sum(not found for _, found in done):
        yield well("DNS", Diagnosis.EXTRA_WELL, resolvers=count(good, "resolver"))


async def _extra(case: Checkup, endpoint: Endpoint, asked: list[ZoneName]) -> list[Symptom]:
    """Return what is wrong with what one of `dns_xtra_ns` says of the zones."""
    try:
        addresses = await case.resolver.addresses(endpoint.host)
    except SslmError as err:
        return [unseen("DNS", Diagnosis.EXTRA_UNKNOWN, host=endpoint.host, why=err)]
    if not addresses:
        return [wrong("DNS", Diagnosis.EXTRA_NO_ADDRESS, host=endpoint.host)]
    found = []
    for address in addresses:
        name = "" if address == endpoint.host else endpoint.host
        found += await _at(case, NameServer(address, endpoint.port, name), asked)
    return found


async def _at(case: Checkup, server: NameServer, asked: list[ZoneName]) -> list[Symptom]:
    limit = case.config.globals.dns_check_timeout.total_seconds()
    unknown = []
    for zone in asked:
        try:
            answer = await case.resolver.asker.ask(server, zone, "SOA", recursive=True)
        except OutOfReach as err:
            return [unseen("DNS", Diagnosis.EXTRA_OUT_OF_REACH, why=err)]
        except SslmError as err:
            return [wrong("DNS", Diagnosis.EXTRA_SILENT, why=err, limit=f"{limit:g}")]
        if not answer.answer:
            unknown.append((zone, rcode_of(answer)))
    if not unknown:
        return []
    zone, rcode = unknown[0]
    facts = {"server": server, "zone": zone, "more": len(unknown) - 1, "rcode": rcode}
    return [wrong("DNS", Diagnosis.EXTRA_NO_SUCH_ZONE, **facts)]
