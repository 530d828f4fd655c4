"""Which hosts are this machine: `servers` in docs/config-reference.md."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sslmd.config.model import Config, hosts_of
from sslmd.core.names import machine_of
from sslmd.net.dns_messages import LOOK_UP, Host
from sslmd.net.link import Asker, NetGone

LOOPBACK = ("127.0.0.1", "::1")
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})

# Any port will do to ask the kernel for a route.
_DISCARD = 9

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
        found = socket.getaddrinfo(_asked(host), None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    return _are_own([str(where[0]) for *_, where in found])


def _asked(host: str) -> str:
    return host.lower().rstrip(".")


class Locality:
    """Remembers for a while which hosts are this machine; asks about each one at a time."""

    KEPT = 60.0  # seconds: a machine's addresses change, and nobody tells us
    PATIENCE = 15.0

    def __init__(self, net: Asker) -> None:
        self._net = net
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
            found = asyncio.ensure_future(self._looked_up(bare))
            self._known[bare] = (time.monotonic(), found)
        try:
            async with asyncio.timeout(self.PATIENCE):
                return await asyncio.shield(found)
        except TimeoutError:
            return None

    async def _looked_up(self, bare: str) -> bool | None:
        if is_own_name(bare):
            return True
        try:
            answer = await self._net.call(LOOK_UP, Host(_asked(bare)))
        except NetGone:
            return None
        return _are_own(answer.addresses) if answer.addresses else None

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


def _are_own(addresses: Sequence[str]) -> bool:
    return bool(addresses) and all(map(_is_own_address, addresses))


def _is_own_address(text: str) -> bool:
    try:
        address = _address(text)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    if address.version == 4:
        return _speaks_from(socket.AF_INET, (text, _DISCARD), address)
    # One that is good on one link alone counts on any (RFC 4007 §6).
    links = [number for number, _ in socket.if_nameindex()] if address.is_link_local else [0]
    bare = str(address)
    return any(_speaks_from(socket.AF_INET6, (bare, _DISCARD, 0, one), address) for one in links)


def _speaks_from(family: int, where: tuple[Any, ...], address: _Address) -> bool:
    """Whether this machine speaks to an address from that address: so it does to itself alone.

    Nothing is sent. (What can be bound proves nothing: with net.ipv4.ip_nonlocal_bind, everything.)
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(where)
        except OSError:
            return False
        return _address(str(probe.getsockname()[0])) == address


def _address(text: str) -> _Address:
    return ipaddress.ip_address(text.partition("%")[0])
