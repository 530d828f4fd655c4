"""`sslmctl report`: how everything stands and what comes, as a page or in a terminal.

Made of the answers to `status`, `plan`, `alarms` and `metrics`.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from datetime import UTC, datetime

from sslmd.console.args import CERTS, Commands, arg, chosen, command, connect
from sslmd.console.program import DONE, FAILED, USAGE, CtlError, RefusedByDaemon
from sslmd.wire.messages import ErrorCode, Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.console.client import DaemonClient
    from sslmd.wire.messages import Json

# It names every certificate, host and fault: nothing for others to read unless the admin says so.
_MODE = 0o600


def add(commands: Commands) -> None:
    """Declare the command."""
    command(
        commands,
        "report",
        run,
        "show how everything stands, and what the next 30 days bring",
        "With --html as one page, that needs nothing else: a time line of every certificate, what "
        "failed, what comes, servers, DANE.",
        arg(
            "--html",
            metavar="FILE",
            help="write a page for browsers (mode 0600, or as the file has it); - for stdout",
        ),
        CERTS,
    )


def run(args: argparse.Namespace) -> int:
    """Print it, or write the page."""
    file = args.html
    if file is not None and file != "-":
        place = _place(file)  # before a daemon is asked for nothing
    # Here, because all of `sslmctl` would wait for what they import.
    from sslmd.ctl.report_facts import gather

    with connect(args) as daemon:
        which: dict[str, Json] = {"certs": chosen(args)}
        answers = daemon.call(Method.STATUS, which), daemon.call(Method.PLAN, which)
        more = _if_known(daemon, Method.ALARMS), _if_known(daemon, Method.METRICS)
    facts = gather(*answers, *more, datetime.now(UTC))
    if file is None:
        from sslmd.ctl.report_text import print_report

        print_report(facts)
        return DONE
    from sslmd.ctl.report_page import page

    body = page(facts).encode()
    if file == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(body)
        sys.stdout.flush()
        return DONE
    from sslmd.ctl.whole_file import write_whole

    write_whole(file, body, *place)
    return DONE


def _if_known(daemon: DaemonClient, method: Method) -> Json | None:
    """Ask what a daemon of before does not know."""
    try:
        return daemon.call(method, {})
    except RefusedByDaemon as err:
        if err.code != ErrorCode.METHOD_NOT_FOUND:
            raise
        return None


def _place(path: str) -> tuple[int, tuple[int, int] | None]:
    """Return the mode and the owner for the file; raises `CtlError` for what is none.

    No link is followed: where others may write, it leads where they want.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return _MODE, None
    except OSError as err:
        raise CtlError(f"{path}: {err.strerror}", FAILED) from None
    if stat.S_ISLNK(found.st_mode):
        raise CtlError(f"{path} is a link; name the file that it leads to", USAGE)
    if not stat.S_ISREG(found.st_mode):
        raise CtlError(f"{path} is no file; --html - writes to standard output", USAGE)
    return stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
