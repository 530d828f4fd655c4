"""What is temporary: private folders below the run folder, gone with the job that needs them.

Each process has one folder of its own, under a name that nobody can foresee, and holds it locked
(flock) for as long as it lives. What a killed process leaves is not locked any more: the next one
removes it. A folder of somebody else, or one that a link leads to, is never touched. Where others
could put their own in its place (`store.paths`), none is made: a socket in it lends a connection.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sslmd.store.paths import dangers, own_trust

_PREFIX = ".sslmd-run-"
# As tempfile makes them.
_OURS = re.compile(r"\.sslmd-run-[a-z0-9_]{8}\Z")


class Scratch:
    """Gives private folders below `run`; where that cannot be, below the system's own ($TMPDIR)."""

    def __init__(self, run: str = "") -> None:
        self._run = run
        self._home = ""
        self._lock = -1

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Give a folder that is ours alone, and remove it in the end; raises OSError."""
        path = tempfile.mkdtemp(dir=self._own())
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what processes that were killed have left; what cannot be removed stays."""
        for parent in self._parents():
            with suppress(OSError), os.scandir(parent) as entries:
                for name in [entry.name for entry in entries if _OURS.match(entry.name)]:
                    _remove_left(f"{parent}/{name}")

    def close(self) -> None:
        """Remove the folder of this process."""
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)
            os.close(self._lock)
        self._home, self._lock = "", -1

    def _parents(self) -> list[str]:
        return [*filter(None, (self._run,)), tempfile.gettempdir()]

    def _own(self) -> str:
        if self._home and os.path.isdir(self._home):
            return self._home
        self.close()  # somebody removed it
        problem: OSError | None = None
        # Before it is locked it can be taken for one that was left, and removed: then once more.
        for parent in (*self._parents(), *self._parents()):
            try:
                for danger in dangers(parent, own_trust(), sticky=True):
                    raise PermissionError(errno.EPERM, str(danger), parent)
                home = tempfile.mkdtemp(prefix=_PREFIX, dir=os.path.realpath(parent))
                handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as err:
                problem = err
                continue
            if os.path.isdir(home):
                self._home, self._lock = home, handle
                return home
            os.close(handle)
        raise problem or FileNotFoundError(errno.ENOENT, "it was removed", home)


def _remove_left(path: str) -> None:
    """Remove a folder of ours that no process holds."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        info = os.fstat(handle)
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
            return
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # it is in use
    else:
        # Follows no link, whatever is exchanged meanwhile (shutil: avoids_symlink_attacks).
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
