"""Answers that no name server should send, byte by byte: they cost much to read, or never end."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import dns.message
import dns.rdatatype

from sslmd.dns.ask import NameServer
from tests.stand.responder import on_one_port

_A = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4"  # the name of the question, A, IN, a minute, 4 bytes


def head(query: dns.message.Message, records: int) -> bytes:
    """Return header (with authority) and question of an answer."""
    (question,) = query.question
    name = question.name.to_wire()
    assert name is not None
    return (
        struct.pack("!HHHHHH", query.id, 0x8400, 1, records, 0, 0)
        + name
        + struct.pack("!HH", question.rdtype, question.rdclass)
    )


def many_records(query: dns.message.Message, number: int = 3800) -> bytes:
    """Return an answer of nearly 64 KiB with so many addresses."""
    return head(query, number) + b"".join(_A + struct.pack("!I", n) for n in range(number))


def bomb(query: dns.message.Message, number: int = 290) -> bytes:
    """Return an answer whose names are 120 labels each, by pointers of two bytes."""
    begin = head(query, number)
    pointer = struct.pack("!H", 0xC000 | len(begin))
    labels = b"".join(b"\1" + bytes([97 + n % 26]) for n in range(120)) + b"\0"
    ns = b"\0\2\0\1\0\0\0\x3c"
    first = labels + ns + b"\0\2" + pointer
    rest = (pointer + ns + b"\0\4\1" + bytes([n % 256]) + pointer for n in range(number - 1))
    return begin + first + b"".join(rest)


def colliding(query: dns.message.Message, number: int = 290) -> bytes:
    """Return an answer whose owners all have the same hash in dnspython (9 h + c)."""
    found = head(query, number)
    for n in range(number):
        label = b"".join(b"bd" if n >> bit & 1 else b"am" for bit in range(12))
        found += bytes([len(label)]) + label + _A + bytes(4)
    return found


@asynccontextmanager
async def datagrams(
    answering: Callable[[dns.message.Message], list[bytes]],
) -> AsyncIterator[tuple[NameServer, list[int]]]:
    """Run a server that answers each datagram with some; yield it and when it was asked."""
    asked: list[int] = []
    loop = asyncio.get_running_loop()

    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked.append(1)
            for answer in answering(dns.message.from_wire(data)):
                self._transport.sendto(answer, addr)

    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    try:
        yield NameServer("127.0.0.1", transport.get_extra_info("sockname")[1], "ns1"), asked
    finally:
        transport.abort()


Talk = Callable[[dns.message.Message, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def cutting_short(talk: Talk) -> AsyncIterator[NameServer]:
    """Run a server that cuts every answer by UDP short, and talks by TCP as `talk` does."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            await talk(dns.message.from_wire(await reader.readexactly(length)), writer)
        writer.transport.abort()

    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            cut = head(dns.message.from_wire(data), 0)
            self._transport.sendto(cut[:2] + b"\x86\0" + cut[4:], addr)

    server, udp, port = await on_one_port(connected, Protocol)
    try:
        yield NameServer("127.0.0.1", port, "ns1.example.com")
    finally:
        udp.abort()
        server.close()


def framed(message: bytes) -> bytes:
    """Return a message as it goes by TCP (RFC 1035 §4.2.2)."""
    return struct.pack("!H", len(message)) + message
