"""Include files with the challenges of a zone, as zone files take them by `$INCLUDE`.

They are always there and whole: a name server refuses a zone with a missing or broken one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sslmd.core.errors import SslmError
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.store.files import read_shared

# Seconds.
TTL = 60

# base64url without padding is what a challenge's value is (RFC 8555 §8.4); nothing in it needs
# escaping in a zone file. One string of TXT has 255 octets at most (RFC 1035 §3.3).
_VALUE = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
# Class and TTL come in either order, or not at all (RFC 1035 §5.1).
_TTL_OR_CLASS = re.compile(r"[0-9]+[smhdw]?|IN", re.IGNORECASE)


# The first line of what is written here.
_OURS = b"; ACME challenges of "


def is_ours(data: bytes) -> bool:
    """Whether an include file was written here, and not by ssl-mgr or by hand."""
    return data.startswith(_OURS)


def render(zone: ZoneName, records: Iterable[TxtRecord], ttl: int = TTL) -> bytes:
    """Return the include file with these records, a comment alone if there are none.

    `ttl` in seconds. Raises ValueError for what could break the zone: an owner outside of it, a
    value that is not base64url.
    """
    lines = [f"; ACME challenges of {zone}. sslmd writes this file; what you change here is lost."]
    for record in sorted(set(records)):
        owner = DomainName.parse(record.owner.text)
        if not owner.is_within(zone):
            raise ValueError(f"{owner} is not in zone {zone}")
        if not _VALUE.match(record.value):
            raise ValueError(f"{owner}: {record.value!r} is not the value of a challenge")
        lines.append(f'{owner}. {ttl:d} IN TXT "{record.value}"')
    return "\n".join([*lines, ""]).encode()


def read(path: str) -> frozenset[TxtRecord] | None:
    """Return the records in an include file, of ours or of ssl-mgr; None if it cannot be read.

    Blocks. Whoever owns it: a signer may have given it to its own user.
    """
    data = data_of(path)
    return None if data is None else parse(data)


def data_of(path: str) -> bytes | None:
    """Return what an include file holds, whoever owns it; None if it cannot be read. Blocks."""
    try:
        return read_shared(path)
    except (FileNotFoundError, SslmError):
        return None


def parse(data: bytes) -> frozenset[TxtRecord]:
    """Return the records in an include file; lines that are no challenge are skipped."""
    lines = data.decode(errors="replace").splitlines()
    return frozenset(record for line in lines if (record := _record(line.strip())))


def _record(line: str) -> TxtRecord | None:
    owner, *words = line.partition(";")[0].split() or [""]
    at = 0
    while at < len(words) and _TTL_OR_CLASS.fullmatch(words[at]):
        at += 1
    if not owner.endswith(".") or [word.upper() for word in words[at : at + 1]] != ["TXT"]:
        return None
    # The strings of one record are one value.
    value = "".join(word.strip('"') for word in words[at + 1 :])
    try:
        return TxtRecord(DomainName.parse(owner[:-1]), value) if _VALUE.match(value) else None
    except BadName:
        return None
