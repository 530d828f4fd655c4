"""The way to a folder, and the folder by its handle: nobody else decides where it leads (I13).

A path is looked up anew by each call that is given one. Whoever may write to a folder on the way
can put a link in the place of the next one in between, and have the daemon write, remove or open
up something of root's. So what changes a file holds the folder open, and works below that handle;
and links are followed only where nobody else can have put them.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Self

from sslmd.core.errors import Permanent
from sslmd.core.safe_path import (
    Danger,
    Named,
    PathEntry,
    Trust,
    danger,
    foreign_link,
    leads_away,
    trust_of,
)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ANYTHING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# As the kernel has it (path_resolution(7)).
MOST_LINKS = 40

# acl(5), as the kernel hands it out: a version, then for each entry a tag, rights and whose it is.
_ACL = "system.posix_acl_access"
_ACL_HEAD, _ACL_ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER, _OWN_GROUP, _GROUP = 0x02, 0x04, 0x08
_MAY_WRITE, _MAY_READ = 0o2, 0o4


def own_trust() -> Trust:
    """Return whom this process trusts: its own user and root."""
    return trust_of(os.geteuid(), os.getegid())


def entry_of(path: str, info: os.stat_result) -> PathEntry:
    """Return what is known of whose something is; its ACL is read where that could matter."""
    may = info.st_mode & stat.S_IWGRP and not stat.S_ISLNK(info.st_mode)
    acl = _acl(path, _MAY_WRITE) if may else None
    return PathEntry(path, info.st_uid, info.st_gid, info.st_mode, acl)


def secret_entry_of(path: str, info: os.stat_result) -> PathEntry:
    """Return the same of a file with a secret in it, with whom its ACL lets read."""
    return replace(entry_of(path, info), readers=_acl(path, _MAY_READ))


def shared_with(folder: int, info: os.stat_result, path: str) -> Danger | None:
    """Return who else than its owner may rename what is in a folder that is open, None: nobody.

    `path` is for the words. In a sticky folder others may not.
    """
    may = info.st_mode & stat.S_IWGRP
    acl = _acl(folder, _MAY_WRITE) if may else None
    trust = own_trust()
    trust = replace(trust, owners=trust.owners | {info.st_uid})
    entry = PathEntry(path, info.st_uid, info.st_gid, info.st_mode, acl)
    return danger(entry, trust, sticky=True)


def _acl(at: str | int, right: int) -> Named | None:
    """Return whom the ACL gives a right, of a path, which may be a link, or of an open file."""
    try:
        data = os.getxattr(at, _ACL, follow_symlinks=isinstance(at, int))
    except OSError:  # none, or a file system without
        return None
    may: dict[int, set[int]] = {_USER: set(), _OWN_GROUP: set(), _GROUP: set()}
    for tag, rights, whose in _ACL_ENTRY.iter_unpack(data[_ACL_HEAD.size :]):
        if tag in may and rights & right:
            may[tag].add(whose)
    return Named(frozenset(may[_USER]), frozenset(may[_GROUP]), bool(may[_OWN_GROUP]))


def _whole(path: str) -> str:
    """Return a path from the top; the working directory, which may be gone, only if it counts."""
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


class PathWalk:
    """Goes from the top of the file system to a path, one name after another, links too.

    Iterating yields each entry as it is met, the top first; raises OSError where it does not go on.
    """

    def __init__(self, path: str) -> None:
        self._todo = deque(_whole(path).split("/"))
        self._links = 0
        self._handles: list[int] = []
        self.entries: list[PathEntry] = []  # the folders that are passed, and what is there now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            os.close(self._handles.pop())

    def __iter__(self) -> Iterator[PathEntry]:
        yield self._enter("/", os.open("/", _ANYTHING))
        while self._todo:
            name = self._todo.popleft()
            if name == "..":
                self._leave(keep=1)
            elif name not in ("", "."):
                yield self._next(name)

    def _next(self, name: str) -> PathEntry:
        above = self.entries[-1]
        path = f"{above.path.rstrip('/')}/{name}"
        if not stat.S_ISDIR(above.mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), above.path)
        handle = os.open(name, _ANYTHING, dir_fd=self._handles[-1])
        info = os.fstat(handle)
        if not stat.S_ISLNK(info.st_mode):
            return self._enter(path, handle, info)
        try:
            self._links += 1
            if self._links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink("", dir_fd=handle)  # of this very link
        finally:
            os.close(handle)
        if target.startswith("/"):
            self._leave(keep=len(self.entries))
        self._todo.extendleft(reversed(target.split("/")))
        return entry_of(path, info)

    def _enter(self, path: str, handle: int, info: os.stat_result | None = None) -> PathEntry:
        self._handles.append(handle)
        entry = entry_of(path, info or os.fstat(handle))
        self.entries.append(entry)
        return entry

    def _leave(self, keep: int) -> None:
        """Go up `keep` folders, at most to the top."""
        for _ in range(min(keep, len(self.entries) - 1)):
            self.entries.pop()
            os.close(self._handles.pop())

    @property
    def is_there(self) -> bool:
        """Whether the last name has been met."""
        return not any(self._todo)

    def open(self) -> int:
        """Open the folder that was reached."""
        return os.open(".", _FOLDER, dir_fd=self._handles[-1])


def open_folder(path: str) -> int:
    """Return a handle of a folder; a link on the way counts only if nobody else can have put it.

    Raises OSError, and `Permanent` for such a link.
    """
    path = _whole(path)
    handle = os.open(path, _FOLDER)
    # The kernel tells where the folder is. If that is what was asked for, no link led there.
    with suppress(OSError):
        if os.readlink(f"/proc/self/fd/{handle}") == path:
            return handle
    os.close(handle)
    trust = own_trust()
    with PathWalk(path) as walk:
        above: list[PathEntry] = []
        for entry in walk:
            if stat.S_ISLNK(entry.mode) and leads_away(entry, above, trust):
                raise Permanent(
                    f"{entry.path} is a link, and others may write to the folder that it is in; "
                    "put a directory in its place, or name the directory that it leads to"
                )
            above = list(walk.entries)
        return walk.open()


@contextmanager
def holding(path: str) -> Iterator[tuple[int, str]]:
    """Give a handle of the folder that `path` is in, and its name there; raises as above."""
    folder, name = os.path.split(path)
    handle = open_folder(folder or ".")
    try:
        yield handle, name
    finally:
        os.close(handle)


def open_below(above: int, name: str) -> int:
    """Return a handle of a folder in another; a link is none. Raises OSError."""
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)


def dangers(path: str, trust: Trust, *, sticky: bool = False) -> Iterator[Danger]:
    """Yield who else has power over what lies at a path, from the top down.

    What is not there yet has nobody. `sticky`: at the path itself others may put things of their
    own, as in /tmp. Raises OSError where it cannot be looked at.

    Whether the file system is mounted read-only does not count: for the daemon it may be, and for
    others not (ProtectSystem= of systemd.exec(5)).
    """
    with PathWalk(path) as walk, suppress(FileNotFoundError):
        above: list[PathEntry] = []
        safe = True
        for entry in walk:
            if found := danger(entry, trust, sticky=sticky or not walk.is_there):
                yield found
                safe = False
            elif safe and stat.S_ISLNK(entry.mode) and leads_away(entry, above, trust):
                yield foreign_link(entry)
            above = list(walk.entries)
