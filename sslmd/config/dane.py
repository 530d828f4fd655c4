"""Warnings about `dane_tls` of services that have a say at one owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from sslmd.config.locate import KeyPath
from sslmd.config.model import ServiceConfig
from sslmd.config.report import Source
from sslmd.core.dane.tlsa import Combination, DaneEntry, TlsaHosts, hosts_of
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.plain import some_of
from sslmd.core.spec import AcmeCa, CertSpec, Signer

# Hosts that one message names.
_NAMED = 5

_Place = tuple[str, int, str, str]  # zone, port, protocol, host


def check_dane(services: Iterable[ServiceConfig], main: Source) -> None:
    """Warn about what clients that check DANE would make something else of than was meant."""
    asked: dict[_Place, dict[CertId, set[Combination]]] = defaultdict(dict)
    ttls = {}
    for service in services:
        ttls[service.id] = service.dane_ttl
        for entry in service.dane:
            for place in _places(service, entry):
                asked[place].setdefault(service.id, set()).add(entry.combination)
    told: set[tuple[str, ...]] = set()
    for place, by_service in asked.items():
        names = tuple(map(str, by_service))
        if len(by_service) < 2 or names in told:
            continue
        zone, port, proto, host = place
        where = f"{', '.join(names)} have records at _{port}._{proto}.{host or f'the MX of {zone}'}"
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
        if len({ttls[cert] for cert in by_service}) > 1:
            told.add(names)
            least = min(ttls[cert] for cert in by_service)
            main.warn(
                (),
                f"{where} with different dane_tls_ttl: records of one owner have one TTL, {least} "
                "s is used",
                "write the same dane_tls_ttl in both",
            )


def _places(service: ServiceConfig, entry: DaneEntry) -> list[_Place]:
    """Return where an entry has records; the MX hosts, which only DNS knows, are ""."""
    zone = ZoneName(service.id.group)
    found = [host.text for host in hosts_of(entry, zone, service.spec.all_names(), ())]
    if entry.hosts is TlsaHosts.MX:
        found.append("")
    return [(zone.text, entry.port, entry.proto, host) for host in found]


def check_hosts(
    entry: DaneEntry, word: object, spec: CertSpec, source: Source, key: KeyPath
) -> None:
    """Warn where ssl-mgr has records at other hosts than `entry`; `word` is its sixth element.

    ssl-mgr before 5.7 had no sixth element, and every port at the apex and its MX hosts. Since then
    other ports than 25 are at the apex and the certificate's names, and port 25 is always at the MX
    hosts.
    """
    zone = ZoneName(spec.id.group)
    apex = DomainName(zone.text)
    if entry.hosts is not TlsaHosts.SANS:
        return
    if entry.port == 25:
        source.warn(
            key,
            f"port 25 has records at the names of the certificate; ssl-mgr has them at {zone} and "
            "its MX hosts whatever stands here",
            "write 'MX' to keep those; or the names as a list, if they are meant",
        )
        return
    if word:
        return
    names = hosts_of(entry, zone, spec.all_names(), ())
    keep = "'SANS'"
    other = f"ssl-mgr before 5.7 has them at {zone} and its MX hosts"
    if apex not in names:
        keep = str([host.text for host in (apex, *names)])
        other = f"ssl-mgr has them at {zone} as well, and before 5.7 at {zone} and its MX hosts"
    source.warn(
        key,
        f"port {entry.port} has records at {_listed(names)}; {other}",
        f"write a sixth element: {keep} keeps the records of ssl-mgr 5.7 and later, 'MX' those of "
        "versions before" + (", 'SANS' is what sslmd does now" if apex not in names else ""),
    )


def _listed(names: Collection[DomainName]) -> str:
    some = some_of(list(names), _NAMED)
    return f"the names of the certificate ({some})" if names else "no name at all"


def check_entry(entry: DaneEntry, signer: Signer | None, source: Source) -> None:
    """Warn about an entry that is right by itself and seldom what is meant."""
    if entry.port == 25 and entry.usage in (0, 1):
        source.warn(
            ("dane_tls",),
            f"usage {entry.usage} is not for mail servers (RFC 7672, 3.1.3)",
            "write [25, 'tcp', 3, 1, 1]",
        )
    if entry.match == 0:
        what = "key" if entry.selector else "certificate"
        source.warn(
            ("dane_tls",),
            f"matching type 0 puts the whole {what} into DNS, whose answers then need TCP",
            f"write {entry.usage}, {entry.selector}, 1, which is its SHA-256",
        )
    if entry.usage in (0, 2) and isinstance(signer, AcmeCa):
        source.warn(
            ("dane_tls",),
            f"usage {entry.usage} is of the CA that issues, and a public CA changes it without "
            "warning: every such renewal then waits for new records",
            "write 3, 1, 1, which is of the key itself",
        )
