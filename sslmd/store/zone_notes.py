"""What is remembered of a zone's TLSA records beside the records themselves.

    certs/<zone>/.dane.toml

A note, not the truth: lost, it costs a wait. docs/on-disk.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import tomli
import tomli_w

from sslmd.core.dane.tlsa import Combination, Known
from sslmd.core.names import DomainName, ZoneName
from sslmd.store import files

VERSION = 1
_NAME = ".dane.toml"

_NO_SENSE = (tomli.TOMLDecodeError, RecursionError, ValueError, TypeError, KeyError, OverflowError)


# Owners, each with the name of a certificate.
Holders = frozenset[tuple[DomainName, str]]


@dataclass(frozen=True, slots=True)
class ZoneNotes:
    """`mx`: the zone's MX hosts when they were last looked up, at `mx_at`; None: never. `null_mx`:
    it takes no mail (RFC 7505).

    `known`: the combinations that every name server was seen serving. `ttl`: the longest that
    caches may hold a record of ours, in seconds. `signed`: DNSSEC was seen in use. `holders`: which
    certificates have records at which owners; `fading`: which had some that were withdrawn, and may
    be in caches still ("" for a certificate: it is not known which).

    `longest`: owners where a longer TTL than `ttl` was seen, in seconds, of records that others
    wrote, or of CNAMEs. `moved`: owners that are CNAMEs, and where their records are written.
    """

    mx: tuple[DomainName, ...] | None = None
    mx_at: datetime | None = None
    known: Known | None = None
    ttl: int = 0
    signed: bool = False
    holders: Holders = frozenset()
    fading: Holders = frozenset()
    null_mx: bool = False
    longest: Mapping[DomainName, int] = field(default_factory=dict)
    moved: Mapping[DomainName, DomainName] = field(default_factory=dict)

    @property
    def mail(self) -> tuple[DomainName, ...] | None:
        """The MX hosts; None: the zone takes no mail."""
        return None if self.null_mx else self.mx or ()

    @property
    def longest_ttl(self) -> int:
        """The longest that a cache may hold anything at our owners, in seconds."""
        return max(self.ttl, *self.longest.values(), 0)

    def ttl_at(self, owners: Iterable[DomainName]) -> int:
        """Return the longest that a cache may hold anything at these owners, in seconds."""
        return max(self.ttl, *(self.longest.get(owner, 0) for owner in owners), 0)


def notes_file(certs_dir: object, zone: ZoneName) -> str:
    """Return where a zone's notes are."""
    return f"{certs_dir}/{zone}/{_NAME}"


def read_notes(path: str) -> ZoneNotes:
    """Return what is noted; blocks. What cannot be read or makes no sense counts as nothing.

    Raises what `files.read_file` raises for a file that is not ours to read.
    """
    try:
        table = tomli.loads(files.read_file(path).decode())
        if table["version"] != VERSION:
            return ZoneNotes()
        return _notes(table)
    except FileNotFoundError:
        return ZoneNotes()
    except _NO_SENSE:
        return ZoneNotes()


def _notes(table: dict[str, Any]) -> ZoneNotes:
    mx_at = table.get("mx_at")
    if mx_at is not None and (not isinstance(mx_at, datetime) or mx_at.tzinfo is None):
        raise ValueError("mx_at: a time with its zone is expected")
    known = None
    if "known" in table:
        known = frozenset(_known(str(one)) for one in table["known"])
    mx = tuple(DomainName.parse(str(one)) for one in table["mx"]) if "mx" in table else None
    ttl = int(table.get("ttl", 0))
    return ZoneNotes(
        mx,
        mx_at.astimezone(UTC) if mx_at else None,
        known,
        min(max(ttl, 0), 1 << 31),
        table.get("signed") is True,
        _holders(table.get("holders", ())),
        _holders(table.get("fading", ())),
        table.get("null_mx") is True,
        {owner: min(max(int(ttl), 0), 1 << 31) for owner, ttl in _pairs(table, "longest")},
        {owner: DomainName.parse(target) for owner, target in _pairs(table, "moved")},
    )


def _pairs(table: dict[str, Any], name: str) -> list[tuple[DomainName, str]]:
    words = (str(one).split() for one in table.get(name, ()))
    return [(DomainName.parse(owner), value) for owner, value in words]


def _holders(value: Iterable[object]) -> Holders:
    pairs = (str(one).partition(" ") for one in value)
    return frozenset((DomainName.parse(owner), cert) for owner, _, cert in pairs)


def _known(text: str) -> tuple[DomainName, Combination]:
    owner, *numbers = text.split()
    return DomainName.parse(owner), Combination(*map(int, numbers))


def write_notes(path: str, notes: ZoneNotes) -> None:
    """Note it; blocks. Raises as `files.write_file` does."""
    table: dict[str, Any] = {"version": VERSION, "ttl": notes.ttl, "signed": notes.signed}
    if notes.mx is not None:
        table["mx"] = [host.text for host in notes.mx]
    if notes.mx_at is not None:
        table["mx_at"] = notes.mx_at
    if notes.known is not None:
        table["known"] = [f"{owner} {numbers}" for owner, numbers in sorted(notes.known)]
    for name, pairs in (("holders", notes.holders), ("fading", notes.fading)):
        if pairs:
            table[name] = [f"{owner} {cert}".rstrip() for owner, cert in sorted(pairs)]
    if notes.null_mx:
        table["null_mx"] = True
    for name, values in (("longest", notes.longest), ("moved", notes.moved)):
        if values:
            table[name] = [f"{owner} {value}" for owner, value in sorted(values.items())]
    files.make_dirs(os.path.dirname(path))
    files.write_file(path, tomli_w.dumps(table).encode())
