"""What TLSA data is made of, in the files of a set or a served chain (RFC 6698 §2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from cryptography import x509

from sslmd.core.dane.tlsa import Material
from sslmd.core.errors import Permanent
from sslmd.pki.chain import cert_ders, key_fits, only_cert, parse_certs
from sslmd.pki.inspect import CERT, CHAIN, KEY
from sslmd.pki.keys import load_public, public_bytes_of
from sslmd.pki.pem import MALFORMED, blocks, key_der

_T = TypeVar("_T")


def material(files: Mapping[str, bytes]) -> Material | None:
    """Return what there is of a set; `files` has the content of those that exist.

    The key is there before the certificate. Files that do not fit the key count as missing. None:
    there is no usable key. Never raises for what a file contains.
    """
    key = _read(files, KEY, load_public)
    leaf = _read(files, CERT, only_cert)
    if leaf is not None and (key is None or key_fits(key, leaf[0])):
        cert, der = leaf
        issuer = _issuer(files, cert)
        return Material(key_der(der), der, issuer, key_der(issuer) if issuer else None)
    # The request can only repeat it.
    return None if key is None else Material(public_bytes_of(key))


def _issuer(files: Mapping[str, bytes], cert: x509.Certificate) -> bytes | None:
    """Return the first certificate of the chain that has the name of who signed `cert`."""
    try:
        ders = cert_ders(blocks(files.get(CHAIN, b"")))
        for der, one in zip(ders, parse_certs(ders), strict=True):
            if one.subject == cert.issuer:
                return der
    except (Permanent, *MALFORMED):
        pass
    return None


def _read(files: Mapping[str, bytes], name: str, parse: Callable[[bytes], _T]) -> _T | None:
    try:
        return parse(files[name]) if name in files else None
    except Permanent:
        return None


def material_of(chain: Sequence[bytes]) -> Material | None:
    """Return what a served chain gives, its own certificate first, as DER; None if it is damaged.

    The issuer is the first of the others that has the name of who signed it.
    """
    leaf = _load(chain[0]) if chain else None
    if leaf is None:
        return None
    others = zip(chain[1:], map(_load, chain[1:]), strict=True)
    issuer = next((der for der, one in others if one and one.subject == leaf.issuer), None)
    return Material(key_der(chain[0]), chain[0], issuer, key_der(issuer) if issuer else None)


def _load(der: bytes) -> x509.Certificate | None:
    try:
        cert = x509.load_der_x509_certificate(der)
        cert.subject, cert.issuer  # noqa: B018  (names are parsed when they are asked for)
    except MALFORMED:
        return None
    return cert
