"""What an admin wished of an ACME CA, and did not get.

A preferred profile or chain is a wish: certbot takes another one where the CA does not have it, and
says nothing that anybody reads. So it is found out from the CA's directory, and from the chain.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from sslmd.acme.certbot import AcmeServer
from sslmd.acme.directory import Directory
from sslmd.core.errors import Permanent
from sslmd.core.names import shown
from sslmd.pki.chain import split_pem
from sslmd.pki.local_ca import Issued
from sslmd.pki.pem import MALFORMED

# Profiles of a CA that a message lists.
_TOLD = 10


def unmet_wishes(server: AcmeServer, served: Directory, issued: Issued) -> tuple[str, ...]:
    """Return each wish that was not met, in a sentence with the way out.

    `served` without a `new_order` is a directory that could not be had: it tells no profiles.
    """
    found = (_profile(server, served), _chain(server, issued))
    return tuple(text for text in found if text)


def _profile(server: AcmeServer, served: Directory) -> str:
    wish = server.profile
    if not wish or not served.new_order or wish in served.profiles:
        return ""
    there = ", ".join(shown(one) for one in served.profiles[:_TOLD])
    has = f"has the profiles {there}" if there else "has no profiles"
    way_out = "write one of them, or nothing" if there else "leave it out"
    return (
        f"the CA does not have the profile {shown(wish)} (ca_preferred_acme_profile), and issued "
        f"the certificate with its own choice: it {has}; {way_out}"
    )


def _chain(server: AcmeServer, issued: Issued) -> str:
    """Compare as certbot does: by the common name of the issuer of the topmost certificate."""
    wish = server.preferred_chain
    if not wish:
        return ""
    try:
        certs = split_pem(issued.cert_pem + issued.chain_pem)
        issuers = [_common_name(cert.issuer) for cert in certs]
    except (Permanent, *MALFORMED):
        return ""  # it is refused, and why is told then
    if wish in issuers:
        return ""
    leads = shown(issuers[-1]) if issuers and issuers[-1] else "another root"
    return (
        f"the CA has no chain to {shown(wish)} (ca_preferred_chain), and gave the one to {leads}; "
        "write the common name of a root that it has a chain to, or nothing"
    )


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""
