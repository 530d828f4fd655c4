"""What TLSA data of a set, or of a served chain, is made of (RFC 6698 §2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sslmd.core.errors import Permanent
from sslmd.core.tlsa import Material
from sslmd.pki.chain import only_cert, split_pem
from sslmd.pki.csr import load_csr
from sslmd.pki.inspect import CERT, CHAIN, CSR, KEY
from sslmd.pki.keys import PublicKey, load_public
from sslmd.pki.pem import MALFORMED

T = TypeVar("T")


def material(files: Mapping[str, bytes]) -> Material | None:
    """Return what the files of a set give; None without a key. Never raises for what they hold.

    The issuer is the certificate of the chain that bears the name of the leaf's issuer.
    """
    leaf = _read(lambda: only_cert(files[CERT])[0])
    if leaf is None:
        request = _read(lambda: load_csr(files[CSR]))
        key = _read(lambda: _spki(request.public_key())) if request is not None else None  # type: ignore[arg-type]
        if key is None:
            key = _read(lambda: _spki(load_public(files[KEY])))
        return None if key is None else Material(key)
    chain = _read(lambda: split_pem(files[CHAIN])) or []
    return _of_chain(leaf, chain)


def material_of(chain: Sequence[bytes]) -> Material | None:
    """Return what a chain of DER certificates gives, leaf first; None if the leaf is damaged."""
    if not chain:
        return None
    leaf = _read(lambda: x509.load_der_x509_certificate(chain[0]))
    if leaf is None:
        return None
    others = (_read(lambda: x509.load_der_x509_certificate(der)) for der in chain[1:])  # noqa: B023
    return _of_chain(leaf, [one for one in others if one is not None])


def _of_chain(leaf: x509.Certificate, others: Sequence[x509.Certificate]) -> Material | None:
    key = _read(lambda: _spki(leaf.public_key()))  # type: ignore[arg-type]
    if key is None:
        return None
    der = leaf.public_bytes(Encoding.DER)
    issuer = _read(lambda: next(one for one in others if one.subject == leaf.issuer))
    if issuer is None:
        return Material(key, der)
    above = _read(lambda: _spki(issuer.public_key()))  # type: ignore[arg-type]
    return Material(key, der, issuer.public_bytes(Encoding.DER), above)


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except (*MALFORMED, Permanent, KeyError, StopIteration):
        return None
