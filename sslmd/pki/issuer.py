"""The issuer that a certificate names, parsed once for all the certificates that name it.

With thousands of certificates of one CA, to parse it would take a quarter of the time of reading
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from sslmd.pki.der import issuer_der

_MANY = 256


@dataclass(frozen=True, slots=True, eq=False)
class Issuer:
    """Who signed, as a certificate names it; `text` is RFC 4514."""

    name: x509.Name
    text: str


_known: dict[bytes, Issuer] = {}


def issuer_of(cert: x509.Certificate, der: bytes) -> Issuer:
    """Return the issuer in `cert`, whose DER is `der`; raises one of `MALFORMED`."""
    encoded = issuer_der(der)
    known = _known.get(encoded)
    if known is None:
        known = Issuer(cert.issuer, cert.issuer.rfc4514_string())
        if len(_known) >= _MANY:
            _known.clear()
        _known[encoded] = known
    return known
