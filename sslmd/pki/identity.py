"""What names and keys are known by. Names are compared by their parts, and kept byte for byte.

A verifier finds the issuer of a certificate by its name. Some compare the bytes as they stand, so
a CA keeps the encoding of its name for good. Whether a service file asks for the same name is a
question about the parts alone: order, empty parts and string types (RFC 5280 §4.1.2.4) do not
count.

Imports little: tools that only show keys start sooner.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from sys import intern

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from sslmd.pki.pem import issuer_der

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.core.spec import Parts

_SHORT = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.COUNTRY_NAME: "C",
    NameOID.EMAIL_ADDRESS: "email",
}


def parts_of(name: x509.Name) -> Parts:
    """Return the parts of a name that say something, sorted; raises one of `MALFORMED`.

    Each is a pair of the key that a service file has for it (or the OID in dots) and the value.
    """
    found = []
    for attribute in name:
        value = attribute.value
        text = value if isinstance(value, str) else value.hex()
        if text:
            found.append((_SHORT.get(attribute.oid, attribute.oid.dotted_string), text))
    return tuple(sorted(found))


def identity(name: x509.Name, key: bytes) -> str:
    """Return what a CA is known by: a digest of the parts of its name and of its public key.

    `key` is the DER of the SubjectPublicKeyInfo. Raises one of `MALFORMED`.
    """
    digest = hashlib.sha256(key)
    digest.update(repr(parts_of(name)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:40]


def key_id(key: bytes) -> str:
    """Return what a key is known by: a digest of the DER of its SubjectPublicKeyInfo."""
    return hashlib.sha256(key).hexdigest()[:40]


def describe_key(public_key: PublicKeyTypes) -> str:
    """Return the kind of a key as `str(KeySpec)` does: "ec secp384r1", "rsa 4096", "ed25519"."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return intern(f"ec {public_key.curve.name}")
    if isinstance(public_key, rsa.RSAPublicKey):
        return intern(f"rsa {public_key.key_size}")
    return type(public_key).__name__.removeprefix("_").removesuffix("PublicKey").lower()


# Issuers are parsed once for all the certificates that name them: with thousands of one CA, it
# would take a quarter of the time of reading them.
_MANY = 256
_issuers: dict[bytes, Issuer] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Issuer:
    """Who signed, as a certificate names it; `text` is RFC 4514."""

    name: x509.Name
    text: str


def issuer_of(cert: x509.Certificate, der: bytes) -> Issuer:
    """Return the issuer in `cert`, whose DER is `der`; raises one of `MALFORMED`."""
    encoded = issuer_der(der)
    known = _issuers.get(encoded)
    if known is None:
        known = Issuer(cert.issuer, cert.issuer.rfc4514_string())
        if len(_issuers) >= _MANY:
            _issuers.clear()
        _issuers[encoded] = known
    return known
