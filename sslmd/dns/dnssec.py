"""Whether a zone's DNSSEC holds, as a validating resolver sees it (RFC 4035 §3.2.2).

Since March 2026 public CAs validate DNSSEC when they look for challenges and CAA records: a
broken zone gets no certificate. To clients of DANE, records that do not validate are worse than
none (RFC 7672 §2.1.1): they connect to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode

from sslmd.core.dane.tlsa import Tlsa, endpoint_of
from sslmd.core.errors import Transient
from sslmd.core.names import BadName, DomainName, ZoneName, shown
from sslmd.dns.answers import end_of_chain, rcode_of, tlsa_in
from sslmd.dns.ask import PORT, NameServer, Unanswered, ask

# Seconds: a resolver that starts with nothing fetches keys from the root downward.
TIMEOUT = 8.0

# Seconds for a resolver that nobody named for this: an order does not wait longer for it.
TIMEOUT_HERE = 4.0

_ANSWERS = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


async def bogus(zone: ZoneName, resolver: NameServer, *, seconds: float = TIMEOUT) -> str:
    """Return what is wrong with a zone's signatures, "" if nothing is, or it has none.

    A zone is bogus if the resolver refuses it, but not with the check switched off (CD). Raises
    `Transient` if the resolver cannot tell.
    """
    answer, fails = await _validate(f"zone {zone}", zone, "SOA", resolver, seconds=seconds)
    if not fails:
        return ""
    return (
        f"zone {zone}: its DNSSEC does not validate at {resolver}{_told(answer)}, and no CA "
        f"accepts that; {_where_to_look(resolver, zone, 'SOA')}"
    )


async def bogus_here(zone: ZoneName, resolvers: Sequence[NameServer]) -> str:
    """Return the same as `bogus`, as those of the system's resolvers see it that validate.

    Whoever asks a resolver has no reason to believe that it validates: one that sets AD for the
    root, or for a zone above this one, does. What no such resolver tells is "". Never raises.
    """
    for resolver in resolvers:
        with suppress(Transient):
            problem = await bogus(zone, resolver, seconds=TIMEOUT_HERE)
            if problem and await _validates(resolver, zone):
                return f"{problem}; if others see it right, name one as dns_validating_resolver"
    return ""


async def _validates(resolver: NameServer, zone: ZoneName) -> bool:
    """Whether a resolver says of any zone above this one that it validated it (RFC 4035 §3.2.3)."""
    labels = zone.text.split(".")
    for above in (".", *(".".join(labels[number:]) for number in range(len(labels) - 1, 0, -1))):
        with suppress(Unanswered):
            answer = await ask(
                resolver, above, "SOA", recursive=True, dnssec=True, timeout=TIMEOUT_HERE
            )
            if answer.rcode() == dns.rcode.NOERROR and answer.flags & dns.flags.AD:
                return True
    return False


@dataclass(frozen=True, slots=True)
class Validated:
    """TLSA records as a client of DANE gets them. `secure`: they, or their absence, are validated.

    `problem`: why they do not validate, and what follows from that; "" if they do, or are unsigned.
    """

    records: frozenset[Tlsa]
    secure: bool
    problem: str = ""


async def validated(owner: DomainName, resolver: NameServer) -> Validated:
    """Return the TLSA records of an owner as a validating resolver sees them.

    Raises `Transient` if the resolver cannot tell.
    """
    answer, fails = await _validate(str(owner), owner, "TLSA", resolver)
    if not fails:
        end = end_of_chain(answer, dns.name.from_text(owner.text))
        records, _ = tlsa_in(answer, end)
        # RFC 4035 §3.2.3: AD, if everything in the answer is authentic.
        return Validated(records, secure=bool(answer.flags & dns.flags.AD))
    problem = (
        f"{owner}: its TLSA records do not validate at {resolver}{_told(answer)}, and "
        f"{_harm(owner)}; {_where_to_look(resolver, owner, 'TLSA')}"
    )
    return Validated(frozenset(), secure=False, problem=problem)


def _harm(owner: DomainName) -> str:
    """Return what clients do (RFC 7672 §2.1.1, RFC 7671 §4)."""
    try:
        port, _, host = endpoint_of(owner)
    except BadName:
        return "clients of DANE do not connect"
    if port == 25:
        return f"clients of DANE defer all mail to {host}"
    return f"clients of DANE do not connect to port {port} of {host}"


async def _validate(
    what: str,
    name: ZoneName | DomainName,
    rdtype: str,
    resolver: NameServer,
    *,
    seconds: float = TIMEOUT,
) -> tuple[dns.message.Message, bool]:
    """Return a validating resolver's answer, and whether it refuses what does not validate.

    Raises `Transient` if it cannot tell; `what` is the thing in its text.
    """
    answer = await _ask(what, name, rdtype, resolver, seconds, checking_disabled=False)
    if answer.rcode() in _ANSWERS:
        return answer, False
    unchecked = None
    if answer.rcode() == dns.rcode.SERVFAIL:
        unchecked = await _ask(what, name, rdtype, resolver, seconds, checking_disabled=True)
    if unchecked is None or unchecked.rcode() not in _ANSWERS:
        raise Transient(
            f"{what}: the resolver {resolver} answers {rcode_of(answer)}; see whether the "
            "zone's name servers answer it, or correct dns_validating_resolver"
        )
    return answer, True


async def _ask(
    what: str,
    name: ZoneName | DomainName,
    rdtype: str,
    resolver: NameServer,
    seconds: float,
    *,
    checking_disabled: bool,
) -> dns.message.Message:
    try:
        return await ask(
            resolver,
            name,
            rdtype,
            recursive=True,
            dnssec=True,
            checking_disabled=checking_disabled,
            timeout=seconds,
        )
    except Unanswered as err:
        raise Transient(
            f"{what}: whether its DNSSEC holds is not known, the resolver {err}; correct "
            "dns_validating_resolver"
        ) from None


def _where_to_look(resolver: NameServer, name: ZoneName | DomainName, rdtype: str) -> str:
    port = "" if resolver.port == PORT else f" -p {resolver.port}"
    return (
        "look for signatures that have expired and for a DS that fits no key: "
        f"delv @{resolver.address}{port} {name} {rdtype}"
    )


def _told(answer: dns.message.Message) -> str:
    """Return what the resolver says itself of the reason (RFC 8914), in brackets, or nothing."""
    for option in answer.options:
        if isinstance(option, dns.edns.EDEOption):
            code = str(option.code.name).lower().replace("_", " ")
            return f" ({code}{f': {shown(option.text)}' if option.text else ''})"
    return ""
