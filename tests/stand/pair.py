"""A key with a certificate, made without the code that the tests are about."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID


class Pair:
    """A key with a certificate, in two files; without an issuer it is one itself.

    Valid from yesterday to tomorrow, or so many `days` later.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        issuer: Pair | None = None,
        host: str = "mail.example.com",
        *,
        days: int = 0,
    ) -> None:
        self.key_file, self.cert_file = folder / f"{name}.key", folder / f"{name}.pem"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC) + days * day
        is_ca = issuer is None
        cert = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject if issuer else self.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(issuer.key if issuer else self.key, SHA256())
        )
        self.der = cert.public_bytes(Encoding.DER)
        chain = cert.public_bytes(Encoding.PEM) + (issuer.cert_file.read_bytes() if issuer else b"")
        self.cert_file.write_bytes(chain)
        self.key_file.write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.spki = self.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.digest = hashlib.sha256(self.spki).hexdigest()

    @property
    def record(self) -> str:
        return f"3 1 1 {self.digest}"

    def put(self, folder: Path) -> list[Path]:
        """Put both files where a server reads them."""
        paths = [folder / "privkey.pem", folder / "fullchain.pem"]
        for source, path in zip((self.key_file, self.cert_file), paths, strict=True):
            shutil.copy(source, path.with_suffix(".new"))
            os.replace(path.with_suffix(".new"), path)
        return paths
