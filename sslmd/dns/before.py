"""What include files held before they were written, kept until name servers show what is new (I5).

    certs/<zone>/.tlsa-before.toml

A file that a zone cannot be loaded with is put back to what it held. The daemon may be killed, or
the command may fail for another reason, between the write and that moment: so it is on disk what to
put back. It is gone as soon as a name server was seen to serve what was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sslmd.core.errors import SslmError
from sslmd.dns.command import Change
from sslmd.dns.include import MOST_TLSA
from sslmd.store import files
from sslmd.store.notes import Nonsense, NoteKind, Shape, codec_of, rows

# Digests that one file is remembered with: so many changes in a row that nobody was seen to serve.
MOST_WRITTEN = 16


@dataclass(frozen=True, slots=True)
class Before:
    """What a file held, None if it was not there; digests of what was written into it since.

    `loaded`: the last of that with which the command succeeded, None if there is none. That is no
    proof that anybody serves it, but a reason to come back to it and to nothing older when the next
    one fails.
    """

    data: bytes | None
    written: tuple[str, ...]
    loaded: bytes | None = None


@dataclass(frozen=True, slots=True)
class FilesBefore:
    """What is kept of the include files of one zone, by their paths."""

    files: Mapping[str, Before] = field(default_factory=dict)


_BEFORE = codec_of(Before, {Before: Shape({"data": "before"})})
BEFORE_NOTE = NoteKind(
    FilesBefore,
    Nonsense.ANEW,
    {FilesBefore: Shape(codecs={"files": rows("path", _BEFORE)})},
    most=8 * MOST_TLSA,  # as much again for escapes
)


def changes_of(path: str, changes: Sequence[Change]) -> list[Change]:
    """Return changes with what each file held when it could last be loaded.

    A file may hold what was written here and never loaded: then it is what it held before. One that
    is not remembered, or was written by somebody else since, is as it was found. Blocks.
    """
    known = _read(path)
    return [_older(one, known.get(one.path)) for one in changes]


def remember(path: str, changes: Iterable[Change]) -> None:
    """Keep what files held before; to be done before they are written. Blocks.

    Raises as `files.write_file` does.
    """
    known = dict(_read(path))
    for one in changes:
        was = known.get(one.path)
        if was is None or one.before not in (was.data, was.loaded):
            was = Before(one.before, ())
        if (digest := _digest(one.after)) not in was.written:
            was = replace(was, written=(*was.written, digest)[-MOST_WRITTEN:])
        known[one.path] = was
    BEFORE_NOTE.write(path, FilesBefore(known))


def loaded(path: str, changes: Iterable[Change]) -> None:
    """Note that the command succeeded with files as they are now. Blocks; raises as `remember`."""
    known = dict(_read(path))
    for one in changes:
        if (was := known.get(one.path)) is not None:
            known[one.path] = replace(was, loaded=one.after)
    BEFORE_NOTE.write(path, FilesBefore(known))


def forget(path: str) -> None:
    """What was written is served: it needs no way back. Blocks; raises as `files` does."""
    files.remove_file(path)


def left(path: str, nothing: bytes) -> list[Change]:
    """Return the files that hold what nobody was seen to serve, as changes to be put back. Blocks.

    `nothing`: what a file holds that was not there before. Files that somebody else has written
    since are left out.
    """
    found = []
    for name, some in _read(path).items():
        try:
            data = files.read_shared(name, MOST_TLSA)
        except (OSError, SslmError):
            continue
        if data != some.data and _digest(data) in some.written:
            found.append(Change(name, some.data, data, nothing))
    return found


def _older(change: Change, known: Before | None) -> Change:
    if known is None or change.before is None:
        return change
    if change.before == known.loaded or _digest(change.before) not in known.written:
        return change
    return replace(change, before=known.data if known.loaded is None else known.loaded)


def _read(path: str) -> Mapping[str, Before]:
    """Return what is kept; what cannot be read or makes no sense counts as nothing."""
    try:
        return BEFORE_NOTE.read(path).files
    except SslmError:
        return {}


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
