"""Running an admin's command: no shell, its own process group, bounded in time and output.

A command that hangs, prints for ever or forks is ended with everything it started; what it
said last ends up in the error.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from sslmd.core.errors import Permanent, Transient

# Bytes of output kept: the last ones, where the reason usually stands.
TAIL = 2000

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SSL_MGR_TOPDIR")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def run_command(argv: Sequence[str], *, timeout: timedelta, cwd: str) -> str:  # noqa: ASYNC109
    """Run `argv` and return the end of its output.

    Raises `Permanent` if it cannot be started, `Transient` if it fails or takes longer than
    `timeout`, each naming the command and what it said.
    """
    shown = shlex.join(argv)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env=_environment(),
            start_new_session=True,
        )
    except OSError as err:
        raise Permanent(
            f"cannot start {shown}: {err.strerror or err}; mend restart_cmd or install the program"
        ) from err
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            said = await _tail(process)
            status = await process.wait()
    except TimeoutError:
        seconds = round(timeout.total_seconds())
        raise Transient(
            f"{shown} was ended after {seconds} s; see why it hangs, or raise cmd_timeout"
        ) from None
    finally:
        await _end(process)
    if status != 0:
        how = f"exited with {status}" if status > 0 else f"was killed by signal {-status}"
        raise Transient(f"{shown} {how}: {said.strip() or 'it said nothing'}")
    return said


async def _tail(process: asyncio.subprocess.Process) -> str:
    stream = process.stdout
    assert stream is not None
    tail = b""
    # The pipe may stay open in a child that the command left behind: its own end is enough.
    ended = asyncio.ensure_future(process.wait())
    try:
        while True:
            reading = asyncio.ensure_future(stream.read(1 << 16))
            await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                with suppress(TimeoutError):
                    await asyncio.wait_for(reading, 0.2)
            piece = reading.result() if reading.done() and not reading.cancelled() else b""
            tail = (tail + piece)[-TAIL:]
            if not piece:
                return tail.decode("utf-8", "replace")
    finally:
        ended.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole process group, also what the command left behind when it failed."""
    if process.returncode == 0:
        return  # a command that succeeded may have started the very server it was to start
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    kept.setdefault("PATH", _DEFAULT_PATH)
    return kept
