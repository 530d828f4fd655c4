"""What `sslmctl doctor` looks at with resolvers: DNSSEC, and `dns_xtra_ns` from here."""

from __future__ import annotations

from contextlib import suppress

import dns.flags

from sslmd.config.model import Endpoint
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import ZoneName
from sslmd.core.words.sentence import say
from sslmd.dns.answers import rcode_of
from sslmd.dns.ask import NameServer, OutOfReach, ask
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
    resolver = await _validating(given)
    if isinstance(resolver, Symptom):
        if wanted or given is not None:
            yield resolver
        return

    done, late = await case.watch.each(
        "DNSSEC", looked_at, lambda zone: _dnssec(zone, resolver, wanted=zone in wanted), "zone"
    )
    for finding in (*(found for _, found in done), *late):
        yield finding


async def _dnssec(zone: ZoneName, resolver: NameServer, *, wanted: bool) -> Symptom:
    try:
        problem = await bogus(zone, resolver)
        answer = await ask(resolver, zone, "SOA", recursive=True, dnssec=True)
    except SslmError as err:
        return unseen("DNSSEC", f"zone {zone}: {err}")
    if problem:
        return wrong("DNSSEC", say(problem))
    if answer.flags & dns.flags.AD:
        return well("DNSSEC", f"zone {zone} is signed, and validates at {resolver}")
    if wanted:
        return wrong(
            "DNSSEC",
            f"zone {zone} is not signed, as {resolver} sees it, and nobody looks at its TLSA "
            "records; sign it, and have the DS record put into the zone above",
        )
    return well("DNSSEC", f"zone {zone} is not signed")


async def _validating(given: Endpoint | None) -> NameServer | Symptom:
    """Return the validating resolver of the configuration, or the system's if it is one."""
    if given is not None:
        return NameServer(given.host, given.port)
    for resolver in Resolver().servers():
        with suppress(SslmError):
            answer = await ask(resolver, ".", "SOA", recursive=True, dnssec=True)
            if answer.flags & dns.flags.AD:
                return resolver
    return unseen(
        "DNSSEC",
        "no resolver here validates; install one (unbound), and name it: "
        "dns_validating_resolver = '127.0.0.1'",
    )


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
        yield well("DNS", f"{count(good, 'resolver')} of dns_xtra_ns: each answers for every zone")


async def _extra(case: Checkup, endpoint: Endpoint, asked: list[ZoneName]) -> list[Symptom]:
    """Return what is wrong with what one of `dns_xtra_ns` says of the zones."""
    try:
        addresses = await case.resolver.addresses(endpoint.host)
    except SslmError as err:
        return [unseen("DNS", f"{endpoint.host} of dns_xtra_ns: {err}")]
    if not addresses:
        text = f"{endpoint.host} of dns_xtra_ns has no address; correct the name, or remove it"
        return [wrong("DNS", text)]
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
            answer = await ask(server, zone, "SOA", recursive=True)
        except OutOfReach as err:
            return [unseen("DNS", f"{err} (dns_xtra_ns)")]
        except SslmError as err:
            return [
                wrong(
                    "DNS",
                    f"{err}: it is one of dns_xtra_ns, and a firewall may be in the way. Each "
                    f"order would wait for it for {limit:g} s (dns_check_timeout) and then fail; "
                    "let port 53 out (UDP and TCP), or remove it from dns_xtra_ns",
                )
            ]
        if not answer.answer:
            unknown.append((zone, rcode_of(answer)))
    if not unknown:
        return []
    zone, rcode = unknown[0]
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return [
        wrong(
            "DNS",
            f"{server} of dns_xtra_ns does not know zone {zone}{more} (it answers {rcode}), so no "
            "order goes on; see whether the zone is delegated, or write dns_xtra_ns = [] where "
            "only your own name servers know it",
        )
    ]
