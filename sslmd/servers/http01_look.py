"""Challenges of http-01, fetched back as a CA does, before it is asked to.

The network process fetches (`net.http_look`); the names that redirects lead to are looked up here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from sslmd.core.errors import Transient
from sslmd.core.seen import AtPort
from sslmd.net.dns_messages import LOOK_UP, Host
from sslmd.net.link import Asker, NetGone
from sslmd.net.probe_messages import (
    CHALLENGE_LOOK,
    SITE_LOOK,
    TIMEOUT,
    LedTo,
    LookAtChallenge,
    LookAtSite,
    LookEnd,
    NotShown,
    Shown,
)

# Addresses of a name that are looked at, and looks of one order at a time: each has a socket open.
MOST_OF_NAME = 16
LOOKS = 256

# Seconds for the network process to tell that the time of a look is over.
LATE = 5.0

HTTP, HTTPS = 80, 443

Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def by_system(net: Asker, name: str) -> Sequence[str]:
    """Return the addresses of a name as programs here see them."""
    return (await net.call(LOOK_UP, Host(name))).addresses


async def fetch_back(
    net: Asker,
    host: str,
    addresses: Sequence[str],
    port: int,
    token: str,
    content: str,
    *,
    seconds: float = TIMEOUT,
    ports: Collection[int] = (HTTP, HTTPS),
    resolve: Resolve | None = None,
    turn: asyncio.Semaphore | None = None,
) -> list[NotShown]:
    """Fetch a challenge of `host` from all of its addresses; return those that do not show it.

    `port` is 80 for a CA, and `ports` are those to which it follows redirects beside; no address
    has longer than `seconds`. White space after the content does not count (RFC 8555 §8.3).
    `resolve` gives the addresses of hosts that redirects lead to, by default as the system does;
    `turn` bounds looks at a time.
    """
    at = "" if port == HTTP else f":{port}"
    asked = LookAtChallenge(
        host=host.lower(),
        address="",
        url=f"http://{_bracketed(host)}{at}/.well-known/acme-challenge/{token}",
        content=content,
        own=tuple(addresses),
        ports=tuple(sorted({port, *ports})),
        seconds=seconds,
        left=seconds,
    )
    resolve = resolve or partial(by_system, net)
    turn = turn or asyncio.Semaphore(LOOKS)
    looks = [_look(net, replace(asked, address=one), resolve, turn) for one in addresses]
    return [found for found in await asyncio.gather(*looks) if found is not None]


async def _look(
    net: Asker, asked: LookAtChallenge, resolve: Resolve, turn: asyncio.Semaphore
) -> NotShown | None:
    led, is_asked = "", False
    loop = asyncio.get_running_loop()
    try:
        async with turn:
            end = loop.time() + asked.seconds
            while True:
                now, is_asked = loop.time(), True
                async with asyncio.timeout_at(end + LATE):
                    seen = await net.call(CHALLENGE_LOOK, replace(asked, left=max(end - now, 0.0)))
                if not isinstance(seen, LedTo):
                    break
                led, is_asked = seen.led, False
                async with asyncio.timeout_at(end):
                    found = await _addresses(resolve, seen.name)
                asked = replace(asked, url=seen.url, redirects=seen.redirects, led_to=tuple(found))
    except TimeoutError:
        if is_asked:
            return _untried(asked, led, AtPort.NET_SILENT)
        late = LookEnd(AtPort.CONNECTS_LATE, number=asked.seconds)
        return NotShown(asked.address, late, out_of_reach=True, led=led)
    except NetGone:
        return _untried(asked, led, AtPort.NET_GONE)
    return None if isinstance(seen, Shown) else replace(seen, address=asked.address)


def _untried(asked: LookAtChallenge, led: str, why: AtPort) -> NotShown:
    return NotShown(asked.address, LookEnd(why), untried=True, led=led)


async def _addresses(resolve: Resolve, name: str) -> Sequence[str]:
    try:
        return list(dict.fromkeys(await resolve(name)))
    except NetGone:
        raise
    except (Transient, OSError, ValueError):  # a ValueError is a name that cannot be one
        return ()


async def same_for_any(
    net: Asker, host: str, address: str, port: int, stranger: str, *, seconds: float = TIMEOUT
) -> bool:
    """Whether a server answers `host` as it answers a name that it cannot know, `stranger`.

    Then it is probably its default site that answers. False where that cannot be found out.
    """
    at = "" if port == HTTP else f":{port}"
    urls = tuple(f"http://{_bracketed(name)}{at}/" for name in (host, stranger))
    try:
        async with asyncio.timeout(seconds + LATE):
            return (await net.call(SITE_LOOK, LookAtSite(address, urls, seconds))).same
    except (NetGone, TimeoutError):
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
