"""The daemon and its network process, killed at random messages of orders (I5).

Whoever is killed, at whatever message: no set has two orders, no account is lost, and each
certificate that the CA made is in the tree.

`make kills` does it 200 times, with as many seeds; the suite with the first few of them.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sslmd.console.program import CtlError
from tests.stand.acme_site import ZONE, World, accounts, world
from tests.stand.proxy import Answer, Proxy
from tests.stand.server import PATIENCE, wait_until

# Kills of one tree, from its first start on, and of how many trees.
KILLS = 10
TREES = max(1, int(os.environ.get("KILLS", "30")) // KILLS)
SEED = 17

CERTS = [f"{ZONE}/{name}" for name in ("a", "b", "c")]

# Messages of all orders until the next kill, and seconds until one that comes after an answer.
MOST_MESSAGES = 24
MOST_DELAY = 0.1

# So many of all kills are at the request for an order: who hears no answer knows of none.
AT_ORDERS, ORDER = 0.25, "/order-plz"

# When: before the CA has the request, before its answer comes back, or after that.
BEFORE, ANSWERED, AFTER = "before", "answered", "after"


class Killer:
    """Kills at one message of those that pass between the network process and the CA."""

    def __init__(self, here: World, dice: random.Random) -> None:
        self.here, self.dice = here, dice
        self.left = 0
        self.begins = ""  # with what the paths begin that count
        self.when = BEFORE
        self.is_daemon = False
        self.is_done = threading.Event()
        self.kills: Counter[str] = Counter()
        self.orders: Counter[str] = Counter()
        self._lock = threading.Lock()

    def arm(self) -> None:
        """Choose the next."""
        with self._lock:
            self.is_done.clear()
            self.when = self.dice.choice((BEFORE, ANSWERED, AFTER))
            self.is_daemon = self.dice.random() < 0.5
            self.left, self.begins = self.dice.randint(1, MOST_MESSAGES), ""
            if self.dice.random() < AT_ORDERS:
                self.left, self.begins = self.dice.randint(1, len(CERTS)), ORDER

    def disarm(self) -> None:
        """Let all messages pass."""
        with self._lock:
            self.left = 0

    def _is_it(self, path: str) -> bool:
        if not path.startswith(self.begins):
            return False
        with self._lock:
            self.left -= bool(self.left)
            return not self.left and not self.is_done.is_set()

    def _kill(self, path: str) -> None:
        daemon = self.here.site.process
        assert daemon is not None
        pid = daemon.pid if self.is_daemon else network_process(daemon.pid)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            kind = "/".join(path.split("/")[:2])
            self.kills[
                f"{'daemon' if self.is_daemon else 'network process'} {self.when} {kind}"
            ] += 1
            self.is_done.set()

    def ask(self, path: str, _: bytes) -> Answer | None:
        """A request comes."""
        if self.left and self.when == BEFORE and self._is_it(path):
            self._kill(path)
            return Answer(path, 200, cut=0)
        return None

    def change(self, answer: Answer) -> Answer:
        """An answer comes."""
        if answer.path == "/order-plz" and answer.status == 201:
            (name,) = (one["value"] for one in answer.payload["identifiers"])
            self.orders[name] += 1
        if self.left and self.when != BEFORE and self._is_it(answer.path):
            if self.when == ANSWERED:
                self._kill(answer.path)
                return Answer(answer.path, 200, cut=0)
            delay = self.dice.uniform(0, MOST_DELAY)
            threading.Timer(delay, self._kill, [answer.path]).start()
        return answer


def network_process(daemon: int) -> int:
    """Return the network process of a daemon, 0 while there is none."""
    with suppress(OSError):
        for thread in Path(f"/proc/{daemon}/task").iterdir():
            for child in (thread / "children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text() == "sslmd-net\n":
                    return int(child)
    return 0


class Killing:
    """One CA, one name server, and a site whose tree is taken away after so many kills."""

    def __init__(self, here: World, stack: ExitStack) -> None:
        self.here, self.site = here, here.site
        primary = here.bind()
        self.ca = here.pebble(primary)
        self.killer = Killer(here, random.Random(SEED))
        self.proxy = stack.enter_context(Proxy(self.ca, self._change, self._ask))
        self.site.use(self.ca)
        self.site.ca = self.site.ca.replace(self.ca.directory, self.proxy.directory)
        self.site.globals["clean_keep"] = "1000"
        self.site.publish(primary)
        self.site.write({cert: [f"{cert.split('/')[1]}.{ZONE}"] for cert in CERTS})

    def _change(self, answer: Answer) -> Answer:
        return self.killer.change(answer)

    def _ask(self, path: str, body: bytes) -> Answer | None:
        return self.killer.ask(path, body)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return how all stands, {} while nobody answers."""
        try:
            return self.site.status()
        except (OSError, AssertionError, CtlError, KeyError, ValueError):
            return {}

    def push(self) -> bool:
        """Have tried again what failed; return whether all is done."""
        status = self.status()
        failed = [cert for cert, one in status.items() if one["last_error"] and one["next_try"]]
        if failed:
            with suppress(OSError, ValueError):
                self.site.ask("renew", certs=failed, wait=False)
        return bool(status) and all(
            one["phase"] == "settled" and one["curr"] and not one["last_error"]
            for one in status.values()
        )

    def one_kill(self) -> None:
        """Have somebody killed while orders are under way, begun anew where there are none."""
        self.killer.arm()
        for _ in range(int(PATIENCE * 10)):
            if self.killer.is_done.wait(0.1):
                break
            if self.push():
                with suppress(OSError, ValueError):
                    self.site.ask("renew", certs=CERTS, force=True, wait=False)
        assert self.killer.is_done.is_set(), self.status()
        if self.killer.is_daemon:
            self.site.wait()
            self.site.start()

    def serials(self) -> list[int]:
        """Return the serial of every certificate in the tree."""
        found = (self.site.top / "certs").glob("*/*/db/*/cert.pem")
        return [x509.load_pem_x509_certificate(one.read_bytes()).serial_number for one in found]


@pytest.fixture(scope="module")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killing]:
    with world(tmp_path_factory.mktemp("kills")) as here, ExitStack() as stack:
        yield Killing(here, stack)


@pytest.mark.parametrize("tree", range(TREES))
def test_killed_at_random_messages(killing: Killing, tree: int) -> None:
    site, ca = killing.site, killing.ca
    for folder in ("certs", "prod-certs"):
        shutil.rmtree(site.top / folder, ignore_errors=True)
    before = ca.log()
    killing.killer = killer = Killer(killing.here, random.Random(SEED + tree))
    site.start()
    for _ in range(KILLS):
        killing.one_kill()
    killer.disarm()
    wait_until(killing.push, "an end of all orders")
    made = ca.log()[len(before) :]
    serials = [int(one, 16) for one in re.findall(r"Issued certificate serial (\w+)", made)]
    print(killer.kills, killer.orders, len(serials))
    assert sorted(killing.serials()) == sorted(serials)
    # One whose answer nobody heard is found in the account's list, and gone on with.
    assert killer.orders.total() == len(serials), killer.orders
    assert made.count(" accounts in memory") == 1
    assert len(accounts(site)) == 1
    assert accounts(site, lost=True) == []
    assert " set INVALID by completed challenge " not in made
    site.stop()
