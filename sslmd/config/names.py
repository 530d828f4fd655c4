"""The names and the subject of a certificate: what a CA, or RFC 5280, does not take.

What public CAs refuse is warned about at load: an order that is refused as a whole costs a round
with the CA, and it is not there when it is needed. Private ACME servers may take what public ones
do not, so none of that is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from sslmd.config.cert_tables import NameTable
from sslmd.config.locate import KeyPath
from sslmd.config.model import LETS_ENCRYPT, CaInfo, Validation
from sslmd.config.report import Source
from sslmd.core.names import BadName, CertId, DomainName, GroupName, ZoneName, san_or_none, shown
from sslmd.core.spec import CertSpec, OwnCa

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

_EMAIL = ("X509", "email")

_Keys = Mapping[DomainName | IPv4Address | IPv6Address, KeyPath]

# RFC 5280 appendix A: the upper bounds of X.520 attributes, in characters.
_BOUNDS = {"CN": 64, "O": 64, "OU": 64, "L": 128, "ST": 128, "email": 255}


def check_subject(cert: CertId, table: NameTable, source: Source) -> None:
    """Check the parts of the subject."""
    is_ca = cert.group == GroupName.CA
    for part, bound in _BOUNDS.items():
        text: str = getattr(table, part)
        # A leaf's long common name is left out of the subject if it is one of its names.
        if len(text) > bound and (part != "CN" or is_ca or san_or_none(text) is None):
            source.mistake(
                ("X509", part),
                f"{shown(text)} has {len(text)} characters",
                f"a certificate holds at most {bound}",
            )
        elif len(text) > bound:
            source.warn(
                ("X509", "CN"),
                f"{shown(text)} has {len(text)} characters, and a common name holds at most "
                f"{bound}: the certificate has it among its sans, and no common name",
                "write a shorter name of the sans, or CN = '' and the name in sans",
            )
    if table.C and not (len(table.C) == 2 and table.C.isascii() and table.C.isalpha()):
        source.mistake(
            ("X509", "C"),
            f"{shown(table.C)} is not a country code",
            "write the two letters of ISO 3166, such as 'DE', or nothing",
        )
    if not table.email.isascii():
        source.mistake(
            ("X509", "email"),
            f"{shown(table.email)} has characters that a certificate cannot hold",
            in_ascii(table.email),
        )
    if is_ca and not table.CN:
        source.mistake(("X509", "CN"), "a CA needs a name", "write CN = 'My root', for example")


def check_acme_names(spec: CertSpec, info: CaInfo, source: Source) -> None:
    """Check the names of a certificate of an ACME CA."""
    common = spec.subject.common_name
    host = None if any(common == str(name) for name in spec.names) else san_or_none(common)
    if common and host is None and common not in map(str, spec.names):
        source.mistake(
            ("X509", "CN"),
            f"{shown(common)} is no host name, and ACME CAs sign no other",
            "write one of the sans, or CN = ''",
        )
    for index, name in enumerate((*spec.names, host)):
        key = ("X509", "sans", index) if index < len(spec.names) else ("X509", "CN")
        if isinstance(name, DomainName):
            if name.is_wildcard and info.validation is Validation.HTTP_01:
                source.mistake(
                    key,
                    f"{name} is a wildcard, which {info.name} cannot validate by http-01",
                    "take a CA with ca_validation = 'dns-01', or name the hosts",
                )
        elif name is not None and info.validation is Validation.DNS_01:
            # RFC 8738 §7: the dns-01 challenge is not for IP identifiers.
            source.mistake(
                key,
                f"{name} is an IP address, which {info.name} cannot validate by dns-01",
                "take a CA with ca_validation = 'http-01', or leave the address out",
            )
    at = {name: ("X509", "sans", index) for index, name in enumerate(spec.names)}
    places: _Keys = {name: at.get(name, ("X509", "CN")) for name in spec.all_names()}
    _check_number(places, info, source)
    _check_covered(places, source)
    if info.server == LETS_ENCRYPT:
        _check_lets_encrypt(places, info, source)
        kind = spec.key
        if kind.curve == "secp521r1" or (kind.bits and kind.bits not in (2048, 3072, 4096)):
            source.warn(
                ("KeyOpts", "ec_algo" if kind.curve else "rsa_bits"),
                f"Let's Encrypt takes no keys of kind {kind}",
                "take secp256r1, secp384r1, or rsa of 2048, 3072 or 4096 bits",
            )


def _check_number(places: _Keys, info: CaInfo, source: Source) -> None:
    profile = info.preferred_profile
    most = MOST_BY_PROFILE.get(profile, MOST_NAMES)
    if len(places) <= most:
        return
    whom = "Let's Encrypt takes" if info.server == LETS_ENCRYPT else "public CAs take"
    by_profile = f" with the profile {profile}" if profile in MOST_BY_PROFILE else ""
    fewer = ""
    if len(places) <= MOST_NAMES:
        fewer = ", or ask for a profile with more (ca_preferred_acme_profile in ca-info.conf)"
    source.warn(
        ("X509", "sans"),
        f"there are {len(places)} names, and {whom} at most {most} in one certificate{by_profile}",
        f"spread them over several services, or write a wildcard for many of them{fewer}",
    )


def _check_covered(places: _Keys, source: Source) -> None:
    stars = {name.text for name in places if isinstance(name, DomainName) and name.is_wildcard}
    if not stars:
        return
    for name, key in places.items():
        if not isinstance(name, DomainName) or name.is_wildcard:
            continue
        star = f"*.{name.text.partition('.')[2]}"
        if star in stars:
            source.warn(
                key,
                f"{name} is covered by {star}, which stands beside it, and public CAs refuse such "
                "an order as a whole",
                f"leave out {name}, or {star}",
            )


def _check_lets_encrypt(places: _Keys, info: CaInfo, source: Source) -> None:
    for name, key in places.items():
        if not isinstance(name, DomainName):
            if not name.is_global:
                problem = f"{name} is no public address, and Let's Encrypt signs no other"
                source.warn(key, problem, "take the site's own CA for it")
            elif info.preferred_profile != WITH_ADDRESSES:
                source.warn(
                    key,
                    f"{name} is an IP address, which Let's Encrypt signs with the profile "
                    f"{WITH_ADDRESSES} alone",
                    f"write ca_preferred_acme_profile = '{WITH_ADDRESSES}' in the table "
                    f"[{info.name}] of ca-info.conf, or leave the address out",
                )
        elif _is_nobodys(name):
            problem = f"{name} is no public name, and Let's Encrypt signs no other"
            source.warn(key, problem, "take the site's own CA for it")


def _is_nobodys(name: DomainName) -> bool:
    text = name.text.removeprefix("*.")
    return (
        "." not in text
        or text.rpartition(".")[2] in _NOBODYS
        or any(f".{text}".endswith(f".{zone}") for zone in _NOBODYS_ZONES)
    )


# RFC 5280 §4.2.1.6: a Mailbox of RFC 5321 §4.1.2, local part and host; no name, no brackets.
_MAILBOX = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?=.{1,253}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.|\Z))+(?<!\.)\Z"
)


def in_ascii(email: str) -> str:
    """Return what to write in place of an address with other characters than those of ASCII."""
    local, at, host = email.rpartition("@")
    try:
        host = str(ZoneName.parse(host))
    except BadName:
        host = ""
    if at and host and local.isascii():
        return f"write {local + at + host!r}, which is the same address"
    return "write an ASCII address"


def check_mailbox(spec: CertSpec, source: Source) -> None:
    """Check the address that the own CA puts into a leaf; one beyond ASCII is noted already."""
    email = spec.mailbox()
    if email and email.isascii() and not _MAILBOX.match(email):
        source.mistake(
            _EMAIL,
            f"{shown(email)} is not a mail address",
            "write one address, such as 'somebody@example.com'",
        )


def warn_of_mailboxes(specs: Iterable[CertSpec], sources: Mapping[CertId, Source]) -> None:
    """Warn once of addresses that nobody finds: ssl-mgr's users have one in every file."""
    unseen = [
        one
        for one in specs
        if one.subject.email
        and one.ca is None
        and isinstance(one.signer, OwnCa)
        and not one.mailbox()
    ]
    for spec in unseen[:1]:
        others = len(unseen) - 1
        have = "service has" if others == 1 else "services have"
        more = f" ({others} other {have} one too)" if others else ""
        sources[spec.id].warn(
            _EMAIL,
            f"{shown(spec.subject.email)} is only put into the subject, where mail programs do "
            f"not look{more}",
            "add 'emailProtection' to ext_key_usage if the certificate is for mail, so that "
            "it is in the subjectAltName too; otherwise remove it",
        )
