"""The daemon and its network process, killed at every message of an order (I5).

The instant is when the CA has answered, and before the answer comes: what the CA did is done.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.stand.acme_site import ARG, CERT, ZONE, World, accounts, verify, world
from tests.stand.proxy import Answer, Proxy
from tests.stand.server import PAUSE, wait_until

# Answers of one order: nonce, order, two authorizations, two challenges, polls, certificate.
ANSWERS = 14
SEED = 17


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as one:
        yield one


def network_process(here: World) -> int:
    """Return the network process of the daemon, 0 while there is none."""
    daemon = here.site.process
    assert daemon is not None
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
    for child in children.read_text().split():
        if Path(f"/proc/{child}/comm").read_text() == "sslmd-net\n":
            return int(child)
    return 0


class Killer:
    """Kills when the CA's answer of that number comes; `kill` returns whether it could."""

    def __init__(self, kill: Callable[[], bool]) -> None:
        self.kill = kill
        self.left = 0
        self.where = ""
        self._lock = threading.Lock()

    def __call__(self, answer: Answer) -> Answer:
        with self._lock:
            if self.left:
                self.left -= 1
                if not self.left and self.kill():
                    self.where = answer.path
        return answer

    def spare(self) -> bool:
        """Kill no more; return whether it has not killed."""
        with self._lock:
            left, self.left = self.left, 0
        return left > 0


def run(here: World, kill: Callable[[], bool], points: list[int], *, is_daemon: bool) -> None:
    primary = here.bind()
    ca = here.pebble(primary)
    killer = Killer(kill)
    with Proxy(ca, killer) as proxy:
        here.site.use(ca)
        here.site.ca = here.site.ca.replace(ca.directory, proxy.directory)
        here.site.publish(primary)
        here.site.write({CERT: [ZONE, f"www.{ZONE}"]})
        here.site.start()
        here.site.wait_settled()
        doubled = 0
        for number, point in enumerate(points, 2):
            before = here.site.status()[CERT]["curr"]["serial"]
            killer.where, killer.left = "", point
            asked = here.site.ctl("force-renew", "--no-wait", ARG, status=None)
            assert is_daemon or asked.returncode == 0, asked
            if is_daemon:
                wait_until(partial(ended, here, killer, before), "a kill, or a renewal")
                if not killer.spare():
                    here.site.wait()
                    here.site.start()
                    # The first answer may come before sslmctl has been heard.
                    if asked.returncode and not under_way(here, before):
                        here.site.ctl("force-renew", "--no-wait", ARG)
            tries = 0
            while not renewed(here, before):
                one = here.site.status()[CERT]
                if one["last_error"] and one["next_try"]:
                    tries += 1
                    assert tries < 5, one
                    here.site.ctl("renew", ARG, status=None)
                time.sleep(PAUSE)
            killer.spare()
            # What was made by an answer that nobody heard is known to the CA alone.
            doubled += killer.where == "/order-plz"
            assert ca.issued() == number, (point, killer.where)
            assert ca.orders() <= number + doubled, (point, killer.where)
            assert len(accounts(here.site)) == 1
        verify(here.site, ca)
        assert ca.failures() == 0
        here.site.stop()


def ended(here: World, killer: Killer, before: str) -> bool:
    """Whether it was killed, or came to its end without."""
    return not killer.left or renewed(here, before)


def under_way(here: World, before: str) -> bool:
    """Whether it is renewed at this moment, or was."""
    now = here.site.status()[CERT]
    return bool(now["phase"] != "settled" or now["curr"]["serial"] != before)


def renewed(here: World, before: str) -> bool:
    """Whether another certificate is in use, by what is on disk."""
    try:
        done = here.site.status()[CERT]
    except (OSError, ValueError, AssertionError, KeyError):
        return False
    return bool(done["curr"]) and done["curr"]["serial"] != before and done["phase"] == "settled"


def points_of(number: int) -> list[int]:
    """Return answers to kill at, each as often as others."""
    every = [1 + at % ANSWERS for at in range(number)]
    random.Random(SEED).shuffle(every)
    return every


def test_the_network_process_is_killed(here: World) -> None:
    def kill() -> bool:
        if child := network_process(here):
            os.kill(child, signal.SIGKILL)
        return bool(child)

    run(here, kill, points_of(ANSWERS), is_daemon=False)


def test_the_daemon_is_killed(here: World) -> None:
    def kill() -> bool:
        assert here.site.process is not None
        os.kill(here.site.process.pid, signal.SIGKILL)
        return True

    run(here, kill, points_of(ANSWERS), is_daemon=True)
