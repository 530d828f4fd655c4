"""`http_test`: files on the web servers for as long as a client looks at them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from sslmd.core.errors import Transient
from sslmd.daemon.api.server import Client
from sslmd.servers.local import Locality
from sslmd.wire.messages import Notice
from sslmd.workers.http_test import Test, TestFiles
from sslmd.workers.tools import Site, Telling, Threads

# Seconds after which the files are taken away, whatever the client does.
HELD = 600.0

# Tests at a time. Each has a file per group on every web server.
AT_ONCE = 4


class HttpTests:
    """Holds the files of all clients; one per daemon."""

    def __init__(self, site: Site, threads: Threads, telling: Telling, locality: Locality) -> None:
        self._threads = threads
        self._files = TestFiles(site, threads, telling, locality)
        self._under_way = 0

    async def run(self, client: Client) -> dict[str, Any]:
        """Put files in place, tell the client, and remove them when it hangs up.

        A client that closes its half of the connection still gets the answer; one that was killed
        gets none, and the files go all the same. Raises `Transient` and `Permanent`.
        """
        if self._under_way >= AT_ONCE:
            raise Transient("too many tests are under way; try again when they are over")
        self._under_way += 1
        try:
            removing = _Removing(self._files, await self._files.plan())
            try:
                await self._hold(client, removing.test)
            finally:
                # Not by this task: it may be ending because its client is gone.
                self._threads.in_background(removing.run())
        finally:
            self._under_way -= 1
        await removing.done.wait()
        return {"problems": list(removing.problems)}

    async def _hold(self, client: Client, test: Test) -> None:
        problems = await self._files.put(test)
        await client.notify(Notice.PLACED, _document(test, problems))
        with suppress(TimeoutError):
            async with asyncio.timeout(HELD):
                await client.hung_up.wait()

    async def remove_left(self) -> None:
        """Take away what a daemon that was killed has left; for the start."""
        await self._files.remove_left()


class _Removing:
    def __init__(self, files: TestFiles, test: Test) -> None:
        self._files = files
        self.test = test
        self.done = asyncio.Event()
        self.problems: tuple[str, ...] = ()

    async def run(self) -> None:
        try:
            self.problems = await self._files.remove(self.test)
        finally:
            self.done.set()


def _document(test: Test, problems: tuple[str, ...]) -> dict[str, Any]:
    return {
        "servers": list(test.web.hosts),
        "server_dir": str(test.web.folder),
        "files": [
            {"group": one.group, "token": one.token, "value": one.value} for one in test.files
        ],
        "problems": list(problems),
    }
