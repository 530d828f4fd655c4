"""Prometheus, which scrapes and judges by rules; and a socket of systemd that it scrapes."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.stand.server import LOOPBACK, PLACES, ROOT, Server, free_port

# Seconds between two scrapes, and two looks at the rules.
EVERY = 2


def missing() -> str:
    """Return which program is missing, or nothing."""
    for name, package in (("prometheus", "prometheus"), ("systemd-socket-activate", "systemd")):
        if not shutil.which(name, path=PLACES):
            return f"{name} is missing (Debian package {package})"
    return ""


class MetricsSocket(Server):
    """What sslmd-metrics.socket is: for each connection there is one `sslmctl metrics --http`."""

    def __init__(self, folder: Path, daemon: Path) -> None:
        super().__init__(folder, "metrics-socket")
        self._daemon, self.port = daemon, free_port()

    def command(self) -> list[str]:
        """As the unit has it (systemd/sslmd-metrics@.service)."""
        sslmctl = [sys.executable, "-m", "sslmd.ctl.main", "--socket", str(self._daemon)]
        listen = f"--listen={LOOPBACK}:{self.port}"
        return ["systemd-socket-activate", "--accept", "--inetd", listen, "-E", "PYTHONPATH",
                *sslmctl, "metrics", "--http"]  # fmt: skip

    def environment(self) -> Mapping[str, str]:
        """Where the program lies."""
        return {"PYTHONPATH": str(ROOT)}

    def answers(self) -> bool:
        """Whether it listens: each connection starts a program."""
        try:
            socket.create_connection((LOOPBACK, self.port), 5).close()
        except OSError:
            return False
        return True


class Prometheus(Server):
    """Debian's, with files of rules."""

    def __init__(self, folder: Path, target: int, *rules: Path) -> None:
        super().__init__(folder, "prometheus")
        self.port = free_port()
        config = {
            "global": {"scrape_interval": f"{EVERY}s", "evaluation_interval": f"{EVERY}s"},
            "rule_files": [str(one) for one in rules],
            "scrape_configs": [
                {"job_name": "sslmd", "static_configs": [{"targets": [f"{LOOPBACK}:{target}"]}]}
            ],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))

    def command(self) -> list[str]:
        """In the foreground; all it has is below its folder."""
        return ["prometheus", f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address={LOOPBACK}:{self.port}"]  # fmt: skip

    def answers(self) -> bool:
        """Whether it has started."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    @property
    def _url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def ask(self, what: str, **params: str) -> Any:
        """Return what its API answers."""
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(params)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        """Return the one value of a query, None for none."""
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def fires(self, alert: str) -> bool:
        """Whether an alert fires."""
        return any(
            one["labels"]["alertname"] == alert and one["state"] == "firing"
            for one in self.ask("alerts")["alerts"]
        )
