"""Which names lead to one machine: what was just put there under one is seen under the other.

What a host says of itself (its machine-id, and the inode of its tree) only tells where to look:
clones of a template all say the same, and a host may lie. docs/decisions/2026-11-30-one-machine.md.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from contextlib import suppress

from sslmd.core.errors import SslmError
from sslmd.servers.ssh import RemoteShell, shell_on
from sslmd.workers.tools import Site

# Connections to look at a time, for one visit.
AT_ONCE = 8

# Bytes of randomness: nobody can say that they saw what they did not.
_RANDOM = 16


async def seen_as_one(shell: RemoteShell, names: Collection[str], site: Site) -> frozenset[str]:
    """Return those names that lead to the production tree of an open shell.

    One that cannot be reached now does not. Raises `SslmError` where nothing can be put there.
    """
    prod, token = str(site.config.globals.prod_cert_dir), secrets.token_hex(_RANDOM)
    turn = asyncio.Semaphore(AT_ONCE)

    async def sees_it(name: str) -> bool:
        try:
            async with turn, shell_on(name, prod, site.scratch) as other:
                return token in (await other.ask("left")).every("left")
        except SslmError:
            return False

    await shell.ask("leave", token)
    try:
        found = await asyncio.gather(*map(sees_it, names))
    finally:
        with suppress(SslmError):
            await shell.ask("clear_away")
    return frozenset(name for name, sees in zip(names, found, strict=True) if sees)
