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
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from sslmd.core.dane.tlsa import Content, TlsaSet
from sslmd.core.errors import SslmError
from sslmd.core.names import BadName, DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.dns import include, tlsa_include
from sslmd.store import files
from sslmd.store.layout import Tree

# The means: dynamic update; anything else is the folder of the include file.
UPDATE = "update"

# Seconds. ssl-mgr wrote no TTL, so that the records have the zone's, which is not known here.
DEFAULT_TTL = 1800

_MEANS = "; published by: "
_UNDER_WAY = b"; under way\n"


@dataclass(frozen=True, slots=True)
class Noted:
    """`records` may be in DNS; `means`, `UPDATE` or folders, are how they got there."""

    records: frozenset[TxtRecord] = frozenset()
    means: tuple[str, ...] = ()


class Stage(Enum):
    """Whether a note is written before something is given to DNS, or after it."""

    BEFORE = auto()
    AFTER = auto()


@dataclass(frozen=True, slots=True)
class TlsaNote:
    """`content` may be in DNS; `means`, `UPDATE` and folders, are how it got there.

    `ours`: it is no file of ssl-mgr's. `under_way`: it was written before something was given to
    DNS, and nobody knows how that went.
    """

    content: Content = field(default_factory=dict)
    means: tuple[str, ...] = ()
    ours: bool = False
    under_way: bool = False


def read_challenges(path: str) -> Noted:
    """Return what is noted of challenges; blocks, never raises."""
    data = _read(path, files.MAX_FILE) or b""
    records = include.parse(data)
    return Noted(records, _means_in(data)) if records else Noted()


def write_challenges(path: str, zone: ZoneName, note: Noted) -> None:
    """Note what may be in DNS from now on; blocks. Raises as `files.write_file` does."""
    if note.records:
        _write(path, _means_lines(note.means) + include.render(zone, note.records))
    elif os.path.lexists(path):
        files.remove_file(path)


def read_tlsa(path: str) -> TlsaNote | None:
    """Return what is noted of TLSA records, None if nothing is; blocks, never raises.

    A file of ssl-mgr's counts: it has no means.
    """
    if (data := _read(path, tlsa_include.MOST)) is None:
        return None
    means = _means_in(data)
    ours = bool(means) or tlsa_include.is_ours(data)
    content = tlsa_include.parse(data, DEFAULT_TTL)
    return TlsaNote(content, means, ours, data.startswith(_UNDER_WAY))


def write_tlsa(
    path: str, zone: ZoneName, content: Content, means: Iterable[str], stage: Stage = Stage.AFTER
) -> None:
    """Note what may be in DNS from now on; blocks. Raises as `files.write_file` does."""
    begin = _UNDER_WAY if stage is Stage.BEFORE else b""
    _write(path, begin + _means_lines(means) + tlsa_include.render(zone, content))


def _read(path: str, most: int) -> bytes | None:
    try:
        return files.read_file(path, most)
    except (FileNotFoundError, SslmError):
        return None


def _write(path: str, data: bytes) -> None:
    files.make_dirs(os.path.dirname(path))
    files.write_file(path, data)


def _means_in(data: bytes) -> tuple[str, ...]:
    lines = data.decode(errors="replace").splitlines()
    return tuple(line.removeprefix(_MEANS) for line in lines if line.startswith(_MEANS))


def _means_lines(means: Iterable[str]) -> bytes:
    return "".join(f"{_MEANS}{one}\n" for one in means).encode(errors="replace")


def noted_zones(tree: Tree, note: Callable[[ZoneName], str]) -> Iterator[ZoneName]:
    """Return the zones that have a note, whatever the configuration says; blocks.

    `note` is the method of the tree that says where it is.
    """
    try:
        names = sorted(os.listdir(tree.root))
    except OSError:
        return
    for name in names:
        try:
            zone = ZoneName.parse(name)
        except BadName:
            continue
        if zone.text == name and os.path.exists(note(zone)):
            yield zone


def noted_tlsa_zones(tree: Tree, known: Collection[ZoneName]) -> list[ZoneName]:
    """Return the zones with a note of ours that are not `known` from the configuration; blocks.

    A file that ssl-mgr left counts only for zones that are ours to see to.
    """
    found = []
    for zone in noted_zones(tree, tree.tlsa_note):
        if zone not in known:
            note = read_tlsa(tree.tlsa_note(zone))
            if note is not None and note.means:
                found.append(zone)
    return found


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
