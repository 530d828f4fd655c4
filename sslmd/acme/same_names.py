"""Orders for exactly the same names of one account go one after the other.

A CA may give one order to two who ask for the same names, as Let's Encrypt does while it waits for
its challenges (boulder, `ra.go`: `GetOrderForNames`). Only one certificate comes of it, for the key
of who finalized it first: a certificate for a server's EC key and one for its RSA key would get in
each other's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sslmd.core.names import CertId

# Directory, home of the account, set of names (`core.limits.names_mark`).
SameKey = tuple[str, str, str]


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    who: list[CertId] = field(default_factory=list)


class SameNames:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._lines: dict[SameKey, _Line] = {}

    @asynccontextmanager
    async def turn(
        self, key: SameKey, cert: CertId, waits: Callable[[CertId], None]
    ) -> AsyncIterator[None]:
        """Let in one at a time; `waits` hears for whom a certificate waits."""
        line = self._lines.setdefault(key, _Line())
        if line.who:
            waits(line.who[0])
        line.who.append(cert)
        try:
            async with line.lock:
                yield
        finally:
            line.who.remove(cert)
            if not line.who:
                del self._lines[key]
