"""A real daemon on a copy of the example, with a real socket in systemd's place."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]

# Seconds for things that take a tenth of that on a machine with nothing else to do.
PATIENCE = 30.0

Fields = dict[str, str]


def fields_of(datagram: bytes) -> Fields:
    """Return the assignments of one notification (sd_notify(3))."""
    return dict(line.split("=", 1) for line in datagram.decode().splitlines())


class Running:
    """A daemon, its folder, and what it tells the service manager."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="sslmd-"))
        self.conf = self.top / "conf.d"
        shutil.copytree(ROOT / "conf.d-example", self.conf)
        for path in (self.conf, *self.conf.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o022)
        self.socket = self.top / "s"
        self.log = self.top / "stderr"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.top / "notify"))
        self._env = dict(env or {})
        self.start()

    def start(self) -> None:
        """Start the daemon, with a log of its own; for the first time, or after its end."""
        command = [sys.executable, "-m", "sslmd.daemon.main"]
        command += ["--conf-dir", str(self.conf), "--socket", str(self.socket)]
        kept = {key: value for key, value in os.environ.items() if not _of_systemd(key)}
        settings = {"NOTIFY_SOCKET": str(self.top / "notify"), "PYTHONPATH": str(ROOT)}
        env = {**kept, **settings, **self._env}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
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
        raise AssertionError(f"no {field} within {seconds} s; it said: {self.log.read_text()}")

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

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait_for_line(self, pattern: str) -> str:
        """Return the first line of stderr that fits, when it is there."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := re.search(pattern, self.log.read_text(), re.MULTILINE):
                return found[0]
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in: {self.log.read_text()}")


def _of_systemd(name: str) -> bool:
    return name.startswith("WATCHDOG_") or name in ("NOTIFY_SOCKET", "JOURNAL_STREAM")
