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

from sslmd.core.failed import Failed
from sslmd.core.trouble import NETWORK
from sslmd.core.words.sentence import say
from sslmd.net import client, resolver_files, telling
from sslmd.net.acme_messages import (
    DIRECTORY,
    NEW_ORDER,
    AcmeAccount,
    AcmeDirectory,
    AcmeProblem,
    AskOrder,
    CaAddress,
    OfServer,
)
from sslmd.net.client import Net
from sslmd.net.inside import Inside
from sslmd.net.link import Asker, NetBug, NetGone, Nobody
from sslmd.net.messages import PING, Alive, NetLimit

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
        while Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0.01)
        answer = await net.call(PING, Alive())
        assert answer.limits
        assert net.pid != first
    assert "did not answer" in told[0]


async def test_one_that_cannot_read_a_new_file_of_the_resolver_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts, other = tmp_path / "hosts", tmp_path / "other"
    hosts.touch()
    monkeypatch.setattr(client, "PING_EVERY", 0.05)
    monkeypatch.setattr(resolver_files, "FILES", (str(hosts), str(tmp_path / "none")))
    async with _net() as (net, told):
        answer = await net.call(PING, Alive())
        if NetLimit.LANDLOCK not in answer.limits:
            pytest.skip("this kernel has no Landlock")
        first = net.pid
        hosts.write_text("127.0.0.1 localhost")  # the same file: it can be read
        await asyncio.sleep(0.3)
        assert net.pid == first
        other.touch()
        other.rename(hosts)
        async with asyncio.timeout(20):
            while net.pid in (0, first):
                await asyncio.sleep(0.01)
        await net.call(PING, Alive())
        assert net.trouble is None
    assert "could not read a file of the resolver that was replaced" in told[0]


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


def _with_handler(body: str, before: str = "") -> tuple[str, ...]:
    """The real process, but for what it does when it is asked for a directory."""
    program = f"""
import os, sys
sys.path.insert(0, {os.getcwd()!r})
from sslmd.net import child
from sslmd.net.acme_messages import DIRECTORY
{before}
async def directory(asked):
    {body}
child.handlers_of = lambda _: {{DIRECTORY: directory}}
child.main(sys.argv[1:])
"""
    return (sys.executable, "-c", program)


async def test_a_fault_in_it_leaves_its_trace_and_no_more() -> None:
    said: list[str] = []
    command = _with_handler(r"raise KeyError('\x1b[31m\u202e\n' * 5000)")
    async with _net(*command, said=said) as (net, told):
        for _ in range(40):
            with pytest.raises(NetBug, match="KeyError"):
                await net.call(DIRECTORY, OfServer(CaAddress("http://127.0.0.1:1/dir")))
        await net.call(PING, Alive())
        async with asyncio.timeout(10):
            while len(said) < telling.LINES:
                await asyncio.sleep(0.01)
        assert net.trouble is not None
        assert net.trouble.code is Failed.NET_FAULTY
        assert str(net.trouble.code) in NETWORK
        assert net.trouble["times"] == 40 * client.FAULTS
    assert len(told) == 1
    assert "KeyError" in told[0]
    assert "acme.directory" in told[0]
    assert "Traceback" in said[0]
    assert any("in directory" in line for line in said)
    assert telling.LINES <= len(said) < telling.LINES + 20
    assert "left out" in said[telling.LINES - 1]
    assert all(line.isprintable() and len(line) < telling.LONGEST_LINE + 50 for line in said)


async def test_what_met_a_fault_is_asked_once_more() -> None:
    command = _with_handler(
        "asked.server.url in seen or (seen.add(asked.server.url), [].pop())\n"
        "    return AcmeDirectory('https://ca.test/new')",
        "seen = set()\nfrom sslmd.net.acme_messages import AcmeDirectory",
    )
    async with _net(*command) as (net, told):
        answer = await net.call(DIRECTORY, OfServer(CaAddress("https://ca.test/dir")))
        assert isinstance(answer, AcmeDirectory)
        assert net.trouble is None  # once is no trouble
    assert len(told) == 1


async def test_an_order_that_met_a_fault_is_not_asked_for_again() -> None:
    """It may be there at the CA."""
    command = _with_handler(
        "asked = asked.names; open_now.append(1); raise KeyError(*open_now)",
        "from sslmd.net.acme_messages import NEW_ORDER as DIRECTORY\nopen_now = []",
    )
    said: list[str] = []
    async with _net(*command, said=said) as (net, _):
        order = AskOrder(CaAddress("https://ca.test/dir"), AcmeAccount("key"), ("example.com",))
        with pytest.raises(NetBug):
            await net.call(NEW_ORDER, order)
        async with asyncio.timeout(10):
            while not any("KeyError" in line for line in said):
                await asyncio.sleep(0.01)
    assert sum("KeyError: 1" in line for line in said) == 1
    assert not any("KeyError: (1, 1)" in line for line in said)


async def test_memory_without_end_fails_one_question() -> None:
    command = _with_handler("bytearray(1 << 30)")
    async with _net(*command) as (net, told):
        with pytest.raises(NetBug, match="MemoryError"):
            await net.call(DIRECTORY, OfServer(CaAddress("http://127.0.0.1:1/dir")))
        await net.call(PING, Alive())
        assert net.limits
    assert len(told) == 1


async def test_a_question_that_ends_it_is_given_up_and_told_once() -> None:
    command = _with_handler("os._exit(3)")
    async with _net(*command) as (net, told):
        bad = OfServer(CaAddress("http://127.0.0.1:1/dir"))
        others = [asyncio.ensure_future(net.call(PING, Alive())) for _ in range(20)]
        with pytest.raises(NetGone):
            await net.call(DIRECTORY, bad)
        await asyncio.gather(*others)
        await net.call(PING, Alive())  # others go on
        assert net.trouble is not None
        assert len(net._ends) == client.TRIES
        assert f"ended {client.TRIES} times" in say(net.trouble)
        assert "status 3" in say(net.trouble)
    assert len(told) == 1


async def test_it_is_told_when_it_runs_again(tmp_path: Path) -> None:
    flag = tmp_path / "there"
    program = client._PROGRAM.replace("import sys", f"import os, sys\nos.stat({str(flag)!r})", 1)
    async with _net(sys.executable, "-I", "-c", program) as (net, told):
        with pytest.raises(NetGone):
            await net.call(PING, Alive())
        assert net.trouble is not None
        flag.touch()
        async with asyncio.timeout(60):
            while net.trouble is not None:
                await asyncio.sleep(0.05)
        await net.call(PING, Alive())
    assert "ended with status 1: FileNotFoundError" in told[0]
    assert told[1:] == ["the network process runs again"]


async def test_inside_is_asked_as_the_process_is() -> None:
    asked: Asker = Inside()
    answer = await asked.call(DIRECTORY, OfServer(CaAddress("http://127.0.0.1:1/dir")))
    assert isinstance(answer, AcmeProblem)
    assert (answer.kind, answer.type) == ("unreachable", "system")
    with pytest.raises(NetGone):
        await Nobody().call(PING, Alive())


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ((), None),
        ((NetLimit.UID, NetLimit.LANDLOCK), None),
        ((NetLimit.UID,), None),
        ((NetLimit.NOBODY, NetLimit.LANDLOCK), "net-nobody"),
        ((NetLimit.LANDLOCK, NetLimit.SECCOMP), "net-stays-root" if os.geteuid() == 0 else None),
        ((NetLimit.SECCOMP,), "net-root-open" if os.geteuid() == 0 else "net-open"),
    ],
)
async def test_what_could_be_safer_is_said(limits: tuple[NetLimit, ...], code: str | None) -> None:
    net = Net({}, print, print)
    net.limits = limits
    weakness = net.weakness
    assert (None if weakness is None else str(weakness.code)) == code
    assert (code in NETWORK) == (code in ("net-root-open", "net-open"))
    assert say(weakness) or code is None
