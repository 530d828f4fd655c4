"""Which hosts are this machine (design, section 6)."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

LOOPBACK = ("127.0.0.1", "::1")
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})

# Any port will do to ask the kernel for a route.
_DISCARD = 9


def is_loopback(host: str) -> bool:
    """Whether `host` names the addresses of `LOOPBACK`, whatever DNS may say (RFC 6761 §6.3)."""
    return host.lower().rstrip(".") in _LOOPBACK_NAMES


def is_local(host: str) -> bool:
    """Whether `host` is this machine: its names, loopback, or only addresses of its own.

    May ask the resolver and so take seconds: call it off the event loop. A name that does
    not resolve is not local.
    """
    name = host.lower().rstrip(".")
    if name in _own_names():
        return True
    try:
        found = socket.getaddrinfo(name, _DISCARD, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_own_address(family, where) for family, *_, where in found)


def _own_names() -> set[str]:
    own = socket.gethostname().lower()
    return {*_LOOPBACK_NAMES, own, own.partition(".")[0]}


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
