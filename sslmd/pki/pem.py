"""PEM armour (RFC 7468): find the blocks of a file, whatever stands around them.

One linear scan serves keys, requests and certificates. It never hands back a message with
content in it, since the content may be a private key (I2).
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm

from sslmd.core.errors import Permanent

# A chain with every intermediate a CA ever had is some 100 kB; what is larger is no PEM file,
# and is not searched through.
MAX_BYTES = 1024 * 1024

CERTIFICATE = "CERTIFICATE"
# RFC 7468 §7: "NEW CERTIFICATE REQUEST" is an old spelling that parsers should accept.
REQUESTS = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")

# What parsing a damaged certificate or request raises, beside ValueError. Extensions are parsed
# only when they are looked at, so that this surrounds the looking too.
MALFORMED = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InternalError,  # OpenSSL refuses what the parser let pass: an Ed25519 key that is too short
    KeyError,  # a number that its tables do not have: a TLS feature that is not known yet
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

# The parser's words for programmers: kind of the mistake, and the fields that lead to it.
_PARSE_ERROR = re.compile(r"ParseError \{ kind: (\w+).*?(?:location: \[(.*)\] )?\}")
_MOST_LOOKED_AT = 2000
_MESSAGE_LIMIT = 200


def damage(err: Exception) -> str:
    """Return what one of `MALFORMED` says, in one short line."""
    found = _PARSE_ERROR.search(str(err)[:_MOST_LOOKED_AT])
    if found:
        where = [part.split("::")[-1] for part in re.findall(r'"([^"]*)"', found[2] or "")]
        return f"{found[1]} in {' / '.join(where)}" if where else found[1]
    if isinstance(err, InternalError):
        return "OpenSSL cannot use it"  # what it says is for programmers of that library
    if isinstance(err, KeyError):
        return f"the number {err} is not known here"
    return " ".join(str(err).split())[:_MESSAGE_LIMIT] or type(err).__name__


# Base64 has no hyphen, so that no attempt to match looks further than to the next one.
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----([^-]*)-----END \1-----")
_BEGIN = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block: its label ("CERTIFICATE") and its decoded content."""

    label: str
    der: bytes


def blocks(pem: bytes) -> list[Block]:
    """Return the blocks of `pem` in their order; text between them is skipped.

    Raises `Permanent` for what is too large, cut off in a block, or not base64.
    """
    found, problem = whole_blocks(pem)
    if problem:
        raise Permanent(problem)
    return found


def whole_blocks(pem: bytes) -> tuple[list[Block], str]:
    """Return the blocks that are whole, and what is wrong with others ("" for nothing).

    Raises `Permanent` for what is too large.
    """
    if len(pem) > MAX_BYTES:
        raise Permanent(f"it has {len(pem)} bytes, far too many for a PEM file")
    found: list[Block] = []
    problem = ""
    matches = 0
    for match in _BLOCK.finditer(pem):
        matches += 1
        label = match[1].decode("ascii")
        try:
            found.append(Block(label, binascii.a2b_base64(match[2])))
        except binascii.Error:
            problem = problem or f"the {label} in it is not base64"
    if matches != pem.count(_BEGIN):
        problem = problem or "a PEM block in it is cut off or damaged"
    return found, problem


def only_block(pem: bytes, labels: tuple[str, ...]) -> bytes:
    """Return the content of the one block of `pem` with one of `labels`; raise `Permanent`."""
    found = [block.der for block in blocks(pem) if block.label in labels]
    if len(found) != 1:
        count = f"{len(found)} PEM blocks" if found else "no PEM block"
        raise Permanent(f"it holds {count} of the kind {labels[0]}")
    return found[0]
