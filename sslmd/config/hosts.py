"""What a configuration asks of hosts: who gets what, and which server classes use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sslmd.config.model import Config, ServerClass, Trigger
from sslmd.core.host.commands import DNS, HostCommands
from sslmd.core.host.needs import HostWanted
from sslmd.core.names import CertId

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
    """Return the (class, host) pairs that depend on `cert`, the name servers' own last."""
    return frozenset(_places(config, cert))


def _places(config: Config, cert: CertId) -> Iterator[tuple[str, str]]:
    for one in config.server_classes:
        if one.receives(cert) or Trigger.CERT in one.depends:
            yield from ((str(one.kind), host) for host in one.servers)
    if Trigger.CERT in config.dns.depends and config.dns.restart:
        yield (DNS, THIS_HOST)


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
