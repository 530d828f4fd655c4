"""The link between the daemon and its network process: calls both ways, and what ends it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from sslmd.net.link import (
    MOST_BYTES,
    Handlers,
    Link,
    LinkError,
    NetBug,
    NetGone,
    Operation,
    link_on,
    message,
)


@message
@dataclass(frozen=True, slots=True)
class Text:
    text: str
    data: bytes = b""


@message
@dataclass(frozen=True, slots=True)
class Number:
    number: int


ECHO: Operation[Text, Text | Number] = Operation("echo", Text, Text | Number)
BACK: Operation[Text, Text] = Operation("back", Text, Text)


@asynccontextmanager
async def _pair(ours: Handlers, theirs: Handlers) -> AsyncIterator[tuple[Link, Link]]:
    one, other = socket.socketpair()
    one.settimeout(0)
    other.settimeout(0)
    failures: list[BaseException] = []
    links = [await link_on(one, ours, failures.append), await link_on(other, theirs, print)]
    running = [asyncio.ensure_future(link.run()) for link in links]
    try:
        yield links[0], links[1]
    finally:
        for link in links:
            link.close()
        await asyncio.gather(*running, return_exceptions=True)
    assert not failures


async def test_asks_and_is_asked_meanwhile() -> None:
    async def echo(asked: Text) -> Text | Number:
        if asked.text == "number":
            return Number(7)
        return await there.call(BACK, asked)

    async def back(asked: Text) -> Text:
        return Text(asked.text.upper(), asked.data[::-1])

    async with _pair({BACK: back}, {ECHO: echo}) as (here, there):
        asked = [here.call(ECHO, Text(str(number), bytes([number]))) for number in range(50)]
        answers = await asyncio.gather(*asked, here.call(ECHO, Text("abc", b"\x00\xff")))
        assert answers[50] == Text("ABC", b"\xff\x00")
        assert answers[:2] == [Text("0", b"\x00"), Text("1", b"\x01")]
        assert await here.call(ECHO, Text("number")) == Number(7)


async def test_a_fault_there_fails_one_call() -> None:
    async def echo(asked: Text) -> Text | Number:
        if asked.text == "bad":
            raise KeyError("a secret")
        return asked

    async with _pair({}, {ECHO: echo}) as (here, _):
        with pytest.raises(NetBug) as caught:
            await here.call(ECHO, Text("bad"))
        assert caught.value.fault == "KeyError"
        assert "a secret" not in str(caught.value)
        assert await here.call(ECHO, Text("good")) == Text("good")


async def test_who_stops_waiting_ends_it_there() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def echo(asked: Text) -> Text | Number:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return asked

    async with _pair({}, {ECHO: echo}) as (here, _):
        call = asyncio.ensure_future(here.call(ECHO, Text("x")))
        await begun.wait()
        call.cancel()
        await ended.wait()


async def test_the_end_of_the_other_side_is_told() -> None:
    async def echo(asked: Text) -> Text | Number:
        there.close()
        return asked

    async with _pair({}, {ECHO: echo}) as (here, there):
        with pytest.raises(NetGone):
            await here.call(ECHO, Text("x"))
        with pytest.raises(NetGone):
            await here.call(ECHO, Text("x"))


def _frame(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack("!IBI", len(body), kind, number) + body


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("!IBI", MOST_BYTES + 1, 1, 1),
        _frame(9, 1, b""),
        _frame(0, 1, b""),
        _frame(1, 1, b"nothing\n{}"),
        _frame(1, 1, b"echo" * 1000),
        _frame(1, 1, b'echo\n{"text": 5}'),
        _frame(1, 1, b'echo\n{"text": "x", "more": 1}'),
        _frame(1, 1, b"echo\n" + b"[" * 100_000),
        _frame(1, 1, b"echo\n\xff\xfe"),
        _frame(2, 77, b"{}"),
        _frame(3, 77, b'"KeyError"'),
    ],
    ids=lambda sent: repr(bytes(sent[:30])),
)
async def test_what_is_not_agreed_ends_it(sent: bytes) -> None:
    async def echo(asked: Text) -> Text | Number:
        return asked

    one, other = socket.socketpair()
    one.settimeout(0)
    link = await link_on(one, {ECHO: echo}, print)
    other.sendall(sent)
    with pytest.raises(LinkError) as caught:
        await link.run()
    assert str(caught.value).isprintable()
    other.close()


@pytest.mark.parametrize("body", [b"5", b'{"text": 5}', b"{", b'{"number": "x"}', b"[" * 9999])
async def test_a_wrong_answer_ends_it_and_fails_the_call(body: bytes) -> None:
    one, other = socket.socketpair()
    one.settimeout(0)
    link = await link_on(one, {}, print)
    running = asyncio.ensure_future(link.run())
    call = asyncio.ensure_future(link.call(ECHO, Text("x")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    other.sendall(_frame(2, 1, body))
    with pytest.raises(NetGone):
        await call
    with pytest.raises(LinkError):
        await running
    other.close()
