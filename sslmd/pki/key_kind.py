"""The kind of a public key in words. Apart from `keys`: tools that only show keys start sooner."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


def describe_key(public_key: PublicKeyTypes) -> str:
    """Return the kind of a key as `str(KeySpec)` does: "ec secp384r1", "rsa 4096", "ed25519"."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return f"ec {public_key.curve.name}"
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"rsa {public_key.key_size}"
    return type(public_key).__name__.removeprefix("_").removesuffix("PublicKey").lower()
