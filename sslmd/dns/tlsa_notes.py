"""Notes on disk of which TLSA records may be in DNS, and by which means they got there (I4, I5).

    certs/<zone>/tlsa.<zone>

An include file itself, as ssl-mgr wrote one there. Written before anything is published: so a
daemon that was killed, or has another configuration meanwhile, knows what clients may still see.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from sslmd.core.dane.tlsa import Content, TlsaSet
from sslmd.core.errors import SslmError
from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.notes import means_in, means_lines, noted_zones
from sslmd.dns.tlsa_include import MOST, is_ours, parse, render, tlsa_file
from sslmd.store import files

# Seconds. ssl-mgr wrote no TTL, so that the records have the zone's, which is not known here.
DEFAULT_TTL = 1800


_UNDER_WAY = b"; under way\n"


class Stage(Enum):
    """Whether a note is written before something is given to DNS, or after it."""

    BEFORE = auto()
    AFTER = auto()


@dataclass(frozen=True, slots=True)
class TlsaNote:
    """`content` may be in DNS; `means`, `notes.UPDATE` and folders, are how it got there.

    `ours`: it is no file of ssl-mgr's. `under_way`: it was written before something was given to
    DNS, and nobody knows how that went.
    """

    content: Content = field(default_factory=dict)
    means: tuple[str, ...] = ()
    ours: bool = False
    under_way: bool = False


def tlsa_note_file(certs_dir: object, zone: ZoneName) -> str:
    """Return where a zone's note is."""
    return tlsa_file(f"{certs_dir}/{zone}", zone)


def noted_tlsa_zones(certs_dir: object, known: Collection[ZoneName]) -> list[ZoneName]:
    """Return the zones with a note of ours that are not `known` from the configuration; blocks.

    A file that ssl-mgr left counts only for zones that are ours to see to.
    """
    found = []
    for zone in noted_zones(certs_dir, tlsa_note_file):
        if zone in known:
            continue
        note = read_tlsa_note(tlsa_note_file(certs_dir, zone))
        if note is not None and note.means:
            found.append(zone)
    return found


def read_tlsa_note(path: str) -> TlsaNote | None:
    """Return what is noted, None if nothing is; blocks, never raises.

    A file of ssl-mgr's counts: it has no means.
    """
    try:
        data = files.read_file(path, MOST)
    except (FileNotFoundError, SslmError):
        return None
    means = means_in(data)
    ours = bool(means) or is_ours(data)
    return TlsaNote(parse(data, DEFAULT_TTL), means, ours, data.startswith(_UNDER_WAY))


def write_tlsa_note(
    path: str, zone: ZoneName, content: Content, means: Iterable[str], stage: Stage = Stage.AFTER
) -> None:
    """Note what may be in DNS from now on; blocks. Raises as `files.write_file` does."""
    files.make_dirs(os.path.dirname(path))
    begin = _UNDER_WAY if stage is Stage.BEFORE else b""
    files.write_file(path, begin + means_lines(means) + render(zone, content))


def union(one: Content, other: Content) -> Content:
    """Return what is in either; of two TTLs the longer."""
    owners: dict[DomainName, TlsaSet] = {}
    for owner in sorted({*one, *other}):
        sets = [content[owner] for content in (one, other) if owner in content]
        records = frozenset(record for some in sets for record in some.records)
        owners[owner] = TlsaSet(max(some.ttl for some in sets), records)
    return owners


def without(one: Content, other: Content) -> Content:
    """Return the records of `one` that are not in `other`, whatever their TTL."""
    left: dict[DomainName, TlsaSet] = {}
    for owner, some in one.items():
        records = some.records - other[owner].records if owner in other else some.records
        if records:
            left[owner] = TlsaSet(some.ttl, records)
    return left
