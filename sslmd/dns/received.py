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
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.wire

from sslmd.core.failed import Failed
from sslmd.core.reason import Reason

# Records of all sections of an answer. An owner with a TXT record for each of 250 orders fits in.
MOST_RECORDS = 300

# Steps of the parser: a label takes two, a record about ten. In the event loop they are 2 ms at
# most, in the thread 0.1 s; names that collide add as much.
STEPS_AT_ONCE = 300
STEPS = 15_000

_HEADER = struct.Struct("!HHHHHH")  # RFC 1035 §4.1.1
_SMALLEST_RECORD = 11  # bytes: the root, type, class, TTL, length

# With these, a server need not repeat the question (RFC 1035 §4.1.1: it may not have understood).
_BARE = frozenset({dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED})

# One, so that answers that take long take turns, and not all of the machine.
_READER = ThreadPoolExecutor(1, thread_name_prefix="dns-answers")


class TooMuchError(Exception):
    """An answer is more than is read: `why`."""

    def __init__(self, why: Reason) -> None:
        super().__init__(why)
        self.why = why


class Query:
    """A question as it is sent, and what answers it."""

    def __init__(self, message: dns.message.Message) -> None:
        self.wire: bytes = message.to_wire()
        self._keyring = message.keyring
        self._mac = message.mac or b""
        self._id = message.id
        self._opcode = message.opcode()
        self._asked = b""
        if self._opcode == dns.opcode.QUERY:
            (question,) = message.question
            name = question.name.to_wire() or b""
            self._asked = name + struct.pack("!HH", question.rdtype, question.rdclass)

    def is_answered_by(self, data: bytes) -> bool:
        """Whether it is an answer to this question, by its header and question alone."""
        if len(data) < _HEADER.size:
            return False
        ident, flags, questions, *_ = _HEADER.unpack_from(data)
        if ident != self._id or not flags & dns.flags.QR:
            return False
        if dns.opcode.from_flags(flags) != self._opcode:
            return False
        if self._opcode != dns.opcode.QUERY:
            return True  # RFC 2136 §3.8: what of an update is repeated is the server's choice
        if not questions:
            return dns.rcode.from_flags(flags, 0) in _BARE
        begin, end = _HEADER.size, _HEADER.size + len(self._asked)
        # Names in any case (RFC 4343); lengths of labels are no letters.
        return (
            questions == 1
            and data[end - 4 : end] == self._asked[-4:]
            and data[begin : end - 4].lower() == self._asked[:-4].lower()
        )

    async def read(self, data: bytes) -> dns.message.Message:
        """Return an answer that was sent, in a thread where that takes long.

        Raises `TooMuchError`, and `DNSException` for what makes no sense.
        """
        answer = self.read_at_once(data)
        if answer is not None:
            return answer
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(_READER, self._read, data, STEPS)
        except _StepsError:
            raise TooMuchError(Reason(Failed.NS_TOO_LONG)) from None

    def read_at_once(self, data: bytes) -> dns.message.Message | None:
        """Return an answer if it takes little time, else None; raises what `read` raises."""
        records = sum(_HEADER.unpack_from(data)[3:])
        if records * _SMALLEST_RECORD > len(data):
            raise dns.exception.FormError  # more are announced than fit in
        if records > MOST_RECORDS:
            raise TooMuchError(Reason(Failed.NS_TOO_MANY, records=records, most=MOST_RECORDS))
        try:
            return self._read(data, STEPS_AT_ONCE)
        except _StepsError:
            return None

    def _read(self, data: bytes, steps: int) -> dns.message.Message:
        def begin(message: dns.message.Message) -> None:
            message.request_mac = self._mac

        # What dns.message.from_wire does, with a parser that counts.
        reader: Any = getattr(dns.message, "_WireReader")(  # noqa: B009
            data, begin, keyring=self._keyring
        )
        reader.parser = _Counting(data, steps)
        try:
            answer = reader.read()
        except dns.exception.DNSException:
            raise
        except Exception:  # whatever a parser says of whatever was sent
            raise dns.exception.FormError from None
        assert isinstance(answer, dns.message.Message)
        return answer


def is_cut_short(data: bytes) -> bool:
    """Whether a server says that its answer does not fit (TC)."""
    return bool(_HEADER.unpack_from(data)[1] & dns.flags.TC)


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
