"""A look at when a CA wants a certificate renewed (RFC 9773): one question and its answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime

from cryptography import x509

from sslmd.acme.refusals import retry_at
from sslmd.core.ari import FRESH, Fault, Later, WindowAnswer, certificate_id
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId, SetName
from sslmd.net.acme_messages import RENEWAL_INFO, AcmeProblem, CaAddress, OfCertificate
from sslmd.net.link import Asker
from sslmd.pki.pem import MALFORMED
from sslmd.store import sets
from sslmd.store.layout import CERT, Tree

# The CA does not offer it, as the network process puts it.
_NOT_OFFERED = "no-renewal-info"

# Seconds that an answer may take, with that of the directory before it.
LIMIT = 60.0

# HTTP (RFC 9110): what is to be asked again soon, beside every error of the server.
_NOT_FOUND, _TIMEOUT, _TOO_MANY, _SERVER_ERRORS = 404, 408, 429, 500


def id_of_set(tree: Tree, cert: CertId, name: SetName) -> str:
    """Return how a set's certificate is named in requests; "" if it cannot be asked about."""
    try:
        sets.check_folders(tree, cert, name)
        contents = sets.read_files(tree.set_dir(cert, name), (CERT,))
    except (SslmError, OSError):
        return ""
    return renewal_id(contents.get(CERT, b""))


def renewal_id(pem: bytes) -> str:
    """Return how the first certificate is named in requests (RFC 9773 §4.1).

    "" if it has no name: no authority key identifier.
    """
    with suppress(*MALFORMED):
        cert = x509.load_pem_x509_certificate(pem)
        authority = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        if authority.key_identifier:
            return certificate_id(authority.key_identifier, cert.serial_number)
    return ""


async def ask(
    net: Asker,
    server: CaAddress,
    ident: str,
    issued: datetime | None,
    now: datetime,
    seconds: float = LIMIT,
) -> WindowAnswer | Fault | Later | None:
    """Return what a CA answers about a certificate, None if it offers no such answers.

    `issued`: when it issued that one; `seconds`: how long it may take.
    """
    try:
        async with asyncio.timeout(seconds):
            got = await net.call(RENEWAL_INFO, OfCertificate(server, ident))
    except (SslmError, TimeoutError):
        return Fault.TEMPORARY
    if isinstance(got, AcmeProblem):
        if got.type == _NOT_OFFERED:
            return None
        return _fault(got, issued, now)
    again = retry_at(got.retry_after, now)
    return WindowAnswer(got.start, got.end, got.explanation, again - now if again else None)


def _fault(problem: AcmeProblem, issued: datetime | None, now: datetime) -> Fault | Later:
    """Tell apart what passes (RFC 9773 §4.3.3) from what does not."""
    if problem.kind in ("unreachable", "late"):
        return Fault.TEMPORARY
    passes = problem.status >= _SERVER_ERRORS or problem.status in (_TIMEOUT, _TOO_MANY)
    if passes and (again := retry_at(problem.retry_after, now)):
        return Later(again - now)
    if problem.status == _NOT_FOUND:
        passes = issued is not None and now - issued < FRESH
    return Fault.TEMPORARY if passes else Fault.LASTING
