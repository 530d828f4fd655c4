"""A network process that is asked while servers of ours answer whatever a fuzzer likes."""

from __future__ import annotations

import asyncio
import atexit
import json
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sslmd.net.client import Net
from sslmd.net.link import Handlers, NetGone
from sslmd.net.messages import PING, Alive
from sslmd.net.sign_messages import (
    PUBLIC_KEY,
    SIGN,
    AskSignature,
    OfKey,
    PublicKey,
    Signature,
)
from tests.fuzz.target import Fault
from tests.stand.odd_certs import key

HERE = "127.0.0.1"

# Seconds for one answer that an evil server may hold back, and for all that one input takes.
LOOK, _ALL = 0.3, 30.0


class Subject:
    """A network process, and servers that answer `data`; in a loop and a thread of their own."""

    def __init__(self, command: tuple[str, ...] = ()) -> None:
        self.data = b""
        self.told: list[str] = []
        self._command = command
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._folder = tempfile.TemporaryDirectory(prefix="sslmd-fuzz-")
        self.ports: dict[str, int] = {}
        self.run(self._start())
        atexit.register(self.close)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have it done there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ALL)

    async def _start(self) -> None:
        async def sign(_: AskSignature) -> Signature:
            return Signature("e30", "c2ln")

        async def public_key(_: OfKey) -> PublicKey:
            return PublicKey('{"kty": "EC"}')

        handlers: Handlers = {SIGN: sign, PUBLIC_KEY: public_key}
        self.net = Net(handlers, self.told.append, self._failed, user="nobody")
        self.net._command = self._command or self.net._command
        await self.net.start()
        for name, serve in (
            ("dns", self._dns),
            ("raw", self._raw),
            ("ca", self._ca),
            ("handshake", self._handshake),
        ):
            listening = await asyncio.start_server(_quietly(serve), HERE, 0)
            self.ports[name] = listening.sockets[0].getsockname()[1]
            # What it was given first: a server has as many datagrams as connections.
            if name == "dns":
                await self._loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(HERE, self.ports[name])
                )
        await self.net.call(PING, Alive())
        self.pid = self.net.pid
        self.told.clear()

    def _failed(self, err: BaseException) -> None:
        self.told.append(repr(err))

    def close(self) -> None:
        """End all of it."""
        if self._loop.is_running():
            with suppress(Exception):
                self.run(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        self._folder.cleanup()

    async def _stop(self) -> None:
        await self.net.stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def ask(self, data: bytes, asking: Callable[[], Coroutine[Any, Any, list[str]]]) -> list[str]:
        """Ask while servers answer `data`; return what people are told of it."""
        self.data = data
        try:
            texts: list[str] = self.run(asking())
        except NetGone as err:
            told, self.pid = list(self.told), self.run(self._pid())
            self.told.clear()
            raise Fault(f"the network process: {err} {told}") from None
        if self.net.pid != self.pid or self.told:
            told, self.pid = list(self.told), self.run(self._pid())
            self.told.clear()
            raise Fault(f"the network process ended: {told}")
        return texts

    async def _pid(self) -> int:
        await self.net.call(PING, Alive())
        return self.net.pid

    # --- servers ---

    async def _dns(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length))[:0xFFFF]
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()

    def answer(self, query: bytes) -> bytes:
        """Return the input as an answer that fits the query: its id, and its one question."""
        end = query.index(b"\0", 12) + 5
        flags = bytes([self.data[2:3][0] | 0x80 if len(self.data) > 2 else 0x84])
        head = query[:2] + flags + self.data[3:4].ljust(1, b"\0") + b"\0\1" + self.data[6:12]
        return head.ljust(12, b"\0") + query[12:end] + self.data[end:]

    async def _raw(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.data)
        await writer.drain()
        writer.write_eof()
        await asyncio.sleep(LOOK)

    async def _ca(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A CA whose directory and nonces are right, and whose other answers are the input."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        method, path = head.split()[:2]
        status, more, body = self._said(path)
        lines = [b"HTTP/1.1 %d x" % status, b"Replay-Nonce: abc", b"Connection: close", *more]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if method == b"head" else body))
        await writer.drain()
        writer.write_eof()
        await asyncio.wait_for(reader.read(), LOOK)

    def _said(self, path: bytes) -> tuple[int, list[bytes], bytes]:
        if path == b"/nonce":
            return 200, [], b""
        if path == b"/dir":
            names = ("newAccount", "newOrder", "keyChange", "renewalInfo", "revokeCert")
            urls = dict.fromkeys(names, f"{self.base}/evil")
            return 200, [], json.dumps({**urls, "newNonce": f"{self.base}/nonce"}).encode()
        head, _, body = self.data.replace(b"@", self.base.encode()).partition(b"\n\n")
        first, *rest = head.split(b"\n")
        status = int(first) if first.isdigit() and 200 <= int(first[:4]) <= 599 else 200
        return status, [line.replace(b"\r", b"") for line in rest[:20]], body

    @property
    def base(self) -> str:
        """Where the CA is."""
        return f"http://{HERE}:{self.ports['ca']}"

    async def _handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The first flight of TLS 1.2 (RFC 5246 §7.4), with a certificate that nobody parsed."""
        await reader.read(1 << 14)
        hello = b"\3\3" + bytes(range(32)) + b"\0" + b"\0\x9c" + b"\0"
        one = len(self.data).to_bytes(3, "big") + self.data
        chain = len(one).to_bytes(3, "big") + one
        flight = b"".join(
            bytes([kind]) + len(body).to_bytes(3, "big") + body
            for kind, body in ((2, hello), (11, chain), (14, b""))
        )
        for at in range(0, len(flight), 1 << 14):
            piece = flight[at : at + (1 << 14)]
            writer.write(b"\x16\3\3" + struct.pack("!H", len(piece)) + piece)
        await writer.drain()
        await asyncio.wait_for(reader.read(), LOOK)

    async def serving(self, der: bytes) -> asyncio.Server | None:
        """Serve a certificate by TLS, None where OpenSSL would not."""
        path = Path(self._folder.name) / "served.pem"
        private = key("fuzz").private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        path.write_bytes(private + ssl.DER_cert_to_PEM_cert(der).encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        try:
            context.load_cert_chain(path)
        except ssl.SSLError:
            return None

        async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        return await asyncio.start_server(_quietly(nothing), HERE, 0, ssl=context)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(self._subject.answer(data)[:1232], addr)


def _quietly(serve: Any) -> Any:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    return served
