"""What the operating system refuses, as a failure with the file and the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from sslmd.core.errors import Permanent, Transient

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


def trouble(err: OSError, doing: str, path: str) -> Transient | Permanent:
    """Return the error to raise for `err`: what was being done, to which file, the way out."""
    remedy = _REMEDY.get(err.errno or 0, "see to it; it is tried again by itself")
    text = f"cannot {doing} {path}: {err.strerror or err}; {remedy}"
    return Transient(text) if err.errno in _PASSING else Permanent(text)


@contextmanager
def naming(doing: str, path: str) -> Iterator[None]:
    """Raise what the operating system refuses as `trouble` does."""
    try:
        yield
    except OSError as err:
        raise trouble(err, doing, path) from err
