"""The daemon of a site, with a socket of the test's in the service manager's place."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.stand.server import PATIENCE
from tests.stand.site import Site

Fields = dict[str, str]


def fields_of(datagram: bytes) -> Fields:
    """Return the assignments of one notification (sd_notify(3))."""
    return dict(line.split("=", 1) for line in datagram.decode().splitlines())


class Supervised(Site):
    """The example in a folder of its own, its daemon, and what it tells the service manager."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="sslmd-")))
        for path in (self.conf, *self.conf.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o022)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.top / "notify"))
        self._env = {"NOTIFY_SOCKET": str(self.top / "notify"), **(env or {})}
        self.begin()

    def begin(self) -> None:
        """Start the daemon, for the first time or after its end; wait for nothing."""
        self.start(env=self._env, ready=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.stop()  # and so what it started, which may write here
        self._notify.close()
        shutil.rmtree(self.top)

    def hear(self, seconds: float) -> Fields | None:
        """Return the next notification, None if there is none for so long."""
        self._notify.settimeout(max(seconds, 0.001))
        try:
            return fields_of(self._notify.recv(65536))
        except TimeoutError:
            return None

    def hear_of(self, field: str, seconds: float = PATIENCE) -> Fields:
        """Return the next notification that has `field`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            heard = self.hear(left)
            if heard is not None and field in heard:
                return heard
        raise AssertionError(f"no {field} within {seconds} s; it said: {self.lines}")

    def silent_about(self, field: str, seconds: float) -> bool:
        """Whether nothing that has `field` comes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if field in (self.hear(left) or {}):
                return False
        return True

    def greeting(self) -> bytes:
        """Connect to the daemon's socket; return the line it greets with."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.socket))
            with client.makefile("rb") as lines:
                return lines.readline()

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait_match(self, pattern: str) -> None:
        """Wait for a line of stderr that fits the pattern."""
        self.wait_lines(
            lambda lines: any(re.search(pattern, line) for line in lines), repr(pattern)
        )
