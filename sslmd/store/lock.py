"""One daemon per tree: a lock that the kernel lets go of when its holder dies (I5)."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from sslmd.core.errors import Permanent
from sslmd.store import files
from sslmd.store.paths import dangers, own_trust


class TreeLock:
    """Held from `take` to `release`, or to the end of the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> None:
        """Lock the tree; raise `Permanent` naming the daemon that has it."""
        root = os.path.dirname(self._path)
        files.make_dirs(root)
        for danger in dangers(root, own_trust()):
            raise Permanent(str(danger))
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            handle = os.open(self._path, flags, 0o600)
        except OSError as err:
            raise files.trouble(err, "open", self._path) from err
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise Permanent(
                f"another sslmd (pid {holder}) works on {root}; stop that one first, or give "
                "this one a certs_dir of its own"
            ) from None
        with suppress(OSError):  # a full disk: the lock counts, the pid is for a message
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Let another daemon have the tree. The file stays: removing it would be a race."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
