"""A program of ours as a process that is not started anew: for what it says, asks and writes.

Reading its modules takes longer than most of what is asked of it, and the tests have read them.
Where that is tested, or what comes before `main`, start it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from subprocess import CompletedProcess


def run_forked(
    main: Callable[[], object],
    argv: Sequence[object],
    *,
    env: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> CompletedProcess[str]:
    """Return how `main` ended with these words in `sys.argv`, and what it said.

    It returns its exit status, None for 0.

    `env` is all of its environment, ours if None; `given` is what it can read.
    """
    words = [str(one) for one in argv]
    with tempfile.TemporaryFile() as read, tempfile.TemporaryFile() as out:
        with tempfile.TemporaryFile() as err, warnings.catch_warnings():
            read.write(given)
            read.seek(0)
            # The other threads are of the fake daemon and of xdist: nothing of theirs is used.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
            if pid == 0:
                os._exit(_child(main, words, env, [one.fileno() for one in (read, out, err)]))
            try:
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            for one in (out, err):
                one.seek(0)
            return CompletedProcess(words, status, out.read().decode(), err.read().decode())


def become(files: Sequence[int], words: Sequence[str], env: Mapping[str, str] | None) -> None:
    """In a child: have these files as the first three, words in `sys.argv`, an environment."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, buffering, encoding="utf-8", closefd=False)
        for number, (mode, buffering) in enumerate((("r", -1), ("w", -1), ("w", 1)))
    )
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
        time.tzset()
    sys.argv = list(words)


def _child(
    main: Callable[[], object],
    words: list[str],
    env: Mapping[str, str] | None,
    files: Sequence[int],
) -> int:
    status: object = 1
    try:
        become(files, words, env)
        warnings.resetwarnings()
        status = main() or 0
    except SystemExit as end:  # of argparse
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    assert isinstance(status, int), status
    return status
