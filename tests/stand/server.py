"""A real server beside a test: started, awaited, and ended for certain.

Each server of this folder is a `Server` with its own command line and its own idea of what it
means to answer. It listens on loopback, keeps everything in one scratch folder, and runs in a
process group of its own, so that nothing it starts outlives it.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

LOOPBACK = "127.0.0.1"
ROOT = Path(__file__).parents[2]

# Seconds. A bound for what would otherwise hang, and the pause between two looks.
PATIENCE = 30.0
PAUSE = 0.02

# Debian keeps servers where only root's PATH leads.
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

_given: set[int] = set()


def free_port(address: str = LOOPBACK) -> int:
    """Return a port of loopback that is free for both TCP and UDP, never the same twice."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind((address, 0))
            port = int(tcp.getsockname()[1])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, suppress(OSError):
                udp.bind((address, port))
                if port not in _given:
                    _given.add(port)
                    return port


def wait_until(check: Callable[[], object], what: str, *, pause: float = PAUSE) -> None:
    """Look again and again until `check` is true; fail after 30 s, saying what never came.

    `pause` is in seconds: longer where a look costs much.
    """
    end = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(pause)


def as_written(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced; not when it is read."""
    info = path.stat()
    return info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns


def members(group: int) -> list[int]:
    """Return the processes of a process group; those that only wait to be reaped are gone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # proc_pid_stat(5): after the name in brackets come state, parent, group.
            state, _, its_group, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                found.append(int(process.name))
    return found


def is_frozen(group: int) -> bool:
    """Whether every thread of a process group has stopped."""
    return set(_thread_states(group)) <= set("TZX")


def _thread_states(group: int) -> Iterator[str]:
    for process in members(group):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):
                yield (thread / "stat").read_text().rpartition(")")[2].split()[0]


class Server(ABC):
    """A program in the foreground; what it prints is in `log_file`, over all its starts."""

    def __init__(self, folder: Path, name: str) -> None:
        assert folder.is_absolute(), folder
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log_file = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Ask the server something; return whether it answered as it should."""

    def environment(self) -> Mapping[str, str]:
        """Return what is set in the server's environment beside what is set here."""
        return {}

    # --- its life ---

    @property
    def pid(self) -> int:
        """Its process id, which is that of its process group too; 0 when it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> Self:
        """Start it, and wait until it answers. Ports and data are those of the last time."""
        assert self._process is None, f"{self.folder}: it runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(self.kill)
        try:
            self.wait_until(self.answers, "an answer")
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End it as its service manager would, and wait until it is gone."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """SIGKILL it and all that it started; wait until they are gone, and their ports free."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            group, self._process = self._process.pid, None
            wait_until(lambda: not members(group), f"the end of process group {group}")
            atexit.unregister(self.kill)

    def freeze(self) -> None:
        """Make it fall silent: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            # A thread that runs on another processor goes on for a moment.
            group = self._process.pid
            wait_until(lambda: is_frozen(group), f"{group} to be frozen")

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what it says ---

    def log(self) -> str:
        """Return what it printed, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def lines(self) -> list[str]:
        """Return the lines of its log."""
        return self.log().splitlines()

    def wait_log(self, text: str, count: int = 1) -> str:
        """Return the `count`th line of the log that has `text` in it, when it is there."""

        def found() -> list[str]:
            return [line for line in self.lines() if text in line]

        self.wait_until(lambda: len(found()) >= count, f"{text!r} in the log")
        return found()[count - 1]

    def wait_until(self, check: Callable[[], object], what: str) -> None:
        """Look until `check` is true; fail with the log if the server ends or 30 s go by."""

        def checked() -> bool:
            ended = self._process is None or self._process.poll() is not None
            if check():
                return True
            assert not ended, "it has ended"
            return False

        try:
            wait_until(checked, what)
        except AssertionError as problem:
            tail = "\n".join(self.lines()[-40:])
            raise AssertionError(f"{self.command()[0]}: {problem}\n{tail}") from None
