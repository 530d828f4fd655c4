"""What an ACME server says of itself: its directory (RFC 8555 §7.1.1).

Read before certbot is started, so that a CA that cannot be reached costs nothing, and to know
under which names CAA records may allow it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sslmd import __version__
from sslmd.acme.refusals import answers, retry_at
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said

# Seconds for all of it, redirects too; bytes: a directory has 1 kB.
TIMEOUT = 20.0
MAX_BYTES = 256 << 10
MOST_REDIRECTS = 5
MOST_ADDRESSES = 6

# What a directory tells in lists: so many entries of so many characters.
MOST_TEXTS = 100
MOST_TEXT = 253

_NEEDED = ("newNonce", "newAccount", "newOrder")
# What OpenSSL says of a chain that leads to no root it knows: X509_V_ERR_…, x509_vfy.h.
_UNKNOWN_ROOT = frozenset({18, 19, 20, 21})


@dataclass(frozen=True, slots=True)
class Directory:
    """`caa_identities` are the domains by which CAA records name the CA, () if it tells none.

    `new_order` is the URL where orders begin, `renewal_info` that of RFC 9773, "" without one.
    """

    new_order: str = ""
    caa_identities: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    external_account_required: bool = False
    renewal_info: str = ""


InThread = Callable[[Callable[[], Directory]], Awaitable[Directory]]


async def fetch(
    url: str, root: Path | None, in_thread: InThread, *, seconds: float = TIMEOUT
) -> Directory:
    """Return the directory at `url`; `root` is a PEM file of CAs to trust for its HTTPS.

    Raises `Transient` if it cannot be had now, `Permanent` if it is none.
    """
    return await in_thread(lambda: parse(_in_time(url, root, seconds), url))


def parse(content: bytes, url: str) -> Directory:
    """Read a directory; raise `Permanent` for what is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_is_url(found.get(name)) for name in _NEEDED):
        raise _no_directory(url)
    meta = found.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    profiles = meta.get("profiles")
    return Directory(
        new_order=found["newOrder"],
        caa_identities=_texts(meta.get("caaIdentities")),
        profiles=_texts(list(profiles)) if isinstance(profiles, dict) else (),
        external_account_required=meta.get("externalAccountRequired") is True,
        renewal_info=found["renewalInfo"] if _is_url(found.get("renewalInfo")) else "",
    )


def _is_url(value: Any) -> bool:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(parts.hostname) and " " not in value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    found = (one for one in value if isinstance(one, str) and one and one.isprintable())
    return tuple(islice((one for one in found if len(one) <= MOST_TEXT), MOST_TEXTS))


def _no_directory(url: str, most: int | None = None) -> Permanent:
    return Permanent(Reason(Failed.NO_DIRECTORY, url=url, most=most))


# --- over the net ---------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none from HTTPS to where nobody proves who he is."""

    max_redirections = MOST_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in (req.type, "https"):
            fp.close()
            raise urllib.error.URLError(f"it redirects from {req.type} to {scheme}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _TimeLeft:
    """The time that all connections of one fetch have together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._lines: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def connect(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect as `socket.create_connection` does, each address with its part of the time."""
        found = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)[:MOST_ADDRESSES]
        problem: OSError = TimeoutError()
        for number, (family, kind, protocol, _name, where) in enumerate(found):
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            line = socket.socket(family, kind, protocol)
            try:
                line.settimeout(left / (len(found) - number))
                line.connect(where)
                line.settimeout(left)
                with self._lock:  # a handle of our own: TLS takes that of `line` away
                    if self.is_over:
                        raise TimeoutError
                    self._lines.append(line.dup())
            except OSError as err:
                line.close()
                problem = err
            else:
                return line
        raise problem

    def cut(self) -> None:
        """End what is under way: whoever reads there has the end of it."""
        with self._lock:
            for line in self._lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            for line in self._lines:
                line.close()


def _in_time(url: str, root: Path | None, seconds: float) -> bytes:
    time_left = _TimeLeft(seconds)
    # A socket's own limit begins again with every byte, and a trickle would never end.
    timer = threading.Timer(seconds, time_left.cut)
    timer.daemon = True
    timer.start()
    try:
        return _get(url, root, time_left)
    finally:
        timer.cancel()
        time_left.close()


class _Web(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections that all have the same time left."""

    def __init__(self, time_left: _TimeLeft, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._time_left = time_left
        self._trust = context

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(http.client.HTTPConnection, req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(partial(http.client.HTTPSConnection, context=self._trust), req)

    def _open(
        self, kind: Callable[..., http.client.HTTPConnection], req: urllib.request.Request
    ) -> http.client.HTTPResponse:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = kind(host, **options)
            made._create_connection = self._time_left.connect  # type: ignore[attr-defined]
            return made

        return self.do_open(connection, req)


def _get(url: str, root: Path | None, time_left: _TimeLeft) -> bytes:
    try:
        context = ssl.create_default_context(cafile=str(root) if root else None)
    except OSError as err:  # an SSLError is one
        reason = err.reason if isinstance(err, ssl.SSLError) else err.strerror
        said = Said(reason)
        why = Reason(Failed.CA_ROOT_UNUSABLE, file=str(root), url=url, said=said)
        raise Permanent(why) from None
    request = urllib.request.Request(  # noqa: S310  (the schema lets only http and https pass)
        url, headers={"User-Agent": f"sslmd/{__version__}", "Accept": "application/json"}
    )
    opener = urllib.request.build_opener(_Web(time_left, context), _Redirects())
    seconds = time_left.seconds
    try:
        with opener.open(request, timeout=seconds) as answer:
            content: bytes = answer.read(MAX_BYTES + 1)
        if time_left.is_over:  # what was cut may look whole
            raise TimeoutError
    except urllib.error.HTTPError as err:
        with err:
            raise _refused(url, err) from None
    except (OSError, ValueError, http.client.HTTPException) as err:
        late = TimeoutError() if time_left.is_over else err
        raise Transient(
            Reason(Failed.CA_UNREACHABLE, url=url, why=_reason(late, seconds))
        ) from None
    if len(content) > MAX_BYTES:
        raise _no_directory(url, MAX_BYTES)
    return content


def _refused(url: str, err: urllib.error.HTTPError) -> Transient | Permanent:
    if HTTPStatus.MULTIPLE_CHOICES <= err.code < HTTPStatus.BAD_REQUEST:
        return Transient(answers(Failed.CA_REDIRECTS, url, err.code))
    if err.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return Permanent(answers(Failed.CA_NO_SUCH_PLACE, url, err.code))
    when = retry_at(err.headers.get("Retry-After"), datetime.now(UTC))
    return Transient(answers(Failed.CA_ANSWERS, url, err.code), retry_at=when)


def _reason(err: Exception, seconds: float) -> Reason | Said:
    """Return why a CA cannot be reached."""
    cause = err.reason if isinstance(err, urllib.error.URLError) else err
    if isinstance(cause, ssl.SSLCertVerificationError):
        is_unknown = cause.verify_code in _UNKNOWN_ROOT or None
        said = Said(cause.verify_message)
        return Reason(Failed.NOT_TRUSTED, said=said, unknown_root=is_unknown)
    if isinstance(cause, ssl.SSLError):
        return Reason(Failed.TLS_FAILED, said=Said(cause.reason))
    if isinstance(cause, TimeoutError):
        return Reason(Failed.NO_ANSWER, seconds=seconds)
    if isinstance(cause, socket.gaierror):
        return Reason(Failed.UNRESOLVED, said=Said(cause.strerror))
    if isinstance(cause, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return Reason(Failed.CUT_SHORT)
    if isinstance(cause, http.client.HTTPException):
        return Reason(Failed.NOT_HTTP)
    if isinstance(cause, OSError) and cause.errno:
        return Said(os.strerror(cause.errno))
    return Said(cause)
