"""Warnings about what the tables and files mean together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from sslmd.config.model import Config, ServerKind, ServiceConfig, Validation
from sslmd.config.renew import check_leads
from sslmd.config.report import Source, nearest
from sslmd.config.windows import check_windows
from sslmd.core.dane.tlsa import Combination, TlsaHosts, hosts_of
from sslmd.core.host.needs import KeyAccess
from sslmd.core.names import CertId, DomainName, ZoneName, covers, machine_of
from sslmd.core.plain import some_of
from sslmd.core.records import zone_of
from sslmd.core.spec import AcmeCa

# Warnings about certificates without a server, before they are counted only.
_SHOWN = 20
# Certificates that one message names.
_NAMED = 3


def check_together(
    config: Config, files: Mapping[CertId, Source], main: Source, now: datetime
) -> None:
    """Check what needs several tables. `files`: those of the services; `main`: `ssl-mgr.conf`."""
    _check_grants(config, main)
    _check_used(config, files)
    _check_access(config, main)
    _check_probes(config, main)
    _check_after_copies(config, main)
    _check_means(config, main)
    _check_dane(config, main)
    check_leads(config, main)
    check_windows(config, files, main, now)


def _check_grants(config: Config, main: Source) -> None:
    """Warn about entries of `svc_depends` that name what is not there."""
    groups: dict[str, set[str]] = defaultdict(set)
    for cert in config.services:
        groups[cert.group].add(cert.service)
    for one in config.server_classes:
        for index, match in enumerate(one.svc_depends):
            key = (one.kind.value, "svc_depends", index)
            if match.group is not None and match.group not in groups:
                remedy = nearest(match.group, groups, "there are: ")
                main.warn(key, f"there is no active group {match.group}", remedy)
                continue
            there = groups[match.group] if match.group else set().union(*groups.values())
            for service in sorted((match.services or set()) - there):
                where = f"group {match.group}" if match.group else "any group"
                problem = f"there is no active service {service} in {where}"
                main.warn(key, problem, nearest(service, there, "there are: "))


# What is said of a certificate that no server uses; `status` and `doctor` say it as well.
UNUSED = "no server uses it: when it is renewed, that reaches nobody"
NAME_A_CLASS = (
    "name it in svc_depends of a class that has servers, or write used_by = 'none' in its file"
)


def unused(config: Config) -> list[CertId]:
    """Return the certificates that no server uses, though nobody said that this is meant."""
    return [cert for cert in config.services if config.is_unused(cert)]


def _check_used(config: Config, files: Mapping[CertId, Source]) -> None:
    """Warn about certificates that no server uses, and about `used_by` that is not true."""
    found = unused(config)
    for cert in found[:_SHOWN]:
        files[cert].warn(("service",), UNUSED, NAME_A_CLASS)
    if len(found) > _SHOWN:
        text = f"no server uses {len(found) - _SHOWN} more certificates: {found[_SHOWN]}, …"
        files[found[_SHOWN]].warn(("service",), text, NAME_A_CLASS)
    for cert, service in config.services.items():
        kinds = config.kinds_using(cert) if service.used_by is not None else ()
        if kinds:
            tables = ", ".join(f"[{kind}]" for kind in kinds)
            problem = f"servers of {tables} use it all the same"
            files[cert].warn(("used_by",), problem, "remove this key")


def _check_access(config: Config, main: Source) -> None:
    """Warn where classes that share a host want the same key to be had by different users."""
    classes = config.server_classes
    asking = [one for one in classes if one.access != KeyAccess() and not one.skip_prod_copy]
    for index, later in enumerate(asking):
        for first in asking[:index]:
            shared = sorted(set(first.servers) & set(later.servers))
            both = (one for one in config.services if first.receives(one) and later.receives(one))
            cert = next(both, None)
            if shared and cert and first.access != later.access:
                table = f"[{first.kind.value}]"
                problem = f"on {shared[0]}, {table} has other rights for the key of {cert}"
                remedy = f"those of {table} count, as it comes first; write the same in both"
                main.warn((later.kind.value,), problem, remedy)


def _check_probes(config: Config, main: Source) -> None:
    """Warn about probes that would look at nothing: no certificate there has the name."""
    for one in config.server_classes:
        names = [
            str(name)
            for cert, service in config.services.items()
            if one.receives(cert) and service.managed
            for name in service.spec.names
        ]
        for index, probe in enumerate(one.probes):
            if probe.name and one.servers and not covers(names, probe.name):
                problem = f"no certificate of this class is for {probe.name}: nobody looks there"
                remedy = nearest(probe.name, names, "there are: ")
                main.warn((one.kind.value, "probe", index), problem, remedy)


def _check_after_copies(config: Config, main: Source) -> None:
    """Warn about commands after the copy to a host that nothing is copied to."""
    hosts = {machine_of(host): None for one in config.server_classes for host in one.servers}
    for index, one in enumerate(config.globals.post_copy):
        if machine_of(one.host) not in hosts:
            problem = (
                f"nothing is copied to {one.host}, so this never runs; ssl-mgr runs it at every "
                "copy, whatever the host"
            )
            remedy = nearest(one.host, hosts, "there are: ")
            main.warn(("globals", "post_copy_cmd", index), problem, remedy)


def _check_means(config: Config, main: Source) -> None:
    """Warn where challenges or TLSA records are wanted that there is no way to publish."""
    updates = {primary.domain: primary.update for primary in config.dns_primaries}

    def takes_updates(zone: ZoneName) -> bool:
        return updates.get(zone, updates.get(None, False))

    everything = config.services.values()
    groups = {ZoneName(one.id.group) for one in everything}
    zones = groups | {zone for zone in updates if zone is not None}
    # Zones without certificates, to which CNAMEs of others' challenges may lead.
    holders = {zone for zone in zones - groups if takes_updates(zone)}

    def takes_challenges(one: ServiceConfig) -> bool:
        owners = [
            DomainName(f"_acme-challenge.{name.text.removeprefix('*.')}")
            for name in one.spec.all_names()
            if isinstance(name, DomainName)
        ]
        around = {zone_of(owner, zones) for owner in owners} - {None}
        return bool(holders - around) or all(takes_updates(zone) for zone in around if zone)

    def is_validated_by(one: ServiceConfig, method: Validation) -> bool:
        signer = one.spec.signer
        return isinstance(signer, AcmeCa) and config.cas[signer.name].validation is method

    by_dns = [one for one in everything if is_validated_by(one, Validation.DNS_01)]
    by_http = [one for one in everything if is_validated_by(one, Validation.HTTP_01)]
    with_dane = [one for one in everything if one.dane and not config.dns.tlsa_dirs]
    if any(one.server_dir for one in config.server_classes if one.kind is ServerKind.WEB):
        by_http = []
    for lacking, problem, remedy in (
        (
            [one for one in by_dns if not (config.dns.acme_dirs or takes_challenges(one))],
            "dns-01 challenges cannot be published",
            "write acme_dir in [dns], or update = true in [[dns_primary]]",
        ),
        (
            [one for one in with_dane if not takes_updates(ZoneName(one.id.group))],
            "TLSA records cannot be published",
            "write tlsa_dirs in [dns], or update = true in [[dns_primary]]",
        ),
        (by_http, "http-01 challenges cannot be put anywhere", "write server_dir in [web]"),
    ):
        if lacking:
            some = some_of([one.id for one in lacking], _NAMED)
            main.warn((), f"{problem}: {some}", remedy)


def _check_dane(config: Config, main: Source) -> None:
    """Warn about what clients that check DANE would make something else of than was meant."""
    # By zone, port, protocol and host: the MX hosts, which only DNS knows, are "".
    asked: dict[tuple[str, int, str, str], dict[CertId, set[Combination]]] = defaultdict(dict)
    for service in config.services.values():
        for entry in service.dane:
            zone = ZoneName(service.id.group)
            hosts = [one.text for one in hosts_of(entry, zone, service.spec.all_names(), ())]
            for host in hosts + [""] * (entry.hosts is TlsaHosts.MX):
                by_service = asked[zone.text, entry.port, entry.proto, host]
                by_service.setdefault(service.id, set()).add(entry.combination)
    told: set[tuple[str, ...]] = set()
    for (name, port, proto, host), by_service in asked.items():
        names = tuple(map(str, by_service))
        if len(by_service) < 2 or names in told:
            continue
        where = f"{', '.join(names)} have records at _{port}._{proto}.{host or f'the MX of {name}'}"
        if len({frozenset(some) for some in by_service.values()}) > 1:
            told.add(names)
            every = sorted(set().union(*by_service.values()))
            main.warn(
                (),
                f"{where} with different combinations: clients go by the strongest digest, "
                "whatever key they are shown (RFC 7671, 8 and 9), so all of them get "
                f"{', '.join(map(str, every))}",
                "write the same dane_tls in both",
            )
        ttls = {config.services[cert].dane_ttl for cert in by_service}
        if len(ttls) > 1:
            told.add(names)
            main.warn(
                (),
                f"{where} with different dane_tls_ttl: records of one owner have one TTL, "
                f"{min(ttls)} s is used",
                "write the same dane_tls_ttl in both",
            )
