"""Diffie-Hellman groups for servers that still offer DHE: those of RFC 7919, never own ones.

The standardized groups are safe primes that everyone has looked at, and need no minutes of
generating. RFC 7919 §A gives them as a formula, which is what is computed here.
"""

from __future__ import annotations

import base64
from functools import cache

from sslmd.core.errors import Permanent

# Bits -> X of p = 2^b - 2^(b-64) + (floor(2^(b-130) e) + X) 2^64 - 1: RFC 7919 §A.1 to §A.3.
_OFFSETS = {2048: 560316, 3072: 2625351, 4096: 5736041}
_GENERATOR = 2
_INTEGER, _SEQUENCE = 0x02, 0x30  # tags of X.690
_GUARD_BITS = 64  # the series is cut off: each term may be short of one unit in the last place


@cache
def dhparam(bits: int) -> bytes:
    """Return the PEM ("DH PARAMETERS", PKCS #3) of ffdhe2048, ffdhe3072 or ffdhe4096.

    Raises `Permanent` for other sizes.
    """
    if bits not in _OFFSETS:
        sizes = ", ".join(map(str, _OFFSETS))
        raise Permanent(f"RFC 7919 has no group of {bits} bits to offer; choose one of {sizes}")
    der = _tagged(_SEQUENCE, _integer(prime(bits)) + _integer(_GENERATOR))
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join(
        [b"-----BEGIN DH PARAMETERS-----", *lines, b"-----END DH PARAMETERS-----", b""]
    )


def prime(bits: int) -> int:
    """Return the safe prime of the group with that many bits."""
    middle = _e_scaled(bits - 130) + _OFFSETS[bits]
    return (1 << bits) - (1 << (bits - 64)) + (middle << 64) - 1


def _e_scaled(bits: int) -> int:
    """Return floor(2^bits * e), e being the sum of 1/k!."""
    term = total = 1 << (bits + _GUARD_BITS)
    count = 0
    while term:
        count += 1
        term //= count
        total += term
    return total >> _GUARD_BITS


# The few lines of DER (X.690) for DHParameter ::= SEQUENCE { prime INTEGER, base INTEGER } are
# written out, since cryptography is dropping Diffie-Hellman over finite fields.
def _integer(value: int) -> bytes:
    return _tagged(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
