"""Chains of certificates: taken apart, checked link by link, put together.

Checked are the names, the signatures and who may issue (RFC 5280 §6.1.4), not the key
identifiers: the CA certificates that ssl-mgr made carry their own as their issuer's, and must
stay usable until they are replaced. Whether a certificate is still valid is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from sslmd.core.errors import Permanent
from sslmd.core.names import shown
from sslmd.pki.keys import PrivateKey, PublicKey
from sslmd.pki.pem import CERTIFICATE, MALFORMED, Block, blocks, damage

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def split_pem(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of `pem` in their order, none if it has none.

    Text and other blocks are skipped. Raises `Permanent` for damaged ones.
    """
    return parse_certs(cert_ders(blocks(pem)))


def cert_ders(found: Iterable[Block]) -> list[bytes]:
    """Return the DER of those blocks that are certificates."""
    return [block.der for block in found if block.label == CERTIFICATE]


def parse_certs(ders: Sequence[bytes]) -> list[x509.Certificate]:
    """Parse certificates; raise `Permanent` naming the one that is damaged."""
    certs = []
    for number, der in enumerate(ders, start=1):
        try:
            certs.append(_parse(der))
        except MALFORMED as err:
            which = f"certificate {number}" if len(ders) > 1 else "the certificate"
            raise Permanent(f"{which} is damaged: {damage(err)}") from None
    return certs


def _parse(der: bytes) -> x509.Certificate:
    """Parse a certificate, its names too, which are read only when asked for; else `MALFORMED`."""
    cert = x509.load_der_x509_certificate(der)
    _ = cert.subject, cert.issuer
    return cert


def load_cert(pem: bytes) -> x509.Certificate:
    """Read the one certificate of `pem`; raise `Permanent` if it does not hold exactly one."""
    return only_cert(pem)[0]


def only_cert(pem: bytes) -> tuple[x509.Certificate, bytes]:
    """Return the certificate that `load_cert` does, and its DER."""
    der = only_der(pem)
    return parse_certs([der])[0], der


def only_der(pem: bytes) -> bytes:
    """Return the DER of the one certificate in `pem`; raise `Permanent` as `load_cert` does."""
    ders = cert_ders(blocks(pem))
    if len(ders) != 1:
        parse_certs(ders)
        raise Permanent(f"it holds {len(ders) or 'no'} certificates instead of one")
    return ders[0]


def key_fits(key: PublicKey, made: x509.Certificate | x509.CertificateSigningRequest) -> bool:
    """Whether a certificate or a request is for the key with this public half."""
    try:
        return made.public_key() == key
    except MALFORMED:
        return False


def is_self_issued(cert: x509.Certificate) -> bool:
    """Whether subject and issuer are the same (RFC 5280 §3.2); so they are in a root."""
    return cert.subject == cert.issuer


def check_chain(
    leaf: x509.Certificate,
    issuers: Sequence[x509.Certificate],
    key: PrivateKey | None = None,
    *,
    deep: bool = True,
) -> None:
    """Check that each of `issuers`, nearest first, signed the one before it, starting at `leaf`.

    The chain may end below its root, and a root needs no issuers. With `key`, it must be the
    leaf's. `deep=False` compares the names only and leaves the signatures unchecked (they cost
    0.1 to 0.6 ms each). Raises `Permanent`, which names the broken link; issuers are counted
    from 1.
    """
    if key is not None and not key_fits(key.public_key(), leaf):
        raise Permanent("the private key does not match the certificate")
    try:
        if issuers:
            _check_link(0, leaf.issuer, issuers)
        elif not is_self_issued(leaf):
            raise Permanent(f"the certificate of its issuer is missing: {_name(leaf.issuer)}")
        _check_issuers(tuple(issuers), deep=deep)
        if deep:
            _check_signature(0, leaf, issuers)
    except MALFORMED as err:
        raise Permanent(f"a certificate in it is damaged: {damage(err)}") from None


def check_names(issuer: x509.Name, issuers: Sequence[x509.Certificate]) -> None:
    """Check, for a leaf of this issuer, what `check_chain` checks with `deep=False`.

    There must be some `issuers`. Raises `Permanent`.
    """
    try:
        _check_link(0, issuer, issuers)
        _check_issuers(tuple(issuers), deep=False)
    except MALFORMED as err:
        raise Permanent(f"a certificate in it is damaged: {damage(err)}") from None


# Those found good are remembered: thousands of certificates share the chain of their CA.
@lru_cache(maxsize=64)
def _check_issuers(issuers: tuple[x509.Certificate, ...], *, deep: bool) -> None:
    between = 0  # CA certificates that count against a path length: RFC 5280 §4.2.1.9
    for number, issuer in enumerate(issuers, start=1):
        check_may_issue(issuer, f"certificate {number}", between=between)
        between += not is_self_issued(issuer)
        if number < len(issuers):
            _check_link(number, issuer.issuer, issuers)
            if deep:
                _check_signature(number, issuer, issuers)


def _check_link(number: int, issuer: x509.Name, issuers: Sequence[x509.Certificate]) -> None:
    """Check by name that certificate `number` (the leaf is 0), of `issuer`, is the next one's."""
    if issuer != issuers[number].subject:
        raise Permanent(
            f"{_not_signed(number)}: it is {_name(issuers[number].subject)}, "
            f"the issuer is {_name(issuer)}"
        )


def _check_signature(
    number: int, cert: x509.Certificate, issuers: Sequence[x509.Certificate]
) -> None:
    """Check that the next certificate signed `cert`; without any issuers, that it did itself."""
    try:
        cert.verify_directly_issued_by(issuers[number] if issuers else cert)
    except InvalidSignature:
        text = _not_signed(number) if issuers else "the certificate did not sign itself"
        raise Permanent(f"{text}: the names fit, the signature does not") from None
    except MALFORMED as err:
        problem = f"the signature of {_label(number)} cannot be checked: {damage(err)}"
        raise Permanent(problem) from None


def _not_signed(number: int) -> str:
    return f"certificate {number + 1} did not sign {_label(number)}"


def _label(number: int) -> str:
    return f"certificate {number}" if number else "the leaf"


def check_may_issue(cert: x509.Certificate, label: str, *, between: int) -> None:
    """Check that `cert` may sign certificates with `between` CAs below itself.

    Raises `Permanent`, in which `label` names the certificate.
    """
    problem = why_no_issuer(find(cert, x509.BasicConstraints), find(cert, x509.KeyUsage), between)
    if problem:
        raise Permanent(f"{label}, {_name(cert.subject)}, {problem}")


def why_no_issuer(
    constraints: x509.BasicConstraints | None, usage: x509.KeyUsage | None, between: int
) -> str:
    """Return why a certificate with these extensions may not sign others; "" if it may.

    RFC 5280 §6.1.4 (k) to (n). `between`: how many CAs are below it.
    """
    if constraints is None or not constraints.ca:
        return "is not the certificate of a CA"
    if usage is not None and not usage.key_cert_sign:
        return "may not sign certificates (its keyUsage)"
    allowed = constraints.path_length
    if allowed is not None and between > allowed:
        return (
            f"allows {allowed} levels of CAs below itself, here are {between} "
            "(its pathLenConstraint)"
        )
    return ""


def find(cert: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """Return the extension of `cert` that is of this kind, None without."""
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(name: x509.Name) -> str:
    return shown(name.rfc4514_string(), limit=120)


def fullchain(cert: bytes, chain: bytes) -> bytes:
    """Return the PEM of a certificate followed by its issuers; none for a root."""
    return _joined(cert, chain)


def bundle(key: bytes, cert: bytes, chain: bytes) -> bytes:
    """Return the PEM of key, certificate and issuers, as servers with one file want it."""
    return _joined(key, cert, chain)


def _joined(*parts: bytes) -> bytes:
    return b"".join(part.strip() + b"\n" for part in parts if part.strip())


# --- what a CA sends -----------------------------------------------------------------------


def arranged(key: PublicKey, pem: bytes, now: datetime) -> tuple[bytes, bytes] | None:
    """Return the certificate for `key` that is in `pem`, and the chain above it, nearest first.

    A CA should send them in this order and need not (RFC 8555 §9.1). So the chain is built from
    what came, in any order: what does not belong to it, or comes twice, is left out. Where
    several issuers fit, one that is valid comes before one that is not, and then the one that was
    sent first. A root stays if it was sent. None: no certificate in `pem` is for this key. Raises
    `Permanent` for what is no PEM file.
    """
    came = _readable(dict.fromkeys(cert_ders(blocks(pem))))
    leaf = next((cert for cert in came if key_fits(key, cert)), None)
    if leaf is None:
        return None

    def has_ended(one: x509.Certificate) -> bool:
        try:
            return not one.not_valid_before_utc <= now < one.not_valid_after_utc
        except MALFORMED:
            return True

    def has_signed(issuer: x509.Certificate, one: x509.Certificate) -> bool:
        try:
            one.verify_directly_issued_by(issuer)
        except (InvalidSignature, *MALFORMED):
            return False
        return True

    left = sorted((one for one in came if one != leaf), key=has_ended)
    chain: list[x509.Certificate] = []
    below = leaf
    while not is_self_issued(below):
        above = next((one for one in left if has_signed(one, below)), None)
        if above is None:
            break
        left.remove(above)
        chain.append(above)
        below = above
    return _pem(leaf), b"".join(map(_pem, chain))


def _readable(ders: Iterable[bytes]) -> list[x509.Certificate]:
    """Parse certificates; those that are damaged are left out, and missed if they are needed."""
    certs = []
    for der in ders:
        with suppress(*MALFORMED):
            certs.append(_parse(der))
    return certs


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(Encoding.PEM)


def serial_of(pem: bytes) -> str:
    """Return the serial number of the first certificate in lower-case hex, "" if none is whole."""
    with suppress(Permanent):
        for cert in _readable(cert_ders(blocks(pem))):
            return f"{cert.serial_number:x}"
    return ""
