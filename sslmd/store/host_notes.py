"""What is remembered of a host that certificates are copied to, beside what each notes of itself.

    certs/.hosts/<host>.toml

A note, not the truth: lost, certificates that a host should not have any more are reported there,
and not taken away. docs/on-disk.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import tomli
import tomli_w

from sslmd.core.names import BadName, CertId, GroupName, parse_service
from sslmd.store import files

VERSION = 1
_FOLDER, _SUFFIX = ".hosts", ".toml"

# What is noted of what a host says, so that its note can be read again, whatever it says: surplus
# entries, bytes of a name (NAME_MAX), characters of an error.
MOST_SURPLUS = 100
LONGEST_NAME = 255
LONGEST_ERROR = 2000

_NO_SENSE = (tomli.TOMLDecodeError, RecursionError, ValueError, TypeError, KeyError, OverflowError)


@dataclass(frozen=True, slots=True)
class HostNote:
    """`holds`: what we put there, below `prod`. `surplus`: what lay there besides at the last
    visit, in words; `more`: how many of these are not listed. `machine`: which one it said that it
    is; `same`: the other names under which that was seen. `older`: where `prod` was before, as long
    as keys are there; `kept`: the same, where all of them are meant to stay.

    The rest is of visits that only have to tidy up: how many failed in a row, why, and when the
    next is.
    """

    holds: frozenset[CertId] = frozenset()
    surplus: tuple[str, ...] = ()
    visited: datetime | None = None
    prod: str = ""
    attempts: int = 0
    error: str = ""
    next_try: datetime | None = None
    machine: str = ""
    older: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    more: int = 0

    def with_surplus(self, names: Sequence[str], unlisted: int = 0) -> HostNote:
        """Return the note with what lies there besides, as much as is noted of it."""
        some = tuple(shortened(one) for one in names[:MOST_SURPLUS])
        return replace(self, surplus=some, more=len(names) - len(some) + unlisted)

    @property
    def places(self) -> tuple[str, ...]:
        """Return the folders there in which keys may be that we put there."""
        return tuple(dict.fromkeys(filter(None, (self.prod, *self.older, *self.kept))))


def shortened(name: str) -> str:
    """Return a name that a host told, `LONGEST_NAME` bytes of it at most."""
    data = name.encode("utf-8", "replace")
    if len(data) <= LONGEST_NAME:
        return name
    return data[: LONGEST_NAME - len("…".encode())].decode("utf-8", "ignore") + "…"


def host_file(certs_dir: object, host: str) -> str:
    """Return where a host's note is."""
    return f"{certs_dir}/{_FOLDER}/{quote(host, safe='@:')}{_SUFFIX}"


def noted_hosts(certs_dir: object) -> list[str]:
    """Return the hosts that there is a note of; blocks."""
    try:
        names = sorted(os.listdir(f"{certs_dir}/{_FOLDER}"))
    except OSError:
        return []
    return [unquote(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX)]


def read_host(path: str) -> HostNote:
    """Return what is noted; blocks. What makes no sense counts as nothing.

    Raises what `files.read_file` raises for a file that is not ours to read.
    """
    try:
        table = tomli.loads(files.read_file(path).decode())
        return _note(table) if table["version"] == VERSION else HostNote()
    except FileNotFoundError:
        return HostNote()
    except _NO_SENSE:
        return HostNote()


def _note(table: dict[str, Any]) -> HostNote:
    visited, machine = _time(table.get("visited")), str(table.get("machine", ""))
    holds = frozenset(parse_cert(str(one)) for one in table.get("holds", ()))
    return HostNote(
        # Older versions noted it before the host was reached, which then told its machine.
        holds if visited is not None or machine else frozenset(),
        tuple(str(one) for one in table.get("surplus", ())),
        visited,
        str(table.get("prod", "")),
        max(int(table.get("attempts", 0)), 0),
        str(table.get("error", "")),
        _time(table.get("next_try")),
        machine,
        tuple(str(one) for one in table.get("older", ())),
        tuple(str(one) for one in table.get("kept", ())),
        tuple(str(one) for one in table.get("same", ())),
        max(int(table.get("surplus_more", 0)), 0),
    )


def parse_cert(text: str) -> CertId:
    """Return the certificate that `group/service` names; raises ValueError."""
    group, slash, service = text.partition("/")
    if not slash:
        raise BadName(f"{text!r} is not group/service")
    return CertId(GroupName.parse(group).text, parse_service(service))


def _time(value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("a time with its zone is expected")
    return value.astimezone(UTC)


def write_host(path: str, note: HostNote) -> None:
    """Note it; blocks. Raises as `files.write_file` does."""
    table: dict[str, Any] = {"version": VERSION, "holds": sorted(map(str, note.holds))}
    times = (("visited", note.visited), ("next_try", note.next_try))
    table.update({key: when for key, when in times if when is not None})
    if note.surplus:
        table["surplus"] = list(note.surplus)
    if note.more:
        table["surplus_more"] = note.more
    if note.prod:
        table["prod"] = note.prod
    if note.machine:
        table["machine"] = shortened(note.machine)
    if note.same:
        table["same"] = list(note.same)
    if note.older:
        table["older"] = list(note.older)
    if note.kept:
        table["kept"] = list(note.kept)
    if note.attempts:
        table["attempts"] = note.attempts
    if note.error:
        table["error"] = note.error[:LONGEST_ERROR]
    files.make_dirs(os.path.dirname(path))
    files.write_file(path, tomli_w.dumps(table).encode("utf-8", "replace"))
