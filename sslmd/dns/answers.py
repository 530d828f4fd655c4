"""Reading answers: chains of CNAMEs, strings of TXT, TLSA records, serials.

Answers come from outside: whatever is in them, nothing here fails or goes on for ever.
"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rrset
import dns.serial

from sslmd.core.dane.tlsa import Tlsa
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason

# CNAMEs in a row. Resolvers give up at about this many; nobody needs more than two or three.
LONGEST_CHAIN = 8


def rcode_of(answer: dns.message.Message) -> str:
    """Return an answer's rcode as text: `SERVFAIL`."""
    return dns.rcode.to_text(answer.rcode())


def error_in(answer: dns.message.Message) -> Reason | None:
    """Return the error that an answer is, None if it tells what there is, or that there is nothing.

    A DNAME may make a name that is too long (YXDOMAIN, RFC 6672 §2.2): an error as well.
    """
    if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    return Reason(Failed.NS_ANSWERS, rcode=rcode_of(answer))


def unfit(answer: dns.message.Message, name: DomainName, zone: ZoneName) -> Reason | None:
    """Return why an answer says nothing of a name in a zone.

    None if it does so with authority, or refers to a zone below.
    """
    if (error := error_in(answer)) is not None:
        return error
    if answer.flags & dns.flags.AA or delegation(answer, name, zone):
        return None
    return Reason(Failed.NS_NOT_AUTHORITATIVE, owner=name)


def find(
    section: list[dns.rrset.RRset], name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    """Return the records of that name and type in a section of an answer."""
    for rrset in section:
        if (
            rrset.name == name
            and rrset.rdtype == rdtype
            and rrset.rdclass == dns.rdataclass.IN
            and rrset
        ):
            return rrset
    return None


def end_of_chain(answer: dns.message.Message, name: dns.name.Name) -> dns.name.Name:
    """Return where the CNAMEs in an answer lead from `name`: `name` itself without any."""
    for _ in range(LONGEST_CHAIN):
        cname = find(answer.answer, name, dns.rdatatype.CNAME)
        if cname is None:
            break
        name = cname[0].target
    return name


def txt_in(answer: dns.message.Message, name: dns.name.Name) -> tuple[frozenset[str], int]:
    """Return the values of TXT at a name in an answer, and their TTL in seconds.

    Several strings in one record are one value.
    """
    rrset = find(answer.answer, name, dns.rdatatype.TXT)
    if rrset is None:
        return frozenset(), 0
    values = (b"".join(rdata.strings) for rdata in rrset)
    return frozenset(value.decode("ascii", "replace") for value in values), rrset.ttl


def tlsa_in(answer: dns.message.Message, name: dns.name.Name) -> tuple[frozenset[Tlsa], int]:
    """Return the TLSA records at a name in an answer, and their TTL in seconds.

    One without data, which no certificate matches, is none.
    """
    rrset = find(answer.answer, name, dns.rdatatype.TLSA)
    if rrset is None:
        return frozenset(), 0
    records = frozenset(
        Tlsa(rdata.usage, rdata.selector, rdata.mtype, rdata.cert.hex())
        for rdata in rrset
        if rdata.cert
    )
    return records, rrset.ttl if records else 0


def soa_serial(answer: dns.message.Message) -> int | None:
    """Return the serial in an answer to SOA, or in a negative one (RFC 2308 §3)."""
    for rrset in (*answer.answer, *answer.authority):
        if rrset.rdtype == dns.rdatatype.SOA and rrset:
            return int(rrset[0].serial)
    return None


def is_behind(serial: int, other: int) -> bool:
    """Whether `serial` is older than `other`; they go round (RFC 1982)."""
    return bool(dns.serial.Serial(serial) < dns.serial.Serial(other))


def delegation(answer: dns.message.Message, name: DomainName, zone: ZoneName) -> ZoneName | None:
    """Return the zone below ours to which an answer refers (RFC 1034 §4.3.2), None if none."""
    if answer.flags & dns.flags.AA or answer.answer:
        return None
    for rrset in answer.authority:
        if rrset.rdtype != dns.rdatatype.NS:
            continue
        child = rrset.name.to_text().rstrip(".").lower()
        if child.endswith(f".{zone}") and name.is_within(ZoneName(child)):
            return ZoneName(child)
    return None


def zone_in(answer: dns.message.Message, name: DomainName) -> ZoneName | None:
    """Return the zone that the SOA of a negative answer names (RFC 2308 §3), None without one."""
    for rrset in answer.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            zone = ZoneName(rrset.name.to_text().rstrip(".").lower())
            if zone.text and name.is_within(zone):
                return zone
    return None


def dname_in(answer: dns.message.Message, here: dns.name.Name) -> dns.name.Name | None:
    """Return the owner of the DNAME of which a CNAME at `here` was made, None if there is none."""
    for rrset in answer.answer:
        if rrset.rdtype == dns.rdatatype.DNAME and here.is_subdomain(rrset.name):
            return rrset.name
    return None


def depth_in(answer: dns.message.Message, here: dns.name.Name) -> int | None:
    """Return how many labels a signature covers of a name that a wildcard made (RFC 4034 §3.1.3).

    None where there is no signature, or one as of a name that exists.
    """
    for rrset in answer.answer:
        if rrset.rdtype == dns.rdatatype.RRSIG and rrset.name == here and rrset:
            labels = int(rrset[0].labels)
            return labels if labels < len(here) - 1 else None
    return None


def least_ttl(answer: dns.message.Message, default: int) -> int:
    """Return for how many seconds an answer counts; a negative one as RFC 2308 §5 says.

    `default`: where no record of it has a TTL.
    """
    ttls = [rrset.ttl for rrset in answer.answer]
    for rrset in answer.authority:
        if rrset.rdtype == dns.rdatatype.SOA and rrset:
            ttls.append(min(rrset.ttl, int(rrset[0].minimum)))
        elif rrset.rdtype == dns.rdatatype.NS:
            ttls.append(rrset.ttl)
    return min(ttls, default=default)
