"""Servers of OpenSSL's own, old and odd ones, and groups for them."""

from __future__ import annotations

import asyncio
import base64
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.stand.server import free_port
from tests.stand.tls import LOOPBACK

NAME = "www.example.com"

# Seconds until a program that was started has to be there.
STARTED = 60.0


def der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 128 else b"\x82" + struct.pack("!H", size)
    return bytes([tag]) + length + body


def group(folder: Path, bits: int) -> Path:
    """Write a group whose prime need not be one: clients do not look."""
    prime = random.Random(bits).getrandbits(bits) | 1 | 1 << bits - 1
    number = der(2, b"\0" + prime.to_bytes((bits + 7) // 8, "big"))
    text = base64.encodebytes(der(0x30, number + der(2, b"\2"))).decode()
    path = folder / f"dh{bits}.pem"
    path.write_text(f"-----BEGIN DH PARAMETERS-----\n{text}-----END DH PARAMETERS-----\n")
    return path


@asynccontextmanager
async def s_server(folder: Path, *options: str) -> AsyncIterator[int]:
    """Run a server of OpenSSL's with a certificate of its own; yield its port."""
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key),
        *("-out", cert, "-subj", f"/CN={NAME}", "-days", "9"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await asyncio.wait_for(made.wait(), STARTED) == 0
    port = free_port()
    running = await asyncio.create_subprocess_exec(
        *("openssl", "s_server", "-accept", f"{LOOPBACK}:{port}", "-cert", cert, "-key", key),
        *("-quiet", *options),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(STARTED):
            while True:
                assert running.returncode is None
                try:
                    _, writer = await asyncio.open_connection(LOOPBACK, port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield port
    finally:
        running.kill()
        await running.wait()
