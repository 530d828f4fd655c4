from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import Permanent
from sslmd.core.names import SetName
from sslmd.core.spec import Subject
from sslmd.pki.chain import load_cert
from sslmd.pki.csr import make_csr
from sslmd.pki.inspect import cert_facts, repairs, set_facts
from sslmd.pki.keys import load_key
from sslmd.pki.local_ca import Issued, SigningCa
from sslmd.pki.pem import damage
from tests.pki.oldca import old_intermediate
from tests.stand.samples import (
    EC384,
    NOW,
    RSA2048,
    ca_spec,
    hierarchy,
    key_pem,
    leaf_spec,
    make_leaf,
    make_root,
    make_sub,
    odd_serials,
    set_files,
)

NAME = SetName.at(NOW)
FILES = ("privkey.pem", "csr.pem", "cert.pem", "chain.pem", "fullchain.pem", "bundle.pem")
_PKCS8 = serialization.PrivateFormat.PKCS8
Files = dict[str, bytes]


def _problem(files: Files, *, deep: bool = True) -> str:
    return set_facts(NAME, files, deep=deep).problem


def _changed(**changes: bytes | None) -> Files:
    """Return the files of a good set, with some replaced or (None) taken away."""
    files = set_files()
    for name, content in changes.items():
        if content is None:
            del files[f"{name}.pem"]
        else:
            files[f"{name}.pem"] = content
    return files


def _crlf(pem: bytes) -> bytes:
    return b"  text before\r\n" + pem.replace(b"\n", b"\r\n") + b"\r\n\r\n"


# --- one certificate


def test_the_facts_of_a_certificate() -> None:
    _, sub, _ = hierarchy()
    sans = ("www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1")
    issued = make_leaf(sub, leaf_spec(sans=sans, key=RSA2048))
    facts = cert_facts(issued.cert_pem)
    assert facts.serial == f"{load_cert(issued.cert_pem).serial_number:x}"
    assert facts.not_before == NOW - timedelta(minutes=5)
    assert facts.not_after == NOW + timedelta(days=365)
    assert facts.names == sans
    assert facts.subject == ""  # told of CAs alone
    assert facts.issuer == "CN=Test sub,O=Example,C=DE"
    assert facts.key == "rsa 2048"
    assert not facts.is_ca


def test_the_facts_of_a_root() -> None:
    facts = cert_facts(make_root().cert_pem)
    assert facts.is_ca
    assert facts.names == ()
    assert facts.issuer == facts.subject
    assert facts.key == "ec secp384r1"


@pytest.mark.parametrize("pem", [b"", b"junk", key_pem(), hierarchy()[2].cert_pem * 2])
def test_what_is_not_one_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(Permanent):
        cert_facts(pem)


# --- good sets


@pytest.mark.parametrize("deep", [True, False])
def test_a_good_set_has_no_problem(deep: bool) -> None:
    facts = set_facts(NAME, set_files(), deep=deep)
    assert facts.problem == ""
    assert facts.complete
    assert facts.has_key
    assert facts.name == NAME
    assert facts.key == "ec secp256r1"
    assert facts.asked_names == {"www.example.com"}
    assert facts.cert == cert_facts(set_files()["cert.pem"])


def _set_of(signer: SigningCa, request: bytes) -> Files:
    cert, chain = signer.cert_pem, signer.chain_pem
    return {
        "privkey.pem": signer.key_pem,
        "csr.pem": request,
        "cert.pem": cert,
        "chain.pem": chain,
        "fullchain.pem": cert + chain,
        "bundle.pem": signer.key_pem + cert + chain,
    }


@pytest.mark.parametrize("deep", [True, False])
def test_the_sets_of_cas_are_good_with_and_without_an_empty_chain(deep: bool) -> None:
    root, sub, _ = hierarchy()
    files = _set_of(root, make_csr(root.key_pem, ca_spec()))
    assert files["chain.pem"] == b""
    assert _problem(files, deep=deep) == ""
    del files["chain.pem"]
    assert _problem(files, deep=deep) == ""
    assert repairs(files) == {}
    assert _problem(_set_of(sub, make_csr(sub.key_pem, ca_spec("sub"))), deep=deep) == ""


def test_an_expired_set_is_no_problem_here() -> None:
    root = make_root(now=NOW - timedelta(days=9000))
    assert _problem(_set_of(root, make_csr(root.key_pem, ca_spec()))) == ""


def test_the_set_of_a_ca_of_ssl_mgr_is_good_and_its_title_is_no_name() -> None:
    old = old_intermediate(make_root())
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "my-ca")])
    plain = x509.CertificateSigningRequestBuilder(title)
    request = plain.sign(load_key(old.key_pem), hashes.SHA256()).public_bytes(Encoding.PEM)
    facts = set_facts(NAME, _set_of(old, request))
    assert facts.problem == ""
    assert facts.asked_names == frozenset()


@pytest.mark.parametrize("name", FILES)
def test_other_line_ends_and_text_around_make_no_difference(name: str) -> None:
    files = set_files()
    files[name] = _crlf(files[name])
    assert _problem(files) == ""
    assert repairs(files) == {}


def test_a_bundle_in_another_order_or_with_the_key_in_another_form_is_good() -> None:
    files = set_files()
    key, cert, chain = (files[f"{name}.pem"] for name in ("privkey", "cert", "chain"))
    sec1 = load_key(key).private_bytes(
        Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert sec1 != key
    for bundle in (cert + chain + key, chain + cert + key, sec1 + cert + chain):
        assert _problem({**files, "bundle.pem": bundle}) == ""
    assert repairs({**files, "bundle.pem": chain + cert + key}) == {
        "bundle.pem": files["bundle.pem"]
    }
    assert repairs({**files, "bundle.pem": cert + chain + key}) == {}


def test_a_missing_bundle_or_request_is_no_problem() -> None:
    assert _problem(_changed(bundle=None)) == ""
    facts = set_facts(NAME, _changed(csr=None))
    assert facts.complete
    assert facts.asked_names == set_facts(NAME, set_files()).asked_names
    assert facts.asked_names
    assert _problem(_changed(csr=b"junk")) == ""


# --- bad sets


def _namesake_chain() -> bytes:
    other = make_sub(hierarchy()[0], key=key_pem(EC384, "namesake"))
    return other.cert_pem + other.chain_pem


def _other_leaf() -> Issued:
    return make_leaf(hierarchy()[1], leaf_spec(key=RSA2048))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no privkey.pem"),
        (_changed(privkey=None), "no privkey.pem"),
        (_changed(cert=None), "no cert.pem"),
        (_changed(cert=None, csr=None), "no cert.pem"),
        (_changed(cert=None, csr=b"junk"), "csr.pem is not a certificate request: it holds no"),
        (
            _changed(cert=None, csr=make_csr(key_pem(RSA2048), leaf_spec())),
            "csr.pem does not match privkey.pem",
        ),
        (_changed(privkey=b"junk"), "privkey.pem is not a usable private key: it holds no"),
        (_changed(privkey=key_pem(RSA2048)), "privkey.pem does not match cert.pem"),
        (_changed(cert=b"junk"), "cert.pem is not a certificate: it holds no"),
        (_changed(cert=b""), "cert.pem is not a certificate: it holds no"),
        (_changed(cert=set_files()["cert.pem"][:200]), "cert.pem is not a certificate: a PEM"),
        (_changed(cert=b"j" * 10_000_000), "cert.pem is not a certificate: it has 10000000 bytes"),
        (_changed(chain=None), "no chain.pem"),
        (_changed(chain=b""), "chain.pem: the certificate of its issuer is missing"),
        (_changed(chain=b"junk"), "chain.pem: the certificate of its issuer is missing"),
        (_changed(chain=set_files()["chain.pem"][:-9]), "chain.pem: a PEM block in it is cut off"),
        (
            _changed(chain=hierarchy()[0].cert_pem + hierarchy()[1].cert_pem),
            "chain.pem: certificate 1 did not sign the leaf",
        ),
        (
            _changed(chain=hierarchy()[1].cert_pem * 2),
            "chain.pem: certificate 2 did not sign certificate 1",
        ),
        (_changed(chain=_namesake_chain()), "chain.pem: certificate 1 did not sign the leaf"),
        (_changed(fullchain=None), "no fullchain.pem"),
        (
            _changed(fullchain=set_files()["cert.pem"]),
            "fullchain.pem is not cert.pem followed by chain.pem",
        ),
        (_changed(fullchain=b""), "fullchain.pem is not cert.pem followed by chain.pem"),
        (
            _changed(bundle=key_pem(RSA2048) + set_files()["fullchain.pem"]),
            "bundle.pem is not privkey.pem followed by fullchain.pem",
        ),
        (_changed(bundle=set_files()["fullchain.pem"]), "bundle.pem is not"),
        (_changed(bundle=key_pem() + _other_leaf().cert_pem), "bundle.pem is not"),
        (_changed(bundle=b"x" * 10_000_000), "bundle.pem is not"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_problem_is_named(files: Files, said: str) -> None:
    facts = set_facts(NAME, files)
    assert facts.problem.startswith(said)
    assert not facts.complete
    assert "PRIVATE" not in facts.problem


def test_a_signature_that_fails_shows_only_in_depth() -> None:
    chain = _namesake_chain()
    files = _changed(chain=chain, fullchain=set_files()["cert.pem"] + chain, bundle=None)
    assert "the signature does not" in _problem(files)
    assert _problem(files, deep=False) == ""
    assert repairs(files) == {}


def test_an_unfinished_set_tells_its_key_and_the_names_asked_for() -> None:
    files = {name: set_files()[name] for name in ("privkey.pem", "csr.pem")}
    facts = set_facts(NAME, files)
    assert facts.problem == "no cert.pem"
    assert facts.key == "ec secp256r1"
    assert facts.asked_names == {"www.example.com"}
    assert facts.cert is None


# --- repairs


def test_a_good_set_needs_no_repair() -> None:
    assert repairs(set_files()) == {}


@pytest.mark.parametrize("name", ["fullchain.pem", "bundle.pem"])
@pytest.mark.parametrize(
    "wrong",
    [lambda _: None, lambda _: b"", lambda good: good[:-40], lambda good: good * 2],
    ids=["missing", "empty", "truncated", "twice"],
)
def test_derived_files_are_made_good_again(
    name: str, wrong: Callable[[bytes], bytes | None]
) -> None:
    good = set_files()
    files = dict(good)
    content = wrong(files.pop(name))
    if content is not None:
        files[name] = content
    made = repairs(files)
    assert made == {name: good[name]}
    assert _problem({**files, **made}) == ""
    assert repairs({**files, **made}) == {}


@pytest.mark.parametrize("name", ["cert.pem", "chain.pem"])
def test_nothing_is_derived_from_what_is_broken(name: str) -> None:
    files = set_files()
    for content in (b"", files[name][:-40], make_leaf(make_root(ca_spec("stranger"))).cert_pem):
        broken = {**files, name: content, "bundle.pem": b""}
        assert repairs(broken) == {}


def test_no_bundle_is_made_with_the_key_of_another() -> None:
    files = _changed(privkey=key_pem(RSA2048), bundle=None, fullchain=None)
    assert repairs(files) == {"fullchain.pem": set_files()["fullchain.pem"]}
    assert repairs(_changed(privkey=None, bundle=None)) == {}


# --- anything at all


@odd_serials
@given(st.dictionaries(st.sampled_from(FILES), st.binary(max_size=300)))
def test_nothing_is_raised_for_any_content(files: Files) -> None:
    assert set_facts(NAME, {**set_files(), **files}).name == NAME
    repairs({**set_files(), **files})


@odd_serials
@given(st.sampled_from(FILES), st.data())
def test_nothing_is_raised_for_damage_in_the_text(name: str, data: st.DataObject) -> None:
    files = set_files()
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 127))
    files[name] = bytes(content)
    problem = _problem(files)
    made = repairs(files)
    assert set(made) <= {"fullchain.pem", "bundle.pem"}
    if made and name in made:
        assert made == {name: set_files()[name]}
    elif not problem:
        assert _problem({**files, **made}) == ""


@odd_serials
@given(st.sampled_from(["cert.pem", "chain.pem", "csr.pem", "privkey.pem"]), st.data())
def test_nothing_is_raised_for_damaged_der_and_it_shows(name: str, data: st.DataObject) -> None:
    files = set_files()
    armour = files[name].split(b"\n")[0]
    first = files[name].split(b"-----\n")[1].split(b"\n-----END")[0]
    der = bytearray(base64.b64decode(first))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    lines = (armour, base64.b64encode(bytes(der)), armour.replace(b"BEGIN", b"END"), b"")
    files[name] = b"\n".join(lines)
    problem = _problem(files)
    assert problem or name in ("csr.pem", "privkey.pem")
    set_facts(NAME, files, deep=False)
    repairs(files)


@odd_serials
@given(st.data())
def test_damage_to_the_secret_of_a_key_is_seen_in_depth(data: st.DataObject) -> None:
    key = load_key(key_pem())
    der = bytearray(key.private_bytes(Encoding.DER, _PKCS8, serialization.NoEncryption()))
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    start = bytes(der).index(secret)
    der[start + data.draw(st.integers(0, 31))] ^= data.draw(st.integers(1, 255))
    text = base64.b64encode(bytes(der))
    damaged = b"-----BEGIN PRIVATE KEY-----\n" + text + b"\n-----END PRIVATE KEY-----\n"
    assert _problem(_changed(privkey=damaged)).startswith("privkey.pem")
    assert _problem(_changed(privkey=damaged, bundle=None), deep=False) == ""


def test_a_hostile_name_cannot_write_to_the_terminal() -> None:
    _, sub, _ = hierarchy()
    bad = replace(ca_spec("evil"), subject=Subject("evil\x1b[2J\nroot"))
    evil = make_root(bad)
    problem = _problem(_changed(chain=evil.cert_pem + sub.cert_pem))
    assert "evil" in problem
    assert problem.isprintable()


def test_ten_thousand_sets_are_looked_through_in_seconds() -> None:
    files = set_files()
    start = time.perf_counter()
    for _ in range(200):
        set_facts(NAME, files, deep=False)
    # Far above what it takes (about 0.15 ms): this is to notice a factor, on any machine.
    assert (time.perf_counter() - start) / 200 < 0.003


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "error parsing asn1 value: ParseError { kind: ShortData { needed: 291 } }",
            "it is cut off",
        ),
        (
            "error parsing asn1 value: ParseError { kind: ShortData { needed: 9 }, location: "
            '["Certificate::tbs_cert", "TbsCertificate::raw_extensions", 2, '
            '"Extension::extn_value"] }',
            "it is cut off, in tbs_cert / raw_extensions / extn_value",
        ),
        (
            "ParseError { kind: UnexpectedTag { actual: Tag { value: 13, constructed: true, class: "
            'Application } }, location: ["Certificate::tbs_cert", "TbsCertificate::serial"] }',
            "another tag than expected, in tbs_cert / serial",
        ),
    ],
)
def test_damage_is_told_in_words_with_its_place(said: str, told: str) -> None:
    assert damage(ValueError(said)) == told
