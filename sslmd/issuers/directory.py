"""What an ACME server says of itself: its directory (RFC 8555 §7.1.1).

Read before certbot is started, so that a CA that cannot be reached costs nothing, and to know
under which names CAA records may allow it.
"""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from sslmd import __version__
from sslmd.core.errors import Permanent, Transient

# Seconds, and bytes: a directory has 1 kB.
TIMEOUT = 20.0
MAX_BYTES = 256 << 10

# How long a CA that is too busy is left alone at most, and at least where it names no time.
LONGEST = timedelta(days=1)

_NEEDED = ("newNonce", "newAccount", "newOrder")


@dataclass(frozen=True, slots=True)
class Directory:
    """`caa_identities` are the domains by which CAA records name the CA, () if it tells none.

    `new_order` is the URL where orders begin.
    """

    new_order: str = ""
    caa_identities: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    external_account_required: bool = False
    renewal_info: str = ""


InThread = Callable[[Callable[[], Directory]], Awaitable[Directory]]


async def fetch(url: str, root: Path | None, in_thread: InThread) -> Directory:
    """Return the directory at `url`; `root` is a PEM file of CAs to trust for its HTTPS.

    Raises `Transient` if it cannot be had now, `Permanent` if it is none.
    """
    return await in_thread(lambda: parse(_get(url, root), url))


def parse(content: bytes, url: str) -> Directory:
    """Read a directory; raise `Permanent` for what is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_is_url(found.get(name)) for name in _NEEDED):
        raise Permanent(f"{url} is no ACME directory; mend ca_server (or ca_test_server)")
    meta = found.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    profiles = meta.get("profiles")
    return Directory(
        new_order=str(found["newOrder"]),
        caa_identities=_texts(meta.get("caaIdentities")),
        profiles=tuple(profiles) if isinstance(profiles, dict) else (),
        external_account_required=meta.get("externalAccountRequired") is True,
        renewal_info=str(found["renewalInfo"]) if _is_url(found.get("renewalInfo")) else "",
    )


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _get(url: str, root: Path | None) -> bytes:
    try:
        context = ssl.create_default_context(cafile=str(root) if root else None)
    except (OSError, ssl.SSLError) as err:
        raise Permanent(f"{root} cannot be used as ca_server_root: {err}") from None
    request = urllib.request.Request(  # noqa: S310  (the schema lets only http and https pass)
        url, headers={"User-Agent": f"sslmd/{__version__}", "Accept": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:  # noqa: S310
            content: bytes = answer.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as err:
        with err:
            raise _refused(url, err) from None
    except (OSError, ValueError) as err:
        raise Transient(f"the CA at {url} cannot be reached: {_reason(err)}") from None
    if len(content) > MAX_BYTES:
        raise Permanent(f"{url} is no ACME directory: it has more than {MAX_BYTES} bytes")
    return content


def _refused(url: str, err: urllib.error.HTTPError) -> Transient | Permanent:
    text = f"the CA at {url} answers {err.code} {err.reason}"
    if err.code in (404, 410):
        return Permanent(f"{text}: that is not where its directory is; mend ca_server")
    return Transient(text, retry_at=_retry_at(err.headers.get("Retry-After")))


def _retry_at(value: str | None) -> datetime | None:
    """Read Retry-After (RFC 9110 §10.2.3): seconds, or a date."""
    now = datetime.now(UTC)
    if value is None:
        return None
    if value.strip().isdecimal():
        wait = timedelta(seconds=min(int(value), LONGEST.total_seconds()))
        return now + wait
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(when, now + LONGEST)


def _reason(err: OSError | ValueError) -> str:
    cause = getattr(err, "reason", err)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}); name the root of a private "
            "CA with ca_server_root"
        )
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    if isinstance(cause, socket.gaierror):
        return f"its name cannot be resolved ({cause.strerror})"
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    return str(cause)
