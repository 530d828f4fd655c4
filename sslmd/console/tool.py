"""How every command of ours runs and ends: what it says, and its exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

from sslmd.console.errors import BROKEN_PIPE, FAILED, CtlError, RefusedByDaemon
from sslmd.console.text import complain, printable


def run_tool(name: str, work: Callable[[], int]) -> int:
    """Run a command; return its exit status.

    `work` raises `CtlError` for what a person should hear of.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a sign gets its number, never a traceback.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if not sys.warnoptions:
        # What libraries have to say to programmers about odd certificates is not for admins.
        warnings.simplefilter("ignore")
    try:
        exit_status = _run(name, work)
        sys.stdout.flush()
    except OSError as err:
        # The interpreter shall not try again, and complain, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(err, BrokenPipeError):  # who reads (head, less) has enough
            return BROKEN_PIPE
        complain(f"{name}: cannot write the output: {err.strerror}", "red")
        return FAILED
    return exit_status


def _run(name: str, work: Callable[[], int]) -> int:
    try:
        return work()
    except OSError as err:
        if err.filename is None:
            raise  # the output
        sys.stdout.flush()
        where = os.fsdecode(err.filename) if isinstance(err.filename, bytes) else err.filename
        complain(f"{name}: {printable(where)}: {err.strerror}; look at its rights", "red")
        return FAILED
    except CtlError as err:
        sys.stdout.flush()
        if isinstance(err, RefusedByDaemon):
            for line in err.details:
                complain(printable(line))
            for line in err.warnings:
                complain(f"warning: {printable(line)}", "yellow")
        complain(f"{name}: {printable(err.text)}", "red")
        return err.exit_status
    except KeyboardInterrupt:
        complain("\ninterrupted")
        return FAILED
