"""`dane_tls` of a service file: what it asks for, and warnings where that is seldom meant."""

from __future__ import annotations

from collections.abc import Sequence

from sslmd.config.locate import KeyPath
from sslmd.config.report import Source
from sslmd.core.dane.tlsa import DaneEntry, TlsaHosts, hosts_of
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.plain import some_of
from sslmd.core.spec import AcmeCa, CertSpec, Signer

# Hosts that one message names.
_NAMED = 5


def dane_entries(
    parsed: Sequence[DaneEntry | None],
    written: object,
    spec: CertSpec,
    signer: Signer | None,
    source: Source,
) -> tuple[DaneEntry, ...]:
    """Return what a service asks for, each once. `written`: as it is in the file."""
    entries = tuple(dict.fromkeys(entry for entry in parsed if entry))
    if not entries:
        return ()
    if spec.ca is not None:
        source.mistake(("dane_tls",), "a CA has no zone for TLSA records", "write dane_tls = []")
        return ()
    assert isinstance(written, list)
    for index, (words, one) in enumerate(zip(written, parsed, strict=True)):
        if one is not None:
            word = words[5] if len(words) == 6 else ""
            _check_hosts(one, word, spec, source, ("dane_tls", index))
    for entry in entries:
        _check_entry(entry, ZoneName(spec.id.group), signer, source)
    return entries


def _check_hosts(
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
    some = some_of(names, _NAMED)
    listed = f"the names of the certificate ({some})" if names else "no name at all"
    keep = "'SANS'"
    other = f"ssl-mgr before 5.7 has them at {zone} and its MX hosts"
    if apex not in names:
        keep = str([host.text for host in (apex, *names)])
        other = f"ssl-mgr has them at {zone} as well, and before 5.7 at {zone} and its MX hosts"
    source.warn(
        key,
        f"port {entry.port} has records at {listed}; {other}",
        f"write a sixth element: {keep} keeps the records of ssl-mgr 5.7 and later, 'MX' those of "
        "versions before" + (", 'SANS' is what sslmd does now" if apex not in names else ""),
    )


def _check_entry(entry: DaneEntry, zone: ZoneName, signer: Signer | None, source: Source) -> None:
    """Check one entry by itself; warn about what is right and seldom what is meant."""
    key = ("dane_tls",)
    if entry.port == 25 and entry.usage in (0, 1):
        source.warn(
            key,
            f"usage {entry.usage} is not for mail servers (RFC 7672, 3.1.3)",
            "write [25, 'tcp', 3, 1, 1]",
        )
    if entry.match == 0:
        what = "key" if entry.selector else "certificate"
        source.warn(
            key,
            f"matching type 0 puts the whole {what} into DNS, whose answers then need TCP",
            f"write {entry.usage}, {entry.selector}, 1, which is its SHA-256",
        )
    if entry.usage in (0, 2) and isinstance(signer, AcmeCa):
        source.warn(
            key,
            f"usage {entry.usage} is of the CA that issues, and a public CA changes it without "
            "warning: every such renewal then waits for new records",
            "write 3, 1, 1, which is of the key itself",
        )
    for host in entry.hosts if isinstance(entry.hosts, tuple) else ():
        if not host.is_within(zone):
            problem = f"{host} is outside the zone {zone}, whose records these are"
            source.mistake(key, problem, f"write hosts of {zone}")
