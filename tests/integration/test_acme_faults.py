"""CAs that stumble, and engines that are stopped, with the real daemon and both engines.

Each request of an order in turn, and by the engine of our own, is in acme/test_engine_faults.py.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.stand.acme_site import ENGINES, ZONE, World, accounts, processes, verify, world
from tests.stand.pebble import Pebble
from tests.stand.proxy import Answer, Change, Proxy, seen_through
from tests.stand.server import wait_until

BUSY, BROKEN, CUT, GOOD = (f"{ZONE}/{name}" for name in ("busy", "broken", "cut", "good"))


@pytest.fixture(params=ENGINES)
def here(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with world(tmp_path, request.param) as one:
        yield one


class Stumbling:
    """What happens to orders, by their names, while `stumbles`; all answers take their time.

    `orders`: how many the CA was asked for, by name. `no_directory`: where its directory was.
    """

    def __init__(self) -> None:
        self.stumbles = True
        self.no_directory = False
        self.orders: dict[str, int] = {}

    def change(self, answer: Answer) -> Answer:
        threading.Event().wait(0.05)
        if answer.path == "/dir" and self.no_directory:
            return Answer(answer.path, 200, {}, b"<h1>back in an hour</h1>")
        if answer.path != "/order-plz" or answer.status != 201:
            return answer
        name = answer.payload["identifiers"][0]["value"].partition(".")[0]
        self.orders[name] = self.orders.get(name, 0) + 1
        return getattr(self, f"_{name}", _unchanged)(answer) if self.stumbles else answer

    def _busy(self, answer: Answer) -> Answer:
        when = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
        body = {"type": "urn:ietf:params:acme:error:serverInternal", "detail": "we are busy"}
        return Answer(answer.path, 503, {"Retry-After": when}, json.dumps(body).encode())

    def _broken(self, answer: Answer) -> Answer:
        return Answer(answer.path, 500, {"Content-Type": "text/html"}, b"<h1>\x1b[31mno</h1>")

    def _cut(self, answer: Answer) -> Answer:
        return Answer(answer.path, answer.status, answer.headers, answer.body, cut=20)


def _unchanged(answer: Answer) -> Answer:
    return answer


@contextmanager
def begun(here: World, change: Change, *certs: str) -> Iterator[Pebble]:
    """Start a site of these certificates, whose CA is seen through a proxy."""
    primary, site = here.bind(), here.site
    ca = here.pebble(primary)
    with Proxy(ca, change) as proxy:
        site.use(seen_through(ca, proxy))
        site.publish(primary)
        site.write({cert: [f"{cert.partition('/')[2]}.{ZONE}"] for cert in certs})
        site.start()
        yield ca
        site.stop()
        assert processes(site) == []


def test_a_ca_that_stumbles(here: World) -> None:
    stumbling, site = Stumbling(), here.site
    with begun(here, stumbling.change, BUSY, BROKEN, CUT, GOOD) as ca:
        site.wait_settled(BUSY, BROKEN, CUT)  # I6
        site.wait_line("attempt 1 failed", 3)
        now, status = datetime.now(UTC), site.status()
        for cert, soonest, latest in (
            (BUSY, timedelta(minutes=118), timedelta(minutes=121)),
            (BROKEN, timedelta(), timedelta(minutes=2)),
            (CUT, timedelta(), timedelta(minutes=2)),
        ):
            again = datetime.fromisoformat(status[cert]["next_try"])
            assert now + soonest < again < now + latest, status[cert]
            assert status[cert]["last_error"].isprintable()
        assert "we are busy" in status[BUSY]["last_error"]
        assert "500" in status[BROKEN]["last_error"]

        # It has got up; what it said counts all the same, whoever asks.
        stumbling.stumbles = False
        asked = dict(stumbling.orders)
        site.ctl("renew", "--no-wait", status=None)
        site.wait_settled(BUSY)
        assert stumbling.orders["busy"] == asked["busy"]
        assert site.status()[BUSY]["next_try"] == status[BUSY]["next_try"]
        assert len(accounts(site)) == 1
        verify(site, ca, CUT)

        # Where its directory was is a page, for an hour; what was read of it before is forgotten.
        site.stop()
        site.start()
        stumbling.no_directory = True
        site.ctl("force-renew", f"{ZONE}:good", status=1)
        one = site.status()[GOOD]
        assert datetime.fromisoformat(one["next_try"]) < datetime.now(UTC) + timedelta(minutes=2)
        assert one["error_code"] == "no-directory"


def stopped(here: World) -> int:
    """Stop what speaks to the CA; return its process id."""
    if here.site.engine == "engine":
        document = json.loads(here.site.ctl("status", "--json").stdout)
        pid = int(document["daemon"]["network_process"]["pid"])
    else:
        (pid,) = (int(line.split()[0]) for line in processes(here.site) if "certonly" in line)
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_an_engine_that_is_stopped(here: World) -> None:
    """Readers are answered; ours is replaced, and goes on; a certbot ends with its order."""
    held, go = threading.Event(), threading.Event()

    def hold(answer: Answer) -> Answer:
        if answer.path.startswith("/authZ/") and not go.is_set():
            held.set()
            go.wait(60)
        return answer

    site = here.site
    with begun(here, hold, GOOD) as ca:
        assert held.wait(60)
        pid = stopped(here)
        go.set()
        assert site.status()[GOOD]["phase"] == "keyed"
        if site.engine == "certbot":
            site.ctl("cancel", f"{ZONE}:good")
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), "its end")
            site.ctl("renew", "--no-wait", f"{ZONE}:good", status=None)
        else:
            site.wait_line("did not answer")
        site.wait_settled()
        verify(site, ca, GOOD)
        assert ca.orders() == (1 if site.engine == "engine" else 2)
        assert len(accounts(site)) == 1
