"""The watchdog: systemd hears of us only while planner and socket get on (sd_notify(3)).

Every beat connects to our own socket and waits for its greeting, and looks at how long ago
the scheduler ticked. A daemon that hangs anywhere on that path is restarted.
"""

from __future__ import annotations

import asyncio
import time

from sslmd.daemon.methods import summary
from sslmd.daemon.notify import Notifier
from sslmd.daemon.planner import Planner
from sslmd.daemon.scheduler import TICK

# Seconds between status lines where no watchdog is asked for.
WITHOUT = 60.0

# Seconds the socket has to greet us.
GREETING = 10.0


class Watchdog:
    """Beats every `period` seconds (None: systemd asked for none)."""

    def __init__(
        self, planner: Planner, socket_path: str, notifier: Notifier, period: float | None
    ) -> None:
        self._planner = planner
        self._socket_path = socket_path
        self._notifier = notifier
        self._period = period

    async def run(self) -> None:
        """Beat until cancelled."""
        told = ""
        while True:
            await asyncio.sleep(self._period or WITHOUT)
            if self._period is not None and await self._alive():
                self._notifier.watchdog()
            text = summary(self._planner)
            if text != told:
                self._notifier.status(text)
                told = text

    async def _alive(self) -> bool:
        if time.monotonic() - self._planner.scheduler.ticked > 12 * TICK:
            return False
        try:
            async with asyncio.timeout(GREETING):
                reader, writer = await asyncio.open_unix_connection(self._socket_path)
                try:
                    return bool(await reader.readline())
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
