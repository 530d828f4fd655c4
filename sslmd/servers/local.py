"""Which hosts are this machine (design, section 6)."""

from __future__ import annotations

import ipaddress
import socket


def is_local(host: str) -> bool:
    """Whether `host` is this machine: its names, loopback, or only addresses of its own.

    May ask the resolver and so take seconds: call it off the event loop. A name that does
    not resolve is not local.
    """
    name = host.lower().rstrip(".")
    if name in _own_names():
        return True
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    addresses = {str(info[4][0]) for info in found}
    return bool(addresses) and all(map(_is_own_address, addresses))


def _own_names() -> set[str]:
    own = socket.gethostname().lower()
    return {"localhost", "localhost.localdomain", own, own.partition(".")[0]}


def _is_own_address(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # The kernel lets only an address of this machine be bound; nothing is sent.
            probe.bind((text, 0))
        except OSError:
            return False
    return True
