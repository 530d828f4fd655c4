"""Into folders that may belong to somebody else, who may exchange names while we look.

No name is used twice: a folder is opened, and what is done in it is done by its handle; no link is
followed but root's and our own on the way to it, and no mode is changed. From the first folder on
that is somebody else's, root goes on as that user, and so can do nothing that they could not.
What is done on other machines (`servers/challenge.sh`) goes by the same rules.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeVar

from sslmd.core.errors import Permanent
from sslmd.core.safe_path import Danger
from sslmd.store import files
from sslmd.store.paths import MOST_LINKS, shared_with

T = TypeVar("T")

FOLDER_MODE = 0o755  # of what is made on the way: it is for others to read
_UMASK = 0o022
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_CLONE_FS = 0x200
_NOBODY = 65534
# setgroups(2) by its number: glibc's function changes every thread.
_SETGROUPS = {
    "x86_64": 116,
    "aarch64": 159,
    "riscv64": 159,
    "loongarch64": 159,
    "i386": 206,
    "i586": 206,
    "i686": 206,
    "armv6l": 206,
    "armv7l": 206,
    "armv8l": 206,
    "ppc64": 81,
    "ppc64le": 81,
    "s390x": 206,
}
_libc = ctypes.CDLL(None, use_errno=True)


def apart(work: Callable[[], T]) -> T:
    """Do something in a thread with a umask of its own; in it `ForeignFolder` may be others."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if _libc.unshare(_CLONE_FS) != 0:
                number = ctypes.get_errno()
                raise files.trouble(OSError(number, os.strerror(number)), "leave", "the umask")
            os.umask(_UMASK)
            results.append(work())
        except BaseException as err:
            failures.append(err)

    thread = threading.Thread(target=run, name="sslmd-foreign")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


class ForeignFolder:
    """Where we are: a folder, by its handle. For `apart`, and to be closed.

    Raises OSError for what the system refuses, about `path`; `Permanent` for what we do.
    """

    def __init__(self) -> None:
        self.path = "/"
        self._handle = os.open("/", _FOLDER)
        self._user = os.geteuid()
        self._shared: Danger | None = None
        self._links = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def follow(self, path: str, *, make: bool) -> None:
        """Go to a folder that the admin has named, from where we are; links may lead to it."""
        names = path.split("/")[::-1]
        self._restart(path)
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self._step(os.open("..", _FOLDER, dir_fd=self._handle), os.path.dirname(self.path))
            elif (target := self._link(name)) is not None:
                names += target.split("/")[::-1]
                self._restart(target)
            else:
                self.enter(name, make=make)

    def _restart(self, path: str) -> None:
        if path.startswith("/"):
            self._step(os.open("/", _FOLDER), "/")

    def _link(self, name: str) -> str | None:
        """Return where a link leads; None if it is none. It has to be root's or our own."""
        try:
            info = os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISLNK(info.st_mode):
            return None
        if info.st_uid not in (0, self._user):
            raise self._is_link(name)
        if self._shared and self._user == 0:
            raise Permanent(str(self._shared))
        self._links += 1
        if self._links > MOST_LINKS:
            raise Permanent(f"{self._at(name)}: too many links lead on from there; remove one")
        return os.readlink(name, dir_fd=self._handle)

    def enter(self, name: str, *, make: bool) -> None:
        """Go one folder down; it is made if it is not there and `make` says so."""
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, FOLDER_MODE, dir_fd=self._handle)
            handle = os.open(name, _FOLDER, dir_fd=self._handle)
        except PermissionError as err:
            if self._user == os.geteuid():
                self.path = self._at(name)
                raise
            raise Permanent(
                f"cannot open {self._at(name)} as uid {self._user}, whose folder it is in: "
                f"{err.strerror}; give it to that user, or remove it"
            ) from err
        except OSError:
            if os.path.islink(self._at(name)):
                raise self._is_link(name) from None
            self.path = self._at(name)
            raise
        shared, path = self._shared, self._at(name)
        self._step(handle, path)
        # There they may have put a folder of root's to this place.
        if shared and self._user == 0:
            raise Permanent(f"{shared}, or give {path} to the user of the web site")

    def _is_link(self, name: str) -> Permanent:
        return Permanent(f"{self._at(name)} is a link; put a directory in its place")

    def _at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def _step(self, handle: int, path: str) -> None:
        """Be in another folder; from here on as its owner, if that is somebody else than root."""
        os.close(self._handle)
        self._handle, self.path = handle, path
        info = os.fstat(handle)
        # Who else than its owner can rename what is in it.
        self._shared = shared_with(handle, info, path)
        if self._user == 0 and info.st_uid != 0:
            if not _become(info.st_uid):
                raise Permanent(
                    f"{path} belongs to uid {info.st_uid}, and the daemon cannot act as that user: "
                    "give its unit CapabilityBoundingSet=CAP_SETUID CAP_SETGID and "
                    "SystemCallFilter=@setuid (systemctl edit sslmd)"
                )
            self._user = info.st_uid

    def put(self, name: str, data: bytes) -> None:
        """Put a file here, that everybody may read, all or nothing."""
        temp = f".{name[:64]}.{secrets.token_hex(12)}.new"
        handle = os.open(temp, _NEW, files.FILE_MODE, dir_fd=self._handle)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.rename(temp, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp, dir_fd=self._handle)
            raise

    def remove(self, name: str) -> None:
        """Remove a file or link here, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._handle)


def _become(uid: int) -> bool:
    """Have this thread go on with the rights of another user; return whether that can be.

    Only for files (credentials(7)): whoever that user is cannot trace or signal us.
    """
    try:
        gid = pwd.getpwuid(uid).pw_gid
    except KeyError:
        gid = _NOBODY
    if os.getgroups():
        number = _SETGROUPS.get(platform.machine())
        if number is None or _libc.syscall(number, 0, None) != 0:
            return False
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)  # with it, all capabilities for files go
    return (_libc.setfsgid(-1), _libc.setfsuid(-1)) == (gid, uid)
