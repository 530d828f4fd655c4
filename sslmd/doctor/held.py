"""The files that the daemon has on web servers for as long as `sslmctl doctor` looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sslmd.console.answers import Fields
from sslmd.console.client import DaemonClient
from sslmd.console.program import CtlError
from sslmd.doctor.daemon import Running
from sslmd.doctor.symptoms import Checkup
from sslmd.wire.messages import Method, Notice, Notification

# Seconds until the files are gone again, by ssh where servers are elsewhere.
_REMOVING = 90.0


@asynccontextmanager
async def files_in_place(case: Checkup, running: Running, left: list[str]) -> AsyncIterator[Fields]:
    """Have files put in place as long as this lasts; `left` gets what cannot be taken away.

    Raises `CtlError` or TimeoutError where there are none.
    """
    if running.problem is not None:
        raise running.problem
    loop = asyncio.get_running_loop()
    placed: asyncio.Future[Fields] = loop.create_future()
    # Connecting takes a moment at most; it has to be known here, so that it can be given up.
    daemon = DaemonClient(running.socket)

    def give(fields: Fields) -> None:
        if not placed.done():
            placed.set_result(fields)

    def heard(notice: Notification) -> None:
        if notice.method == Notice.PLACED:
            loop.call_soon_threadsafe(give, Fields(notice.params))

    def hold() -> Fields:
        with daemon:
            return Fields(daemon.call(Method.HTTP_TEST, on_notice=heard, timeout=None))

    holding = asyncio.ensure_future(asyncio.to_thread(hold))
    try:
        async with asyncio.timeout_at(case.watch.until):
            await asyncio.wait({placed, holding}, return_when=asyncio.FIRST_COMPLETED)
        if not placed.done():
            await holding  # raises why
        yield placed.result()
    finally:
        daemon.say_no_more()
        try:
            with suppress(TimeoutError, CtlError):
                async with asyncio.timeout(_REMOVING):
                    left += (await asyncio.shield(holding)).texts("problems")
        finally:
            daemon.hang_up()
            placed.cancel()
