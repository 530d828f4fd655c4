"""Servers to look at: real TLS, and before it whatever a test wants said."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]


def context(folder: Path, *pairs: tuple[bytes, bytes]) -> ssl.SSLContext:
    """Return a server's context with certificates (key PEM, chain PEM), one of each kind."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for number, (key, chain) in enumerate(pairs):
        path = folder / f"pair-{number}.pem"
        path.write_bytes(key + chain)
        made.load_cert_chain(path)
    return made


@asynccontextmanager
async def server(handler: Handler, *, address: str = LOOPBACK, port: int = 0) -> AsyncIterator[int]:
    """Serve with a handler; gives the port."""

    async def serve(reader: Reader, writer: Writer) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(serve, address, port)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


class TlsPort:
    """A port that serves the certificate of `context`, which a test may exchange.

    `script` is said before TLS: what the server sends, and in bytes what it waits for. `said` is
    what clients said after the handshake, `names` the SNI of all.
    """

    def __init__(self, tls: ssl.SSLContext, script: Sequence[str | bytes] = ()) -> None:
        self.tls = tls
        self.script = script
        self.looks = 0
        self.names: list[str | None] = []
        self.said: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        """Serve one client."""
        for line in self.script:
            if isinstance(line, str):
                writer.write(line.encode() + b"\r\n")
            else:
                got = (await reader.readuntil(b"\n")).strip()
                assert got.startswith(line), got
        self.looks += 1
        self.tls.sni_callback = lambda _, name, __: self.names.append(name)
        await writer.start_tls(self.tls)
        self.said.put_nowait(await reader.read())
