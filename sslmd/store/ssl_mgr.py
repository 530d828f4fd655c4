"""Whether ssl-mgr is at work on a tree at this moment (I13).

It holds a lock while it runs: flock(2) on `/tmp/sslm-mgr-lck.<euid>/<hash>`, where the hash is made
of the configuration's path as ssl-mgr writes it (5.2 to 7.8). Everybody may write to /tmp, and
whoever can open a file can lock it. So a lock counts only if folder, file and holder belong to root
or to the daemon's user; no file there is opened. Under systemd the daemon has a /tmp of its own
(PrivateTmp), so the running processes are looked at too.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sslmd.core.names import shown

# Where ssl-mgr looks for `conf.d`, beside $SSL_MGR_TOPDIR and the working directory.
_HOMES = ("/etc/ssl-mgr", "/opt/Local/etc/ssl-mgr")

# The names of the locks of 5.2 to 7.8: so many hex digits of SHA3-224.
_DIGITS = 32

_PROGRAMS = frozenset({"sslm-mgr", "sslm-mgr.py"})
_PYTHON = re.compile(r"python[0-9.]*\Z")

# Bytes. Command lines, environments and scripts that are longer are cut.
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to look: /proc and /tmp, unless a test says otherwise."""

    proc: str = "/proc"
    tmp: str = "/tmp"  # noqa: S108 - where ssl-mgr has its lock; nothing there is trusted


_HERE = Machine()


@dataclass(frozen=True, slots=True)
class AtWork:
    """A process of ssl-mgr's. `what`: how it was found, in words."""

    pid: int
    what: str


def at_work(conf_dir: Path, machine: Machine = _HERE) -> AtWork | None:
    """Return the process of ssl-mgr's that works on this configuration's tree, None if none does.

    One of which it cannot be told on which tree it works counts. Blocks; never raises.
    """
    for path, folder in _locks(conf_dir, machine):
        for pid in _holders(path, machine):
            if folder is None or _may_be_in(pid, folder, machine):
                return AtWork(pid, f"it holds the lock {path}")
    for pid in _processes(machine):
        words = _words(f"{machine.proc}/{pid}/cmdline")
        if _is_theirs(pid, words, machine) and _may_work_on(pid, conf_dir, machine):
            at = next(at for at, word in enumerate(words) if os.path.basename(word) in _PROGRAMS)
            command = " ".join(["sslm-mgr", *words[at + 1 :]])
            return AtWork(pid, f"its command line is {shown(command)}")
    return None


# --- the lock ---------------------------------------------------------------------------


def _locks(conf_dir: Path, machine: Machine) -> Iterator[tuple[str, str | None]]:
    """Yield the locks that may be of this configuration.

    With each the working directory that makes it so, None if there is none to look at.
    """
    names: dict[str, str | None] = dict.fromkeys(
        (str(conf_dir), os.path.realpath(conf_dir), f"{conf_dir.parent}//{conf_dir.name}")
    )
    names["./conf.d"] = os.path.realpath(conf_dir.parent)
    for euid in sorted({0, os.geteuid()}):
        folder = f"{machine.tmp}/sslm-mgr-lck.{euid}"
        if not _is_ours_alone(folder):
            continue
        for name, working in names.items():
            digits = hashlib.sha3_224(os.fsencode(name)).hexdigest()[:_DIGITS]
            yield f"{folder}/{digits}", working


def _is_ours_alone(folder: str) -> bool:
    try:
        info = os.lstat(folder)
    except OSError:
        return False
    return (
        stat.S_ISDIR(info.st_mode)
        and info.st_uid in (0, os.geteuid())
        and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _holders(path: str, machine: Machine) -> list[int]:
    """Return the trusted processes that hold a lock on a file (proc_locks(5))."""
    try:
        info = os.lstat(path)
        table = _read(f"{machine.proc}/locks").decode("ascii", "replace")
    except OSError:
        return []
    if not stat.S_ISREG(info.st_mode) or info.st_uid not in (0, os.geteuid()):
        return []
    where = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    found = []
    for line in table.splitlines():
        words = line.split()
        # "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; a waiting one has "->" before FLOCK.
        if len(words) < 6 or words[1] != "FLOCK" or not words[4].isdecimal():
            continue
        # btrfs has another device here than stat(2) tells: there, the process is found below.
        if words[5] == where and _is_trusted(int(words[4]), machine):
            found.append(int(words[4]))
    return found


# --- processes --------------------------------------------------------------------------


def _processes(machine: Machine) -> Iterator[int]:
    """Yield the trusted processes, but not this one."""
    try:
        names = os.listdir(machine.proc)
    except OSError:
        return
    for name in names:
        if name.isdecimal() and int(name) != os.getpid() and _is_trusted(int(name), machine):
            yield int(name)


def _is_trusted(pid: int, machine: Machine) -> bool:
    """Whether a process is root's or the daemon's user's, through and through.

    Somebody who starts a program with more rights (setuid) has a real user that tells.
    """
    try:
        status = _read(f"{machine.proc}/{pid}/status").decode("ascii", "replace")
    except OSError:
        return False
    users = next((line.split()[1:] for line in status.splitlines() if line[:4] == "Uid:"), [])
    return bool(users) and set(users) <= {"0", str(os.geteuid())}


def _is_theirs(pid: int, words: Sequence[str], machine: Machine) -> bool:
    """Whether a command line is that of ssl-mgr's `sslm-mgr`, not of the one that sslmd has."""
    if not words:
        return False
    program, script = os.path.basename(words[0]), words[0]
    if _PYTHON.match(program):
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        if "/sslmd/" in words[0]:
            return False
    if os.path.basename(script) not in _PROGRAMS or "/sslmd/" in os.path.realpath(script):
        return False
    path = script if script.startswith("/") else f"{machine.proc}/{pid}/cwd/{script}"
    with suppress(OSError):
        return b"sslmd" not in _read(path)
    return True


def _may_work_on(pid: int, conf_dir: Path, machine: Machine) -> bool:
    """Whether a process of ssl-mgr's may work on the tree of this configuration."""
    wanted = os.path.realpath(conf_dir)
    homes = list(_HOMES)
    try:
        homes.append(os.readlink(f"{machine.proc}/{pid}/cwd"))
        environment = _words(f"{machine.proc}/{pid}/environ", strict=True)
    except OSError:
        return True  # it has more rights than we have: nobody knows
    homes += [word.partition("=")[2] for word in environment if word.startswith("SSL_MGR_TOPDIR=")]
    return any(os.path.realpath(f"{home}/conf.d") == wanted for home in homes)


def _may_be_in(pid: int, folder: str, machine: Machine) -> bool:
    try:
        return os.path.realpath(os.readlink(f"{machine.proc}/{pid}/cwd")) == folder
    except OSError:
        return True


def _words(path: str, *, strict: bool = False) -> list[str]:
    """Return the words of a file of /proc; none if it cannot be read, unless `strict`: OSError."""
    try:
        data = _read(path)
    except OSError:
        if strict:
            raise
        return []
    return [os.fsdecode(word) for word in data.split(b"\0") if word]


def _read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        return file.read(_MOST)
