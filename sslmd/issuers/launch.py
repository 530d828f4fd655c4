"""A program that dies with the daemon: run by path, `python -I -S launch.py PARENT PROGRAM …`.

It asks the kernel for SIGKILL when its parent ends (prctl(2), PR_SET_PDEATHSIG, which outlives
execve) and becomes PROGRAM. So a daemon that is killed leaves no certbot behind that would offer
challenges nobody watches over (I8), and no openssl that works for nobody. Imports little: it stands
before every order.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT = 127  # as a shell says that a program cannot be started


def tied() -> tuple[str, ...]:
    """Return what stands before a command that is to end with the daemon."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()))


def main(argv: list[str]) -> None:
    """Become the program of `argv`, which begins with the process id of the parent."""
    parent = int(argv[0])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"cannot be tied to the daemon: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit("the daemon is gone")
    os.environ["SSLM_GROUP"] = str(os.getpgrp())  # what a hook ends when it loses the daemon
    try:
        os.execv(argv[1], argv[1:])  # noqa: S606  (no shell is meant)
    except OSError as err:
        sys.stderr.write(f"cannot start {argv[1]}: {err.strerror}\n")
        sys.exit(CANNOT)


if __name__ == "__main__":
    main(sys.argv[1:])
