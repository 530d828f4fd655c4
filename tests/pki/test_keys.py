from __future__ import annotations

import re
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import Permanent
from sslmd.core.spec import KeySpec, KeyType
from sslmd.pki.identity import describe_key
from sslmd.pki.keys import generate_key, load_key, public_bytes_of
from tests.stand.samples import EC384, KINDS, RSA2048, key_pem, needs_openssl, openssl

PASSWORD = serialization.BestAvailableEncryption(b"secret")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_made_key_reads_back_and_describes_itself_as_asked(kind: KeySpec) -> None:
    pem = key_pem(kind)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert describe_key(load_key(pem).public_key()) == str(kind)


@needs_openssl
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_openssl_finds_the_key_sound_and_sees_the_same_public_key(kind: KeySpec) -> None:
    pem = key_pem(kind)
    assert b"Key is valid" in openssl("pkey", "-check", "-noout", stdin=pem)
    public = openssl("pkey", "-pubout", "-outform", "DER", stdin=pem)
    assert public_bytes_of(load_key(pem)) == public
    assert public_bytes_of(load_key(pem).public_key()) == public


@pytest.mark.parametrize(
    "spec",
    [
        KeySpec(KeyType.RSA, bits=1024),
        KeySpec(KeyType.RSA, bits=8200),
        KeySpec(KeyType.EC, curve="secp256k1"),
    ],
    ids=str,
)
def test_weak_huge_and_odd_keys_are_not_made(spec: KeySpec) -> None:
    with pytest.raises(Permanent, match="choose"):
        generate_key(spec)


@needs_openssl
@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
def test_sec1_keys_with_a_block_of_parameters_are_read(curve: str) -> None:
    pem = openssl("ecparam", "-name", curve, "-genkey")
    assert b"EC PARAMETERS" in pem
    assert b"BEGIN EC PRIVATE KEY" in pem
    key = load_key(pem)
    assert public_bytes_of(key) == openssl("pkey", "-pubout", "-outform", "DER", stdin=pem)


@needs_openssl
def test_pkcs1_keys_are_read() -> None:
    pem = openssl("genrsa", "-traditional", "2048")
    assert b"BEGIN RSA PRIVATE KEY" in pem
    assert describe_key(load_key(pem).public_key()) == "rsa 2048"


def test_text_line_ends_and_certificates_around_a_key_do_no_harm() -> None:
    pem = key_pem()
    around = b"Private key of mail\r\n" + pem.replace(b"\n", b"\r\n") + b"\n\nend"
    assert public_bytes_of(load_key(around)) == public_bytes_of(load_key(pem))


@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
)
@pytest.mark.parametrize("kind", [EC384, RSA2048], ids=str)
def test_a_password_is_named(kind: KeySpec, form: serialization.PrivateFormat) -> None:
    pem = load_key(key_pem(kind)).private_bytes(serialization.Encoding.PEM, form, PASSWORD)
    with pytest.raises(Permanent, match="protected by a password"):
        load_key(pem)


def _pkcs8(key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (_pkcs8(ed25519.Ed25519PrivateKey.generate()), "ed25519"),
        (_pkcs8(x25519.X25519PrivateKey.generate()), "x25519"),
        (
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            ),
            "OPENSSH PRIVATE KEY",
        ),
        (b"", "no private keys"),
        (b"rubbish", "no private keys"),
        (key_pem() + key_pem(EC384), "2 private keys"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        # An Ed25519 key of five bytes, which the parser lets pass and OpenSSL does not.
        (
            b"-----BEGIN PRIVATE KEY-----\n"
            b"MBMCAQAwBQYDK2VwBAcEBRtbMzFt\n-----END PRIVATE KEY-----\n",
            "damaged",
        ),
        (b"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n", "not base64"),
        (b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 99, "cut off"),
        (b"x" * 10_000_000, "too many"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "pem",
)
def test_what_is_no_usable_key_is_refused_by_name(pem: bytes, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        load_key(pem)


@given(st.data())
def test_a_damaged_key_never_shows_in_the_message(data: st.DataObject) -> None:
    pem = bytearray(key_pem(EC384))
    for _ in range(data.draw(st.integers(1, 4))):
        pem[data.draw(st.integers(0, len(pem) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(pem)[: data.draw(st.integers(0, len(pem)))]
    said = _refusal(damaged)
    assert not re.search(r"[A-Za-z0-9+/]{24}", said), said


def _refusal(pem: bytes) -> str:
    try:
        load_key(pem)
    except Permanent as err:
        return "".join(traceback.format_exception_only(err))
    return ""


def test_other_kinds_are_described_without_failing() -> None:
    assert describe_key(ed25519.Ed25519PrivateKey.generate().public_key()) == "ed25519"
    brainpool = ec.generate_private_key(ec.BrainpoolP256R1()).public_key()
    assert describe_key(brainpool) == "ec brainpoolP256r1"
