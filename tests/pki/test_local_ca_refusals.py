from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from sslmd.core.errors import Permanent
from sslmd.core.spec import Subject
from sslmd.pki.chain import load_cert
from sslmd.pki.csr import make_csr
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import SelfSigning, SigningCa, sign
from tests.stand.samples import (
    EC384,
    NOW,
    ca_spec,
    hierarchy,
    key_pem,
    leaf_spec,
    make_leaf,
    make_root,
    make_sub,
)

DAY = timedelta(days=1)


def _expect(signer: SigningCa, said: str, *, now: datetime = NOW) -> None:
    with pytest.raises(Permanent, match=said) as caught:
        make_leaf(signer, now=now)
    assert "example.com/web" in str(caught.value)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (-DAY, "not valid before"),
        (3651 * DAY, "expired at 2036"),
        (3650 * DAY - timedelta(minutes=59), "less than 60 minutes"),
    ],
)
def test_a_signer_out_of_its_time_is_refused(after: timedelta, said: str) -> None:
    _expect(make_root(), said, now=NOW + after)


def test_a_leaf_cannot_sign() -> None:
    root, _, leaf = hierarchy()
    _expect(replace(root, key_pem=key_pem(), cert_pem=leaf.cert_pem), "not the certificate of a CA")


def test_a_ca_whose_key_usage_forbids_it_cannot_sign() -> None:
    root = make_root()
    cert, key = load_cert(root.cert_pem), load_key(root.key_pem)
    nothing = (False, False, False, False, False, False)
    only_crls = x509.KeyUsage(*nothing, True, False, False)
    weak = (
        x509.CertificateBuilder()
        .subject_name(cert.subject)
        .issuer_name(cert.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(only_crls, critical=True)
        .sign(key, hashes.SHA256())
    )
    _expect(replace(root, cert_pem=weak.public_bytes(Encoding.PEM)), r"may not sign .*keyUsage")


def test_no_ca_below_one_whose_path_length_is_used_up() -> None:
    _, sub, _ = hierarchy()
    with pytest.raises(Permanent, match=r"ca/deeper: .*allows 0 levels"):
        make_sub(sub, ca_spec("deeper"))
    root = make_root(ca_spec(path_len=1))
    upper = make_sub(root, ca_spec("upper", path_len=None))
    make_leaf(upper)
    with pytest.raises(Permanent, match=r"certificate 1 above it.*allows 1 levels"):
        make_sub(upper, ca_spec("deeper"))


def test_the_key_of_another_is_refused() -> None:
    _expect(replace(make_root(), key_pem=key_pem(EC384, "other")), "does not match its certificate")
    spec = ca_spec()
    request = make_csr(key_pem(EC384), spec)
    with pytest.raises(Permanent, match="does not match the request"):
        sign(request, spec, SelfSigning(key_pem(EC384, "other")), now=NOW)


@pytest.mark.parametrize("field", ["key_pem", "cert_pem", "chain_pem"])
@pytest.mark.parametrize("cut", [-200, 300])
def test_damaged_files_of_the_signer_are_refused(field: str, cut: int) -> None:
    _, sub, _ = hierarchy()
    content: bytes = getattr(sub, field)[:cut]
    changes: dict[str, bytes] = {field: content}
    _expect(_changed(sub, changes), "signing CA cannot be used")


def _changed(signer: SigningCa, changes: dict[str, bytes]) -> SigningCa:
    parts = {
        "key_pem": signer.key_pem,
        "cert_pem": signer.cert_pem,
        "chain_pem": signer.chain_pem,
        **changes,
    }
    return SigningCa(options=signer.options, **parts)


def test_a_signer_with_the_chain_of_another_signs_nothing() -> None:
    _, sub, _ = hierarchy()
    stranger = make_root(ca_spec("stranger"))
    _expect(replace(sub, chain_pem=stranger.cert_pem), "certificate 2 did not sign certificate 1")


def test_a_request_for_other_names_is_refused_and_the_difference_told() -> None:
    _, sub, _ = hierarchy()
    request = make_csr(key_pem(), leaf_spec(sans=("www.example.com", "evil.example.org")))
    spec = leaf_spec(sans=("www.example.com", "mail.example.com"))
    with pytest.raises(Permanent, match=r"does not have 'mail.*has 'evil\.example\.org'"):
        sign(request, spec, sub, now=NOW)


def test_a_request_signed_by_another_key_is_refused() -> None:
    _, sub, _ = hierarchy()
    whole = split = make_csr(key_pem(), leaf_spec())
    request = x509.load_pem_x509_csr(whole)
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    split = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(Permanent, match="not signed by its own key"):
        sign(split, leaf_spec(), sub, now=NOW)


def test_a_request_with_an_ed25519_key_is_refused_by_name() -> None:
    _, sub, _ = hierarchy()
    own = ed25519.Ed25519PrivateKey.generate()
    names = x509.SubjectAlternativeName([x509.DNSName("www.example.com")])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(
        names, critical=False
    )
    request = builder.sign(own, None).public_bytes(Encoding.PEM)
    with pytest.raises(Permanent, match="ed25519"):
        sign(request, leaf_spec(), sub, now=NOW)


@pytest.mark.parametrize(
    "request_pem", [b"", b"\xff" * 5000, b"x" * 10_000_000], ids=["empty", "bytes", "10 MB"]
)
def test_garbage_for_a_request_is_refused(request_pem: bytes) -> None:
    _, sub, _ = hierarchy()
    with pytest.raises(Permanent, match="the request cannot be used"):
        sign(request_pem, leaf_spec(), sub, now=NOW)


def _bad_usage() -> None:
    make_leaf(hierarchy()[1], leaf_spec(usages=("serverAuth", "webServer")))


def _mixed_time_stamping() -> None:
    make_leaf(hierarchy()[1], leaf_spec(usages=("timeStamping", "serverAuth")))


def _bad_digest() -> None:
    make_root(ca_spec(digest="md5"))


def _nameless() -> None:
    make_leaf(hierarchy()[1], replace(leaf_spec(sans=()), subject=Subject("")))


def _leaf_signs_itself() -> None:
    sign(make_csr(key_pem(), leaf_spec()), leaf_spec(), SelfSigning(key_pem()), now=NOW)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (_bad_usage, "webServer.*choose from serverAuth"),
        (_mixed_time_stamping, "only ext_key_usage"),
        (_bad_digest, "md5.*choose from .*sha256"),
        (_nameless, "neither a subject nor a name"),
        (_leaf_signs_itself, "is no CA"),
    ],
)
def test_what_the_configuration_cannot_have_is_refused(
    attempt: Callable[[], None], said: str
) -> None:
    with pytest.raises(Permanent, match=said):
        attempt()


def test_the_names_of_the_certificate_come_from_the_configuration_not_the_request() -> None:
    _, sub, _ = hierarchy()
    request = make_csr(key_pem(), replace(leaf_spec(), subject=Subject("", organization="Evil")))
    issued = sign(request, leaf_spec(), sub, now=NOW)
    assert load_cert(issued.cert_pem).subject.rfc4514_string() == "CN=www.example.com"
