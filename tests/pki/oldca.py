"""A CA as ssl-mgr made them: its authority key identifier is its own subject key identifier,
it outlives its root, and carries every extended key usage.
"""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from sslmd.pki.chain import load_cert
from sslmd.pki.csr import subject_name
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import SigningCa
from tests.stand.samples import EC384, NOW, ca_spec, key_pem

_USAGES = [
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.CODE_SIGNING,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.TIME_STAMPING,
    ExtendedKeyUsageOID.OCSP_SIGNING,
]


def old_intermediate(root: SigningCa) -> SigningCa:
    """Return an intermediate below `root` with all those flaws."""
    spec = ca_spec("old", days=365)
    key_text = key_pem(EC384, "old")
    key, above = load_key(key_text), load_cert(root.cert_pem)
    public = key.public_key()
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject_name(spec))
        .issuer_name(above.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(above.not_valid_after_utc + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(load_key(root.key_pem), hashes.SHA384())
    )
    assert spec.ca is not None
    return SigningCa(key_text, cert.public_bytes(Encoding.PEM), root.cert_pem, spec.ca)
