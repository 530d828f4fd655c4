"""A program that dies with the daemon: run by path, `python -I -S launch.py PARENT PROGRAM …`.

It asks the kernel for SIGKILL when its parent ends (prctl(2), PR_SET_PDEATHSIG, which outlives
execve) and becomes PROGRAM. So a daemon that is killed leaves no certbot behind that would offer
challenges nobody watches over (I8), and no openssl that works for nobody. Imports little: it stands
before every order.

What reads the words of a CA runs under limits as well (`limited`), set before it is there: a CA
that sends without end fills neither memory nor disk, and the kernel ends its certbot before the
daemon.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
CANNOT = 127  # as a shell says that a program cannot be started

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
    parent = int(argv[0])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"cannot be tied to the daemon: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit("the daemon is gone")
    if os.environ.pop(_LIMITED, ""):
        try:
            _limit()
        except (OSError, ValueError) as err:
            sys.exit(f"its limits cannot be set: {err}; it was not started")
    os.environ["SSLM_GROUP"] = str(os.getpgrp())  # what a hook ends when it loses the daemon
    try:
        os.execv(argv[1], argv[1:])  # noqa: S606  (no shell is meant)
    except OSError as err:
        sys.stderr.write(f"cannot start {argv[1]}: {err.strerror}\n")
        sys.exit(CANNOT)


if __name__ == "__main__":
    main(sys.argv[1:])
