"""Pieces of certificates, byte by byte as they stand there (RFC 5280 §4.1).

For certificates that were parsed, and so are of the right form.
"""

from __future__ import annotations

from sslmd.core.errors import Permanent

_VERSION_TAG = 0xA0
_SEQUENCE_TAG = 0x30

# Where they stand in a TBSCertificate, counted from the serial number: before them is the version,
# which may be left out.
_SIGNATURE = 1
_ISSUER = 2
_SUBJECT = 4
_KEY = 5


def issuer_der(der: bytes) -> bytes:
    """Return the issuer's name in a certificate."""
    return _field(der, _ISSUER)


def subject_der(der: bytes) -> bytes:
    """Return the subject's name in a certificate."""
    return _field(der, _SUBJECT)


def key_der(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo in a certificate."""
    return _field(der, _KEY)


def spells_out_curve(der: bytes) -> bool:
    """Whether the key in a certificate, an EC key, has a curve that is not named but described."""
    key = key_der(der)
    begin, _ = _element(key, 0)  # SubjectPublicKeyInfo
    begin, _ = _element(key, begin)  # AlgorithmIdentifier
    _, begin = _element(key, begin)  # its OID; parameters follow
    return key[begin] == _SEQUENCE_TAG


def signature_algorithms(der: bytes) -> tuple[bytes, bytes]:
    """Return how a certificate says, inside and outside, that it was signed (RFC 5280 §4.1.1.2)."""
    begin, _ = _element(der, 0)
    _, begin = _element(der, begin)
    _, end = _element(der, begin)
    return _field(der, _SIGNATURE), der[begin:end]


def whole_element(der: bytes) -> bytes:
    """Return the first element of `der` with its header; raise `Permanent` if it is cut off."""
    try:
        _, end = _element(der, 0)
    except IndexError:
        raise Permanent("cut off") from None
    if end > len(der):
        raise Permanent("cut off")
    return der[:end]


def content(der: bytes) -> bytes:
    """Return what is in the first element of `der`; raise `Permanent` if it is cut off."""
    one = whole_element(der)
    return one[_element(one, 0)[0] :]


def _field(der: bytes, number: int) -> bytes:
    begin, _ = _element(der, 0)  # Certificate
    begin, _ = _element(der, begin)  # TBSCertificate
    for _ in range(number + (der[begin] == _VERSION_TAG)):
        _, begin = _element(der, begin)
    _, end = _element(der, begin)
    return der[begin:end]


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at `at` begins and ends (X.690 §8.1)."""
    length = der[at + 1]
    begin = at + 2
    if length > 127:
        more = begin + (length & 127)
        length = int.from_bytes(der[begin:more], "big")
        begin = more
    return begin, begin + length
