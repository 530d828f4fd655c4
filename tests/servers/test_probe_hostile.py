"""Ports that mean harm, and old ones: a look costs no more than at any other."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sslmd.core.seen import AtPort
from sslmd.core.starttls import ProbeWord
from sslmd.net.handshake import MOST_BYTES, MOST_DH_BITS
from sslmd.net.inside import Inside
from sslmd.net.probe_messages import LookEnd, Served
from sslmd.servers.probe import served_at
from tests.stand.openssl import group, s_server
from tests.stand.stalls import LONGEST, watched
from tests.stand.tls import LOOPBACK, Reader, Writer, server

NAME = "www.example.com"


async def look(port: int, key_kind: str = "rsa 2048", seconds: float = 30) -> Served:
    return await served_at(Inside(), LOOPBACK, port, ProbeWord.TLS, NAME, key_kind, seconds=seconds)


DHE = ("-tls1_2", "-cipher", "kDHE:@SECLEVEL=0")


async def test_a_group_of_10000_bits_costs_nothing(tmp_path: Path) -> None:
    path = group(tmp_path, 10_000)
    async with s_server(tmp_path, *DHE, "-dhparam", str(path)) as port, watched() as stalls:
        before = time.process_time()
        seen = await look(port)
        spent = time.process_time() - before
    assert seen.problem == LookEnd(AtPort.DH_LONG, number=10_000)
    assert stalls.longest < LONGEST
    assert spent < 0.5  # the calculation alone takes 0.6


async def test_the_longest_group_that_is_calculated_holds_nothing_up(tmp_path: Path) -> None:
    path = group(tmp_path, MOST_DH_BITS)
    async with s_server(tmp_path, *DHE, "-dhparam", str(path)) as port, watched() as stalls:
        looks = await asyncio.gather(*(look(port) for _ in range(4)))
    assert all(seen.chain for seen in looks), [seen.problem for seen in looks]
    assert stalls.longest < LONGEST


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1_2", "-cipher", "kDHE:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"),
        ("-tls1", "-cipher", "kDHE:@SECLEVEL=0"),
        ("-tls1", "-cipher", "kRSA:@SECLEVEL=0"),
        ("-tls1_3", "-groups", "ffdhe2048"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"),
    ],
    ids=lambda options: "-".join(options[:3]).replace(":", "-"),
)
@pytest.mark.parametrize("key_kind", ["rsa 2048", "ec secp384r1", ""])
async def test_old_servers_are_seen(
    tmp_path: Path, options: tuple[str, ...], key_kind: str
) -> None:
    more = ("-dhparam", str(group(tmp_path, 2048))) if "kDHE" in options[-1] else ()
    async with s_server(tmp_path, *options, *more) as port:
        seen = await look(port, key_kind)
    assert len(seen.chain) == 1, seen.problem


# --- handshakes by hand ---------------------------------------------------------------------


def record(body: bytes) -> bytes:
    return b"\x16\3\3" + struct.pack("!H", len(body)) + body


def message(kind: int, body: bytes, size: int | None = None) -> bytes:
    return bytes([kind]) + (len(body) if size is None else size).to_bytes(3, "big") + body


# TLS 1.2, ECDHE-RSA-AES128-GCM-SHA256.
HELLO = record(message(2, b"\3\3" + bytes(32) + b"\0" + b"\xc0\x2f" + b"\0"))

# Half of these would be too much.
PLENTY = 10 << 20


class Counted:
    """Writes, and notes how much."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.drain = writer.drain
        self.sent = 0

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self._writer.write(data)


async def chain_of_10_mb(writer: Counted) -> None:
    writer.write(HELLO + record(message(11, b"", PLENTY)))
    for _ in range(PLENTY >> 14):
        writer.write(record(bytes(1 << 14)))
        await writer.drain()


async def certificate_that_never_ends(writer: Counted) -> None:
    """Just within what OpenSSL takes, and each byte in a record of its own."""
    writer.write(HELLO + record(message(11, b"", 100_000)))
    for _ in range(PLENTY):
        writer.write(record(b"\0") * 1000)
        await writer.drain()


async def hello_requests(writer: Counted) -> None:
    writer.write(HELLO)
    for _ in range(PLENTY):
        writer.write(record(message(0, b"")) * 1000)
        await writer.drain()


async def empty_records(writer: Counted) -> None:
    writer.write(HELLO)
    for _ in range(PLENTY):
        writer.write(record(b"") * 1000)
        await writer.drain()


async def alerts(writer: Counted) -> None:
    for _ in range(PLENTY):
        writer.write(b"\x15\3\3\0\2\1\x70" * 1000)  # unrecognized_name, a warning
        await writer.drain()


ENDLESS = [chain_of_10_mb, certificate_that_never_ends, hello_requests, empty_records, alerts]


@pytest.mark.parametrize("says", ENDLESS)
async def test_endless_handshakes_end(says: Callable[[Counted], Awaitable[None]]) -> None:
    writers: list[Counted] = []

    async def handler(reader: Reader, writer: Writer) -> None:
        await reader.read(1 << 14)
        writers.append(Counted(writer))
        await says(writers[-1])

    async with server(handler) as port, watched() as stalls:
        begin = asyncio.get_running_loop().time()
        seen = await look(port, "")
        taken = asyncio.get_running_loop().time() - begin
    assert seen.reached
    assert seen.chain == ()
    assert seen.problem
    assert stalls.longest < LONGEST
    assert taken < 10
    assert sum(one.sent for one in writers) < MOST_BYTES + (8 << 20)  # with what the kernel holds


async def test_a_handshake_of_a_byte_a_second_ends_in_time() -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        for byte in HELLO:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    async with server(handler) as port:
        seen = await look(port, "", seconds=0.5)
    assert seen.problem == LookEnd(AtPort.HANDSHAKE_LATE, number=0.5)


@pytest.mark.parametrize("word", [ProbeWord.SMTP, ProbeWord.IMAP, ProbeWord.POP3, None])
@pytest.mark.parametrize("line", [b"220-and so on\r\n", b"* OK and so on\r\n", b"+OK", b"x" * 999])
async def test_a_greeting_without_end(word: ProbeWord | None, line: bytes) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        while True:
            writer.write(line * 100)
            await writer.drain()

    async with server(handler) as port, watched() as stalls:
        seen = await served_at(Inside(), LOOPBACK, port, word, NAME, seconds=5)
    assert seen.chain == ()
    assert seen.problem
    assert stalls.longest < LONGEST


async def test_an_old_server_that_insists_on_a_client_certificate(tmp_path: Path) -> None:
    """TLS 1.2 has no alert of its own for that: it is told from one that has no suite for us."""
    async with s_server(tmp_path, "-tls1_2", "-Verify", "1") as port:
        seen = await served_at(Inside(), LOOPBACK, port, ProbeWord.TLS, NAME, seconds=10)
    assert seen.problem == LookEnd(AtPort.WANTS_CLIENT)
