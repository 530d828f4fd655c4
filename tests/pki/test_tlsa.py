"""TLSA data of a set's files, with the openssl command as the judge."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.dane.tlsa import Combination, Material, association
from sslmd.core.spec import KeySpec
from sslmd.pki.chain import split_pem
from sslmd.pki.csr import make_csr
from sslmd.pki.keys import load_public, public_bytes_of
from sslmd.pki.tlsa import material
from tests.stand.samples import (
    EC256,
    EC384,
    RSA2048,
    ca_spec,
    hierarchy,
    key_pem,
    leaf_spec,
    make_leaf,
    make_root,
    make_sub,
    needs_openssl,
    odd_serials,
    openssl,
    set_files,
)

ALL = [Combination(*numbers) for numbers in product(range(4), range(2), range(3))]
DIGESTS = {1: "-sha256", 2: "-sha512"}


def files_of(kind: KeySpec) -> dict[str, bytes]:
    """Return the files of a set with a key of that kind, all the way up signed by such keys."""
    return dict(_files_of(kind))


@cache
def _files_of(kind: KeySpec) -> dict[str, bytes]:
    ca_kind = RSA2048 if kind == RSA2048 else EC384
    root = make_root(ca_spec(key=ca_kind))
    sub = make_sub(root, ca_spec("sub", key=ca_kind, days=365, path_len=0))
    spec = leaf_spec(key=kind)
    leaf = make_leaf(sub, spec)
    key = key_pem(kind)
    return {
        "privkey.pem": key,
        "csr.pem": make_csr(key, spec),
        "cert.pem": leaf.cert_pem,
        "chain.pem": leaf.chain_pem,
    }


def by_openssl(combination: Combination, files: dict[str, bytes]) -> str:
    # Of a chain, openssl reads the first certificate: the one that signed.
    pem = files["chain.pem" if combination.usage in (0, 2) else "cert.pem"]
    if combination.selector == 0:
        source = openssl("x509", "-outform", "DER", stdin=pem)
    else:
        public = openssl("x509", "-noout", "-pubkey", stdin=pem)
        source = openssl("pkey", "-pubin", "-outform", "DER", stdin=public)
    if combination.match == 0:
        return source.hex()
    digest = openssl("dgst", DIGESTS[combination.match], "-binary", stdin=source)
    return digest.hex()


@needs_openssl
@pytest.mark.parametrize("kind", [EC256, RSA2048], ids=str)
@pytest.mark.parametrize("combination", ALL, ids=str)
def test_every_combination_is_what_openssl_computes(
    kind: KeySpec, combination: Combination
) -> None:
    files = files_of(kind)
    assert len(split_pem(files["chain.pem"])) == 2
    made = material(files)
    assert made is not None
    record = association(combination, made)
    assert record is not None
    assert record.combination == combination
    assert record.data == by_openssl(combination, files)


def without(*names: str) -> Material | None:
    return material({name: pem for name, pem in set_files().items() if name not in names})


def test_a_key_alone() -> None:
    key = public_bytes_of(load_public(key_pem()))
    assert without("cert.pem", "chain.pem", "csr.pem") == Material(key)
    assert without("cert.pem") == Material(key)
    whole = without()
    assert whole is not None
    assert whole.key == key
    # What is there of a set is the same with and without its certificate.
    for match in range(3):
        one = Combination(3, 1, match)
        assert association(one, Material(key)) == association(one, whole)


def test_without_its_key_the_certificate_still_tells_what_is_served() -> None:
    assert without("privkey.pem") == without()
    assert without("privkey.pem", "cert.pem") is None
    assert material({}) is None


def test_a_certificate_of_another_key_is_not_the_sets() -> None:
    other = key_pem(EC256, "other")
    made = material({**set_files(), "privkey.pem": other})
    assert made == Material(public_bytes_of(load_public(other)))


def test_the_issuer_is_found_wherever_it_stands_in_the_chain() -> None:
    root, sub, _ = hierarchy()
    files = set_files()
    right = material(files)
    assert right is not None
    assert right.issuer is not None
    turned = {**files, "chain.pem": root.cert_pem + b"# text\n" + sub.cert_pem}
    assert material(turned) == right
    assert right.issuer_key == public_bytes_of(load_public(sub.key_pem))
    for chain in (b"", root.cert_pem, b"-----BEGIN CERTIFICATE-----\nAAAA", sub.cert_pem[:-90]):
        made = material({**files, "chain.pem": chain})
        assert made is not None
        assert (made.leaf, made.issuer, made.issuer_key) == (right.leaf, None, None)


@odd_serials
@given(st.data())
def test_whatever_the_files_hold_it_does_not_raise(data: st.DataObject) -> None:
    files = set_files()
    name = data.draw(st.sampled_from(sorted(files)))
    pem = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        pem[data.draw(st.integers(0, len(pem) - 1))] = data.draw(st.integers(0, 255))
    made = material({**files, name: bytes(pem)})
    assert made is None or made.key
