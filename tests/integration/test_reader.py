"""A reader that follows `curr` all the time never sees anything but one whole set (I3)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sslmd.console.client import DaemonClient
from sslmd.wire.messages import Method
from tests.stand.site import Site

WEB = "example.com/web-ec"
ROLLS = 200

# Seconds between two looks, about as long as a look: without, it takes a processor from the daemon.
PAUSE = 0.0001


class Reader(threading.Thread):
    """Opens key, chain and bundle again and again, as a server does when it starts."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.ended = threading.Event()
        self.reads = 0
        self.bundles: set[bytes] = set()
        self.problems: list[str] = []

    def run(self) -> None:
        while not self.ended.is_set():
            time.sleep(PAUSE)
            try:
                (self.folder / "privkey.pem").read_bytes()
                (self.folder / "fullchain.pem").read_bytes()
                bundle = (self.folder / "bundle.pem").read_bytes()
            except OSError as err:
                self.problems.append(repr(err))
                continue
            self.reads += 1
            if bundle not in self.bundles:
                self.bundles.add(bundle)
                key = load_pem_private_key(bundle, None).public_key()
                if x509.load_pem_x509_certificates(bundle)[0].public_key() != key:
                    self.problems.append("a key that does not match")


def test_a_reader_through_200_rolls(site: Site) -> None:
    site.start()
    site.wait_settled()
    readers = [Reader(site.top / base / WEB / "curr") for base in ("certs", "prod-certs")]
    for reader in readers:
        reader.start()
    try:
        with DaemonClient(str(site.socket)) as daemon:
            for _ in range(ROLLS):
                for method in (Method.RENEW, Method.ROLL):
                    done = daemon.call(method, {"certs": [WEB], "force": True})
                    assert done["certs"][0]["outcome"] == "done", done
    finally:
        for reader in readers:
            reader.ended.set()
            reader.join()
    for reader in readers:
        assert reader.problems == []
        assert reader.reads > 10 * ROLLS
        # It saw the rolls happen, not only their end.
        assert len(reader.bundles) > ROLLS / 2
    assert site.status(WEB)[WEB]["phase"] == "settled"
