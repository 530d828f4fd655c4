"""Certificates that were read through once, to the last extension, and what is wrong with each.

`cryptography` reads names, extensions and keys only when somebody looks at them, and raises then.
Whoever works with a `Parsed` cannot meet damage any more: it was found, and reported, at the edge.

What RFC 5280 and clients of today ask of each certificate in a path is asked as `openssl verify
-x509_strict` has it, with a few rules more; sslm-verify(1) lists them. They are for looking at
certificates, not for using them: the daemon lives with what older tools have made, and goes by
`chain` alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from sslmd.core.errors import Permanent
from sslmd.core.names import shown
from sslmd.pki.pem import MALFORMED, damage, spells_out_curve

# Signatures with them can be forged (RFC 6151, RFC 9155).
WEAK_DIGESTS = frozenset({"md5", "sha1"})

CanonicalName: TypeAlias = "tuple[frozenset[tuple[str, str | bytes]], ...]"

_T = TypeVar("_T")
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """A certificate. Two are the same if their `der` is.

    `name` and `issuer_name` are for messages, quoted and not endless; `subject` and `issuer` are
    for comparing. `key` is None, and `spki` empty, if the key is of a kind that is not known;
    `digest` is None if the signature is of such a kind, or needs none (Ed25519).
    """

    cert: x509.Certificate
    der: bytes
    name: str
    issuer_name: str
    subject: CanonicalName
    issuer: CanonicalName
    begin: datetime
    end: datetime
    extensions: Mapping[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]
    key: CertificatePublicKeyTypes | None
    spki: bytes
    digest: hashes.HashAlgorithm | None

    def find(self, kind: type[_Extension]) -> _Extension | None:
        """Return the extension of this kind, None without."""
        found = self.extensions.get(kind.oid)
        return found.value if found is not None and isinstance(found.value, kind) else None

    def is_critical(self, kind: type[x509.ExtensionType]) -> bool:
        """Whether it has an extension of this kind that is critical."""
        found = self.extensions.get(kind.oid)
        return found is not None and found.critical

    @property
    def is_ca(self) -> bool:
        """Whether its basicConstraints say that it is a CA's."""
        constraints = self.find(x509.BasicConstraints)
        return constraints is not None and constraints.ca

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer are the same (RFC 5280 §3.2)."""
        return self.subject == self.issuer

    @property
    def is_forgeable(self) -> bool:
        """Whether its signature is made with a digest of which collisions can be made."""
        return self.digest is not None and self.digest.name in WEAK_DIGESTS


def parse(der: bytes) -> Parsed:
    """Read a certificate through.

    Raises `Permanent` if any of it is damaged, with a phrase that follows the certificate's name.
    """
    try:
        cert = x509.load_der_x509_certificate(der)
        key = _if_known(cert.public_key)
        return Parsed(
            cert=cert,
            der=cert.public_bytes(Encoding.DER),
            name=shown(cert.subject.rfc4514_string() or "(no name)", limit=120),
            issuer_name=shown(cert.issuer.rfc4514_string() or "(no name)", limit=120),
            subject=canonical(cert.subject),
            issuer=canonical(cert.issuer),
            begin=cert.not_valid_before_utc,
            end=cert.not_valid_after_utc,
            extensions={extension.oid: extension for extension in cert.extensions},
            key=key,
            spki=b""
            if key is None
            else key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            digest=_if_known(lambda: cert.signature_hash_algorithm),
        )
    except MALFORMED as err:
        raise Permanent(f"is damaged: {damage(err)}") from None


def parse_all(ders: Sequence[bytes]) -> tuple[list[Parsed], list[str]]:
    """Return those that can be read, and a sentence for each that cannot: which one, and why."""
    found: list[Parsed] = []
    problems: list[str] = []
    for number, der in enumerate(ders, start=1):
        try:
            found.append(parse(der))
        except Permanent as err:
            which = f"certificate {number}" if len(ders) > 1 else "the certificate"
            problems.append(f"{which} {err}")
    return found, problems


def _if_known(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except UnsupportedAlgorithm:
        return None


def canonical(name: x509.Name) -> CanonicalName:
    """Return a name for comparing: case and repeated blanks do not count (RFC 5280 §7.1)."""
    return tuple(
        frozenset(
            (
                one.oid.dotted_string,
                one.value
                if isinstance(one.value, bytes)
                else " ".join(unicodedata.normalize("NFKC", one.value).casefold().split()),
            )
            for one in rdn
        )
        for rdn in name.rdns
    )


# --- what is asked of each ---------------------------------------------------------------------


# NIST SP 800-131A: 112 bits of security, as OpenSSL's security level 2 and the CA/B Forum (§6.1.5).
LEAST_RSA_BITS = 2048
LEAST_EC_BITS = 224

# Critical extensions that somebody who judges a path has to know (RFC 5280 §4.2); others of RFC
# 5280 must not be critical. Policies are known but not judged, as in OpenSSL without
# -policy_check; lists of revoked certificates are not looked at.
_KNOWN = frozenset(
    kind.oid
    for kind in (
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectAlternativeName,
        x509.NameConstraints,
        x509.CertificatePolicies,
        x509.PolicyConstraints,
        x509.InhibitAnyPolicy,
        x509.CRLDistributionPoints,
    )
) | {x509.ObjectIdentifier("2.5.29.33")}  # policyMappings

_NOT_CRITICAL = {
    x509.AuthorityKeyIdentifier.oid: ("authorityKeyIdentifier", "4.2.1.1"),
    x509.SubjectKeyIdentifier.oid: ("subjectKeyIdentifier", "4.2.1.2"),
    x509.AuthorityInformationAccess.oid: ("authorityInfoAccess", "4.2.2.1"),
    x509.SubjectInformationAccess.oid: ("subjectInfoAccess", "4.2.2.2"),
    x509.FreshestCRL.oid: ("freshestCRL", "4.2.1.15"),
    x509.IssuerAlternativeName.oid: ("issuerAltName", "4.2.1.7"),
}


class Use(Enum):
    """What a certificate is looked at for."""

    ANY = "any"
    SERVER = "server"


def unknown_critical(extensions: x509.Extensions) -> list[str]:
    """Return the critical extensions that make a certificate useless, in words."""
    return [_named(one.oid) for one in extensions if one.critical and one.oid not in _KNOWN]


def _named(oid: x509.ObjectIdentifier) -> str:
    if oid in _NOT_CRITICAL:
        return _NOT_CRITICAL[oid][0]
    name = oid_name(oid)
    return name if name == oid.dotted_string else f"{name} ({oid.dotted_string})"


def oid_name(oid: x509.ObjectIdentifier) -> str:
    """Return the name of an object identifier, or the identifier in dots without one."""
    return oid.dotted_string if oid._name == "Unknown OID" else oid._name


def alone(one: Parsed, use: Use, *, as_leaf: bool) -> Iterator[str]:
    """Yield what is wrong with a certificate, whatever is above it."""
    for extension in one.extensions.values():
        oid = extension.oid
        if extension.critical and oid in _NOT_CRITICAL:
            name, section = _NOT_CRITICAL[oid]
            yield f"its {name} is critical, which it must not be (RFC 5280 §{section})"
        elif extension.critical and oid not in _KNOWN:
            what = f"it has the critical extension {_named(oid)}"
            yield f"{what}, which is not known here (RFC 5280 §4.2)"
    yield from _key(one)
    if use is not Use.SERVER:
        return
    # A CA for everything may issue for servers; a server's own certificate has to say so.
    serving = {ExtendedKeyUsageOID.SERVER_AUTH}
    if not as_leaf:
        serving.add(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    usages = one.find(x509.ExtendedKeyUsage)
    if usages is not None and serving.isdisjoint(usages):
        what = "it is not for servers" if as_leaf else "it may not issue for servers"
        given = ", ".join(oid_name(usage) for usage in usages)
        yield f"{what}: its extendedKeyUsage is {given} (RFC 5280 §4.2.1.12)"
    if not as_leaf:
        return
    usage = one.find(x509.KeyUsage)
    if usage is not None and not (
        usage.digital_signature or usage.key_encipherment or usage.key_agreement
    ):
        yield "it is not for servers: its keyUsage allows no use in TLS (RFC 5280 §4.2.1.12)"
    if one.is_ca:
        yield "it is not for servers: it is the certificate of a CA (CA/B Forum BR §7.1.2.7.8)"


def _key(one: Parsed) -> Iterator[str]:
    key = one.key
    if key is None:
        yield "its public key is of a kind that is not known here"
    elif isinstance(key, dsa.DSAPublicKey):
        yield "its key is of the kind DSA, which clients do not accept any more"
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        yield f"its RSA key has {key.key_size} bits; at least {LEAST_RSA_BITS} are needed"
    elif isinstance(key, ec.EllipticCurvePublicKey) and spells_out_curve(one.der):
        yield "its EC key describes a curve instead of naming one (RFC 5480 §2.1.1)"
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < LEAST_EC_BITS:
        yield f"its EC key has {key.curve.key_size} bits; at least {LEAST_EC_BITS} are needed"


def in_path(one: Parsed, *, is_last: bool) -> Iterator[str]:
    """Yield what is wrong with a certificate of a path of two or more.

    Not for one that stands alone: RFC 5280 is about certificates of a CA (RFC 6818 §2).
    """
    names = one.find(x509.SubjectAlternativeName)
    if not one.issuer:
        yield "the name of its issuer is empty (RFC 5280 §4.1.2.4)"
    if not one.subject and (one.is_ca or names is None):
        yield "its subject is empty (RFC 5280 §4.1.2.6)"
    if not one.subject and names is not None and not one.is_critical(x509.SubjectAlternativeName):
        yield "its subject is empty, but its subjectAltName is not critical (RFC 5280 §4.2.1.6)"
    if names is not None and not list(names):
        yield "its subjectAltName is empty (RFC 5280 §4.2.1.6)"
    is_v3 = one.cert.version is x509.Version.v3
    authority = one.find(x509.AuthorityKeyIdentifier)
    if is_v3 and not is_last and (authority is None or authority.key_identifier is None):
        yield "it has no authorityKeyIdentifier with a key id (RFC 5280 §4.2.1.1)"
    if is_v3 and one.is_ca and one.find(x509.SubjectKeyIdentifier) is None:
        yield "it has no subjectKeyIdentifier (RFC 5280 §4.2.1.2)"
    usage, constraints = one.find(x509.KeyUsage), one.find(x509.BasicConstraints)
    if one.is_ca:
        if not one.is_critical(x509.BasicConstraints):
            yield "its basicConstraints are not critical (RFC 5280 §4.2.1.9)"
        if usage is None:
            yield "it has no keyUsage (RFC 5280 §4.2.1.3)"
        elif not usage.key_cert_sign and constraints and constraints.path_length is not None:
            yield "it has a pathLenConstraint, but no keyCertSign (RFC 5280 §4.2.1.9)"
    else:
        if usage is not None and usage.key_cert_sign:
            yield "its keyUsage has keyCertSign, but it is no CA's (RFC 5280 §4.2.1.9)"
        if usage is not None and usage.crl_sign and not one.subject:
            yield "its keyUsage has cRLSign, but its subject is empty (RFC 5280 §4.1.2.6)"
        if one.find(x509.NameConstraints) is not None:
            yield "it has nameConstraints, but it is no CA's (RFC 5280 §4.2.1.10)"
    if not is_v3 and one.extensions:
        yield "it has extensions but is not of version 3 (RFC 5280 §4.1.2.1)"
    if one.is_forgeable and not is_last and one.digest is not None:
        yield f"its signature is made with {one.digest.name.upper()}, which can be forged"
