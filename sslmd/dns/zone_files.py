"""Writing include files, so that there is a way back (I4).

One that a zone cannot be loaded with is put back to what it held: see `before` and `runs`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from sslmd.core.dane.tlsa import Content
from sslmd.core.errors import Permanent, SslmError
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.dns import before
from sslmd.dns.command import Change
from sslmd.dns.include import MOST_TLSA, TLSA_FILES, IncludeKind, says
from sslmd.dns.means import Means
from sslmd.store import files
from sslmd.store.layout import Tree, tlsa_file

C = TypeVar("C")

# Whether what a file holds may stay as it is.
Fits = Callable[[bytes, ZoneName, C], bool]


def copy_folder(means: Means, zone: ZoneName) -> str:
    """Return where the copy in the production tree lies."""
    return Tree(str(means.config().globals.prod_cert_dir)).group_dir(zone.text)


async def write_files(
    means: Means,
    zone: ZoneName,
    kind: IncludeKind[C],
    folders: Collection[str],
    content: C,
    fits: Fits[C] | None = None,
    *,
    keep: bool = False,
    served: C | None = None,
) -> tuple[list[Change], list[SslmError]]:
    """Write the include file into each folder whose file does not fit: by `fits`, or at all.

    Return what was changed, and what failed. `keep`: what they held is kept on disk, see `before`.
    `served`: what a file is put back to that was removed by hand, or cannot be read (a link), so
    that the zone keeps its records.
    """
    fits = fits or kind.is_rendered
    data, nothing = kind.render(zone, content), kind.render(zone, kind.parse(b""))

    def work() -> tuple[list[Change], list[SslmError]]:
        found: list[Change] = []
        stale: set[str] = set()
        failed: list[SslmError] = []
        for folder in folders:
            if os.path.isdir(folder):
                path = kind.file_in(folder, zone)
                there = kind.data_of(path)
                if there is None or not fits(there, zone, content):
                    stale.add(path)
                if there is None and served:
                    there = kind.render(zone, served)
                found.append(Change(path, there, data, nothing))
            elif content:
                why = Reason(kind.no_folder, folder=folder)
                failed.append(Permanent(why, about=f"zone {zone}"))
        done, refused = _write(means.tree.before_note(zone), found, stale, keep=keep)
        return done, [*failed, *refused]

    return await means.in_thread(work)


async def write_copy(
    means: Means, zone: ZoneName, content: Content, fits: Fits[Content], *, keep: bool = False
) -> tuple[list[Change], list[SslmError]]:
    """Write the copy of the production tree if it does not fit.

    Return what was changed, and what failed.
    """
    folder = copy_folder(means, zone)
    try:
        await means.in_thread(lambda: files.make_dirs(folder))
    except SslmError as err:
        return [], [err]
    return await write_files(means, zone, TLSA_FILES, [folder], content, fits, keep=keep)


def _write(
    kept: str, found: Sequence[Change], stale: Collection[str], *, keep: bool
) -> tuple[list[Change], list[SslmError]]:
    """Write the files that are `stale`; return them as changes, and what failed.

    Another is a change as well if a daemon that was killed wrote it, and nobody was seen to serve
    it: it may have to be put back.
    """
    older = before.changes_of(kept, found) if keep else found
    changes = [
        old
        for one, old in zip(found, older, strict=True)
        if one.path in stale or (old != one and one.before == one.after)
    ]
    if keep and changes:
        try:
            before.remember(kept, changes)
        except SslmError as err:
            return [], [err] * len(stale)
    done, failed = [], list[SslmError]()
    for one in changes:
        try:
            if one.path in stale:
                files.write_shared(one.path, one.after)
            done.append(one)
        except SslmError as err:
            failed.append(err)
    return done, failed


def files_differ(zone: ZoneName, folders: Iterable[str], content: Content) -> Reason | None:
    """Return what is wrong with the include files, None if nothing is. Blocks."""
    for folder in folders:
        if os.path.isdir(folder):
            if problem := _file_differs(tlsa_file(folder, zone), zone, content):
                return problem
        elif content:  # without anything to say, nobody lacks the folder
            return Reason(InDns.NO_FOLDER, folder=folder)
    return None


def copy_differs(means: Means, zone: ZoneName, content: Content) -> Reason | None:
    """Return what is wrong with the copy in the production tree: without records, it may lack."""
    path = tlsa_file(copy_folder(means, zone), zone)
    return _file_differs(path, zone, content) if content or os.path.lexists(path) else None


def _file_differs(path: str, zone: ZoneName, content: Content) -> Reason | None:
    try:
        found = files.read_shared(path, MOST_TLSA)
    except FileNotFoundError:
        return Reason(InDns.NO_FILE, path=path)
    except SslmError as err:
        return err.reason
    return None if says(found, zone, content) else Reason(InDns.FILE_CHANGED, path=path)
