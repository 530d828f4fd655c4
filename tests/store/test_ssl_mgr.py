"""Whether ssl-mgr is at work on a tree: its lock, its processes, and what only looks like it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sslmd.store.ssl_mgr import Machine, at_work

# Says that it runs, and goes on until its input is closed.
WAITS = "import sys; print('here', flush=True); sys.stdin.read()"

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start a program that waits; all are ended."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *argv: object, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        program: subprocess.Popen[str] = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            cwd=cwd,
        )
        started.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "here\n"
        return program

    yield start
    for program in started:
        program.communicate()


def site(tmp_path: Path) -> Path:
    conf = tmp_path / "site" / "conf.d"
    conf.mkdir(parents=True)
    return conf


def script(folder: Path, content: str = f"# of ssl_mgr\n{WAITS}\n") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "sslm-mgr"
    path.write_text(content)
    return path


# --- processes --------------------------------------------------------------------------


def test_a_process_that_works_on_this_tree(tmp_path: Path, run: Run) -> None:
    conf = site(tmp_path)
    program = script(tmp_path / "bin")
    assert at_work(conf) is None
    running = run(sys.executable, program, "-renew", env={"SSL_MGR_TOPDIR": str(conf.parent)})
    found = at_work(conf)
    assert found is not None
    assert found.pid == running.pid
    assert "sslm-mgr -renew" in found.what


def test_one_that_was_started_in_the_top_directory(tmp_path: Path, run: Run) -> None:
    conf = site(tmp_path)
    running = run(sys.executable, "-u", script(tmp_path / "bin"), cwd=conf.parent, env={})
    found = at_work(conf)
    assert found is not None
    assert found.pid == running.pid


@pytest.mark.parametrize("what", ["another tree", "sslmd's own", "another program", "an argument"])
def test_who_does_not_count(tmp_path: Path, run: Run, what: str) -> None:
    conf = site(tmp_path)
    here = {"SSL_MGR_TOPDIR": str(conf.parent)}
    if what == "another tree":
        (tmp_path / "other").mkdir()
        env = {"SSL_MGR_TOPDIR": str(tmp_path / "other")}
        run(sys.executable, script(tmp_path / "bin"), env=env, cwd=tmp_path)
    elif what == "sslmd's own":
        ours = script(tmp_path / "bin", f"# from sslmd.ctl.sslm_mgr import main\n{WAITS}\n")
        run(sys.executable, ours, env=here)
    elif what == "another program":
        (tmp_path / "sslm-mgrd").write_text(WAITS)
        run(sys.executable, tmp_path / "sslm-mgrd", env=here)
    else:
        run(sys.executable, "-c", WAITS, "sslm-mgr", env=here)
    assert at_work(conf) is None


def test_a_process_of_somebody_else_does_not_count(tmp_path: Path) -> None:
    """Any user can call a program so, and start one with more rights (setuid)."""
    conf = site(tmp_path)
    for uids in ("4711 4711 4711 4711", "4711 0 0 0"):
        machine = pretended(tmp_path, uids, conf)
        assert at_work(conf, machine) is None
    assert at_work(conf, pretended(tmp_path, "0 0 0 0", conf)) is not None


def pretended(tmp_path: Path, uids: str, conf: Path) -> Machine:
    """A machine with one process."""
    process = tmp_path / "proc" / "4000000"
    process.mkdir(parents=True, exist_ok=True)
    (process / "status").write_text(f"Name:\tsslm-mgr\nUid:\t{uids}\n")
    (process / "cmdline").write_bytes(b"/usr/bin/python3\0/nowhere/sslm-mgr\0-roll\0")
    (process / "environ").write_bytes(f"SSL_MGR_TOPDIR={conf.parent}\0".encode())
    if not (process / "cwd").is_symlink():
        (process / "cwd").symlink_to("/")
    return Machine(str(tmp_path / "proc"), str(tmp_path))


def test_one_that_tells_nothing_of_itself_counts(tmp_path: Path) -> None:
    """It has rights that the daemon has not: on which tree it works is not known."""
    conf = site(tmp_path)
    machine = pretended(tmp_path, "0 0 0 0", tmp_path / "other" / "conf.d")
    assert at_work(conf, machine) is None
    (tmp_path / "proc/4000000/cwd").unlink()
    found = at_work(conf, machine)
    assert found is not None
    assert "sslm-mgr -roll" in found.what


# --- the lock ---------------------------------------------------------------------------

LOCKS = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("here", flush=True)
sys.stdin.read()
"""


def lock_file(tmp: Path, name: str) -> Path:
    folder = tmp / f"sslm-mgr-lck.{os.geteuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder / hashlib.sha3_224(name.encode()).hexdigest()[:32]


def test_the_lock(tmp_path: Path, run: Run) -> None:
    conf = site(tmp_path)
    machine = Machine(tmp=str(tmp_path))
    path = lock_file(tmp_path, str(conf))
    path.touch()
    assert at_work(conf, machine) is None  # left behind, and nobody holds it
    holder = run(sys.executable, "-c", LOCKS, path)
    found = at_work(conf, machine)
    assert found is not None
    assert found.pid == holder.pid
    assert str(path) in found.what
    holder.communicate()
    assert at_work(conf, machine) is None


def test_the_lock_of_who_works_in_its_working_directory(tmp_path: Path, run: Run) -> None:
    """ssl-mgr calls that `./conf.d`, whichever it is."""
    conf = site(tmp_path)
    (tmp_path / "other").mkdir()
    machine = Machine(tmp=str(tmp_path))
    path = lock_file(tmp_path, "./conf.d")
    elsewhere = run(sys.executable, "-c", LOCKS, path, cwd=tmp_path / "other")
    assert at_work(conf, machine) is None
    elsewhere.communicate()
    run(sys.executable, "-c", LOCKS, path, cwd=conf.parent)
    assert at_work(conf, machine) is not None


@pytest.mark.parametrize("what", ["a link", "a folder for all", "a linked folder", "a stranger"])
def test_a_lock_that_anybody_could_hold_does_not_count(tmp_path: Path, run: Run, what: str) -> None:
    conf = site(tmp_path)
    machine = Machine(tmp=str(tmp_path))
    path = lock_file(tmp_path, str(conf))
    holder = run(sys.executable, "-c", LOCKS, path)
    assert at_work(conf, machine) is not None
    if what == "a link":
        path.rename(tmp_path / "file")
        path.symlink_to(tmp_path / "file")
    elif what == "a folder for all":
        path.parent.chmod(0o777)
    elif what == "a linked folder":
        path.parent.rename(tmp_path / "elsewhere")
        path.parent.symlink_to(tmp_path / "elsewhere")
    else:
        # Whoever can open the file can lock it: the holder has to be trusted as well.
        proc = tmp_path / "proc"
        (proc / str(holder.pid)).mkdir(parents=True)
        (proc / str(holder.pid) / "status").write_text("Uid:\t4711 4711 4711 4711\n")
        (proc / "locks").write_bytes(Path("/proc/locks").read_bytes())
        machine = Machine(str(proc), str(tmp_path))
        assert f" {holder.pid} " in (proc / "locks").read_text()
    assert at_work(conf, machine) is None


def test_looking_takes_no_lock(tmp_path: Path) -> None:
    conf = site(tmp_path)
    path = lock_file(tmp_path, str(conf))
    path.touch()
    handle = os.open(path, os.O_RDWR)
    try:
        for _ in range(3):
            at_work(conf, Machine(tmp=str(tmp_path)))
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)
