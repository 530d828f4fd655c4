from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import Permanent
from sslmd.core.spec import DIGESTS, KeySpec
from sslmd.pki.chain import check_chain, load_cert, split_pem
from sslmd.pki.csr import make_csr
from sslmd.pki.inspect import cert_facts
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import SelfSigning, SigningCa, sign
from tests.pki.oldca import old_intermediate
from tests.stand.samples import (
    EC256,
    EC384,
    KINDS,
    NOW,
    RSA2048,
    ca_spec,
    hierarchy,
    key_pem,
    leaf_spec,
    make_leaf,
    make_root,
    make_sub,
    needs_openssl,
    openssl,
    signing_ca,
    verify,
    with_life,
)

DAY = timedelta(days=1)


# --- what openssl says of it


@needs_openssl
@pytest.mark.parametrize(("ca_kind", "kind"), list(itertools.product(KINDS, KINDS)), ids=str)
def test_three_levels_verify_strictly_with_all_kinds_of_keys(
    ca_kind: KeySpec, kind: KeySpec, tmp_path: Path
) -> None:
    root = make_root(ca_spec(key=ca_kind))
    sub = make_sub(root, ca_spec("sub", key=ca_kind, days=365, path_len=0))
    sans = ("www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", "bücher.example")
    leaf = make_leaf(sub, leaf_spec(sans=sans, key=kind))
    verify(tmp_path, root.cert_pem, b"", root.cert_pem)
    verify(tmp_path, root.cert_pem, b"", sub.cert_pem)
    more = ("-verify_hostname", "any.example.com", "-purpose", "sslserver")
    verify(tmp_path, root.cert_pem, sub.cert_pem, leaf.cert_pem, *more)
    for host in ("www.example.com", "xn--bcher-kva.example"):
        verify(tmp_path, root.cert_pem, leaf.chain_pem, leaf.cert_pem, "-verify_hostname", host)
    for address in ("192.0.2.1", "2001:db8::1"):
        verify(tmp_path, root.cert_pem, leaf.chain_pem, leaf.cert_pem, "-verify_ip", address)


@needs_openssl
def test_four_levels_verify(tmp_path: Path) -> None:
    root = make_root()
    upper = make_sub(root, ca_spec("upper", days=2000, path_len=1))
    lower = make_sub(upper, ca_spec("lower", days=1000, path_len=0))
    leaf = make_leaf(lower)
    assert len(split_pem(leaf.chain_pem)) == 3
    verify(tmp_path, root.cert_pem, leaf.chain_pem, leaf.cert_pem)


@needs_openssl
@pytest.mark.parametrize("kind", [EC256, RSA2048], ids=str)
@pytest.mark.parametrize(
    ("usage", "purpose"),
    [
        ("serverAuth", "sslserver"),
        ("clientAuth", "sslclient"),
        ("emailProtection", "smimesign"),
        ("codeSigning", "any"),
        ("timeStamping", "timestampsign"),
    ],
)
def test_every_usage_is_good_for_its_purpose(
    usage: str, purpose: str, kind: KeySpec, tmp_path: Path
) -> None:
    root, sub, _ = hierarchy()
    leaf = make_leaf(sub, leaf_spec(key=kind, usages=(usage,)))
    verify(tmp_path, root.cert_pem, leaf.chain_pem, leaf.cert_pem, "-purpose", purpose)
    text = openssl("x509", "-noout", "-ext", "extendedKeyUsage", stdin=leaf.cert_pem)
    assert (b"critical" in text) == (usage == "timeStamping")


@needs_openssl
def test_renewed_cas_with_the_same_key_verify_across_generations(tmp_path: Path) -> None:
    root, sub, leaf = hierarchy()
    later = NOW + 100 * DAY
    root2 = make_root(now=later, key=root.key_pem)
    sub2 = make_sub(root2, now=later, key=sub.key_pem)
    leaf2 = make_leaf(sub2, now=later)
    for anchor, middle, cert in itertools.product(
        (root, root2), (sub, sub2), (leaf.cert_pem, leaf2.cert_pem)
    ):
        verify(tmp_path, anchor.cert_pem, middle.cert_pem, cert, at=later)


@needs_openssl
def test_a_leaf_without_subject_has_critical_names_and_verifies(tmp_path: Path) -> None:
    root, sub, _ = hierarchy()
    leaf = make_leaf(sub, leaf_spec(cn=""))
    names = load_cert(leaf.cert_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    verify(tmp_path, root.cert_pem, leaf.chain_pem, leaf.cert_pem)


@needs_openssl
def test_an_intermediate_made_by_openssl_keeps_its_name_byte_for_byte(tmp_path: Path) -> None:
    # -nameopt of old CAs: PrintableString, which must not be written anew as UTF8String.
    spec = ca_spec()
    key = key_pem(EC384, "openssl")
    (tmp_path / "key").write_bytes(key)
    conf = tmp_path / "conf"
    conf.write_text(
        "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=v3\nstring_mask=default\n"
        "[dn]\nO=Old Site\nCN=Old Root\n[v3]\nbasicConstraints=critical,CA:true\n"
        "keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
    )
    made = ("-new", "-x509", "-key", tmp_path / "key", "-config", conf, "-days", "4000")
    cert_pem = openssl("req", *made)
    assert spec.ca is not None
    old = SigningCa(key, cert_pem, b"", spec.ca)
    now = load_cert(cert_pem).not_valid_before_utc + DAY
    leaf = make_leaf(old, now=now)
    ours, theirs = load_cert(leaf.cert_pem).issuer, load_cert(cert_pem).subject
    assert ours.public_bytes() == theirs.public_bytes()
    verify(tmp_path, cert_pem, b"", leaf.cert_pem, at=now)


# --- the CAs that ssl-mgr made


def test_an_old_intermediate_with_a_wrong_authority_key_id_is_read_and_signs() -> None:
    root = make_root()
    old = old_intermediate(root)
    leaf = load_cert(make_leaf(old).cert_pem)
    signer = load_cert(old.cert_pem)
    own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    pointed = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert pointed.key_identifier == own.key_identifier
    check_chain(leaf, [signer, load_cert(root.cert_pem)])
    assert leaf.not_valid_after_utc <= signer.not_valid_after_utc


@needs_openssl
def test_children_of_an_old_intermediate_verify_and_wholly_once_it_is_reissued(
    tmp_path: Path,
) -> None:
    root = make_root()
    old = old_intermediate(root)
    leaf = make_leaf(old)
    verify(tmp_path, old.cert_pem, b"", leaf.cert_pem, "-partial_chain")
    with pytest.raises(AssertionError, match="unable to get local issuer"):
        verify(tmp_path, root.cert_pem, leaf.chain_pem, leaf.cert_pem)
    reissued = make_sub(root, ca_spec("old", days=365, path_len=0), key=old.key_pem)
    verify(tmp_path, root.cert_pem, reissued.cert_pem, leaf.cert_pem)


# --- what is in it


def test_a_leaf_carries_exactly_the_extensions_it_should() -> None:
    _, sub, issued = hierarchy()
    found = load_cert(issued.cert_pem).extensions
    critical = {extension.oid._name: extension.critical for extension in found}
    assert critical == {
        "basicConstraints": True,
        "keyUsage": True,
        "extendedKeyUsage": False,
        "subjectKeyIdentifier": False,
        "subjectAltName": False,
        "authorityKeyIdentifier": False,
    }
    constraints = found.get_extension_for_class(x509.BasicConstraints).value
    assert constraints == x509.BasicConstraints(ca=False, path_length=None)
    assert _usages(issued.cert_pem) == {"digital_signature"}
    above = load_cert(sub.cert_pem).extensions
    pointed = found.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    own = above.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert pointed.key_identifier == own.key_identifier


def test_a_ca_carries_its_path_length_and_no_extended_usage() -> None:
    root, sub, _ = hierarchy()
    for signer, length in ((root, None), (sub, 0)):
        found = load_cert(signer.cert_pem).extensions
        constraints = found.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=length)
        assert _usages(signer.cert_pem) == {"key_cert_sign", "crl_sign"}
        with pytest.raises(x509.ExtensionNotFound):
            found.get_extension_for_class(x509.ExtendedKeyUsage)


def _usages(cert_pem: bytes) -> set[str]:
    found = load_cert(cert_pem).extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    simple = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    return {
        name
        for name in (*simple, "key_agreement", "key_cert_sign", "crl_sign")
        if getattr(found.value, name)
    }


def test_rsa_leaves_may_encipher_keys() -> None:
    _, sub, _ = hierarchy()
    issued = make_leaf(sub, leaf_spec(key=RSA2048))
    assert _usages(issued.cert_pem) == {"digital_signature", "key_encipherment"}


def test_the_chain_goes_up_to_the_root_nearest_first_and_that_of_a_root_is_empty() -> None:
    root, sub, leaf = hierarchy()
    assert root.chain_pem == b""
    assert sub.chain_pem == root.cert_pem
    assert leaf.chain_pem == sub.cert_pem + root.cert_pem


def test_a_root_listed_as_its_own_issuer_appears_once() -> None:
    root = make_root()
    leaf = make_leaf(replace(root, chain_pem=root.cert_pem))
    assert leaf.chain_pem == root.cert_pem


def test_serials_are_random_positive_and_fit_20_octets() -> None:
    _, sub, _ = hierarchy()
    serials = {load_cert(make_leaf(sub).cert_pem).serial_number for _ in range(50)}
    assert len(serials) == 50
    assert all(0 < serial < 1 << 159 for serial in serials)


# OpenSSL 3.0 knows no signature of an EC key with these.
UNKNOWN_TO_OPENSSL = [digest for digest in DIGESTS if digest.startswith("sha3")]


@needs_openssl
@pytest.mark.parametrize("kind", [EC384, RSA2048], ids=str)
@pytest.mark.parametrize("digest", [*DIGESTS, "SHA384"])
def test_the_signer_chooses_the_digest(digest: str, kind: KeySpec, tmp_path: Path) -> None:
    root = make_root(ca_spec(digest=digest, key=kind))
    leaf = make_leaf(root)
    made = digest.lower().replace("_", "-")
    for cert_pem in (root.cert_pem, leaf.cert_pem):
        algorithm = load_cert(cert_pem).signature_hash_algorithm
        assert algorithm is not None
        assert algorithm.name == made
    load_cert(leaf.cert_pem).verify_directly_issued_by(load_cert(root.cert_pem))
    if kind == RSA2048 or digest not in UNKNOWN_TO_OPENSSL:
        verify(tmp_path, root.cert_pem, b"", leaf.cert_pem)


def test_private_keys_do_not_show_in_the_representation() -> None:
    root = make_root()
    for holder in (root, SelfSigning(root.key_pem)):
        assert "PRIVATE" not in repr(holder)


# --- life


@given(
    root_days=st.floats(0.05, 20000),
    sub_days=st.floats(0.05, 20000),
    leaf_days=st.floats(0.0001, 20000),
    sub_age=st.floats(0, 1),
    leaf_age=st.floats(0, 1),
)
def test_validity_is_always_inside_that_of_the_issuer(
    root_days: float, sub_days: float, leaf_days: float, sub_age: float, leaf_age: float
) -> None:
    root = make_root(ca_spec(key=EC256, days=root_days))
    root = with_life(root, timedelta(days=sub_days))
    sub_at = NOW + (timedelta(days=root_days) - timedelta(hours=1, seconds=1)) * sub_age
    sub = make_sub(root, ca_spec("sub", key=EC256, days=leaf_days, path_len=0), now=sub_at)
    upper, lower = load_cert(root.cert_pem), load_cert(sub.cert_pem)
    _assert_inside(lower, upper, sub_at)
    leaf_at = sub_at + (lower.not_valid_after_utc - sub_at) * leaf_age
    try:
        leaf = load_cert(make_leaf(sub, now=leaf_at).cert_pem)
    except Permanent:
        assert lower.not_valid_after_utc - leaf_at < timedelta(hours=1)
        return
    assert lower.not_valid_after_utc - leaf_at >= timedelta(hours=1)
    _assert_inside(leaf, lower, leaf_at)


def _assert_inside(cert: x509.Certificate, issuer: x509.Certificate, now: datetime) -> None:
    assert issuer.not_valid_before_utc <= cert.not_valid_before_utc <= now
    assert cert.not_valid_before_utc <= cert.not_valid_after_utc <= issuer.not_valid_after_utc


def test_a_life_ends_when_the_options_say_counted_from_now() -> None:
    root = make_root(ca_spec(days=3650))
    assert load_cert(root.cert_pem).not_valid_after_utc == NOW + 3650 * DAY
    later = NOW + DAY
    leaf = load_cert(make_leaf(with_life(root, 90 * DAY), now=later).cert_pem)
    assert leaf.not_valid_before_utc == later - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == later + 90 * DAY


def test_a_root_without_end_ends_with_the_calendar() -> None:
    cert = load_cert(make_root(ca_spec(days=99_999_999)).cert_pem)
    assert cert.not_valid_after_utc.year == 9999


def test_a_signer_with_an_hour_left_still_signs() -> None:
    root = make_root()
    issued = make_leaf(root, now=NOW + 3650 * DAY - timedelta(hours=1))
    assert load_cert(issued.cert_pem).not_valid_after_utc == NOW + 3650 * DAY


def test_a_ca_without_key_ids_and_key_usage_signs_all_the_same() -> None:
    root = make_root()
    key = load_key(root.key_pem)
    name = load_cert(root.cert_pem).subject
    bare = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    issued = make_leaf(replace(root, cert_pem=bare.public_bytes(Encoding.PEM)))
    pointed = load_cert(issued.cert_pem).extensions.get_extension_for_class(
        x509.AuthorityKeyIdentifier
    )
    expected = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    assert pointed.value.key_identifier == expected.digest


def test_a_root_may_sign_leaves_at_once() -> None:
    root = make_root()
    spec = ca_spec()
    again = signing_ca(
        spec,
        root.key_pem,
        sign(make_csr(root.key_pem, spec), spec, SelfSigning(root.key_pem), now=NOW),
    )
    leaf = make_leaf(again)
    check_chain(load_cert(leaf.cert_pem), split_pem(leaf.chain_pem), load_key(key_pem()))


def test_what_is_signed_ends_with_the_first_ca_between_it_and_the_root() -> None:
    root = make_root()
    spec = ca_spec("upper", days=1000, path_len=1)
    short, long = make_sub(with_life(root, 100 * DAY), spec), make_sub(root, spec)
    lower = make_sub(long, ca_spec("lower", days=500, path_len=0))
    # As of ssl-mgr's CAs: one lives longer than the one that signed it.
    lower = replace(lower, chain_pem=short.cert_pem + root.cert_pem)
    end = load_cert(short.cert_pem).not_valid_after_utc
    assert load_cert(make_leaf(lower).cert_pem).not_valid_after_utc == end
    with pytest.raises(Permanent, match="certificate 1 above it expired at"):
        make_leaf(lower, now=end + DAY)


def test_what_follows_the_root_in_a_chain_does_not_count() -> None:
    """A root that another one signed too, for clients that do not know it yet."""
    root, other = make_root(), make_root(ca_spec("other"))
    cross = make_sub(with_life(other, 100 * DAY), ca_spec(), key=root.key_pem)
    root = replace(root, chain_pem=cross.cert_pem + other.cert_pem)
    later = load_cert(cross.cert_pem).not_valid_after_utc + DAY
    sub = make_sub(root, now=later)
    issued = make_leaf(sub, now=later)
    assert load_cert(issued.cert_pem).not_valid_after_utc == later + 365 * DAY
    assert issued.chain_pem == sub.cert_pem + root.cert_pem + root.chain_pem


@needs_openssl
def test_an_address_for_mail_is_one_of_the_names(tmp_path: Path) -> None:
    """RFC 5280 §4.1.2.6; it is not among the names that are compared, so nothing is renewed."""
    root, sub, _ = hierarchy()
    for usages, mail in ((("serverAuth", "emailProtection"), True), (("serverAuth",), False)):
        spec = leaf_spec(usages=usages)
        spec = replace(spec, subject=replace(spec.subject, email="me@example.com"))
        leaf = make_leaf(sub, spec)
        cert = load_cert(leaf.cert_pem)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.RFC822Name) == ["me@example.com"] * mail
        assert "me@example.com" in cert.subject.rfc4514_string()
        assert cert_facts(leaf.cert_pem).names == ("www.example.com",)
        if mail:
            more = ("-verify_email", "me@example.com", "-purpose", "smimesign")
            verify(tmp_path, root.cert_pem, leaf.chain_pem, leaf.cert_pem, *more)


def test_what_may_live_825_days_lives_no_longer_by_its_earlier_begin() -> None:
    root = make_root()
    for days, least in ((825, 824), (826, 825), (90, 89)):
        sub = make_sub(root, ca_spec("sub", days=days, path_len=0))
        cert = load_cert(make_leaf(sub).cert_pem)
        life = cert.not_valid_after_utc - cert.not_valid_before_utc
        assert life > timedelta(days=least)
        assert (life < timedelta(days=825)) == (days <= 825)
