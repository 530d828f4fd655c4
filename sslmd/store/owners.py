"""Whose files are and who may read them: changed safely, and given to another user.

No link is followed, no name is looked up twice.

What is given is a file or a folder that was opened by its own name in a folder that was opened so,
from `/` down (openat(2), O_NOFOLLOW), and is changed by its handle. So whoever may write to the
tree, the old owner or the new one, cannot have something else changed by putting a link there, or
another file in its place. A file with a second name (link(2)) may be anybody's, and stays as it is.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sslmd.core.errors import Permanent, naming
from sslmd.store import files
from sslmd.store.paths import holding, open_folder

_LOOKING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_AT_EMPTY_PATH = 0x1000  # fcntl.h: the handle itself, in place of a name below it


@dataclass(frozen=True, slots=True)
class Whose:
    """From whom to whom, by number. What belongs to anybody else is left alone."""

    uid: int
    gid: int
    from_uid: int
    from_gid: int


@dataclass(frozen=True, slots=True)
class Gift:
    """What is given: a file, or a folder with all that is in it.

    With `only` the files of such names in the folder, and it too where nothing else is in it.
    """

    path: str
    only: re.Pattern[str] | None = None


@dataclass(slots=True)
class GivenAway:
    """What came of it. `changed` counts files and folders; `left`: what stays, each with why."""

    changed: int = 0
    left: list[str] = field(default_factory=list)


def give(gift: Gift, whose: Whose, *, dry: bool = False) -> GivenAway:
    """Give it; again does no harm. `dry`: only count what would be given. Blocks.

    Not there is fine. Raises `Permanent` for a path that others could exchange on the way to it.
    """
    giver = _Giver(whose, dry)
    path = os.path.realpath(gift.path)
    try:
        with _opened(path, whose) as handle:
            if gift.only is None or not stat.S_ISDIR(os.fstat(handle).st_mode):
                giver.whole(handle, path, os.fstat(handle).st_dev, files.DEEPEST)
            else:
                giver.some(handle, path, gift.only)
    except FileNotFoundError:
        pass
    except OSError as err:
        raise files.trouble(err, "give to another user", str(err.filename or path)) from err
    return giver.given


@contextmanager
def _opened(path: str, whose: Whose) -> Iterator[int]:
    """Open what is at a real path, by a way that nobody else can change."""
    handle = os.open("/", _LOOKING)
    try:
        at = ""
        for name in path.strip("/").split("/"):
            _check_way(os.fstat(handle), at or "/", whose)
            below = os.open(name, _LOOKING, dir_fd=handle)
            os.close(handle)
            handle, at = below, f"{at}/{name}"
            if stat.S_ISLNK(os.fstat(handle).st_mode):
                raise Permanent(f"{at} became a link; nothing below was changed; try again")
        yield handle
    finally:
        os.close(handle)


def _check_way(info: os.stat_result, path: str, whose: Whose) -> None:
    if info.st_uid not in (0, whose.uid, whose.from_uid):
        raise Permanent(
            f"{path} belongs to uid {info.st_uid}, who could put another folder in the place of "
            "what is below; chown it to root first"
        )
    mode, ours = info.st_mode, (0, whose.gid, whose.from_gid)
    others = stat.S_IWOTH | (stat.S_IWGRP if info.st_gid not in ours else 0)
    if mode & others and not mode & stat.S_ISVTX:
        raise Permanent(
            f"others may write to {path}, and put another folder in the place of what is below; "
            f"run first: chmod go-w {path}"
        )


class _Giver:
    def __init__(self, whose: Whose, dry: bool) -> None:  # noqa: FBT001 - as `give` has it
        self._whose = whose
        self._dry = dry
        # Who is not root any more shall not own the folder while its files are still given.
        self._folder_first = whose.uid == 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.given = GivenAway()

    def whole(self, handle: int, path: str, device: int, deeper: int) -> None:
        """Give what is open, and all that is in it."""
        info = os.fstat(handle)
        if not stat.S_ISDIR(info.st_mode):
            self._one(handle, path, info)
            return
        if info.st_dev != device or deeper == 0:
            why = "is of another file system" if deeper else f"is {files.DEEPEST} folders down"
            self.given.left.append(f"{path} {why}")
            return
        if self._folder_first:
            self._one(handle, path, info)
        for name in _names(handle):
            with suppress(FileNotFoundError), _below(handle, name) as below:
                self.whole(below, f"{path}/{name}", device, deeper - 1)
        if not self._folder_first:
            self._one(handle, path, info)

    def some(self, handle: int, path: str, only: re.Pattern[str]) -> None:
        """Give the files of such names in the folder that is open, and perhaps the folder."""
        names = _names(handle)
        ours = [name for name in names if only.fullmatch(name)]
        for name in ours:
            with suppress(FileNotFoundError), _below(handle, name) as below:
                info = os.fstat(below)
                if stat.S_ISREG(info.st_mode):
                    self._one(below, f"{path}/{name}", info)
        info = os.fstat(handle)
        if len(ours) == len(names):
            self._one(handle, path, info)
        elif info.st_uid != self._whose.uid:
            self.given.left.append(f"{path} holds files of others as well")

    def _one(self, handle: int, path: str, info: os.stat_result) -> None:
        whose = self._whose
        if info.st_uid != whose.from_uid:
            if info.st_uid != whose.uid:
                self.given.left.append(f"{path} belongs to uid {info.st_uid}")
            return
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            self.given.left.append(f"{path} has {info.st_nlink} names, and may be somebody else's")
            return
        self.given.changed += 1
        # A group that it was given on purpose stays: key_group.
        gid = whose.gid if info.st_gid == whose.from_gid else -1
        if self._dry:
            return
        if self._libc.fchownat(handle, b"", whose.uid, gid, _AT_EMPTY_PATH) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)


def _names(handle: int) -> list[str]:
    listing = os.open(".", _LISTING, dir_fd=handle)
    try:
        return sorted(os.listdir(listing))
    finally:
        os.close(listing)


@contextmanager
def _below(handle: int, name: str) -> Iterator[int]:
    below = os.open(name, _LOOKING, dir_fd=handle)
    try:
        yield below
    finally:
        os.close(below)


# --- who may read ------------------------------------------------------------------------


def is_wide(info: os.stat_result) -> bool:
    """Whether it is a file that is open to more than its owner needs for a key."""
    return stat.S_ISREG(info.st_mode) and bool(info.st_mode & 0o177)


def widen_dir(path: str, bits: int) -> None:
    """Give a directory of ours these rights beside those it has."""
    with naming("open to others", path):
        handle = open_folder(path)
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            if mode & bits != bits:
                os.fchmod(handle, mode | bits)
        finally:
            os.close(handle)


def tighten(path: str) -> bool:
    """Make a key file readable by its owner alone; return whether it was wider."""
    with naming("read", path):
        if not is_wide(os.stat(path, follow_symlinks=False)):
            return False
    narrow(path)
    return True


def narrow(path: str, *, keep_group: bool = False) -> int:
    """Take a file of ours from all who may read it but its owner; return its mode.

    `keep_group`: its group reads on.
    """
    mode = files.KEY_MODE | (stat.S_IRGRP if keep_group else 0)
    with naming("read", path), holding(path) as (folder, name):
        # By its handle: what stands at the path may be another file by now.
        handle = open_own(folder, name, path)
        try:
            mode &= os.fstat(handle).st_mode | files.KEY_MODE
            os.fchmod(handle, mode)
        finally:
            os.close(handle)
    return mode


def open_own(folder: int, name: str, path: str) -> int:
    """Return a handle of a file whose rights are ours to change; raises as `check_own` does."""
    handle = os.open(name, files.READING, dir_fd=folder)
    try:
        check_own(handle, path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_own(handle: int, path: str) -> None:
    """Raise `Permanent` for what is no file of ours, or has another name beside this (link(2)).

    Whoever may write to its folder could have it be any file.
    """
    info = os.fstat(handle)
    files.check_owner(info, path)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
        raise Permanent(
            f"{path} has {info.st_nlink} names (hard links), or is no regular file; see how it got "
            "there, then replace it by a copy"
        )
