"""No second order: where a CA gives one order to two, and where nobody heard what it answered."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import ARG, CERT, ENGINES, ZONE, World, verify, world
from tests.stand.pebble import Pebble
from tests.stand.proxy import Answer
from tests.stand.reusing_ca import ReusingCa

OTHER = f"{ZONE}/mail"
NAMES = [ZONE, f"*.{ZONE}"]


@pytest.fixture(params=ENGINES)
def here(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with world(tmp_path, request.param) as one:
        yield one


def ready(here: World) -> Pebble:
    primary = here.bind()
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    return ca


def go_by(here: World, ca: Pebble, proxy: ReusingCa) -> None:
    here.site.ca = here.site.ca.replace(ca.directory, proxy.directory)


def test_two_keys_for_the_same_names(here: World) -> None:
    """As a server has them that serves an EC and an RSA certificate."""
    ca = ready(here)
    with ReusingCa(ca, reuses=True) as proxy:
        go_by(here, ca, proxy)
        here.site.write({CERT: NAMES, OTHER: NAMES})
        here.site.start()
        status = here.site.wait_settled()
        assert [one["attempts"] for one in status.values()] == [0, 0]
        for cert in (CERT, OTHER):
            verify(here.site, ca, cert)
        assert (ca.orders(), ca.issued(), proxy.reused) == (2, 2, 0)
        here.site.stop()


@pytest.mark.parametrize("reuses", [True, False])
def test_killed_before_the_answer_to_a_new_order(tmp_path: Path, reuses: bool) -> None:
    """The CA has it, and nobody knows its URL."""
    with world(tmp_path) as here:
        ca = ready(here)
        armed: list[str] = []

        def kill(answer: Answer) -> Answer:
            if armed and answer.path == "/order-plz":
                armed.clear()
                assert here.site.process is not None
                os.kill(here.site.process.pid, signal.SIGKILL)
            return answer

        with ReusingCa(ca, kill, reuses=reuses) as proxy:
            go_by(here, ca, proxy)
            here.site.write({CERT: NAMES})
            here.site.start()
            before = here.site.wait_settled()[CERT]["curr"]["serial"]
            armed.append("now")
            here.site.ctl("force-renew", "--no-wait", ARG)
            here.site.wait()
            assert ca.orders() == 2
            (note,) = (here.site.top / "certs" / CERT / "cb" / "order").glob("*/order")
            assert json.loads(note.read_text())["url"] == ""

            here.site.start()
            here.site.wait_line("its answer never came")
            while here.site.wait_settled()[CERT]["curr"]["serial"] == before:
                here.site.ctl("renew", ARG, status=None)
            # Nothing was offered of the first; who gives it again has made no other.
            assert ca.orders() == (2 if reuses else 3)
            assert proxy.reused == reuses
            assert ca.issued() == 2
            assert ca.failures() == 0
            # Both count: the CA may have made two.
            state = tomllib.loads((here.site.top / "certs" / CERT / "state.toml").read_text())
            assert len(state["ordered"]) == 3
            here.site.stop()


@pytest.mark.parametrize(("at", "told"), [("/authZ/", "cannot continue it"), ("/certZ/", "")])
def test_another_engine_while_an_order_is_under_way(tmp_path: Path, at: str, told: str) -> None:
    """What the engine began is taken up by certbot, or left before anything was offered."""
    with world(tmp_path) as here:
        ca = ready(here)
        armed: list[str] = []

        def kill(answer: Answer) -> Answer:
            if armed and answer.path.startswith(at):
                armed.clear()
                assert here.site.process is not None
                os.kill(here.site.process.pid, signal.SIGKILL)
            return answer

        with ReusingCa(ca, kill, reuses=True) as proxy:
            go_by(here, ca, proxy)
            here.site.write({CERT: NAMES})
            here.site.start()
            before = here.site.wait_settled()[CERT]["curr"]["serial"]
            armed.append("now")
            here.site.ctl("force-renew", "--no-wait", ARG)
            here.site.wait()
            here.site.ca = here.site.ca.replace("ca_engine = 'engine'", "ca_engine = 'certbot'")
            here.site.write({CERT: NAMES})
            here.site.start()
            if told:
                here.site.wait_line(told)
            while here.site.wait_settled()[CERT]["curr"]["serial"] == before:
                here.site.ctl("renew", ARG, status=None)
            verify(here.site, ca)
            assert (ca.orders(), ca.issued(), ca.failures()) == (2, 2, 0)
            here.site.stop()
