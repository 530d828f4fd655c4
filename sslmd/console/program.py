"""How every program of ours runs and ends: what it says, and its exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping

from sslmd.console.text import complain, printable
from sslmd.wire.messages import ErrorCode, WireError

DONE = 0
FAILED = 1
USAGE = 2
NO_DAEMON = 3
NOT_PERMITTED = 4
WAITING = 5  # accepted, and it waits for something that may take long
BROKEN_PIPE = 128 + 13  # as the shell calls an end by SIGPIPE

_EXITS: Mapping[int, int] = {
    ErrorCode.NOT_PERMITTED: NOT_PERMITTED,
    ErrorCode.UNKNOWN_CERT: USAGE,
    ErrorCode.STOPPING: NO_DAEMON,
}


class CtlError(Exception):
    """The command failed; the text says what, where, and the way out."""

    def __init__(self, text: str, exit_status: int = FAILED) -> None:
        super().__init__(text)
        self.text = text
        self.exit_status = exit_status


class NoDaemon(CtlError):
    """No daemon answers."""

    def __init__(self, text: str) -> None:
        super().__init__(text, NO_DAEMON)


class RefusedByDaemon(CtlError):
    """The daemon refused the request. `details`: more lines, as the mistakes of a file.

    `warnings`: what else is odd.
    """

    def __init__(self, error: WireError) -> None:
        super().__init__(error.text, _EXITS.get(error.code, FAILED))
        self.code = error.code
        data = error.data if isinstance(error.data, dict) else {}
        mistakes, warnings = data.get("mistakes"), data.get("warnings")
        self.details = mistakes if isinstance(mistakes, list) else []
        self.warnings = warnings if isinstance(warnings, list) else []


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
