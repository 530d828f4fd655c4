"""A shell with the functions of `remote.sh`, as ssh starts one on a server, but here.

Sets are told apart by a letter that stands in each of their files.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

import sslmd.servers

SCRIPT = Path(sslmd.servers.__file__).with_name("remote.sh")
MARK = "sslmd-0123456789"
GROUP, SERVICE = "example.com", "web"
NAMES = ("privkey.pem", "bundle.pem", "cert.pem", "chain.pem", "fullchain.pem", "info")
SECRET = ("privkey.pem", "bundle.pem")
# Seconds.
PATIENCE = 30.0

BUSYBOX = shutil.which("busybox")

# Three sets, the oldest first.
ONE, TWO, THREE = (f"2026060{day}-12:00:00" for day in (1, 2, 3))


def made(letter: str) -> dict[str, str]:
    """Return a set: every file of it has the letter in it."""
    return {name: f"{name} of {letter}\n" for name in NAMES}


@dataclass(frozen=True)
class Rights:
    """What `put` is told of a key: as `sslmd.core.host.needs` has it."""

    owner: str = ""
    group: str = ""
    mode: str = "0600"
    opens: str = "0"


OURS = Rights()


class Gone(Exception):
    """The shell is no more."""


class Shell:
    """A shell for the production tree `prod`; its programs are looked for in `tools` first.

    `ask` calls a function and returns what it told, `put` does all that is done for a set.
    """

    def __init__(self, prod: Path, argv: Sequence[str], tools: Path | None = None) -> None:
        self.prod = prod
        self.said: list[str] = []
        self.machine = ""
        # Whatever was started holds this open for as long as it lives.
        self._alive, writer = os.pipe()
        path = os.environ["PATH"]
        self.process = subprocess.Popen(
            [*argv, "-s"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": f"{tools}:{path}" if tools else path},
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        self._write(f"export FAR_SHELL=$$\nmark={MARK} prod={shlex.quote(str(prod))}\n")
        if tools and argv[0].endswith("busybox"):
            # Debian's busybox-static has a shell that prefers programs of its own to those of PATH.
            own = [one for one in tools.iterdir() if one.name[0] != "." and not one.is_symlink()]
            calls = (f'{one.name}() {{ {shlex.quote(str(one))} "$@"; }}\n' for one in own)
            self._write("".join(calls))
        self._write(SCRIPT.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def ask(self, *words: str) -> list[str]:
        """Call a function; return the lines that it told. Raises `Gone`."""
        assert self.process.stdout
        try:
            self._write(f"{shlex.join(words)}; say end\n")
        except BrokenPipeError:
            raise Gone from None
        told: list[str] = []
        self.said = []
        for line in self.process.stdout:
            text = line.decode().rstrip("\n")
            mark, _, rest = text.partition(" ")
            if mark != MARK:
                self.said += [text] if text else []
            elif rest == "end":
                return told
            elif rest.startswith("machine "):
                self.machine = rest
            else:
                told.append(rest)
        raise Gone(" ".join(self.said))

    def begin(self) -> Path:
        """Begin; return where what is sent is put."""
        (told,) = self.ask("begin")
        word, _, where = told.partition(" ")
        assert word == "in", told
        return Path(where)

    def send(self, incoming: Path, files: Mapping[str, str]) -> None:
        """Do what rsync does."""
        folder = incoming / GROUP / SERVICE
        for one in (incoming / GROUP, folder):
            one.mkdir(0o700, exist_ok=True)
        for name, text in files.items():
            (folder / name).touch(0o600)
            (folder / name).write_text(text)

    def put(
        self, name: str, files: Mapping[str, str], rights: Rights = OURS, *, count: int = 0
    ) -> list[str]:
        """Send a set and have it put in its place; return what was told."""
        self.send(self.begin(), files)
        words = (GROUP, SERVICE, name, str(count or len(files)))
        return self.ask("put", *words, rights.owner, rights.group, rights.mode, rights.opens)

    def close(self) -> None:
        """Close the connection; wait until nothing of it runs any more."""
        if self.process.stdout and not self.process.stdout.closed:
            self.wait_gone()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill the shell alone."""
        self.process.send_signal(number)

    def wait_gone(self) -> None:
        """Wait until the shell and all that it started have ended."""
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        ended, _, _ = select.select([self._alive], [], [], PATIENCE)
        os.close(self._alive)
        self.process.stdout.close()
        if not ended:
            self.kill()
        self.process.wait()
        assert ended, "something that it started still runs"


def applets(folder: Path) -> Path:
    """Make a folder where all of busybox's programs are; skip without busybox."""
    if BUSYBOX is None:
        pytest.skip("busybox is missing")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    folder.mkdir()
    for name in listed.stdout.split():
        (folder / name).symlink_to(BUSYBOX)
    return folder


# --- looking ---


def home(prod: Path) -> Path:
    """Return the folder of the certificate."""
    return prod / GROUP / SERVICE


def contents(folder: Path) -> dict[str, str]:
    """Return what is in a set."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def leftovers(prod: Path) -> list[Path]:
    """Return what is there of runs that are under way, or were cut short."""
    return list(prod.rglob(".sslmd*"))


def sets(prod: Path) -> list[str]:
    """Return the names of the sets that are there."""
    return sorted(path.name for path in (home(prod) / "db").iterdir())
