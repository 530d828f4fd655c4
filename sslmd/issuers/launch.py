"""A program that dies with the daemon: run by path, `python -I -S launch.py PARENT PROGRAM …`.

It asks the kernel for SIGKILL when its parent ends (prctl(2), PR_SET_PDEATHSIG, which outlives
execve) and becomes PROGRAM. So a daemon that is killed leaves no certbot behind that would offer
challenges nobody watches over (I8), and no openssl that works for nobody. Imports little: it stands
before every order.

A script of Python, as certbot is, is run within an interpreter that nobody else may look into: it
reads the keys of accounts (see `sslmd.memory`; execve loses that).
"""

import ctypes
import os
import re
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
CANNOT = 127  # as a shell says that a program cannot be started

_CLOSED = "--closed"
_PYTHON = re.compile(r"python[0-9.]*\Z")


def tied() -> tuple[str, ...]:
    """Return what stands before a command that is to end with the daemon."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()))


def closed(script: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command of a Python script that nobody else may look into."""
    return (python, "-I", __file__, _CLOSED, script)


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
