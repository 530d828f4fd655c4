"""Running programs: no shell, their own process group, bounded in time and output.

A command that hangs, prints for ever or forks is ended with everything it started; what it
said last ends up in the error. A room of one file, below those that run something: the admin's
commands, certbot, ssh.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import ParamSpec, Protocol, TypeVar

from sslmd.core.errors import Overdue, Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.plain import plain
from sslmd.core.reason import Reason, Said

P = ParamSpec("P")
T = TypeVar("T")


class InThread(Protocol):
    """Runs what blocks outside the event loop."""

    async def __call__(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `func` returns."""


# Bytes of output kept: the last ones, where the reason usually stands.
TAIL = 2000

# Characters of a command in a message.
MOST_SHOWN = 300

# Seconds for the rest of the output to arrive: the pipe of a command that ended may stay open
# in a server that it started.
REST = 0.2

# Seconds for a killed command to be gone. One that runs as root by sudo, or hangs in the
# kernel, may stay; what it does is not waited for.
GOING = 2.0

# Reasons not to start one that may be over in a minute.
_BUSY = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO, errno.ETXTBSY}
)

_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SSH_AUTH_SOCK"),
    "SSL_MGR_TOPDIR",
)
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def run_command(
    argv: Sequence[str],
    *,
    timeout: timedelta,  # noqa: ASYNC109
    cwd: str,
    stdin: bytes = b"",
    remedy: Failed = Failed.FIX_RESTART_CMD,
    limit: str = "cmd_timeout",
) -> str:
    """Run `argv` with `stdin` as its input, and return the end of its output.

    Raises `Permanent` if it cannot be started, `Transient` if it fails, `Overdue` if it takes
    longer than `timeout`; the reason of each has the command and what it said. `remedy` and `limit`
    are what an admin can do: if it cannot be started, and if it takes too long.
    """
    shown = shlex.join(argv)
    program = await start(argv, cwd=cwd, stdin=stdin, remedy=remedy)
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            status = await program.wait()
        await program.rest_of_output()
    except TimeoutError:
        seconds, said = round(timeout.total_seconds()), Said(program.said)
        why = Reason(Failed.COMMAND_OVERDUE, command=shown, seconds=seconds, limit=limit, said=said)
        raise Overdue(why) from None
    finally:
        await program.end()
    if status != 0:
        raise Transient(ended_badly(shown, status, program.said))
    return program.text


def ended_badly(shown: str, status: int, said: str) -> Reason:
    """Say how a command ended, by its exit status, which is negative for a signal."""
    if status < 0:
        return Reason(Failed.COMMAND_KILLED, command=shown, signal=-status, said=Said(said))
    return Reason(Failed.COMMAND_EXITED, command=shown, status=status, said=Said(said))


class Program:
    """A program that runs, and all that it started: they share a process group."""

    def __init__(self, process: asyncio.subprocess.Process, output: Output) -> None:
        self._process = process
        self._output = output

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._process.pid

    @property
    def text(self) -> str:
        """The end of what it said."""
        return self._output.text

    @property
    def said(self) -> str:
        """The same in one line, for a message."""
        return self._output.said

    async def wait(self) -> int:
        """Return its exit status when it has ended, negative for a signal."""
        return await self._process.wait()

    async def rest_of_output(self) -> None:
        """Wait a moment for output that is still under way."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REST):
                await self._output.ended.wait()

    def kill(self) -> None:
        """End the whole group at once, and do not wait for it."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """End the whole group, also what the program left behind when it failed."""
        await end_group(self._process)


async def start(
    argv: Sequence[str],
    *,
    cwd: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    umask: int = 0o022,
    remedy: Failed = Failed.FIX_PROGRAM,
) -> Program:
    """Start `argv`; raise `Permanent` if that cannot be, `Transient` if not at the moment.

    `umask`: ours is for keys, and an admin's command writes files for the servers it serves.
    """
    shown = plain(shlex.join(argv), MOST_SHOWN)
    try:
        process, output = await _start(argv, cwd, stdin, env, umask)
    except (OSError, ValueError) as err:  # a ValueError is a NUL byte in an argument
        said = Said((err.strerror if isinstance(err, OSError) else None) or err)
        if isinstance(err, OSError) and err.errno in _BUSY:
            raise Transient(Reason(Failed.COMMAND_NOT_NOW, command=shown, said=said)) from err
        why = Reason(Failed.COMMAND_NOT_STARTED, command=shown, said=said, remedy=Reason(remedy))
        raise Permanent(why) from err
    return Program(process, output)


class Output:
    """What a command says, the end of it.

    It is read for as long as anybody holds the pipe: so a server that the command left behind
    never finds its output blocked or closed.
    """

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._tail = b""
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    @property
    def text(self) -> str:
        """What was said last."""
        return self._tail.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """The text in one line, for a message."""
        return plain(" ".join(self.text.split())) or "it said nothing"

    def _read(self) -> None:
        data = os.read(self._reader, 1 << 16)
        self._tail = (self._tail + data)[-TAIL:]
        if not data:
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
            self.ended.set()


async def _start(
    argv: Sequence[str],
    cwd: str,
    stdin: bytes,
    env: Mapping[str, str] | None,
    umask: int,
) -> tuple[asyncio.subprocess.Process, Output]:
    output = Output()
    given = _input(stdin)
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=given,
            stdout=output.writer,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env=environment() if env is None else env,
            start_new_session=True,
            umask=umask,
        )
    )
    try:
        return await asyncio.shield(starting), output
    except asyncio.CancelledError:
        # It may run already, and asyncio itself would end it alone, not its group.
        with suppress(OSError, ValueError):
            await end_group(await starting)
        raise
    finally:
        os.close(output.writer)
        if given >= 0:
            os.close(given)


def _input(data: bytes) -> int:
    """Return a handle from which the program reads `data`; nothing of it is on any disk."""
    if not data:
        return asyncio.subprocess.DEVNULL
    handle = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(handle), "wb") as stream:
        stream.write(data)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


async def end_group(process: asyncio.subprocess.Process) -> None:
    """End the whole process group, also what the command left behind when it failed."""
    if process.returncode == 0:
        return  # a command that succeeded may have started the very server it was to start
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(GOING):
            await process.wait()


def environment() -> dict[str, str]:
    """Return what is set in the environment of programs: nothing but what they need."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    kept.setdefault("PATH", _DEFAULT_PATH)
    return kept


# --- what a command that was refused is missing ---

# What systemctl, sudo and the C library say, and what it means.
_REFUSED = (
    (
        # polkit, asked by systemctl: nobody is there to type a password.
        re.compile(r"[Ii]nteractive authentication required|Access denied|Not authorized"),
        Failed.RIGHT_POLKIT,
    ),
    (
        re.compile(r"a (?:password|terminal) is required|no tty present"),
        Failed.RIGHT_SUDO,
    ),
    (
        re.compile(r"is not in the sudoers file|is not allowed to execute"),
        Failed.RIGHT_SUDOERS,
    ),
    (
        re.compile(r"Operation not permitted|Permission denied|must be (run as )?root"),
        Failed.RIGHT_MISSING,
    ),
)


def missing_right(said: str, where: str) -> Reason | None:
    """Return what to add to an error of a command, None if it was not for lack of a right."""
    found = (code for pattern, code in _REFUSED if pattern.search(said))
    return next((Reason(code, where=where) for code in found), None)
