"""Private keys: made and read. Messages never hold key material (I2)."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from sslmd.core.errors import Permanent
from sslmd.core.spec import KeySpec, KeyType
from sslmd.pki.identity import describe_key
from sslmd.pki.pem import MALFORMED, Block, blocks

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "secp256r1": ec.SECP256R1,
    "secp384r1": ec.SECP384R1,
    "secp521r1": ec.SECP521R1,
}
_RSA_BITS = range(2048, 8193)  # less is refused by every CA, more takes minutes to make
_LABELS = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
# PKCS #8 (RFC 5958) says it in the label, the traditional forms in a header (RFC 1421).
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


def generate_key(spec: KeySpec) -> bytes:
    """Return a new private key as PKCS #8 PEM (RFC 5958), not encrypted.

    RSA with 4096 bits takes up to some seconds, with 8192 a minute, in which other threads run.
    Raises `Permanent` for a curve or size that is not offered.
    """
    return generate(spec).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def generate(spec: KeySpec) -> PrivateKey:
    """Return a new private key; see `generate_key`."""
    if spec.kind is KeyType.RSA:
        if spec.bits not in _RSA_BITS:
            raise Permanent(
                f"an RSA key of {spec.bits} bits is not made; "
                f"choose {_RSA_BITS.start} to {_RSA_BITS.stop - 1}"
            )
        return rsa.generate_private_key(public_exponent=65537, key_size=spec.bits)
    curve = _CURVES.get(spec.curve)
    if curve is None:
        raise Permanent(f"there is no curve {spec.curve!r}; choose one of {', '.join(_CURVES)}")
    return ec.generate_private_key(curve())


def load_key(pem: bytes) -> PrivateKey:
    """Read an EC or RSA private key from PEM: PKCS #8, SEC 1 (RFC 5915) or PKCS #1 (RFC 8017).

    Other blocks beside it ("EC PARAMETERS", certificates of a bundle) are skipped. Raises
    `Permanent` if there is no such key, more than one, or one with a password.
    """
    if any(mark in pem for mark in _ENCRYPTED):
        raise Permanent(
            "the private key is protected by a password; store it without "
            "(openssl pkey -in KEY -out NEW)"
        )
    found = key_blocks(blocks(pem))
    if len(found) != 1:
        raise Permanent(f"it holds {len(found) or 'no'} private keys instead of one")
    block = found[0]
    if block.label not in _LABELS:
        raise Permanent(f"{block.label} is not a form of key that can be used here; use PKCS #8")
    try:
        # Checking the primes of an RSA key takes 0.1 to 0.4 s. What matters, that it fits the
        # certificate, is checked where both are at hand.
        key = serialization.load_der_private_key(
            block.der, password=None, unsafe_skip_rsa_key_validation=True
        )
    except MALFORMED:
        # Without the cause: nobody promises that a parser's message holds no content.
        raise Permanent("the private key is damaged or of an unknown kind") from None
    if not isinstance(key, PrivateKey):
        kind = describe_key(key.public_key())
        raise Permanent(f"the private key is of the kind {kind}; only EC and RSA can be used")
    return key


def load_public(pem: bytes, *, expected: PublicKeyTypes | None = None) -> PublicKey:
    """Return the public half of the private key in `pem`; raises `Permanent` as `load_key` does.

    With `expected`, an EC key that states this as its public half is believed without working
    it out anew, which takes most of the time of reading a key (0.2 ms). So a key damaged
    elsewhere may pass.
    """
    if isinstance(expected, ec.EllipticCurvePublicKey):
        found = key_blocks(blocks(pem))
        # RFC 5915 §3: the point stands last, in PKCS #8 too.
        point = expected.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        if len(found) == 1 and found[0].label in _LABELS and found[0].der.endswith(point):
            return expected
    return load_key(pem).public_key()


def key_blocks(found: list[Block]) -> list[Block]:
    """Return those of the blocks that are private keys of any kind."""
    return [block for block in found if block.label.endswith("PRIVATE KEY")]


def public_bytes_of(key: PrivateKey | PublicKeyTypes) -> bytes:
    """Return the DER of the SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): TLSA selector 1."""
    public = key.public_key() if isinstance(key, PrivateKey) else key
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """Return the hash a key signs requests with: as strong as its curve, SHA-256 for RSA."""
    if isinstance(key, rsa.RSAPrivateKey) or key.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if key.key_size <= 384 else hashes.SHA512()
