from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import Permanent
from sslmd.pki.chain import arranged, bundle, check_chain, fullchain, load_cert, split_pem
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import SigningCa
from tests.pki.oldca import old_intermediate
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
    odd_serials,
    with_life,
)


def _certs() -> tuple[x509.Certificate, x509.Certificate, x509.Certificate]:
    root, sub, leaf = hierarchy()
    return load_cert(root.cert_pem), load_cert(sub.cert_pem), load_cert(leaf.cert_pem)


@pytest.mark.parametrize("deep", [True, False])
def test_a_chain_may_end_at_its_root_or_below_it(deep: bool) -> None:
    root, sub, leaf = _certs()
    check_chain(leaf, [sub, root], load_key(key_pem()), deep=deep)
    check_chain(leaf, [sub], deep=deep)
    check_chain(sub, [root], deep=deep)
    check_chain(root, [], deep=deep)
    check_chain(root, [root], deep=deep)


@pytest.mark.parametrize("deep", [True, False])
def test_the_broken_link_is_named(deep: bool) -> None:
    root, sub, leaf = _certs()
    for issuers, said in (
        ([root, sub], "certificate 1 did not sign the leaf: it is 'CN=Test root,O=Example,C=DE'"),
        ([sub, sub], "certificate 2 did not sign certificate 1"),
        ([sub, root, sub], "certificate 3 did not sign certificate 2"),
        ([], "the certificate of its issuer is missing: 'CN=Test sub,O=Example,C=DE'"),
    ):
        with pytest.raises(Permanent, match=said):
            check_chain(leaf, issuers, deep=deep)


def _namesake(signer: SigningCa | None = None) -> SigningCa:
    """Return a CA that is called as the one of the hierarchy, but has another key."""
    if signer is None:
        return make_root(key=key_pem(EC384, "namesake"))
    return make_sub(signer, key=key_pem(EC384, "namesake"))


def test_a_namesake_with_another_key_shows_only_in_depth() -> None:
    root, sub, leaf = _certs()
    other_sub = load_cert(_namesake(hierarchy()[0]).cert_pem)
    other_root = load_cert(_namesake().cert_pem)
    for issuers, said in (
        ([other_sub, root], "certificate 1 did not sign the leaf: .*signature does not"),
        ([sub, other_root], "certificate 2 did not sign certificate 1: .*signature does not"),
    ):
        with pytest.raises(Permanent, match=said):
            check_chain(leaf, issuers)
        check_chain(leaf, issuers, deep=False)


def test_a_self_issued_certificate_that_another_key_signed_shows_in_depth() -> None:
    name = _certs()[0].subject
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=load_key(key_pem()).public_key(),
        serial_number=1,
        not_valid_before=NOW,
        not_valid_after=NOW + timedelta(days=1),
    )
    fake = builder.sign(load_key(key_pem(EC384, "namesake")), hashes.SHA256())
    with pytest.raises(Permanent, match="did not sign itself"):
        check_chain(fake, [])


def test_the_key_of_another_is_refused() -> None:
    _, sub, leaf = _certs()
    with pytest.raises(Permanent, match="private key does not match"):
        check_chain(leaf, [sub], load_key(key_pem(EC384)))


@pytest.mark.parametrize("deep", [True, False])
def test_what_is_no_ca_issues_nothing(deep: bool) -> None:
    _, sub, leaf = _certs()
    imposter = make_leaf(hierarchy()[1], leaf_spec(cn="Test sub", sans=()))
    below = _signed_by_a_leaf(load_cert(imposter.cert_pem))
    with pytest.raises(Permanent, match=r"certificate 1, .*, is not the certificate of a CA"):
        check_chain(below, [load_cert(imposter.cert_pem), sub], deep=deep)
    assert leaf.issuer == sub.subject


def _signed_by_a_leaf(imposter: x509.Certificate) -> x509.Certificate:
    key = load_key(key_pem())
    builder = x509.CertificateBuilder(
        issuer_name=imposter.subject,
        subject_name=x509.Name([]),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=NOW,
        not_valid_after=NOW + timedelta(days=1),
    )
    return builder.sign(key, hashes.SHA256())


def test_a_path_length_counts_the_cas_between_and_skips_self_issued_ones() -> None:
    root = make_root(ca_spec(path_len=0))
    free = replace(root, cert_pem=make_root(ca_spec(), key=root.key_pem).cert_pem)
    sub = make_sub(free)
    leaf = make_leaf(sub)
    leaf_cert, sub_cert = load_cert(leaf.cert_pem), load_cert(sub.cert_pem)
    strict, lenient = load_cert(root.cert_pem), load_cert(free.cert_pem)
    check_chain(leaf_cert, [sub_cert, lenient])
    with pytest.raises(Permanent, match=r"certificate 2, .*allows 0 levels .* here are 1"):
        check_chain(leaf_cert, [sub_cert, strict])
    # RFC 5280 §6.1.4 (l): a self-issued certificate is not a level.
    direct = load_cert(make_leaf(root).cert_pem)
    check_chain(direct, [lenient, strict])


def test_cas_of_ssl_mgr_count_as_usable_in_spite_of_their_key_ids() -> None:
    root = make_root()
    old = old_intermediate(root)
    leaf = make_leaf(old)
    check_chain(load_cert(old.cert_pem), [load_cert(root.cert_pem)])
    check_chain(load_cert(leaf.cert_pem), split_pem(leaf.chain_pem))


def test_splitting_keeps_the_order_and_skips_what_is_no_certificate() -> None:
    root, sub, leaf = hierarchy()
    mixed = b"subject=x\r\n" + leaf.cert_pem + key_pem() + b"\n\n# CA\n" + sub.cert_pem
    assert split_pem(mixed + root.cert_pem) == [
        load_cert(pem) for pem in (leaf.cert_pem, sub.cert_pem, root.cert_pem)
    ]
    assert split_pem(b"") == split_pem(b"no certificate\n") == []


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (hierarchy()[2].cert_pem[:-30], "cut off"),
        (hierarchy()[2].cert_pem[30:] + hierarchy()[2].cert_pem[:90], "cut off"),
        (b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "is damaged"),
        (
            hierarchy()[2].cert_pem + b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            "certificate 2 is damaged",
        ),
        (b"-----BEGIN CERTIFICATE-----" * 400_000, "too many"),
        (b"-----BEGIN CERTIFICATE-----" * 30_000, "cut off"),
    ],
    ids=["truncated", "halves", "bad DER", "empty second", "10 MB", "only beginnings"],
)
def test_damaged_certificates_are_refused(pem: bytes, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        split_pem(pem)


@odd_serials
@given(st.data())
def test_a_damaged_certificate_is_refused_and_nothing_else_is_raised(data: st.DataObject) -> None:
    der = bytearray(load_cert(hierarchy()[2].cert_pem).public_bytes(Encoding.DER))
    der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    _, sub, _ = _certs()
    try:
        damaged = x509.load_der_x509_certificate(bytes(der))
    except (ValueError, x509.InvalidVersion):
        return
    try:
        check_chain(damaged, [sub], load_key(key_pem()))
    except Permanent:
        return
    assert damaged == _certs()[2]


PARTS = st.sampled_from([b"", b"\n", b"\n\n \n"])


@odd_serials
@given(PARTS, PARTS, PARTS)
def test_parts_are_joined_with_exactly_one_newline(a: bytes, b: bytes, c: bytes) -> None:
    _, _, leaf = hierarchy()
    key, cert, chain = (part.strip() for part in (key_pem(), leaf.cert_pem, leaf.chain_pem))
    assert fullchain(a + cert + b, c + chain + a) == cert + b"\n" + chain + b"\n"
    whole = bundle(c + key + a, a + cert + b, c + chain + a)
    assert whole == key + b"\n" + cert + b"\n" + chain + b"\n"


def test_the_full_chain_of_a_root_is_itself() -> None:
    root, _, _ = hierarchy()
    assert fullchain(root.cert_pem, b"") == root.cert_pem
    assert bundle(root.key_pem, root.cert_pem, b"") == root.key_pem + root.cert_pem


# --- what a CA sends -----------------------------------------------------------------------


def sent(*parts: bytes) -> tuple[bytes, bytes] | None:
    return arranged(load_key(key_pem()).public_key(), b"".join(parts), NOW)


def test_a_chain_is_built_whatever_order_it_came_in() -> None:
    root = make_root()
    sub = make_sub(root)
    leaf = make_leaf(sub, key=key_pem()).cert_pem
    stranger = make_root(key=key_pem(EC384, "stranger")).cert_pem
    parts = {"leaf": leaf, "sub": sub.cert_pem, "root": root.cert_pem, "stranger": stranger}
    for order in permutations(parts.values()):
        assert sent(*order) == (leaf, sub.cert_pem + root.cert_pem)
        assert sent(*order, *order) == (leaf, sub.cert_pem + root.cert_pem)
    # Without the root it ends below it; without an issuer it is as short as it came.
    assert sent(sub.cert_pem, leaf) == (leaf, sub.cert_pem)
    assert sent(root.cert_pem, leaf) == (leaf, b"")
    assert sent(b"Subject: text\n", leaf, b"more text\n", sub.cert_pem) == (leaf, sub.cert_pem)
    assert sent(sub.cert_pem, root.cert_pem) is None


def test_of_two_issuers_the_valid_one_and_then_the_first_one_is_taken() -> None:
    """A cross-signed CA comes with a certificate from each of those that signed it."""
    key = key_pem(EC384, "crossed")
    first, second = (make_root(key=key_pem(EC384, one)) for one in ("first", "second"))
    one, other = (make_sub(root, key=key) for root in (first, second))
    leaf = make_leaf(one, key=key_pem()).cert_pem
    assert sent(leaf, other.cert_pem, one.cert_pem) == (leaf, other.cert_pem)
    assert sent(leaf, one.cert_pem, other.cert_pem) == (leaf, one.cert_pem)
    then = NOW - timedelta(days=900)
    old = with_life(make_root(key=key_pem(EC384, "first"), now=then), timedelta(days=30))
    ended = make_sub(old, key=key, now=then)
    assert sent(leaf, ended.cert_pem, one.cert_pem) == (leaf, one.cert_pem)


def test_damaged_certificates_among_those_that_came_do_no_harm() -> None:
    sub = make_sub(make_root())
    leaf = make_leaf(sub, key=key_pem()).cert_pem
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert sent(broken, leaf, broken, sub.cert_pem) == (leaf, sub.cert_pem)


def test_a_certificate_whose_subject_cannot_be_read_is_left_out() -> None:
    sub = make_sub(make_root())
    leaf = make_leaf(sub, key=key_pem()).cert_pem
    der = load_cert(sub.cert_pem).public_bytes(Encoding.DER)
    name = load_cert(sub.cert_pem).subject.public_bytes()
    assert der.count(name) == 1
    begin = name.index(b"\x0c")  # the tag of a UTF8String; no byte 0xff is in UTF-8
    odd = der.replace(name, name[: begin + 2] + b"\xff" + name[begin + 3 :])
    block = ssl.DER_cert_to_PEM_cert(odd).encode()
    assert sent(leaf, block, sub.cert_pem) == (leaf, sub.cert_pem)
    with pytest.raises(Permanent, match="certificate 2 is damaged"):
        split_pem(leaf + block)
