"""Notes on disk of what of ours may be in DNS, and by which means it got there (I4, I5).

    certs/<zone>/acme-challenge.<zone>
    certs/<zone>/tlsa.<zone>

Written before anything is published; that of challenges is gone when all were taken back. So a
daemon that was killed, or has another configuration meanwhile, knows what clients may still see,
and takes back what has to go, where it was put. They are include files themselves: what a zone has
is written in its own language, once, and ssl-mgr wrote one there too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from sslmd.core.dane.tlsa import Content, TlsaSet
from sslmd.core.errors import SslmError
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.dns.include import TLSA_FILES, IncludeKind
from sslmd.store import files
from sslmd.store.layout import Tree

C = TypeVar("C")

# The means: dynamic update; anything else is the folder of the include file.
UPDATE = "update"

_MEANS = "; published by: "
_UNDER_WAY = b"; under way\n"


@dataclass(frozen=True, slots=True)
class RecordNote(Generic[C]):
    """`content` may be in DNS; `means`, `UPDATE` and folders, are how it got there.

    `ours`: it is no file of ssl-mgr's. `under_way`: it was written before something was given to
    DNS, and nobody knows how that went.
    """

    content: C
    means: tuple[str, ...] = ()
    ours: bool = False
    under_way: bool = False


class Stage(Enum):
    """Whether a note is written before something is given to DNS, or after it."""

    BEFORE = auto()
    AFTER = auto()


def read_note(tree: Tree, zone: ZoneName, kind: IncludeKind[C]) -> RecordNote[C]:
    """Return what is noted of records of a kind; blocks, never raises.

    A file of ssl-mgr's counts: it has no means.
    """
    try:
        return note_in(files.read_file(kind.note(tree, zone), kind.most), kind)
    except (FileNotFoundError, SslmError):
        return note_in(b"", kind)


def note_in(data: bytes, kind: IncludeKind[C]) -> RecordNote[C]:
    """Return what the file of a note says."""
    lines = data.decode(errors="replace").splitlines()
    means = tuple(line.removeprefix(_MEANS) for line in lines if line.startswith(_MEANS))
    ours = bool(means) or kind.is_ours(data)
    return RecordNote(kind.parse(data), means, ours, data.startswith(_UNDER_WAY))


def write_note(
    tree: Tree,
    zone: ZoneName,
    kind: IncludeKind[C],
    content: C,
    means: Iterable[str],
    stage: Stage = Stage.AFTER,
) -> None:
    """Note what may be in DNS from now on; blocks. Raises as `files.write_file` does.

    That of challenges is removed when none are left.
    """
    path = kind.note(tree, zone)
    if not content and kind is not TLSA_FILES:
        if os.path.lexists(path):
            files.remove_file(path)
        return
    by = "".join(f"{_MEANS}{one}\n" for one in means).encode(errors="replace")
    begin = _UNDER_WAY if stage is Stage.BEFORE else b""
    files.make_dirs(os.path.dirname(path))
    files.write_file(path, begin + by + kind.render(zone, content))


def noted_zones(tree: Tree, kind: IncludeKind[C]) -> Iterator[ZoneName]:
    """Return the zones that have a note of a kind, whatever the configuration says; blocks."""
    try:
        names = sorted(os.listdir(tree.root))
    except OSError:
        return
    for name in names:
        try:
            zone = ZoneName.parse(name)
        except BadName:
            continue
        if zone.text == name and os.path.exists(kind.note(tree, zone)):
            yield zone


def noted_tlsa_zones(tree: Tree, known: Collection[ZoneName]) -> list[ZoneName]:
    """Return the zones with a note of ours that are not `known` from the configuration; blocks.

    A file that ssl-mgr left counts only for zones that are ours to see to.
    """
    return [
        zone
        for zone in noted_zones(tree, TLSA_FILES)
        if zone not in known and read_note(tree, zone, TLSA_FILES).means
    ]


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
