"""The log file in `logdir`: always a file of ours, whoever may write to that folder.

Rotation by renaming (logrotate's `create` and `nocreate`) is noticed with the next line. What
stands there and is no file of ours, a link above all, is not written to: what is said goes on into
the file that was open.
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress

from sslmd.core.errors import SslmError
from sslmd.store import files, owners
from sslmd.store.way import open_folder

NAME = "sslmd.log"

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LogFile(logging.Handler):
    """Writes lines to `sslmd.log` in a folder; raises OSError or `SslmError` if it cannot begin."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        files.make_dirs(folder, 0o750)
        self._folder = folder
        self._handle = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a full disk is no reason to stop."""
        with suppress(OSError, SslmError):
            self._follow()
        with suppress(OSError):
            os.write(self._handle, f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        super().close()

    def _follow(self) -> None:
        """Go on in another file where the one that is open has no longer this name."""
        ours, folder = os.fstat(self._handle), open_folder(self._folder)
        try:
            there = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        finally:
            os.close(folder)
        handle = self._open()
        os.close(self._handle)
        self._handle = handle

    def _open(self) -> int:
        folder = open_folder(self._folder)
        path = f"{self._folder}/{NAME}"
        try:
            # Made only where there is nothing; what is there is looked at before it is used.
            with suppress(FileExistsError):
                return os.open(NAME, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
            handle = os.open(NAME, _FLAGS, dir_fd=folder)
        except OSError as err:
            if err.errno == errno.ELOOP:
                raise OSError(
                    errno.ELOOP, f"{NAME} is a link; put a file in its place", path
                ) from err
            raise
        finally:
            os.close(folder)
        try:
            owners.check_own(handle, path)
        except BaseException:
            os.close(handle)
            raise
        return handle
