"""Names, parsed once at the edge and trusted from there on.

Whatever comes from a file, a command line or a socket becomes one of these types or is
refused; nothing inside handles bare `str` names. A name that made it through can be used as
a path component (I1, I2: no name can lead out of the tree).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar, Self

from sslmd.core.plain import plain

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
# What nearly every name is: an ASCII name in lower case, that needs no closer look.
_PLAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*"
    r"(?=[0-9]*[a-z_-])[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z"
)
_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]{0,63}\Z")
_SET = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2}):([0-9]{2}):([0-9]{2})\Z")


class BadName(ValueError):
    """A text that is not the kind of name it should be; the message says why."""


def shown(text: str, limit: int = 60) -> str:
    """Return `text` fit for a message: quoted, control characters escaped, not endless.

    A backslash stays one, so that what is `plain` already is not escaped again.
    """
    return plain(repr(text if len(text) <= limit else text[:limit] + "…").replace("\\\\", "\\"))


def _ascii_name(text: str) -> str:
    """Lower-case A-labels of `text` (RFC 5890); IDNs by IDNA 2008 with UTS 46 mapping."""
    if text.isascii():
        return text.lower()
    import idna  # only for the few names that need it: its tables are slow to load

    try:
        return idna.encode(text, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as err:
        raise BadName(f"{shown(text)} is not a valid internationalized name: {err}") from None


def _check_domain(text: str) -> str:
    if _PLAIN.match(text):
        return text
    name = _ascii_name(text).removesuffix(".")
    if not name:
        raise BadName("an empty name is not a domain name")
    # RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text.
    if len(name) > 253:
        raise BadName(f"{shown(text)} has {len(name)} characters; a domain name has at most 253")
    for label in name.split("."):
        if not label:
            raise BadName(f"{shown(text)} has an empty label")
        if not _LABEL.match(label):
            raise BadName(
                f"{shown(text)} is not a domain name: the label {shown(label)} may have 1 to 63 "
                "letters, digits and inner hyphens"
            )
    # RFC 1123 §2.1: the last label is never a number, so that no name is taken for an address.
    if name.rpartition(".")[2].isdigit():
        raise BadName(f"{shown(text)} is not a domain name: its last label is a number")
    return name


@dataclass(frozen=True, slots=True, order=True)
class DomainName:
    """A DNS name in lower-case A-labels without the final dot; `*.` may stand in front."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `text`; raise `BadName` for what is not a domain or wildcard name."""
        star = "*." if text.startswith("*.") else ""
        if star and "." not in text[2:].rstrip("."):
            raise BadName(f"{shown(text)}: a wildcard needs at least two labels after the star")
        name = star + _check_domain(text.removeprefix(star))
        if len(name) > 253:
            raise BadName(f"{shown(text)} has more than the 253 characters of a domain name")
        return cls(name)

    @property
    def is_wildcard(self) -> bool:
        """Whether the leftmost label is `*`."""
        return self.text.startswith("*.")

    def is_within(self, zone: ZoneName) -> bool:
        """Whether the name is the zone's apex or below it."""
        return self.text == zone.text or self.text.endswith("." + zone.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class ZoneName:
    """An apex domain: the name that has the SOA record."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `text`; raise `BadName` for what is not a plain domain name."""
        return cls(_check_domain(text))

    def __str__(self) -> str:
        return self.text


SanName = DomainName | ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_san(text: str) -> SanName:
    """Parse one subject alternative name: DNS, wildcard, IPv4 or IPv6; raise `BadName`."""
    # Only a text that ends in a digit or has a colon can be an address (and one that ends in a
    # dot may look like one); to find out for every name, by exceptions, takes four times as long.
    if ":" not in text and not text[-1:].isdigit() and not text.endswith("."):
        return DomainName.parse(text)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            raise BadName(f"{shown(text)} has a scope (%…), which no certificate can hold")
        return address
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        raise BadName(f"{shown(text)} is neither an IP address nor a domain name")
    return DomainName.parse(text)


def san_or_none(text: str) -> SanName | None:
    """Return the host or address that a text names, None if it names none."""
    try:
        return parse_san(text)
    except BadName:
        return None


@dataclass(frozen=True, slots=True, order=True)
class GroupName:
    """A folder of `conf.d`: an apex domain, or `ca` for the site's own CA."""

    CA: ClassVar[str] = "ca"
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `text`; raise `BadName` for what is neither `ca` nor a domain name."""
        return cls(text if text == cls.CA else _check_domain(text))

    @property
    def is_ca(self) -> bool:
        """Whether this is the group of the site's own CA."""
        return self.text == self.CA

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class CertId:
    """One certificate: `group:service` on a command line, `group/service` in logs and paths."""

    group: str
    service: str

    @classmethod
    def of(cls, group: str, service: str) -> Self:
        """Build one from its parts; raise `BadName` if either cannot be a folder or file name."""
        cert = cls(GroupName.parse(group).text, parse_service(service))
        cert.check_free()
        return cert

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `group:service` or `group/service`; raise `BadName`."""
        group, separator, service = text.replace("/", ":", 1).partition(":")
        if not separator:
            raise BadName(f"{shown(text)} is not a certificate; write it group:service")
        return cls.of(group, service)

    def check_free(self) -> None:
        """Raise `BadName` if what is no certificate has that name beside the group's services.

        In `certs` or in `prod-certs`, that is; ssl-mgr keeps `dh/` apart as well.
        """
        if self.service == "dh":
            what = "that folder of the group is for Diffie-Hellman groups"
        elif self.service == f"tlsa.{self.group}":
            what = "that file of the group is for TLSA records"
        else:
            return
        raise BadName(f"{shown(self.service)} cannot name a service: {what}")

    @property
    def arg(self) -> str:
        """The form used on command lines."""
        return f"{self.group}:{self.service}"

    def __str__(self) -> str:
        return f"{self.group}/{self.service}"


def covers(names: Collection[str], host: str) -> bool:
    """Whether a certificate's names stand for `host`, a star for one label (RFC 6125 §6.4.3)."""
    return host in names or f"*.{host.partition('.')[2]}" in names


def parse_service(text: str) -> str:
    """Return `text` if it can name a service (a file in `conf.d`), else raise `BadName`."""
    if text in ("ALL", "*"):
        raise BadName(f"{shown(text)} stands for every service and cannot name one")
    if not _SERVICE.match(text):
        raise BadName(
            f"{shown(text)} cannot name a service: use 1 to 64 letters, digits, '.', '_', '+', "
            "'@' and '-', the first one a letter, a digit or '_'"
        )
    return text


@dataclass(frozen=True, slots=True, order=True)
class SetName:
    """A dated directory under `db/`: `YYYYMMDD-HH:MM:SS` in UTC. They sort by age."""

    FORMAT: ClassVar[str] = "%Y%m%d-%H:%M:%S"
    text: str

    @classmethod
    def at(cls, when: datetime) -> Self:
        """Return the name for a set made at `when`."""
        return cls(when.astimezone(UTC).strftime(cls.FORMAT))

    @classmethod
    def parse(cls, text: str) -> SetName:
        """Parse a directory's name; raise `BadName`."""
        if (name := _set_name(text)) is None:
            raise BadName(f"{shown(text)} is not the name of a set (YYYYMMDD-HH:MM:SS)")
        return name

    @property
    def time(self) -> datetime:
        """When the set was made."""
        return datetime.strptime(self.text, self.FORMAT).replace(tzinfo=UTC)

    def later(self) -> SetName:
        """Return the next free second's name, for a set that would be named alike."""
        return SetName.at(self.time + timedelta(seconds=1))

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=256)  # the links and notes of a certificate name the same set again and again
def _set_name(text: str) -> SetName | None:
    match = _SET.match(text)
    try:
        if match is not None and datetime(*map(int, match.groups())):  # type: ignore[arg-type]  # noqa: DTZ001
            return SetName(text)
    except ValueError:
        pass
    return None


def machine_of(host: str) -> str:
    """Return the machine that an entry of `servers` means, without the user that logs in there."""
    return host.rpartition("@")[2].lower()
