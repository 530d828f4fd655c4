"""What ports with TLSA records serve, at every address: looked at, not judged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from sslmd.core.names import DomainName, SetName
from sslmd.core.tlsa import Material
from sslmd.pki.tlsa import material_of
from sslmd.servers.probe import Served, served_at

# Connections at a time, of one certificate's ports.
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class PortSeen:
    """One address of a port. `match`: which of the certificate's sets it serves, None: another."""

    host: DomainName
    port: int
    served: Served
    match: SetName | None = None


async def look_at_ports(
    key_kind: str,
    sets: Mapping[SetName, Material],
    endpoints: Iterable[tuple[DomainName, int]],
    addresses: Callable[[DomainName], Awaitable[tuple[str, ...]]],
) -> list[PortSeen]:
    """Connect to every address of every endpoint, side by side; never raises for what is there.

    `key_kind` is that of the certificate ("ec secp384r1"): a port may have one of each kind. The
    name sent is the TLSA base domain (RFC 7671 §5, RFC 7672 §8.1), which is the host here.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def one(host: DomainName, port: int, address: str) -> PortSeen:
        async with places:
            served = await served_at(address, port, None, host.text, key_kind)
        return PortSeen(host, port, served, _set_of(served, sets))

    found = []
    for host, port in endpoints:
        found += [one(host, port, address) for address in await addresses(host)]
    return list(await asyncio.gather(*found))


def _set_of(served: Served, sets: Mapping[SetName, Material]) -> SetName | None:
    """Return the set whose certificate is served, else one whose key is; the newest of several."""
    there = material_of(served.chain)
    if there is None:
        return None
    newest = sorted(sets, reverse=True)
    for name in newest:
        if sets[name].leaf == there.leaf:
            return name
    return next((name for name in newest if sets[name].key == there.key), None)
