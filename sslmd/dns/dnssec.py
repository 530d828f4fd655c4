"""Whether a zone's DNSSEC holds, as a validating resolver sees it (RFC 4035 §3.2.2).

Since March 2026 public CAs validate DNSSEC when they look for challenges and CAA records: a
broken zone gets no certificate.
"""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode

from sslmd.core.errors import Transient
from sslmd.core.names import ZoneName, shown
from sslmd.dns.answers import rcode_of
from sslmd.dns.ask import PORT, NameServer, Unanswered, ask

# Seconds: a resolver that starts with nothing fetches keys from the root downward.
TIMEOUT = 8.0


async def bogus(zone: ZoneName, resolver: NameServer) -> str:
    """Return what is wrong with a zone's signatures, "" if nothing is, or it has none.

    A zone is bogus if the resolver refuses it, but not with the check switched off (CD). Raises
    `Transient` if the resolver cannot tell.
    """
    answer = await _ask(zone, resolver, checking_disabled=False)
    if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return ""
    unchecked = None
    if answer.rcode() == dns.rcode.SERVFAIL:
        unchecked = await _ask(zone, resolver, checking_disabled=True)
    if unchecked is None or unchecked.rcode() != dns.rcode.NOERROR:
        raise Transient(
            f"zone {zone}: the resolver {resolver} answers {rcode_of(answer)}; see whether the "
            "zone's name servers answer it, or mend dns_validating_resolver"
        )
    port = "" if resolver.port == PORT else f" -p {resolver.port}"
    return (
        f"zone {zone}: its DNSSEC does not validate at {resolver}{_told(answer)}, and no CA "
        "accepts that; look for signatures that have expired and for a DS that fits no key: "
        f"delv @{resolver.address}{port} {zone} SOA"
    )


async def _ask(
    zone: ZoneName, resolver: NameServer, *, checking_disabled: bool
) -> dns.message.Message:
    try:
        return await ask(
            resolver,
            zone,
            "SOA",
            recursive=True,
            dnssec=True,
            checking_disabled=checking_disabled,
            timeout=TIMEOUT,
        )
    except Unanswered as err:
        raise Transient(
            f"zone {zone}: whether its DNSSEC holds is not known, the resolver {err}; mend "
            "dns_validating_resolver"
        ) from None


def _told(answer: dns.message.Message) -> str:
    """Return what the resolver says itself of the reason (RFC 8914), in brackets, or nothing."""
    for option in answer.options:
        if isinstance(option, dns.edns.EDEOption):
            code = str(option.code.name).lower().replace("_", " ")
            return f" ({code}{f': {shown(option.text)}' if option.text else ''})"
    return ""
