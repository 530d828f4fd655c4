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
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from sslmd import __version__
from sslmd.core.addresses import is_public
from sslmd.core.plain import plain
from sslmd.core.seen import AtPort
from sslmd.net.handshake import ANY, system_words
from sslmd.net.probe_messages import (
    MOST_PHRASE,
    MOST_URL,
    LedTo,
    LookAtChallenge,
    LookAtSite,
    LookEnd,
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
    """What is wrong with an answer."""

    def __init__(
        self,
        code: AtPort,
        said: str = "",
        number: int | None = None,
        *,
        status: int = 0,
        long: bool = False,
    ) -> None:
        super().__init__(code, said)
        self.met = LookEnd(code, plain(said, MOST_PHRASE), number, long)
        self.status = status


class _OutOfReachError(Exception):
    """Nobody answers, and why."""

    def __init__(self, code: AtPort, said: str = "") -> None:
        super().__init__(code, said)
        self.met = LookEnd(code, plain(said, MOST_PHRASE))


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
            raise _something_else(body)
    except _LedError as err:
        return LedTo(err.name, seen.url, seen.redirects, seen.led)
    except TimeoutError:
        code = AtPort.ANSWERS_LATE if seen.connected else AtPort.CONNECTS_LATE
        late = LookEnd(code, number=asked.seconds)
        return NotShown(address, late, out_of_reach=not seen.connected, led=seen.led)
    except _OutOfReachError as err:
        return NotShown(address, err.met, out_of_reach=True, led=seen.led)
    except _WrongError as err:
        return NotShown(address, err.met, status=err.status, led=seen.led)
    return Shown()


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
    def led(self) -> str:
        """The server that it has led to, "" for nowhere else."""
        with suppress(ValueError):
            place = urlsplit(self.url)
            return f"{place.scheme}://{place.netloc.rpartition('@')[2]}/" if self.redirects else ""
        return "no URL"

    def go_on(self, location: str) -> None:
        """Follow a redirect."""
        if self.redirects == MOST_REDIRECTS:
            raise _WrongError(AtPort.REDIRECTS_ON, number=MOST_REDIRECTS)
        try:
            self.url = urljoin(self.url, location)
        except ValueError:
            raise _WrongError(AtPort.REDIRECT_ODD) from None
        if len(self.url) > MOST_URL:
            raise _WrongError(AtPort.REDIRECT_LONG, number=MOST_URL >> 10)
        self.redirects += 1
        self.connected = False
        self.led_to = None
        place, port = _parts(self.url)
        if port not in self.ports:
            raise _WrongError(AtPort.REDIRECT_PORT, number=port)
        if place.hostname != self.host and _is_address(place.hostname or ""):
            raise _WrongError(AtPort.REDIRECT_ADDRESS)


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
            raise _WrongError(AtPort.ANSWER_CUT) from None
        except (asyncio.LimitOverrunError, http.client.HTTPException, ValueError):
            raise _WrongError(AtPort.NO_HTTP) from None
        except OSError as err:
            raise _WrongError(AtPort.BREAKS_OFF, system_words(err)) from None
        finally:
            writer.transport.abort()
        if status == http.client.SEE_OTHER:
            raise _WrongError(AtPort.SEE_OTHER)
        if status not in _REDIRECTS or not headers.get("location"):
            raise _WrongError(AtPort.STATUS, number=status, status=status)
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
        raise _WrongError(AtPort.REDIRECT_ODD) from None
    is_plain = url.isascii() and place.netloc.isprintable() and " " not in place.netloc
    if place.scheme not in ("http", "https") or not place.hostname or port == 0 or not is_plain:
        raise _WrongError(AtPort.REDIRECT_NOWHERE)
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
            raise _WrongError(AtPort.WEB_NO_TLS, str(err.reason)) from None
        except (OSError, ValueError) as err:
            failed = err
    raise _OutOfReachError(AtPort.NOT_CONNECTED, system_words(failed)) from None


def _allowed(seen: _Fetch, name: str) -> list[str]:
    """Return the addresses of a host that a redirect leads to, if they may be connected to.

    These are connected to, and not the name once more: it may have other addresses the next moment.
    """
    addresses = seen.led_to
    if addresses is None:
        raise _LedError(name)
    if not addresses:
        raise _OutOfReachError(AtPort.REDIRECT_UNRESOLVED)
    allowed = [one for one in addresses if one in seen.own or is_public(one)]
    if not allowed:
        raise _WrongError(AtPort.REDIRECT_PRIVATE)
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


def _something_else(body: bytes) -> _WrongError:
    """Return what people may know of a body: what is in it may be nobody's business."""
    first = body.partition(b"\n")[0].strip()
    is_key = _KEY_AUTHORIZATION.fullmatch(first)
    return _WrongError(
        AtPort.SHOWS_KEY if is_key else AtPort.SHOWS_OTHER,
        first.decode("ascii") if is_key else "",
        len(body),
        status=http.client.OK,
        long=len(body) >= MOST_BODY,
    )
