"""The watchdog: systemd hears of us only while planner and socket get on (sd_notify(3)).

Every beat asks over a connection of its own and waits for the answer, looks whether clients find
the socket, and how long ago the scheduler ticked. A daemon that hangs anywhere on that path is
restarted; one that others keep busy is not: that connection was made at the start, and waits in
none of their queues.
"""

from __future__ import annotations

import asyncio
import time
from itertools import count

from sslmd.daemon.api.server import Server
from sslmd.daemon.api.status_document import summary
from sslmd.daemon.planner import Planner
from sslmd.daemon.systemd import Notifier
from sslmd.daemon.wakes import TICK
from sslmd.wire.messages import Method, RpcRequest, encode, raw_result

# Seconds between status lines where no watchdog is asked for.
WITHOUT = 60.0

# Seconds until the answer has to be there.
ANSWER = 10.0


class Watchdog:
    """Beats every `period` seconds (None: systemd asked for none)."""

    def __init__(
        self, planner: Planner, server: Server, notifier: Notifier, period: float | None
    ) -> None:
        self._planner = planner
        self._server = server
        self._notifier = notifier
        self._period = period

    async def run(self) -> None:
        """Beat until cancelled."""
        told = ""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._server.inside())
        self._numbers = count(1)
        while True:
            await asyncio.sleep(self._period or WITHOUT)
            if self._period is not None and await self._alive():
                self._notifier.watchdog()
            text = summary(self._planner)
            if text != told:
                self._notifier.status(text)
                told = text

    async def _alive(self) -> bool:
        if time.monotonic() - self._planner.loop.ticked > 12 * TICK:
            return False
        try:
            async with asyncio.timeout(ANSWER):
                return self._server.is_in_place() and await self._answers()
        except (OSError, TimeoutError):
            return False

    async def _answers(self) -> bool:
        number = next(self._numbers)
        self._writer.write(encode(RpcRequest(number, Method.PING)))
        while line := await self._reader.readline():
            if raw_result(line.rstrip(b"\n"), number) is not None:
                return True  # an answer before it came too late for its own beat
        return False
