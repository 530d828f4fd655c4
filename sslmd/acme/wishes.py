"""What an admin wished of an ACME CA, and did not get.

A preferred profile or chain is a wish: another one is taken where the CA does not have it, and
certbot says nothing that anybody reads. So it is found out from the CA's directory, and from the
chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

from sslmd.acme.certbot import AcmeServer
from sslmd.acme.directory import Directory
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.names import shown
from sslmd.core.reason import Reason, Said
from sslmd.pki.chain import split_pem
from sslmd.pki.local_ca import Issued
from sslmd.pki.pem import MALFORMED


def unmet_wishes(server: AcmeServer, served: Directory, issued: Issued) -> tuple[Reason, ...]:
    """Return each wish that was not met, with the way out.

    `served` without a `new_order` is a directory that could not be had: it tells no profiles.
    """
    found = []
    wish = server.profile
    if wish and served.new_order and wish not in served.profiles:
        has = tuple(Said(shown(one)) for one in served.profiles) or None
        found.append(Reason(Failed.NO_PROFILE, wish=Said(shown(wish)), has=has))
    if server.preferred_chain:
        found += _chain(server.preferred_chain, issued)
    return tuple(found)


def _chain(wish: str, issued: Issued) -> Iterator[Reason]:
    """Compare as certbot does: by the common name of the issuer of the topmost certificate."""
    try:
        certs = split_pem(issued.cert_pem + issued.chain_pem)
        issuers = [_common_name(cert.issuer) for cert in certs]
    except (Permanent, *MALFORMED):
        return  # it is refused, and why is told then
    if wish not in issuers:
        leads = Said(shown(issuers[-1])) if issuers and issuers[-1] else None
        yield Reason(Failed.NO_CHAIN, wish=Said(shown(wish)), leads=leads)


def chain_for(chains: Sequence[str], wish: str) -> str:
    """Return the chain whose topmost certificate is by the issuer of that name; else the first."""
    for chain in chains if wish else ():
        try:
            top = split_pem(chain.encode())[-1]
            if _common_name(top.issuer) == wish:
                return chain
        except (Permanent, IndexError, *MALFORMED):
            continue  # it is not taken
    return chains[0]


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""
