"""Sites that ssl-mgr made: their include files stay as they are, and no zone is signed again.

Three starts of a real daemon, with a name server that answers and with none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.integration.answering import name_server_at
from tests.integration.running import Site
from tests.integration.test_clock import FAKETIME, needs_faketime
from tests.servers.server import free_port, wait_until
from tests.ssl_mgr_site import MADE, VERSIONS, File, files, name_server, unpack

# Zones with DANE, in each site.
DANE = {"5.2.0": ("example.com", "example.net"), "7.8.1": ("example.com", "example.org")}


class OldSite(Site):
    """A site of ssl-mgr's."""

    def __init__(self, version: str, folder: Path, port: int, *, answers: bool) -> None:
        super().__init__(unpack(version, folder, port=port), example=None)
        if answers:
            self.change(f"port = {port}", f"port = {port}\n    nameservers = ['127.0.0.1:{port}']")
        self.version = version
        self.answers = answers
        self.calls_before = self.calls()

    @property
    def main(self) -> Path:
        return self.conf / "ssl-mgr.conf"

    def change(self, old: str, new: str) -> None:
