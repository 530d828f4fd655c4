"""What the daemon asks about DNS, and what it gets: answers of name servers as plain data.

Names are texts in lower case without the last dot, the root is ".". A dot in such a text is always
one between labels: whatever is no usual letter of a label stands as `\\DDD`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sslmd.core.failed import Failed
from sslmd.net.link import Operation, message

# Bytes of an answer by UDP that no path breaks into fragments (DNS flag day 2020).
PAYLOAD = 1232

# Records of all sections of an answer. An owner with a TXT record for each of 250 orders fits in.
MOST_RECORDS = 300

_Name = Annotated[str, StringConstraints(max_length=1020, pattern=r"^[!-~]+$")]
_Word = Annotated[str, StringConstraints(max_length=20, pattern=r"^[A-Z0-9-]+$")]
_Address = Annotated[str, StringConstraints(max_length=45, pattern=r"^[0-9a-f:.]+$")]
_Byte = Annotated[int, Field(ge=0, le=0xFF)]
_Short = Annotated[int, Field(ge=0, le=0xFFFF)]
_Long = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
_Data = Annotated[bytes, Field(max_length=0xFFFF)]
_Host = Annotated[str, StringConstraints(max_length=100, pattern=r"^[!-~]+$")]  # fe80::1%eth0
_Said = Annotated[str, StringConstraints(max_length=0xFFFF)]


class AskedBy(StrEnum):
    """How a server is asked."""

    UDP = "udp"  # and by TCP when the answer does not fit (RFC 7766), or does not come
    TCP = "tcp"


@message
@dataclass(frozen=True, slots=True)
class DnsQuestion:
    """One question to one server, `seconds` for each way.

    `recursive`: RD; `checking_disabled`: CD; `dnssec`: DO. `limited`: a question that is sent once
    more by UDP would probably only count as one more.
    """

    address: str
    port: int
    name: str
    type: str
    seconds: float
    way: AskedBy = AskedBy.UDP
    recursive: bool = False
    checking_disabled: bool = False
    dnssec: bool = False
    edns: bool = True
    limited: bool = False


@message
@dataclass(frozen=True, slots=True)
class Address:
    """A, AAAA."""

    address: _Address
    kind: Literal["address"] = "address"


@message
@dataclass(frozen=True, slots=True)
class Target:
    """NS, CNAME, DNAME, PTR."""

    target: _Name
    kind: Literal["target"] = "target"


@message
@dataclass(frozen=True, slots=True)
class Mx:
    """MX."""

    preference: _Short
    exchange: _Name
    kind: Literal["mx"] = "mx"


@message
@dataclass(frozen=True, slots=True)
class Txt:
    """TXT: its strings are one value."""

    value: _Data
    kind: Literal["txt"] = "txt"


@message
@dataclass(frozen=True, slots=True)
class TlsaData:
    """TLSA."""

    usage: _Byte
    selector: _Byte
    match: _Byte
    data: _Data
    kind: Literal["tlsa"] = "tlsa"


@message
@dataclass(frozen=True, slots=True)
class Soa:
    """SOA, what of it is used."""

    serial: _Long
    minimum: _Long
    kind: Literal["soa"] = "soa"


@message
@dataclass(frozen=True, slots=True)
class Caa:
    """CAA."""

    flags: _Byte
    tag: _Said
    value: _Said
    kind: Literal["caa"] = "caa"


@message
@dataclass(frozen=True, slots=True)
class Rrsig:
    """RRSIG, what of it is used. `covers`: a type; `expiration`: seconds since 1970."""

    covers: _Word
    labels: _Byte
    signer: _Name
    expiration: _Long
    kind: Literal["rrsig"] = "rrsig"


@message
@dataclass(frozen=True, slots=True)
class Other:
    """A record of another type, or one that nobody reads."""

    kind: Literal["other"] = "other"


Record = Annotated[
    Address | Target | Mx | Txt | TlsaData | Soa | Caa | Rrsig | Other,
    Field(discriminator="kind"),
]


@message
@dataclass(frozen=True, slots=True)
class RecordSet:
    """The records of one type (of class IN) at one name. `ttl`: seconds."""

    owner: _Name
    type: _Word
    ttl: _Long
    records: Annotated[tuple[Record, ...], Field(max_length=MOST_RECORDS)]


_Section = Annotated[tuple[RecordSet, ...], Field(max_length=MOST_RECORDS)]


@message
@dataclass(frozen=True, slots=True)
class ExtendedError:
    """Why a resolver fails (RFC 8914). `name`: of its code."""

    name: Annotated[str, StringConstraints(max_length=100)]
    text: _Said


@message
@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """A server's answer.

    `by_tcp`: how it came; `by_udp`: the server answered by UDP, and be it with "too long". `size`:
    its bytes. `seconds`: how long ago the question was sent.
    """

    rcode: Annotated[int, Field(ge=0, le=4095)]
    is_authoritative: bool = False
    is_authentic: bool = False
    answer: _Section = ()
    authority: _Section = ()
    error: ExtendedError | None = None
    by_udp: bool = False
    by_tcp: bool = False
    size: int = 0
    seconds: float = 0.0


class Unheard(StrEnum):
    """What there is instead of an answer."""

    SILENT = "silent"  # refused, or nonsense
    MUTE = "mute"  # nothing in time, or cut short: a server that limits its answers does so
    EXCESSIVE = "excessive"  # more than is read
    OUT_OF_REACH = "out-of-reach"  # this machine has no route


_Why = Literal[
    Failed.NS_SILENT,
    Failed.NS_NOISE,
    Failed.NS_CLOSED,
    Failed.NS_NOT_ASKED,
    Failed.NS_OUT_OF_REACH,
    Failed.NS_NONSENSE,
    Failed.NS_TOO_MANY,
    Failed.NS_TOO_LONG,
]


@message
@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why a server gave none. `errno`: of the system's; `records`: of too many, how many."""

    kind: Unheard
    why: _Why
    tcp: bool = False
    errno: Annotated[int, Field(ge=-1000, le=1000)] = 0
    records: int = 0
    by_udp: bool = False
    seconds: float = 0.0


@message
@dataclass(frozen=True, slots=True)
class DnsUpdate:
    """A dynamic update to be sent by TCP, made and signed by the daemon. `seconds`: at most."""

    address: str
    port: int
    message: bytes
    seconds: float


@message
@dataclass(frozen=True, slots=True)
class Tsig:
    """The TSIG record of an answer (RFC 8945 §4.2)."""

    key: _Name
    algorithm: _Name
    time_signed: Annotated[int, Field(ge=0, le=0xFFFFFFFFFFFF)]
    fudge: _Short
    mac: _Data
    original_id: _Short
    error: _Short
    other: _Data


@message
@dataclass(frozen=True, slots=True)
class UpdateAnswer:
    """A primary's answer. `signed`: it up to its TSIG record, header and all; not checked yet."""

    rcode: Annotated[int, Field(ge=0, le=15)]
    signed: Annotated[bytes, Field(max_length=0xFFFF)] = b""
    tsig: Tsig | None = None


@message
@dataclass(frozen=True, slots=True)
class Host:
    """A host whose addresses the system tells (`/etc/hosts`, and what else it asks)."""

    name: str


@message
@dataclass(frozen=True, slots=True)
class HostAddresses:
    """None if it tells none."""

    addresses: Annotated[tuple[_Host, ...], Field(max_length=1000)] = ()


EXCHANGE: Operation[DnsQuestion, DnsAnswer | NoAnswer] = Operation(
    "dns.exchange", DnsQuestion, DnsAnswer | NoAnswer
)
# Sent twice, an update of ours does what it does once: it adds and deletes single records.
SEND_UPDATE: Operation[DnsUpdate, UpdateAnswer | NoAnswer] = Operation(
    "dns.update", DnsUpdate, UpdateAnswer | NoAnswer
)
LOOK_UP: Operation[Host, HostAddresses] = Operation("dns.look-up", Host, HostAddresses)
