"""What `sslmctl doctor` looks at in DNS: name servers, include files, DNSSEC, resolvers."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

import dns.flags
import dns.name

from sslmd.config.model import Config, Endpoint, Validation
from sslmd.core.errors import SslmError
from sslmd.core.names import ZoneName
from sslmd.ctl.doctor_finding import (
    Finding,
    Look,
    acme_ca,
    odd,
    output_of,
    unseen,
    well,
    wrong,
)
from sslmd.ctl.text import count
from sslmd.dns.answers import rcode_of, tlsa_in
from sslmd.dns.ask import NameServer, OutOfReach, Unanswered, ask
from sslmd.dns.dnssec import bogus
from sslmd.dns.include import challenge_file
from sslmd.dns.nameservers import authoritative, primary_server
from sslmd.dns.observe import zone_serial
from sslmd.dns.resolver import Resolver
from sslmd.dns.tlsa_include import read, tlsa_file
from sslmd.store.files import read_file

_INCLUDE = re.compile(r'^\s*\$INCLUDE\s+"?([^\s";]+)', re.IGNORECASE | re.MULTILINE)
_FILES = re.compile(r"^files: (.*)$", re.MULTILINE)


def challenge_zones(config: Config) -> list[ZoneName]:
    """Return the zones of names that are proven by dns-01."""
    found: dict[ZoneName, None] = {}
    for cert, service in config.services.items():
        ca = acme_ca(config, service)
        if ca is not None and ca.validation is Validation.DNS_01:
            found[ZoneName(cert.group)] = None
    return list(found)


def dane_zones(config: Config) -> list[ZoneName]:
    """Return the zones with TLSA records."""
    return list(
        dict.fromkeys(ZoneName(cert.group) for cert, one in config.services.items() if one.dane)
    )


def zones(config: Config) -> list[ZoneName]:
    """Return the zones that something is written for."""
    return list(dict.fromkeys([*challenge_zones(config), *dane_zones(config)]))


async def look_at_zone(config: Config, zone: ZoneName) -> Look:
    """Whether a zone's name servers are found, answer, agree, and take what is written for them."""
    primary = config.primary_for(zone)
    try:
        servers = await authoritative(zone, primary, Resolver())
    except SslmError as err:
        yield wrong("DNS", str(err))
        return
    serials: dict[NameServer, int] = {}
    for server, found in zip(
        servers, await asyncio.gather(*(_serial(zone, one) for one in servers)), strict=True
    ):
        if isinstance(found, Finding):
            yield found
        else:
            serials[server] = found
    if len(set(serials.values())) > 1:
        told = ", ".join(f"{server}: {serial}" for server, serial in serials.items())
        yield odd("DNS", f"zone {zone}: serials differ ({told}); see that all get the transfers")
    elif serials:
        serial = next(iter(serials.values()))
        number = count(len(serials), "name server")
        yield well("DNS", f"zone {zone}: {number}, all with serial {serial}")
    if primary is None or not primary.update:
        async for finding in _includes(config, zone):
            yield finding


async def _serial(zone: ZoneName, server: NameServer) -> int | Finding:
    try:
        serial = await zone_serial(server, zone)
    except OutOfReach as err:
        return unseen("DNS", f"zone {zone}: {err}")
    except Unanswered as err:
        return wrong("DNS", f"zone {zone}: {err}; mend it, or take it out of the zone's NS records")
    if serial is None:
        return wrong(
            "DNS", f"zone {zone}: {server} is not authoritative for it; mend it or the NS records"
        )
    return serial


# --- include files --------------------------------------------------------------------


async def _includes(config: Config, zone: ZoneName) -> Look:
    """Whether the zone that is served has the include files in it."""
    challenges, tlsa = [], []
    if zone in challenge_zones(config):
        challenges = [challenge_file(folder, zone) for folder in config.dns.acme_dirs]
    if zone in dane_zones(config):
        tlsa = [tlsa_file(folder, zone) for folder in config.dns.tlsa_dirs]
    wanted = [*challenges, *tlsa]
    missing = [path for path in wanted if not os.path.exists(path)]
    for path in missing:
        yield wrong(
            "include",
            f"{path} is not there, and a zone that includes it cannot be loaded; run: sslmctl "
            "dns-refresh",
        )
    if not wanted:
        return
    included, told = await _included(config, zone)
    if included is None and (shown := await _shown(config, zone)):
        yield shown
        wanted = challenges
    if included is None and wanted:
        yield unseen(
            "include",
            f"zone {zone}: {told}; in its file should stand: "
            + ", ".join(f'$INCLUDE "{path}"' for path in wanted),
        )
    if included is None:
        return
    # A folder for each name server: one of them is enough here.
    lacking = [path for path in wanted if not _is_one_of(path, included)]
    for some in (challenges, tlsa):
        if any(path not in lacking for path in some):
            lacking = [path for path in lacking if path not in some]
    for path in lacking:
        yield wrong(
            "include", f'zone {zone} does not have {path}; write into its file: $INCLUDE "{path}"'
        )
    if not lacking and not missing:
        yield well("include", f"zone {zone} has what is written for it ({told})")


async def _shown(config: Config, zone: ZoneName) -> Finding | None:
    """Look for the TLSA records that were written at the zone's primary; None if there are none."""
    primary = config.primary_for(zone)
    if primary is None or not config.dns.tlsa_dirs:
        return None
    path = tlsa_file(config.dns.tlsa_dirs[0], zone)
    owner, given = next(iter((read(path, 0) or {}).items()), (None, None))
    server = await primary_server(primary, Resolver())
    if given is None or not given.records or server is None:
        return None
    answer = await ask(server, str(owner), "TLSA")
    shown, _ = tlsa_in(answer, dns.name.from_text(str(owner)))
    if given.records <= shown:
        return well("include", f"zone {zone} has the TLSA records written for it ({server})")
    return wrong(
        "include",
        f"zone {zone}: {server} does not show {owner} TLSA as it is written in {path}; have that "
        "file included, and run: sslmctl dns-refresh",
    )


def _is_one_of(path: str, included: Sequence[str]) -> bool:
    """Whether a file is included; a relative path starts where the name server says."""
    real = os.path.realpath(path)
    return any(
        os.path.realpath(one) == real if one.startswith("/") else path.endswith(f"/{one}")
        for one in included
    )


async def _included(config: Config, zone: ZoneName) -> tuple[list[str] | None, str]:
    """Return the files that make up a zone, and who says so; None, and why nobody does."""
    options = dict(_options(config))
    try:
        rndc = shlex.split(options.get("--rndc", "rndc")) or ["rndc"]
    except ValueError as err:
        return None, f"--rndc of restart_cmd cannot be split into words ({err})"
    status, said = await output_of([*rndc, "zonestatus", str(zone)])
    if status == 0 and (found := _FILES.search(said)):
        return [one.strip() for one in found[1].split(",")], "rndc zonestatus"
    pattern = options.get("--zone-file")
    if pattern is None:
        return None, "nothing here tells which files it is made of"
    path = pattern.replace("{zone}", str(zone))
    try:
        return _includes_of(path), path
    except (SslmError, OSError) as err:
        return None, f"its file {path} cannot be read: {getattr(err, 'strerror', '') or err}"


def _includes_of(path: str) -> list[str]:
    """Return what a zone file includes, and what that includes in turn.

    Raises `SslmError` or `OSError` if the file itself cannot be read. Where a relative path
    starts is known to the name server alone: such files are named, and not looked into.
    """
    found = _INCLUDE.findall(read_file(path).decode("latin-1"))
    for one in found:  # it grows
        if one.startswith("/") and one != path:
            with suppress(SslmError, OSError):
                inner = _INCLUDE.findall(read_file(one).decode("latin-1"))
                found += [name for name in inner if name not in found]
    return found


def _options(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what `restart_cmd` hands over to bind-reload."""
    for argv in config.dns.restart:
        for word, value in pairwise(argv):
            if word in ("--rndc", "--zone-file"):
                yield word, value
            elif "=" in word and word.partition("=")[0] in ("--rndc", "--zone-file"):
                yield word.partition("=")[0], word.partition("=")[2]


# --- DNSSEC, resolvers ----------------------------------------------------------------


async def look_at_dnssec(config: Config) -> Look:
    """Whether signatures hold, as a validating resolver sees them; and are there, for DANE."""
    wanted = dane_zones(config)
    looked_at = zones(config)
    if not looked_at:
        return
    given = config.globals.dns_validating_resolver
    resolver = await _validating(given)
    if isinstance(resolver, Finding):
        if wanted or given is not None:
            yield resolver
        return
    for zone in looked_at:
        try:
            problem = await bogus(zone, resolver)
            answer = await ask(resolver, zone, "SOA", recursive=True, dnssec=True)
        except SslmError as err:
            yield unseen("DNSSEC", f"zone {zone}: {err}")
            continue
        if problem:
            yield wrong("DNSSEC", problem)
        elif answer.flags & dns.flags.AD:
            yield well("DNSSEC", f"zone {zone} is signed, and validates at {resolver}")
        elif zone in wanted:
            yield wrong(
                "DNSSEC",
                f"zone {zone} is not signed, as {resolver} sees it, and nobody looks at its TLSA "
                "records; sign it, and have the DS record put into the zone above",
            )
        else:
            yield well("DNSSEC", f"zone {zone} is not signed")


async def _validating(given: Endpoint | None) -> NameServer | Finding:
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


async def look_at_extra_servers(config: Config) -> Look:
    """Whether the resolvers of `dns_xtra_ns`, which have to show challenges, know the zones."""
    asked = challenge_zones(config)
    if not asked:
        return
    resolver = Resolver()
    extra = config.globals.dns_extra_servers
    works = [_extra(endpoint, zone, resolver) for endpoint in extra for zone in asked]
    found = [one for one in await asyncio.gather(*works) if one is not None]
    for finding in dict.fromkeys(found):
        yield finding
    if works and not found:
        yield well("DNS", f"{count(len(extra), 'resolver')} of dns_xtra_ns")


async def _extra(endpoint: Endpoint, zone: ZoneName, resolver: Resolver) -> Finding | None:
    """Return what is wrong with what one of `dns_xtra_ns` says of a zone."""
    try:
        addresses = await resolver.addresses(endpoint.host)
        if not addresses:
            text = f"{endpoint.host} of dns_xtra_ns has no address; mend the name, or take it out"
            return wrong("DNS", text)
        for address in addresses:
            name = "" if address == endpoint.host else endpoint.host
            server = NameServer(address, endpoint.port, name)
            answer = await ask(server, zone, "SOA", recursive=True)
            if not answer.answer:
                return wrong(
                    "DNS",
                    f"{server} of dns_xtra_ns does not know zone {zone} (it answers "
                    f"{rcode_of(answer)}), so no order goes on; see whether the zone is delegated, "
                    "or write dns_xtra_ns = [] where only your own name servers know it",
                )
    except OutOfReach as err:
        return unseen("DNS", f"{err} (dns_xtra_ns)")
    except SslmError as err:
        return wrong(
            "DNS", f"{err}; orders wait for it: let port 53 out, or take it out of dns_xtra_ns"
        )
    return None
