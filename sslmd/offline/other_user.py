"""Doing something as another user, for whom root works, without lending them anything of root's.

A program that runs as that user is that user's: they may stop it, and put words into its mouth
(ptrace(2)). So it gets no terminal into which it could type (TIOCSTI), nothing of root's
environment, no open file and no group of root's, a bounded time, and is heard to a bounded length.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sslmd.console.program import CtlError

# Seconds for one thing that is done as another user.
LIMIT = 60.0
# Bytes of what it says.
MOST = 1 << 16

_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Person:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: str

    def environment(self) -> dict[str, str]:
        """Return all that programs find in their environment."""
        return {"PATH": _PATH, "HOME": self.home, "USER": self.name, "LOGNAME": self.name}


def shown_as(person: Person) -> tuple[str, ...]:
    """Return what stands before a command for a shell of root's, to have it run as `run_as` does.

    setsid(1) takes the terminal away, env(1) the environment.
    """
    words = ("setsid", "--wait", "runuser", "-u", person.name, "--", "env", "-i")
    return (*words, *(f"{name}={value}" for name, value in person.environment().items()))


def run_as(
    person: Person, words: Sequence[str], data: bytes, limit: float = LIMIT
) -> tuple[int, str]:
    """Run a program with `data` as its input; return its status and the beginning of what it said.

    Raises `CtlError` if it takes too long, OSError if it cannot be started.
    """
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=person.environment(),
        cwd="/",
        user=person.uid,
        group=person.gid,
        extra_groups=os.getgrouplist(person.name, person.gid),
        start_new_session=True,  # setsid(2): no controlling terminal
        umask=0o077,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            # A root certificate has some 2 kB, a pipe takes 64.
            with suppress(BrokenPipeError):
                program.stdin.write(data)
                program.stdin.close()
            said = _heard(program.stdout.fileno(), limit)
            if len(said) == MOST:  # nobody listens any more
                os.killpg(program.pid, signal.SIGKILL)
            status = program.wait(timeout=limit)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise CtlError(
                f"{words[0]} did not end within {limit:g} s as user {person.name}, and was ended; "
                "see what holds it up"
            ) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
    return status, said.decode(errors="replace").strip()


def call_as(person: Person, work: Callable[[], Sequence[str]], limit: float = LIMIT) -> list[str]:
    """Return the texts that `work` finds as that user, none that hold a NUL.

    Raises `CtlError` if it fails, or takes too long. In a process of its own: nobody else may look
    into it (prctl(2): who changes the user is not dumpable).
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.setsid()
            os.setgroups(os.getgrouplist(person.name, person.gid))
            os.setgid(person.gid)
            os.setuid(person.uid)
            os.chdir("/")
            with os.fdopen(writer, "wb") as stream:
                stream.writelines(os.fsencode(text) + b"\0" for text in work())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        found = _heard(reader, limit)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        found = b""
    finally:
        os.close(reader)
    _, status = os.waitpid(child, 0)
    if status:
        raise CtlError(f"the home of user {person.name} ({person.home}) cannot be looked through")
    return [os.fsdecode(text) for text in found.split(b"\0")[:-1]]


def _heard(handle: int, limit: float) -> bytes:
    """Return what is written there, up to `MOST` bytes; raises TimeoutError."""
    end = time.monotonic() + limit
    heard = b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(handle, selectors.EVENT_READ)
        while len(heard) < MOST:
            left = end - time.monotonic()
            if left <= 0 or not waiting.select(left):
                raise TimeoutError
            piece = os.read(handle, MOST - len(heard))
            if not piece:
                break
            heard += piece
    return heard
