"""Whether a zone's DNSSEC holds, as a validating resolver sees it (RFC 4035 §3.2.2).

Since March 2026 public CAs validate DNSSEC when they look for challenges and CAA records: a
broken zone gets no certificate. To clients of DANE, records that do not validate are worse than
none (RFC 7672 §2.1.1): they connect to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import dns.rcode

from sslmd.core.dane.tlsa import Tlsa, endpoint_of
from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, DomainName, ZoneName, shown
from sslmd.core.reason import Reason, Said
from sslmd.dns.answers import end_of_chain, error_in, tlsa_in
from sslmd.dns.ask import PORT, DnsAsker, NameServer, Unanswered, of_server
from sslmd.net.dns_messages import DnsAnswer

# Seconds: a resolver that starts with nothing fetches keys from the root downward.
TIMEOUT = 8.0

# Seconds for a resolver that nobody named for this: an order does not wait longer for it.
TIMEOUT_HERE = 4.0


async def bogus(
    asker: DnsAsker, zone: ZoneName, resolver: NameServer, *, seconds: float = TIMEOUT
) -> Reason | None:
    """Return what is wrong with a zone's signatures, None if nothing is, or it has none.

    A zone is bogus if the resolver refuses it, but not with the check switched off (CD). Raises
    `Transient` if the resolver cannot tell.
    """
    answer, fails = await _validate(asker, zone, "SOA", resolver, f"zone {zone}", seconds)
    return _not_valid(Failed.BOGUS, answer, zone, "SOA", resolver) if fails else None


async def bogus_here(
    asker: DnsAsker, zone: ZoneName, resolvers: Sequence[NameServer]
) -> Reason | None:
    """Return the same as `bogus`, as those of the system's resolvers see it that validate.

    Whoever asks a resolver has no reason to believe that it validates: one that sets AD for the
    root, or for a zone above this one, does. What no such resolver tells is None. Never raises.
    """
    for resolver in resolvers:
        with suppress(Transient):
            problem = await bogus(asker, zone, resolver, seconds=TIMEOUT_HERE)
            if problem and await _validates(asker, resolver, zone):
                return problem.also(Reason(Failed.NAME_VALIDATING))
    return None


async def _validates(asker: DnsAsker, resolver: NameServer, zone: ZoneName) -> bool:
    """Whether a resolver says of any zone above this one that it validated it (RFC 4035 §3.2.3)."""
    labels = zone.text.split(".")
    for above in (".", *(".".join(labels[number:]) for number in range(len(labels) - 1, 0, -1))):
        with suppress(Unanswered):
            answer = await asker.ask(
                resolver, above, "SOA", recursive=True, dnssec=True, timeout=TIMEOUT_HERE
            )
            if answer.rcode == dns.rcode.NOERROR and answer.is_authentic:
                return True
    return False


@dataclass(frozen=True, slots=True)
class Validated:
    """TLSA records as a client of DANE gets them. `secure`: they, or their absence, are validated.

    `problem`: why they do not validate, and what follows from that; None if they do, or are
    unsigned.
    """

    records: frozenset[Tlsa]
    secure: bool
    problem: Reason | None = None


async def validated(asker: DnsAsker, owner: DomainName, resolver: NameServer) -> Validated:
    """Return the TLSA records of an owner as a validating resolver sees them.

    Raises `Transient` if the resolver cannot tell.
    """
    answer, fails = await _validate(asker, owner, "TLSA", resolver, str(owner), TIMEOUT)
    if not fails:
        end = end_of_chain(answer, owner.text)
        records, _ = tlsa_in(answer, end)
        # RFC 4035 §3.2.3: AD, if everything in the answer is authentic.
        return Validated(records, secure=answer.is_authentic)
    port, host = None, None
    with suppress(BadName):
        port, _, host = endpoint_of(owner)
    problem = _not_valid(Failed.TLSA_BOGUS, answer, owner, "TLSA", resolver, port, host)
    return Validated(frozenset(), secure=False, problem=problem)


def _not_valid(
    code: Failed,
    answer: DnsAnswer,
    name: ZoneName | DomainName,
    rdtype: str,
    resolver: NameServer,
    port: int | None = None,
    host: DomainName | None = None,
) -> Reason:
    """Return that the records of a name do not validate, with what the resolver says itself."""
    why = None
    if answer.error is not None:
        error = answer.error.name.lower().replace("_", " ")
        said = Said(shown(answer.error.text)) if answer.error.text else None
        why = Reason(Failed.EXTENDED_ERROR, error=Said(error), said=said)
    at = resolver.port if resolver.port != PORT else None
    look = Reason(Failed.LOOK_WITH_DELV, address=resolver.address, port=at, name=name, type=rdtype)
    where = str(resolver)
    return Reason(code, name=name, resolver=where, why=why, port=port, host=host, look=look)


async def _validate(
    asker: DnsAsker,
    name: ZoneName | DomainName,
    rdtype: str,
    resolver: NameServer,
    about: str,
    seconds: float,
) -> tuple[DnsAnswer, bool]:
    """Return a validating resolver's answer, and whether it refuses what does not validate.

    Raises `Transient` if it cannot tell.
    """

    async def asked(*, checking_disabled: bool = False) -> DnsAnswer:
        try:
            return await asker.ask(
                resolver,
                name,
                rdtype,
                recursive=True,
                dnssec=True,
                checking_disabled=checking_disabled,
                timeout=seconds,
            )
        except Unanswered as err:
            why = Reason(Failed.NOT_VALIDATED_HERE, why=err.reason)
            raise Transient(why, about=about) from None

    answer = await asked()
    error = error_in(answer)
    if error is None:
        return answer, False
    if answer.rcode == dns.rcode.SERVFAIL:
        unchecked = await asked(checking_disabled=True)
        if error_in(unchecked) is None:
            return answer, True
    why = Reason(Failed.VALIDATING_ANSWERS, why=of_server(resolver, error))
    raise Transient(why, about=about)
