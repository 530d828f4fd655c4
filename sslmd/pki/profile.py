"""What RFC 5280 and today's clients ask of each certificate in a path.

As `openssl verify -x509_strict` has it, with a few rules more; sslm-verify(1) lists them. They are
for looking at certificates, not for using them: the daemon lives with what older tools have made,
and goes by `chain` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from sslmd.pki.parsed import Parsed
from sslmd.pki.pem import spells_out_curve

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
        if extension.critical and extension.oid not in _KNOWN:
            yield _critical(extension.oid)
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


def _critical(oid: x509.ObjectIdentifier) -> str:
    if oid in _NOT_CRITICAL:
        name, section = _NOT_CRITICAL[oid]
        return f"its {name} is critical, which it must not be (RFC 5280 §{section})"
    return f"it has the critical extension {_named(oid)}, which is not known here (RFC 5280 §4.2)"


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
    yield from _ca(one) if one.is_ca else _no_ca(one)
    if not is_v3 and one.extensions:
        yield "it has extensions but is not of version 3 (RFC 5280 §4.1.2.1)"
    if one.is_forgeable and not is_last and one.digest is not None:
        yield f"its signature is made with {one.digest.name.upper()}, which can be forged"


def _ca(one: Parsed) -> Iterator[str]:
    if not one.is_critical(x509.BasicConstraints):
        yield "its basicConstraints are not critical (RFC 5280 §4.2.1.9)"
    usage, constraints = one.find(x509.KeyUsage), one.find(x509.BasicConstraints)
    if usage is None:
        yield "it has no keyUsage (RFC 5280 §4.2.1.3)"
    elif not usage.key_cert_sign and constraints and constraints.path_length is not None:
        yield "it has a pathLenConstraint, but no keyCertSign (RFC 5280 §4.2.1.9)"


def _no_ca(one: Parsed) -> Iterator[str]:
    usage = one.find(x509.KeyUsage)
    if usage is not None and usage.key_cert_sign:
        yield "its keyUsage has keyCertSign, but it is no CA's (RFC 5280 §4.2.1.9)"
    if usage is not None and usage.crl_sign and not one.subject:
        yield "its keyUsage has cRLSign, but its subject is empty (RFC 5280 §4.1.2.6)"
    if one.find(x509.NameConstraints) is not None:
        yield "it has nameConstraints, but it is no CA's (RFC 5280 §4.2.1.10)"
