"""Which hosts are this machine: `servers` in docs/config-reference.md."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sslmd.config.model import Config, hosts_of
from sslmd.core.names import machine_of

LOOPBACK = ("127.0.0.1", "::1")
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})

# Any port will do to ask the kernel for a route.
_DISCARD = 9


def is_loopback(host: str) -> bool:
    """Whether `host` names the addresses of `LOOPBACK`, whatever DNS may say (RFC 6761 §6.3)."""
    return host.lower().rstrip(".") in _LOOPBACK_NAMES


def is_own_name(host: str) -> bool:
    """Whether `host` is this machine by its name alone; asks no resolver."""
    own = socket.gethostname().lower()
    return host.lower().rstrip(".") in {*_LOOPBACK_NAMES, own, own.partition(".")[0]}


def is_local(host: str) -> bool:
    """Whether `host` is this machine: its names, loopback, or only addresses of its own.

    May ask the resolver and so take seconds: call it off the event loop. A name that does
    not resolve is not local.
    """
    return bool(looked_up(host))


def hosts_here(config: Config) -> frozenset[str]:
    """Return the hosts of server classes that are this machine; blocks as `is_local`."""
    return frozenset(host for host in hosts_of(config) if is_local(machine_of(host)))


def looked_up(host: str) -> bool | None:
    """Whether `host` is this machine, as `is_local`; None if its name cannot be looked up."""
    if is_own_name(host):
        return True
    try:
        found = socket.getaddrinfo(host.lower().rstrip("."), _DISCARD, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    return bool(found) and all(_is_own_address(family, where) for family, *_, where in found)


class Locality:
    """Remembers for a while which hosts are this machine; asks about each one at a time.

    `aside` runs what blocks.
    """

    KEPT = 60.0  # seconds: a machine's addresses change, and nobody tells us
    PATIENCE = 15.0

    def __init__(
        self, aside: Callable[[Callable[[], bool | None]], Awaitable[bool | None]]
    ) -> None:
        self._aside = aside
        self._known: dict[str, tuple[float, asyncio.Future[bool | None]]] = {}

    async def is_local(self, host: str) -> bool | None:
        """Whether `host`, without the user that may stand before it, is this machine.

        None: its name cannot be looked up now, or not within `PATIENCE`.
        """
        bare = machine_of(host)
        if is_loopback(bare):
            return True
        at, found = self._known.get(bare, (0.0, None))
        if found is None or (found.done() and time.monotonic() - at > self.KEPT):
            found = asyncio.ensure_future(self._aside(lambda: looked_up(bare)))
            self._known[bare] = (time.monotonic(), found)
        try:
            async with asyncio.timeout(self.PATIENCE):
                return await asyncio.shield(found)
        except TimeoutError:
            return None

    def seems_local(self, host: str) -> bool:
        """Whether `host` was this machine when that was last asked; never waits."""
        bare = machine_of(host)
        _, found = self._known.get(bare, (0.0, None))
        if found is None or not found.done() or found.cancelled() or found.exception():
            return is_loopback(bare)
        return bool(found.result())

    async def local(self, hosts: Iterable[str]) -> dict[str, bool | None]:
        """Return of each host whether it is this machine; None where that cannot be told now."""
        some = list(dict.fromkeys(hosts))
        return dict(zip(some, await asyncio.gather(*map(self.is_local, some)), strict=True))


def _is_own_address(family: int, where: tuple[Any, ...]) -> bool:
    address = _address(where)
    if address.is_loopback:
        return True
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # To itself a machine speaks from the very address it speaks to. Nothing is sent.
            # (What can be bound proves nothing: with net.ipv4.ip_nonlocal_bind, everything.)
            probe.connect(where)
        except OSError:
            return False
        return _address(probe.getsockname()) == address


def _address(where: tuple[Any, ...]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(str(where[0]).partition("%")[0])
