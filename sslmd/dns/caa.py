"""CAA: whether a CA may issue for a name (RFC 8659, and RFC 8657 for its parameters)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sslmd.core.errors import Permanent, SslmError, Transient, several
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName, shown
from sslmd.core.reason import Reason, Said
from sslmd.core.records import zone_of
from sslmd.dns.answers import end_of_chain, error_in, find, is_at_or_below, records_in
from sslmd.dns.ask import DnsAsker, NameServer, of_server
from sslmd.dns.nameservers import MOST_TOLD, follow
from sslmd.dns.resolver import Resolver
from sslmd.net.dns_messages import Caa, DnsAnswer, RecordSet

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
) -> Reason | None:
    """Return why CAA keeps a CA from issuing for `name`, None if it does not.

    `identities` are the CA's names (RFC 8555 §7.1.1, caaIdentities), none if it does not tell
    them: then only what forbids every CA is found. `method` is how it validates (`dns-01`),
    `account` our account's URL, "" if we have none yet.
    """
    domain, properties = await _relevant(name, lookup)
    for one in properties:
        if one.flags & CRITICAL and one.tag.lower() not in _KNOWN:
            demanded = Said(shown(one.tag))
            return Reason(Failed.CAA_CRITICAL, name=name, domain=domain, tag=demanded)
    tag, values = _issue_values(name, properties)
    if not values:
        return None  # only others' properties: nobody is kept out (RFC 8659 §4.2)
    if not identities:
        if any(value.issuer for value in values):
            return None
        return Reason(Failed.CAA_NOBODY, name=name, domain=domain, tag=tag)
    ours = sorted(_lowered(identities))
    named = [value for value in values if value.issuer in ours]
    reasons = [_why_not(value.parameters, method, account) for value in named]
    if named and not all(reasons):
        return None
    if why := tuple(dict.fromkeys(one for one in reasons if one)):
        has_account = any(_of(value.parameters, _ACCOUNT) for value in named)
        return Reason(
            Failed.CAA_CONDITIONS,
            name=name,
            domain=domain,
            tag=tag,
            why=why,
            ca=ours[0],
            account=account if account and has_account else None,
        )
    allowed = sorted({value.issuer or value.malformed for value in values} - {""})
    return Reason(
        Failed.CAA_OTHERS,
        name=name,
        domain=domain,
        tag=tag,
        allowed=tuple(map(Said, allowed)) or None,
        identities=tuple(ours),
        ca=ours[0],
    )


async def names_account(name: DomainName, identities: Collection[str], lookup: Lookup) -> bool:
    """Whether a CAA record allows this CA for one account alone (RFC 8657 §3)."""
    _, properties = await _relevant(name, lookup)
    return any(
        value.issuer in _lowered(identities) and bool(_of(value.parameters, _ACCOUNT))
        for value in _issue_values(name, properties)[1]
    )


async def _relevant(name: DomainName, lookup: Lookup) -> tuple[str, Sequence[Property]]:
    """Return the records of the name, else of the nearest name above that has some (§3)."""
    domain = name.text.removeprefix("*.")
    while domain:
        if properties := await lookup(domain):
            return domain, properties
        domain = domain.partition(".")[2]
    return "", ()


# --- values (RFC 8659 §4.2) ------------------------------------------------------------------

_ACCOUNT = "accounturi"
_METHODS = "validationmethods"

_ISSUER = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.?")
_TAG = re.compile(r"[A-Za-z0-9-]+")
_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e]*")


@dataclass(frozen=True, slots=True)
class _Value:
    """One issue value. `issuer` "": nobody; `malformed`: as it stands, if that is why."""

    issuer: str
    parameters: tuple[tuple[str, str], ...] = ()
    malformed: str = ""


def _lowered(identities: Collection[str]) -> set[str]:
    return {identity.lower().rstrip(".") for identity in identities}


def _issue_values(name: DomainName, properties: Sequence[Property]) -> tuple[str, Sequence[_Value]]:
    """Return the tag and the values that count for a name.

    For a wildcard that is `issuewild`, where there is any (§4.3).
    """
    for tag in ("issuewild", "issue") if name.is_wildcard else ("issue",):
        found = [one.value for one in properties if one.tag.lower() == tag]
        if found:
            break
    return tag, [_parse(value) for value in found]


def _parse(text: str) -> _Value:
    """Read an issue value; what does not follow the grammar allows nobody (§4.2)."""
    issuer, *rest = (part.strip(" \t") for part in text.split(";"))
    if issuer and not _ISSUER.fullmatch(issuer):
        return _Value("", malformed=shown(text)[1:-1])
    parameters = []
    for part in rest if rest != [""] else ():
        tag, equals, value = (one.strip(" \t") for one in part.partition("="))
        if not equals or not _TAG.fullmatch(tag) or not _VALUE.fullmatch(value):
            return _Value("", malformed=shown(text)[1:-1])
        parameters.append((tag.lower(), value))
    return _Value(issuer.lower().rstrip("."), tuple(parameters))


def _of(parameters: Sequence[tuple[str, str]], tag: str) -> list[str]:
    return [value for one, value in parameters if one == tag]


def _why_not(parameters: Sequence[tuple[str, str]], method: str, account: str) -> Reason | None:
    """Return under which condition alone a CA may issue, None if we meet it (RFC 8657 §3, §4).

    A parameter that is there twice cannot be met.
    """
    methods, uris = _of(parameters, _METHODS), _of(parameters, _ACCOUNT)
    for tag, values in ((_METHODS, methods), (_ACCOUNT, uris)):
        if len(values) > 1:
            return Reason(Failed.CAA_TWICE, tag=tag, number=len(values))
    if methods and method not in [one.strip() for one in methods[0].split(",")]:
        allowed = Said(shown(methods[0])[1:-1])
        return Reason(Failed.CAA_METHOD, allowed=allowed, method=method)
    if uris and uris[0] != account:
        allowed = Said(shown(uris[0], 300)[1:-1])
        return Reason(Failed.CAA_ACCOUNT, allowed=allowed, account=account or None)
    return None


# --- looking them up -------------------------------------------------------------------------


def caa_lookup(
    servers: Mapping[ZoneName, Sequence[NameServer]],
    resolver: Resolver,
    unknown: Callable[[str, Reason], None] = lambda *_: None,
) -> Lookup:
    """Return a lookup that asks the zones' own servers, and the resolver for other names.

    Where our own servers are silent (a firewall may keep us from them, and not the CA), or none
    are known, the resolver is asked too. What nobody tells is left to the CA, and reported by
    `unknown`: the domain, and why. What our own servers *answer* with an error raises `Transient`
    if the resolver does not know better, because the CA would get no answer either; CNAMEs in a
    circle raise `Permanent`.
    """
    known: dict[str, asyncio.Task[Sequence[Property]]] = {}
    silent: set[ZoneName] = set()

    async def look(domain: str) -> Sequence[Property]:
        zone = zone_of(DomainName(domain), servers)
        problems: list[Reason] = []
        if zone is not None and zone not in silent and servers[zone]:
            try:
                found = await _ask_own(resolver.asker, domain, zone, servers[zone])
                if found is not None:
                    return found
            except _SilentError as err:
                silent.add(zone)
                problems.append(err.reason)
            except Transient as err:
                with suppress(Transient):
                    # BIND answers SERVFAIL where CNAMEs go in a circle.
                    await follow(resolver.asker, DomainName(domain), zone, servers[zone])
                with suppress(SslmError):
                    return await _resolve(domain, resolver)
                raise err from None
        try:
            return await _resolve(domain, resolver)
        except SslmError as err:
            unknown(domain, several([*problems, err.reason]))
            return []

    async def lookup(domain: str) -> Sequence[Property]:
        if domain not in known:
            known[domain] = asyncio.ensure_future(look(domain))
        return await asyncio.shield(known[domain])

    return lookup


class _SilentError(Transient):
    """No name server of a zone answers at all."""


async def _resolve(domain: str, resolver: Resolver) -> Sequence[Property]:
    return _properties(await resolver.lookup(domain, "CAA"))


async def _ask_own(
    asker: DnsAsker, domain: str, zone: ZoneName, servers: Sequence[NameServer]
) -> Sequence[Property] | None:
    """Return what the zone's own servers say, None if others have to be asked."""
    problems = []
    is_silent = True
    for server in servers:
        try:
            answer = await asker.ask(server, domain, "CAA")
        except SslmError as err:
            problems.append(err.reason)
            continue
        is_silent = False
        if error := error_in(answer):
            problems.append(of_server(server, error))
            continue
        end = end_of_chain(answer, domain)
        if found := find(answer.answer, end, "CAA"):
            return _properties(found)
        if find(answer.answer, end, "CNAME"):
            raise Permanent(Reason(Failed.CAA_CNAMES_LONG, owner=domain, zone=zone))
        if end != domain and _tells_of(answer, end, zone):
            return []
        if end != domain or _refers_below(answer, zone):
            return None
        if answer.is_authoritative:
            return []
        problems.append(of_server(server, Reason(Failed.NS_NOT_AUTHORITATIVE, owner=domain)))
    why = Reason(Failed.CAA_UNKNOWN, name=domain, said=tuple(problems[:MOST_TOLD]))
    kind = _SilentError if is_silent else Transient
    raise kind(why, about=f"zone {zone}")


def _tells_of(answer: DnsAnswer, end: str, zone: ZoneName) -> bool:
    """Whether an answer says that what a CNAME leads to, in the same zone, has no such record."""
    return answer.is_authoritative and any(
        found.type == "SOA" and found.owner == zone.text and is_at_or_below(end, zone.text)
        for found in answer.authority
    )


def _refers_below(answer: DnsAnswer, zone: ZoneName) -> bool:
    """Whether an answer refers to the servers of a zone below ours (RFC 1034 §4.3.2)."""
    return not answer.is_authoritative and any(
        found.type == "NS" and found.owner.endswith(f".{zone}") for found in answer.authority
    )


def _properties(found: RecordSet | None) -> list[Property]:
    return [Property(one.flags, one.tag, one.value) for one in records_in(found, Caa)]
