"""Files: atomic, durable, private from birth (I2, I3, I5).

Every file is written beside its target under a name nobody can foresee, fsynced and renamed,
and its directory fsynced; links are replaced by renaming a new link over the old. Whatever
the operating system refuses becomes `Transient` or `Permanent`, naming the file and the way
out.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from sslmd.core.errors import Permanent, naming
from sslmd.core.errors import trouble as trouble  # for all who use what is here
from sslmd.core.safe_path import danger, readable
from sslmd.store.paths import (
    entry_of,
    holding,
    open_below,
    open_folder,
    own_trust,
    secret_entry_of,
)

KEY_MODE = 0o600
FILE_MODE = 0o644
DIR_MODE = 0o750

# Bytes. Nothing that we read is longer; a chain of four RSA certificates has 10 KB.
MAX_FILE = 1 << 20

# Folders below each other. Ours are seven; who makes thousands wants us to fail.
DEEPEST = 64

# Links in a row that are followed.
_MOST_LINKS = 4

_LEFTOVER = re.compile(r"\.[A-Za-z0-9:._-]+\.([0-9a-f]{8})[0-9a-f]{16}\.new\Z")
# Tells the temporary files of this process from those of one that was killed.
_RUN = secrets.token_hex(4)
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_RENAME_EXCHANGE = 2  # renameat2(2)


def read_file(path: str, limit: int = MAX_FILE) -> bytes:
    """Return what is in a regular file of ours.

    Raises FileNotFoundError if it is not there; `Permanent` if it is no regular file, too
    long, or belongs to somebody else than the daemon's user or root: whoever owns a file can
    change it at any time.
    """
    return _read(path, limit, check_owner)


def read_shared(path: str, limit: int = MAX_FILE) -> bytes:
    """Return what is in a regular file, whoever owns it.

    For files that others are meant to have as well, an include file that a signer has given to its
    own user: compare what they hold, and trust it with nothing. Raises as `read_file` does, and as
    `link_end`.
    """
    return _read(link_end(path), limit, _anybody)


def write_shared(path: str, data: bytes) -> None:
    """Put `data` where others read it; a link stays, and what it leads to is written.

    Raises as `write_file` and `link_end` do.
    """
    write_file(link_end(path), data, FILE_MODE)


def link_end(path: str) -> str:
    """Return where links lead from `path`: itself, if it is none. What is not there will do.

    Only links are followed that nobody but root and the daemon's user can have made, into folders
    that are theirs: others could have any file written. Raises `Permanent` for others.
    """
    end = path
    for _ in range(_MOST_LINKS):
        try:
            info = os.lstat(end)
        except FileNotFoundError:
            return end
        except OSError as err:
            raise trouble(err, "look at", end) from err
        if not stat.S_ISLNK(info.st_mode):
            return end
        if info.st_uid not in (0, os.geteuid()):
            raise Permanent(
                f"{end} is a link that belongs to uid {info.st_uid}, not to the daemon's user or "
                f"root; put the file itself in its place, or run: chown -h root {end}"
            )
        with naming("read the link", end):
            end = os.path.normpath(os.path.join(os.path.dirname(end), os.readlink(end)))
        try:
            check_dir(os.path.dirname(end))
        except Permanent as err:
            raise Permanent(f"{path} is a link into a folder that is not safe: {err}") from None
    raise Permanent(f"{path} is a link that leads on and on; put the file itself in its place")


def read_secret(path: str, limit: int = MAX_FILE, *, by_group: bool = False) -> bytes:
    """Return what is in a file of ours that holds a secret, and that nobody else may read.

    `by_group`: its group may. Raises as `read_file` does, and `Permanent` for one that others can
    read, as ssh(1) does.
    """

    def check(info: os.stat_result, path: str) -> None:
        check_owner(info, path)
        if found := readable(secret_entry_of(path, info), own_trust(), by_group=by_group):
            raise Permanent(str(found))

    return _read(path, limit, check)


def _anybody(info: os.stat_result, path: str) -> None:
    """Every owner will do."""


def _read(path: str, limit: int, check: Callable[[os.stat_result, str], None]) -> bytes:
    # Plainly written, without `_named`: a start does this 50,000 times.
    try:
        handle = os.open(path, READING)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise trouble(err, "read", path) from err
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise Permanent(f"{path} is not a regular file; replace it by what it should be")
        check(info, path)
        if info.st_size > limit:
            raise Permanent(f"{path} has {info.st_size} bytes, more than {limit}; remove it")
        data = os.read(handle, info.st_size + 1)
        if len(data) == info.st_size:
            return data
        pieces = [data]
        while piece := os.read(handle, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError as err:
        raise trouble(err, "read", path) from err
    finally:
        os.close(handle)


def check_owner(info: os.stat_result, path: str) -> None:
    """Raise `Permanent` if somebody else owns it than the daemon's user or root."""
    if info.st_uid not in (0, os.geteuid()):
        raise Permanent(str(danger(entry_of(path, info), own_trust())))


def check_dir(path: str, groups: Collection[int] = ()) -> None:
    """Raise `Permanent` for a directory in which somebody else could put files or links.

    `groups`: those whose members may. One that is not there is fine. A link in its place has to be
    of root or the daemon's user: one that others put there stays when they may not write any more.
    """
    try:
        info = os.lstat(path)
        # What `danger` says of nearly all: a start asks 40,000 times.
        mode, ours = info.st_mode, info.st_uid in (0, os.geteuid())
        if ours and not mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(mode):
            return
        trust = own_trust().with_groups(groups)
        found = danger(entry_of(path, info), trust)
        if stat.S_ISLNK(mode) and not found:
            found = danger(entry_of(path, os.stat(path)), trust)
    except FileNotFoundError:
        return
    except OSError as err:
        raise trouble(err, "look at", path) from err
    if found:
        raise Permanent(str(found))


def write_file(path: str, data: bytes, mode: int = KEY_MODE) -> None:
    """Put `data` at `path`, all or nothing, durable when this returns.

    Raises `Transient` or `Permanent`; then the old file stands as it was.
    """
    with naming("write", path), holding(path) as (folder, name):
        write_in(folder, name, data, mode)


def write_files(place: str, contents: Mapping[str, bytes], modes: Mapping[str, int]) -> None:
    """Put files into a folder, each as `write_file` does, one after another in their order.

    They are durable together, when this returns. `modes`: of each. Raises as `write_file` does.
    """
    path = place
    try:
        with holding(f"{place}/.") as (folder, _):
            for name, data in contents.items():
                path = f"{place}/{name}"
                _put(folder, name, data, modes[name])
            os.fsync(folder)
    except OSError as err:
        raise trouble(err, "write", path) from err


def write_in(folder: int, name: str, data: bytes, mode: int = KEY_MODE) -> None:
    """Put `data` into a folder that is held, as `write_file` does; raises OSError."""
    _put(folder, name, data, mode)
    os.fsync(folder)


def _put(folder: int, name: str, data: bytes, mode: int) -> None:
    temp = temp_name(name)
    try:
        write_new(temp, data, mode, folder)
        os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temp, dir_fd=folder)
        raise


def write_new(name: str, data: bytes, mode: int, folder: int | None = None) -> None:
    """Write a file that does not exist yet, fsynced; raises OSError.

    For the files of a directory that nobody looks at before it is renamed into place. `folder`: the
    handle of that directory; without one, `name` is a path.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(name, flags, KEY_MODE, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fchmod(handle, mode)  # whatever the umask
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_link(path: str, target: str) -> None:
    """Make `path` a symbolic link to `target` at one instant; there is no moment without one.

    A directory in its place (a tree copied by other tools) is exchanged and returned aside by
    `swap`, not here: this raises `Permanent` for one.
    """
    with naming("replace the link", path), holding(path) as (folder, name):
        temp = temp_name(name)
        try:
            os.symlink(target, temp, dir_fd=folder)
            os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise
        os.fsync(folder)


def remove_file(path: str) -> None:
    """Remove a file or a link if it is there, durable when this returns."""
    with naming("remove", path), suppress(FileNotFoundError):
        with holding(path) as (folder, name):
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)


def move(path: str, target: str) -> None:
    """Give a file or a folder another place, durable when this returns; raises OSError."""
    with holding(path) as (source, old), holding(target) as (goal, new):
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=goal)
        os.fsync(goal)


def swap(folder: int, one: str, other: str) -> None:
    """Exchange two names of a folder at one instant (Linux renameat2(2)); raises OSError.

    EOPNOTSUPP: a file system that cannot (NFS, say), which renameat2 calls EINVAL.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(folder, old, folder, new, _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        if number == errno.EINVAL:
            text = "this file system cannot exchange two names"
            raise OSError(errno.EOPNOTSUPP, text, one)
        raise OSError(number, os.strerror(number), one)


def make_dirs(path: str, mode: int = DIR_MODE) -> None:
    """Make a directory and what is missing above it, private whatever the umask, durable."""
    if os.path.isdir(path):
        return
    make_dirs(os.path.dirname(path), mode)
    with naming("make the directory", path), holding(path) as (folder, name):
        with suppress(FileExistsError):
            os.close(make_dir(folder, name, mode))
        os.fsync(folder)
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def make_dir(folder: int, name: str, mode: int) -> int:
    """Make one directory that is not there yet, whatever the umask; return its handle.

    Raises OSError.
    """
    os.mkdir(name, mode, dir_fd=folder)
    handle = open_below(folder, name)
    try:
        # It is empty and ours, or has been exchanged: then its rights are not for us to give.
        if os.fstat(handle).st_uid != os.geteuid() or os.listdir(handle):
            raise FileExistsError(errno.EEXIST, "somebody else has put another in its place", name)
        os.fchmod(handle, mode)
    except BaseException:
        os.close(handle)
        raise
    return handle


def sync_dir(path: str) -> None:
    """Make the names in a directory durable; raises OSError."""
    handle = open_folder(path or ".")
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(path: str) -> None:
    """Remove a directory of ours with the files in it; not there is fine.

    Links are removed, never followed: what they point to belongs to somebody else.
    """
    with naming("remove", path), suppress(FileNotFoundError):
        with holding(path) as (folder, name):
            remove_below(folder, name)


def remove_below(folder: int, name: str, deeper: int = DEEPEST) -> None:
    """Remove what has a name in a folder that is held, and what is in it.

    Raises OSError, and `Permanent` where folders are more than `deeper` below each other.
    """
    try:
        handle = open_below(folder, name)
    except OSError as err:
        if err.errno not in (errno.ENOTDIR, errno.ELOOP):  # what is no directory, or a link
            raise
        os.unlink(name, dir_fd=folder)
        return
    try:
        for one in os.listdir(handle):
            with suppress(FileNotFoundError):
                if deeper == 0:
                    raise Permanent(
                        f"{_place(handle).rsplit('/', DEEPEST)[0]} has more than {DEEPEST} folders "
                        "below each other; see who made them, and remove them"
                    )
                remove_below(handle, one, deeper - 1)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=folder)


def _place(handle: int) -> str:
    """Return where a folder is, for a message."""
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{handle}")
    return "a place that is not known"


def remove_leftovers(folder: str) -> None:
    """Remove what daemons that were killed had begun to write there; not there is fine."""
    with naming("remove leftovers in", folder), suppress(FileNotFoundError):
        handle = open_folder(folder)
        try:
            for name in filter(is_leftover, os.listdir(handle)):
                remove_below(handle, name)
        finally:
            os.close(handle)


def temp_name(name: str) -> str:
    """Return an unforeseeable name to stand beside `name`, which `is_leftover` recognizes."""
    return f".{name}.{_RUN}{secrets.token_hex(8)}.new"


def is_leftover(name: str) -> bool:
    """Whether a file of this name was being written by a daemon that was killed."""
    match = _LEFTOVER.match(name)
    return match is not None and match[1] != _RUN
