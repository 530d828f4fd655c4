"""What a process of ours has in memory stays there (I2), private keys above all; and what it frees.

`keep_private` is called first by every program that reads keys, whoever runs it and wherever: the
unit is not the only place. Costs a start some milliseconds, so the thin client does without.
"""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress

PR_SET_DUMPABLE = 4  # prctl(2)
_LIBC = ctypes.CDLL(None)


def keep_private() -> None:
    """Let no other process of the same user look into this one, and no core of it be written.

    Not dumpable: neither ptrace(2) nor /proc/PID/mem nor a program that takes cores
    (/proc/sys/kernel/core_pattern) gets at it; only root does. A fork keeps this. Who becomes
    another program (execve(2)) loses it, and keeps the limit, which nobody can raise again:
    `acme.launch` says it again for programs that are Python.

    From here on /proc/self belongs to root, as seen from outside; a process itself may still go
    through /proc/self/fd.
    """
    _LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    with suppress(OSError, ValueError):  # a sandbox may forbid it; the first counts for more
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def give_back() -> None:
    """Give what was freed back to the system (malloc_trim(3)); other libraries do so themselves."""
    with suppress(AttributeError):
        _LIBC.malloc_trim(0)
