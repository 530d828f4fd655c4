"""Calls between the daemon and its network process, over a socket pair, in both directions.

What crosses is data: each operation names the dataclass that is asked and the one that is answered,
and both are checked where they arrive. Whoever is at the other end may be taken over by what it
read: a frame that is too long, of no known operation, of wrong types, or that answers what was not
asked, ends the link, and the daemon starts another process.

A frame has a head of nine bytes (length of the rest, kind, number of the call; big-endian) and a
body: of a call the name of its operation in a line, then JSON; of an answer JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason

Q = TypeVar("Q")
A = TypeVar("A")

# Bytes of a frame: a certificate with its chains has 40 KB, the longest answer of DNS 64 KiB.
MOST_BYTES = 4 << 20

# Values of a frame: each wrong one costs whoever checks it 1 KB and 6 us.
MOST_VALUES = 50_000

# Answers to calls that nobody waits for any more, which have not come.
MOST_LEFT = 20_000

_HEAD = struct.Struct("!IBI")
_NAME = 64  # bytes of an operation's name

# Of every message: bytes go as base64, and what the declaration does not have is a mistake.
message = with_config(
    ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid", strict=False)
)


# A text, or what begins as one and has no end: so that nobody looks for that again and again.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class CallBounds:
    """What the other side may have done at one time: calls, and bytes of what they ask.

    `a_second`: so many calls are begun, after `at_once` in a row; what comes faster waits.
    """

    calls: int
    size: int
    a_second: float
    at_once: int


# Of the daemon, which is trusted.
TRUSTED = CallBounds(20_000, 1 << 30, 1e9, 20_000)


class LinkError(Exception):
    """The other side does not speak as agreed."""


class NetGone(Transient):
    """There is no answer, which says nothing of what was asked about.

    The network process ended, or was ended, before it had one.
    """


class NetBug(NetGone):
    """The other side met a fault of its own; `fault` is the exception's type."""

    def __init__(self, operation: str, fault: str) -> None:
        super().__init__(Reason(Failed.NET_FAULT, fault=fault, operation=operation))
        self.fault = fault


class _Kind(IntEnum):
    CALL, ANSWER, FAULT, CANCEL = range(1, 5)


class Operation(Generic[Q, A]):
    """What may be asked over a link: its name, and the types of question and answer.

    `repeatable`: asked again of the next process if the one that was asked died.
    """

    def __init__(self, name: str, asked: Any, answered: Any, *, repeatable: bool = True) -> None:
        self.name = name
        self.repeatable = repeatable
        self._asked = asked
        self._answered = answered

    def __repr__(self) -> str:
        return self.name

    @cached_property
    def asked(self) -> TypeAdapter[Q]:
        """Reads and writes questions."""
        return TypeAdapter(self._asked)

    @cached_property
    def answered(self) -> TypeAdapter[A]:
        """Reads and writes answers."""
        return TypeAdapter(self._answered)


Handler = Callable[[Any], Awaitable[Any]]
Handlers = Mapping[Operation[Any, Any], Handler]


class Asker(Protocol):
    """Who has things done that read bytes of others: `net.client.Net`, or `net.inside.Inside`."""

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        """Ask, and return the answer; raises `NetGone`, and `NetBug`, which is one of these."""


class Nobody:
    """Who can be asked nothing: there is no network process."""

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:  # noqa: ARG002
        """Raise `NetGone`."""
        raise NetGone(Reason(Failed.NET_GONE))


class Link:
    """One end. `handlers` do what the other side asks; `failed` hears of exceptions in them."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handlers: Handlers,
        failed: Callable[[BaseException], object],
        bounds: CallBounds = TRUSTED,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers = {one.name: (one, do) for one, do in handlers.items()}
        self._failed = failed
        self._bounds = bounds
        self._number = 0
        self._asked: dict[int, tuple[Operation[Any, Any], asyncio.Future[Any]]] = {}
        # Each call has one answer: those of calls that were cancelled are still to come.
        self._left: set[int] = set()
        # None: its answer is on its way, and cannot be cancelled any more.
        self._doing: dict[int, asyncio.Task[None] | None] = {}
        self._size = 0
        self._turn = float("-inf")
        self.is_open = True
        # Who is taken to have ended it (`net.client`).
        self.blamed: object = None

    async def call(self, operation: Operation[Q, A], asked: Q) -> A:
        """Ask the other side, and return its answer.

        Who stops waiting cancels it there too. Raises `NetGone` if the link ends before, `NetBug`
        for a fault of the other side.
        """
        if not self.is_open:
            raise NetGone(Reason(Failed.NET_GONE))
        self._number = self._number % 0xFFFFFFFF + 1
        number = self._number
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._asked[number] = operation, answer
        body = operation.asked.dump_json(asked)
        try:
            self._send(_Kind.CALL, number, operation.name.encode() + b"\n" + body)
            await self._drain()
            return await answer
        finally:
            if self._asked.pop(number, None) is not None and self.is_open:
                self._left.add(number)
                self._send(_Kind.CANCEL, number, b"")

    @property
    def is_asked_once(self) -> bool:
        """Whether something is under way that may not be asked again."""
        return any(not operation.repeatable for operation, _ in self._asked.values())

    async def run(self) -> None:
        """Read until the other side is gone; what was asked of it then fails with `NetGone`.

        Raises `LinkError` if it does not speak as agreed.
        """
        try:
            while True:
                try:
                    head = await self._reader.readexactly(_HEAD.size)
                    size, kind, number = _HEAD.unpack(head)
                    if size > MOST_BYTES:
                        raise LinkError(f"a frame of {size} bytes")
                    body = await self._reader.readexactly(size)
                except (asyncio.IncompleteReadError, OSError):
                    return
                self._take(kind, number, body)
                if len(self._left) > MOST_LEFT:
                    raise LinkError("no answer to what was cancelled")
                # What is read already would all be done in one turn of the loop.
                await asyncio.sleep(0)
        finally:
            self.close()

    def close(self) -> None:
        """End it; nothing that is under way is waited for."""
        if not self.is_open:
            return
        self.is_open = False
        self._writer.transport.abort()
        for task in filter(None, self._doing.values()):
            task.cancel()
        asked, self._asked = self._asked, {}
        for _, answer in asked.values():
            if not answer.done():
                answer.set_exception(NetGone(Reason(Failed.NET_GONE)))
                # Whoever asked may have stopped waiting at this moment.
                answer.exception()

    def _take(self, kind: int, number: int, body: bytes) -> None:
        if (values := _values(body)) > MOST_VALUES:
            raise LinkError(f"a frame of {values} values")
        if kind == _Kind.CALL:
            self._begin(number, body)
        elif kind == _Kind.CANCEL:
            if (task := self._doing.get(number)) is not None:
                task.cancel()
        elif kind in (_Kind.ANSWER, _Kind.FAULT):
            operation, answer = self._asked.pop(number, (None, None))
            if operation is None or answer is None:
                if number not in self._left:
                    raise LinkError(f"an answer to {number}, which was not asked")
                self._left.remove(number)
                return
            if answer.done():
                return  # nobody waits for it any more
            if kind == _Kind.FAULT:
                answer.set_exception(NetBug(operation.name, _fault(body)))
                return
            try:
                answer.set_result(operation.answered.validate_json(body))
            except (ValidationError, RecursionError) as err:
                self._asked[number] = operation, answer  # `close` tells it
                raise LinkError(f"a wrong answer to {operation}: {_types(err)}") from None
        else:
            raise LinkError(f"a frame of kind {kind}")

    def _begin(self, number: int, body: bytes) -> None:
        name, found, _ = body[: _NAME + 1].partition(b"\n")
        operation, do = self._handlers.get(name.decode("ascii", "replace"), (None, None))
        if not found or operation is None or do is None:
            raise LinkError("a call of no known operation")
        if number in self._doing or len(self._doing) >= self._bounds.calls:
            raise LinkError(f"too many calls, or one twice: {operation}")
        if self._size + len(body) > self._bounds.size:
            raise LinkError(f"calls of more than {self._bounds.size} bytes: {operation}")
        try:
            question = operation.asked.validate_json(body[len(name) + 1 :])
        except (ValidationError, RecursionError) as err:
            raise LinkError(f"a wrong question of {operation}: {_types(err)}") from None
        task = asyncio.ensure_future(self._answer(number, operation, do, question))
        self._doing[number] = task
        size = len(body)
        self._size += size

        def done(_: asyncio.Task[None]) -> None:
            is_answered = self._doing.pop(number) is None
            self._size -= size
            if self.is_open and not is_answered:
                self._send(_Kind.FAULT, number, json.dumps("CancelledError").encode())

        task.add_done_callback(done)

    async def _answer(
        self, number: int, operation: Operation[Any, Any], do: Handler, question: Any
    ) -> None:
        try:
            await self._wait_for_turn()
            body = operation.answered.dump_json(await do(question))
            if len(body) > MOST_BYTES:
                raise ValueError(f"an answer of {len(body)} bytes to {operation}")
            kind = _Kind.ANSWER
        except Exception as err:  # told there by its type, here in full
            self._failed(err)
            kind, body = _Kind.FAULT, json.dumps(type(err).__name__).encode()
        if self.is_open:
            self._doing[number] = None
            self._send(kind, number, body)
            await self._drain()

    async def _wait_for_turn(self) -> None:
        """Wait where the other side asks faster than it may."""
        now, step = asyncio.get_running_loop().time(), 1 / self._bounds.a_second
        self._turn = max(self._turn, now - self._bounds.at_once * step) + step
        if (wait := self._turn - now) > 0:
            await asyncio.sleep(wait)

    def _send(self, kind: _Kind, number: int, body: bytes) -> None:
        if len(body) > MOST_BYTES:
            raise ValueError(f"a frame of {len(body)} bytes")
        self._writer.write(_HEAD.pack(len(body), kind, number) + body)

    async def _drain(self) -> None:
        with suppress(OSError):  # `run` notices the end
            await self._writer.drain()


def _values(body: bytes) -> int:
    """Return how many values JSON may have: at least, where they are too many.

    Each has a comma, and up to two texts. Commas in texts do not count.
    """
    if (commas := body.count(b",")) <= MOST_VALUES:
        return commas
    found, at = 0, 0
    for number, text in enumerate(_TEXT.finditer(body)):
        found = max(found + body.count(b",", at, text.start()), number // 2)
        at = text.end()
        if found > MOST_VALUES:
            return found
    return found + body.count(b",", at)


def _types(err: Exception) -> str:
    """Return where a message is wrong, and in which way: nothing of what stands in it."""
    if not isinstance(err, ValidationError):
        return type(err).__name__
    first = err.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{first['type']} in {len(first['loc'])} places deep"


def _fault(body: bytes) -> str:
    try:
        name = json.loads(body)
    except (ValueError, RecursionError):
        raise LinkError("a fault without a name") from None
    if not isinstance(name, str) or not name.isidentifier() or len(name) > _NAME:
        raise LinkError("a fault without a name")
    return name


async def link_on(
    end: socket.socket,
    handlers: Handlers,
    failed: Callable[[BaseException], object],
    bounds: CallBounds = TRUSTED,
) -> Link:
    """Return a link on one end of a socket pair, which it takes over; `Link.run` has to be run."""
    reader, writer = await asyncio.open_connection(sock=end)
    return Link(reader, writer, handlers, failed, bounds)
