"""Writing include files with TLSA records, so that there is a way back (I4).

One that a zone cannot be loaded with is put back to what it held: see `before` and `runs`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence

from sslmd.core.dane.tlsa import Content
from sslmd.core.errors import Permanent, SslmError
from sslmd.core.names import ZoneName
from sslmd.dns import before
from sslmd.dns.command import Change
from sslmd.dns.publish import Means
from sslmd.dns.tlsa_include import MOST, data_of, render, says
from sslmd.store import files
from sslmd.store.layout import Tree, tlsa_file

# Whether what a file holds may stay as it is.
Fits = Callable[[bytes, ZoneName, Content], bool]

_NOTHING: Content = {}


def is_rendered(data: bytes, zone: ZoneName, content: Content) -> bool:
    """Whether a file is just as it is written here."""
    return data == render(zone, content)


def copy_folder(means: Means, zone: ZoneName) -> str:
    """Return where the copy in the production tree lies."""
    return Tree(str(means.config().globals.prod_cert_dir)).group_dir(zone.text)


def write_files(
    means: Means,
    zone: ZoneName,
    folders: Iterable[str],
    content: Content,
    fits: Fits,
    *,
    keep: bool = False,
    served: Content = _NOTHING,
) -> tuple[list[Change], dict[str, SslmError]]:
    """Write the include file into each folder whose file does not fit.

    Return what was changed, and the folders where that failed. `keep`: what they held is kept on
    disk, see `before`. `served`: what a file is put back to that was removed by hand, or cannot be
    read (a link), so that the zone keeps its records. Blocks.
    """
    data, nothing = render(zone, content), render(zone, {})
    found: list[Change] = []
    lost: set[str] = set()
    failed: dict[str, SslmError] = {}
    for folder in folders:
        if os.path.isdir(folder):
            path = tlsa_file(folder, zone)
            there = data_of(path)
            if there is None:
                lost.add(path)
                there = render(zone, served) if served else None
            found.append(Change(path, there, data, nothing))
        elif content:
            failed[folder] = Permanent(
                f"the directory {folder} is not there; make it, for the name "
                "server to read, or correct tlsa_dirs in [dns]",
                about=f"zone {zone}",
            )
    done, refused = _write(means, zone, found, content, fits, lost, keep=keep)
    return done, failed | {os.path.dirname(path): err for path, err in refused.items()}


def write_copy(
    means: Means,
    zone: ZoneName,
    content: Content,
    fits: Fits,
    *,
    keep: bool = False,
) -> tuple[list[Change], list[SslmError]]:
    """Write the copy of the production tree if it does not fit. Blocks.

    Return what was changed, and what failed.
    """
    folder = copy_folder(means, zone)
    path = tlsa_file(folder, zone)
    change = Change(path, data_of(path), render(zone, content), render(zone, {}))
    try:
        files.make_dirs(folder)
    except SslmError as err:
        return [], [err]
    lost = {path} if change.before is None else set()
    changes, refused = _write(means, zone, [change], content, fits, lost, keep=keep)
    return changes, list(refused.values())


def _write(
    means: Means,
    zone: ZoneName,
    found: Sequence[Change],
    content: Content,
    fits: Fits,
    lost: Collection[str],
    *,
    keep: bool,
) -> tuple[list[Change], dict[str, SslmError]]:
    """Write the files that do not fit; return them as changes, and which could not be written.

    `lost`: the paths where none is, or one that cannot be read.

    A file that fits is a change as well if a daemon that was killed wrote it, and nobody was seen
    to serve it: it may have to be put back.
    """
    stale = {
        one.path
        for one in found
        if one.path in lost or one.before is None or not fits(one.before, zone, content)
    }
    kept = means.tree.before_note(zone)
    older = before.changes_of(kept, found) if keep else found
    changes = [
        old
        for one, old in zip(found, older, strict=True)
        if one.path in stale or (old != one and one.before == one.after)
    ]
    failed: dict[str, SslmError] = {}
    if keep and changes:
        try:
            before.remember(kept, changes)
        except SslmError as err:
            return [], dict.fromkeys(stale, err)
    for one in changes:
        try:
            if one.path in stale:
                files.write_shared(one.path, one.after)
        except SslmError as err:
            failed[one.path] = err
    return [one for one in changes if one.path not in failed], failed


def files_differ(zone: ZoneName, folders: Iterable[str], content: Content) -> str:
    """Return what is wrong with the include files, "" if nothing is. Blocks."""
    for folder in folders:
        if os.path.isdir(folder):
            if problem := _file_differs(tlsa_file(folder, zone), zone, content):
                return problem
        elif content:  # without anything to say, nobody lacks the folder
            return f"the directory {folder} is not there"
    return ""


def copy_differs(means: Means, zone: ZoneName, content: Content) -> str:
    """Return what is wrong with the copy in the production tree: without records, it may lack."""
    path = tlsa_file(copy_folder(means, zone), zone)
    return _file_differs(path, zone, content) if content or os.path.lexists(path) else ""


def _file_differs(path: str, zone: ZoneName, content: Content) -> str:
    try:
        found = files.read_shared(path, MOST)
    except FileNotFoundError:
        return f"{path} is not there"
    except SslmError as err:
        return str(err)
    return "" if says(found, zone, content) else f"{path} was changed by others"
