"""The daemon is killed at each step of a delivery: it ends well all the same (I3, I5)."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tomli
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tests.integration.test_kills import check_tree
from tests.stand import between
from tests.stand.delivery_site import ZONE, DeliveryWorld, Table, delivery_world
from tests.stand.host import Host
from tests.stand.server import PLACES, wait_until

FAR = "far.example.net"
WEB = f"{ZONE}/web"

# So often everything is rolled, and the daemon killed at some instant.
ROLLS = int(os.environ.get("SSLMD_TEST_ROLLS", "10"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeliveryWorld]:
    with delivery_world(tmp_path) as one:
        yield one


class Delivery:
    """One certificate that is delivered to one host; `step` kills what delivers it.

    The host notes each restart in `restarts`.
    """

    def __init__(self, world: DeliveryWorld) -> None:
        self.world = world
        self.site = world.site
        self.far: Host = world.add("far")
        self.folder = world.top / "between"
        self.folder.mkdir()
        # Where sockets are: what is killed leaves a folder there.
        self.scratch = world.stack.enter_context(TemporaryDirectory(prefix="sslmd-test-"))
        self.restarts = self.far.folder / "restarts"
        self.site.services = {"web": ["www.example.com"]}
        self.site.tables = {
            "web": Table([FAR], f"[['{ZONE}', ['web']]]", [f"{self.site.prod}/reload"])
        }
        self.site.write()
        self.note = f"cat {self.site.prod}/{WEB}/curr/cert.pem > {self.restarts}"
        script = self.far.root / "reload"
        script.write_text(f"#!/bin/sh\n{self.note}\n")
        script.chmod(0o755)
        for name in ("ssh", "rsync"):
            own = self.site.bin / name
            real = self.folder / name
            if own.exists():
                own.rename(real)
            else:
                real.symlink_to(str(shutil.which(name, path=PLACES)))
            argv = [sys.executable, "-I", "-S", between.__file__, str(self.folder), str(real)]
            own.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
            own.chmod(0o755)

    def run(self, *, wrapper: tuple[str, ...] = (), at: int = 0, die: bool = False) -> None:
        """Start a daemon that works until it is done, or killed at the event of this number."""
        (self.folder / "events").write_text("")
        (self.folder / "when").write_text(str(at))
        (self.folder / "die").unlink(missing_ok=True)
        if die:
            (self.folder / "die").touch()
        env = {"PATH": f"{self.site.bin}:{os.environ['PATH']}", "TMPDIR": self.scratch}
        options = ("--once", "--jobs", "1") if wrapper else ("--once",)
        self.site.start(*options, env=env, wrapper=wrapper, ready=False)
        assert self.site.process
        (self.folder / "pid").write_text(str(self.site.process.pid))

    def whole_run(self) -> None:
        """Run a daemon to the end."""
        self.run()
        assert self.site.wait() == 0, "\n".join(self.site.lines)

    def events(self) -> list[str]:
        return (self.folder / "events").read_text().splitlines()

    def want_another(self) -> None:
        """Have the certificate made anew."""
        (self.site.live(WEB).resolve() / "cert.pem").unlink()

    def sets(self) -> list[str]:
        """Return what was made here."""
        return sorted(os.listdir(self.site.top / "certs" / WEB / "db"))

    def state(self) -> dict[str, Any]:
        (server,) = tomli.loads((self.site.top / "certs" / WEB / "state.toml").read_text())[
            "servers"
        ]
        assert isinstance(server, dict)
        return server

    def wait_notes(self, count: int) -> None:
        """Wait until so many notes have been written, or it has ended."""
        certs = self.site.top / "certs"
        notes = (certs / WEB / "state.toml", certs / ".hosts" / f"{FAR}.toml")

        def look() -> list[int]:
            return [one.stat().st_ino for one in notes]

        assert self.site.process
        for _ in range(count):
            before = look()
            while look() == before and self.site.process.poll() is None:
                time.sleep(0.0005)

    def check_end(self, what: str) -> None:
        """Everything is where it should be, and nothing else."""
        check_tree(self.site)
        mine = {one.name: one.read_bytes() for one in (self.site.prod / WEB / "curr").iterdir()}
        curr = self.world.curr("far", "web")
        assert {one.name: one.read_bytes() for one in curr.iterdir()} == mine, what
        assert mine["cert.pem"] == (self.site.live(WEB) / "cert.pem").read_bytes(), what
        assert self.restarts.read_bytes() == mine["cert.pem"], what
        server = self.state()
        is_probed = self.site.tables["web"].probe != "false"
        end = "proven" if is_probed else "restarted"
        assert (server["state"], server["set"]) == (end, self.site.live(WEB).resolve().name), what
        assert not server.get("error"), what
        outgoing = self.site.top / "certs" / ".outgoing"
        assert not outgoing.exists() or os.listdir(outgoing) == [], what
        wait_until(lambda: not list(self.far.root.glob(".sslmd*")), f"no leftovers: {what}")


@cache
def is_pair(key: bytes, cert: bytes) -> bool:
    """Whether a private key and a certificate belong together."""
    kind = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    mine = load_pem_private_key(key, None).public_key().public_bytes(*kind)
    return x509.load_pem_x509_certificate(cert).public_key().public_bytes(*kind) == mine


@contextmanager
def looked_at(curr: Path) -> Iterator[None]:
    """Look at `curr` all the time: it is one complete set, of which key and certificate match."""
    stop = threading.Event()
    wrong: set[str] = set()

    def read(name: str, folder: int) -> bytes:
        with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
            return file.read()

    def look() -> None:
        folder = os.open(curr, os.O_RDONLY | os.O_DIRECTORY)
        try:
            key, cert = read("privkey.pem", folder), read("cert.pem", folder)
            if not is_pair(key, cert) or not read("fullchain.pem", folder).startswith(cert):
                wrong.add("no pair")
            if not read("bundle.pem", folder).startswith(key):
                wrong.add("the bundle is of another key")
        finally:
            os.close(folder)

    def watch() -> None:
        while not stop.wait(0.005):
            try:
                look()
            except (OSError, ValueError) as err:
                wrong.add(repr(err))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert wrong == set()


def test_a_kill_at_each_step_between_here_and_there(world: DeliveryWorld) -> None:
    """Every second time, what the daemon had started is killed too."""
    one = Delivery(world)
    one.whole_run()
    one.check_end("the first")
    seen = []
    with looked_at(world.curr("far", "web")):
        for number in range(1, 100):
            one.want_another()
            one.run(at=number, die=number % 2 == 0)
            status = one.site.wait()
            made = one.sets()[-1]
            if status == 0:
                break
            assert status == -signal.SIGKILL, "\n".join(one.site.lines)
            seen.append(one.events()[number - 1])
            what = f"killed at event {number}: {seen[-1]}"
            one.whole_run()
            assert one.sets()[-1] == made, what
            one.check_end(what)
    assert seen[:3] == ["ssh starts", "elsewhere was sent", "answer comes"]
    for step in ("rsync starts", "rsync logs in", "rsync has ended"):
        assert step in seen
    for word in ("elsewhere", "begin", "put", "survey", "run"):
        assert f"{word} was sent" in seen
    assert seen[-1] == "answer comes"


def test_kills_at_any_instant_under_the_eyes_of_a_client(world: DeliveryWorld) -> None:
    rng = random.Random(10)
    one = Delivery(world)
    one.whole_run()
    world.serve("far", "web")
    script = one.far.root / "reload"
    script.write_text(script.read_text().replace("exec", f"{one.note}\nexec"))
    table = one.site.tables["web"]
    table.probe = f"[[{world.port}, 'tls', 'www.example.com']]"
    one.site.write()
    one.whole_run()
    with (
        looked_at(world.curr("far", "web")),
        world.visit("far", "www.example.com") as client,
    ):
        for number in range(ROLLS):
            before, rolled = one.sets()[-1], one.site.live(WEB).resolve()
            one.want_another()
            one.run()
            if number % 2:
                # Right after something was noted, often before the next thing is begun.
                wait_until(lambda: one.site.live(WEB).resolve() != rolled, "a roll")  # noqa: B023
                one.wait_notes(number // 2)
            else:
                wait_until(lambda: one.sets()[-1] != before, "a new set")  # noqa: B023
                # Any instant will do: that is what is tested.
                time.sleep(rng.uniform(0, 1.2))
            one.site.kill()
            check_tree(one.site, broken=rolled)
            made = one.sets()[-1]
            one.whole_run()
            what = f"kill {number}"
            assert one.sets()[-1] == made, what
            one.check_end(what)
        wait_until(lambda: len(client.serials()) > ROLLS, "the last certificate")
    outcome = client.outcome()
    assert outcome.failures == []
    assert len(outcome.serials) == ROLLS + 1
