"""The key of an ACME account, as certbot keeps it: a JWK (RFC 7517) in `private_key.json`.

It never leaves the daemon: `sign` makes the signature of one request (RFC 8555 §6.2, RFC 7515).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sslmd.core.errors import Permanent

# RFC 7518 §3.1, §6.2.1.1: algorithm, curve's name, its bytes, hash.
_CURVES: dict[str, tuple[str, ec.EllipticCurve, int, hashes.HashAlgorithm]] = {
    "P-256": ("ES256", ec.SECP256R1(), 32, hashes.SHA256()),
    "P-384": ("ES384", ec.SECP384R1(), 48, hashes.SHA384()),
    "P-521": ("ES512", ec.SECP521R1(), 66, hashes.SHA512()),
}
_RSA_PARTS = ("n", "e", "d", "p", "q", "dp", "dq", "qi")
_MOST_RSA_BITS = 8192


class AccountKey:
    """A private key, and what is told of it. `alg` as RFC 7518 §3.1 names it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self._key = key
        if isinstance(key, rsa.RSAPrivateKey):
            public = key.public_key().public_numbers()
            self.alg = "RS256"
            self.public: dict[str, str] = {
                "e": _number(public.e, 0),
                "kty": "RSA",
                "n": _number(public.n, 0),
            }
            return
        for name, (alg, curve, size, digest) in _CURVES.items():
            if curve.name == key.curve.name:
                point = key.public_key().public_numbers()
                self.alg, self._size, self._digest = alg, size, digest
                self.public = {
                    "crv": name,
                    "kty": "EC",
                    "x": _number(point.x, size),
                    "y": _number(point.y, size),
                }
                return
        raise ValueError(f"no key of an account has the curve {key.curve.name}")

    @classmethod
    def generate(cls) -> AccountKey:
        """Make a key on P-256."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def of_json(cls, text: bytes) -> AccountKey:
        """Read a private JWK; raises `Permanent` for what is none."""
        try:
            found = json.loads(text)
            if found["kty"] == "RSA":
                return cls(_rsa_of(found))
            _, curve, _, _ = _CURVES[found["crv"]]
            x, y, d = (_int(found[part]) for part in ("x", "y", "d"))
            public = ec.EllipticCurvePublicNumbers(x, y, curve)
            return cls(ec.EllipticCurvePrivateNumbers(d, public).private_key())
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
            raise Permanent("it holds no private key as certbot writes it (JWK)") from None

    def to_json(self) -> bytes:
        """Return the private JWK, as certbot reads it."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            numbers = self._key.private_numbers()
            values = (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
            private = {
                name: _number(value, 0) for name, value in zip(_RSA_PARTS[2:], values, strict=True)
            }
        else:
            private = {"d": _number(self._key.private_numbers().private_value, self._size)}
        return json.dumps({**self.public, **private}, sort_keys=True).encode()

    @property
    def thumbprint(self) -> str:
        """Its thumbprint (RFC 7638), of which answers to challenges are made (RFC 8555 §8.1)."""
        text = json.dumps(self.public, sort_keys=True, separators=(",", ":"))
        return b64(hashlib.sha256(text.encode()).digest())

    @property
    def ident(self) -> str:
        """The name that certbot gives to the folder of its account."""
        public = self._key.public_key()
        text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.md5(text, usedforsecurity=False).hexdigest()

    def sign(self, protected: str, payload: str) -> str:
        """Return the signature of two base64url texts (RFC 7515 §5.1)."""
        text = f"{protected}.{payload}".encode("ascii")
        if isinstance(self._key, rsa.RSAPrivateKey):
            return b64(self._key.sign(text, padding.PKCS1v15(), hashes.SHA256()))
        both = decode_dss_signature(self._key.sign(text, ec.ECDSA(self._digest)))
        return b64(b"".join(one.to_bytes(self._size, "big") for one in both))


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _rsa_of(found: dict[str, Any]) -> rsa.RSAPrivateKey:
    n, e, d, p, q, dp, dq, qi = (_int(found[part]) for part in _RSA_PARTS)
    if n.bit_length() > _MOST_RSA_BITS:
        raise ValueError
    public = rsa.RSAPublicNumbers(e, n)
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key()


def _int(text: str) -> int:
    return int.from_bytes(
        base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), "big"
    )


def _number(value: int, size: int) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))
