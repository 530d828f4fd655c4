"""Include files with the TLSA records of a zone, as zone files take them by `$INCLUDE`.

They are always there and whole: a name server refuses a zone with a missing or broken one. What
`render` writes, `read` gives back; of what others wrote, it takes the TLSA records.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from sslmd.core.dane.tlsa import Content, Tlsa, TlsaSet
from sslmd.core.errors import SslmError
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.store.files import read_shared

# Bytes. Whole certificates (matching type 0) of every host of a large zone.
MOST = 8 << 20

# Seconds (RFC 2181 §8).
LONGEST_TTL = 2**31 - 1

# Hex digits in a row: SHA-512 just fits. What is longer goes over several lines; RFC 6698 §2.2
# allows blanks, and the lexers of name servers have limits for words and lines.
IN_A_ROW = 128

_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")
_TTL = re.compile(r"[0-9]{1,10}(?:[smhdw][0-9]{1,10})*[smhdw]?\Z", re.IGNORECASE)
_PART = re.compile(r"([0-9]+)([smhdw]?)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# RFC 1035 §5.1: words, strings, parentheses, comments, ends of lines. A string that is not closed
# ends with its line.
_WORDS = re.compile(r'\n|;[^\n]*|[()]|"(?:\\.|[^"\\\n])*"?|(?:\\.|[^\s;()"])+')


# The first line of what is written here.
_OURS = "; TLSA records of "


def render(zone: ZoneName, content: Content) -> bytes:
    """Return the include file with these records, a comment alone if there are none.

    Raises ValueError for what could break the zone: an owner outside of it, data that is not hex,
    numbers that are out of range.
    """
    lines = [f"{_OURS}{zone}. sslmd writes this file; what you change here is lost."]
    for owner in sorted(content):
        name = DomainName.parse(owner.text)
        if not name.is_within(zone):
            raise ValueError(f"{name} is not in zone {zone}")
        ttl = content[owner].ttl
        if not 0 <= ttl <= LONGEST_TTL:
            raise ValueError(f"{name}: {ttl} is no TTL")
        for record in sorted(content[owner].records):
            lines += _lines(name, ttl, record)
    return "\n".join([*lines, ""]).encode()


def _lines(owner: DomainName, ttl: int, record: Tlsa) -> list[str]:
    numbers = (record.usage, record.selector, record.match)
    if not all(0 <= number <= 255 for number in numbers) or not _HEX.match(record.data):
        raise ValueError(f"{owner}: {str(record)[:80]!r} is no TLSA record")
    start = f"{owner}. {ttl:d} IN TLSA {record.combination}"
    if len(record.data) <= IN_A_ROW:
        return [f"{start} {record.data}"]
    rows = range(0, len(record.data), IN_A_ROW)
    return [f"{start} (", *(f"  {record.data[at : at + IN_A_ROW]}" for at in rows), ")"]


def read(path: str, default_ttl: int) -> Content | None:
    """Return the records in an include file, of ours or of ssl-mgr; None if it cannot be read.

    `default_ttl`, in seconds, is that of records without one, as ssl-mgr wrote them. Where those
    of an owner differ, the longest counts: nobody keeps the records for longer. Blocks, never
    raises. What is no TLSA record with an absolute name is passed over. Whoever owns it: a signer
    may have given it to its own user.
    """
    data = data_of(path)
    return None if data is None else parse(data, default_ttl)


def data_of(path: str) -> bytes | None:
    """Return what an include file holds, whoever owns it; None if it cannot be read. Blocks."""
    try:
        return read_shared(path, MOST)
    except (FileNotFoundError, SslmError):
        return None


def is_ours(data: bytes) -> bool:
    """Whether an include file was written here, and not by ssl-mgr or by hand."""
    return data.startswith(_OURS.encode())


def says(data: bytes, zone: ZoneName, content: Content) -> bool:
    """Whether an include file says just that.

    One of ours has to be as `render` writes it. One of ssl-mgr's, or of others, may have other
    comments and other lifetimes: what was served before sslmd came stays until records change.
    """
    if is_ours(data):
        return data == render(zone, content)
    return records_in(parse(data, 0)) == records_in(content)


def records_in(content: Content) -> dict[DomainName, frozenset[Tlsa]]:
    """Return the records at each owner, whatever their lifetime."""
    return {owner: some.records for owner, some in content.items() if some.records}


def parse(data: bytes, default_ttl: int) -> Content:
    """Return the records in what an include file holds, as `read` does."""
    ttls: dict[DomainName, int] = {}
    records: dict[DomainName, set[Tlsa]] = defaultdict(set)
    for words in _entries(data.decode(errors="replace")):
        found = _record(words, default_ttl)
        if found is not None:
            owner, ttl, record = found
            ttls[owner] = max(ttl, ttls.get(owner, 0))
            records[owner].add(record)
    return {owner: TlsaSet(ttls[owner], frozenset(records[owner])) for owner in sorted(records)}


def _entries(text: str) -> Iterator[list[str]]:
    """Return the words of each entry; parentheses hold lines together (RFC 1035 §5.1)."""
    words: list[str] = []
    depth = 0
    for word in _WORDS.findall(text):
        if word == "(":
            depth += 1
        elif word == ")":
            depth = max(0, depth - 1)
        elif word == "\n":
            if depth == 0:
                yield words
                words = []
        elif not word.startswith(";"):
            words.append(word)
    yield words


def _record(words: list[str], default_ttl: int) -> tuple[DomainName, int, Tlsa] | None:
    if len(words) < 6 or not words[0].endswith("."):
        return None
    ttl, at = default_ttl, 1
    # Class and TTL come in either order, or not at all.
    while at < 3 and words[at].upper() != "TLSA":
        if _TTL.match(words[at]):
            ttl = _seconds(words[at])
        elif words[at].upper() != "IN":
            return None
        at += 1
    kind, numbers, data = words[at], words[at + 1 : at + 4], "".join(words[at + 4 :]).lower()
    if kind.upper() != "TLSA" or not all(re.fullmatch("[0-9]{1,3}", one) for one in numbers):
        return None
    if len(numbers) < 3 or max(map(int, numbers)) > 255 or not _HEX.match(data):
        return None
    usage, selector, match = map(int, numbers)
    try:
        return DomainName.parse(words[0]), ttl, Tlsa(usage, selector, match, data)
    except BadName:
        return None


def _seconds(text: str) -> int:
    seconds = sum(int(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(text))
    return min(seconds, LONGEST_TTL)
