"""What the network process may not, as seen from outside and tried from inside."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sslmd.net import client, sandbox
from sslmd.net.client import Net
from sslmd.net.messages import PING, Alive, NetLimit

_USER = "nobody"

# Tried inside: each in a function, its result a word.
_TRIES = (
    f"""
import sys
sys.path.insert(0, {os.getcwd()!r})
"""
    + """
import ctypes, json, os, platform, socket, sys, threading
from sslmd.net import sandbox
key, folder, parent = sys.argv[1:4]
held = sandbox.enter(sys.argv[4])

def tried(do):
    try:
        do()
    except OSError as err:
        return err.strerror
    except Exception as err:
        return type(err).__name__
    return "done"

def thread():
    one = threading.Thread(target=int)
    one.start()
    one.join()

def to(number):
    def call():
        if libc.syscall(number, int(parent), int(parent), 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return call

def bind():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()

libc = ctypes.CDLL(None, use_errno=True)

def trace():
    if libc.ptrace(16, int(parent), None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

print(json.dumps({
    "held": held,
    "read a key": tried(lambda: open(key).read()),
    "list its folder": tried(lambda: os.listdir(os.path.dirname(key))),
    "read /etc/shadow": tried(lambda: open("/etc/shadow").read()),
    "read /etc/passwd": tried(lambda: open("/etc/passwd").read()),
    "write": tried(lambda: open(folder + "/x", "w")),
    "write in /tmp": tried(lambda: open("/tmp/sslmd-test-x", "w")),
    "remove": tried(lambda: os.unlink(key)),
    "make a folder": tried(lambda: os.mkdir(folder + "/y")),
    "start a process": tried(os.fork),
    "signal a thread of the daemon": tried(to(234 if platform.machine() == "x86_64" else 131)),
    "connect to a server on this machine": tried(lambda: socket.socket(socket.AF_UNIX)),
    "start a thread": tried(thread),
    "start a program": tried(lambda: os.execv("/bin/true", ["true"])),
    "signal the daemon": tried(lambda: os.kill(int(parent), 0)),
    "look into the daemon": tried(lambda: open(f"/proc/{parent}/mem", "rb")),
    "trace the daemon": tried(trace),
    "become root": tried(lambda: os.setuid(0)),
    "take a port": tried(bind),
    "look up a host": tried(lambda: socket.getaddrinfo("localhost", 80)),
    "read the resolver's file": tried(lambda: open("/etc/resolv.conf").read()),
}))
"""
)


def _tried(tmp_path: Path, user: str) -> dict[str, Any]:
    key = tmp_path / "privkey.pem"
    key.write_text("a key")
    if user == "":
        key.chmod(0o644)
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", _TRIES, str(key), str(tmp_path), str(os.getpid()), user],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


_NO = ("Permission denied", "Operation not permitted")


@pytest.mark.parametrize("user", [_USER, ""])
def test_nothing_but_the_network_is_left(tmp_path: Path, user: str) -> None:
    if user and os.geteuid() != 0:
        pytest.skip("another user: only root can become one")
    found = _tried(tmp_path, user)
    held = found.pop("held")
    for word in ("landlock", "seccomp"):
        if word not in held:
            pytest.skip(f"this kernel has no {word}")
    for may in ("look up a host", "read the resolver's file", "start a thread"):
        assert found.pop(may) == "done"
    assert {what: result for what, result in found.items() if result not in _NO} == {}


async def test_seen_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str | BaseException] = []
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    net = Net({}, told.append, told.append, said=told.append, user=_USER)
    with socket.create_server(("127.0.0.1", 0)) as listener, open(tmp_path / "lock", "w") as lock:
        # As if somebody had forgotten to close them.
        for file in (listener, lock):
            os.set_inheritable(file.fileno(), True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        await net.start()
        try:
            answer = await net.call(PING, Alive())
            proc = Path(f"/proc/{net.pid}")
            _status_is_narrow(proc, answer.limits)
            if os.geteuid() == 0:
                _has_only_what_it_needs(proc, os.fstat(listener.fileno()).st_ino)
            limits = (proc / "limits").read_text()
            for line in ("Max core file size        0", "Max file size             0"):
                assert line in limits
            assert re.search(rf"Max data size +{sandbox.MEMORY} ", limits)
            assert re.search(r"Max open files +(\d+)", limits)
        finally:
            await net.stop()
    assert not told


def _status_is_narrow(proc: Path, limits: tuple[NetLimit, ...]) -> None:
    lines = (proc / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Name"] == "sslmd-net"
    assert status["Umask"] == "0077"
    assert int((proc / "oom_score_adj").read_text()) == sandbox.OOM_SCORE
    if os.geteuid() == 0:
        entry = pwd.getpwnam(_USER)
        assert status["Uid"].split() == [str(entry.pw_uid)] * 4
        assert status["Gid"].split() == [str(entry.pw_gid)] * 4
        assert status["Groups"].strip() == ""
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"] == "1"
    if NetLimit.SECCOMP in limits:
        assert status["Seccomp"] == "2"
    assert set(limits) >= {NetLimit.CAPABILITIES, NetLimit.NO_NEW_PRIVS}
    if os.geteuid() == 0:
        assert NetLimit.UID in limits


def _has_only_what_it_needs(proc: Path, listener: int) -> None:
    files = {int(name): os.readlink(proc / "fd" / name) for name in os.listdir(proc / "fd")}
    assert files.pop(0) == files.pop(1) == "/dev/null"
    assert files.pop(2).startswith("pipe:")
    # The link, the two ends by which the event loop wakes itself, and what it waits with.
    kinds = sorted(name.partition(":")[0] for name in files.values())
    assert kinds == ["anon_inode", "socket", "socket", "socket"]
    assert f"socket:[{listener}]" not in files.values()
    assert os.readlink(proc / "cwd") == "/"
    environment = (proc / "environ").read_bytes().rstrip(b"\0").split(b"\0")
    names = {one.partition(b"=")[0].decode() for one in environment if one}
    assert names <= {*client.PASSED, "LC_CTYPE"}  # which Python sets itself


_BECOME = f"""
import os, sys
sys.path.insert(0, {os.getcwd()!r})
from sslmd.net import sandbox
sandbox.os.setresuid = getattr(os, sys.argv[2])
print(sandbox.become(sys.argv[1]), os.geteuid())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("user", "call", "becomes"),
    [
        ("nobody", "setresuid", "uid"),
        ("sslmd-nobody-has-this", "setresuid", "nobody"),
        ("root", "setresuid", "nobody"),
        ("nobody", "setpriority", None),  # which fails, as the kernel may refuse
    ],
)
def test_a_user_that_cannot_be_is_another_one(user: str, call: str, becomes: str | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BECOME, user, call], capture_output=True, text=True, timeout=60
    )
    uid = pwd.getpwnam("nobody").pw_uid if becomes else 0
    assert (done.stdout.split(), done.stderr) == ([str(becomes), str(uid)], "")
