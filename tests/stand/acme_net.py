"""A network process and accounts of a tree, for tests that have no daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sslmd.acme.accounts import Accounts
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.signing import Signer
from sslmd.config.model import Validation
from sslmd.net.client import Net
from sslmd.store.layout import Tree
from tests.stand.pebble import Pebble

P = ParamSpec("P")
T = TypeVar("T")


def acme_server(ca: Pebble, **more: Any) -> AcmeServer:
    """Return Pebble as a table of ca-info.conf names it, its accounts shared."""
    given = {"ca": "pebble", "own": False, **more}
    return AcmeServer(ca.directory, ca.root_file, Validation.DNS_01, **given)


async def in_thread(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what blocks."""
    return await asyncio.to_thread(func, *args, **kwargs)


@asynccontextmanager
async def accounts_on(root: Path) -> AsyncIterator[Accounts]:
    """Yield the accounts of the tree at `root`, with a network process of their own."""
    failed: list[BaseException] = []
    signer = Signer()
    net = Net(signer.handlers(), print, failed.append, user="nobody")
    await net.start()
    try:
        yield Accounts(
            Tree(str(root)), net.call, in_thread, lambda: datetime.now(UTC), _unheard, signer
        )
    finally:
        await net.stop()
    assert not failed


def _unheard(*_: object) -> None:
    """Nobody listens."""
