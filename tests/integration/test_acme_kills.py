"""The daemon killed in the middle of orders: no orphan, no second order, nothing left (I5)."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import (
    ARG,
    CERT,
    ENGINES,
    ZONE,
    World,
    accounts,
    hooks_of,
    processes,
    verify,
    world,
)
from tests.stand.bind import answer
from tests.stand.proxy import Answer, Proxy
from tests.stand.server import wait_until

NAMES = [ZONE, f"www.{ZONE}"]


@pytest.fixture(params=ENGINES)
def here(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with world(tmp_path, request.param) as one:
        yield one


def kill_daemon(here: World) -> None:
    """SIGKILL the daemon alone; what it started is not touched."""
    assert here.site.process is not None
    os.kill(here.site.process.pid, signal.SIGKILL)
    here.site.wait()


def no_orphans(here: World) -> None:
    wait_until(lambda: not processes(here.site), f"the end of {processes(here.site)}")


def test_killed_while_an_order_waits_for_name_servers(here: World) -> None:
    primary, late, ca = here.lagging(NAMES)
    assert bool(hooks_of(here.site)) == (here.site.engine == "certbot")

    kill_daemon(here)
    no_orphans(here)
    wait_until(lambda: not hooks_of(here.site), "the end of the hook")
    assert ca.validations() == []
    left = here.site.records(primary)
    assert left

    here.site.start()
    here.site.wait_line(f"{late.address} does not show")
    late.refresh(ZONE)
    here.site.wait_settled()
    verify(here.site, ca)
    assert len(accounts(here.site)) == 1
    assert ca.failures() == 0
    here.site.wait_line("challenge records were taken back")
    assert here.site.records(primary) == ""
    for line in left.splitlines():
        assert answer(primary, line.split()[0], "TXT") == []


def test_killed_while_the_ca_validates_the_order_is_taken_up(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary, settings={"PEBBLE_VA_SLEEPTIME": "2"})
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write({CERT: NAMES})
    here.site.start()
    here.site.wait_line("the CA validates")
    wait_until(lambda: len(ca.validations()) == len(NAMES), "the validations")
    kill_daemon(here)
    no_orphans(here)
    ca.wait_log("set VALID by completed challenge", len(NAMES))

    here.site.start()
    here.site.wait_line("takes up the order")
    here.site.wait_settled()
    verify(here.site, ca)
    assert ca.orders() == 1
    assert ca.issued() == 1
    assert len(accounts(here.site)) == 1


def test_an_order_that_the_ca_is_long_at_work_on_is_kept_and_taken_up(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary)
    works = True

    def change(answer: Answer) -> Answer:
        found = json.loads(answer.body) if answer.path.startswith("/my-order/") else {}
        if not works or found.get("status") != "valid":
            return answer
        del found["certificate"]
        body = json.dumps({**found, "status": "processing"}).encode()
        return Answer(answer.path, answer.status, answer.headers, body)

    def polled() -> int:
        return sum(path.startswith("/my-order/") for path in proxy.paths)

    with Proxy(ca, change) as proxy:
        here.site.use(ca)
        here.site.ca = here.site.ca.replace(ca.directory, proxy.directory)
        here.site.publish(primary)
        here.site.write({CERT: NAMES})
        here.site.start()
        wait_until(lambda: ca.issued() == 1 and polled() > 2, "an order that is processed")
        kill_daemon(here)
        no_orphans(here)

        here.site.start()
        here.site.wait_line("the CA is still at work on the order")
        works = False
        here.site.ctl("renew", "--no-wait", ARG)
        here.site.wait_settled()
        assert (ca.orders(), ca.issued(), len(accounts(here.site))) == (1, 1, 1)
        verify(here.site, ca)
        here.site.stop()


def test_stopped_in_the_middle(here: World) -> None:
    _, late, ca = here.lagging()
    assert here.site.stop() == 0
    no_orphans(here)
    assert ca.validations() == []

    # With the next start it is taken back, though the name server still lags.
    here.site.start()
    here.site.wait_line("does not show")
    late.refresh(ZONE)
    here.site.wait_settled()
    assert len(accounts(here.site)) == 1


def test_killed_at_random(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary, settings={"PEBBLE_VA_SLEEPTIME": "1"})
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write({CERT: NAMES})
    dice = random.Random(11)
    for _ in range(8):
        here.site.start()
        if here.site.status()[CERT]["phase"] == "settled":
            break
        time.sleep(dice.uniform(0.1, 3.0))  # the instant is what is random here
        kill_daemon(here)
        no_orphans(here)
    else:
        here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)
    # Each certificate that the CA made was taken: the second never is.
    assert ca.issued() == 1
    assert len(accounts(here.site)) == 1
    wait_until(lambda: here.site.records(primary) == "", "an empty include file")
    cb = here.site.top / "certs" / CERT / "cb"
    wait_until(lambda: not (cb / "order").exists(), "an end of the order's folder")
