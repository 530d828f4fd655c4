"""A daemon as a whole process, and what it and commands take."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from sslmd.console.client import DaemonClient
from sslmd.wire.messages import Method

BIN = Path(sys.executable).parent
RUNS = 7


class Run:
    """One daemon on one site."""

    def __init__(self, top: Path) -> None:
        self.socket = top / "sock"
        self.log = top / "log"
        self._output = self.log.open("wb")
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [BIN / "sslmd", "--conf-dir", top / "conf.d", "--socket", self.socket],
            stderr=self._output,
        )

    def ready(self) -> float:
        """Return the seconds from start to READY."""
        while b"is ready" not in self.log.read_bytes():
            if self.process.poll() is not None:
                sys.exit(f"the daemon ended:\n{self.log.read_text()}")
            time.sleep(0.01)
        return time.monotonic() - self.began

    def memory(self) -> float:
        """Return resident MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu(self) -> float:
        """Return the CPU seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def seconds(self, *words: str) -> float:
        """Return the median seconds of an sslmctl command as a whole process."""
        command = [str(BIN / "sslmctl"), "--socket", str(self.socket), *words]

        def once() -> None:
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

        return median(_timed(once))

    def seconds_beside(self, *words: str) -> tuple[float, float]:
        """Return the same, and the slowest greeting of another client meanwhile, in seconds.

        Whoever holds the daemon's loop has everybody wait for a greeting.
        """
        ended, slowest = threading.Event(), 0.0

        def greet() -> None:
            nonlocal slowest
            while not ended.wait(0.01):
                slowest = max(slowest, greeting(self.socket))

        greeted = threading.Thread(target=greet)
        greeted.start()
        try:
            return self.seconds(*words), slowest
        finally:
            ended.set()
            greeted.join()

    def all_live(self) -> float:
        """Return the seconds from start until every certificate is settled."""
        while True:
            with DaemonClient(str(self.socket)) as daemon:
                certs = json.loads(daemon.call_raw(Method.STATUS))["certs"]
            if all(one["phase"] == "settled" and one["curr"] for one in certs):
                return time.monotonic() - self.began
            time.sleep(0.25)

    def stop(self) -> None:
        """End the daemon."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self._output.close()


def _timed(command: Callable[[], object]) -> list[float]:
    command()  # once to warm up
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        command()
        times.append(time.perf_counter() - began)
    return times


def greeting(path: Path) -> float:
    """Return the seconds until root is greeted."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        assert b"hello" in line.recv(1000)
    return time.monotonic() - began
