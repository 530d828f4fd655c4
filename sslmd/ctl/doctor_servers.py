"""What `sslmctl doctor` looks at on servers: ssh, rsync, ports; and the CAs of others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from sslmd.config.model import CaInfo, Config, Probe, ServerClass, Validation
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId, DomainName, machine_of
from sslmd.ctl.doctor_finding import Finding, Look, acme_ca, all_of, odd, unseen, well, wrong
from sslmd.ctl.text import count
from sslmd.dns.resolver import Resolver
from sslmd.issuers.directory import Directory, fetch
from sslmd.servers.local import is_local
from sslmd.servers.probe import Reach, served_at
from sslmd.servers.ssh import shell_on
from sslmd.store.files import read_file
from sslmd.store.layout import CERT, CURR

# Hosts, or ports, that are looked at at the same time, and seconds for all of a visit.
AT_ONCE = 64
VISIT = timedelta(seconds=90)


def remote_hosts(config: Config) -> list[str]:
    """Return the hosts that are reached by ssh."""
    named = dict.fromkeys(host for one in config.server_classes for host in one.servers)
    return [host for host in named if not is_local(machine_of(host))]


async def look_at_hosts(config: Config) -> Look:
    """Whether the daemon's user gets in everywhere, and finds what it needs."""
    turn = asyncio.Semaphore(AT_ONCE)
    prod = str(config.globals.prod_cert_dir)

    async def one(host: str) -> str:
        async with turn:
            try:
                async with asyncio.timeout(VISIT.total_seconds()):
                    return await _visit(host, prod)
            except SslmError as err:
                return str(err)
            except TimeoutError:
                return f"{host}: a visit takes longer than {VISIT.seconds} s; see why it hangs"

    hosts = await asyncio.to_thread(remote_hosts, config)
    for host, problem in zip(hosts, await asyncio.gather(*map(one, hosts)), strict=True):
        if problem:
            yield wrong("ssh", problem if problem.startswith(host) else f"{host}: {problem}")
        else:
            yield well("ssh", f"{host} lets us in, and has rsync")


async def _visit(host: str, prod: str) -> str:
    async with shell_on(host, prod) as shell:
        await shell.ask("survey")
        answer = await shell.ask("run", "20", "rsync", "--version")
        if answer.first("status") != "0":
            return f"{host} has no rsync; install it there"
    return ""


async def look_at_ports(config: Config) -> Look:
    """Whether the ports that serve certificates answer, and with ours."""
    resolver, turn = Resolver(), asyncio.Semaphore(AT_ONCE)

    async def in_turn(look: Look) -> list[Finding]:
        async with turn:
            return await all_of("ports", look)

    looks = []
    for one in config.server_classes:
        certs = [cert for cert in config.services if one.receives(cert)]
        known = await asyncio.to_thread(_leaves, config, certs)
        for host in one.servers:
            looks += [
                in_turn(_port(config, one, host, probe, known, resolver)) for probe in one.probes
            ]
    for findings in await asyncio.gather(*looks):
        for finding in findings:
            yield finding


def _leaves(config: Config, certs: Iterable[CertId]) -> dict[bytes, CertId]:
    """Return the certificates in use, as DER."""
    import ssl

    found = {}
    for cert in certs:
        path = f"{config.globals.prod_cert_dir}/{cert.group}/{cert.service}/{CURR}/{CERT}"
        try:
            found[ssl.PEM_cert_to_DER_cert(read_file(path).decode("ascii"))] = cert
        except (OSError, ValueError, SslmError):
            continue
    return found


async def _port(
    config: Config,
    one: ServerClass,
    host: str,
    probe: Probe,
    known: dict[bytes, CertId],
    resolver: Resolver,
) -> Look:
    where = f"[{one.kind}] {machine_of(host)} port {probe.port}"
    try:
        addresses = await resolver.addresses(machine_of(host))
    except SslmError as err:
        yield wrong("ports", str(err))
        return
    if not addresses:
        yield wrong("ports", f"{where}: {machine_of(host)} has no address; mend the name")
        return
    looks = (served_at(address, probe.port, probe.word, probe.name) for address in addresses)
    for seen in await asyncio.gather(*looks):
        if seen.leaf is not None and seen.leaf in known:
            yield well(
                "ports", f"[{one.kind}] {seen.address} port {seen.port} serves {known[seen.leaf]}"
            )
        elif seen.leaf is not None and known:
            cert = next(iter(known.values()))
            folder = f"{config.globals.prod_cert_dir}/{cert.group}/{cert.service}/{CURR}"
            yield odd(
                "ports",
                f"[{one.kind}] {seen}, not what is in use here: have the server read {folder}, and "
                "reload it; or name the right port in probe",
            )
        elif seen.reach is Reach.NO_ROUTE:
            yield unseen("ports", f"{where}: {seen.address} {seen.problem}")
        elif probe.optional and not seen.reached:
            yield unseen("ports", f"{where}: {seen.address} {seen.problem}; nothing to prove there")
        elif seen.leaf is None:
            yield wrong(
                "ports",
                f"{where}: {seen.address} {seen.problem}; start the server, or mend probe",
            )


# --- CAs ------------------------------------------------------------------------------


async def look_at_cas(config: Config) -> Look:
    """Whether the ACME CAs that are used can be reached, and know what is asked of them."""
    used = {ca.name: ca for one in config.services.values() if (ca := acme_ca(config, one))}
    for name, ca in used.items():
        try:
            directory = await fetch(ca.server, ca.server_root, _in_thread)
        except SslmError as err:
            yield wrong("CAs", f"{name}: {err}")
            continue
        problem = _lacking(ca, directory)
        yield (
            wrong("CAs", f"{name}: {problem}")
            if problem
            else well("CAs", f"{name}: {ca.server} answers")
        )


async def _in_thread(work: Callable[[], Directory]) -> Directory:
    return await asyncio.to_thread(work)


def _lacking(ca: CaInfo, directory: Directory) -> str:
    profile = ca.preferred_profile
    if profile and profile not in directory.profiles:
        known = ", ".join(directory.profiles) or "none"
        return f"it has no profile {profile} ({known}); mend ca_preferred_acme_profile"
    if directory.external_account_required and not ca.eab_kid:
        return "it wants an account that you have there; write ca_eab_kid and ca_eab_hmac_key_file"
    return ""


async def look_at_http(config: Config) -> Look:
    """Whether port 80 of every name that is proven by http-01 can be reached."""
    resolver = Resolver()
    hosts: dict[str, None] = {}
    for service in config.services.values():
        ca = acme_ca(config, service)
        if ca is not None and ca.validation is Validation.HTTP_01:
            hosts |= dict.fromkeys(
                str(name) for name in service.spec.all_names() if isinstance(name, DomainName)
            )
    if not hosts:
        return
    if not any(one.server_dir for one in config.server_classes):
        yield wrong("port 80", "http-01 needs server_dir in [web] of ssl-mgr.conf; write it")
    problems = await _all(_reaches(host, resolver) for host in hosts)
    for host, problem in zip(hosts, problems, strict=True):
        if problem:
            yield wrong("port 80", f"{host}: {problem}")
    if good := problems.count(""):
        yield well("port 80", f"{count(good, 'name')} can be reached")


async def _reaches(host: str, resolver: Resolver) -> str:
    try:
        addresses = await resolver.addresses(host)
    except SslmError as err:
        return str(err)
    if not addresses:
        return "it has no address, and so the CA finds no web server; mend the zone"

    async def one(address: str) -> str:
        try:
            async with asyncio.timeout(10):
                _, writer = await asyncio.open_connection(address, 80)
        except TimeoutError:
            return f"{address} port 80 does not answer; open it, the CA comes this way"
        except OSError as err:
            why = err.strerror or str(err)
            return f"{address} port 80: {why}; start the web server, the CA comes this way"
        writer.close()
        return ""

    return next(filter(None, await _all(one(address) for address in addresses)), "")


async def _all(works: Iterable[Awaitable[str]]) -> list[str]:
    return list(await asyncio.gather(*works))
