"""The network process as the daemon has it: it is started, watched, and started anew."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sslmd.core.words.sentence import say
from sslmd.net import client
from sslmd.net.acme_messages import DIRECTORY, AcmeProblem, CaAddress, OfServer
from sslmd.net.client import Net
from sslmd.net.link import NetGone
from sslmd.net.messages import PING, Alive

_USER = "nobody"


@asynccontextmanager
async def _net(
    *command: str, said: list[str] | None = None
) -> AsyncIterator[tuple[Net, list[str]]]:
    told: list[str] = []
    failed: list[BaseException] = []
    said = [] if said is None else said
    net = Net({}, told.append, failed.append, said=said.append, user=_USER)
    net._command = command or net._command
    await net.start()
    try:
        yield net, told
    finally:
        await net.stop()
    assert not failed


async def _gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while os.path.exists(f"/proc/{pid}"):
            await asyncio.sleep(0.02)


async def test_it_is_started_anew_when_it_is_killed() -> None:
    async with _net() as (net, told):
        await net.call(PING, Alive())
        first = net.pid
        os.kill(first, signal.SIGKILL)
        await net.call(PING, Alive())
        assert net.pid not in (0, first)
    assert len(told) == 1
    assert "SIGKILL" in told[0]


async def test_it_ends_with_the_daemon() -> None:
    async with _net() as (net, _):
        await net.call(PING, Alive())
        pid = net.pid
    await _gone(pid)
    with pytest.raises(NetGone):
        await net.call(PING, Alive())


async def test_a_killed_daemon_takes_it_along(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        f"sys.path.insert(0, {os.getcwd()!r})\n"
        "from sslmd.net.client import Net\n"
        "from sslmd.net.messages import PING, Alive\n"
        "async def main():\n"
        f"    net = Net({{}}, print, print, user={_USER!r})\n"
        "    await net.start()\n"
        "    await net.call(PING, Alive())\n"
        "    print(net.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    pid = int(await daemon.stdout.readline())
    assert os.path.exists(f"/proc/{pid}")
    daemon.kill()
    await daemon.wait()
    await _gone(pid)


async def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PING_EVERY", 0.05)
    monkeypatch.setattr(client, "HANGS", 0.5)
    async with _net() as (net, told):
        await net.call(PING, Alive())
        first = net.pid
        os.kill(first, signal.SIGSTOP)
        answer = await net.call(PING, Alive())
        assert answer.limits
        assert net.pid != first
    assert "did not answer" in told[0]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, sys; os.write(int(sys.argv[1]), b'x' * 100); sys.stdin.read()", "no sense"),
        ("import sys; sys.exit('it is broken')", "it is broken"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import sys; print('\\x1b[31m' * 9000, file=sys.stderr)", "ended with status 0"),
    ],
)
async def test_what_is_wrong_with_it_is_told(program: str, said: str) -> None:
    async with _net(sys.executable, "-c", program) as (net, told):
        async with asyncio.timeout(20):
            while not told:
                await asyncio.sleep(0.01)
        assert net.limits == ()
    assert said in told[0]
    assert told[0].isprintable()
    assert len(told[0]) < 500


async def test_one_that_cannot_be_started_is_told_and_tried_again() -> None:
    async with _net("/nonexistent/python") as (net, told):
        async with asyncio.timeout(20):
            with pytest.raises(NetGone, match="cannot be started"):
                await net.call(PING, Alive())
        assert net.trouble is not None
        assert "does not run" in say(net.trouble)
        assert len(net._ends) >= client.GIVES_UP
    assert told == [one for one in told if "cannot be started" in one]
    assert len(told) == 1


async def test_what_cannot_be_reached_is_an_answer() -> None:
    async with _net() as (net, _):
        answer = await net.call(DIRECTORY, OfServer(CaAddress("http://127.0.0.1:1/dir")))
        assert isinstance(answer, AcmeProblem)
        assert (answer.kind, answer.type) == ("unreachable", "system")
