"""What a configuration asks, in types that the rest of the daemon can trust.

`load` makes these and nobody else does: every name is parsed, every path absolute, every
command an argv list, every value inside its limits. They are frozen; a reload makes a new
`Config`. Equal values (`Timing`, `KeySpec`, `Subject` texts …) are shared between services,
so that ten thousand of them stay small.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from sslmd.core.dane.tlsa import DaneEntry
from sslmd.core.dh import OWN_AGE, DhGroup
from sslmd.core.errors import Mistake
from sslmd.core.host.access import KEY_MODE, KeyAccess
from sslmd.core.limits import LETS_ENCRYPT as LETS_ENCRYPT
from sslmd.core.names import CertId, GroupName, ZoneName, machine_of
from sslmd.core.spec import CertSpec, Timing
from sslmd.core.windows import Group

Argv = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A name server's address: a host name or an IP address (without brackets), and a port."""

    host: str
    port: int = 53

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PostCopy:
    """A command run here after the certificates went to `host`, which it gets as argument."""

    host: str
    argv: Argv


class NextKey(StrEnum):
    """When a DANE service's next key is made: `dane_next_key`."""

    AT_RENEW = "at-renew"
    AT_ROLL = "at-roll"


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """`[globals]`. `auth_hook` and `logdir` are None where the file names none.

    `keep`: paths below the production tree, normalized.
    """

    certs_dir: Path
    prod_cert_dir: Path
    verbose: bool
    auth_hook: Path | None
    logdir: Path | None
    clean_keep: int
    timing: Timing
    dns_check_delay: timedelta
    dns_check_timeout: timedelta
    dns_extra_servers: tuple[Endpoint, ...]
    dns_validating_resolver: Endpoint | None
    dane_next_key: NextKey
    cmd_timeout: timedelta
    post_copy: tuple[PostCopy, ...]
    keep: tuple[str, ...] = ()


class CaKind(StrEnum):
    """How a CA of `ca-info.conf` signs."""

    SELF = "self"
    LOCAL = "local"
    ACME = "certbot"


class Validation(StrEnum):
    """How an ACME CA checks control of a name (RFC 8555 §8)."""

    DNS_01 = "dns-01"
    HTTP_01 = "http-01"


LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


@dataclass(frozen=True, slots=True)
class CaInfo:
    """One table of `ca-info.conf`. The ACME fields mean something for `CaKind.ACME` only.

    Empty texts and None stand for "not asked for". `server_root` and `test_server_root` are
    PEM bundles to trust for the CA's own HTTPS. `eab_hmac_key_file` is named, never read here.
    """

    name: str
    description: str
    kind: CaKind
    validation: Validation
    preferred_chain: str = ""
    preferred_profile: str = ""
    server: str = LETS_ENCRYPT
    server_root: Path | None = None
    test_server: str = LETS_ENCRYPT_STAGING
    test_server_root: Path | None = None
    eab_kid: str = ""
    eab_hmac_key_file: Path | None = None


class UsedBy(StrEnum):
    """What a service file can say of who uses the certificate: no server class, on purpose."""

    NONE = "none"


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


class ServerKind(StrEnum):
    """The server classes that get certificates. (`[dns]` is a `DnsOptions`.)"""

    SMTP = "smtp"
    IMAP = "imap"
    WEB = "web"
    OTHER = "other"


class Trigger(StrEnum):
    """What restarts a class beside its own certificates: `depends`."""

    DNS = "dns"
    TLSA = "tlsa"
    CERT = "cert"


@dataclass(frozen=True, slots=True)
class ServiceMatch:
    """One entry of `svc_depends`. `group` None: every group; `services` None: all of them.

    `cas` False: no CA's, which only matters where every group is meant.
    """

    group: str | None
    services: frozenset[str] | None
    cas: bool = True

    def matches(self, cert: CertId) -> bool:
        """Whether the entry grants `cert`."""
        return (
            (self.group is None or self.group == cert.group)
            and (self.services is None or cert.service in self.services)
            and (self.cas or cert.group != GroupName.CA)
        )


class ProbeWord(StrEnum):
    """How a probe speaks to a port before TLS: at once, or with STARTTLS."""

    TLS = "tls"
    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"


class Unprobed(StrEnum):
    """Why a class has no probes: `probe = false`, or `'none'`, no port of it speaks TLS."""

    FALSE = "false"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Probe:
    """A port to look at after a restart.

    `name` is sent as SNI, "" stands for a name of the certificate. `optional`: a default
    port, which counts from the moment it first served a certificate of ours.
    """

    port: int
    word: ProbeWord
    name: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ServerClass:
    """One of `[smtp] [imap] [web] [other]`.

    A class is granted the certificates that `svc_depends` matches (I1), see `receives`.
    `restart` holds argv lists, run in order on every server. `probes`: what to look at after a
    restart; `unprobed`: what the file says where there are none. `server_dir` and `http_check`
    serve http-01. `key_mode` None: as it is in the tree.
    """

    kind: ServerKind
    servers: tuple[str, ...] = ()
    restart: tuple[Argv, ...] = ()
    svc_depends: tuple[ServiceMatch, ...] = ()
    depends: frozenset[Trigger] = frozenset()
    server_dir: Path | None = None
    http_check: bool = True
    skip_prod_copy: bool = False
    probes: tuple[Probe, ...] = ()
    probe_timeout: timedelta = timedelta(seconds=60)
    unprobed: Unprobed | None = None
    prune: bool = False
    key_owner: str = ""
    key_group: str = ""
    key_mode: int | None = None
    roll_window: Group = ()
    restart_window: Group = ()

    def receives(self, cert: CertId) -> bool:
        """Whether the class is granted `cert` and restarts for it."""
        return any(match.matches(cert) for match in self.svc_depends)

    @property
    def access(self) -> KeyAccess:
        """Who may read private keys on its servers."""
        mode = KEY_MODE if self.key_mode is None else self.key_mode
        return KeyAccess(self.key_owner, self.key_group, mode)


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """`[dns]`: the include files, and the command that makes the name servers load them.

    `pass_zones` False runs `restart` bare; otherwise `{zones}` in it, or its end, takes the
    zones that changed.
    """

    restart: tuple[Argv, ...] = ()
    acme_dirs: tuple[Path, ...] = ()
    tlsa_dirs: tuple[Path, ...] = ()
    depends: frozenset[Trigger] = frozenset()
    pass_zones: bool = True


@dataclass(frozen=True, slots=True)
class DhOptions:
    """`[dh]`: Diffie-Hellman groups (`params`) in the production tree of this machine.

    `groups`: the groups whose folders get them, none where that is not asked for. The link leads to
    the first of `params`. `max_age` is for those that are generated here.
    """

    groups: tuple[str, ...] = ()
    params: tuple[DhGroup, ...] = (DhGroup(8192),)
    max_age: timedelta = OWN_AGE


@dataclass(frozen=True, slots=True)
class TsigKey:
    """Where the secret of RFC 8945 is. `name` and `algorithm` are "" for a key statement."""

    file: Path
    name: str = ""
    algorithm: str = ""


@dataclass(frozen=True, slots=True)
class DnsPrimary:
    """One `[[dns_primary]]`. `domain` None is the one for all zones without their own.

    `nameservers`, when not empty, stand in place of the NS lookup. `update`: records go there
    by RFC 2136, signed with `tsig` if there is one.
    """

    domain: ZoneName | None
    server: Endpoint
    nameservers: tuple[Endpoint, ...] = ()
    update: bool = False
    tsig: TsigKey | None = None


# For the classes of the newest configuration: asked for each certificate and host.
_copying_now: list[tuple[tuple[ServerClass, ...], dict[str, tuple[ServerClass, ...]]]] = []


def _copying(classes: tuple[ServerClass, ...]) -> dict[str, tuple[ServerClass, ...]]:
    """Return the classes that are copied to each machine."""
    for known, found in _copying_now:
        if known is classes:
            return found
    made: dict[str, tuple[ServerClass, ...]] = {}
    for one in classes:
        for machine in dict.fromkeys(map(machine_of, () if one.skip_prod_copy else one.servers)):
            made[machine] = (*made.get(machine, ()), one)
    _copying_now[:] = [(classes, made), *_copying_now[:1]]
    return made


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
    dh: DhOptions = field(default_factory=DhOptions)
    groups: frozenset[str] = frozenset()
    inactive: frozenset[str] = frozenset()
    warnings: tuple[Mistake, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

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
        return _copying(self.server_classes).get(machine_of(host), ())

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
        return tuple(
            one.kind
            for one in self.server_classes
            if one.servers and (one.receives(cert) or Trigger.CERT in one.depends)
        )

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
