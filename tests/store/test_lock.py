"""One daemon per tree."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.store.layout import Tree
from sslmd.store.lock import TreeLock

_HOLDER = """
import sys
from sslmd.store.lock import TreeLock
lock = TreeLock(sys.argv[1])
lock.take()
print("taken", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_daemon(path: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return Tree(f"{tmp_path}/certs").lock_file


def test_a_second_daemon_is_refused_by_pid_and_sigkill_frees_the_lock(path: str) -> None:
    with other_daemon(path) as process:
        with pytest.raises(Permanent, match=rf"another sslmd \(pid {process.pid}\) works on"):
            TreeLock(path).take()
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock = TreeLock(path)
        lock.take()
        lock.release()


def test_released_it_can_be_taken_again(path: str) -> None:
    first, second = TreeLock(path), TreeLock(path)
    first.take()
    with pytest.raises(Permanent, match=rf"pid {os.getpid()}\b"):
        second.take()
    first.release()
    first.release()
    second.take()
    assert Path(path).read_text() == f"{os.getpid()}\n"
    second.release()
    assert Path(path).exists()


def test_a_command_does_not_inherit_it(path: str) -> None:
    lock = TreeLock(path)
    lock.take()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        other = TreeLock(path)
        other.take()
        other.release()
        child.kill()


def test_a_tree_that_all_can_write_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs").chmod(0o777)
    with pytest.raises(Permanent, match="run: chmod o-w"):
        TreeLock(path).take()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_tree_of_somebody_else_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "certs").mkdir()
    os.chown(tmp_path / "certs", 12345, 0)
    with pytest.raises(Permanent, match="belongs to uid 12345"):
        TreeLock(path).take()


def test_what_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "certs").mkdir()
    Path(path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Permanent, match=re.escape(path)):
        TreeLock(path).take()
    assert not (tmp_path / "elsewhere").exists()
    Path(path).unlink()
    Path(path).mkdir()
    with pytest.raises(Permanent, match=re.escape(path)):
        TreeLock(path).take()
