"""The socket: connections and permissions; what is asked goes to `methods`.

A bad client costs nothing but what its user may have (`limits`): connections, requests, time and
memory are bounded for each user and for all others together, and root is never behind them (I9).
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sslmd import __version__
from sslmd.core.reason import Reason, Said, on_wire
from sslmd.core.told import Denied
from sslmd.daemon.api import limits
from sslmd.daemon.api.listening import listen
from sslmd.daemon.api.users import User, Users, denied
from sslmd.wire.framing import FrameReader
from sslmd.wire.messages import (
    ErrorCode,
    Json,
    Notification,
    RpcRequest,
    WireError,
    encode_plain,
    hello,
    parse_request,
)

_UCRED = struct.Struct("3i")

# No connection can be taken in for the moment, and the next moment would be no better.
_NO_MORE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(slots=True, eq=False)
class Client:
    """One connection; of whom, says SO_PEERCRED (unix(7)).

    `pid` is who connected; by now it may be another program, and 0 is one that our process
    namespace does not have. `hung_up`: it says nothing more. `unread`: bytes of its requests that
    are counted as `incoming` of its user.
    """

    uid: int
    pid: int
    user: User
    line: socket.socket
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    unread: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, *pieces: bytes) -> None:
        """Send one message; raises OSError or TimeoutError when the client is no good."""
        loop, writable = asyncio.get_running_loop(), asyncio.Event()
        with self.user.holding(pieces):
            async with self._lock, asyncio.timeout(limits.STALLED):
                for piece in pieces:
                    data = memoryview(piece)
                    while data:
                        await self.user.turn()
                        try:
                            data = data[self.line.send(data[: limits.SLICE]) :]
                        except BlockingIOError:
                            writable.clear()
                            loop.add_writer(self.line, writable.set)
                            try:
                                await writable.wait()
                            finally:
                                loop.remove_writer(self.line)

    async def receive(self, seconds: float | None) -> bytes:
        """Return what arrives, b"" at the end; raises TimeoutError, OSError."""
        self.check_there()
        await self.user.turn()
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().sock_recv(self.line, limits.SLICE)

    async def notify(self, method: str, params: dict[str, Json]) -> None:
        """Send a notification."""
        await self.send(encode_plain(Notification(method, params)))

    def take_in(self, number: int) -> None:
        """Count bytes of requests (less than 0: no more); raise `WireError` at too many."""
        self.unread += number
        self.user.take_in(number)

    @property
    def may_change(self) -> bool:
        """Whether it may ask for more than to be told."""
        return self.user.free

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more: not a half of the connection is closed, but all."""
        poll = select.poll()
        poll.register(self.line, 0)
        return bool(poll.poll(0))

    def check_there(self) -> None:
        """Raise OSError for a reader that is gone: what it asked for before interests nobody.

        What an admin asked for is done.
        """
        if not self.may_change and self.gone:
            raise ConnectionResetError(errno.ECONNRESET, "the client is gone")


Handler = Callable[[Client, RpcRequest], Awaitable[Sequence[bytes]]]


class SocketServer:
    """Listens on a UNIX socket; `handle` answers a request with a whole line, in pieces."""

    def __init__(
        self, path: str, handle: Handler, bug: Callable[[str, BaseException], None]
    ) -> None:
        self._path = path
        self._handle = handle
        self._bug = bug
        self._listener: socket.socket | None = None
        self._users = Users()
        self._clients: dict[asyncio.Task[None], Client] = {}
        self._inode = 0
        self._most = self._most_of_others = 0
        self._resume: asyncio.TimerHandle | None = None
        self._starved = False

    # --- its life ---

    async def start(self) -> None:
        """Begin to answer; raise `Permanent` if the socket cannot be had."""
        handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(limits.CONNECTIONS, int(handles * limits.HANDLES))
        self._most_of_others = min(limits.CONNECTIONS_OF_OTHERS, self._most // 2)
        self._listener = listen(self._path, limits.CONNECTIONS)
        self._inode = os.stat(self._path).st_ino
        self._accept_again()

    async def stop(self) -> None:
        """Answer no more: close every connection and remove the socket."""
        if self._listener is None:
            return
        self._pause(None)
        self._listener.close()
        self._listener = None
        for task in list(self._clients):
            task.cancel()
        if self._clients:
            await asyncio.wait(list(self._clients), timeout=2)
        with suppress(OSError):
            # Only ours: another daemon may have put its own there.
            if self.is_in_place():
                os.unlink(self._path)

    def is_in_place(self) -> bool:
        """Whether clients that look for the socket find ours; raises OSError for none at all."""
        return os.stat(self._path).st_ino == self._inode

    def inside(self) -> socket.socket:
        """Return a connection for the daemon itself, past every queue and limit; no greeting."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        client = Client(os.geteuid(), os.getpid(), self._users.own, theirs)
        theirs.settimeout(0)
        self._begin(client, idle=None)
        return ours

    # --- connections ---

    def _accept_again(self) -> None:
        if self._listener is not None:
            self._resume = None
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _pause(self, seconds: float | None) -> None:
        """Take in nobody for a while; None: nobody any more."""
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
        if self._resume is not None:
            self._resume.cancel()
        self._resume = None if seconds is None else loop.call_later(seconds, self._accept_again)

    def _accept(self) -> None:
        """Take in those who wait, some at a time: what else is to be done is done in between."""
        assert self._listener is not None
        for _ in range(limits.ACCEPTED):
            try:
                line, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as err:
                # It stays readable: without a pause this would be tried without end.
                self._pause(limits.ACCEPT_RETRY)
                if not self._starved or err.errno not in _NO_MORE:
                    self._bug(f"cannot take in clients: {err.strerror or err}; it goes on", err)
                self._starved = True
                return
            self._starved = False
            began = time.thread_time()
            user = self._take(line)
            user.spend(time.thread_time() - began)
        if self._users.others.costs.share.level < 0:
            self._pause(limits.ACCEPT_PAUSE)

    def _take(self, line: socket.socket) -> User:
        line.settimeout(0)
        raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, _ = _UCRED.unpack(raw)
        user = self._users.of(uid)
        if problem := self._users.problem(user, self._most, self._most_of_others):
            with suppress(OSError):
                line.send(encode_plain(denied(problem, ErrorCode.LIMIT).response()))
            line.close()
            return user
        if not user.free:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SOCKET_BUFFER)
        with suppress(OSError):  # it is gone already: seen when it is read
            line.send(encode_plain(hello(__version__)))
        self._begin(Client(uid, pid, user, line))
        return user

    def _begin(self, client: Client, idle: float | None = limits.IDLE) -> None:
        self._users.count(client.user, 1)
        task = _begun(client.user, self._converse(client, idle))
        self._clients[task] = client
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        client = self._clients.pop(task)
        self._users.count(client.user, -1)
        client.take_in(-client.unread)
        client.line.close()
        if not task.cancelled() and (err := task.exception()):
            self._bug("a connection met an error of sslmd's own", err)

    async def _converse(self, client: Client, idle: float | None) -> None:
        under_way: set[asyncio.Task[None]] = set()
        try:
            await self._serve(client, under_way, idle)
            # It has said all; it may still listen for what it asked.
            client.hung_up.set()
            while under_way:
                client.check_there()
                await asyncio.wait(under_way, timeout=limits.STILL_THERE)
        except WireError as err:
            with suppress(OSError, TimeoutError):
                await client.send(encode_plain(_coded(err).response()))
        except (OSError, TimeoutError):
            pass  # it went away
        finally:
            for task in under_way:
                task.cancel()
            while under_way:  # to the end: the socket is closed after that, and not under them
                await asyncio.wait(under_way)

    async def _serve(
        self, client: Client, under_way: set[asyncio.Task[None]], idle: float | None
    ) -> None:
        """Take requests until the client says nothing more; raises what ends the connection."""
        frames = FrameReader()
        loop = asyncio.get_running_loop()
        since = loop.time()
        while True:
            data = await _read(client, frames, under_way, since, idle)
            if not data:
                return
            client.take_in(len(data))
            begun = frames.pending
            lines = frames.feed(data)
            if lines or not begun:
                since = loop.time()
            for line in lines:
                while len(under_way) >= limits.PARALLEL:
                    await asyncio.wait(
                        under_way,
                        timeout=limits.STILL_THERE,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    client.check_there()
                task = _begun(client.user, self._answer(client, line))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    # --- requests ---

    async def _answer(self, client: Client, line: bytes) -> None:
        async with client.user.place():
            with suppress(OSError, TimeoutError):
                client.check_there()
                await client.user.turn()
                await client.send(*await self._reply(client, line))

    async def _reply(self, client: Client, line: bytes) -> Sequence[bytes]:
        ident = None
        client.take_in(-min(len(line) + 1, client.unread))
        try:
            client.user.check_room()
            message = parse_request(line, longest_id=limits.ID, brackets=limits.BRACKETS)
            ident = message.id
            return await self._handle(client, message)
        except WireError as err:
            if err.id is None:
                err.id = ident
            return (encode_plain(_coded(err).response()),)
        except (OSError, TimeoutError, asyncio.CancelledError):
            raise
        except Exception as err:
            self._bug("a request met an error of sslmd's own", err)
            error = denied(Reason(Denied.INTERNAL), ErrorCode.INTERNAL_ERROR)
            error.id = ident
            return (encode_plain(error.response()),)


def _coded(err: WireError) -> WireError:
    """Return a refusal with the code of its reason: what reads messages has none."""
    if not err.data:
        err.data = dict(on_wire(Reason(Denied.BAD_MESSAGE, said=Said(err.text))))
    return err


def _begun(user: User, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    async def run() -> None:
        await user.metered(work)

    task = asyncio.get_running_loop().create_task(run())
    # One that is cancelled before its first step has not begun with the work: Python warns of that.
    task.add_done_callback(lambda _: work.close())
    return task


async def _read(
    client: Client,
    frames: FrameReader,
    under_way: set[asyncio.Task[None]],
    since: float,
    idle: float | None,
) -> bytes:
    """Return what arrives next, b"" at the end or when the client was idle for too long.

    `since`: when the request began that is not complete. Raises `WireError` if that is long ago.
    """
    loop = asyncio.get_running_loop()
    while True:
        left = since + limits.UNFINISHED - loop.time() if frames.pending else idle
        try:
            return await client.receive(left)
        except TimeoutError:
            if frames.pending:
                why = Reason(Denied.UNFINISHED, seconds=limits.UNFINISHED)
                raise denied(why, ErrorCode.LIMIT) from None
            if not under_way:
                return b""
