"""The addresses of a host, as the system has them: its files, its name servers.

In threads of its own: what is asked of the C library cannot be cancelled, and takes as long as the
name servers of resolv.conf(5) like. They hold up nobody but others who look up names.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from sslmd.net.probe_messages import HostAddresses, LookUp

# Names that are looked up at a time.
AT_A_TIME = 16

# Addresses of one host.
MOST_ADDRESSES = 256

_THREADS = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="look-ups")


async def look_up(asked: LookUp) -> HostAddresses:
    """Return them."""
    loop = asyncio.get_running_loop()
    return HostAddresses(await loop.run_in_executor(_THREADS, addresses_of, asked.host))


def addresses_of(host: str) -> tuple[str, ...] | None:
    """Return the addresses of a host, None if its name cannot be looked up; blocks."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    addresses = []
    for _, _, _, _, where in found:
        zone = f"%{where[3]}" if len(where) == 4 and where[3] else ""
        addresses.append(str(where[0]).partition("%")[0] + zone)
    return tuple(dict.fromkeys(addresses))[:MOST_ADDRESSES]
