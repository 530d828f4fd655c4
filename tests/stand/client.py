"""A visitor who never rests: does a server show a good certificate, at every instant?

A program of its own, which shares no code with what it judges. Several times a second it connects
with TLS and checks what any browser would: that the handshake succeeds, which proves that key and
certificate are a pair, and that the certificate is valid now, is signed by the root, through what
the server sends along, and has the name in it. The root is read anew each time.

    python -m tests.stand.client --address 127.0.0.2 --port 443 --name www.example.test \\
        --root root.pem --output connections

Until SIGTERM. One line of JSON for each connection.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stand.server import ROOT, Server

# Seconds. How long a connection may take in the whole.
PATIENCE = 3.0


# --- the program ---


def connect(address: str, port: int, name: str, root: Path) -> str:
    """Connect once; return the serial number of what was shown. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root.read_text())
    # What Python asks for beside this depends on its version.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    with (
        socket.create_connection((address, port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        shown = tls.getpeercert()
        assert shown
        return f"{int(str(shown['serialNumber']), 16):x}"


def main() -> None:
    """Read the command line, and connect until SIGTERM."""
    parser = argparse.ArgumentParser(description="Visit a server again and again.")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True, help="for SNI, and to be in the certificate")
    parser.add_argument("--root", type=Path, required=True, help="certificate to trust, as PEM")
    parser.add_argument("--output", type=Path, required=True, help="file, is written anew")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds; 0.1, if not given")
    given = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with given.output.open("w") as output:
        while not stop.is_set():
            began = time.monotonic()
            found: dict[str, object] = {"time": time.time(), "serial": "", "reason": ""}
            try:
                found["serial"] = connect(given.address, given.port, given.name, given.root)
            except (OSError, ValueError) as problem:
                found["reason"] = f"{type(problem).__name__}: {problem}"
            output.write(json.dumps(found) + "\n")
            output.flush()
            stop.wait(began + given.pause - time.monotonic())


# --- the same beside a test ---


@dataclass(frozen=True)
class Failure:
    """A connection that a visitor would complain of; `time`: in seconds since 1970."""

    time: float
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What a client has seen.

    - `connections`: how many were tried; `failures`: those that failed, refused ones too;
    - `serials`: of the certificates it was shown, in hexadecimal, in the order of their first time;
    - `longest_gap`: seconds between the begin of two connections, at the most.
    """

    connections: int
    failures: list[Failure]
    serials: list[str]
    longest_gap: float


class TlsClient(Server):
    """Connects to `address` and `port` for `name`, from its start to its stop.

    - `root`: a file with the certificate that it trusts; may change meanwhile.
    - `serials()`, `failures()`: those so far; `outcome()`: all, when it has stopped.
    """

    def __init__(
        self, folder: Path, address: str, port: int, name: str, root: Path, *, pause: float = 0.1
    ) -> None:
        super().__init__(folder, "client")
        self._output = folder / "connections"
        self._options = [
            *("--address", address, "--port", str(port), "--name", name),
            *("--root", str(root), "--output", str(self._output), "--pause", str(pause)),
        ]

    def command(self) -> list[str]:
        self._output.write_text("")
        return [sys.executable, "-m", "tests.stand.client", *self._options]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def answers(self) -> bool:
        return self.connections() > 0

    def connections(self) -> int:
        """Return how many it has tried since it started."""
        return len(self._found())

    def wait(self, count: int) -> None:
        """Wait until it has tried `count` more, each begun after this call."""
        enough = self.connections() + count + 1
        self.wait_until(lambda: self.connections() >= enough, f"{enough} connections")

    def wait_failure(self, reason: str = "") -> Failure:
        """Wait for a failure with `reason` in its reason, and return it."""

        def found() -> list[Failure]:
            return [one for one in self.failures() if reason in one.reason]

        self.wait_until(found, f"a failure: {reason}")
        return found()[0]

    def serials(self) -> list[str]:
        """Return the serial numbers that it was shown since it started, each once."""
        return list(dict.fromkeys(one["serial"] for one in self._found() if one["serial"]))

    def failures(self) -> list[Failure]:
        """Return what has failed since it started."""
        return [Failure(one["time"], one["reason"]) for one in self._found() if one["reason"]]

    def outcome(self) -> Outcome:
        """Stop it, if it runs; return what it found."""
        self.stop()
        times = [one["time"] for one in self._found()]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        return Outcome(len(times), self.failures(), self.serials(), max(gaps, default=0.0))

    def _found(self) -> list[dict[str, Any]]:
        text = self._output.read_text() if self._output.exists() else ""
        # What has no end yet is being written.
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]


if __name__ == "__main__":
    main()
