"""Certificate signing requests (RFC 2986): what a certificate should say, signed by its key."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sslmd.core.errors import Permanent
from sslmd.core.names import DomainName, san_or_none, shown
from sslmd.core.spec import AcmeCa, CertSpec
from sslmd.pki.keys import hash_for, load_key
from sslmd.pki.pem import MALFORMED, REQUESTS, damage, only_block

_CN_MAX = 64  # characters: X.520, ub-common-name; RFC 5280, appendix A


def subject_name(spec: CertSpec) -> x509.Name:
    """Return the distinguished name of `spec`, from the country down; empty parts left out.

    A leaf's common name that is too long is left out, since its subject alternative names say
    it all; raises `Permanent` for other parts that X.509 cannot hold.
    """
    if not spec.subject.email.isascii():
        # RFC 5280, appendix A.1: emailAddress is an IA5String.
        raise Permanent(f"email: {shown(spec.subject.email)} has characters beyond ASCII")
    parts = (
        (NameOID.COUNTRY_NAME, "C", spec.subject.country),
        (NameOID.STATE_OR_PROVINCE_NAME, "ST", spec.subject.state),
        (NameOID.LOCALITY_NAME, "L", spec.subject.locality),
        (NameOID.ORGANIZATION_NAME, "O", spec.subject.organization),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "OU", spec.subject.unit),
        (NameOID.COMMON_NAME, "CN", _common_name(spec)),
        (NameOID.EMAIL_ADDRESS, "email", spec.subject.email),
    )
    found = []
    for oid, key, text in parts:
        try:
            found += [x509.NameAttribute(oid, text)] if text else []
        except ValueError as err:
            problem = f"{key}: {shown(text)} does not fit into a certificate: {err}"
            raise Permanent(problem) from None
    return x509.Name(found)


def _common_name(spec: CertSpec) -> str:
    if spec.ca:
        return spec.subject.common_name
    host = san_or_none(spec.subject.common_name)
    if isinstance(spec.signer, AcmeCa) and host is not None and not isinstance(host, DomainName):
        return ""  # certbot takes addresses as alternative names only
    # Public CAs want the common name to be exactly one of the names, A-labels included.
    text = spec.subject.common_name if host is None else str(host)
    return "" if len(text) > _CN_MAX and spec.all_names() else text


def alternative_names(spec: CertSpec) -> x509.SubjectAlternativeName | None:
    """Return the SAN extension for `CertSpec.all_names`, None without names."""
    found: list[x509.GeneralName] = []
    for name in spec.all_names():
        if isinstance(name, ipaddress.IPv6Address) and name.scope_id is not None:
            problem = "a certificate cannot hold an address with a scope; drop the %…"
            raise Permanent(f"{name}: {problem}")
        if isinstance(name, DomainName):
            found.append(x509.DNSName(name.text))
        else:
            found.append(x509.IPAddress(name))
    return x509.SubjectAlternativeName(found) if found else None


def make_csr(key_pem: bytes, spec: CertSpec, subject: x509.Name | None = None) -> bytes:
    """Return the PEM of the request for `spec`, signed by its key.

    `subject`: the name that a CA has already, in place of that of `spec`. Raises `Permanent` for an
    unreadable key, or a subject that X.509 cannot hold.
    """
    key = load_key(key_pem)
    builder = x509.CertificateSigningRequestBuilder(subject_name=subject or subject_name(spec))
    if names := alternative_names(spec):
        builder = builder.add_extension(names, critical=False)
    if spec.ca:
        constraints = x509.BasicConstraints(ca=True, path_length=spec.ca.path_len)
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(key, hash_for(key)).public_bytes(Encoding.PEM)


def load_csr(pem: bytes) -> x509.CertificateSigningRequest:
    """Read a request from PEM; raise `Permanent` if it is none. Its signature is not checked."""
    der = only_block(pem, REQUESTS)
    try:
        return x509.load_der_x509_csr(der)
    except MALFORMED as err:
        raise Permanent(f"it is damaged: {damage(err)}") from None


def asked_names(csr_pem: bytes) -> frozenset[str]:
    """Return the names that a request asks for, as `str()` of `CertSpec.all_names` has them.

    Raises `Permanent` if it cannot be read.
    """
    request = load_csr(csr_pem)
    return names_asked(request, is_ca=says_ca(request))


def names_asked(request: x509.CertificateSigningRequest, *, is_ca: bool) -> frozenset[str]:
    """Return the names in `request`, with a host name that is the common name of a leaf."""
    try:
        names = set(san_texts(request.extensions))
        titles = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except MALFORMED as err:
        raise Permanent(f"it is damaged: {damage(err)}") from None
    hosts = () if is_ca else (san_or_none(str(title.value)) for title in titles)
    return frozenset(names.union(str(host) for host in hosts if host is not None))


def says_ca(request: x509.CertificateSigningRequest) -> bool:
    """Whether the request asks for a CA certificate."""
    try:
        return request.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except MALFORMED as err:
        raise Permanent(f"it is damaged: {damage(err)}") from None


def san_texts(extensions: x509.Extensions) -> tuple[str, ...]:
    """Return the DNS names and addresses of the SAN extension, in its order, lower-case."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        name.value.lower() if isinstance(name, x509.DNSName) else str(name.value)
        for name in names
        if isinstance(name, x509.DNSName | x509.IPAddress)
    )
