"""Names that a public CA refuses together, or not at all: warned about at load.

An order that is refused as a whole costs a round with the CA, and it is not there when it is
needed. Private ACME servers may take what public ones do not, so nothing here is a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from sslmd.config.locate import KeyPath
from sslmd.config.model import LETS_ENCRYPT, CaInfo
from sslmd.config.report import Notes, Source
from sslmd.core.names import DomainName
from sslmd.core.spec import CertSpec

# Names in one certificate (https://letsencrypt.org/docs/profiles/, looked up 2026-11-29). Other
# public CAs take 100 as well, or more for money.
MOST_NAMES = 100
MOST_BY_PROFILE: Mapping[str, int] = MappingProxyType(
    {"classic": MOST_NAMES, "tlsserver": 25, "shortlived": 25}
)

# The one profile of Let's Encrypt with addresses.
WITH_ADDRESSES = "shortlived"

# RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476, ICANN 2024 (internal): no public CA signs a
# name below one of these, because nobody owns it.
_NOBODYS = frozenset({"alt", "example", "internal", "invalid", "local", "localhost", "test"})
_NOBODYS_ZONES = ("home.arpa", "onion")


def check_acme_names(spec: CertSpec, info: CaInfo, notes: Notes, source: Source) -> None:
    """Warn about the names of a certificate of an ACME CA."""
    places = _places(spec)
    _check_number(places, info, notes, source)
    _check_covered(places, notes, source)
    if info.server == LETS_ENCRYPT:
        _check_lets_encrypt(places, info, notes, source)


Places = Mapping[DomainName | IPv4Address | IPv6Address, KeyPath]


def _places(spec: CertSpec) -> Places:
    """Return every name with the key that it stands at."""
    places = {name: ("X509", "sans", index) for index, name in enumerate(spec.names)}
    return {name: places.get(name, ("X509", "CN")) for name in spec.all_names()}


def _check_number(places: Places, info: CaInfo, notes: Notes, source: Source) -> None:
    profile = info.preferred_profile
    most = MOST_BY_PROFILE.get(profile, MOST_NAMES)
    if len(places) <= most:
        return
    whom = "Let's Encrypt takes" if info.server == LETS_ENCRYPT else "public CAs take"
    by_profile = f" with the profile {profile}" if profile in MOST_BY_PROFILE else ""
    fewer = ""
    if len(places) <= MOST_NAMES:
        fewer = ", or ask for a profile with more (ca_preferred_acme_profile in ca-info.conf)"
    notes.warn(
        source,
        ("X509", "sans"),
        f"there are {len(places)} names, and {whom} at most {most} in one certificate{by_profile}",
        f"spread them over several services, or write a wildcard for many of them{fewer}",
    )


def _check_covered(places: Places, notes: Notes, source: Source) -> None:
    stars = {name.text for name in places if isinstance(name, DomainName) and name.is_wildcard}
    if not stars:
        return
    for name, key in places.items():
        if not isinstance(name, DomainName) or name.is_wildcard:
            continue
        star = f"*.{name.text.partition('.')[2]}"
        if star in stars:
            notes.warn(
                source,
                key,
                f"{name} is covered by {star}, which stands beside it, and public CAs refuse such "
                "an order as a whole",
                f"leave out {name}, or {star}",
            )


def _check_lets_encrypt(places: Places, info: CaInfo, notes: Notes, source: Source) -> None:
    for name, key in places.items():
        if not isinstance(name, DomainName):
            if not name.is_global:
                problem = f"{name} is no public address, and Let's Encrypt signs no other"
                notes.warn(source, key, problem, "take the site's own CA for it")
            elif info.preferred_profile != WITH_ADDRESSES:
                notes.warn(
                    source,
                    key,
                    f"{name} is an IP address, which Let's Encrypt signs with the profile "
                    f"{WITH_ADDRESSES} alone",
                    f"write ca_preferred_acme_profile = '{WITH_ADDRESSES}' in the table "
                    f"[{info.name}] of ca-info.conf, or leave the address out",
                )
        elif _is_nobodys(name):
            problem = f"{name} is no public name, and Let's Encrypt signs no other"
            notes.warn(source, key, problem, "take the site's own CA for it")


def _is_nobodys(name: DomainName) -> bool:
    text = name.text.removeprefix("*.")
    return (
        "." not in text
        or text.rpartition(".")[2] in _NOBODYS
        or any(f".{text}".endswith(f".{zone}") for zone in _NOBODYS_ZONES)
    )
