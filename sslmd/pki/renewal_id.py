"""How a certificate is named where its CA is asked when to renew it (RFC 9773 §4.1)."""

from __future__ import annotations

from contextlib import suppress

from cryptography import x509

from sslmd.core.ari import certificate_id
from sslmd.pki.pem import MALFORMED


def renewal_id(pem: bytes) -> str:
    """Return the name of the first certificate; "" if it has none: no authority key identifier."""
    with suppress(*MALFORMED):
        cert = x509.load_pem_x509_certificate(pem)
        authority = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        if authority.key_identifier:
            return certificate_id(authority.key_identifier, cert.serial_number)
    return ""
