"""Running an admin's command: no shell, its own process group, bounded in time and output.

A command that hangs, prints for ever or forks is ended with everything it started; what it
said last ends up in the error.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from sslmd.core.errors import Permanent, Transient

# Bytes of output kept: the last ones, where the reason usually stands.
TAIL = 2000

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

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SSL_MGR_TOPDIR")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def run_command(argv: Sequence[str], *, timeout: timedelta, cwd: str) -> str:  # noqa: ASYNC109
    """Run `argv` and return the end of its output.

    Raises `Permanent` if it cannot be started, `Transient` if it fails or takes longer than
    `timeout`, each naming the command and what it said.
    """
    shown = shlex.join(argv)
    try:
        process, output = await _start(argv, cwd)
    except (OSError, ValueError) as err:  # a ValueError is a NUL byte in an argument
        if isinstance(err, OSError) and err.errno in _BUSY:
            raise Transient(f"cannot start {shown} now: {err.strerror}") from err
        reason = err.strerror if isinstance(err, OSError) else None
        raise Permanent(
            f"cannot start {shown}: {reason or err}; mend restart_cmd or install the program"
        ) from err
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            status = await process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(REST):
                await output.ended.wait()
    except TimeoutError:
        seconds = round(timeout.total_seconds())
        raise Transient(
            f"{shown} was ended after {seconds} s; see why it hangs, or raise cmd_timeout; "
            f"{output.said}"
        ) from None
    finally:
        await _end(process)
    if status != 0:
        how = f"exited with {status}" if status > 0 else f"was killed by signal {-status}"
        raise Transient(f"{shown} {how}: {output.said}")
    return output.text


class _Output:
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
        return self._tail.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """The text in one line, for a message: without what a terminal would act upon."""
        line = "".join(char if char.isprintable() else "?" for char in " ".join(self.text.split()))
        return line or "it said nothing"

    def _read(self) -> None:
        data = os.read(self._reader, 1 << 16)
        self._tail = (self._tail + data)[-TAIL:]
        if not data:
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
            self.ended.set()


async def _start(argv: Sequence[str], cwd: str) -> tuple[asyncio.subprocess.Process, _Output]:
    output = _Output()
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output.writer,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env=_environment(),
            start_new_session=True,
            umask=0o022,  # ours is for keys; a command writes files for the servers it serves
        )
    )
    try:
        return await asyncio.shield(starting), output
    except asyncio.CancelledError:
        # It may run already, and asyncio itself would end it alone, not its group.
        with suppress(OSError, ValueError):
            await _end(await starting)
        raise
    finally:
        os.close(output.writer)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole process group, also what the command left behind when it failed."""
    if process.returncode == 0:
        return  # a command that succeeded may have started the very server it was to start
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(GOING):
            await process.wait()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    kept.setdefault("PATH", _DEFAULT_PATH)
    return kept
