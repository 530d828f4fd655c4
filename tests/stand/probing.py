"""The prober beside a test: see `prober`, a program that shares no code with what it judges."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stand.bind import Named
from tests.stand.server import LOOPBACK, ROOT, Server


@dataclass(frozen=True)
class Failure:
    """A sender that would not have sent.

    - `time`: when, in seconds since 1970; `age`: how old its cache's answer was, in seconds;
    - `records`: what it knew; `key`: the digest of the key that was served, as in 3 1 1.
    """

    time: float
    cache: int
    age: float
    records: list[str]
    key: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What a prober had to say in the end; the fields are described there."""

    probes: int
    checks: int
    no_tlsa: int
    unreachable: int
    unresolved: int
    first_seen_keys: int
    keys: list[str]
    longest_gap: float
    failures: list[Failure]


class Prober(Server):
    """Probes a mail server from its start to its stop.

    - `host` and `port` say where the TLSA records are, `address` where to connect to.
    - `name_servers`: those that the world would ask, or their `ip:port`.
    - `starttls`: it is a mail server; TLS begins with the connection elsewhere.
    - `failures()`: those so far; `outcome()`: all, when it has stopped.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        port: int,
        name_servers: Sequence[Named | str],
        *,
        address: str = LOOPBACK,
        caches: int = 5,
        pause: float = 0.1,
        starttls: bool = True,
    ) -> None:
        super().__init__(folder, "prober")
        self._output = folder / "probes"
        servers = [one if isinstance(one, str) else one.address for one in name_servers]
        self._options = [
            *("--host", host, "--address", address, "--port", str(port)),
            *(word for server in servers for word in ("--name-server", server)),
            *("--caches", str(caches), "--pause", str(pause), "--output", str(self._output)),
            *([] if starttls else ["--tls"]),
        ]

    def command(self) -> list[str]:
        self.log_file.write_text("")
        return [sys.executable, "-m", "tests.stand.prober", *self._options]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def answers(self) -> bool:
        return self.probes() > 0

    def probes(self) -> int:
        """Return how many probes it has made since it started."""
        return self.log().count("probe ")

    def wait_probes(self, count: int) -> None:
        """Wait until it has made `count` more probes, each begun after this call."""
        enough = self.probes() + count + 1
        self.wait_until(lambda: self.probes() >= enough, f"{enough} probes")

    def wait_failure(self, reason: str = "") -> Failure:
        """Wait for a failure with `reason` in its reason, and return it."""

        def found() -> list[Failure]:
            return [one for one in self.failures() if reason in one.reason]

        self.wait_until(found, f"a failure: {reason}")
        return found()[0]

    def failures(self) -> list[Failure]:
        """Return what has failed since it started."""
        return [Failure(**fields) for fields in self._lines() if "reason" in fields]

    def outcome(self) -> Outcome:
        """Stop it, if it runs; return what it found."""
        self.stop()
        lines = self._lines()
        assert "probes" in (lines or [{}])[-1], f"no summary\n{self.log()}"
        return Outcome(**{**lines[-1], "failures": self.failures()})

    def _lines(self) -> list[dict[str, Any]]:
        text = self._output.read_text() if self._output.exists() else ""
        # What has no end yet is being written.
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
