"""Finding and reading the files of `conf.d`.

A configuration names commands that the daemon runs, often as root: files and folders that
somebody else could write are refused, as OpenSSH and sudo do.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

MAIN_FILE = "ssl-mgr.conf"
CA_FILE = "ca-info.conf"
SIZE_LIMIT = 1 << 20  # bytes; the longest sensible file, with 10,000 groups, has about 700 kB

# What editors, packagers and version control leave beside the files they change.
_LEFT_OVER = re.compile(
    r"[.#].*|.*~|.*#|.*\.(bak|old|orig|rej|save|sw[a-p]|tmp|rpm(new|save|orig)"
    r"|(dpkg|ucf)-[a-z-]+)",
    re.DOTALL,
)


class Unusable(Exception):
    """A file or folder that cannot be used: `problem`, and the way out (`remedy`)."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class Missing(Unusable):
    """There is no such file or folder."""


def locate_conf_dir(arg: str | None, environ: Mapping[str, str]) -> Path:
    """Return the configuration directory, absolute; links in it are not resolved.

    `arg` (`--conf-dir`) counts first, then `$SSL_MGR_TOPDIR/conf.d`, then
    `/etc/ssl-mgr/conf.d`. The working directory is never looked into, though a relative
    `arg` starts there.
    """
    if arg:
        return Path(os.path.abspath(arg))
    if top := environ.get("SSL_MGR_TOPDIR"):
        return Path(os.path.abspath(os.path.join(top, "conf.d")))
    return Path("/etc/ssl-mgr/conf.d")


def is_left_over(name: str) -> bool:
    """Whether a file's name is that of a copy left by an editor or a package manager."""
    return _LEFT_OVER.fullmatch(name) is not None


def read_file(path: str) -> tuple[bytes, os.stat_result]:
    """Return the content and status of a regular file, links followed.

    Raises `Missing`, or `Unusable` for a folder, a device, a file too large or unreadable.
    """
    try:
        # Without O_NONBLOCK, a FIFO in place of the file would hang us for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as err:
        raise _unusable(err) from None
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise Unusable("it is a directory", "put a file in its place")
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("it is not a regular file", "put a file in its place")
        if status.st_size > SIZE_LIMIT:
            raise Unusable(
                f"it has {status.st_size} bytes", f"a file here has at most {SIZE_LIMIT} bytes"
            )
        return os.read(handle, status.st_size), status
    except OSError as err:
        raise _unusable(err) from None
    finally:
        os.close(handle)


def list_files(folder: str) -> list[str]:
    """Return the sorted names of the files in `folder`, left-overs and sub-folders left out.

    Raises `Missing` or `Unusable`.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not is_left_over(e.name) and not e.is_dir())
    except OSError as err:
        raise _unusable(err) from None


def list_folders(folder: str) -> list[str]:
    """Return the sorted names of the folders in `folder`; raise `Missing` or `Unusable`."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as err:
        raise _unusable(err) from None


def folder_status(folder: str) -> os.stat_result:
    """Return the status of a folder; raise `Missing`, or `Unusable` if it is none."""
    try:
        status = os.stat(folder)
    except (OSError, ValueError) as err:
        raise _unusable(err) from None
    if not stat.S_ISDIR(status.st_mode):
        raise Unusable("it is not a directory", "put a directory in its place")
    return status


def risk_of(path: str, status: os.stat_result, owners: frozenset[int]) -> Unusable | None:
    """Say what is unsafe about the owner and mode of a file or folder, None if nothing is.

    Its ACL and the folders above are looked at when all is read, see `servers.folders`.
    """
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if status.st_uid not in owners:
        return Unusable(
            f"it belongs to user {status.st_uid}, who so has power over the daemon",
            f"chown root {path}",
        )
    if status.st_mode & stat.S_IWOTH:
        return Unusable(
            f"everybody may write it ({mode}), and so has power over the daemon",
            f"chmod o-w {path}",
        )
    # The daemon's own group is nobody else, as a rule.
    if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
        return Unusable(
            f"group {status.st_gid} may write it ({mode}), and so has power over the daemon",
            f"chmod g-w {path}",
        )
    return None


def _unusable(err: OSError | ValueError) -> Unusable:
    if isinstance(err, FileNotFoundError):
        return Missing("there is no such file or directory", "create it, or correct its name")
    if isinstance(err, PermissionError):
        return Unusable(
            f"it cannot be read: {err.strerror}",
            f"it must be readable for the user of the daemon (uid {os.geteuid()}), and the "
            "folders above it searchable",
        )
    text = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
    return Unusable(f"it cannot be read: {text}", "see to it that it can")
