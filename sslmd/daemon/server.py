"""The socket: connections, limits and permissions; what is asked goes to `methods`.

A bad client costs nothing but its own connection: messages, their rate, idle time, unread
answers and the number of clients are all bounded (I9).
"""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sslmd import __version__
from sslmd.core.errors import Permanent
from sslmd.store import files
from sslmd.wire.framing import FrameReader
from sslmd.wire.messages import (
    SOCKET_GROUP,
    Code,
    Json,
    Notification,
    Request,
    Response,
    WireError,
    encode,
    hello,
    parse_message,
)

SOCKET_MODE = 0o660

# Bytes of the path: unix(7), sun_path without the NUL at its end.
MAX_PATH = 107

# Connections; each costs some 10 KB. Those who may only read get no more than a part, so that
# there is always room for an admin.
MAX_CLIENTS = 1000
MAX_CLIENTS_OF_OTHERS = 600

# Seconds without a request, or without reading an answer, after which a client is let go.
IDLE = 300.0
STALLED = 60.0

# Requests of one connection: so many at once, then so many a second.
BURST = 200
RATE = 50.0

# Requests of one connection that may be under way at the same time.
PARALLEL = 8

# Bytes given to the kernel at a time, so that a slow reader never makes us buffer an answer.
SLICE = 1 << 16

_UCRED = struct.Struct("3i")


@dataclass(slots=True)
class Client:
    """One connection. `may_change`: root or the daemon's own user (SO_PEERCRED, unix(7)).

    `pid` is who connected; by now it may be another program. `hung_up`: it says nothing more.
    """

    uid: int
    pid: int
    may_change: bool
    writer: asyncio.StreamWriter
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, data: bytes) -> None:
        """Send one message; raises OSError or TimeoutError when the client is no good."""
        async with self._lock, asyncio.timeout(STALLED):
            view = memoryview(data)
            for start in range(0, len(view), SLICE):
                self.writer.write(view[start : start + SLICE])
                await self.writer.drain()

    async def notify(self, method: str, params: dict[str, Json]) -> None:
        """Send a notification."""
        await self.send(encode(Notification(method, params)))


Handler = Callable[[Client, Request], Awaitable[bytes]]


class Server:
    """Listens on a UNIX socket; `handle` answers a request with a whole line."""

    def __init__(
        self, path: str, handle: Handler, bug: Callable[[str, BaseException], None]
    ) -> None:
        self._path = path
        self._handle = handle
        self._bug = bug
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], Client] = {}
        self._inode = 0

    async def start(self) -> None:
        """Begin to answer; raise `Permanent` if the socket cannot be had."""
        listener = self._listen()
        self._server = await asyncio.start_unix_server(
            self._accepted, sock=listener, backlog=MAX_CLIENTS
        )

    async def stop(self) -> None:
        """Answer no more: close every connection and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        if self._clients:
            await asyncio.wait(list(self._clients), timeout=2)
        with suppress(OSError):
            # Only ours: another daemon may have put its own there.
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)

    def _listen(self) -> socket.socket:
        length = len(os.fsencode(self._path))
        if length > MAX_PATH:
            raise Permanent(
                f"cannot listen on {self._path}: it has {length} bytes, and the path of a socket "
                f"at most {MAX_PATH}; name a shorter one with --socket"
            )
        files.make_dirs(os.path.dirname(self._path))
        _remove_stale(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)  # narrow from birth; widened when its group is set
        try:
            listener.bind(self._path)
        except OSError as err:
            listener.close()
            raise Permanent(
                f"cannot listen on {self._path}: {err.strerror or err}; name another with --socket"
            ) from err
        finally:
            os.umask(before)
        with suppress(KeyError, PermissionError):
            os.chown(self._path, -1, grp.getgrnam(SOCKET_GROUP).gr_gid)
        os.chmod(self._path, SOCKET_MODE)
        self._inode = os.stat(self._path).st_ino
        listener.listen(MAX_CLIENTS)
        return listener

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        client = _client(writer)
        try:
            if self._full(client):
                text = "too many clients at once; try again in a moment"
                await client.send(encode(Response(None, error=WireError(Code.LIMIT, text))))
                return
            self._clients[task] = client
            await client.send(encode(hello(__version__)))
            await self._serve(reader, client)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # it went away, or we do
        finally:
            self._clients.pop(task, None)
            writer.close()

    def _full(self, client: Client) -> bool:
        if len(self._clients) >= MAX_CLIENTS:
            return True
        others = Counter(other.may_change for other in self._clients.values())[False]
        return not client.may_change and others >= MAX_CLIENTS_OF_OTHERS

    async def _serve(self, reader: asyncio.StreamReader, client: Client) -> None:
        frames = FrameReader()
        allowance = _Allowance()
        under_way: set[asyncio.Task[None]] = set()
        try:
            while True:
                data = await self._read(reader, under_way)
                if not data:
                    break
                try:
                    lines = frames.feed(data)
                except WireError as err:
                    await client.send(encode(err.response()))
                    return
                for line in lines:
                    await allowance.take()
                    while len(under_way) >= PARALLEL:
                        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    task = asyncio.get_running_loop().create_task(self._answer(client, line))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
            # It has said all; it may still listen for what it asked.
            client.hung_up.set()
            if under_way:
                await asyncio.wait(under_way)
        finally:
            for task in under_way:
                task.cancel()

    async def _read(
        self, reader: asyncio.StreamReader, under_way: set[asyncio.Task[None]]
    ) -> bytes:
        """Return what arrives next, b"" at the end or when the client was idle for too long."""
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    return await reader.read(SLICE)
            except TimeoutError:
                if not under_way:
                    return b""

    async def _answer(self, client: Client, line: bytes) -> None:
        with suppress(OSError, TimeoutError):
            await client.send(await self._reply(client, line))

    async def _reply(self, client: Client, line: bytes) -> bytes:
        ident = None
        try:
            message = parse_message(line)
            if not isinstance(message, Request):
                raise WireError(
                    Code.INVALID_REQUEST, "only requests are served: a method and an id"
                )
            ident = message.id
            return await self._handle(client, message)
        except WireError as err:
            if err.id is None:
                err.id = ident
            return encode(err.response())
        except (OSError, TimeoutError, asyncio.CancelledError):
            raise
        except Exception as err:
            self._bug("a request met an error of sslmd's own", err)
            text = "an error of sslmd's own; its journal has the traceback"
            return encode(Response(ident, error=WireError(Code.INTERNAL_ERROR, text)))


class _Allowance:
    """A token bucket: a client that asks too fast is made to wait, not refused."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._since = asyncio.get_running_loop().time()

    async def take(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(BURST, self._tokens + (now - self._since) * RATE)
        self._since = now
        if self._tokens < 1:
            await asyncio.sleep((1 - self._tokens) / RATE)
        self._tokens -= 1


def _client(writer: asyncio.StreamWriter) -> Client:
    peer = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    return Client(uid, pid, uid in (0, os.geteuid()), writer)


def _remove_stale(path: str) -> None:
    """Remove the socket of a daemon that was killed; refuse one that still answers."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as err:
        raise files.trouble(err, "listen on", path) from err
    if not stat.S_ISSOCK(mode):
        # Connecting to a file is refused as to a dead socket: it would be removed as one.
        raise Permanent(
            f"{path} is in the way and no socket; move it away, or name another with --socket"
        )
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except OSError as err:
        raise Permanent(
            f"{path} is in the way: {err.strerror or err}; remove it, or name another with --socket"
        ) from err
    finally:
        probe.close()
    raise Permanent(
        f"another sslmd answers on {path}; stop that one, or name another socket with --socket"
    )
