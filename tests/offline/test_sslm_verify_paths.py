"""sslm-verify with --root: it agrees with openssl on which chains lead to what is trusted."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.offline.test_sslm_tools import run

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Ca:
    """A CA, with the name and key under which others may know it too."""

    def __init__(self, name: str, above: Ca | None = None, *more: x509.ExtensionType) -> None:
        self.subject = named(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = sign(self.subject, self.key, above or self, *more, ca=True)

    def signed_by(self, other: Ca) -> x509.Certificate:
        """Return its certificate as another CA signs it."""
        return sign(self.subject, self.key, other, ca=True)


CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def named(name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def sign(
    subject: x509.Name, key: Key, above: Ca, *more: x509.ExtensionType, ca: bool = False
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key())
    for extension in (key_id, issuer_id, *([CA_USAGE] if ca else []), *more):
        builder = builder.add_extension(
            extension, critical=isinstance(extension, x509.NameConstraints)
        )
    return builder.sign(above.key, hashes.SHA256())


def pem(path: Path, *certs: x509.Certificate) -> Path:
    path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in certs))
    return path


def agree(
    top: Path, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> tuple[bool, str]:
    """Ask both whether a chain leads to one of the roots; return that, and what ours says."""
    file, root = pem(top / "chain.pem", *chain), pem(top / "roots.pem", *roots)
    leaf, rest = pem(top / "leaf.pem", chain[0]), pem(top / "rest.pem", *chain[1:])
    between = ["-untrusted", str(rest)] if chain[1:] else []
    theirs = subprocess.run(
        [
            "openssl",
            "verify",
            "-x509_strict",
            "-partial_chain",
            "-CAfile",
            str(root),
            *between,
            leaf,
        ],
        capture_output=True,
        text=True,
    )
    done = run("sslm_verify", file, "--root", root)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == (theirs.returncode == 0), said + theirs.stderr
    return done.returncode == 0, said


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_where_it_leads(tmp_path: Path, key: Key) -> None:
    root, old, other = Ca("Root"), Ca("Old"), Ca("Root")
    middle = Ca("Middle", root)
    leaf = sign(named("www.example.com"), key, middle)
    direct = sign(named("www.example.com"), key, root)
    # Signed by what is trusted, the root left out or brought along.
    assert agree(tmp_path, [direct], [root.cert])[0]
    assert agree(tmp_path, [leaf, middle.cert], [root.cert])[0]
    assert agree(tmp_path, [leaf, middle.cert, root.cert], [old.cert, root.cert])[0]
    # The chain goes on to another CA, or an intermediate is what is trusted.
    assert agree(tmp_path, [leaf, middle.cert, root.signed_by(old)], [root.cert])[0]
    assert agree(tmp_path, [leaf, middle.cert, root.cert], [middle.cert])[0]
    # The same name, another key.
    fits, said = agree(tmp_path, [leaf, middle.cert], [other.cert])
    assert not fits
    assert "root: it does not lead to a certificate of that file" in said
    fits, said = agree(tmp_path, [leaf], [root.cert])
    assert not fits
    assert "the certificate of its issuer is missing" in said


def test_the_short_way_among_cas_that_all_sign_each_other(tmp_path: Path, key: Key) -> None:
    root, cas = Ca("Root"), [Ca(f"CA {number}") for number in range(14)]
    mesh = [one.signed_by(other) for one in cas for other in cas if one is not other]
    leaf = sign(named("www.example.com"), key, cas[0])
    file = pem(tmp_path / "chain.pem", leaf, *mesh, cas[-1].signed_by(root))
    done = run("sslm_verify", file, "--root", pem(tmp_path / "root.pem", root.cert))
    assert done.returncode == 0, done.stderr
    assert "chain: signed by CN=CA 0,O=Example, by CN=CA 13,O=Example, by CN=Root" in done.stdout
    # Where no way leads there, that is said before long.
    done = run("sslm_verify", file, "--root", pem(tmp_path / "root.pem", Ca("Root").cert))
    assert "root: no way to a certificate of that file: more than" in done.stderr


def constraints(
    permitted: Sequence[x509.GeneralName] = (), excluded: Sequence[x509.GeneralName] = ()
) -> x509.NameConstraints:
    return x509.NameConstraints(permitted or None, excluded or None)


DNS, IP, MAIL = x509.DNSName, x509.IPAddress, x509.RFC822Name
URI, DIR = x509.UniformResourceIdentifier, x509.DirectoryName
NET = IP(ip_network("192.0.2.0/25"))
OURS = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")])
THEIRS = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Other")])


@pytest.mark.parametrize(
    ("limits", "names", "fits"),
    [
        (constraints([DNS("example.com")]), [DNS("www.example.com"), DNS("example.com")], True),
        (constraints([DNS("example.com")]), [DNS("*.example.com")], True),
        (constraints([DNS("allowed.test")]), [DNS("www.example.com")], False),
        (constraints([DNS("example.com")]), [DNS("notexample.com")], False),
        (constraints([DNS("example.com")], [DNS("dev.example.com")]), [DNS("example.com")], True),
        (
            constraints([DNS("example.com")], [DNS("b.example.com")]),
            [DNS("a.B.example.com")],
            False,
        ),
        (constraints([NET]), [IP(ip_network("192.0.2.9/32").network_address)], True),
        (constraints([NET]), [IP(ip_network("192.0.2.200/32").network_address)], False),
        (constraints([NET]), [IP(ip_network("2001:db8::1/128").network_address)], False),
        (constraints([MAIL("example.com")]), [MAIL("me@example.com")], True),
        (constraints([MAIL("example.com")]), [MAIL("me@mail.example.com")], False),
        (constraints([MAIL(".example.com")]), [MAIL("me@mail.example.com")], True),
        (constraints([URI("www.example.com")]), [URI("https://www.example.com/a")], True),
        (constraints([URI(".example.com")]), [URI("https://example.com/a")], False),
        (constraints([DIR(OURS)]), [], True),
        (constraints([DIR(THEIRS)]), [], False),
        (constraints([], [DIR(OURS)]), [], False),
        (constraints([DNS("example.com")]), [MAIL("me@example.net")], True),  # another kind
    ],
)
def test_name_constraints(
    tmp_path: Path,
    key: Key,
    limits: x509.NameConstraints,
    names: Sequence[x509.GeneralName],
    fits: bool,
) -> None:
    root = Ca("Root")
    middle = Ca("Middle", root, limits)
    more = [x509.SubjectAlternativeName(names)] if names else []
    leaf = sign(named("leaf"), key, middle, *more)
    found, said = agree(tmp_path, [leaf, middle.cert], [root.cert])
    assert found == fits, said
    assert ("constraints: the name constraints of 'CN=Middle" in said) != fits


def test_a_root_with_trust_settings_and_a_key_of_another_kind(tmp_path: Path) -> None:
    root, own = Ca("Root"), ed25519.Ed25519PrivateKey.generate()
    chain = pem(tmp_path / "chain.pem", sign(named("www.example.com"), own, root))
    trusted, key_file = tmp_path / "trusted.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "x509", "-trustout", "-addtrust", "serverAuth", "-out", str(trusted)],
        input=root.cert.public_bytes(Encoding.PEM),
        check=True,
    )
    assert b"BEGIN TRUSTED CERTIFICATE" in trusted.read_bytes()
    key_file.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    done = run("sslm_verify", chain, "--root", trusted, "--key", key_file)
    assert done.returncode == 0, done.stderr
    done = run("sslm_verify", chain, "--root", trusted, "--key", trusted)
    assert done.returncode == 1
    assert "it holds no private keys instead of one" in done.stderr
