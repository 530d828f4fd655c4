"""Whether a challenge of http-01 shows, asked for as a CA will (RFC 8555 §8.3).

From every address of a name, by plain HTTP, certificates not looked at. Redirects are followed
where public CAs follow them, and nowhere else: to 301, 302, 307 and 308, to http and https, to the
ports 80 and 443, to names (CA/Browser Forum, Baseline Requirements 3.2.2.4.19; Let's Encrypt's
rules at https://letsencrypt.org/docs/challenge-types/). What servers send is bounded in size and
time.

We stand inside a network that a CA does not see. So a redirect leads to public addresses alone, and
to those that the name itself has. What is found there is not told, and neither is the path of a
redirect: only the length, the status, and what has the form of a key authorization.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from sslmd import __version__
from sslmd.core.addresses import is_public
from sslmd.core.names import shown
from sslmd.core.plain import plain
from sslmd.net.handshake import ANY
from sslmd.net.probe_messages import (
    MOST_PHRASE,
    MOST_URL,
    LedTo,
    LookAtChallenge,
    LookAtSite,
    NotShown,
    Shown,
    SiteSeen,
)

MOST_REDIRECTS = 10

# Addresses that are tried of a host that a redirect leads to.
MOST_ADDRESSES = 4

# Bytes. A key authorization has 87; what is longer than this is something else.
MOST_HEAD = 32 << 10
MOST_BODY = 4 << 10

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [^\r\n]*)?\r?\n")
_REDIRECTS = frozenset({301, 302, 307, 308})
# RFC 8555 §8.1, and no longer than a token that is used.
_KEY_AUTHORIZATION = re.compile(rb"[A-Za-z0-9_-]{1,256}\.[A-Za-z0-9_-]{43}")

_SAFE = "!$%&'()*+,/:;=?@~"  # in what a redirect names, as it stands there


class _WrongError(Exception):
    """What is wrong with an answer, in a phrase that goes on after "it"."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class _OutOfReachError(Exception):
    """Nobody answers, and why."""


class _LedError(Exception):
    """A redirect leads to a host whose addresses are needed."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


async def look(asked: LookAtChallenge) -> Shown | NotShown | LedTo:
    """Fetch it, until a redirect leads to a host whose addresses are not known."""
    seen = _Fetch(
        host=asked.host,
        address=asked.address,
        url=asked.url,
        ports=frozenset(asked.ports),
        own=frozenset(asked.own),
        redirects=asked.redirects,
        led_to=asked.led_to,
    )
    address = seen.address
    try:
        async with asyncio.timeout(asked.left):
            body = await _follow(seen)
        if body.rstrip() != asked.content.encode():
            raise _WrongError(f"shows something else: {_told(body)}", http.client.OK)
    except _LedError as err:
        return LedTo(err.name, seen.url, seen.redirects, _phrase(seen.via), seen.led)
    except TimeoutError:
        what = "answer" if seen.connected else "connection"
        text = f"{seen.via}: no {what} within {asked.seconds:g} s"
        return NotShown(address, _phrase(text), out_of_reach=not seen.connected, led=seen.led)
    except _OutOfReachError as err:
        return NotShown(address, _phrase(f"{seen.via}: {err}"), out_of_reach=True, led=seen.led)
    except _WrongError as err:
        return NotShown(address, _phrase(f"{seen.via} {err}"), status=err.status, led=seen.led)
    return Shown()


def _phrase(text: str) -> str:
    return plain(text, MOST_PHRASE)


@dataclass(slots=True)
class _Fetch:
    """How far a look has come: the URL it is at, and whether anything is connected there.

    `ports`: those that are followed to. `own`: all addresses of the name.
    """

    host: str
    address: str
    url: str
    ports: frozenset[int]
    own: frozenset[str] = frozenset()
    redirects: int = 0
    led_to: tuple[str, ...] | None = None
    connected: bool = False

    @property
    def via(self) -> str:
        """The address, and where it has led to."""
        led = f" (redirected to {shown(self.led, 200)})" if self.redirects else ""
        return f"{self.address}{led}"

    @property
    def led(self) -> str:
        """The server that it has led to, "" for nowhere else."""
        with suppress(ValueError):
            place = urlsplit(self.url)
            return f"{place.scheme}://{place.netloc.rpartition('@')[2]}/" if self.redirects else ""
        return "no URL"

    def go_on(self, location: str) -> None:
        """Follow a redirect."""
        if self.redirects == MOST_REDIRECTS:
            raise _WrongError(f"redirects again, the {MOST_REDIRECTS + 1}th time")
        try:
            self.url = urljoin(self.url, location)
        except ValueError:
            raise _WrongError("redirects to what is no URL") from None
        if len(self.url) > MOST_URL:
            raise _WrongError(f"leads to a URL of more than {MOST_URL >> 10} KiB")
        self.redirects += 1
        self.connected = False
        self.led_to = None
        place, port = _parts(self.url)
        if port not in self.ports:
            raise _WrongError(
                f"leads to port {port}, and CAs follow redirects to 80 and 443 only; redirect "
                "there, or not at all below /.well-known/acme-challenge/"
            )
        if place.hostname != self.host and _is_address(place.hostname or ""):
            raise _WrongError(
                "leads to an IP address, and CAs follow redirects to names only; redirect to the "
                "name, or not at all below /.well-known/acme-challenge/"
            )


async def _follow(seen: _Fetch) -> bytes:
    """Return the body in the end."""
    while True:
        place, port = _parts(seen.url)
        reader, writer = await _connect(seen, place, port)
        seen.connected = True
        try:
            writer.write(_request(place))
            status, headers = await _head(reader)
            if status == http.client.OK:
                return await _body(reader, headers)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _WrongError("closes the connection before its answer is whole") from None
        except (asyncio.LimitOverrunError, http.client.HTTPException, ValueError):
            raise _WrongError("does not answer in HTTP") from None
        except OSError as err:
            raise _WrongError(f"breaks off: {_reason(err)}") from None
        finally:
            writer.transport.abort()
        if status == http.client.SEE_OTHER:
            raise _WrongError("answers 303, which CAs do not follow; redirect with 301 or 302")
        if status not in _REDIRECTS or not headers.get("location"):
            raise _WrongError(f"answers {status}", status)
        seen.go_on(headers["location"])


async def look_at_site(asked: LookAtSite) -> SiteSeen:
    """Ask for both."""

    async def front(url: str) -> tuple[int, str, bytes]:
        place, to = _parts(url)
        name = place.hostname or ""
        seen = _Fetch(name, asked.address, url, frozenset({to}))
        reader, writer = await _connect(seen, place, to)
        try:
            writer.write(_request(place))
            status, headers = await _head(reader)
            location = headers.get("location", "").replace(name, "")
            return status, location, (await _body(reader, headers)).replace(name.encode(), b"")
        finally:
            writer.transport.abort()

    try:
        async with asyncio.timeout(asked.seconds):
            one, *others = await asyncio.gather(*map(front, asked.urls))
    except (
        _WrongError,
        _OutOfReachError,
        OSError,
        ValueError,
        EOFError,
        asyncio.LimitOverrunError,
        http.client.HTTPException,
    ):
        return SiteSeen(same=False)
    return SiteSeen(same=all(one == other for other in others))


def _parts(url: str) -> tuple[SplitResult, int]:
    """Return the parts of a URL, and the port that it leads to."""
    try:
        place = urlsplit(url)
        port = place.port
    except ValueError:
        raise _WrongError("leads to no URL") from None
    is_plain = url.isascii() and place.netloc.isprintable() and " " not in place.netloc
    if place.scheme not in ("http", "https") or not place.hostname or port == 0 or not is_plain:
        raise _WrongError("leads where no CA follows")
    default = http.client.HTTPS_PORT if place.scheme == "https" else http.client.HTTP_PORT
    return place, port or default


def _is_address(host: str) -> bool:
    """Whether a host is an IP address, in any form that a resolver takes for one."""
    for parse in (ipaddress.ip_address, socket.inet_aton):  # 127.1, 0x7f000001
        with suppress(OSError, ValueError):
            parse(host.partition("%")[0])
            return True
    return False


async def _connect(
    seen: _Fetch, place: SplitResult, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name = place.hostname
    assert name is not None
    # A CA takes any address of its name; we are looking at this one.
    addresses = [seen.address] if name == seen.host else _allowed(seen, name)
    context = None
    if place.scheme == "https":
        # RFC 8555 §8.3: where a redirect leads to HTTPS, the certificate does not count.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers(f"{ANY}:!eNULL:@SECLEVEL=0")
    failed: OSError | ValueError = OSError("it has no address")
    for address in addresses:
        try:
            return await asyncio.open_connection(
                address,
                port,
                limit=MOST_HEAD,
                ssl=context,
                server_hostname=name if context is not None else None,
            )
        except ssl.SSLError as err:
            raise _WrongError(f"does not speak TLS: {err.reason}") from None
        except (OSError, ValueError) as err:
            failed = err
    raise _OutOfReachError(_reason(failed)) from None


def _allowed(seen: _Fetch, name: str) -> list[str]:
    """Return the addresses of a host that a redirect leads to, if they may be connected to.

    These are connected to, and not the name once more: it may have other addresses the next moment.
    """
    addresses = seen.led_to
    if addresses is None:
        raise _LedError(name)
    if not addresses:
        raise _OutOfReachError("its name cannot be resolved")
    allowed = [one for one in addresses if one in seen.own or is_public(one)]
    if not allowed:
        raise _WrongError(
            "leads into a private network, where no public CA can follow; redirect to a name that "
            "has public addresses, or not at all below /.well-known/acme-challenge/"
        )
    return allowed[:MOST_ADDRESSES]


def _request(place: SplitResult) -> bytes:
    target = quote(place.path or "/", safe=_SAFE) + (
        place.query and f"?{quote(place.query, _SAFE)}"
    )
    return (
        f"GET {target} HTTP/1.1\r\nHost: {place.netloc.rpartition('@')[2]}\r\n"
        f"User-Agent: sslmd/{__version__}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


async def _head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    """Read a status and the header fields (RFC 9112); names in lower case."""
    head = await reader.readuntil(b"\r\n\r\n")
    match = _STATUS.match(head)
    if match is None:
        raise ValueError("no status line")
    fields = http.client.parse_headers(io.BytesIO(head[match.end() :]))
    return int(match[1]), {name.lower(): value for name, value in fields.items()}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """Read the beginning of a body (RFC 9112 §6), enough to tell whether it is the right one."""
    body = b""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        while len(body) < MOST_BODY and (
            size := int((await reader.readline()).partition(b";")[0], 16)
        ):
            body += await reader.readexactly(min(size, MOST_BODY))
            if size <= MOST_BODY:
                await reader.readexactly(2)
        return body
    if length := headers.get("content-length"):
        return await reader.readexactly(min(int(length), MOST_BODY))
    while len(body) < MOST_BODY and (piece := await reader.read(MOST_BODY)):
        body += piece
    return body


def _told(body: bytes) -> str:
    """Return what people may know of a body: what is in it may be nobody's business."""
    more = " or more" if len(body) >= MOST_BODY else ""
    length = f"{len(body)} bytes{more}"
    first = body.partition(b"\n")[0].strip()
    if _KEY_AUTHORIZATION.fullmatch(first):
        return f"{length} with the key authorization '{first.decode('ascii')}'"
    return f"{length} that are no key authorization"


def _reason(err: OSError | ValueError) -> str:
    """Return why, in the system's words."""
    if isinstance(err, socket.gaierror):
        return "its name cannot be resolved"
    number = err.errno if isinstance(err, OSError) else None
    return (os.strerror(number) if number else str(err)).lower()
