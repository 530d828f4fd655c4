"""What is in a file of keys, requests and certificates: facts to show, never the secret ones.

Facts are an ordered mapping of short names to text or lists of text; `KIND` says what it is. What
is damaged or carries a wrong label is told in place of facts, never raised: somebody who looks
into a broken file wants to hear of everything else in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from sslmd.core.errors import Permanent
from sslmd.pki.identity import describe_key
from sslmd.pki.parsed import oid_name, unknown_critical
from sslmd.pki.pem import (
    CERTIFICATE,
    MALFORMED,
    MAX_BYTES,
    REQUESTS,
    Block,
    content,
    damage,
    whole_blocks,
    whole_element,
)

KIND = "kind"
PRIVATE = "private key"

# `openssl x509 -trustout`: a certificate, and behind it what it is trusted for (x509(1)).
_TRUSTED = ("TRUSTED CERTIFICATE", "X509 CERTIFICATE")
_ENCRYPTED = "ENCRYPTED PRIVATE KEY"
# The traditional form says it in a header (RFC 1421 §4.6); with one, it is no PEM of RFC 7468.
_LOCKED = re.compile(
    rb"-----BEGIN ([A-Z]{1,9}) PRIVATE KEY-----\r?\nProc-Type: 4,ENCRYPTED\r?\n"
    rb"(?:[A-Za-z0-9-]+:[^\r\n]*\r?\n)*+([^-]*)-----END \1 PRIVATE KEY-----"
)
_AS_LOCKED = rb"-----BEGIN ENCRYPTED PRIVATE KEY-----\n\2-----END ENCRYPTED PRIVATE KEY-----"
_PUBLIC = "PUBLIC KEY"
_DH = "DH PARAMETERS"
# A sequence (X.690 §8.9), which every key, request and certificate is.
_SEQUENCE = 0x30

# Strings that are UTF-8 or ASCII: UTF8String, PrintableString, IA5String.
_STRINGS = (b"\x0c", b"\x13", b"\x16")

Fact: TypeAlias = "str | list[str]"


@dataclass(frozen=True, slots=True)
class Described:
    """One thing in a file. `spki`: DER of its public key, empty where there is none.

    `times` are the facts that are times, as `facts` has them in UTC.

    Of a certificate, in days: `days_left` until it ends, negative when it has; `life` from its
    begin to its end; `age` since its begin, which is when it was issued (public CAs set it an hour
    or so earlier), negative when that is to come. `error`: why nothing more is known of it.
    """

    facts: dict[str, Fact] = field(default_factory=dict)
    spki: bytes = b""
    error: str = ""
    days_left: float | None = None
    life: float | None = None
    age: float | None = None
    times: dict[str, datetime] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What it is: "certificate", "private key"."""
        return str(self.facts.get(KIND, ""))


def describe(data: bytes, now: datetime) -> list[Described]:
    """Return what is in a file, PEM or DER, in its order.

    Raises `Permanent` where nothing in it is any of what we know.
    """
    if data.lstrip()[:1] == bytes((_SEQUENCE,)) and b"-----BEGIN " not in data:
        if (one := _of_any_kind(data, now)) is None:
            raise Permanent(
                "it is no PEM file, and no certificate, request or key in DER "
                "(PKCS #12 is shown by openssl pkcs12 -info -in FILE)"
            )
        return [one]
    if len(data) <= MAX_BYTES:
        data = _LOCKED.sub(_AS_LOCKED, data)
    found, problem = whole_blocks(data)
    if not found:
        nothing = "no PEM block is in it (-----BEGIN …-----)"
        if not data.strip():
            nothing = "it is empty"
        elif b"\0" in data:
            nothing = "it is binary, and no certificate, request or key in DER"
        raise Permanent(problem or nothing)
    described = [_of_block(block, now) for block in found]
    return [*described, Described({KIND: "damage"}, error=problem)] if problem else described


def _of_block(block: Block, now: datetime) -> Described:
    label = block.label
    if label == _ENCRYPTED:
        error = "protected by a passphrase; openssl pkey -in KEY shows it to who knows that"
        return Described({KIND: PRIVATE}, error=error)
    read = _READERS.get(label)
    if read is None:
        return Described({KIND: label, "size": f"{len(block.der)} bytes"}, error="not known here")
    try:
        return _tried(read, block.der, now)
    except Permanent as err:
        other = _of_any_kind(block.der, now)
        error = f"labelled {label}, but it is a {other.kind}" if other else str(err)
        return Described({KIND: label.lower().removeprefix("new ")}, error=error)


def _of_any_kind(der: bytes, now: datetime) -> Described | None:
    for read in (_cert, _request, _private, _public):
        with suppress(Permanent):
            return _tried(read, der, now)
    return None


def _tried(read: _Reader, der: bytes, now: datetime) -> Described:
    try:
        return read(der, now)
    except MALFORMED as err:
        # Without the cause: nobody promises that a parser's message holds no content (I2).
        is_key = read in (_private, _public)
        what = "damaged, or of an unknown kind" if is_key else f"damaged: {damage(err)}"
        raise Permanent(what) from None


# --- certificates ---------------------------------------------------------------------------


def _cert(der: bytes, now: datetime) -> Described:
    cert = x509.load_der_x509_certificate(der)
    described = _described(_cert_facts(cert, now), cert.public_key)
    begin, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    lengths = (end - now, end - begin, now - begin)
    left, life, age = (round(length / timedelta(days=1), 2) for length in lengths)
    times = {"not before": begin, "not after": end}
    return replace(described, days_left=left, life=life, age=age, times=times)


def _trusted(der: bytes, now: datetime) -> Described:
    one = whole_element(der)
    described = _cert(one, now)
    facts = dict(described.facts)
    facts[KIND] = "trusted certificate"
    facts["trust"] = "OpenSSL's trust settings follow it" if len(der) > len(one) else "none set"
    return replace(described, facts=facts)


def trusted_der(block: Block) -> bytes:
    """Return the certificate of a block, without trust settings behind it; b"" for another block.

    Raises `Permanent` for one that is cut off.
    """
    if block.label in _TRUSTED:
        return whole_element(block.der)
    return block.der if block.label == CERTIFICATE else b""


def _cert_facts(cert: x509.Certificate, now: datetime) -> dict[str, Fact]:
    begin, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    validity = f"{_days(end - now)} left"
    if now < begin:
        validity = f"not yet, {_days(begin - now)} to go"
    elif now > end:
        validity = f"expired {_days(now - end)} ago"
    # What stands in the certificate; RFC 5280 forbids negative ones, some exist.
    number = cert.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True).lstrip(b"\0")
    return {
        KIND: "certificate",
        "subject": _name(cert.subject),
        "issuer": _name(cert.issuer),
        "names": _alternative(cert.extensions),
        "not before": f"{begin:%Y-%m-%d %H:%M:%S} UTC",
        "not after": f"{end:%Y-%m-%d %H:%M:%S} UTC",
        "life": _days(end - begin),
        "issued": f"{_days(now - begin)} ago" if begin <= now else f"in {_days(begin - now)}",
        "validity": validity,
        "serial": _colons(serial or b"\0"),
        "signature": oid_name(cert.signature_algorithm_oid),
        **_extensions(cert.extensions),
        "sha256": _colons(cert.fingerprint(hashes.SHA256())),
        "sha1": _colons(cert.fingerprint(hashes.SHA1())),  # noqa: S303  (told, not relied on)
    }


def _days(length: timedelta) -> str:
    days = length / timedelta(days=1)
    return f"{days:.1f} days" if days < 10 else f"{days:.0f} days"


def _extensions(extensions: x509.Extensions) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for extension in extensions:
        value = extension.value
        critical = ["critical"] if extension.critical else []
        if isinstance(value, x509.BasicConstraints):
            below = value.path_length
            some = "" if below is None else f", with {below} levels of CAs below it"
            facts["ca"] = f"yes{some}" if value.ca else "no"
        elif isinstance(value, x509.KeyUsage):
            usages = [name for attribute, name in _USAGES.items() if getattr(value, attribute)]
            if value.key_agreement:
                usages += ["encipherOnly"] if value.encipher_only else []
                usages += ["decipherOnly"] if value.decipher_only else []
            facts["usage"] = [*usages, *critical]
        elif isinstance(value, x509.ExtendedKeyUsage):
            facts["extended usage"] = [oid_name(usage) for usage in value] + critical
        elif isinstance(value, x509.SubjectKeyIdentifier):
            facts["subject key id"] = _colons(value.digest)
        elif isinstance(value, x509.AuthorityKeyIdentifier):
            facts["issuer key id"] = _colons(value.key_identifier or b"") or "not given"
        elif isinstance(value, x509.TLSFeature):
            facts["must staple"] = "yes"
        elif isinstance(value, x509.NameConstraints):
            facts["permitted names"] = [_general(one) for one in value.permitted_subtrees or ()]
            facts["excluded names"] = [_general(one) for one in value.excluded_subtrees or ()]
    facts["unknown"] = [f"critical {extension}" for extension in unknown_critical(extensions)]
    return facts


# RFC 5280 §4.2.1.3, in its order; the last two say something only where keyAgreement is set.
_USAGES = {
    "digital_signature": "digitalSignature",
    "content_commitment": "nonRepudiation",
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}


def _alternative(extensions: x509.Extensions) -> list[str]:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [_general(name) for name in names]


def _general(name: x509.GeneralName) -> str:
    value = name.value
    if isinstance(name, x509.DNSName | x509.IPAddress):
        return str(value)
    if isinstance(name, x509.RFC822Name):
        return f"email:{value}"
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"uri:{value}"
    if isinstance(name, x509.DirectoryName):
        return f"dirname:{_name(value)}"
    if isinstance(name, x509.RegisteredID):
        return f"oid:{value.dotted_string}"
    if isinstance(name, x509.OtherName):
        # Whatever its type says: text where it is text (X.690 §8.23), else as it stands there.
        text = ""
        with suppress(Permanent, UnicodeDecodeError):
            text = content(value).decode() if value[:1] in _STRINGS else ""
        return f"other:{name.type_id.dotted_string}={text or value.hex()}"
    return type(name).__name__


# --- requests and keys ----------------------------------------------------------------------


def _request(der: bytes, _now: datetime) -> Described:
    request = x509.load_der_x509_csr(der)
    try:
        signed = "right" if request.is_signature_valid else "WRONG"
    except (InvalidSignature, *MALFORMED):
        signed = "cannot be checked"
    facts: dict[str, Fact] = {
        KIND: "certificate request",
        "subject": _name(request.subject),
        "names": _alternative(request.extensions),
        "signature": f"{oid_name(request.signature_algorithm_oid)}, {signed}",
        **_extensions(request.extensions),
    }
    return _described(facts, request.public_key)


def _private(der: bytes, _now: datetime) -> Described:
    key = serialization.load_der_private_key(
        der, password=None, unsafe_skip_rsa_key_validation=True
    )
    return _described({KIND: PRIVATE}, key.public_key)


def _public(der: bytes, _now: datetime) -> Described:
    return _described({KIND: "public key"}, lambda: serialization.load_der_public_key(der))


def _revoked(der: bytes, _now: datetime) -> Described:
    crl = x509.load_der_x509_crl(der)
    return Described({KIND: "list of revoked certificates", "issuer": _name(crl.issuer)})


def _dh(der: bytes, _now: datetime) -> Described:
    """PKCS #3: a sequence that begins with the prime."""
    try:
        bits = int.from_bytes(content(content(der)), "big").bit_length()
    except Permanent:
        raise Permanent("damaged") from None
    return Described({KIND: "Diffie-Hellman group", "size": f"{bits} bits"})


def _described(facts: dict[str, Fact], public_key: Callable[[], PublicKeyTypes]) -> Described:
    """Add what the public key tells: its kind, and what a TLSA record of it is made of."""
    try:
        key = public_key()
        spki = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except UnsupportedAlgorithm:
        return Described({**facts, "key": "of an unknown kind"})
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    known = {"key": describe_key(key), "tlsa 3 1 1": digest.finalize().hex()}
    return Described({**facts, **known}, spki)


_Reader: TypeAlias = Callable[[bytes, datetime], Described]

_READERS: dict[str, _Reader] = {
    CERTIFICATE: _cert,
    **dict.fromkeys(_TRUSTED, _trusted),
    **dict.fromkeys(REQUESTS, _request),
    **dict.fromkeys(("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"), _private),
    _PUBLIC: _public,
    _DH: _dh,
    "EC PARAMETERS": lambda _der, _now: Described({KIND: "EC parameters"}),
    "X509 CRL": _revoked,
}


def _name(name: x509.Name) -> str:
    return name.rfc4514_string() or "(empty)"


def _colons(data: bytes) -> str:
    return data.hex(":").upper()


# --- what belongs together ------------------------------------------------------------------


def same_key(found: Sequence[tuple[str, Described]]) -> Iterator[list[str]]:
    """Yield the labels of those that have one key, where they are more than one."""
    by_key: dict[bytes, list[str]] = {}
    for label, one in found:
        if one.spki:
            by_key.setdefault(one.spki, []).append(label)
    yield from (labels for labels in by_key.values() if len(labels) > 1)
