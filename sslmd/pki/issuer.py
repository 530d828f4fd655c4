"""The issuer that a certificate names, parsed once for all the certificates that name it.

With thousands of certificates of one CA, to parse it would take a quarter of the time of reading
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

_MANY = 256
_VERSION_TAG = 0xA0


@dataclass(frozen=True, slots=True, eq=False)
class Issuer:
    """Who signed, as a certificate names it; `text` is RFC 4514."""

    name: x509.Name
    text: str


_known: dict[bytes, Issuer] = {}


def issuer_of(cert: x509.Certificate, der: bytes) -> Issuer:
    """Return the issuer in `cert`, whose DER is `der`; raises one of `MALFORMED`."""
    encoded = _issuer_der(der)
    known = _known.get(encoded)
    if known is None:
        known = Issuer(cert.issuer, cert.issuer.rfc4514_string())
        if len(_known) >= _MANY:
            _known.clear()
        _known[encoded] = known
    return known


def _issuer_der(der: bytes) -> bytes:
    """Return the issuer's bytes in a certificate that was parsed, and so is of the right form.

    RFC 5280 §4.1: it follows the version, which may be left out, serial number and algorithm.
    """
    begin, _ = _element(der, 0)  # Certificate
    begin, _ = _element(der, begin)  # TBSCertificate
    for _ in range(3 if der[begin] == _VERSION_TAG else 2):
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
