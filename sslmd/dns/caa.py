"""CAA: whether a CA may issue for a name (RFC 8659, and RFC 8657 for its parameters)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from sslmd.core.errors import SslmError, Transient
from sslmd.core.names import DomainName, ZoneName, shown
from sslmd.core.records import zone_of
from sslmd.dns.answers import end_of_chain, find, rcode_of
from sslmd.dns.ask import NameServer, ask
from sslmd.dns.resolver import Resolver

# RFC 8659 §4.1: the flag of a property that must be understood.
CRITICAL = 128

_KNOWN = frozenset({"issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail"})


@dataclass(frozen=True, slots=True)
class Property:
    """One CAA record."""

    flags: int
    tag: str
    value: str


Lookup = Callable[[str], Awaitable[Sequence[Property]]]


async def forbidden(
    name: DomainName,
    identities: Collection[str],
    method: str,
    account: str,
    lookup: Lookup,
) -> str:
    """Return why CAA keeps a CA from issuing for `name`, "" if it does not.

    `identities` are the CA's names (RFC 8555 §7.1.1, caaIdentities), `method` is how it
    validates (`dns-01`), `account` our account's URL, "" if we have none yet. The records are
    those of the name, else of the nearest name above it that has some (RFC 8659 §3).
    """
    domain = name.text.removeprefix("*.")
    while domain:
        properties = await lookup(domain)
        if properties:
            return _judge(name, domain, properties, identities, method, account)
        domain = domain.partition(".")[2]
    return ""


def _judge(
    name: DomainName,
    domain: str,
    properties: Sequence[Property],
    identities: Collection[str],
    method: str,
    account: str,
) -> str:
    where = f"{name} must not be issued: the CAA records of {domain}"
    for one in properties:
        if one.flags & CRITICAL and one.tag.lower() not in _KNOWN:
            return f"{where} demand {shown(one.tag)}, which is not known here; see to them"
    relevant = [one.value for one in properties if one.tag.lower() == "issuewild"]
    if not name.is_wildcard or not relevant:
        relevant = [one.value for one in properties if one.tag.lower() == "issue"]
    if not relevant:
        return ""  # only others' properties: nobody is kept out (RFC 8659 §4.2)
    ours = {identity.lower() for identity in identities}
    reasons = []
    for value in relevant:
        issuer, parameters = _parse(value)
        if issuer.lower().rstrip(".") not in ours:
            continue
        reason = _why_not(parameters, method, account)
        if not reason:
            return ""
        reasons.append(reason)
    if reasons:
        return f"{where} allow this CA {' or '.join(reasons)}; change them"
    allowed = ", ".join(sorted({_parse(value)[0] or "nobody" for value in relevant}))
    return (
        f"{where} allow {allowed}, not {' or '.join(sorted(ours))}; add "
        f'`{domain}. CAA 0 issue "{min(ours)}"`, or take another CA'
    )


def _parse(value: str) -> tuple[str, dict[str, str]]:
    """Return issuer and parameters of an issue value (RFC 8659 §4.2)."""
    issuer, *rest = value.split(";")
    parameters = {}
    for part in rest:
        tag, _, text = part.partition("=")
        if tag.strip():
            parameters[tag.strip().lower()] = text.strip()
    return issuer.strip(), parameters


def _why_not(parameters: Mapping[str, str], method: str, account: str) -> str:
    """Return under which condition alone a CA may issue, "" if we meet it (RFC 8657 §3, §4)."""
    methods = parameters.get("validationmethods")
    if methods is not None and method not in [one.strip() for one in methods.split(",")]:
        return f"only by {methods}, not by {method}"
    uri = parameters.get("accounturi")
    if uri is not None and uri != account:
        have = f"ours is {account}" if account else "and we have no account there yet"
        return f"only for the account {uri}, {have}"
    return ""


def caa_lookup(servers: Mapping[ZoneName, Sequence[NameServer]], resolver: Resolver) -> Lookup:
    """Return a lookup that asks the zones' own servers, and the resolver for other names.

    What the resolver cannot tell is left to the CA; what our own servers cannot tell raises
    `Transient`, because the CA would not get an answer either.
    """
    known: dict[str, Sequence[Property]] = {}

    async def lookup(domain: str) -> Sequence[Property]:
        if domain not in known:
            zone = zone_of(DomainName(domain), servers)
            if zone is None:
                known[domain] = await _resolve(domain, resolver)
            else:
                known[domain] = await _ask_own(domain, zone, servers[zone], resolver)
        return known[domain]

    return lookup


async def _resolve(domain: str, resolver: Resolver) -> Sequence[Property]:
    with suppress(SslmError):
        found = await resolver.lookup(domain, "CAA")
        return [_property(rdata) for rdata in found or ()]
    return []


async def _ask_own(
    domain: str, zone: ZoneName, servers: Sequence[NameServer], resolver: Resolver
) -> Sequence[Property]:
    problems = []
    for server in servers:
        try:
            answer = await ask(server, domain, "CAA")
        except SslmError as err:
            problems.append(str(err))
            continue
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            problems.append(f"{server} answers {rcode_of(answer)}")
            continue
        name = dns.name.from_text(domain)
        end = end_of_chain(answer, name)
        if found := find(answer.answer, end, dns.rdatatype.CAA):
            return [_property(rdata) for rdata in found]
        if end != name or _refers_below(answer, zone):
            return await _resolve(domain, resolver)
        if answer.flags & dns.flags.AA:
            return []
        problems.append(f"{server} is not authoritative for it")
    told = "; ".join(problems[:5])
    raise Transient(f"zone {zone}: no name server tells the CAA records of {domain}: {told}")


def _refers_below(answer: dns.message.Message, zone: ZoneName) -> bool:
    """Whether an answer refers to the servers of a zone below ours (RFC 1034 §4.3.2)."""
    apex = dns.name.from_text(zone.text)
    return not answer.flags & dns.flags.AA and any(
        rrset.rdtype == dns.rdatatype.NS and rrset.name.is_subdomain(apex) and rrset.name != apex
        for rrset in answer.authority
    )


def _property(rdata: object) -> Property:
    flags, tag, value = (getattr(rdata, name) for name in ("flags", "tag", "value"))
    return Property(int(flags), tag.decode("ascii", "replace"), value.decode("utf-8", "replace"))
