"""Hosts on one machine: a copy lands on the one it is for, and goes wrong as on real ones."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.stand import host, nginx, postfix
from tests.stand.client import TlsClient
from tests.stand.host import Host, User
from tests.stand.nginx import Nginx
from tests.stand.pair import Pair
from tests.stand.postfix import KeyFiles, Postfix
from tests.stand.server import ROOT, wait_until
from tests.stand.sshd import OWN_CALL, ssh_on_path

WEB, MAIL = "web1.example.net", "mail1.example.net"
FILE = Path("example.com/web/curr/privkey.pem")
LIMITS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=1")


class World:
    """A top directory as the daemon has it, and hosts that it copies to."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        self.top = top
        self.prod = top / "site" / "prod-certs"
        self.stack = stack
        self.bin_dir = top / "bin"
        self.hosts: list[Host] = []
        self.put("here")

    def host(self, name: str = WEB, **options: object) -> Host:
        """Start a host whose certificates are where they are here."""
        address = f"127.0.0.{len(self.hosts) + 2}"
        one = Host(self.top / name, [name], self.prod, address=address, **options)  # type: ignore[arg-type]
        self.hosts.append(self.stack.enter_context(one))
        ssh_on_path(self.bin_dir, *self.hosts)
        return one

    def put(self, text: str) -> None:
        path = self.prod / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    def do(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command that finds the ssh which knows the hosts."""
        env = {**os.environ, OWN_CALL: "yes", "PATH": f"{self.bin_dir}:{os.environ['PATH']}"}
        return subprocess.run(
            argv, env=env, capture_output=True, text=True, check=False, timeout=60
        )

    def ssh(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.do("ssh", *LIMITS, name, *words)

    def copy(self, name: str = WEB, *options: str) -> subprocess.CompletedProcess[str]:
        """Copy everything to the same place on a host."""
        # Without --checksum, what has the same size and was written in the same second is not
        # copied, and a key and a certificate may come to stand there that are no pair.
        shell = shlex.join(["ssh", *LIMITS])
        return self.do(
            *("rsync", "-rlpt", "--checksum", "--mkpath", "-e", shell, "--timeout", "5", *options),
            *(f"{self.prod}/", f"{name}:{self.prod}/"),
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    if lacking := host.missing():
        pytest.skip(lacking)
    with ExitStack() as stack:
        yield World(tmp_path, stack)


# --- what is a host's own ---


def test_each_host_has_its_own_of_the_same_path(world: World) -> None:
    web, mail = world.host(WEB), world.host(MAIL)
    done = world.copy(WEB)
    assert done.returncode == 0, done.stderr + web.log()
    assert (web.root / FILE).read_text() == "here"
    assert (web.root / FILE).stat().st_mode & 0o777 == 0o600
    assert list(mail.root.iterdir()) == []
    world.put("there")
    assert world.copy(MAIL).returncode == 0
    assert [(one.root / FILE).read_text() for one in (web, mail)] == ["here", "there"]
    for one in (web, mail):
        assert one.run(["cat", str(world.prod / FILE)]) == (one.root / FILE).read_text()
    # Another machine knows nothing of what else is here.
    assert web.run(["ls", str(world.prod.parent)]) == "prod-certs\n"
    (world.prod / FILE).unlink()
    assert "here" in world.ssh(WEB, "cat", str(world.prod / FILE)).stdout


def test_the_path_may_be_missing_outside(world: World) -> None:
    web = Host(world.top / "web", [WEB], world.top / "no" / "such" / "place")
    with web:
        assert not web.path.exists()
        assert web.run(["ls", "-a", str(web.path)]) == ".\n..\n"
        assert web.run(["ls", str(web.path.parent)]) == "place\n"


def test_users_and_groups_differ(world: World) -> None:
    people = [User("certs", 5101, ["tlskeys"])]
    web = world.host(WEB, user="certs", users=people, groups={"tlskeys": 5201, "mail": None})
    mail = world.host(MAIL, groups={"tlskeys": 5301})
    assert world.ssh(WEB, "id").stdout == (
        "uid=5101(certs) gid=5101(certs) groups=5101(certs),5201(tlskeys)\n"
    )
    assert world.ssh(MAIL, "id -u; getent group tlskeys mail").stdout == (
        "0\ntlskeys:x:5301:\nmail:x:8:\n"
    )
    assert world.ssh(WEB, "getent group mail").returncode == 2
    assert world.ssh(MAIL, "id certs").returncode == 1
    assert world.copy(WEB, "--chown=:tlskeys", "-og").returncode == 0
    found = (web.root / FILE).stat()
    assert (found.st_uid, found.st_gid) == (5101, 5201)
    assert web.run(["cat", str(world.prod / FILE)], user="certs") == "here"
    assert world.copy(MAIL, "--chown=:tlskeys", "-og").returncode == 0
    assert (mail.root / FILE).stat().st_gid == 5301
    assert web.commands()[0] == mail.commands()[0].partition(" ")[0] == "id"


# --- what goes wrong ---


def refused(world: World) -> subprocess.CompletedProcess[str]:
    """Try to copy by an ssh that fails."""
    done = world.copy()
    # That of ssh, or rsync's own for an end that it did not expect: as it happens.
    assert done.returncode in (255, 12)
    return done


@pytest.mark.parametrize("leave", [0, 8192])
def test_a_full_disk_has_room_again(world: World, leave: int) -> None:
    web = world.host(disk="256k")
    assert world.copy().returncode == 0
    world.put("x" * 20_000)
    web.fill_disk(leave)
    # Of what it says, "No space left on device" may get lost when the far side gives up.
    assert world.copy().returncode in (11, 12)
    assert (web.root / FILE).read_text() == "here"
    web.free_disk()
    assert world.copy().returncode == 0
    # A disk outlives its server.
    web.stop()
    web.start()
    assert (web.root / FILE).read_text() == "x" * 20_000
    assert web.run(["cat", str(world.prod / FILE)]) == "x" * 20_000


def test_a_frozen_host_says_nothing(world: World) -> None:
    web = world.host()
    web.freeze()
    done = world.copy()
    assert done.returncode != 0
    assert "timed out" in done.stderr
    web.thaw()
    assert world.copy().returncode == 0


def test_a_host_that_is_down_comes_back(world: World) -> None:
    web = world.host()
    web.stop()
    assert "refused" in world.copy().stderr
    web.start()
    assert world.copy().returncode == 0


def test_another_host_key_is_refused(world: World) -> None:
    web = world.host()
    web.new_host_key()
    web.stop()
    web.start()
    done = refused(world)
    assert "Host key verification failed" in done.stderr
    web.know_host_key()
    assert world.copy().returncode == 0


def test_a_password_is_nobodys(world: World) -> None:
    web = world.host()
    web.want_password()
    done = refused(world)
    assert "Permission denied (publickey,password)" in done.stderr
    web.take_key()
    assert world.copy().returncode == 0


def test_what_is_said_first_breaks_the_protocol(world: World) -> None:
    web = world.host(user="certs", users=[User("certs", 5101)])
    web.say_first("Welcome to web1!\n")
    assert world.ssh(WEB, "echo hello").stdout == "Welcome to web1!\nhello\n"
    done = world.copy()
    assert done.returncode != 0
    assert "is your shell clean?" in done.stderr
    web.say_first("")
    assert world.copy().returncode == 0


def test_a_program_may_be_missing(world: World) -> None:
    web = world.host(user="certs", users=[User("certs", 5101)])
    web.hide("rsync")
    done = world.copy()
    assert done.returncode != 0
    assert "rsync: not found" in done.stderr
    assert world.ssh(WEB, "command -v cat").stdout == f"{web.folder}/programs/cat\n"
    web.show_all()
    assert world.copy().returncode == 0


# --- its servers ---


def test_nginx_on_a_host_reads_what_was_copied(world: World) -> None:
    if lacking := nginx.missing():
        pytest.skip(lacking)
    web = world.host()
    root = Pair(world.top, "root")
    curr = (world.prod / FILE).parent
    Pair(world.top, "first", root, "www.example.com").put(curr)
    assert world.copy().returncode == 0
    files = (curr / "fullchain.pem", curr / "privkey.pem")
    server = Nginx(web.folder / "nginx", {}, tls=[files], within=web)
    client = TlsClient(
        world.top / "client", web.address, server.tls_port, "www.example.com", root.cert_file
    )
    with server, client:
        assert server.host == web.address
        Pair(world.top, "second", root, "www.example.com").put(curr)
        assert world.ssh(WEB, server.restart_cmd).returncode == 0
        client.wait(5)
        assert len(client.outcome().serials) == 1
        assert world.copy().returncode == 0
        with client:
            done = world.ssh(WEB, server.restart_cmd)
            assert done.returncode == 0, done.stderr
            wait_until(lambda: len(client.serials()) == 2, "the new certificate")
        assert client.outcome().failures == []
        (web.root / FILE).write_text("no key")
        assert world.ssh(WEB, server.restart_cmd).returncode == 1


def test_postfix_on_a_host_reads_what_was_copied(world: World) -> None:
    if lacking := postfix.missing():
        pytest.skip(lacking)
    mail = world.host(MAIL)
    curr = (world.prod / FILE).parent
    pairs = [Pair(world.top, name) for name in ("first", "second")]
    files = pairs[0].put(curr)
    assert world.copy(MAIL).returncode == 0
    with Postfix(mail.folder / "postfix", files, keys=KeyFiles.COPIED, within=mail) as server:
        assert server.served() == pairs[0].der
        pairs[1].put(curr)
        assert server.reload().returncode == 0
        assert world.copy(MAIL).returncode == 0
        assert world.ssh(MAIL, server.restart_cmd).returncode == 0
        wait_until(lambda: server.served() == pairs[1].der, "the new certificate")
        assert server.reloads() == 2


# --- its end ---


def sees(text: str) -> set[str]:
    """Return the processes for which something is mounted with such a name."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text in (process / "mounts").read_text():
                found.add(process.name)
    return found


def test_nothing_of_a_host_is_left(world: World) -> None:
    web = world.host(disk="256k")
    prod = f" {world.prod} "
    left = subprocess.Popen(web.command_in(["sleep", "1000"]))
    wait_until(lambda: str(left.pid) in sees(prod), "a process on the host")
    assert str(os.getpid()) not in sees(prod)
    web.close()
    assert left.wait(10) == -signal.SIGKILL
    assert sees(prod) == set()
    with web:
        assert world.copy().returncode == 0


def test_a_host_ends_with_its_test(world: World) -> None:
    program = f"""
import os, pathlib, signal
from tests.stand.host import Host
top = pathlib.Path({str(world.top)!r})
one = Host(top / "web", ["web"], top / "certs")
print(one.run(["cat", "/proc/mounts"]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    prod = f" {world.top}/certs "
    assert prod in done.stdout
    wait_until(lambda: not sees(prod), "the end of its namespace")
