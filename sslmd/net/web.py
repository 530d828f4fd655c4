"""HTTP with anybody: one request, bounded in time as a whole and in bytes.

urllib3 does the work, in threads: its own limits of time begin again with every byte, and a server
that sends one now and then would be read for ever. So each request has an end, at which the
connections that it uses are cut. No redirect is followed: nobody signs for another place.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from sslmd import __version__

# Seconds for one request, from the look-up of the name to the last byte; for its connection alone,
# so that an address which is silent leaves time for the next.
SECONDS = 30.0
CONNECTING = 8.0

# Bytes of one answer: chains have 10 kB, several of them 40.
MOST_BYTES = 1 << 20

# Characters of one header that anybody looks at.
MOST_HEADER = 1000

# What OpenSSL says of a chain that leads to no root it knows: X509_V_ERR_…, x509_vfy.h.
_UNKNOWN_ROOT = frozenset({18, 19, 20, 21})

_AGENT = f"sslmd/{__version__}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered. Names of `headers` are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class UnreachedError(Exception):
    """There is no answer. `code` is one of `core.failed.Failed`, `said` are words of others."""

    def __init__(self, code: str, said: str = "", *, unknown_root: bool = False) -> None:
        super().__init__(f"{code} {said}")
        self.code = code
        self.said = said
        self.unknown_root = unknown_root


class Web:
    """Requests of one server, `most` at a time, on connections that are kept.

    `roots`: PEM of the CAs to trust alone, "" for those of the system. Raises `UnreachedError` for
    roots that are none.
    """

    def __init__(self, roots: str, most: int) -> None:
        try:
            context = ssl.create_default_context(cadata=roots or None)
        except (ssl.SSLError, ValueError) as err:
            raise UnreachedError("ca-root-unusable", str(getattr(err, "reason", err))) from None
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="web")
        self._options: dict[str, Any] = {"ssl_context": context, "maxsize": most, "retries": False}
        self._managers: dict[str, urllib3.PoolManager] = {}

    async def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float = SECONDS,
    ) -> Reply:
        """Return the answer, whatever its status; raises `UnreachedError`.

        `seconds` count from when it is its turn.
        """
        end = _End(seconds)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(
            self._threads, self._request, end, method, url, body, dict(headers or {})
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            end.cut()  # nobody waits any more: its thread is let go
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def close(self) -> None:
        """Let go of all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for manager in self._managers.values():
            manager.clear()

    def _request(
        self, end: _End, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> Reply:
        end.begin()
        try:
            answer = self._manager(url).request(
                method,
                url,
                body=body,
                headers={"User-Agent": _AGENT, **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=min(CONNECTING, end.seconds), read=end.seconds),
            )
            try:
                content = answer.read(MOST_BYTES + 1, decode_content=False)
                if len(content) > MOST_BYTES:  # the rest is nobody's next answer
                    answer.close()
            finally:
                answer.release_conn()
            if end.is_over:  # what was cut may look whole
                raise TimeoutError
        except (exceptions.HTTPError, OSError, ValueError) as err:
            raise _unreached(TimeoutError() if end.is_over else err, end.seconds) from None
        finally:
            end.close()
        if len(content) > MOST_BYTES:
            raise UnreachedError("too-long", str(MOST_BYTES))
        # What came in several lines is one list (RFC 9110 §5.3): `Link` does.
        found = {name: answer.headers[name] for name in answer.headers}
        kept = {name.lower()[:100]: value[:MOST_HEADER] for name, value in found.items()}
        return Reply(url, answer.status, kept, content)

    def _manager(self, url: str) -> urllib3.PoolManager:
        """Return the pool for an address, by the proxy that the environment names for it."""
        parts = urlsplit(url)
        proxy = "" if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme, "")
        if (manager := self._managers.get(proxy)) is None:
            if proxy:
                manager = urllib3.ProxyManager(proxy, **self._options)
            else:
                manager = urllib3.PoolManager(**self._options)
            manager.pool_classes_by_scheme = {"http": _Plain, "https": _Secure}
            self._managers[proxy] = manager
        return manager


class _End:
    """The end of one request: whatever is under way then is cut."""

    _of_thread = threading.local()

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = float("inf")
        self._cut = False
        self._lines: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def is_over(self) -> bool:
        return self._cut or time.monotonic() >= self._at

    def begin(self) -> None:
        """Count from now on, for what this thread does."""
        self._at = time.monotonic() + self.seconds
        self._of_thread.end = self
        self._timer = threading.Timer(self.seconds, self.cut)
        self._timer.daemon = True
        self._timer.start()

    @classmethod
    def keep(cls, line: socket.socket) -> None:
        """Keep a handle of our own of a connection of this thread: TLS takes the other away."""
        end: _End | None = getattr(cls._of_thread, "end", None)
        if end is None:
            return
        with end._lock:
            if end.is_over:
                raise TimeoutError
            # (A socket of TLS has no `dup`.)
            end._lines.append(socket.socket(fileno=os.dup(line.fileno())))

    def cut(self) -> None:
        with self._lock:
            self._cut = True
            for line in self._lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._of_thread.end = None
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            for line in self._lines:
                line.close()
            self._lines.clear()


def _kept(connect: Callable[[Any], socket.socket]) -> Callable[[Any], socket.socket]:
    def connected(self: Any) -> socket.socket:
        line = connect(self)
        _End.keep(line)
        return line

    return connected


class _PlainConnection(HTTPConnection):
    """Whose connections end with the request that uses them."""

    _new_conn = _kept(HTTPConnection._new_conn)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # one that was kept
            _End.keep(self.sock)
        super().putrequest(*args, **kwargs)


class _SecureConnection(HTTPSConnection):
    """The same by TLS."""

    _new_conn = _kept(HTTPSConnection._new_conn)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _End.keep(self.sock)
        super().putrequest(*args, **kwargs)


class _Plain(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _Secure(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _unreached(err: Exception, seconds: float) -> UnreachedError:
    """Return why there is no answer."""
    cause = _innermost(err)
    if isinstance(cause, ssl.SSLCertVerificationError):
        is_unknown = cause.verify_code in _UNKNOWN_ROOT
        return UnreachedError("not-trusted", cause.verify_message, unknown_root=is_unknown)
    if isinstance(cause, ssl.SSLError):
        return UnreachedError("tls-failed", str(cause.reason))
    if isinstance(cause, TimeoutError | exceptions.TimeoutError):
        return UnreachedError("no-answer", f"{seconds:g}")
    if isinstance(cause, socket.gaierror):
        return UnreachedError("unresolved", cause.strerror or "")
    cut = http.client.RemoteDisconnected | http.client.IncompleteRead
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, cut):
        return UnreachedError("not-http")
    if isinstance(cause, OSError) and cause.errno:
        return UnreachedError("system", os.strerror(cause.errno))
    if isinstance(cause, exceptions.LocationValueError | ValueError):
        return UnreachedError("not-http")
    return UnreachedError("cut-short")


def _innermost(err: BaseException) -> BaseException:
    """Return what urllib3 has wrapped up."""
    for _ in range(10):
        inner = getattr(err, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((one for one in err.args if isinstance(one, BaseException)), None)
        inner = inner or err.__cause__
        if inner is None or isinstance(err, ssl.SSLError | socket.gaierror):
            return err
        err = inner
    return err
