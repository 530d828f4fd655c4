"""The socket in one process: times that are long, and what no client of another can bring about."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from sslmd.core.words.sentence import say
from sslmd.daemon.api import limits
from sslmd.daemon.api.server import Client, SocketServer
from sslmd.daemon.api.users import (
    CpuShare,
    Metered,
    Users,
    Waiting,
    gently,
    may_change,
    overflow_uid,
)
from sslmd.wire.messages import Response, RpcRequest, WireError, encode_plain
from tests.stand import virtual_time


@asynccontextmanager
async def serving(folder: Path, bugs: list[str] | None = None) -> AsyncIterator[SocketServer]:
    """A socket that gives back what it is asked."""

    async def handle(_: Client, request: RpcRequest) -> Sequence[bytes]:
        return (encode_plain(Response(request.id, request.params)),)

    told = [] if bugs is None else bugs
    server = SocketServer(str(folder / "sock"), handle, lambda text, _: told.append(text))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def connect(folder: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(folder / "sock"))
    line.setblocking(False)
    return line


async def lines_of(line: socket.socket) -> list[dict[str, object]]:
    """Return what the daemon says until it hangs up."""
    data = b""
    with suppress(ConnectionResetError):  # it did not read all that it was sent
        while piece := await asyncio.get_running_loop().sock_recv(line, 1 << 16):
            data += piece
    return [json.loads(one) for one in data.splitlines()]


# --- time ---------------------------------------------------------------------------------


def test_a_request_has_to_be_complete_within_a_minute(tmp_path: Path) -> None:
    """Slowloris: a byte now and then is no progress."""

    async def run() -> float:
        async with serving(tmp_path):
            loop = asyncio.get_running_loop()
            with connect(tmp_path) as line:
                saying = asyncio.ensure_future(lines_of(line))
                while not saying.done():
                    line.send(b"x")
                    await asyncio.sleep(5)
                assert "not complete" in json.dumps(await saying)
                return loop.time()

    assert limits.UNFINISHED <= virtual_time.run(run()) <= limits.UNFINISHED + 10


def test_a_client_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    async def run() -> float:
        async with serving(tmp_path):
            with connect(tmp_path) as line:
                assert [one["method"] for one in await lines_of(line)] == ["hello"]
                return asyncio.get_running_loop().time()

    assert limits.IDLE <= virtual_time.run(run()) <= limits.IDLE + 10


async def test_an_answer_that_nobody_reads_ends_with_the_connection(tmp_path: Path) -> None:
    """What waits to send it is ended before the file handle is another one's."""
    loop, problems = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    half_a_megabyte = json.dumps({"a": "x" * (1 << 19)})
    request = f'{{"jsonrpc":"2.0","id":1,"method":"x","params":{half_a_megabyte}}}\n'.encode()
    async with serving(tmp_path) as server:
        with connect(tmp_path) as line:
            await loop.sock_sendall(line, request * 3)
            await asyncio.sleep(0.2)
            await server.stop()
    await asyncio.sleep(0)
    gc.collect()  # tasks tell of errors that nobody asked for when they go
    assert not problems


# --- file handles ---------------------------------------------------------------------------


@contextmanager
def no_more_handles() -> Iterator[None]:
    """As when something else in the process has used them up."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    spare = [os.dup(0) for _ in range(highest)]
    most = max(spare) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    filled = []
    try:
        while True:
            try:
                filled.append(os.dup(0))
            except OSError:
                break  # EMFILE
        yield
    finally:
        for one in (*spare, *filled):
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_without_file_handles_it_waits_and_does_not_spin(tmp_path: Path) -> None:
    bugs: list[str] = []
    async with serving(tmp_path, bugs):
        line = socket.socket(socket.AF_UNIX)
        with line:
            with no_more_handles():
                line.connect(str(tmp_path / "sock"))
                began = time.thread_time()
                await asyncio.sleep(1.2)
                assert time.thread_time() - began < 0.3
                assert len(bugs) == 1
                assert "cannot take in clients" in bugs[0]
            line.setblocking(False)
            async with asyncio.timeout(10):
                assert b"hello" in await asyncio.get_running_loop().sock_recv(line, 1000)


# --- who ------------------------------------------------------------------------------------


def test_who_has_no_id_here_is_nobody_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users that our namespace does not know all look like the overflow id, also to a daemon
    that runs as nobody, which is that id."""
    assert may_change(0)
    assert may_change(os.geteuid())
    monkeypatch.setattr(os, "geteuid", overflow_uid)
    assert not may_change(overflow_uid())


async def test_the_daemon_itself_waits_for_nobody(tmp_path: Path) -> None:
    """The watchdog's connection is there when no other can be."""
    async with serving(tmp_path) as server:
        reader, writer = await asyncio.open_unix_connection(sock=server.inside())
        writer.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        assert json.loads(await reader.readline())["id"] == 1
        writer.close()
        await writer.wait_closed()


# --- accounts -------------------------------------------------------------------------------


async def test_what_ends_before_it_began_is_nobody_s_mistake(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Python warns of coroutines that never began, into the journal."""
    async with serving(tmp_path) as server:
        with server.inside():
            await server.stop()
    gc.collect()
    assert [str(one.message) for one in recwarn] == []


def test_an_answer_of_several_counts_once() -> None:
    waiting = Waiting()
    one, other = b"x" * 1000, b"y" * 10
    for piece in (one, one, other):
        waiting.add(piece)
    assert waiting.total == 1010
    waiting.drop(one)
    assert waiting.total == 1010
    waiting.drop(one)
    assert waiting.total == 10


def test_a_share_of_the_time() -> None:
    now = [0.0]
    share = CpuShare(0.25, lambda: now[0])
    share.spend(limits.CPU_AT_ONCE + 1.0)
    assert share.level == -1.0
    now[0] = 2.0
    assert share.level == -0.5
    now[0] = 100.0
    assert share.level == limits.CPU_AT_ONCE
    assert share.full


async def test_work_is_charged_and_can_be_cancelled() -> None:
    spent: list[float] = []
    ended = []

    async def work() -> str:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)
        return "never"

    async def metered() -> str:
        return await Metered(work(), spent.append)

    task = asyncio.ensure_future(metered())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
    assert sum(spent) >= 0.05


async def test_users_take_turns_however_many_connections_they_have() -> None:
    users = Users()
    loud, quiet = users.of(64_001), users.of(64_002)
    order: list[str] = []

    async def ask(name: str, uid: int) -> None:
        await users.of(uid).turn()
        order.append(name)

    # Both have to wait; the loud one has asked fifty times before.
    users.others.costs.share.spend(limits.CPU_AT_ONCE + 0.01)
    waiting = [asyncio.ensure_future(ask("loud", loud.uid)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting.append(asyncio.ensure_future(ask("quiet", quiet.uid)))
    await asyncio.gather(*waiting)
    assert order.index("quiet") <= 3


async def test_limits_of_one_user() -> None:
    users = Users()
    one, other, root = users.of(64_001), users.of(64_002), users.of(0)
    for _ in range(limits.CONNECTIONS_OF_ONE):
        assert not users.problem(one, 1000, 500)
        users.count(one, 1)
    assert "connections already" in say(users.problem(one, 1000, 500))
    assert not users.problem(other, 1000, 500)
    assert "too many clients" in say(users.problem(other, 1000, limits.CONNECTIONS_OF_ONE))
    assert not users.problem(root, 1000, limits.CONNECTIONS_OF_ONE)
    with pytest.raises(WireError, match="not complete"):
        one.take_in(limits.INCOMING_OF_ONE + 1)
    other.take_in(1000)
    answer = b"x" * (limits.WAITING_OF_ONE + 1)
    with one.holding([answer, answer]):
        with pytest.raises(WireError, match="wait to be read"):
            one.check_room()
        other.check_room()
        root.check_room()
    one.check_room()


async def test_a_few_hundred_certificates_are_not_done_in_one_go() -> None:
    """Whoever else waits has a turn in between."""
    turns = []

    async def other() -> None:
        while True:
            turns.append(True)
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    nobody = Users().of(64_001)
    assert [one async for one in gently(range(500), nobody.turn)] == list(range(500))
    task.cancel()
    assert len(turns) >= 9


async def test_for_others_one_thing_is_done_at_a_time() -> None:
    """However many of them wait, the event loop looks at everything else in between."""
    users = Users()
    done = []

    async def ask(uid: int) -> None:
        await users.of(uid).turn()
        done.append(uid)

    waiting = [asyncio.ensure_future(ask(64_000 + uid)) for uid in range(50)]
    for _ in range(10):
        await asyncio.sleep(0)
        before = len(done)
        await asyncio.sleep(0)
        assert len(done) - before <= 1
    await asyncio.gather(*waiting)
    assert sorted(done) == list(range(64_000, 64_050))


def test_the_table_is_in_the_docs() -> None:
    page = Path(__file__).parents[2] / "docs/socket-api.md"
    assert limits.table() in page.read_text()
