"""How the network process is ended, whatever it does about it, and what is not lost by that."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sslmd.net import client, link, resolver_files
from sslmd.net.acme_messages import (
    DIRECTORY,
    NEW_ORDER,
    AcmeAccount,
    AcmeDirectory,
    AcmeOrder,
    AskOrder,
    CaAddress,
    OfServer,
)
from sslmd.net.client import Net
from sslmd.net.link import NetGone
from sslmd.net.messages import PING, Alive, NetLimit
from tests.stand.server import ROOT

ORDER = AskOrder(CaAddress("https://ca.test/dir"), AcmeAccount("key"), ("example.com",))
LOOK = OfServer(CaAddress("https://ca.test/dir"))


@asynccontextmanager
async def _net(*command: str) -> AsyncIterator[tuple[Net, list[str]]]:
    told: list[str] = []
    failed: list[BaseException] = []
    net = Net({}, told.append, failed.append, user="nobody")
    net._command = command or net._command
    await net.start()
    try:
        await net.call(PING, Alive())
        yield net, told
    finally:
        await net.stop()
    assert not failed


async def _another(net: Net, *before: int) -> int:
    async with asyncio.timeout(30):
        while net.pid in (0, *before) or not net.limits:
            await asyncio.sleep(0.01)
    return net.pid


async def test_one_that_is_stopped_ends_with_the_daemon() -> None:
    async with _net() as (net, _):
        pid = net.pid
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            await net.stop()
        assert not os.path.exists(f"/proc/{pid}")


# Without the right to end processes of other users (capabilities(7)), as root.
_UNABLE = f"""
import asyncio, ctypes, sys
sys.path.insert(0, {str(ROOT)!r})
from sslmd.net import client
from sslmd.net.client import Net
from sslmd.net.messages import PING, Alive

def without_kill():
    libc = ctypes.CDLL(None)
    head, words = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, words) == 0
    words[0] &= ~(1 << 5)
    assert libc.capset(head, words) == 0

async def main():
    net = Net({{}}, lambda text: print("told", text, flush=True), print, user="nobody")
    await net.start()
    await net.call(PING, Alive())
    print("pid", net.pid, flush=True)
    first = net.pid
    while net.pid in (0, first) or not net.limits:
        await asyncio.sleep(0.01)
    await net.call(PING, Alive())
    print("pid", net.pid, flush=True)
    await net.stop()

without_kill()
client.PING_EVERY, client.HANGS = 0.05, 0.5
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user for it")
async def test_one_that_may_not_be_ended_is_left_behind_and_holds_up_nobody() -> None:
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _UNABLE, stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    stopped = 0
    try:
        async with asyncio.timeout(60):
            stopped = int((await daemon.stdout.readline()).split()[1])
            os.kill(stopped, signal.SIGSTOP)
            said = await daemon.stdout.readline()
            assert said.startswith(b"told ")
            assert b"did not answer" in said
            assert int((await daemon.stdout.readline()).split()[1]) != stopped
            assert await daemon.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            os.kill(stopped, signal.SIGKILL)
        with suppress(ProcessLookupError):
            daemon.kill()


async def test_a_frame_of_a_million_values_ends_it_and_not_by_its_memory() -> None:
    async with _net() as (net, told):
        first, theirs = net.pid, net._link
        assert theirs is not None
        theirs._send(link._Kind.CALL, 7777, b"alive\n[" + b"0," * 1_400_000 + b"0]")
        await _another(net, first)
        await net.call(PING, Alive())
    assert len(told) == 1
    assert "LinkError" in told[0]
    assert "values" in told[0]


@pytest.mark.parametrize("garbage", [b"\0" * 9, b"x" * 100, b"\xff" * 9], ids=repr)
async def test_garbage_from_the_daemon_ends_it_and_what_was_asked_is_asked_again(
    garbage: bytes,
) -> None:
    async with _net(*_program("await asyncio.sleep(1.0)")) as (net, told):
        first, theirs = net.pid, net._link
        assert theirs is not None
        looking = asyncio.ensure_future(net.call(DIRECTORY, LOOK))
        await asyncio.sleep(0.05)
        theirs._writer.write(garbage)
        assert isinstance(await looking, AcmeDirectory)
        assert net.pid not in (0, first)
    assert len(told) == 1
    assert "LinkError" in told[0]


# --- files of the resolver that are replaced ---


def _program(work: str) -> tuple[str, ...]:
    """The real process, but for what it does when it is asked for an order or a directory."""
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(ROOT)!r})
from sslmd.net import child
from sslmd.net.acme_messages import DIRECTORY, NEW_ORDER, AcmeDirectory, AcmeOrder
async def order(asked):
    {work}
    return AcmeOrder("https://ca.test/1", "pending", (), (), "https://ca.test/f")
async def directory(asked):
    {work}
    return AcmeDirectory("https://ca.test/new")
child.handlers_of = lambda _: {{NEW_ORDER: order, DIRECTORY: directory}}
child.main(sys.argv[1:])
"""
    return (sys.executable, "-c", program)


class _Hosts:
    """A file that is replaced, as editors do it."""

    def __init__(self, folder: Path) -> None:
        self.path, self._other = folder / "hosts", folder / "other"
        self.path.touch()

    def replace(self) -> None:
        self._other.touch()
        self._other.rename(self.path)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Hosts:
    made = _Hosts(tmp_path)
    monkeypatch.setattr(client, "PING_EVERY", 0.05)
    monkeypatch.setattr(resolver_files, "FILES", (str(made.path),))
    return made


def _needs_landlock(net: Net) -> None:
    if NetLimit.LANDLOCK not in net.limits:
        pytest.skip("this kernel has no Landlock")


async def test_an_order_is_waited_for_before_it_is_ended_for_a_file(hosts: _Hosts) -> None:
    """Another process could not be asked for it: it would be made twice."""
    async with _net(*_program("await asyncio.sleep(1.5)")) as (net, told):
        _needs_landlock(net)
        first = net.pid
        ordering = asyncio.ensure_future(net.call(NEW_ORDER, ORDER))
        await asyncio.sleep(0.1)
        hosts.replace()
        await asyncio.sleep(0.6)
        assert (net.pid, told) == (first, [])
        assert isinstance(await ordering, AcmeOrder)
        await _another(net, first)
    assert "resolver" in told[0]


async def test_but_not_for_ever(hosts: _Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    async with _net(*_program("await asyncio.sleep(600)")) as (net, _):
        _needs_landlock(net)
        first = net.pid
        ordering = asyncio.ensure_future(net.call(NEW_ORDER, ORDER))
        await asyncio.sleep(0.1)
        hosts.replace()
        with pytest.raises(NetGone):
            await ordering
        await _another(net, first)
        assert net.trouble is None


async def test_files_are_no_fault_of_what_was_asked_meanwhile(hosts: _Hosts) -> None:
    async with _net(*_program("await asyncio.sleep(1.0)")) as (net, _):
        _needs_landlock(net)
        looking = asyncio.ensure_future(net.call(DIRECTORY, LOOK))
        pid = net.pid
        for _ in range(client.TRIES + 1):
            await asyncio.sleep(0.1)
            hosts.replace()
            pid = await _another(net, pid)
        assert isinstance(await looking, AcmeDirectory)
        assert net.trouble is None
