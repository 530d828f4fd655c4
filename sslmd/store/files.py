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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sslmd.core.errors import Permanent, Transient

KEY_MODE = 0o600
FILE_MODE = 0o644
DIR_MODE = 0o750

# Bytes. Nothing that we read is longer; a chain of four RSA certificates has 10 KB.
MAX_FILE = 1 << 20

# Links in a row that are followed.
_MOST_LINKS = 4

# What may be over in a minute without anybody's doing.
_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ESTALE,
    }
)
_REMEDY = {
    errno.ENOSPC: "free some space on that file system",
    errno.EDQUOT: "raise the quota or free some space",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "mount it for writing, or name it in ReadWritePaths= of sslmd.service",
    errno.EACCES: "let the daemon's user read and write there",
    errno.EPERM: "let the daemon's user read and write there; lsattr tells of immutable files",
    errno.EBUSY: "unmount what is mounted there",
    errno.EXDEV: "unmount what is mounted there",
    errno.EOPNOTSUPP: "move it away; it is written again with the next try",
    errno.ENOTDIR: "move away the file that stands where a directory should be",
    errno.EISDIR: "move away the directory that stands where a file should be",
    errno.ELOOP: "replace the link by what it should be",
}
_LEFTOVER = re.compile(r"\.[A-Za-z0-9:._-]+\.([0-9a-f]{8})[0-9a-f]{16}\.new\Z")
# Tells the temporary files of this process from those of one that was killed.
_RUN = secrets.token_hex(4)
_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_RENAME_EXCHANGE = 2  # renameat2(2)
_AT_FDCWD = -100


def trouble(err: OSError, doing: str, path: str) -> Transient | Permanent:
    """Return the error to raise for `err`: what was being done, to which file, the way out."""
    remedy = _REMEDY.get(err.errno or 0, "see to it; it is tried again by itself")
    text = f"cannot {doing} {path}: {err.strerror or err}; {remedy}"
    return Transient(text) if err.errno in _PASSING else Permanent(text)


@contextmanager
def _named(doing: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise trouble(err, doing, path) from err


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
        with _named("read the link", end):
            end = os.path.normpath(os.path.join(os.path.dirname(end), os.readlink(end)))
        try:
            check_dir(os.path.dirname(end))
        except Permanent as err:
            raise Permanent(f"{path} is a link into a folder that is not safe: {err}") from None
    raise Permanent(f"{path} is a link that leads on and on; put the file itself in its place")


def _anybody(info: os.stat_result, path: str) -> None:
    """Every owner will do."""


def _read(path: str, limit: int, check: Callable[[os.stat_result, str], None]) -> bytes:
    # Plainly written, without `_named`: a start does this 50,000 times.
    try:
        handle = os.open(path, _READING)
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
        return _read_all(handle, info.st_size)
    except OSError as err:
        raise trouble(err, "read", path) from err
    finally:
        os.close(handle)


def _read_all(handle: int, size: int) -> bytes:
    data = os.read(handle, size + 1)
    if len(data) == size:
        return data
    pieces = [data]
    while piece := os.read(handle, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def check_owner(info: os.stat_result, path: str) -> None:
    """Raise `Permanent` if somebody else owns it than the daemon's user or root."""
    if info.st_uid not in (0, os.geteuid()):
        raise Permanent(
            f"{path} belongs to uid {info.st_uid}, not to the daemon's user or root; "
            "look at how it got there, then chown it"
        )


def is_wide(info: os.stat_result) -> bool:
    """Whether it is a file that is open to more than its owner needs for a key."""
    return stat.S_ISREG(info.st_mode) and bool(info.st_mode & 0o177)


def check_dir(path: str) -> None:
    """Raise `Permanent` for a directory in which somebody else could put files or links.

    One that is not there is fine.
    """
    _check_dir(path, check_owner)


def check_shared_dir(path: str) -> None:
    """Raise `Permanent` for a directory that everybody may write to, whoever owns it."""
    _check_dir(path, _anybody)


def _check_dir(path: str, check: Callable[[os.stat_result, str], None]) -> None:
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return
    except OSError as err:
        raise trouble(err, "look at", path) from err
    check(info, path)
    if info.st_mode & stat.S_IWOTH:
        raise Permanent(f"{path} can be written by everybody; run: chmod o-w {path}")


def widen_dir(path: str, bits: int) -> None:
    """Give a directory of ours these rights beside those it has."""
    with _named("open to others", path):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & bits != bits:
            os.chmod(path, mode | bits)


def tighten(path: str) -> bool:
    """Make a key file readable by its owner alone; return whether it was wider."""
    with _named("read", path):
        if not is_wide(os.stat(path, follow_symlinks=False)):
            return False
        # By its handle: what stands at the path may be another file by now.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            check_owner(os.fstat(handle), path)
            os.fchmod(handle, KEY_MODE)
        finally:
            os.close(handle)
        return True


def write_file(path: str, data: bytes, mode: int = KEY_MODE) -> None:
    """Put `data` at `path`, all or nothing, durable when this returns.

    Raises `Transient` or `Permanent`; then the old file stands as it was.
    """
    temp = _temp(path)
    with _named("write", path):
        try:
            write_new(temp, data, mode)
            os.rename(temp, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp)
            raise
        sync_dir(os.path.dirname(path))


def write_new(path: str, data: bytes, mode: int = KEY_MODE) -> None:
    """Write a file that does not exist yet, fsynced; raises OSError.

    For the files of a directory that nobody looks at before it is renamed into place.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, KEY_MODE)
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
    temp = _temp(path)
    with _named("replace the link", path):
        try:
            os.symlink(target, temp)
            os.rename(temp, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp)
            raise
        sync_dir(os.path.dirname(path))


def remove_file(path: str) -> None:
    """Remove a file or a link if it is there, durable when this returns."""
    with _named("remove", path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        sync_dir(os.path.dirname(path))


def swap(one: str, other: str) -> None:
    """Exchange two paths at one instant (Linux renameat2(2)); raises OSError.

    EOPNOTSUPP: a file system that cannot (NFS, say), which renameat2 calls EINVAL.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        if number == errno.EINVAL:
            text = "this file system cannot exchange two names"
            raise OSError(errno.EOPNOTSUPP, text, one)
        raise OSError(number, os.strerror(number), one)


def make_dirs(path: str, mode: int = DIR_MODE) -> None:
    """Make a directory and what is missing above it, private whatever the umask, durable."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_dirs(parent, mode)
    with _named("make the directory", path):
        with suppress(FileExistsError):
            make_dir(path, mode)
        sync_dir(parent)
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def make_dir(path: str, mode: int) -> None:
    """Make one directory that is not there yet, whatever the umask; raises OSError."""
    os.mkdir(path, mode)
    os.chmod(path, mode)


def sync_dir(path: str) -> None:
    """Make the names in a directory durable; raises OSError."""
    handle = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(path: str) -> None:
    """Remove a directory of ours with the files in it; not there is fine.

    Links are removed, never followed: what they point to belongs to somebody else.
    """
    with _named("remove", path):
        try:
            if os.path.islink(path):
                os.unlink(path)
                return
            with os.scandir(path) as entries:
                for entry in list(entries):
                    if entry.is_dir(follow_symlinks=False):
                        remove_tree(entry.path)
                    else:
                        os.unlink(entry.path)
            os.rmdir(path)
        except FileNotFoundError:
            return


def remove_leftovers(folder: str) -> None:
    """Remove what daemons that were killed had begun to write there; not there is fine."""
    with _named("remove leftovers in", folder):
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return
        for name in filter(is_leftover, names):
            path = f"{folder}/{name}"
            if stat.S_ISDIR(os.lstat(path).st_mode):
                remove_tree(path)
            else:
                os.unlink(path)


def temp_name(path: str) -> str:
    """Return an unforeseeable name beside `path`, which `is_leftover` recognizes."""
    return _temp(path)


def is_leftover(name: str) -> bool:
    """Whether a file of this name was being written by a daemon that was killed."""
    match = _LEFTOVER.match(name)
    return match is not None and match[1] != _RUN


def _temp(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{_RUN}{secrets.token_hex(8)}.new")
