"""How keys, requests and certificates are written: PEM armour (RFC 7468), and in it DER (X.690).

One linear scan finds the blocks of a PEM file, whatever stands around them. It never hands back a
message with content in it, since the content may be a private key (I2).
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
_PARSE_ERROR = re.compile(r"ParseError \{ kind: (\w+)")
_LOCATION = re.compile(r"location: \[([^\]]{0,500})\]")
_KINDS = {
    "ShortData": "it is cut off",
    "ExtraData": "it goes on after its end",
    "InvalidLength": "a wrong length",
    "InvalidTag": "a wrong tag",
    "InvalidValue": "a wrong value",
    "UnexpectedTag": "another tag than expected",
}
_MOST_LOOKED_AT = 2000
_MESSAGE_LIMIT = 200


def damage(err: Exception) -> str:
    """Return what one of `MALFORMED` says, in one short line."""
    text = str(err)[:_MOST_LOOKED_AT]
    if found := _PARSE_ERROR.search(text):
        place = _LOCATION.search(text)
        where = [
            part.split("::")[-1] for part in re.findall(r'"([^"]*)"', place[1] if place else "")
        ]
        what = _KINDS.get(found[1], found[1])
        return f"{what}, in {' / '.join(where)}" if where else what
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


# --- pieces of certificates, byte by byte as they stand there (RFC 5280 §4.1) -------------------
# For certificates that were parsed, and so are of the right form.


_VERSION_TAG = 0xA0
_SEQUENCE_TAG = 0x30

# Where they stand in a TBSCertificate, counted from the serial number: before them is the version,
# which may be left out.
_SIGNATURE = 1
_ISSUER = 2
_SUBJECT = 4
_KEY = 5


def issuer_der(der: bytes) -> bytes:
    """Return the issuer's name in a certificate."""
    return _field(der, _ISSUER)


def subject_der(der: bytes) -> bytes:
    """Return the subject's name in a certificate."""
    return _field(der, _SUBJECT)


def key_der(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo in a certificate."""
    return _field(der, _KEY)


def spells_out_curve(der: bytes) -> bool:
    """Whether the key in a certificate, an EC key, has a curve that is not named but described."""
    key = key_der(der)
    begin, _ = _element(key, 0)  # SubjectPublicKeyInfo
    begin, _ = _element(key, begin)  # AlgorithmIdentifier
    _, begin = _element(key, begin)  # its OID; parameters follow
    return key[begin] == _SEQUENCE_TAG


def signature_algorithms(der: bytes) -> tuple[bytes, bytes]:
    """Return how a certificate says, inside and outside, that it was signed (RFC 5280 §4.1.1.2)."""
    begin, _ = _element(der, 0)
    _, begin = _element(der, begin)
    _, end = _element(der, begin)
    return _field(der, _SIGNATURE), der[begin:end]


def whole_element(der: bytes) -> bytes:
    """Return the first element of `der` with its header; raise `Permanent` if it is cut off."""
    try:
        _, end = _element(der, 0)
    except IndexError:
        raise Permanent("cut off") from None
    if end > len(der):
        raise Permanent("cut off")
    return der[:end]


def content(der: bytes) -> bytes:
    """Return what is in the first element of `der`; raise `Permanent` if it is cut off."""
    one = whole_element(der)
    return one[_element(one, 0)[0] :]


def _field(der: bytes, number: int) -> bytes:
    begin, _ = _element(der, 0)  # Certificate
    begin, _ = _element(der, begin)  # TBSCertificate
    for _ in range(number + (der[begin] == _VERSION_TAG)):
        _, begin = _element(der, begin)
    _, end = _element(der, begin)
    return der[begin:end]


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at `at` begins and ends (X.690 §8.1)."""
    length = der[at + 1]
    begin = at + 2
    if length > 127:
        more = begin + (length & 127)
        length = int.from_bytes(der[begin:more], "big")
        begin = more
    return begin, begin + length
