"""What `sslmd init` tries before it writes: resolvers, name servers, addresses of names.

What does not answer from here would keep the first order waiting for an hour. It is not written,
or said. Nothing here takes longer than a few seconds, and nothing that is found keeps the files
from being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from sslmd.config.first import Answers
from sslmd.config.model import Endpoint
from sslmd.config.tables import PUBLIC_RESOLVERS
from sslmd.core.errors import SslmError
from sslmd.core.names import DomainName, ZoneName, san_or_none
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.nameservers import name_servers
from sslmd.dns.reach import ask_resolvers, reach
from sslmd.dns.resolver import Resolver

# Seconds for everything.
LIMIT = 12.0

# The primary that is written into `[[dns_primary]]`.
PRIMARY = NameServer("127.0.0.1")

_USUAL = tuple(Endpoint(address) for address in PUBLIC_RESOLVERS)


@dataclass(frozen=True, slots=True)
class Looked:
    """`resolvers`: those that answer, None where the default can stay; `remarks`: for people."""

    resolvers: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()


async def look(
    answers: Answers,
    resolver: Resolver,
    *,
    usual: Sequence[Endpoint] = _USUAL,
    primary: NameServer = PRIMARY,
    limit: float = LIMIT,
) -> Looked:
    """Try what the answers need; never raises.

    `usual` are the resolvers of the default `dns_xtra_ns`. `limit`: seconds.
    """
    if not answers.needs_dns and not answers.needs_web:
        return Looked()

    async def in_time(part: Awaitable[Looked | list[str]]) -> Looked:
        try:
            async with asyncio.timeout(limit):
                found = await part
        except TimeoutError:
            text = f"not everything in DNS was looked at within {limit:g} s; sslmctl doctor does it"
            return Looked(None, (text,))
        return found if isinstance(found, Looked) else Looked(None, tuple(found))

    parts = await asyncio.gather(
        in_time(_extra(answers, resolver, usual)),
        in_time(_zone(answers, resolver, primary)),
        in_time(_names(answers, resolver)),
    )
    remarks = dict.fromkeys(text for part in parts for text in part.remarks)
    return Looked(parts[0].resolvers, tuple(remarks))


async def _extra(answers: Answers, resolver: Resolver, usual: Sequence[Endpoint]) -> Looked:
    if not answers.needs_challenges:
        return Looked()
    asked = await ask_resolvers(usual, resolver)
    silent = list(dict.fromkeys(one.endpoint for one in asked if one.problem))
    if not silent:
        return Looked()
    told = ", ".join(one.host for one in silent)
    if len(silent) == len(usual):
        try:
            await resolver.lookup(".", "NS")
        except SslmError:
            text = f"{told} (dns_xtra_ns) do not answer, nor does any resolver of this machine"
            return Looked(None, (f"{text}; run sslmctl doctor when there is a network",))
    good = tuple(one.host for one in usual if one not in silent)
    text = (
        f"no answer of {told} from here: a firewall may keep port 53 closed. dns_xtra_ns is "
        "written without them; each order would have waited for them"
    )
    return Looked(good, (text,))


async def _zone(answers: Answers, resolver: Resolver, primary: NameServer) -> list[str]:
    """Look at the name servers of the domain, and at the primary that is written."""
    if not answers.needs_dns:
        return []
    zone = ZoneName.parse(answers.domain)
    first = await reach(resolver.asker, primary, zone)
    remarks = []
    if problem := first.fault or (first.udp and first.tcp and first.udp):
        remarks.append(
            f"{primary} is written as the primary of {zone}, and {problem}; write the right one as "
            "server in [[dns_primary]]"
        )
    if first.part_of:
        remarks.append(_is_part(zone, first.part_of))
    try:
        found = await name_servers(zone, None, resolver)
    except SslmError as err:
        return [*remarks, f"the name servers of {zone} cannot be looked at: {err}"]
    if not found.servers and not found.lacking:
        return [*remarks, f"no name server of {zone} is known to the resolvers here: see its NS"]
    remarks += [f"the name server {host} of {zone} has no address" for host in found.lacking]
    remarks += [f"the name servers of {zone}: {say(found.cut)}"] if found.cut else []
    reached = await asyncio.gather(
        *(reach(resolver.asker, server, zone) for server in found.servers)
    )
    around = next((one.part_of for one in reached if one.part_of), "")
    if around and not first.part_of:
        remarks.append(_is_part(zone, around))
    for one in reached:
        if one.no_route:
            remarks.append(f"the name server {one.server} of {zone} cannot be looked at: {one.udp}")
        elif one.udp and one.tcp:
            remarks.append(
                f"the name server {one.server} of {zone} {one.udp}; a CA may choose this address, "
                "and orders wait for it"
            )
        elif problem := one.fault or one.udp or one.tcp:
            remarks.append(f"the name server {one.server} of {zone} {problem}")
    return remarks


def _is_part(zone: ZoneName, around: str) -> str:
    return f"{zone} is no zone, but a part of {around}: make {around} the group in its place"


async def _names(answers: Answers, resolver: Resolver) -> list[str]:
    """Look for names that a CA would find no web server at."""
    if not answers.needs_web:
        return []
    names: dict[DomainName, None] = {}
    for text in (name for service in answers.services for name in service.names):
        name = san_or_none(text)
        if isinstance(name, DomainName) and not name.is_wildcard:
            names[name] = None

    async def one(name: DomainName) -> str:
        try:
            found = await resolver.addresses(name.text)
        except SslmError as err:
            return f"{name}: {err}"
        return "" if found else f"{name} has no address, so the CA would find no web server"

    return [text for text in await asyncio.gather(*map(one, names)) if text]
