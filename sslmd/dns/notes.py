"""Notes on disk of what of ours may be in DNS, and by which means it got there (I5).

    certs/<zone>/acme-challenge.<zone>

Written before anything is published, and gone when everything was taken back: so a daemon that was
killed, or has another configuration meanwhile, takes back what is left, where it was put.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sslmd.core.errors import SslmError
from sslmd.core.names import BadName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.dns.include import TTL, parse, render
from sslmd.store import files

# The means: dynamic update; anything else is the folder of the include file.
UPDATE = "update"

_MEANS = "; published by: "
_NAME = "acme-challenge."


@dataclass(frozen=True, slots=True)
class Note:
    """`records` may be in DNS; `means`, `UPDATE` or folders, are how they got there."""

    records: frozenset[TxtRecord] = frozenset()
    means: tuple[str, ...] = ()


def note_file(certs_dir: object, zone: ZoneName) -> str:
    """Return where a zone's note is."""
    return f"{certs_dir}/{zone}/{_NAME}{zone}"


def means_in(data: bytes) -> tuple[str, ...]:
    """Return the means that the comments of a note name."""
    lines = data.decode(errors="replace").splitlines()
    return tuple(line.removeprefix(_MEANS) for line in lines if line.startswith(_MEANS))


def means_lines(means: Iterable[str]) -> bytes:
    """Return the comments of a note that name its means, a line for each."""
    return "".join(f"{_MEANS}{one}\n" for one in means).encode(errors="replace")


def read_note(path: str) -> Note:
    """Return what is noted; blocks, never raises."""
    try:
        data = files.read_file(path)
    except (FileNotFoundError, SslmError):
        return Note()
    records = parse(data)
    return Note(records, means_in(data)) if records else Note()


def write_note(path: str, zone: ZoneName, note: Note) -> None:
    """Note what may be in DNS from now on; blocks. Raises as `files.write_file` does."""
    if note.records:
        files.make_dirs(os.path.dirname(path))
        files.write_file(path, means_lines(note.means) + render(zone, note.records, TTL))
    elif os.path.lexists(path):
        files.remove_file(path)


def noted_zones(
    certs_dir: object, file: Callable[[object, ZoneName], str] = note_file
) -> Iterator[ZoneName]:
    """Return the zones that have a note, whatever the configuration says; blocks.

    `file` tells where a zone has it.
    """
    try:
        names = sorted(os.listdir(str(certs_dir)))
    except OSError:
        return
    for name in names:
        try:
            zone = ZoneName.parse(name)
        except BadName:
            continue
        if zone.text == name and os.path.exists(file(certs_dir, zone)):
            yield zone
