from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import Permanent
from sslmd.core.names import DomainName, SanName
from sslmd.core.spec import KeySpec, Subject
from sslmd.pki.csr import asked_names, load_csr, make_csr
from sslmd.pki.keys import load_key
from tests.stand.samples import (
    EC256,
    EC384,
    EC521,
    KINDS,
    RSA2048,
    ca_spec,
    key_pem,
    leaf_spec,
    names,
    needs_openssl,
    openssl,
)

FULL = Subject("www.example.com", "Example Ltd", "IT", "Köln", "NRW", "DE", "pki@example.com")
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
TOP = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
DOMAIN = st.tuples(st.lists(LABEL, min_size=1, max_size=4), TOP).map(
    lambda parts: ".".join([*parts[0], parts[1]])
)
NAME = st.one_of(
    DOMAIN.map(DomainName.parse),
    DOMAIN.map(lambda text: DomainName.parse("*." + text)),
    st.ip_addresses(),
)


@needs_openssl
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_openssl_accepts_the_request_and_its_signature(kind: KeySpec) -> None:
    pem = make_csr(key_pem(kind), leaf_spec(key=kind))
    openssl("req", "-verify", "-noout", stdin=pem)


@needs_openssl
def test_openssl_reads_the_subject_and_every_kind_of_name() -> None:
    sans = ("www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", "bücher.example")
    spec = replace(leaf_spec(sans=sans), subject=FULL)
    text = openssl("req", "-text", "-noout", "-nameopt", "utf8", stdin=make_csr(key_pem(), spec))
    said = text.decode()
    for part in ("C=DE", "ST=NRW", "L=Köln", "O=Example Ltd", "OU=IT", "CN=www.example.com"):
        assert part in said.replace(" = ", "=")
    for part in (
        "DNS:*.example.com",
        "IP Address:192.0.2.1",
        "IP Address:2001:DB8:0:0:0:0:0:1",
        "DNS:xn--bcher-kva.example",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("kind", "hash_type"),
    [
        (EC256, hashes.SHA256),
        (EC384, hashes.SHA384),
        (EC521, hashes.SHA512),
        (RSA2048, hashes.SHA256),
    ],
    ids=str,
)
def test_the_hash_fits_the_key(kind: KeySpec, hash_type: type) -> None:
    request = load_csr(make_csr(key_pem(kind), leaf_spec(key=kind)))
    assert isinstance(request.signature_hash_algorithm, hash_type)


@given(st.lists(NAME, max_size=12, unique=True), st.one_of(NAME.map(str), st.text()))
def test_the_request_asks_for_exactly_the_effective_names(sans: list[SanName], cn: str) -> None:
    spec = replace(leaf_spec(cn=cn), names=tuple(sans))
    try:
        pem = make_csr(key_pem(), spec)
    except Permanent as err:
        assert "CN" in str(err)  # noqa: PT017 - most texts are fine, some X.509 cannot hold
        return
    assert asked_names(pem) == {str(name) for name in spec.all_names()}
    assert set(sans) <= set(spec.all_names())


@pytest.mark.parametrize(
    ("cn", "added"),
    [
        ("mail.example.com", "mail.example.com"),
        ("Mail.Example.COM.", "mail.example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("*.example.net", "*.example.net"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
    ],
)
def test_a_common_name_that_is_a_host_becomes_a_name_and_is_written_alike(
    cn: str, added: str
) -> None:
    spec = leaf_spec(cn=cn)
    assert {str(name) for name in spec.all_names()} == {"www.example.com", added}
    pem = make_csr(key_pem(), spec)
    assert added in asked_names(pem)
    subject = load_csr(pem).subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == added


@pytest.mark.parametrize("cn", ["", "Example web server", "Joe <joe@example.com>", "a/b"])
def test_a_common_name_that_is_a_title_adds_no_name(cn: str) -> None:
    spec = leaf_spec(cn=cn)
    assert spec.all_names() == names("www.example.com")
    assert asked_names(make_csr(key_pem(), spec)) == {"www.example.com"}


def test_a_name_that_is_there_already_is_not_added_again() -> None:
    assert leaf_spec(cn="WWW.example.com").all_names() == names("www.example.com")


def test_a_common_name_too_long_for_x520_is_left_out_but_its_name_is_asked_for() -> None:
    long = f"{'a' * 60}.{'b' * 60}.example.com"
    pem = make_csr(key_pem(), leaf_spec(cn=long, sans=()))
    assert asked_names(pem) == {long}
    assert list(load_csr(pem).subject) == []
    title = make_csr(key_pem(), leaf_spec(cn="A title " * 10))
    assert list(load_csr(title).subject) == []


def test_a_common_name_of_64_characters_stays() -> None:
    name = f"{'a' * 52}.example.com"
    assert len(name) == 64
    subject = load_csr(make_csr(key_pem(), leaf_spec(cn=name))).subject
    assert subject.rfc4514_string() == f"CN={name}"


def test_the_title_of_a_ca_is_no_name_and_the_request_says_ca() -> None:
    spec = replace(ca_spec(path_len=1), subject=Subject("ca.example.com"))
    pem = make_csr(key_pem(EC384), spec)
    assert asked_names(pem) == frozenset()
    constraints = load_csr(pem).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=1)


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (Subject("a.example", country="Germany"), "C: 'Germany'"),
        (Subject("a.example", email="jörg@example.com"), "email"),
    ],
)
def test_parts_that_do_not_fit_are_named(subject: Subject, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        make_csr(key_pem(), replace(leaf_spec(), subject=subject))


def test_a_title_too_long_for_a_ca_is_named() -> None:
    spec = replace(ca_spec(), subject=Subject("x" * 65))
    with pytest.raises(Permanent, match=r"CN: .* 64"):
        make_csr(key_pem(EC384), spec)


def test_an_address_with_a_scope_is_refused() -> None:
    scoped = (IPv6Address("fe80::1%eth0"),)
    with pytest.raises(Permanent, match="scope"):
        make_csr(key_pem(), replace(leaf_spec(cn=""), names=scoped))


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"rubbish",
        b"\x00" * 1000,
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        make_csr(key_pem(), leaf_spec())[:-60],
        make_csr(key_pem(), leaf_spec()) * 2,
        key_pem(),
        b"-" * 10_000_000,
    ],
    ids=["empty", "text", "zeros", "bad DER", "truncated", "two", "a key", "10 MB"],
)
def test_what_is_no_request_is_refused(pem: bytes) -> None:
    with pytest.raises(Permanent):
        asked_names(pem)


@needs_openssl
def test_requests_made_by_openssl_are_read() -> None:
    asked = ("-subj", "/CN=old.example.com", "-addext", "subjectAltName=DNS:A.example.com")
    pem = openssl("req", "-new", "-key", "/dev/stdin", *asked, stdin=key_pem())
    assert asked_names(pem) == {"a.example.com", "old.example.com"}
    old = pem.replace(b" CERTIFICATE", b" NEW CERTIFICATE")
    assert asked_names(old) == {"a.example.com", "old.example.com"}


def test_a_request_without_any_extension_asks_for_its_common_name() -> None:
    title = x509.NameAttribute(NameOID.COMMON_NAME, "plain.example.com")
    builder = x509.CertificateSigningRequestBuilder(x509.Name([title]))
    pem = builder.sign(load_key(key_pem()), hashes.SHA256()).public_bytes(Encoding.PEM)
    assert asked_names(pem) == {"plain.example.com"}
