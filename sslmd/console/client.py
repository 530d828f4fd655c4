"""The connection to the daemon: a blocking socket, and time limits on everything but work."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from sslmd.console.program import NOT_PERMITTED, CtlError, NoDaemon, RefusedByDaemon
from sslmd.wire.framing import MAX_ANSWER, FrameReader
from sslmd.wire.messages import (
    API,
    SOCKET_GROUP,
    ErrorCode,
    Message,
    Method,
    Notice,
    Notification,
    Response,
    RpcRequest,
    WireError,
    encode,
    parse_message,
    raw_result,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from sslmd.wire.messages import Json

# Seconds. A daemon that lives greets at once; reading and short commands take far less than
# the second, even for 10,000 certificates.
HELLO_TIMEOUT = 5.0
ANSWER_TIMEOUT = 60.0


class DaemonClient:
    """One connection to the daemon, greeted and of a version that we understand.

    Raises `NoDaemon` where none answers, `CtlError` where it cannot be used.
    """

    def __init__(self, path: str, timeout: float = HELLO_TIMEOUT) -> None:
        self.path = path
        self._reader = FrameReader(MAX_ANSWER)
        self._lines: deque[bytes] = deque()
        self._last_id = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            wait = _Wait(timeout)
            self._connect(wait)
            self._greet(wait)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(
        self,
        method: Method,
        params: Mapping[str, Json] | None = None,
        *,
        on_notice: Callable[[Notification], None] | None = None,
        timeout: float | None = ANSWER_TIMEOUT,
    ) -> Json:
        """Ask, hand over what comes meanwhile, and return the result.

        `timeout` in seconds, None to wait as long as the work takes. Raises `RefusedByDaemon`,
        or `NoDaemon` if it hangs up or is silent.
        """
        ident = self._send(method, params)
        wait = _Wait(timeout)
        while True:
            message = self._parse(self._next_line(wait))
            if isinstance(message, Notification):
                if on_notice:
                    on_notice(message)
            else:
                return self._result(message, ident)

    def call_raw(self, method: Method, params: Mapping[str, Json] | None = None) -> bytes:
        """Ask, and return the result's JSON as it came, without parsing it."""
        ident = self._send(method, params)
        wait = _Wait(ANSWER_TIMEOUT)
        while True:
            line = self._next_line(wait)
            raw = raw_result(line, ident)
            if raw is not None:
                return raw
            message = self._parse(line)
            if not isinstance(message, Notification):
                return encode(Response(ident, self._result(message, ident)))[:-1]

    @property
    def uid(self) -> int:
        """The user of the daemon (SO_PEERCRED: struct ucred of unix(7))."""
        peer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(peer[4:8], sys.byteorder)

    def say_no_more(self) -> None:
        """Close our half of the connection; answers still come."""
        with suppress(OSError):  # the daemon is gone
            self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Give the connection up; a call under way in another thread ends with an error."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _send(self, method: Method, params: Mapping[str, Json] | None) -> int:
        self._last_id += 1
        wait = _Wait(ANSWER_TIMEOUT)
        try:
            self._socket.settimeout(wait.left())
            self._socket.sendall(encode(RpcRequest(self._last_id, method, params)))
        except TimeoutError:
            raise self._silent(wait) from None
        except OSError:
            pass  # it hung up; what it said before (too busy) is still to be read
        return self._last_id

    def _result(self, message: Message, ident: int) -> Json:
        # A refusal without id is meant for the connection: too busy, idle for too long.
        if isinstance(message, Response) and message.error and message.id in (ident, None):
            if message.error.code == ErrorCode.NOT_PERMITTED:
                message.error.text += f" (the daemon runs as {_user(self.uid)})"
            raise RefusedByDaemon(message.error)
        if not isinstance(message, Response) or message.id != ident:
            raise CtlError(f"the answer of the daemon at {self.path} belongs to no question")
        return message.result

    def _connect(self, wait: _Wait) -> None:
        # In a full queue Linux gives places in turn to those who block (SO_SNDTIMEO, socket(7));
        # those who only look from time to time find none while others take them all.
        seconds = wait.left() or 0.0
        limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._socket.connect(self.path)
        except BlockingIOError:
            raise self._silent(wait) from None
        except OSError as err:
            with suppress(OSError):
                if not stat.S_ISSOCK(os.stat(self.path).st_mode):
                    text = f"{self.path} is no socket; name the daemon's with --socket"
                    raise NoDaemon(text) from None
            if isinstance(err, PermissionError):
                raise CtlError(self._who_may_read(), NOT_PERMITTED) from None
            plain = err.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
            why = "" if plain else f" ({err.strerror or err})"
            raise NoDaemon(
                f"no daemon answers at {self.path}{why}; start it (systemctl start sslmd) or "
                "name its socket with --socket"
            ) from None

    def _greet(self, wait: _Wait) -> None:
        try:
            message: Message | None = parse_message(self._next_line(wait))
        except WireError:
            message = None
        if isinstance(message, Response) and message.error:
            raise RefusedByDaemon(message.error)
        params: Json = None
        if isinstance(message, Notification) and message.method == Notice.HELLO:
            params = message.params
        if params is None or params.get("daemon") != "sslmd":
            raise NoDaemon(
                f"what answers at {self.path} is not sslmd; name the daemon's socket with --socket"
            )
        if params.get("api") != API:
            raise CtlError(
                f"sslmd {params.get('version')} at {self.path} speaks version "
                f"{params.get('api')} of the socket's language, this sslmctl version {API}; use "
                "the sslmctl that came with the daemon, or restart sslmd after an upgrade"
            )

    def _next_line(self, wait: _Wait) -> bytes:
        while not self._lines:
            try:
                self._socket.settimeout(wait.left())
                data = self._socket.recv(1 << 18)
            except TimeoutError:
                raise self._silent(wait) from None
            except OSError:
                data = b""
            if not data:
                raise NoDaemon(
                    f"the daemon at {self.path} hung up before it had answered; look at its "
                    "log (journalctl -u sslmd)"
                )
            try:
                self._lines.extend(self._reader.feed(data))
            except WireError as err:
                raise CtlError(f"the answer of the daemon at {self.path}: {err.text}") from None
        return self._lines.popleft()

    def _parse(self, line: bytes) -> Message:
        try:
            return parse_message(line)
        except WireError as err:
            raise CtlError(
                f"the answer of the daemon at {self.path} cannot be read: {err.text}"
            ) from None

    def _silent(self, wait: _Wait) -> NoDaemon:
        return NoDaemon(
            f"the daemon at {self.path} does not answer (for {wait.seconds or 0:.0f} s); look at "
            "its log (journalctl -u sslmd)"
        )

    def _who_may_read(self) -> str:
        """Tell who may use the socket, as it lies on disk."""
        there = None
        # Where the socket cannot be seen, it is its directory that keeps people out.
        for path in (self.path, os.path.dirname(self.path) or "."):
            try:
                there = os.stat(path)
                break
            except OSError:
                continue
        who, group = "root", SOCKET_GROUP
        if there is not None:
            import grp  # only for errors

            who = " or ".join(dict.fromkeys((who, _user(there.st_uid))))
            group = "root"
            if there.st_mode & 0o070:
                group = str(there.st_gid)
                with suppress(KeyError):
                    group = grp.getgrgid(there.st_gid).gr_name
        if group == "root":
            return f"not permitted to use {self.path}: that needs {who}"
        return (
            f"not permitted to use {self.path}: that needs {who} or the group {group} "
            f"(usermod -aG {group} USER, then log in again)"
        )


def _user(uid: int) -> str:
    import pwd  # only for errors

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


class _Wait:
    """A time limit in seconds that began when this was made; None has no end."""

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Return the seconds left; raise TimeoutError when there are none."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
