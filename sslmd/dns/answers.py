"""Reading answers: chains of CNAMEs, strings of TXT, TLSA records, serials.

Answers come from outside: whatever is in them, nothing here fails or goes on for ever. Names are
texts as `net.dns_messages` has them.
"""

from __future__ import annotations

from typing import TypeVar

import dns.rcode
import dns.serial

from sslmd.core.dane.tlsa import Tlsa
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.net.dns_messages import (
    Address,
    DnsAnswer,
    RecordSet,
    Rrsig,
    Soa,
    Target,
    TlsaData,
    Txt,
)

R = TypeVar("R")

# CNAMEs in a row. Resolvers give up at about this many; nobody needs more than two or three.
LONGEST_CHAIN = 8


def rcode_of(answer: DnsAnswer) -> str:
    """Return an answer's rcode as text: `SERVFAIL`."""
    return dns.rcode.to_text(dns.rcode.Rcode.make(answer.rcode))


def error_in(answer: DnsAnswer) -> Reason | None:
    """Return the error that an answer is, None if it tells what there is, or that there is nothing.

    A DNAME may make a name that is too long (YXDOMAIN, RFC 6672 §2.2): an error as well.
    """
    if answer.rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    return Reason(Failed.NS_ANSWERS, rcode=rcode_of(answer))


def unfit(answer: DnsAnswer, name: DomainName, zone: ZoneName) -> Reason | None:
    """Return why an answer says nothing of a name in a zone.

    None if it does so with authority, or refers to a zone below.
    """
    if (error := error_in(answer)) is not None:
        return error
    if answer.is_authoritative or delegation(answer, name, zone):
        return None
    return Reason(Failed.NS_NOT_AUTHORITATIVE, owner=name)


def plain_name(name: object) -> str:
    """Return a name as answers have it: in lower case, without the last dot."""
    return str(name).lower().removesuffix(".") or "."


def is_at_or_below(name: str, above: str) -> bool:
    """Whether a name of an answer is another one, or below it."""
    return above == "." or name == above or name.endswith(f".{above}")


def find(section: tuple[RecordSet, ...], name: str, rdtype: str) -> RecordSet | None:
    """Return the records of that name and type in a section of an answer."""
    for found in section:
        if found.owner == name and found.type == rdtype:
            return found
    return None


def records_in(found: RecordSet | None, kind: type[R]) -> list[R]:
    """Return the records of a set that are of the kind that its type has."""
    return [one for one in found.records if isinstance(one, kind)] if found is not None else []


def targets_in(found: RecordSet | None) -> list[str]:
    """Return where CNAME, DNAME or NS records lead."""
    return [one.target for one in records_in(found, Target)]


def addresses_in(found: RecordSet | None) -> list[str]:
    """Return the addresses in A or AAAA records."""
    return [one.address for one in records_in(found, Address)]


def end_of_chain(answer: DnsAnswer, name: str) -> str:
    """Return where the CNAMEs in an answer lead from `name`: `name` itself without any."""
    for _ in range(LONGEST_CHAIN):
        targets = targets_in(find(answer.answer, name, "CNAME"))
        if not targets:
            break
        name = targets[0]
    return name


def txt_in(answer: DnsAnswer, name: str) -> tuple[frozenset[str], int]:
    """Return the values of TXT at a name in an answer, and their TTL in seconds.

    Several strings in one record are one value.
    """
    found = find(answer.answer, name, "TXT")
    if found is None:
        return frozenset(), 0
    values = (one.value.decode("ascii", "replace") for one in records_in(found, Txt))
    return frozenset(values), found.ttl


def tlsa_in(answer: DnsAnswer, name: str) -> tuple[frozenset[Tlsa], int]:
    """Return the TLSA records at a name in an answer, and their TTL in seconds."""
    return tlsa_of(find(answer.answer, name, "TLSA"))


def tlsa_of(found: RecordSet | None) -> tuple[frozenset[Tlsa], int]:
    """Return TLSA records, and their TTL in seconds.

    One without data, which no certificate matches, is none.
    """
    if found is None:
        return frozenset(), 0
    records = frozenset(
        Tlsa(one.usage, one.selector, one.match, one.data.hex())
        for one in records_in(found, TlsaData)
        if one.data
    )
    return records, found.ttl if records else 0


def soa_serial(answer: DnsAnswer) -> int | None:
    """Return the serial in an answer to SOA, or in a negative one (RFC 2308 §3)."""
    for found in (*answer.answer, *answer.authority):
        for soa in records_in(found, Soa):
            return soa.serial
    return None


def is_behind(serial: int, other: int) -> bool:
    """Whether `serial` is older than `other`; they go round (RFC 1982)."""
    return bool(dns.serial.Serial(serial) < dns.serial.Serial(other))


def delegation(answer: DnsAnswer, name: DomainName, zone: ZoneName) -> ZoneName | None:
    """Return the zone below ours to which an answer refers (RFC 1034 §4.3.2), None if none."""
    if answer.is_authoritative or answer.answer:
        return None
    for found in answer.authority:
        child = found.owner
        if found.type == "NS" and child.endswith(f".{zone}") and name.is_within(ZoneName(child)):
            return ZoneName(child)
    return None


def zone_in(answer: DnsAnswer, name: DomainName) -> ZoneName | None:
    """Return the zone that the SOA of a negative answer names (RFC 2308 §3), None without one."""
    for found in answer.authority:
        if found.type == "SOA" and found.owner != ".":
            zone = ZoneName(found.owner)
            if name.is_within(zone):
                return zone
    return None


def dname_in(answer: DnsAnswer, here: str) -> str | None:
    """Return the owner of the DNAME of which a CNAME at `here` was made, None if there is none."""
    for found in answer.answer:
        if found.type == "DNAME" and is_at_or_below(here, found.owner):
            return found.owner
    return None


def depth_in(answer: DnsAnswer, here: str) -> int | None:
    """Return how many labels a signature covers of a name that a wildcard made (RFC 4034 §3.1.3).

    None where there is no signature, or one as of a name that exists.
    """
    for signature in records_in(find(answer.answer, here, "RRSIG"), Rrsig):
        return signature.labels if signature.labels < here.count(".") + 1 else None
    return None


def least_ttl(answer: DnsAnswer, default: int) -> int:
    """Return for how many seconds an answer counts; a negative one as RFC 2308 §5 says.

    `default`: where no record of it has a TTL.
    """
    ttls = [found.ttl for found in answer.answer]
    for found in answer.authority:
        ttls += [min(found.ttl, soa.minimum) for soa in records_in(found, Soa)]
        if found.type == "NS":
            ttls.append(found.ttl)
    return min(ttls, default=default)
