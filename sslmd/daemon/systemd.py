"""The service manager: sd_notify(3), with notify-reload and the watchdog.

systemd hears of us only while the loop and the socket get on. Every beat asks over a connection of
its own and waits for the answer, looks whether clients find the socket, and how long ago the wall
clock was looked at. A daemon that hangs anywhere on that path is restarted; one that others keep
busy is not: that connection was made at the start, and waits in none of their queues.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import count

import sdnotify

from sslmd.core.plain import plain
from sslmd.daemon.api.server import SocketServer
from sslmd.daemon.api.status_document import summary
from sslmd.daemon.hub import Hub
from sslmd.daemon.loop import TICK
from sslmd.wire.messages import Method, RpcRequest, encode, raw_result

# Characters of `systemctl status`; systemd drops a datagram of more than 4096 bytes.
MOST_STATUS = 900


class Notifier:
    """Tells systemd how we are; without one it does nothing."""

    def __init__(self) -> None:
        # The library keeps silent about its own failures, as sd_notify(3) advises.
        self._notifier = sdnotify.SystemdNotifier()

    def ready(self, status: str) -> None:
        """We serve: the socket answers and the first plan is made."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """We are ending."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_line(text)}")

    def watchdog(self) -> None:
        """We are alive and getting on."""
        self._send("WATCHDOG=1")

    def _send(self, assignments: str) -> None:
        # The library encodes in Latin-1, and is silent about what that has no bytes for: a READY=1
        # would be lost because of a letter in the status beside it. systemd reads UTF-8.
        self._notifier.notify(assignments.encode("utf-8").decode("latin-1"))


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear `watchdog`, in seconds; None: it does not.

    Half of what it allows, as sd_watchdog_enabled(3) recommends.
    """
    try:
        allowed = int(os.environ["WATCHDOG_USEC"])
        meant = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return allowed / 2_000_000 if allowed > 0 and meant == os.getpid() else None


def _line(text: str) -> str:
    # A line more would be another assignment: WATCHDOG=1, or MAINPID=.
    return plain(" ".join(text.split()), MOST_STATUS)


# Seconds between status lines where no watchdog is asked for.
WITHOUT = 60.0

# Seconds until the answer has to be there.
ANSWER = 10.0


class Watchdog:
    """Beats every `period` seconds (None: systemd asked for none)."""

    def __init__(
        self, hub: Hub, server: SocketServer, notifier: Notifier, period: float | None
    ) -> None:
        self._hub = hub
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
            text = summary(self._hub)
            if text != told:
                self._notifier.status(text)
                told = text

    async def _alive(self) -> bool:
        if time.monotonic() - self._hub.loop.ticked > 12 * TICK:
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
