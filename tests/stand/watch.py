"""A watchman of private keys: is there an instant at which others could read one?

A program of its own, so that nothing keeps it from looking. It is told by inotify of all that
happens to the files below a folder, and looks at each at once: what holds a private key, or has
the name of what does, even if there is nothing in it yet (who has it open can read on), and which
mode it has. That is no proof, as a mode may change and change back before anybody looks. But what
a program does wrong, it does every time.

    python -m tests.stand.watch <folder to watch> <folder for marks>

It prints a line for each file and mode that it has not printed before (`key <mode> <path>`, in
octal, the path as JSON), and for each file that is put into the other folder (`mark <name>
<looks until then>`): then it has looked at everything that happened before.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.stand.server import ROOT, Server

# inotify(7), <sys/inotify.h>. That a file was opened or read is nothing to be told of: it happens
# with every look.
MODIFY, ATTRIB, CLOSE_WRITE, MOVED_TO, CREATE = 0x2, 0x4, 0x8, 0x80, 0x100
OVERFLOW, IS_DIR, ONLY_DIR, DONT_FOLLOW = 0x4000, 0x40000000, 0x01000000, 0x02000000
EVENT = struct.Struct("iIII")

# Names of files with a key, and within those that rsync and others make of them (`.privkey.pem.x`).
NAMES = (b"privkey", b"bundle.pem")
BEGIN = b"PRIVATE KEY-----"

# Bytes. Keys stand at the begin of a file, or behind a chain.
LOOK = 64 * 1024


# --- the program ---


class Watchman:
    """Looks at files when something happens to them."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_CLOEXEC)
        self._folders: dict[int, bytes] = {}
        self._seen: set[tuple[bytes, int]] = set()
        self.looks = 0

    def watch(self, folder: bytes) -> None:
        """Be told of what happens in a folder and in those below, and look at all that is there."""
        # Watched first, looked at then: what comes in between is seen twice, and not never.
        mask = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_TO | CREATE | ONLY_DIR | DONT_FOLLOW
        number = self._libc.inotify_add_watch(self._handle, folder, mask)
        if number < 0:
            return  # It is gone, or no folder.
        # A folder that is renamed keeps its number.
        self._folders[number] = folder
        with suppress(OSError), os.scandir(folder) as found:
            for one in found:
                if one.is_dir(follow_symlinks=False):
                    self.watch(one.path)
                else:
                    self.look(one.path)

    def look(self, path: bytes) -> None:
        """Print a file's mode if it has to do with a key."""
        try:
            # A pipe would wait for somebody.
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # It is gone, or a link; or a socket.
        self.looks += 1
        try:
            found = os.fstat(file)
            mode = stat.S_IMODE(found.st_mode)
            if not stat.S_ISREG(found.st_mode) or (path, mode) in self._seen:
                return
            named = any(name in os.path.basename(path) for name in NAMES)
            if named or BEGIN in os.read(file, LOOK):
                self._seen.add((path, mode))
                print(f"key {mode:o} {json.dumps(os.fsdecode(path))}", flush=True)
        finally:
            os.close(file)

    def events(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield what happens: its kind, and folder and name of the file."""
        while True:
            data = os.read(self._handle, LOOK)
            at = 0
            while at < len(data):
                number, kind, _, length = EVENT.unpack_from(data, at)
                at += EVENT.size + length
                if kind & OVERFLOW:
                    sys.exit("too much happened at once: some of it was not seen")
                if number in self._folders:
                    yield kind, self._folders[number], data[at - length : at].rstrip(b"\0")


def main() -> None:
    """Watch two folders for ever."""
    root, marks = map(os.fsencode, sys.argv[1:])
    watchman = Watchman()
    watchman.watch(marks)
    watchman.watch(root)
    print("ready", flush=True)
    for kind, folder, name in watchman.events():
        if folder == marks:
            if kind & CREATE:
                print(f"mark {os.fsdecode(name)} {watchman.looks}", flush=True)
            continue
        path = os.path.join(folder, name) if name else folder
        if kind & IS_DIR:
            watchman.watch(path)
        else:
            watchman.look(path)


# --- the same beside a test ---


@dataclass(frozen=True)
class Sighting:
    """A file that holds a private key, by its path below what is watched, and its mode then."""

    path: Path
    mode: int

    def __str__(self) -> str:
        return f"{self.path} {self.mode:04o}"


def for_owner(_: Path) -> int:
    """Return the mode that a key may have if nobody but its owner may read it."""
    return 0o600


class Watch(Server):
    """Watches the private keys below `root`, which must exist, from its start to its stop.

    - `allowed`: path below `root` -> the mode that a key there may have.
    - `sightings()`: those of all keys; `too_wide()`: those with a mode of more than that;
      `looks()`: how often it looked at a file. Each speaks of all that happened before the call.
    """

    def __init__(
        self, folder: Path, root: Path, allowed: Callable[[Path], int] = for_owner
    ) -> None:
        super().__init__(folder, "watch")
        self.root = root
        self.allowed = allowed
        self._marks = folder / "marks"
        self._marks.mkdir(exist_ok=True)
        self._numbers = itertools.count()

    def command(self) -> list[str]:
        self.log_file.write_text("")
        return [sys.executable, "-m", "tests.stand.watch", str(self.root), str(self._marks)]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def answers(self) -> bool:
        return "ready" in self.lines()

    def sightings(self) -> list[Sighting]:
        """Return each file with a key, with every mode that it was seen with."""
        self._catch_up()
        found = [line.split(" ", 2) for line in self.lines() if line.startswith("key ")]
        return [
            Sighting(Path(json.loads(path)).relative_to(self.root), int(mode, 8))
            for _, mode, path in found
        ]

    def too_wide(self) -> list[Sighting]:
        """Return those that had a mode with more than is allowed."""
        return [one for one in self.sightings() if one.mode & ~self.allowed(one.path)]

    def looks(self) -> int:
        """Return how often it looked at a file since it started, once at least if there was one."""
        return int(self._catch_up().split()[2])

    def _catch_up(self) -> str:
        """Wait until it has looked at all that happened so far; return what it says then."""
        name = str(next(self._numbers))
        (self._marks / name).touch()
        return self.wait_log(f"mark {name} ")


if __name__ == "__main__":
    main()
