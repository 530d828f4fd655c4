"""Certificates that were read through once, to the last extension.

`cryptography` reads names, extensions and keys only when somebody looks at them, and raises then.
Whoever works with a `Parsed` cannot meet damage any more: it was found, and reported, at the edge.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sslmd.core.errors import Permanent
from sslmd.core.names import shown
from sslmd.pki.pem import MALFORMED, damage

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
        frozenset((one.oid.dotted_string, _canonical_value(one.value)) for one in rdn)
        for rdn in name.rdns
    )


def _canonical_value(value: str | bytes) -> str | bytes:
    if isinstance(value, bytes):
        return value
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
