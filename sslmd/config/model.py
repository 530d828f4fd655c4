"""What a configuration asks, in types that the rest of the daemon can trust.

`load` makes these and nobody else does: every name is parsed, every path absolute, every
command an argv list, every value inside its limits. They are frozen; a reload makes a new
`Config`. Equal values (`Timing`, `KeySpec`, `Subject` texts …) are shared between services,
so that ten thousand of them stay small.

Also what it asks of hosts: who gets what, and which server classes use it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sslmd.config.cert_tables import CaInfo
from sslmd.config.kinds import (
    Argv,
    CaAccount,
    CaKind,
    Endpoint,
    Engines,
    NextKey,
    PostCopy,
    Probe,
    ServerKind,
    ServiceMatch,
    Trigger,
    TsigKey,
    Unprobed,
    UsedBy,
    Validation,
)
from sslmd.config.notify_tables import NotifyOptions
from sslmd.config.server_tables import DnsOptions, DnsPrimary, ServerClass
from sslmd.config.tables import DhOptions, GlobalOptions
from sslmd.core.buckets import LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from sslmd.core.dane.tlsa import DaneEntry
from sslmd.core.errors import Mistake
from sslmd.core.host.commands import DNS, HostCommands
from sslmd.core.host.needs import HostWanted, KeyAccess
from sslmd.core.names import CertId, GroupName, ZoneName, machine_of
from sslmd.core.spec import CertSpec, Timing
from sslmd.core.windows import Group

__all__ = [
    "LETS_ENCRYPT",
    "LETS_ENCRYPT_STAGING",
    "Argv",
    "CaAccount",
    "CaInfo",
    "CaKind",
    "Config",
    "DhOptions",
    "DnsOptions",
    "DnsPrimary",
    "Endpoint",
    "Engines",
    "GlobalOptions",
    "NextKey",
    "NotifyOptions",
    "PostCopy",
    "Probe",
    "ServerClass",
    "ServerKind",
    "ServiceConfig",
    "ServiceMatch",
    "Trigger",
    "TsigKey",
    "Unprobed",
    "UsedBy",
    "Validation",
]


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """One certificate: what it is (`spec`), when it is renewed, what DNS says of it.

    `managed` is False for a CA that no active group lists: it signs with what it has and is
    never renewed. `fingerprint` changes exactly when something that the service file or its
    table of `ca-info.conf` asks changes; comments, order of keys, windows and `used_by` do not
    count. `dane_ttl` is in seconds. `used_by` None: the server classes say who uses it.
    """

    spec: CertSpec
    timing: Timing
    fingerprint: str
    dane: tuple[DaneEntry, ...] = ()
    dane_ttl: int = 1800
    dane_next_key: NextKey = NextKey.AT_RENEW
    managed: bool = True
    roll_window: Group = ()
    restart_window: Group = ()
    used_by: UsedBy | None = None

    @property
    def id(self) -> CertId:
        """The certificate's name."""
        return self.spec.id


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration.

    `services` is in the order of `[[groups]]`, CAs that no active group lists at the end;
    `server_classes` in the order of the file. `groups`: those that are looked after; `inactive`:
    those that are left alone as they are. `files`: SHA-256 of every file that was read, in hex, by
    its path. `written`: what its two main files say.
    """

    top: Path
    conf_dir: Path
    globals: GlobalOptions
    services: Mapping[CertId, ServiceConfig]
    cas: Mapping[str, CaInfo]
    server_classes: tuple[ServerClass, ...] = ()
    dns: DnsOptions = field(default_factory=DnsOptions)
    dns_primaries: tuple[DnsPrimary, ...] = ()
    dh: DhOptions = field(default_factory=lambda: DhOptions(()))
    notify: tuple[NotifyOptions, ...] = ()
    groups: frozenset[str] = frozenset()
    inactive: frozenset[str] = frozenset()
    warnings: tuple[Mistake, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # The classes that are copied to each machine: asked for each certificate and host.
    _copying: Mapping[str, tuple[ServerClass, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find out what is copied where."""
        copying: dict[str, tuple[ServerClass, ...]] = {}
        for one in self.server_classes:
            servers = () if one.skip_prod_copy else one.servers
            for machine in dict.fromkeys(map(machine_of, servers)):
                copying[machine] = (*copying.get(machine, ()), one)
        object.__setattr__(self, "_copying", copying)

    def primary_for(self, zone: ZoneName) -> DnsPrimary | None:
        """Return the primary of `zone`: its own, else the default one, else None."""
        default = None
        for primary in self.dns_primaries:
            if primary.domain == zone:
                return primary
            if primary.domain is None:
                default = primary
        return default

    def acme_server(self, name: str) -> str:
        """Return the directory of the ACME CA of that name, "" if there is none."""
        ca = self.cas.get(name)
        return ca.server if ca is not None and ca.kind is CaKind.ACME else ""

    def zones(self) -> frozenset[ZoneName]:
        """Return the zones of ours: the groups, and those with a `[[dns_primary]]`."""
        groups = {cert.group for cert in self.services} - {GroupName.CA}
        named = {primary.domain for primary in self.dns_primaries if primary.domain}
        return frozenset({ZoneName(group) for group in groups} | named)

    def copied_to(self, host: str) -> tuple[ServerClass, ...]:
        """Return the classes whose certificates are copied to `host`, in the order of the file.

        A machine that is named with several users is one machine.
        """
        return self._copying.get(machine_of(host), ())

    def access(self, cert: CertId, hosts: Collection[str]) -> KeyAccess:
        """Return who may read a certificate's key on a machine that has these names.

        Of classes that share a machine, the first that grants it and asks for anything counts.
        """
        named = [one for host in hosts for one in self.copied_to(host)]
        for one in self.server_classes:
            if one in named and one.receives(cert) and one.access != KeyAccess():
                return one.access
        return KeyAccess()

    def classes_for(self, cert: CertId) -> tuple[ServerClass, ...]:
        """Return the server classes that are granted `cert`, in the order of the file."""
        return tuple(c for c in self.server_classes if c.receives(cert))

    def users_of(self, cert: CertId) -> tuple[ServerClass, ...]:
        """Return the classes that are granted `cert` and have servers to use it."""
        return tuple(one for one in self.classes_for(cert) if one.servers)

    def kinds_using(self, cert: CertId) -> tuple[ServerKind, ...]:
        """Return the classes with servers that are restarted when `cert` changes."""
        return tuple(one.kind for one in self.restarted_for(cert))

    def restarted_for(self, cert: CertId) -> tuple[ServerClass, ...]:
        """Return the classes with servers that a roll of `cert` restarts."""
        classes = (one for one in self.server_classes if one.servers)
        return tuple(c for c in classes if c.receives(cert) or Trigger.CERT in c.depends)

    def is_unused(self, cert: CertId) -> bool:
        """Whether no server would be restarted for `cert`, though nobody said that this is meant.

        CAs need no server: they are in the chains of what they sign.
        """
        service = self.services.get(cert)
        if service is None or not service.managed or service.spec.ca is not None:
            return False
        return service.used_by is None and not self.kinds_using(cert)

    def roll_windows(self, cert: CertId) -> tuple[Group, ...]:
        """Return the windows that have to be open together for a roll of `cert`.

        A group for the service itself and for each class that uses it; those without windows are
        left out.
        """
        service = self.services.get(cert)
        own = service.roll_window if service else ()
        return _some(own, *(one.roll_window for one in self.users_of(cert)))

    def restart_windows(self, kind: str, cert: CertId) -> tuple[Group, ...]:
        """Return the windows that have to be open together to restart class `kind` for `cert`.

        A group for the class and for the service; those without windows are left out.
        """
        service = self.services.get(cert)
        own = service.restart_window if service else ()
        classes = (one.restart_window for one in self.server_classes if one.kind == kind)
        return _some(*classes, own)


def _some(*groups: Group) -> tuple[Group, ...]:
    return tuple(group for group in groups if group)


# --- hosts ------------------------------------------------------------------------------


# How this machine is called where no class names it.
THIS_HOST = "localhost"


@dataclass(frozen=True, slots=True)
class _Granted:
    """The certificates that these classes are granted, found out when asked: there may be many."""

    config: Config
    classes: tuple[ServerClass, ...]
    with_key: bool = False

    def __contains__(self, cert: object) -> bool:
        assert isinstance(cert, CertId)
        service = self.config.services.get(cert)
        if service is None or (self.with_key and service.spec.ca is not None):
            return False
        return any(one.receives(cert) for one in self.classes)


def wanted_on(config: Config, *names: str) -> HostWanted:
    """Return what is wanted of a machine that has these names."""
    classes = tuple(one for name in names for one in config.copied_to(name))
    return HostWanted(
        _Granted(config, classes),
        _Granted(config, classes, with_key=True),
        config.inactive,
        prunes=_prunes(config, *names),
        keep=config.globals.keep,
        classes=tuple(dict.fromkeys(str(one.kind) for one in classes)),
    )


def wanted_here(config: Config) -> HostWanted:
    """Return what is wanted of this machine's production tree: every certificate.

    It is what copies are made for, and what others read by other means.
    """
    keys = {cert for cert, one in config.services.items() if one.spec.ca is None}
    return HostWanted(
        config.services.keys(),
        keys,
        config.inactive,
        prunes=_prunes(config, THIS_HOST),
        keep=config.globals.keep,
        classes=tuple(str(one.kind) for one in config.copied_to(THIS_HOST)),
    )


def _prunes(config: Config, *names: str) -> bool:
    """Whether surplus is removed from a machine of these names: every class there says so."""
    shared = [config.copied_to(name) for name in names]
    return all(classes and all(one.prune for one in classes) for classes in shared)


def is_meant(config: Config, cert: CertId, host: str) -> bool:
    """Whether a certificate is to be copied to a host: a class that has it there wants it (I1)."""
    return cert in _Granted(config, config.copied_to(host))


def hosts_of(config: Config) -> dict[str, None]:
    """Return the hosts that server classes name, each once, in the order of the file."""
    return dict.fromkeys(host for one in config.server_classes for host in one.servers)


def places(config: Config, cert: CertId) -> frozenset[tuple[str, str]]:
    """Return the (class, host) pairs that depend on `cert`, the name servers' own too."""
    found = {(str(one.kind), host) for one in config.restarted_for(cert) for host in one.servers}
    if Trigger.CERT in config.dns.depends and config.dns.restart:
        found.add((DNS, THIS_HOST))
    return frozenset(found)


def proves(config: Config, cert: CertId) -> bool:
    """Whether ports are to be looked at: not where every class says `probe = false`."""
    classes = config.users_of(cert)
    return not classes or any(one.probes for one in classes)


def class_order(config: Config) -> tuple[str, ...]:
    """Return the classes in the order of the file, DNS last (docs/ARCHITECTURE.md, A delivery)."""
    return (*(str(one.kind) for one in config.server_classes), DNS)


def commands_of(config: Config) -> HostCommands:
    """Return what is run on hosts, and for them."""
    return HostCommands(
        {str(one.kind): one.restart for one in config.server_classes},
        tuple((one.host, one.argv) for one in config.globals.post_copy),
        config.dns.restart,
        config.dns.pass_zones,
    )
