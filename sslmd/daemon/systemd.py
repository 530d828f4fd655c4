"""The service manager's protocol: sd_notify(3), with notify-reload and the watchdog."""

from __future__ import annotations

import os
import time

import sdnotify

from sslmd.core.plain import plain

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
