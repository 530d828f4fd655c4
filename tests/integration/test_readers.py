"""Readers cost what they ask, and none of them holds up an admin (I9).

The readers are processes of other users. Times are those of a machine with other things to do:
what they show is that nobody waits for as long as the attacks lasted.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from sslmd.daemon.api.limits import CONNECTIONS_OF_ONE
from tests.bench.prepare import prepare
from tests.bench.site import write_site
from tests.stand.site import PATIENCE, Site, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

HOSTILE = Path(__file__).parents[1] / "stand/hostile_client.py"

# User ids that nobody has; others in each test, as those of before may still owe time.
UIDS = itertools.count(64_000)

# Seconds that an admin may wait for a greeting, or an answer, beside 200 hostile readers.
SOON = 2.0

# Seconds for which that is measured.
MEASURED = 3.0

# Certificates of the site: an answer to `status` is a megabyte.
SERVICES = 1500


def open_to_all(site: Site) -> None:
    """Let every user reach the socket, as members of its group do."""
    for path in (site.top, site.socket):
        path.chmod(path.stat().st_mode | 0o007)


@contextmanager
def outside() -> Iterator[Path]:
    """A folder that everybody can reach: pytest closes its own whenever another run begins."""
    folder = Path(tempfile.mkdtemp(prefix="sslmd-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def readers(
    site: Site, number: int, what: str, users: int = 4, uids: Sequence[int] = ()
) -> Iterator[list[int]]:
    """`number` hostile readers of some users; yields how many connections each user has.

    `uids`: those users, for some that nobody was before.
    """
    command = [sys.executable, str(HOSTILE), str(site.socket)]
    uids = uids or [next(UIDS) for _ in range(users)]
    each = number // len(uids)
    started = [
        subprocess.Popen(
            [*command, str(uid), str(each), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for uid in uids
    ]
    try:
        got = []
        for one in started:
            assert one.stdout is not None
            said = one.stdout.readline().split()
            assert said[:1] == ["ready"], f"{what} did not begin"
            got.append(int(said[1]))
        yield got
    finally:
        for one in started:
            one.kill()
            one.wait()
            assert one.stdout is not None
            one.stdout.close()


def connect(site: Site) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    # Who has a time limit of Python's waits for no place in a full queue.
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(PATIENCE), 0))
    line.connect(str(site.socket))
    line.settimeout(PATIENCE)
    return line


def greeting(site: Site) -> float:
    """Return the seconds until root is greeted."""
    began = time.monotonic()
    with connect(site) as line:
        assert b'"hello"' in line.recv(1000)
    return time.monotonic() - began


def memory(site: Site) -> int:
    """Return the resident bytes of the daemon."""
    assert site.process is not None
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    (line,) = [one for one in status.splitlines() if one.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


def handles(site: Site) -> int:
    """Return how many files the daemon has open."""
    assert site.process is not None
    return len(os.listdir(f"/proc/{site.process.pid}/fd"))


@pytest.fixture(scope="module")
def large() -> Iterator[Site]:
    """A site with many certificates, that anybody may ask; one for all tests here."""
    with outside() as folder:
        site = Site(folder, example=None)
        prepare(write_site(site.top, SERVICES))
        try:
            site.start()
            open_to_all(site)
            yield site
        finally:
            site.end()


@pytest.fixture
def small() -> Iterator[Site]:
    """The example, that anybody may ask as soon as it is started and `open_to_all`."""
    with outside() as folder:
        site = Site(folder)
        try:
            yield site
        finally:
            site.end()


@pytest.mark.parametrize("what", ["repeats", "plans", "shows", "names", "knocks"])
def test_root_is_not_held_up_by_two_hundred_readers(large: Site, what: str) -> None:
    with readers(large, 200, what) as got:
        assert what == "knocks" or sum(got) == 200
        until = time.monotonic() + MEASURED
        while time.monotonic() < until:
            assert greeting(large) < SOON
            time.sleep(0.05)
        began = time.monotonic()
        with connect(large) as line:
            line.recv(1000)
            assert ask(line, "show", cert="g0.example:s00")[-1]["result"]["sets"]
        assert time.monotonic() - began < SOON


def test_readers_that_do_not_read_cost_little(large: Site) -> None:
    before = memory(large)
    with readers(large, 200, "deaf"):
        grown = memory(large) - before
        assert greeting(large) < SOON
    assert grown < 64 << 20


def test_requests_that_never_end_cost_little(large: Site) -> None:
    before = memory(large)
    with readers(large, 200, "halves") as got:
        grown = memory(large) - before
        assert greeting(large) < SOON
        assert sum(got) == 200
    assert grown < 64 << 20


def test_one_user_has_only_so_many_connections(large: Site) -> None:
    uid = next(UIDS)
    with readers(large, 200, "idles", uids=[uid]) as (got,):
        assert got == CONNECTIONS_OF_ONE
        with readers(large, 20, "idles", uids=[uid]) as (none,):
            assert none == 0
        with readers(large, 50, "idles", users=1) as (another,):
            assert another == 50
        assert greeting(large) < SOON


def test_followers_that_hang_up_are_let_go(large: Site) -> None:
    """Nothing happens that they could be told, and so nothing is sent that would fail."""
    before = handles(large)
    with readers(large, 40, "follows", users=2):
        until = time.monotonic() + PATIENCE
        while handles(large) > before and time.monotonic() < until:
            time.sleep(0.1)
        assert handles(large) <= before


def test_more_names_than_there_are_certificates_are_refused(large: Site) -> None:
    with connect(large) as line:
        line.recv(1000)
        answer = ask(line, "status", certs=["g0.example:s00"] * (SERVICES + 10))[-1]
        assert "names are more than" in answer["error"]["message"]
        began = time.monotonic()
        words = [f"g{one // 100}.example:ALL" for one in range(SERVICES)]
        assert len(ask(line, "status", certs=words)[-1]["result"]["certs"]) == SERVICES
        assert time.monotonic() - began < SOON


def test_a_status_that_nothing_changed_in_is_the_same_for_everybody(large: Site) -> None:
    with connect(large) as line:
        line.recv(1000)
        first, second = (ask(line, "status")[-1]["result"] for _ in range(2))
    assert first == second
    assert len(first["certs"]) == SERVICES + 2


def test_few_file_handles_are_not_used_up_by_readers(small: Site) -> None:
    """What the daemon does needs some: keys, programs, its own watchdog."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(small.top / "notify"))
    beats = Beats(manager)
    env = {"NOTIFY_SOCKET": str(small.top / "notify"), "WATCHDOG_USEC": "400000"}
    with manager, beats:
        small.start(env=env, wrapper=("prlimit", "--nofile=160:160"))
        open_to_all(small)
        small.wait_settled()
        with readers(small, 200, "idles") as got:
            assert sum(got) == 40
            assert greeting(small) < SOON
            small.ctl("force-renew", "example.com:web-ec")
            beats.wait_for_more()
        small.stop()
    assert not [line for line in small.lines if "Traceback" in line]


class Beats:
    """Hears what the daemon tells the service manager, which would wait for a place otherwise."""

    def __init__(self, manager: socket.socket) -> None:
        self._manager = manager
        self._more = threading.Event()
        self._thread = threading.Thread(target=self._hear)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _hear(self) -> None:
        while told := self._manager.recv(4096):
            if b"WATCHDOG=1" in told:
                self._more.set()

    def wait_for_more(self) -> None:
        """Return at the next beat."""
        for _ in range(2):  # one may have been heard already
            self._more.clear()
            assert self._more.wait(PATIENCE)


_OTHER_ROOT = """\
import ctypes, os, socket, sys
uid = int(sys.argv[2])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
libc = ctypes.CDLL(None)
libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else its files in /proc are root's
if libc.unshare(0x10000000):  # CLONE_NEWUSER
    sys.exit(77)
with open("/proc/self/uid_map", "w") as file:
    file.write(f"0 {uid} 1")
assert os.getuid() == 0
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
stream = line.makefile("rwb")
stream.readline()
stream.write(b'{"jsonrpc":"2.0","id":1,"method":"reload"}\\n')
stream.flush()
print(stream.readline().decode())
"""


def test_root_of_another_namespace_is_not_root(large: Site) -> None:
    """user_namespaces(7): everybody may have one, and be root there."""
    uid = next(UIDS)
    done = subprocess.run(
        [sys.executable, "-c", _OTHER_ROOT, str(large.socket), str(uid)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("no user namespaces here")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == -32002
    assert str(uid) in done.stdout
