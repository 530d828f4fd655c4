"""Certificates as they should not be: everything about them can be chosen."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID

from tests.stand.samples import NOW

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey
Extensions = Mapping[type[x509.ExtensionType], "tuple[x509.ExtensionType, bool] | None"]

SAN, KU, EKU = x509.SubjectAlternativeName, x509.KeyUsage, x509.ExtendedKeyUsage
BC, NC = x509.BasicConstraints, x509.NameConstraints
SKI, AKI = x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier


@cache
def key(label: str, kind: str = "ec") -> Key:
    """Return a key; the same one for the same label."""
    if kind.startswith("rsa"):
        # Keys of 1024 bits and less are made to be refused.
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "dsa":
        return dsa.generate_private_key(1024)
    return ec.generate_private_key(ec.SECP192R1() if kind == "p192" else ec.SECP256R1())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


def usage(*words: str) -> x509.KeyUsage:
    known = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{word: word in words for word in known})


@dataclass(frozen=True)
class Made:
    """A certificate, with its key."""

    subject: x509.Name
    key: Key
    cert: x509.Certificate = field(repr=False)

    @property
    def der(self) -> bytes:
        return self.cert.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.cert.public_bytes(Encoding.PEM)


def make(
    subject: str | x509.Name,
    above: Made | None = None,
    extensions: Extensions | None = None,
    *,
    ca: bool = False,
    own: Key | None = None,
    begin: datetime = NOW - timedelta(days=1),
    end: datetime = NOW + timedelta(days=30),
    issuer: x509.Name | None = None,
    serial: int | None = None,
) -> Made:
    """Make a certificate that is right, but for what is said otherwise.

    `extensions` replaces those of a kind, with whether they are critical; None leaves one out.
    """
    subject = name(subject) if isinstance(subject, str) else subject
    own = own or key(subject.rfc4514_string())
    signer = above.key if above else own
    host = x509.DNSName("www.example.com")
    kinds: dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool] | None] = {
        BC: (BC(ca=ca, path_length=None), True),
        KU: (usage("key_cert_sign", "crl_sign") if ca else usage("digital_signature"), True),
        SKI: (SKI.from_public_key(own.public_key()), False),
        AKI: (AKI.from_issuer_public_key(signer.public_key()), False),
        EKU: None if ca else (EKU([Eku.SERVER_AUTH]), False),
        SAN: None if ca else (SAN([host]), not subject.rdns),
        **(extensions or {}),
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or (above.subject if above else subject))
        .public_key(own.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for extension, critical in filter(None, kinds.values()):
        builder = builder.add_extension(extension, critical)
    return Made(subject, own, builder.sign(signer, hashes.SHA256()))


# sha256WithRSAEncryption but for its last byte: 4 for MD5, 5 for SHA-1, 11 for SHA-256.
_RSA_OID = bytes.fromhex("06092a864886f70d0101")


def weakly_signed(made: Made, signer: Made, digest: hashes.MD5 | hashes.SHA1) -> Made:
    """Return the same certificate, signed again with a digest that `cryptography` does not offer.

    `signer` has to have an RSA key.
    """
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    last = 4 if isinstance(digest, hashes.MD5) else 5
    tbs = made.cert.tbs_certificate_bytes
    begin = made.der.index(tbs)
    der = made.der.replace(_RSA_OID + b"\x0b", _RSA_OID + bytes((last,)))
    signed = der[begin : begin + len(tbs)]
    signature = signer.key.sign(signed, padding.PKCS1v15(), digest)
    der = der[: -len(signature)] + signature
    return Made(made.subject, made.key, x509.load_der_x509_certificate(der))


def strict(
    folder: Path, path: Sequence[Made], roots: Sequence[Made], *more: str, at: datetime = NOW
) -> str:
    """Return what `openssl verify -x509_strict` says against a certificate, "" for nothing."""
    for file, certs in (("leaf", path[:1]), ("rest", path[1:]), ("roots", roots)):
        (folder / file).write_bytes(b"".join(one.pem for one in certs))
    between = ["-untrusted", str(folder / "rest")] if path[1:] else []
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-partial_chain", "-auth_level", "2",
         "-attime", str(int(at.timestamp())), "-no-CApath", "-no-CAstore",
         "-CAfile", str(folder / "roots"), *more, *between, str(folder / "leaf")],
        capture_output=True,
        text=True,
    )  # fmt: skip
    return done.stderr if done.returncode else ""
