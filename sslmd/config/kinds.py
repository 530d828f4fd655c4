"""The kinds of values in a configuration: endpoints, probes, grants, and the words of its keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sslmd.core.names import CertId, GroupName
from sslmd.core.starttls import ProbeWord

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


class RenewBy(StrEnum):
    """What says when a certificate of an ACME CA is renewed: `renew_by`."""

    CA = "ca"
    DAYS = "days"


class CaKind(StrEnum):
    """How a CA of `ca-info.conf` signs."""

    SELF = "self"
    LOCAL = "local"
    ACME = "certbot"


class Validation(StrEnum):
    """How an ACME CA checks control of a name (RFC 8555 §8)."""

    DNS_01 = "dns-01"
    HTTP_01 = "http-01"


class Engines(StrEnum):
    """What speaks to an ACME CA."""

    ENGINE = "engine"
    CERTBOT = "certbot"


class CaAccount(StrEnum):
    """Which account at an ACME CA a certificate uses."""

    SHARED = "shared"
    OWN = "own"


class UsedBy(StrEnum):
    """What a service file can say of who uses the certificate: no server class, on purpose."""

    NONE = "none"


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
class TsigKey:
    """Where the secret of RFC 8945 is. `name` and `algorithm` are "" for a key statement."""

    file: Path
    name: str = ""
    algorithm: str = ""


@dataclass(frozen=True, slots=True)
class NotifyAddress:
    """Whom to tell, as Apprise writes it: `ntfys://host/topic`, `mailto:root`.

    It may hold secrets: neither `repr` nor `str` shows it, but for mail that goes to sendmail.
    """

    text: str = field(repr=False)

    def __str__(self) -> str:
        return self.text if self.is_local_mail else self.scheme

    @property
    def scheme(self) -> str:
        """What stands before the colon, in small letters."""
        return self.text.partition(":")[0].lower()

    @property
    def is_local_mail(self) -> bool:
        """Whether it is a recipient for sendmail(8) (RFC 6068), and not a server for Apprise."""
        return self.scheme == "mailto" and not self.text[len("mailto:") :].startswith("//")


@dataclass(frozen=True, slots=True)
class AliveUrl:
    """Where to tell that all is well. Who knows it can tell that too, so nothing shows its path."""

    text: str = field(repr=False)
    host: str

    def __str__(self) -> str:
        return self.host
