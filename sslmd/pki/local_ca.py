"""The site's own CA: a request and what the configuration asks for become a certificate.

The request gives only the public key. Names, extensions and life come from the configuration
(RFC 5280), and never reach beyond those of the signing certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from sslmd.core.errors import Permanent
from sslmd.core.names import shown
from sslmd.core.plain import clock
from sslmd.core.spec import LONGEST_SERVER_LIFE, CaOptions, CertSpec, asks_for
from sslmd.pki.chain import (
    check_chain,
    check_may_issue,
    find,
    is_self_issued,
    key_fits,
    load_cert,
    split_pem,
)
from sslmd.pki.csr import alternative_names, load_csr, names_asked, subject_name
from sslmd.pki.identity import describe_key, parts_of
from sslmd.pki.keys import PrivateKey, PublicKey, load_key
from sslmd.pki.pem import MALFORMED, damage, issuer_der, subject_der

# Clocks of clients run behind: a certificate that is a second old must not be "not yet valid".
_BACKDATE = timedelta(minutes=5)
# What is left of the signer must outlast the roll-out of what it signs.
_LEAST_LIFE = timedelta(hours=1)
# RFC 5280 §4.1.2.5: a certificate without a real end says the end of the year 9999.
_NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

_Hash = (
    hashes.SHA224
    | hashes.SHA256
    | hashes.SHA384
    | hashes.SHA512
    | hashes.SHA3_224
    | hashes.SHA3_256
    | hashes.SHA3_384
    | hashes.SHA3_512
)
_DIGESTS: dict[str, type[_Hash]] = {
    digest.name.replace("-", "_"): digest for digest in get_args(_Hash)
}
_USAGES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
}
_TIME_STAMPING = "timeStamping"


@dataclass(frozen=True, slots=True)
class SigningCa:
    """A CA that signs: its key and certificate, the issuers above it, and its `[CA]` options.

    `chain_pem` holds the issuers nearest first, up to the root; empty for a root.
    """

    key_pem: bytes = field(repr=False)
    cert_pem: bytes
    chain_pem: bytes
    options: CaOptions


@dataclass(frozen=True, slots=True)
class SelfSigning:
    """The certificate signs itself, with the key of its request: a root."""

    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate, and its issuers nearest first up to the root (empty for a root)."""

    cert_pem: bytes
    chain_pem: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """What clients know a CA by, taken from the certificate that it has: see `known_as`."""

    subject: x509.Name
    identifier: x509.SubjectKeyIdentifier | None
    constraints: x509.NameConstraints | None = None
    path_len: int | None = None


def known_as(spec: CertSpec, cert_pem: bytes, key: PublicKey) -> Known | None:
    """Return what a CA's next certificate keeps of the one that it has, None if nothing.

    The name stays as it is encoded there: with the same key whatever `spec` asks for, with another
    one if it asks for the same parts. The key identifier stays with the key, because what the CA
    signed points at it (RFC 5280 §4.2.1.1). So do limits on names and on levels of CAs below it,
    which no service file has keys for: a renewal must not widen what it may sign. Raises
    `Permanent` for a damaged certificate.
    """
    cert = load_cert(cert_pem)
    try:
        same_key = key_fits(key, cert)
        if not same_key and not asks_for(spec.subject, parts_of(cert.subject)):
            return None
        if not same_key:
            return Known(cert.subject, None)
        levels = find(cert, x509.BasicConstraints)
        return Known(
            cert.subject,
            find(cert, x509.SubjectKeyIdentifier),
            find(cert, x509.NameConstraints),
            levels.path_length if levels is not None else None,
        )
    except MALFORMED as err:
        raise Permanent(
            f"its certificate in use is damaged: {damage(err)}", about=spec.id
        ) from None


def sign(
    csr_pem: bytes,
    spec: CertSpec,
    signer: SigningCa | SelfSigning,
    *,
    now: datetime,
    known: Known | None = None,
) -> Issued:
    """Issue the certificate that `spec` asks for, with the public key of the request.

    It is valid from five minutes before `now` (aware, UTC) for as long as the signer's options
    say (for a root, those of `spec.ca`), but never outside the signer's own validity. `known`: of a
    CA, what stays as it was. Raises `Permanent` when the request is not for `spec`, or the signer
    cannot sign it.
    """
    request = _checked_request(csr_pem, spec)
    if isinstance(signer, SelfSigning):
        return _self_signed(request, spec, signer, now, known)
    key, issuers = _checked_signer(signer, spec, now)
    nearest = issuers[0]
    # What points at the signer is its own subject key identifier (RFC 5280 §4.2.1.1). Its authority
    # key identifier has no say, wrong as it is in the CAs that ssl-mgr made.
    if (identifier := find(nearest, x509.SubjectKeyIdentifier)) is not None:
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    else:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    end = _end(now, signer.options.life)
    if spec.is_for_servers() and signer.options.life <= LONGEST_SERVER_LIFE:
        # The earlier begin may not make it too long. RFC 5280 §4.1.2.5: the last second is part of
        # the life.
        end = min(end, _start(now) + LONGEST_SERVER_LIFE - timedelta(seconds=1))
    end = min(end, *(issuer.not_valid_after_utc for issuer in _needed(issuers)))
    builder = (
        _described(request, spec, known)
        .issuer_name(nearest.subject)
        .not_valid_before(max(_start(now), nearest.not_valid_before_utc))
        .not_valid_after(end)
        .add_extension(authority, critical=False)
    )
    cert = builder.sign(key, _digest(signer.options))
    _check_encoding(cert, known, nearest, spec)
    # What leaves this function verifies; a wrong file beside the signer shows here at the latest.
    try:
        check_chain(cert, issuers)
    except Permanent as err:
        raise Permanent(f"the chain of the signing CA is broken: {err}", about=spec.id) from None
    chain_pem = b"".join(issuer.public_bytes(Encoding.PEM) for issuer in issuers)
    return Issued(cert.public_bytes(Encoding.PEM), chain_pem)


def _check_encoding(
    cert: x509.Certificate, known: Known | None, issuer: x509.Certificate | None, spec: CertSpec
) -> None:
    """Check that names came out byte for byte: some verifiers compare nothing else."""
    der = cert.public_bytes(Encoding.DER)
    subject, above = subject_der(der), issuer_der(der)
    if known is not None and subject != known.subject.public_bytes():
        raise Permanent(
            "the name of its certificate cannot be kept as it is encoded", about=spec.id
        )
    if above != (subject if issuer is None else subject_der(issuer.public_bytes(Encoding.DER))):
        raise Permanent(
            "the name of the signing CA cannot be written as it is encoded", about=spec.id
        )


def _self_signed(
    request: x509.CertificateSigningRequest,
    spec: CertSpec,
    signer: SelfSigning,
    now: datetime,
    known: Known | None,
) -> Issued:
    if spec.ca is None:
        raise Permanent(f"{spec.id} is no CA and cannot sign itself; name its signing_ca")
    key = load_key(signer.key_pem)
    if not key_fits(key.public_key(), request):
        raise Permanent("the private key does not match the request", about=spec.id)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    if known is not None and known.identifier is not None:
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known.identifier)
    builder = (
        _described(request, spec, known)
        .issuer_name(known.subject if known else subject_name(spec))
        .not_valid_before(_start(now))
        .not_valid_after(_end(now, spec.ca.life))
        .add_extension(authority, critical=False)
    )
    cert = builder.sign(key, _digest(spec.ca))
    _check_encoding(cert, known, None, spec)
    return Issued(cert.public_bytes(Encoding.PEM), b"")


def _checked_request(csr_pem: bytes, spec: CertSpec) -> x509.CertificateSigningRequest:
    try:
        request = load_csr(csr_pem)
        proven = request.is_signature_valid
        asked = names_asked(request, is_ca=spec.ca is not None)
    except Permanent as err:
        raise Permanent(f"the request cannot be used: {err}", about=spec.id) from None
    except MALFORMED as err:
        raise Permanent(f"the request is damaged: {damage(err)}", about=spec.id) from None
    if not proven:
        raise Permanent("the request is not signed by its own key", about=spec.id)
    wanted = {str(name) for name in spec.all_names()}
    if spec.ca is None and asked != wanted:
        extra, missing = ", ".join(sorted(asked - wanted)), ", ".join(sorted(wanted - asked))
        detail = "; ".join(
            [f"does not have {shown(missing)}"] * bool(missing)
            + [f"has {shown(extra)}"] * bool(extra)
        )
        raise Permanent(
            f"the request asks for other names than configured: {detail}", about=spec.id
        )
    return request


def _checked_signer(
    signer: SigningCa, spec: CertSpec, now: datetime
) -> tuple[PrivateKey, list[x509.Certificate]]:
    """Return the signer's key, and its certificate followed by the issuers above it."""
    try:
        key, cert = load_key(signer.key_pem), load_cert(signer.cert_pem)
        # A root may be listed as its own issuer; once is enough.
        issuers = list(dict.fromkeys([cert, *split_pem(signer.chain_pem)]))
    except Permanent as err:
        raise Permanent(f"the signing CA cannot be used: {err}", about=spec.id) from None
    label = f"{spec.id}: the signing CA"
    labels = [label, *(f"{label}: certificate {one} above it" for one in range(1, len(issuers)))]
    for issuer, which in zip(_needed(issuers), labels, strict=False):
        start, end = issuer.not_valid_before_utc, issuer.not_valid_after_utc
        if now < start:
            raise Permanent(f"{which} is not valid before {clock(start)}")
        if now > end:
            raise Permanent(f"{which} expired at {clock(end)}; renew it first")
        if end - now < _LEAST_LIFE:
            raise Permanent(
                f"{which} expires at {clock(end)}, in less than "
                f"{_LEAST_LIFE.total_seconds() / 60:.0f} minutes; renew it first"
            )
    if not key_fits(key.public_key(), cert):
        raise Permanent(f"{label}: its private key does not match its certificate")
    # Every issuer has to allow as many CAs below itself as there will be.
    between = 0 if spec.ca is None else 1
    try:
        for issuer, which in zip(issuers, labels, strict=True):
            check_may_issue(issuer, which, between=between)
            between += not is_self_issued(issuer)
    except MALFORMED as err:
        raise Permanent(f"{label}: a certificate of its chain is damaged: {damage(err)}") from None
    return key, issuers


def _needed(issuers: list[x509.Certificate]) -> list[x509.Certificate]:
    """Return the signer and the CAs above it that servers give to clients with what it signs.

    Clients have the root; what follows it is for those that trust another one. A root that signs
    comes alone.
    """
    return list(takewhile(lambda one: not is_self_issued(one), issuers)) or issuers[:1]


def _described(
    request: x509.CertificateSigningRequest, spec: CertSpec, known: Known | None
) -> x509.CertificateBuilder:
    """Return all of the certificate that the signer has no part in."""
    public = request.public_key()
    if not isinstance(public, PublicKey):
        kind = describe_key(public)
        raise Permanent(f"the request has a key of the kind {kind}, not EC or RSA", about=spec.id)
    subject = known.subject if known else subject_name(spec)
    names: list[x509.GeneralName] = [*(alternative_names(spec) or ())]
    if spec.mailbox():  # which no request asks for
        try:
            names.append(x509.RFC822Name(spec.mailbox()))
        except ValueError as err:
            raise Permanent(f"email: {shown(spec.mailbox())}: {err}", about=spec.id) from None
    identifier = known.identifier if known else None
    levels = spec.ca.path_len if spec.ca is not None else None
    if spec.ca is not None and known is not None and known.path_len is not None:
        levels = max(known.path_len, known.path_len if levels is None else levels)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())  # RFC 5280 §4.1.2.2: positive, 20 octets
        .add_extension(x509.BasicConstraints(spec.ca is not None, levels), critical=True)
        .add_extension(_key_usage(spec, public), critical=True)
        .add_extension(
            identifier or x509.SubjectKeyIdentifier.from_public_key(public), critical=False
        )
    )
    if known is not None and known.constraints is not None:
        builder = builder.add_extension(known.constraints, critical=True)
    if spec.ca is None and spec.ext_key_usage:
        # RFC 3161 §2.3: critical, and the only one.
        usages = _ext_key_usage(spec)
        builder = builder.add_extension(usages, critical=_TIME_STAMPING in spec.ext_key_usage)
    if names:
        # RFC 5280 §4.2.1.6: critical if nothing else names the subject.
        alternative = x509.SubjectAlternativeName(names)
        builder = builder.add_extension(alternative, critical=not list(subject))
    elif not list(subject):
        raise Permanent(f"{spec.id} has neither a subject nor a name; set CN or sans")
    return builder


def _key_usage(spec: CertSpec, public: PublicKey) -> x509.KeyUsage:
    is_ca = spec.ca is not None
    # keyEncipherment is for the RSA key exchange of TLS up to 1.2 and for mail to the holder; a
    # time-stamping certificate that has it is refused by OpenSSL.
    enciphers = isinstance(public, rsa.RSAPublicKey) and _TIME_STAMPING not in spec.ext_key_usage
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=not is_ca and enciphers,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _ext_key_usage(spec: CertSpec) -> x509.ExtendedKeyUsage:
    unknown = [usage for usage in spec.ext_key_usage if usage not in _USAGES]
    if unknown:
        raise Permanent(
            f"ext_key_usage has {shown(unknown[0])}; choose from {', '.join(_USAGES)}",
            about=spec.id,
        )
    usages = tuple(dict.fromkeys(spec.ext_key_usage))
    if _TIME_STAMPING in usages and len(usages) > 1:
        raise Permanent(
            "timeStamping must be the only ext_key_usage (RFC 3161 §2.3)", about=spec.id
        )
    return x509.ExtendedKeyUsage([_USAGES[usage] for usage in usages])


def _start(now: datetime) -> datetime:
    return (now - _BACKDATE).replace(microsecond=0)


def _end(now: datetime, life: timedelta) -> datetime:
    whole = now.replace(microsecond=0)
    return whole + life if life < _NEVER - whole else _NEVER


def _digest(options: CaOptions) -> _Hash:
    digest = _DIGESTS.get(options.digest.lower())
    if digest is None:
        raise Permanent(
            f"digest: {shown(options.digest)} is not offered; choose from {', '.join(_DIGESTS)}"
        )
    return digest()
