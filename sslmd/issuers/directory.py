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
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sslmd import __version__
from sslmd.core.errors import Permanent, Transient
from sslmd.issuers.retry_after import retry_at

# Seconds for every step, and for all of the content; bytes: a directory has 1 kB.
TIMEOUT = 20.0
MAX_BYTES = 256 << 10
MOST_REDIRECTS = 5

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
    return await in_thread(lambda: parse(_get(url, root, seconds), url))


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
    return tuple(one for one in value if isinstance(one, str) and one and one.isprintable())


def _no_directory(url: str, why: str = "") -> Permanent:
    return Permanent(f"{url} is no ACME directory{why}; correct ca_server (or ca_test_server)")


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


def _get(url: str, root: Path | None, seconds: float) -> bytes:
    try:
        context = ssl.create_default_context(cafile=str(root) if root else None)
    except OSError as err:  # an SSLError is one
        reason = err.reason if isinstance(err, ssl.SSLError) else err.strerror
        raise Permanent(
            f"{root} cannot be used to trust the CA at {url}: {reason}; correct ca_server_root (or "
            "ca_test_server_root)"
        ) from None
    request = urllib.request.Request(  # noqa: S310  (the schema lets only http and https pass)
        url, headers={"User-Agent": f"sslmd/{__version__}", "Accept": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirects())
    try:
        with opener.open(request, timeout=seconds) as answer:
            content = _read(answer, time.monotonic() + seconds)
    except urllib.error.HTTPError as err:
        with err:
            raise _refused(url, err) from None
    except (OSError, ValueError, http.client.HTTPException) as err:
        raise Transient(f"the CA at {url} cannot be reached: {_reason(err, seconds)}") from None
    if len(content) > MAX_BYTES:
        raise _no_directory(url, f": it has more than {MAX_BYTES} bytes")
    return content


def _read(answer: http.client.HTTPResponse, end: float) -> bytes:
    """Read what is sent, with one byte more than it may have; a trickle ends in time."""
    content = b""
    while len(content) <= MAX_BYTES and (piece := answer.read1(MAX_BYTES + 1 - len(content))):
        content += piece
        if time.monotonic() > end:
            raise TimeoutError
    return content


def _refused(url: str, err: urllib.error.HTTPError) -> Transient | Permanent:
    try:
        phrase = f" {HTTPStatus(err.code).phrase}"
    except ValueError:
        phrase = ""
    text = f"the CA at {url} answers {err.code}{phrase}"
    if HTTPStatus.MULTIPLE_CHOICES <= err.code < HTTPStatus.BAD_REQUEST:
        return Transient(f"{text} again and again, or leads nowhere")
    if err.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return Permanent(f"{text}: that is not where its directory is; correct ca_server")
    return Transient(text, retry_at=retry_at(err.headers.get("Retry-After"), datetime.now(UTC)))


def _reason(err: Exception, seconds: float) -> str:
    """Return why, in plain words."""
    cause = err.reason if isinstance(err, urllib.error.URLError) else err
    if isinstance(cause, ssl.SSLCertVerificationError):
        remedy = "; name the root of a private CA with ca_server_root"
        way_out = remedy if cause.verify_code in _UNKNOWN_ROOT else ""
        return f"its certificate is not trusted ({cause.verify_message}){way_out}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason})"
    if isinstance(cause, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(cause, socket.gaierror):
        return f"its name cannot be resolved ({cause.strerror})"
    if isinstance(cause, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "it closed the connection before its answer was whole"
    if isinstance(cause, http.client.HTTPException):
        return "it does not answer in HTTP"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return str(cause)
