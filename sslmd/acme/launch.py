"""A program that dies with the daemon: run by path, `python -I -S launch.py PARENT PROGRAM …`.

It asks the kernel for SIGKILL when its parent ends (prctl(2), PR_SET_PDEATHSIG, which outlives
execve) and becomes PROGRAM. So a daemon that is killed leaves no certbot behind that would offer
challenges nobody watches over (I8), and no openssl that works for nobody. Imports little: it stands
before every order.

A script of Python, as certbot is, is run within an interpreter that nobody else may look into: it
reads the keys of accounts (see `sslmd.memory`; execve loses that). What reads the words of a CA
runs under limits as well (`limited`), set before it is there: a CA that sends without end fills
neither memory nor disk, and the kernel ends its certbot before the daemon.
"""

import ctypes
import os
import re
import resource
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
CANNOT = 127  # as a shell says that a program cannot be started

_CLOSED = "--closed"
_PYTHON = re.compile(r"python[0-9.]*\Z")
# In the environment, because it goes no further: `main` takes it out.
_LIMITED = "SSLM_LIMITED"

# For certbot and its hooks, each process on its own; what an order of 100 names takes is beside it.
# Processes are counted for all of the user, the daemon's ssh among them, and not at all for root.
MEMORY = 256 << 20  # bytes of its own; 60 MB
ADDRESS_SPACE = 512 << 20  # bytes, with files that are mapped: some have 220 MB of locales
FILE_SIZE = 16 << 20  # bytes; a log of 1 MB
PROCESSES = 4096  # 4, beside those of a desktop
OPEN_FILES = 256  # 20
CPU_TIME = 120  # seconds; 3

LIMITS = (
    (resource.RLIMIT_DATA, MEMORY),
    (resource.RLIMIT_AS, ADDRESS_SPACE),
    (resource.RLIMIT_FSIZE, FILE_SIZE),
    (resource.RLIMIT_NPROC, PROCESSES),
    (resource.RLIMIT_NOFILE, OPEN_FILES),
    (resource.RLIMIT_CPU, CPU_TIME),
)
# At the first of both it is told by SIGXCPU, at the second it is killed.
_GRACE = {resource.RLIMIT_CPU: 10}


def tied() -> tuple[str, ...]:
    """Return what stands before a command that is to end with the daemon."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()))


def closed(script: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command of a Python script that nobody else may look into."""
    return (python, "-I", __file__, _CLOSED, script)


def limited() -> dict[str, str]:
    """Return what has to be in the environment of a tied command that is to run under limits."""
    return {_LIMITED: "1"}


def _limit() -> None:
    for which, most in LIMITS:
        _, hard = resource.getrlimit(which)
        limits = (most, most + _GRACE.get(which, 0))
        if hard != resource.RLIM_INFINITY:
            limits = (min(limits[0], hard), min(limits[1], hard))
        resource.setrlimit(which, limits)
    # proc(5): where memory is short for all, this one ends first, not the daemon.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def main(argv: list[str]) -> None:
    """Become the program of `argv`, which begins with the process id of the parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    if argv[0] == _CLOSED:
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        _run(argv[1:])
        return
    parent = int(argv[0])
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"cannot be tied to the daemon: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit("the daemon is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.environ.pop(_LIMITED, ""):
        try:
            _limit()
        except (OSError, ValueError) as err:
            sys.exit(f"its limits cannot be set: {err}; it was not started")
    os.environ["SSLM_GROUP"] = str(os.getpgrp())  # what a hook ends when it loses the daemon
    program, *words = argv[1:]
    if python := _python_of(program):
        program, *words = *closed(program, python), *words
    try:
        os.execv(program, [program, *words])  # noqa: S606  (no shell is meant)
    except OSError as err:
        sys.stderr.write(f"cannot start {argv[1]}: {err.strerror}\n")
        sys.exit(CANNOT)


def _python_of(path: str) -> str:
    """Return the interpreter of a script of Python, by its first line; "" for anything else."""
    try:
        with open(path, "rb") as file:
            words = os.fsdecode(file.readline(1000)).split()
    except OSError:
        return ""
    if len(words) != 1 or not words[0].startswith("#!") or not os.access(path, os.X_OK):
        return ""
    python = words[0].removeprefix("#!")
    return python if _PYTHON.match(os.path.basename(python)) else ""


def _run(argv: list[str]) -> None:
    import runpy

    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
