"""What the other side of a link can cost: calls without end, values without end, answers twice."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from sslmd.net import link as links
from sslmd.net.link import (
    MOST_BYTES,
    MOST_VALUES,
    TRUSTED,
    CallBounds,
    Handlers,
    Link,
    LinkError,
    NetBug,
    Operation,
    link_on,
    message,
)
from tests.stand.virtual_time import run


@message
@dataclass(frozen=True, slots=True)
class Words:
    texts: tuple[str, ...]


ECHO: Operation[Words, Words] = Operation("echo", Words, Words)
CALL, ANSWER, FAULT, CANCEL = range(1, 5)

# Bytes that a frame may cost beside its own, however many values it has.
MOST_MEMORY = 40 << 20


async def echo(asked: Words) -> Words:
    return asked


def _frame(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack("!IBI", len(body), kind, number) + body


class _Theirs:
    """The other end, written to byte by byte."""

    def __init__(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.link, self._reader, self._writer = link, reader, writer
        self.running = asyncio.ensure_future(link.run())

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    async def heard(self) -> tuple[int, int, bytes]:
        size, kind, number = struct.unpack("!IBI", await self._reader.readexactly(9))
        return kind, number, await self._reader.readexactly(size)

    async def ended(self) -> str:
        with pytest.raises(LinkError) as caught:
            await self.running
        return str(caught.value)

    def close(self) -> None:
        self.link.close()
        self._writer.transport.abort()
        self.running.cancel()


@asynccontextmanager
async def _link(
    handlers: Handlers | None = None, bounds: CallBounds = TRUSTED
) -> AsyncIterator[_Theirs]:
    one, other = socket.socketpair()
    one.settimeout(0)
    other.settimeout(0)
    link = await link_on(one, handlers or {ECHO: echo}, print, bounds)
    theirs = _Theirs(link, *await asyncio.open_connection(sock=other))
    try:
        yield theirs
    finally:
        theirs.close()


def _asked(number: int, *texts: str) -> bytes:
    return _frame(CALL, number, b"echo\n" + json.dumps({"texts": texts}).encode())


# --- values ---


@pytest.mark.parametrize("values", [b"0,", b'"",', b'"","'], ids=str)
@pytest.mark.parametrize("kind", [CALL, ANSWER])
async def test_a_million_values_cost_no_memory(kind: int, values: bytes) -> None:
    many = values * (MOST_BYTES // len(values) - 100)
    body = b'{"texts":[' + many + b"0]}"
    body = b"echo\n" + body if kind == CALL else body
    assert body.count(b",") > 400_000
    async with _link() as theirs:
        asking = None
        if kind == ANSWER:
            asking = asyncio.ensure_future(theirs.link.call(ECHO, Words(())))
            await theirs.heard()
        tracemalloc.start()
        try:
            theirs.send(_frame(kind, 1, body))
            del body, many
            said = await theirs.ended()
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        finally:
            tracemalloc.stop()
        if asking is not None:
            asking.cancel()
    assert "values" in said


async def test_as_many_wrong_values_as_may_be_cost_little() -> None:
    body = b'echo\n{"texts":[' + b"0," * MOST_VALUES + b"0]}"
    async with _link() as theirs:
        tracemalloc.start()
        try:
            theirs.send(_frame(CALL, 1, body[: body.rindex(b"0,")] + b"0]}"))
            said = await theirs.ended()
            assert tracemalloc.get_traced_memory()[1] < 100 << 20
        finally:
            tracemalloc.stop()
    assert "wrong question" in said


async def test_commas_in_what_others_said_are_no_values() -> None:
    """A record of CAA, or a name in a certificate, may consist of them."""
    text = ',"\\,' * (MOST_VALUES + 1)
    async with _link() as theirs:
        theirs.send(_asked(1, text))
        kind, number, body = await theirs.heard()
        assert (kind, number) == (ANSWER, 1)
        assert json.loads(body) == {"texts": [text]}


# --- calls ---


BOUNDS = CallBounds(calls=10, size=1000, a_second=5.0, at_once=20)


async def _never(asked: Words) -> Words:
    await asyncio.Event().wait()
    return asked


async def test_calls_under_way_are_bounded() -> None:
    async with _link({ECHO: _never}, BOUNDS) as theirs:
        theirs.send(*(_asked(number) for number in range(1, 12)))
        assert "too many calls" in await theirs.ended()


async def test_what_calls_under_way_ask_is_bounded_in_bytes() -> None:
    async with _link({ECHO: _never}, BOUNDS) as theirs:
        theirs.send(_asked(1, "x" * 500), _asked(2, "x" * 500))
        assert "more than 1000 bytes" in await theirs.ended()


async def test_who_reads_no_answers_gets_no_more() -> None:
    async def much(_: Words) -> Words:
        return Words(("x" * (1 << 20),))

    bounds = replace(BOUNDS, a_second=1e9, at_once=10**6)
    async with _link({ECHO: much}, bounds) as theirs:
        number = 0
        while not theirs.running.done():
            number += 1
            theirs.send(_asked(number))
            await asyncio.sleep(0)
        assert "too many calls" in await theirs.ended()
        assert number < 100


def test_calls_are_done_as_fast_as_they_may_be() -> None:
    began: list[float] = []

    async def noted(asked: Words) -> Words:
        began.append(asyncio.get_running_loop().time())
        return asked

    async def story() -> None:
        bounds = replace(BOUNDS, calls=1000, size=1 << 20)
        async with _link({ECHO: noted}, bounds) as theirs:
            theirs.send(*(_asked(number) for number in range(1, 71)))
            for _ in range(70):
                await theirs.heard()
        assert sum(one < 0.2 for one in began) == pytest.approx(20, abs=1)
        assert began[-1] == pytest.approx(10.0, abs=0.5)

    run(story())


async def test_a_flood_of_calls_leaves_the_loop_to_others() -> None:
    """Each is done in a turn of its own, however many were read at one time."""
    turns, at = 0, list[int]()

    async def noted(asked: Words) -> Words:
        at.append(turns)
        return asked

    async with _link({ECHO: noted}) as theirs:
        theirs.send(*(_asked(number) for number in range(1, 201)))
        while len(at) < 200:
            turns += 1
            await asyncio.sleep(0)
    assert max(map(at.count, at)) <= 2


async def test_signatures_are_bounded_for_the_process_in_truth() -> None:
    from sslmd.net import client

    bounds = client.BOUNDS
    assert bounds.size <= 64 << 20
    assert bounds.calls <= TRUSTED.calls
    assert bounds.a_second <= 1000


# --- answers ---


async def test_an_answer_comes_once() -> None:
    async with _link() as theirs:
        asking = asyncio.ensure_future(theirs.link.call(ECHO, Words(())))
        await theirs.heard()
        theirs.send(_frame(ANSWER, 1, b'{"texts": []}'))
        assert await asking == Words(())
        theirs.send(_frame(ANSWER, 1, b'{"texts": []}'))
        assert "not asked" in await theirs.ended()


async def test_what_was_cancelled_is_answered_once_whenever() -> None:
    async with _link() as theirs:
        asking = asyncio.ensure_future(theirs.link.call(ECHO, Words(())))
        await theirs.heard()
        asking.cancel()
        assert await theirs.heard() == (CANCEL, 1, b"")
        theirs.send(_frame(FAULT, 1, b'"CancelledError"'))
        while theirs.link._left:
            await asyncio.sleep(0)
        theirs.send(_frame(FAULT, 1, b'"CancelledError"'))
        assert "not asked" in await theirs.ended()


async def test_what_is_cancelled_here_is_answered() -> None:
    async with _link({ECHO: _never}) as theirs:
        theirs.send(_asked(1), _asked(2), _frame(CANCEL, 2, b""), _frame(CANCEL, 1, b""))
        heard = [await theirs.heard(), await theirs.heard()]
        assert heard == [(FAULT, number, b'"CancelledError"') for number in (2, 1)]
        theirs.send(_frame(CANCEL, 1, b""), _frame(CANCEL, 77, b""), _asked(3))
        await asyncio.sleep(0.05)
        assert not theirs.running.done()
        assert [*theirs.link._doing] == [3]
        assert theirs.link._size == len(_asked(3)) - 9


async def test_a_call_that_is_answered_is_not_cancelled_any_more() -> None:
    async with _link() as theirs:
        theirs.send(_asked(1, "x" * (1 << 20)))
        while theirs.link._doing.get(1, "") is not None:
            await asyncio.sleep(0)
        theirs.send(_frame(CANCEL, 1, b""))
        kind, number, _ = await theirs.heard()
        assert (kind, number) == (ANSWER, 1)
        theirs.send(_asked(2))
        assert (await theirs.heard())[:2] == (ANSWER, 2)
        assert theirs.link._size == 0


async def test_who_never_answers_what_was_cancelled_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "MOST_LEFT", 3)
    async with _link() as theirs:
        for _ in range(4):
            asking = asyncio.ensure_future(theirs.link.call(ECHO, Words(())))
            await theirs.heard()
            asking.cancel()
            await theirs.heard()
        theirs.send(_asked(1))
        assert "cancelled" in await theirs.ended()


async def test_both_ends_agree_on_what_is_cancelled() -> None:
    one, other = socket.socketpair()
    one.settimeout(0)
    other.settimeout(0)
    here, there = ends = [await link_on(end, {ECHO: _never}, print) for end in (one, other)]
    running = [asyncio.ensure_future(end.run()) for end in ends]
    for _ in range(100):
        asking = [asyncio.ensure_future(here.call(ECHO, Words(()))) for _ in range(10)]
        await asyncio.sleep(0)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    async with asyncio.timeout(60):
        while here._left or there._doing:
            await asyncio.sleep(0.001)
    assert not any(each.done() for each in running)
    for end in ends:
        end.close()
    await asyncio.gather(*running)


async def test_a_fault_by_a_cancellation_there_is_one_like_others() -> None:
    async def cancelled(_: Words) -> Words:
        raise asyncio.CancelledError

    one, other = socket.socketpair()
    one.settimeout(0)
    other.settimeout(0)
    here = await link_on(one, {}, print)
    there = await link_on(other, {ECHO: cancelled}, print)
    running = [asyncio.ensure_future(end.run()) for end in (here, there)]
    with pytest.raises(NetBug):
        await here.call(ECHO, Words(()))
    for end in (here, there):
        end.close()
    await asyncio.gather(*running)
