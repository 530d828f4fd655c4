"""Warnings about what the tables and files mean together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sslmd.config.model import (
    CaInfo,
    Config,
    DnsOptions,
    DnsPrimary,
    PostCopy,
    ServerClass,
    ServerKind,
    ServiceConfig,
    Validation,
)
from sslmd.config.report import Source, nearest
from sslmd.core.host.needs import KeyAccess
from sslmd.core.names import CertId, DomainName, ZoneName, covers, machine_of
from sslmd.core.records import zone_of
from sslmd.core.spec import AcmeCa


def check_grants(
    classes: Iterable[ServerClass], services: Mapping[CertId, ServiceConfig], main: Source
) -> None:
    """Warn about entries of `svc_depends` that name what is not there."""
    groups: dict[str, set[str]] = {}
    for cert in services:
        groups.setdefault(cert.group, set()).add(cert.service)
    for one in classes:
        for index, match in enumerate(one.svc_depends):
            key = (one.kind.value, "svc_depends", index)
            if match.group is not None and match.group not in groups:
                main.warn(
                    key,
                    f"there is no active group {match.group}",
                    nearest(match.group, groups, "there are: "),
                )
                continue
            there = groups[match.group] if match.group else set().union(*groups.values())
            for service in sorted((match.services or set()) - there):
                where = f"group {match.group}" if match.group else "any group"
                main.warn(
                    key,
                    f"there is no active service {service} in {where}",
                    nearest(service, there, "there are: "),
                )


# What is said of a certificate that no server uses; `status` and `doctor` say it as well.
UNUSED = "no server uses it: when it is renewed, that reaches nobody"
NAME_A_CLASS = (
    "name it in svc_depends of a class that has servers, or write used_by = 'none' in its file"
)

# Warnings about certificates without a server, before they are counted only.
_SHOWN = 20


def unused(config: Config) -> list[CertId]:
    """Return the certificates that no server uses, though nobody said that this is meant."""
    return [cert for cert in config.services if config.is_unused(cert)]


def check_used(config: Config, files: Mapping[CertId, Source]) -> None:
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


def check_access(classes: Iterable[ServerClass], services: Iterable[CertId], main: Source) -> None:
    """Warn where classes that share a host want the same key to be had by different users."""
    asking = [one for one in classes if one.access != KeyAccess() and not one.skip_prod_copy]
    for index, later in enumerate(asking):
        for first in asking[:index]:
            shared = sorted(set(first.servers) & set(later.servers))
            certs = [one for one in services if first.receives(one) and later.receives(one)]
            if shared and certs and first.access != later.access:
                table = f"[{first.kind.value}]"
                problem = f"on {shared[0]}, {table} has other rights for the key of {certs[0]}"
                remedy = f"those of {table} count, as it comes first; write the same in both"
                main.warn((later.kind.value,), problem, remedy)


def check_probes(
    classes: Iterable[ServerClass], services: Mapping[CertId, ServiceConfig], main: Source
) -> None:
    """Warn about probes that would look at nothing: no certificate there has the name."""
    for one in classes:
        names = [
            str(name)
            for cert, service in services.items()
            if one.receives(cert) and service.managed
            for name in service.spec.names
        ]
        for index, probe in enumerate(one.probes):
            if probe.name and one.servers and not covers(names, probe.name):
                problem = f"no certificate of this class is for {probe.name}: nobody looks there"
                remedy = nearest(probe.name, names, "there are: ")
                main.warn((one.kind.value, "probe", index), problem, remedy)


def check_after_copies(
    commands: Iterable[PostCopy], classes: Iterable[ServerClass], main: Source
) -> None:
    """Warn about commands after the copy to a host that nothing is copied to."""
    hosts = {machine_of(host): None for one in classes for host in one.servers}
    for index, one in enumerate(commands):
        if machine_of(one.host) not in hosts:
            problem = (
                f"nothing is copied to {one.host}, so this never runs; ssl-mgr runs it at every "
                "copy, whatever the host"
            )
            remedy = nearest(one.host, hosts, "there are: ")
            main.warn(("globals", "post_copy_cmd", index), problem, remedy)


def check_means(
    dns: DnsOptions,
    primaries: Iterable[DnsPrimary],
    classes: Iterable[ServerClass],
    cas: Mapping[str, CaInfo],
    services: Iterable[ServiceConfig],
    main: Source,
) -> None:
    """Warn where challenges or TLSA records are wanted that there is no way to publish."""
    updates = {primary.domain: primary.update for primary in primaries}

    def takes_updates(zone: ZoneName) -> bool:
        return updates.get(zone, updates.get(None, False))

    everything = list(services)
    groups = {ZoneName(one.id.group) for one in everything}
    zones = groups | {zone for zone in updates if zone is not None}
    # Zones without certificates, to which CNAMEs of others' challenges may lead.
    holders = {zone for zone in zones - groups if takes_updates(zone)}

    def no_challenges(one: ServiceConfig) -> bool:
        owners = [
            DomainName(f"_acme-challenge.{name.text.removeprefix('*.')}")
            for name in one.spec.all_names()
            if isinstance(name, DomainName)
        ]
        around = {zone_of(owner, zones) for owner in owners} - {None}
        return not holders - around and not all(takes_updates(zone) for zone in around if zone)

    def validated_by(method: Validation) -> Callable[[ServiceConfig], bool]:
        def wanted(one: ServiceConfig) -> bool:
            signer = one.spec.signer
            return isinstance(signer, AcmeCa) and cas[signer.name].validation is method

        return wanted

    served = any(one.server_dir for one in classes if one.kind is ServerKind.WEB)
    no_acme = [] if dns.acme_dirs else [one for one in everything if no_challenges(one)]
    no_tlsa = (
        []
        if dns.tlsa_dirs
        else [one for one in everything if not takes_updates(ZoneName(one.id.group))]
    )
    by_dns, by_http = validated_by(Validation.DNS_01), validated_by(Validation.HTTP_01)
    _warn_lack(
        [one for one in no_acme if by_dns(one)],
        "dns-01 challenges cannot be published",
        "write acme_dir in [dns], or update = true in [[dns_primary]]",
        main,
    )
    _warn_lack(
        [one for one in no_tlsa if one.dane],
        "TLSA records cannot be published",
        "write tlsa_dirs in [dns], or update = true in [[dns_primary]]",
        main,
    )
    _warn_lack(
        [] if served else [one for one in everything if by_http(one)],
        "http-01 challenges cannot be put anywhere",
        "write server_dir in [web]",
        main,
    )


def _warn_lack(services: list[ServiceConfig], problem: str, remedy: str, main: Source) -> None:
    if services:
        some = ", ".join(str(one.id) for one in services[:3])
        more = f" and {len(services) - 3} more" if len(services) > 3 else ""
        main.warn((), f"{problem}: {some}{more}", remedy)
