"""An admin's command: whatever it does, it ends, and its error tells what it said."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent, Transient
from sslmd.processes import TAIL, run_command

LONG = timedelta(seconds=60)
SHORT = timedelta(seconds=0.3)


class Fifo:
    """A named pipe through which a command tells the test that it lives.

    End of file means that nobody holds its other end any more: all of them are dead.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._got = b""
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._handle, self._read)

    def _read(self) -> None:
        data = os.read(self._handle, 1000)
        self._got += data
        if data:
            self._ready.set()
        elif self._got:
            self._ended.set()
            self.close()

    async def lives(self) -> str:
        """Wait for the first word; return it."""
        async with asyncio.timeout(30):
            await self._ready.wait()
        return self._got.decode().split()[0]

    async def all_dead(self) -> None:
        async with asyncio.timeout(30):
            await self._ended.wait()

    def close(self) -> None:
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1


@pytest.fixture
async def fifo(tmp_path: Path) -> AsyncIterator[Fifo]:
    made = Fifo(tmp_path / "fifo")
    yield made
    made.close()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Awaitable[str]]:
    async def run_script(script: str, timeout: timedelta = LONG) -> str:
        async with asyncio.timeout(30):  # whatever goes wrong, the test ends
            return await run_command(["sh", "-c", script], timeout=timeout, cwd=str(tmp_path))

    return run_script


Run = Callable[..., Awaitable[str]]


async def test_output_and_arguments(tmp_path: Path, run: Run) -> None:
    assert await run("echo out; echo err >&2") == "out\nerr\n"
    argv = ["printf", "%s|", "a b", "$HOME", "*", ""]
    assert await run_command(argv, timeout=LONG, cwd=str(tmp_path)) == "a b|$HOME|*||"
    assert await run("pwd") == f"{tmp_path}\n"


async def test_a_relative_command_starts_at_the_top(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    tool = tmp_path / "tools/tool"
    tool.write_text("#!/bin/sh\necho here\n")
    tool.chmod(0o755)
    assert await run_command(["tools/tool"], timeout=LONG, cwd=str(tmp_path)) == "here\n"


async def test_failure_tells_status_and_what_it_said(run: Run) -> None:
    with pytest.raises(Transient, match=r"^sh -c '.*' exited with 3: no such zone$"):
        await run("echo no such zone >&2; exit 3")
    with pytest.raises(Transient, match="exited with 1: it said nothing"):
        await run("exit 1")
    with pytest.raises(Transient, match="was killed by signal 15: last words"):
        await run("echo last words; kill -TERM $$")


async def test_only_the_end_of_much_output_is_kept(run: Run) -> None:
    text = await run("seq 1 100000")
    assert len(text) == TAIL
    assert text.endswith("99999\n100000\n")
    with pytest.raises(Transient) as caught:
        await run("seq 1 100000; echo the reason; exit 1")
    assert str(caught.value).split()[-3:] == ["100000", "the", "reason"]
    assert len(str(caught.value)) < TAIL + 200


async def test_output_that_is_no_text(run: Run) -> None:
    assert await run(r"printf '\377ok'") == "\ufffdok"


async def test_a_hang_is_ended_in_time_with_its_whole_group(fifo: Fifo, run: Run) -> None:
    script = f"echo began; (echo child; exec tail -f /dev/null) > {fifo.path} & wait"
    with pytest.raises(Transient, match=r"was ended after 0 s; see why it hangs, .*; began"):
        await run(script, SHORT)
    assert await fifo.lives() == "child"
    await fifo.all_dead()


async def test_sigterm_and_sigpipe_ignored_do_not_help(fifo: Fifo, run: Run) -> None:
    script = f"trap '' TERM PIPE HUP INT; exec > {fifo.path}; echo stubborn; tail -f /dev/null"
    with pytest.raises(Transient, match="was ended after"):
        await run(script, SHORT)
    await fifo.lives()
    await fifo.all_dead()


async def test_one_that_prints_for_ever_is_ended(run: Run) -> None:
    with pytest.raises(Transient, match=r"(?s)was ended after 0 s.*spam\sspam$"):
        await run("exec yes spam", SHORT)


async def test_what_a_failed_command_left_behind_is_ended(fifo: Fifo, run: Run) -> None:
    # It exits while its child still holds the pipe.
    script = f"(echo child > {fifo.path}; exec tail -f /dev/null > {fifo.path}) & exit 1"
    with pytest.raises(Transient, match="exited with 1"):
        await run(script)


async def test_a_server_that_it_started_lives_on_and_is_listened_to(fifo: Fifo, run: Run) -> None:
    """It forks into the background and holds the pipe: the command's own end is enough."""
    # Much more than fits into a pipe: a server must not stand still because nobody reads.
    server = f"seq 1 100000; echo $$ > {fifo.path}; exec tail -f /dev/null > {fifo.path}"
    said = await run(f"echo started; sh -c '{server}' &")
    assert isinstance(said, str)
    pid = int(await fifo.lives())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    await fifo.all_dead()


async def test_a_server_that_prints_for_ever_is_no_failure(fifo: Fifo, run: Run) -> None:
    server = f"echo $$ > {fifo.path}; exec yes"
    await run(f"sh -c '{server}' &")
    os.kill(int(await fifo.lives()), signal.SIGKILL)


async def test_it_finds_nothing_to_read(run: Run) -> None:
    assert await run("cat; echo read") == "read\n"


async def test_no_such_program(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "odd").write_text("#!/no/such/interpreter\n")
    (tmp_path / "odd").chmod(0o755)
    (tmp_path / "garbage").write_bytes(b"\x7fELF garbage")
    (tmp_path / "garbage").chmod(0o755)
    for argv in (
        ["no-such-program-anywhere", "a b"],
        [f"{tmp_path}/no-such"],
        [f"{tmp_path}/plain"],
        [f"{tmp_path}/odd"],
        [f"{tmp_path}/garbage"],
        [str(tmp_path)],
        ["echo", "\0"],
        ["echo", "x" * 10_000_000],
    ):
        with pytest.raises(
            Permanent, match=r"(?s)^cannot start .*; correct restart_cmd or install"
        ):
            await run_command(argv, timeout=LONG, cwd=str(tmp_path))
    with pytest.raises(Permanent, match="cannot start"):
        await run_command(["true"], timeout=LONG, cwd=f"{tmp_path}/gone")


async def test_cancel_ends_the_group(fifo: Fifo, run: Run) -> None:
    script = f"(exec > {fifo.path}; echo child; exec tail -f /dev/null) & wait"
    task = asyncio.ensure_future(run(script))
    await fifo.lives()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await fifo.all_dead()


async def test_nothing_of_the_daemons_environment_leaks(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LANG", "C.UTF-8")
    names = {line.partition("=")[0] for line in (await run("env")).splitlines()}
    assert "LANG" in names
    assert not names & {"NOTIFY_SOCKET", "SECRET", "PYTHONPATH", "LISTEN_FDS"}
    # No handle either: only the three it is given, and the one that lists them.
    assert (await run("ls /proc/self/fd")).split() == ["0", "1", "2", "3"]


async def test_many_at_once(run: Run) -> None:
    said = await asyncio.gather(*(run(f"echo {number}") for number in range(30)))
    assert said == [f"{number}\n" for number in range(30)]


_AS_NOBODY = """
import asyncio, os, sys
from datetime import timedelta
from sslmd.core.errors import Transient
from sslmd import processes
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir("/")
try:
    asyncio.run(processes.run_command(sys.argv[1:], timeout=timedelta(seconds=0.1), cwd="/"))
except Transient as err:
    print(err)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a set-user-ID program")
def test_one_that_cannot_be_killed_is_not_waited_for_for_ever() -> None:
    """As with `sudo`: it runs as root, the daemon does not."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not installed")
    top = Path(tempfile.mkdtemp(dir="/var/tmp"))  # memory is mounted nosuid
    try:
        top.chmod(0o755)
        shutil.copy(setpriv, top / "as-root")
        (top / "as-root").chmod(0o4755)
        if os.statvfs(top).f_flag & os.ST_NOSUID:
            pytest.skip(f"{top} is mounted nosuid")
        command = [sys.executable, "-c", _AS_NOBODY, f"{top}/as-root", "--reuid=0", "sleep", "9"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        assert "was ended after 0 s" in done.stdout
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(top)
