"""What came back from a name server: whether it answers the question, and reading it within bounds.

Anybody may send us datagrams, and a name server may send what it likes. So the header and the
question are compared byte by byte before anything is parsed. Parsing takes time by the number of
records and by what their names expand to: a message of 64 KiB, each name of it compressed to 120
labels, takes dnspython 10 seconds; 3,800 plain records take 0.08. Names that are
made to collide in a hash table take time by the square of their number. Hence `MOST_RECORDS`, and
a number of steps after which parsing ends: a few in the event loop, which is enough for nearly
all answers, and more of them in a thread of its own.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.wire

from sslmd.net.dns_messages import (
    MOST_RECORDS,
    PAYLOAD,
    Address,
    Caa,
    DnsAnswer,
    DnsQuestion,
    ExtendedError,
    Mx,
    Other,
    Record,
    RecordSet,
    Rrsig,
    Soa,
    Target,
    TlsaData,
    Tsig,
    Txt,
    UpdateAnswer,
)

# Steps of the parser: a label takes two, a record about ten. In the event loop they are 2 ms at
# most, in the thread 0.1 s; names that collide add as much.
STEPS_AT_ONCE = 300
STEPS = 15_000

_HEADER = struct.Struct("!HHHHHH")  # RFC 1035 §4.1.1
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length (§3.2.1)
_SMALLEST_RECORD = 11  # bytes: the root and that

# With these, a server need not repeat the question (RFC 1035 §4.1.1: it may not have understood).
_BARE = frozenset({dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED})

# What a label is nearly always, and what of others does not stand in a name as it is: what is not
# printed, the dot, and what has a meaning in zone files.
_USUAL = re.compile(rb"[a-z0-9_*-]*\Z")
_UNUSUAL = re.compile(r"[^!-~]|[\"().;\\@$]")

# One, so that answers that take long take turns, and not all of the machine.
_READER = ThreadPoolExecutor(1, thread_name_prefix="dns-answers")


class TooManyError(Exception):
    """An answer has more records than are read: `records`."""

    def __init__(self, records: int) -> None:
        super().__init__(records)
        self.records = records


class TooLongError(Exception):
    """An answer takes too long to read."""


class Query:
    """A question as it is sent, and what answers it."""

    def __init__(self, asked: DnsQuestion) -> None:
        flags = dns.flags.Flag(0)
        if asked.recursive:
            flags |= dns.flags.RD
        if asked.checking_disabled:
            flags |= dns.flags.CD
        name = dns.name.from_text(asked.name)
        edns: dict[str, Any] = {"use_edns": False}
        if asked.edns:
            edns = {"use_edns": 0, "payload": PAYLOAD, "want_dnssec": asked.dnssec}
        query = dns.message.make_query(name, asked.type, flags=flags, **edns)
        (question,) = query.question
        self.wire: bytes = query.to_wire()
        self._id = query.id
        self._name = name.to_wire() or b""
        self._rest = struct.pack("!HH", question.rdtype, question.rdclass)

    def is_answered_by(self, data: bytes) -> bool:
        """Whether it is an answer to this question, by its header and question alone."""
        if not _is_reply(data, self._id, dns.opcode.QUERY):
            return False
        _, flags, questions, *_ = _HEADER.unpack_from(data)
        if not questions:
            return dns.rcode.from_flags(flags, 0) in _BARE
        begin = _HEADER.size
        end = begin + len(self._name)
        # Names in any case (RFC 4343); lengths of labels are no letters.
        return (
            questions == 1
            and data[end : end + 4] == self._rest
            and data[begin:end].lower() == self._name.lower()
        )


def _is_reply(data: bytes, ident: int, opcode: int) -> bool:
    if len(data) < _HEADER.size:
        return False
    its, flags, *_ = _HEADER.unpack_from(data)
    return its == ident and bool(flags & dns.flags.QR) and dns.opcode.from_flags(flags) == opcode


def is_cut_short(data: bytes) -> bool:
    """Whether a server says that its answer does not fit (TC)."""
    return bool(_HEADER.unpack_from(data)[1] & dns.flags.TC)


async def read(data: bytes) -> DnsAnswer:
    """Return an answer that was sent, read in a thread where that takes long.

    Raises `TooManyError`, `TooLongError`, and `DNSException` for what makes no sense.
    """
    answer = read_at_once(data)
    if answer is not None:
        return answer
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_READER, _read, data, STEPS)
    except _StepsError:
        raise TooLongError from None


def read_at_once(data: bytes) -> DnsAnswer | None:
    """Return an answer if it takes little time, else None; raises what `read` raises."""
    _count(data)
    try:
        return _read(data, STEPS_AT_ONCE)
    except _StepsError:
        return None


def _count(data: bytes) -> None:
    records = sum(_HEADER.unpack_from(data)[3:])
    if records * _SMALLEST_RECORD > len(data):
        raise dns.exception.FormError  # more are announced than fit in
    if records > MOST_RECORDS:
        raise TooManyError(records)


def _read(data: bytes, steps: int) -> DnsAnswer:
    # What dns.message.from_wire does, with a parser that counts.
    reader: Any = getattr(dns.message, "_WireReader")(data, lambda _: None)  # noqa: B009
    reader.parser = _Counting(data, steps)
    try:
        found: dns.message.Message = reader.read()
        flags = found.flags
        return DnsAnswer(
            rcode=int(found.rcode()),
            is_authoritative=bool(flags & dns.flags.AA),
            is_authentic=bool(flags & dns.flags.AD),
            answer=tuple(_sets(found.answer)),
            authority=tuple(_sets(found.authority)),
            error=next(_errors(found), None),
            size=len(data),
        )
    except dns.exception.DNSException:
        raise
    except Exception:  # whatever a parser says of whatever was sent
        raise dns.exception.FormError from None


class _StepsError(dns.exception.FormError):
    """Parsing takes longer than it may. dnspython makes a FormError of everything else."""


class _Counting(dns.wire.Parser):
    """Ends when it has taken so many steps."""

    def __init__(self, wire: bytes, steps: int) -> None:
        super().__init__(wire)
        self._left = steps

    def get_bytes(self, size: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise _StepsError
        return super().get_bytes(size)


def _errors(answer: dns.message.Message) -> Iterator[ExtendedError]:
    for option in answer.options:
        if isinstance(option, dns.edns.EDEOption):
            yield ExtendedError(str(option.code.name), option.text or "")


# --- records ----------------------------------------------------------------------------------


def _sets(section: Iterable[dns.rrset.RRset]) -> Iterable[RecordSet]:
    for rrset in section:
        if rrset.rdclass == dns.rdataclass.IN and rrset:
            kind = dns.rdatatype.to_text(rrset.rdtype)
            make = _MADE.get(kind, lambda _: Other())
            records = tuple(make(rdata) for rdata in rrset)
            yield RecordSet(text_of(rrset.name), kind, rrset.ttl, records)


def _target(rdata: Any) -> Record:
    return Target(text_of(rdata.target))


def _address(rdata: Any) -> Record:
    return Address(rdata.address)


_MADE: dict[str, Any] = {
    "A": _address,
    "AAAA": _address,
    "NS": _target,
    "CNAME": _target,
    "DNAME": _target,
    "PTR": _target,
    "MX": lambda rdata: Mx(rdata.preference, text_of(rdata.exchange)),
    "TXT": lambda rdata: Txt(b"".join(rdata.strings)),
    "TLSA": lambda rdata: TlsaData(rdata.usage, rdata.selector, rdata.mtype, rdata.cert),
    "SOA": lambda rdata: Soa(rdata.serial, rdata.minimum),
    "CAA": lambda rdata: Caa(
        rdata.flags, rdata.tag.decode("ascii", "replace"), rdata.value.decode("utf-8", "replace")
    ),
    "RRSIG": lambda rdata: Rrsig(
        dns.rdatatype.to_text(rdata.type_covered),
        rdata.labels,
        text_of(rdata.signer),
        rdata.expiration,
    ),
}


def text_of(name: dns.name.Name) -> str:
    """Return a name as `dns_messages` has it."""
    labels = name.labels[:-1]
    return ".".join(map(_label, labels)) if labels else "."


def _label(label: bytes) -> str:
    label = label.lower()
    text = label.decode("latin-1")
    if _USUAL.match(label):
        return text
    return _UNUSUAL.sub(lambda found: f"\\{ord(found[0]):03}", text)


# --- answers to updates -----------------------------------------------------------------------


def is_update_answer(data: bytes, message: bytes) -> bool:
    """Whether it answers an update; what of it is repeated is up to the server (RFC 2136 §3.8)."""
    return _is_reply(data, _HEADER.unpack_from(message)[0], dns.opcode.UPDATE)


def read_update_answer(data: bytes) -> UpdateAnswer:
    """Return what a primary answers to an update.

    Raises what `read` raises: such an answer is short.
    """
    _count(data)
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    rcode = flags & 0x0F
    if questions > 1:
        raise dns.exception.FormError
    try:
        parser = _Counting(data, STEPS_AT_ONCE)
        parser.seek(_HEADER.size)
        for _ in range(questions):
            parser.get_name(decompress=True)
            parser.get_bytes(4)
        for left in reversed(range(sum(counts))):
            begin = parser.current
            owner = parser.get_name(decompress=True)
            rdtype, rdclass, _, length = parser.get_struct(_RECORD.format)
            if rdtype != dns.rdatatype.TSIG:
                parser.get_bytes(length)
                continue
            if left or rdclass != dns.rdataclass.ANY or not counts[-1]:
                raise dns.exception.FormError  # RFC 8945 §5.2: it is the last one
            with parser.restrict_to(length):
                return UpdateAnswer(rcode, data[:begin], _tsig(owner, parser))
    except _StepsError:
        raise TooLongError from None
    except dns.exception.DNSException:
        raise
    except Exception:
        raise dns.exception.FormError from None
    return UpdateAnswer(rcode)


def _tsig(owner: dns.name.Name, parser: dns.wire.Parser) -> Tsig:
    algorithm = parser.get_name()
    time_signed = parser.get_uint48()
    fudge = parser.get_uint16()
    mac = parser.get_counted_bytes(2)
    original_id, error = parser.get_struct("!HH")
    other = parser.get_counted_bytes(2)
    return Tsig(
        text_of(owner), text_of(algorithm), time_signed, fudge, mac, original_id, error, other
    )
