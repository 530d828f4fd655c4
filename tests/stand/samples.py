"""Specs, keys and certificates to test with, and the openssl command as the judge."""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.core.names import CertId, SanName, parse_san
from sslmd.core.spec import CaOptions, CertSpec, KeySpec, KeyType, OwnCa, SelfSigned, Subject
from sslmd.pki.csr import make_csr
from sslmd.pki.keys import generate_key
from sslmd.pki.local_ca import Issued, SelfSigning, SigningCa, sign

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
EC256 = KeySpec(KeyType.EC, curve="secp256r1")
EC384 = KeySpec(KeyType.EC, curve="secp384r1")
EC521 = KeySpec(KeyType.EC, curve="secp521r1")
RSA2048 = KeySpec(KeyType.RSA, bits=2048)
RSA3072 = KeySpec(KeyType.RSA, bits=3072)
KINDS = (EC256, EC384, EC521, RSA2048, RSA3072)

# Damage can make a serial number negative, which is read with a warning.
odd_serials = pytest.mark.filterwarnings(
    "ignore::cryptography.utils.CryptographyDeprecationWarning"
)
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command is not installed"
)


def key_pem(kind: KeySpec = EC256, label: str = "") -> bytes:
    """Return a key of that kind; the same one for the same label."""
    return _key(kind, label)


@functools.cache
def _key(kind: KeySpec, label: str) -> bytes:
    return generate_key(kind)


def names(*texts: str) -> tuple[SanName, ...]:
    return tuple(parse_san(text) for text in texts)


def leaf_spec(
    cn: str = "www.example.com",
    sans: tuple[str, ...] = ("www.example.com",),
    *,
    key: KeySpec = EC256,
    usages: tuple[str, ...] = ("serverAuth", "clientAuth"),
) -> CertSpec:
    return CertSpec(
        id=CertId("example.com", "web"),
        title="web",
        key=key,
        subject=Subject(common_name=cn),
        names=names(*sans),
        signer=OwnCa(CertId("ca", "sub")),
        ext_key_usage=usages,
    )


def ca_spec(
    service: str = "root",
    *,
    key: KeySpec = EC384,
    days: float = 3650,
    path_len: int | None = None,
    digest: str = "sha384",
) -> CertSpec:
    return CertSpec(
        id=CertId("ca", service),
        title=service,
        key=key,
        subject=Subject(common_name=f"Test {service}", organization="Example", country="DE"),
        names=(),
        signer=SelfSigned(),
        ca=CaOptions(life=timedelta(days=days), digest=digest, path_len=path_len),
    )


def signing_ca(spec: CertSpec, key: bytes, issued: Issued) -> SigningCa:
    assert spec.ca is not None
    return SigningCa(key, issued.cert_pem, issued.chain_pem, spec.ca)


def make_root(spec: CertSpec | None = None, *, now: datetime = NOW, key: bytes = b"") -> SigningCa:
    spec = spec or ca_spec()
    key = key or key_pem(spec.key, spec.id.service)
    return signing_ca(spec, key, sign(make_csr(key, spec), spec, SelfSigning(key), now=now))


def make_sub(
    signer: SigningCa, spec: CertSpec | None = None, *, now: datetime = NOW, key: bytes = b""
) -> SigningCa:
    spec = spec or ca_spec("sub", days=365, path_len=0)
    key = key or key_pem(spec.key, spec.id.service)
    return signing_ca(spec, key, sign(make_csr(key, spec), spec, signer, now=now))


def make_leaf(
    signer: SigningCa, spec: CertSpec | None = None, *, now: datetime = NOW, key: bytes = b""
) -> Issued:
    spec = spec or leaf_spec()
    key = key or key_pem(spec.key)
    return sign(make_csr(key, spec), spec, signer, now=now)


@functools.cache
def hierarchy() -> tuple[SigningCa, SigningCa, Issued]:
    """Return a root, a CA below it, and a leaf of that one (its key is `key_pem()`)."""
    root = make_root()
    sub = make_sub(root)
    return root, sub, make_leaf(sub)


def set_files() -> dict[str, bytes]:
    """Return the files of a good set of the leaf of `hierarchy`, always the same."""
    return dict(_set_files())


@functools.cache
def _set_files() -> dict[str, bytes]:
    _, _, leaf = hierarchy()
    key = key_pem()
    return {
        "privkey.pem": key,
        "csr.pem": make_csr(key, leaf_spec()),
        "cert.pem": leaf.cert_pem,
        "chain.pem": leaf.chain_pem,
        "fullchain.pem": leaf.cert_pem + leaf.chain_pem,
        "bundle.pem": key + leaf.cert_pem + leaf.chain_pem,
    }


def with_life(signer: SigningCa, life: timedelta) -> SigningCa:
    return replace(signer, options=replace(signer.options, life=life))


def openssl(*args: str | Path, stdin: bytes = b"") -> bytes:
    """Run openssl; fail the test with what it said if it is not content."""
    done = subprocess.run(["openssl", *map(str, args)], input=stdin, capture_output=True)
    assert done.returncode == 0, f"openssl {args}: {(done.stdout + done.stderr).decode()}"
    return done.stdout


def verify(
    folder: Path, root: bytes, untrusted: bytes, cert: bytes, *more: str, at: datetime = NOW
) -> bytes:
    """Run `openssl verify -x509_strict` on `cert` at that time."""
    for name, content in (("root", root), ("untrusted", untrusted), ("cert", cert)):
        (folder / name).write_bytes(content)
    chain: list[str | Path] = ["-untrusted", folder / "untrusted"] if untrusted else []
    when = ["-attime", str(int(at.timestamp()))]
    strict: list[str | Path] = ["-x509_strict", "-no-CApath", "-CAfile", folder / "root"]
    return openssl("verify", *strict, *when, *more, *chain, folder / "cert")
