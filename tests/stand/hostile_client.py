"""A client that does harm, as a process and a user of its own.

    python hostile_client.py SOCKET UID NUMBER WHAT

It says `ready` when NUMBER connections (or as many as it gets) do WHAT, and goes on until it is
killed. It imports nothing of the program.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def request(method: str, **params: object) -> bytes:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.dumps(message).encode() + b"\n"


STATUS = request("status")


async def connected(path: str) -> Line | None:
    """Return a greeted connection; None if it is refused."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 26)
    return (reader, writer) if b"hello" in await reader.readline() else None


async def repeats(line: Line) -> None:
    """Ask for the status again and again, and read it."""
    reader, writer = line
    while True:
        writer.write(STATUS)
        if not await reader.readline():
            return


async def deaf(line: Line) -> None:
    """Ask for the status as often as it can be asked, and read nothing."""
    reader, writer = line
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    while True:
        writer.write(STATUS * 8)
        await writer.drain()


async def halves(line: Line) -> None:
    """Send most of a request, and then nothing more."""
    _, writer = line
    writer.write(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * ((1 << 20) - 100))
    await writer.drain()
    await asyncio.sleep(3600)


async def follows(line: Line) -> None:
    """Follow events, and hang up when those of before were told."""
    reader, writer = line
    writer.write(request("events", follow=True))
    await reader.readline()
    await asyncio.sleep(1)
    writer.close()


async def names(line: Line) -> None:
    """Name the same certificates 100,000 times, again and again."""
    reader, writer = line
    many = b",".join([b'"ca:ALL"'] * 100_000)
    while True:
        writer.write(request("status", certs=[0]).replace(b"0]", many + b"]"))
        if not await reader.readline():
            return


async def plans(line: Line) -> None:
    """Ask for the plan again and again, which nobody else shares."""
    reader, writer = line
    while True:
        writer.write(request("plan"))
        if not await reader.readline():
            return


async def shows(line: Line) -> None:
    """Have files read again and again."""
    reader, writer = line
    while True:
        writer.write(request("show", cert="g0.example:s00") * 8)
        if not await reader.readline():
            return


async def idles(line: Line) -> None:
    """Do nothing."""
    await line[0].read()


WHAT: dict[str, Callable[[Line], Awaitable[None]]] = {
    one.__name__: one for one in (repeats, plans, shows, deaf, halves, follows, names, idles)
}


def knocks(path: str) -> None:
    """Connect and hang up, as fast as that can be done."""
    while True:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.connect(path)


async def main(path: str, number: int, what: str) -> None:
    lines = []
    for _ in range(number):
        with suppress(OSError):
            if line := await connected(path):
                lines.append(line)
    tasks = [asyncio.ensure_future(WHAT[what](line)) for line in lines]
    if what in ("deaf", "halves", "follows"):
        await asyncio.wait(tasks, timeout=5)  # until nothing more is taken
    print(f"ready {len(lines)}", flush=True)
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    socket_path, uid, count, doing = sys.argv[1:]
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    if doing == "knocks":
        print("ready 0", flush=True)
        knocks(socket_path)
    asyncio.run(main(socket_path, int(count), doing))
