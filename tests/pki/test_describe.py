from __future__ import annotations

import base64
import random
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import Permanent
from sslmd.pki.csr import make_csr
from sslmd.pki.describe import describe, same_key
from sslmd.pki.dhparam import dhparam
from sslmd.pki.pem import MAX_BYTES
from tests.stand.samples import (
    EC256,
    NOW,
    RSA2048,
    hierarchy,
    key_pem,
    leaf_spec,
    needs_openssl,
    odd_serials,
    openssl,
)

EKUS = [
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
]
KEYS = [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())]


def _random_cert(rng: random.Random) -> tuple[x509.Certificate, list[str]]:
    """Return some certificate and its names, as openssl calls them."""
    key, issuer = rng.choice(KEYS), rng.choice(KEYS)
    word = "".join(rng.choices("abcdefghij", k=8))
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, word)])
    begin = NOW + timedelta(seconds=rng.randrange(-(10**8), 10**8))
    builder = (
        x509.CertificateBuilder()
        .subject_name(title)
        .issuer_name(
            rng.choice([title, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])])
        )
        .public_key(key.public_key())
        .serial_number(rng.randrange(1, 1 << rng.choice([8, 64, 159])))
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=rng.randrange(1, 4000)))
    )
    names: list[x509.GeneralName] = [
        x509.DNSName(f"{rng.choice(['*', 'www', 'mail'])}.{word}{number}.example")
        for number in range(rng.randrange(4))
    ]
    names += [x509.IPAddress(ip_address(rng.getrandbits(32))) for _ in range(rng.randrange(3))]
    shown = [
        f"IP Address:{one.value}" if isinstance(one, x509.IPAddress) else f"DNS:{one.value}"
        for one in names
    ]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if rng.random() < 0.7:
        ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
        builder = builder.add_extension(ski, critical=False).add_extension(aki, critical=False)
    if rng.random() < 0.7:
        usages = rng.sample(EKUS, rng.randrange(1, 4))
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if rng.random() < 0.5:
        constraints = x509.BasicConstraints(ca=True, path_length=rng.choice([None, 0, 3]))
        builder = builder.add_extension(constraints, critical=True)
    digests = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
    return builder.sign(issuer, rng.choice(digests)), shown


def _after(text: str, heading: str) -> str:
    """Return the line after the one with a heading, "" without."""
    lines = [line.strip() for line in text.splitlines()]
    found = [number for number, line in enumerate(lines) if line.startswith(heading)]
    return lines[found[0] + 1] if found else ""


def _moment(text: str, which: str) -> datetime:
    found = re.search(rf"{which} ?: (.*) GMT", text)
    assert found
    return datetime.strptime(found[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)


@needs_openssl
def test_a_hundred_certificates_are_what_openssl_says_they_are() -> None:
    rng = random.Random(2026)
    for _ in range(100):
        cert, names = _random_cert(rng)
        pem = cert.public_bytes(Encoding.PEM)
        (one,) = describe(pem, NOW)
        text = openssl("x509", "-noout", "-text", "-fingerprint", "-sha256", stdin=pem).decode()
        facts = one.facts
        assert one.kind == "certificate"
        assert one.error == ""
        assert f"sha256 Fingerprint={facts['sha256']}" in text
        assert f"CN = {str(facts['subject']).removeprefix('CN=')}" in text.replace("CN=", "CN = ")
        assert f"Signature Algorithm: {facts['signature']}" in text
        for fact, which in (("not before", "Not Before"), ("not after", "Not After")):
            assert facts[fact] == f"{_moment(text, which):%Y-%m-%d %H:%M:%S} UTC"
        serial = f"{cert.serial_number} (" if cert.serial_number < 1 << 63 else facts["serial"]
        assert str(serial).lower() in text.lower()
        said = _after(text, "X509v3 Subject Alternative Name")
        assert said == ", ".join(names)
        assert [name.partition(":")[2] for name in names] == facts["names"]
        assert facts.get("subject key id", "") == _after(text, "X509v3 Subject Key Identifier")
        issuer_id = _after(text, "X509v3 Authority Key Identifier").removeprefix("keyid:")
        assert facts.get("issuer key id", "") == issuer_id
        usages = _after(text, "X509v3 Extended Key Usage")
        assert len(facts.get("extended usage", [])) == len(usages.split(",")) - (usages == "")
        assert ("serverAuth" in facts.get("extended usage", [])) == ("Web Server" in usages)
        assert (facts.get("ca", "no") == "no") == ("CA:TRUE" not in text)
        bits = str(facts["key"]).removeprefix("ec secp").removesuffix("r1")
        assert f"Public-Key: ({bits} bit)" in text


def test_what_belongs_together_is_found() -> None:
    root, _, leaf = hierarchy()
    files = {
        "key": key_pem(),
        "csr": make_csr(key_pem(), leaf_spec()),
        "cert": leaf.cert_pem,
        "root": root.cert_pem,
        "other": key_pem(RSA2048),
    }
    found = [(name, describe(pem, NOW)[0]) for name, pem in files.items()]
    assert list(same_key(found)) == [["key", "csr", "cert"]]
    kinds = [one.kind for _, one in found]
    assert kinds[:3] == ["private key", "certificate request", "certificate"]
    assert len({str(one.facts["tlsa 3 1 1"]) for _, one in found[:3]}) == 1


def test_a_bundle_has_all_of_it_and_nothing_secret() -> None:
    _, _, leaf = hierarchy()
    found = describe(key_pem() + leaf.cert_pem + leaf.chain_pem, NOW)
    assert [one.kind for one in found] == ["private key", *["certificate"] * 3]
    assert set(found[0].facts) == {"kind", "key", "tlsa 3 1 1"}
    assert "days left" in found[1].facts["validity"]


@pytest.mark.parametrize(
    ("days", "said"),
    [(-4000, "not yet, "), (1, "days left"), (4000, "expired ")],
)
def test_validity_is_told_in_days(days: int, said: str) -> None:
    _, _, leaf = hierarchy()
    (one,) = describe(leaf.cert_pem, NOW + timedelta(days=days))
    assert said in one.facts["validity"]


@pytest.mark.parametrize(("days", "said"), [(-40, "in "), (5, "5.0 days ago"), (4000, " days ago")])
def test_a_certificate_tells_its_life_and_when_it_was_issued(days: int, said: str) -> None:
    """The begin counts, also once it has expired or before it is valid."""
    _, _, leaf = hierarchy()
    (begin,) = (x509.load_pem_x509_certificate(leaf.cert_pem).not_valid_before_utc,)
    (one,) = describe(leaf.cert_pem, begin + timedelta(days=days))
    assert said in one.facts["issued"]
    assert one.facts["life"] == f"{one.life:.0f} days"
    assert one.life is not None
    assert one.age == days
    assert one.days_left == one.life - days


def test_what_is_no_certificate_has_no_life() -> None:
    for one in describe(key_pem(), NOW):
        assert (one.life, one.age, one.days_left) == (None, None, None)


def test_keys_of_every_form_are_told() -> None:
    elliptic, ed = KEYS[0], ed25519.Ed25519PrivateKey.generate()
    big = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for key, name in ((elliptic, "ec secp256r1"), (ed, "ed25519"), (big, "rsa 2048")):
        forms = [PrivateFormat.PKCS8]
        if key is not ed:
            forms.append(PrivateFormat.TraditionalOpenSSL)
        for form in forms:
            pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
            (one,) = describe(pem, NOW)
            assert (one.kind, one.facts["key"], one.error) == ("private key", name, "")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert describe(public, NOW)[0].spki == one.spki
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        locked = elliptic.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
        (one,) = describe(locked, NOW)
        assert "protected by a passphrase" in one.error
        assert one.kind == "private key"


@needs_openssl
def test_what_openssl_writes_besides_is_told() -> None:
    _, _, leaf = hierarchy()
    trusted = openssl("x509", "-trustout", "-addtrust", "serverAuth", stdin=leaf.cert_pem)
    (one,) = describe(trusted, NOW)
    (plain,) = describe(leaf.cert_pem, NOW)
    assert one.kind == "trusted certificate"
    assert one.facts["sha256"] == plain.facts["sha256"]
    assert one.facts["trust"] == "OpenSSL's trust settings follow it"
    named = openssl("ecparam", "-name", "prime256v1", "-genkey")
    assert [one.kind for one in describe(named, NOW)] == ["EC parameters", "private key"]
    (group,) = describe(dhparam(2048), NOW)
    assert (group.kind, group.facts["size"]) == ("Diffie-Hellman group", "2048 bits")


def test_der_is_read_too() -> None:
    _, _, leaf = hierarchy()
    cert = x509.load_pem_x509_certificate(leaf.cert_pem)
    (one,) = describe(cert.public_bytes(Encoding.DER), NOW)
    assert one.facts == describe(leaf.cert_pem, NOW)[0].facts
    der = KEYS[0].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert describe(der, NOW)[0].kind == "private key"


def test_a_wrong_label_is_told() -> None:
    pem = key_pem(EC256).replace(b"PRIVATE KEY", b"CERTIFICATE")
    (one,) = describe(pem, NOW)
    assert one.error == "labelled CERTIFICATE, but it is a private key"
    _, _, leaf = hierarchy()
    (one,) = describe(leaf.cert_pem.replace(b"CERTIFICATE", b"PRIVATE KEY"), NOW)
    assert one.error == "labelled PRIVATE KEY, but it is a certificate"
    (one,) = describe(leaf.cert_pem.replace(b"CERTIFICATE", b"SECRET SAUCE"), NOW)
    assert (one.kind, one.error) == ("SECRET SAUCE", "not known here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"hello", "no PEM block is in it"),
        (b"\x7fELF\0\0", "it is binary"),
        (b"0\x82\x01\x00junk", "it is no PEM file"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "cut off or damaged"),
        (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----", "not base64"),
        (b"x" * (MAX_BYTES + 1), "far too many"),
    ],
)
def test_what_is_none_of_these_is_refused_with_the_reason(content: bytes, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        describe(content, NOW)


@odd_serials
@given(st.data())
def test_damage_is_told_and_never_raised(data: st.DataObject) -> None:
    _, _, leaf = hierarchy()
    der = bytearray(x509.load_pem_x509_certificate(leaf.cert_pem).public_bytes(Encoding.DER))
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(der)))
    body = base64.encodebytes(bytes(der[:cut]))
    pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
    (one,) = describe(pem, NOW)
    assert one.facts
    assert one.error or one.facts["sha256"]


def test_names_and_usages_that_have_no_word_for_them_are_shown_all_the_same() -> None:
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hello")])
    private = x509.ObjectIdentifier("1.2.3.4.5")
    names = [
        x509.RegisteredID(private),
        x509.DirectoryName(title),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x07me@corp"),
        x509.OtherName(private, b"\x02\x01\x05"),
    ]
    cert = (
        x509.CertificateBuilder()
        .subject_name(title)
        .issuer_name(title)
        .public_key(KEYS[0].public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=3))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([private]), critical=False)
        .sign(KEYS[0], hashes.SHA256())
    )
    (one,) = describe(cert.public_bytes(Encoding.PEM), NOW)
    assert one.facts["names"] == [
        "oid:1.2.3.4.5",
        "dirname:CN=hello",
        "other:1.3.6.1.4.1.311.20.2.3=me@corp",
        "other:1.2.3.4.5=020105",
    ]
    assert one.facts["extended usage"] == ["1.2.3.4.5"]
    assert one.days_left == 3
