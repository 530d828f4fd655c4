"""Include files with records of a zone, as zone files take them by `$INCLUDE`.

One has the challenges, another the TLSA records. They are always there and whole: a name server
refuses a zone with a missing or broken one. What is written here reads back; of what others wrote,
ssl-mgr for one, the records of the kind are taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sslmd.core.dane.tlsa import Content, Tlsa, TlsaSet
from sslmd.core.errors import SslmError
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.store.files import MAX_FILE, read_shared
from sslmd.store.layout import Tree, challenge_file, tlsa_file

Challenges = frozenset[TxtRecord]

C = TypeVar("C")

# Seconds: of challenges.
TTL = 60

# Seconds. ssl-mgr wrote no TTL, so that the records have the zone's, which is not known here.
DEFAULT_TTL = 1800

# Seconds (RFC 2181 §8).
LONGEST_TTL = 2**31 - 1

# Bytes. Whole certificates (matching type 0) of every host of a large zone.
MOST_TLSA = 8 << 20

# Hex digits in a row: SHA-512 just fits. What is longer goes over several lines; RFC 6698 §2.2
# allows blanks, and the lexers of name servers have limits for words and lines.
IN_A_ROW = 128

# base64url without padding is what a challenge's value is (RFC 8555 §8.4); nothing in it needs
# escaping in a zone file. One string of TXT has 255 octets at most (RFC 1035 §3.3).
_VALUE = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")
_NUMBER = re.compile(r"[0-9]{1,3}\Z")
_TTL = re.compile(r"[0-9]{1,10}(?:[smhdw][0-9]{1,10})*[smhdw]?\Z", re.IGNORECASE)
_PART = re.compile(r"([0-9]+)([smhdw]?)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# RFC 1035 §5.1: words, strings, parentheses, comments, ends of lines. A string that is not closed
# ends with its line.
_WORDS = re.compile(r'\n|;[^\n]*|[()]|"(?:\\.|[^"\\\n])*"?|(?:\\.|[^\s;()"])+')


@dataclass(frozen=True, slots=True)
class IncludeKind(Generic[C]):
    """One of the two kinds of include files.

    `heading`: how one begins that is written here; `most`: bytes that are read of one. `file_in`:
    where it lies in a folder, `note`: and what may be in DNS is noted. `lines` makes the lines of
    records, `parse` reads them. `no_folder`: the error where a folder is not there.
    """

    heading: str
    most: int
    file_in: Callable[[str, ZoneName], str]
    note: Callable[[Tree, ZoneName], str]
    lines: Callable[[ZoneName, C], Iterable[str]]
    parse: Callable[[bytes], C]
    no_folder: Failed

    def render(self, zone: ZoneName, content: C) -> bytes:
        """Return the include file with these records, a comment alone if there are none.

        Raises ValueError for what could break the zone: an owner outside of it, a value that is no
        challenge's or not hex, numbers that are out of range.
        """
        first = f"{self.heading}{zone}. sslmd writes this file; what you change here is lost."
        return "\n".join([first, *self.lines(zone, content), ""]).encode()

    def read(self, path: str) -> C | None:
        """Return the records in an include file, None if it cannot be read. Blocks."""
        data = self.data_of(path)
        return None if data is None else self.parse(data)

    def data_of(self, path: str) -> bytes | None:
        """Return what an include file holds, None if it cannot be read. Blocks.

        Whoever owns it: a signer may have given it to its own user.
        """
        try:
            return read_shared(path, self.most)
        except (FileNotFoundError, SslmError):
            return None

    def is_ours(self, data: bytes) -> bool:
        """Whether an include file was written here, and not by ssl-mgr or by hand."""
        return data.startswith(self.heading.encode())

    def is_rendered(self, data: bytes, zone: ZoneName, content: C) -> bool:
        """Whether a file is just as it is written here."""
        return data == self.render(zone, content)


def says(data: bytes, zone: ZoneName, content: Content) -> bool:
    """Whether an include file with TLSA records says just that.

    One of ours has to be as it is written here. One of ssl-mgr's, or of others, may have other
    comments and other lifetimes: what was served before sslmd came stays until records change.
    """
    if TLSA_FILES.is_ours(data):
        return TLSA_FILES.is_rendered(data, zone, content)
    return records_in(parse_tlsa(data)) == records_in(content)


def records_in(content: Content) -> dict[DomainName, frozenset[Tlsa]]:
    """Return the records at each owner, whatever their lifetime."""
    return {owner: some.records for owner, some in content.items() if some.records}


# --- writing ---


def _within(zone: ZoneName, owner: DomainName) -> DomainName:
    name = DomainName.parse(owner.text)
    if not name.is_within(zone):
        raise ValueError(f"{name} is not in zone {zone}")
    return name


def _challenge_lines(zone: ZoneName, records: Challenges) -> Iterator[str]:
    for record in sorted(records):
        owner = _within(zone, record.owner)
        if not _VALUE.match(record.value):
            raise ValueError(f"{owner}: {record.value!r} is not the value of a challenge")
        yield f'{owner}. {TTL:d} IN TXT "{record.value}"'


def _tlsa_lines(zone: ZoneName, content: Content) -> Iterator[str]:
    for owner in sorted(content):
        name, ttl = _within(zone, owner), content[owner].ttl
        if not 0 <= ttl <= LONGEST_TTL:
            raise ValueError(f"{name}: {ttl} is no TTL")
        for record in sorted(content[owner].records):
            numbers = (record.usage, record.selector, record.match)
            if not all(0 <= number <= 255 for number in numbers) or not _HEX.match(record.data):
                raise ValueError(f"{name}: {str(record)[:80]!r} is no TLSA record")
            start = f"{name}. {ttl:d} IN TLSA {record.combination}"
            if len(record.data) <= IN_A_ROW:
                yield f"{start} {record.data}"
                continue
            rows = range(0, len(record.data), IN_A_ROW)
            yield from (f"{start} (", *(f"  {record.data[at : at + IN_A_ROW]}" for at in rows), ")")


# --- reading ---


def parse_challenges(data: bytes) -> Challenges:
    """Return the records in an include file; what is no challenge is passed over."""
    # The strings of one record are one value.
    found = (
        TxtRecord(owner, "".join(word.strip('"') for word in words))
        for owner, _, words in _records(data, "TXT")
    )
    return frozenset(record for record in found if _VALUE.match(record.value))


def parse_tlsa(data: bytes, default_ttl: int = DEFAULT_TTL) -> Content:
    """Return the records in an include file; what is no TLSA record is passed over.

    `default_ttl`, in seconds, is that of records without one, as ssl-mgr wrote them. Where those
    of an owner differ, the longest counts: nobody keeps the records for longer.
    """
    ttls: dict[DomainName, int] = {}
    records: dict[DomainName, set[Tlsa]] = defaultdict(set)
    for owner, ttl, words in _records(data, "TLSA"):
        numbers, text = words[:3], "".join(words[3:]).lower()
        if not all(map(_NUMBER.match, numbers)) or not _HEX.match(text):
            continue
        usage, selector, match = map(int, numbers)
        if max(usage, selector, match) <= 255:
            ttls[owner] = max(default_ttl if ttl is None else ttl, ttls.get(owner, 0))
            records[owner].add(Tlsa(usage, selector, match, text))
    return {owner: TlsaSet(ttls[owner], frozenset(records[owner])) for owner in sorted(records)}


def _records(data: bytes, kind: str) -> Iterator[tuple[DomainName, int | None, list[str]]]:
    """Yield owner, TTL and data of the records of a kind that have an absolute name."""
    for words in _entries(data.decode(errors="replace")):
        if len(words) < 3 or not words[0].endswith("."):
            continue
        # Class and TTL come in either order, or not at all (RFC 1035 §5.1).
        ttl, at = None, 1
        while at < 3 and (words[at].upper() == "IN" or _TTL.match(words[at])):
            ttl = ttl if words[at].upper() == "IN" else _seconds(words[at])
            at += 1
        if at < len(words) and words[at].upper() == kind:
            try:
                yield DomainName.parse(words[0]), ttl, words[at + 1 :]
            except BadName:
                continue


def _entries(text: str) -> Iterator[list[str]]:
    """Yield the words of each entry; parentheses hold lines together (RFC 1035 §5.1)."""
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


def _seconds(text: str) -> int:
    seconds = sum(int(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(text))
    return min(seconds, LONGEST_TTL)


CHALLENGE_FILES: IncludeKind[Challenges] = IncludeKind(
    "; ACME challenges of ",
    MAX_FILE,
    challenge_file,
    Tree.challenge_note,
    _challenge_lines,
    parse_challenges,
    Failed.NO_ACME_DIR,
)
TLSA_FILES: IncludeKind[Content] = IncludeKind(
    "; TLSA records of ",
    MOST_TLSA,
    tlsa_file,
    Tree.tlsa_note,
    _tlsa_lines,
    parse_tlsa,
    Failed.NO_TLSA_DIR,
)
