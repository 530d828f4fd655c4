"""Tells that a unit of systemd's failed: what `OnFailure=` of sslmd.service starts.

The daemon is gone, so nothing of its configuration is used here: whom to tell is said by the unit
`sslmd-failed@.service` and its drop-ins. Each address has a process of its own, as ever.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress

from sslmd.core.plain import plain, plain_lines
from sslmd.core.trouble import Severity
from sslmd.wire.sending import (
    MOST_LINES,
    SECONDS,
    OddMessageError,
    SendAnswer,
    ToSend,
)

# Addresses, between spaces; and a file of them, which LoadCredential=to: puts there.
ENVIRONMENT = "SSLMD_FAILED_TO"
CREDENTIAL = "to"
DEFAULT = "mailto:root"

_UNIT = re.compile(r"[A-Za-z0-9:_][A-Za-z0-9:_.@\\-]{0,200}")
# Seconds, and lines of the journal.
_STATUS_LIMIT, _JOURNAL = 20, 15

# The same package as this one; nothing of the environment or the working directory.
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAM = (
    f"import sys; sys.path.insert(0, {_ROOT!r}); from sslmd.notify.main import main; main([])"
)


def main(unit: str) -> int:
    """Tell everybody; return the exit status: 0, or 1 where somebody was not reached."""
    if not _UNIT.fullmatch(unit):
        print("sslmd-notify: that is no name of a unit", file=sys.stderr)
        return 2
    subject, lines = told(unit, socket.gethostname(), _status(unit))
    status = 0
    for address in addresses():
        answer = _send(ToSend(address, subject, lines, Severity.CRITICAL))
        if answer is None or answer.failure is not None:
            scheme = plain(address.partition(":")[0], 30)
            why = f"{answer.failure} {answer.number or ''} {answer.why}" if answer else "it died"
            print(f"sslmd-notify: {scheme}: not sent: {why.strip()}", file=sys.stderr)
            status = 1
    return status


def addresses() -> list[str]:
    """Return whom to tell."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    found: list[str] = []
    if folder:
        with suppress(OSError, UnicodeDecodeError):
            with open(os.path.join(folder, CREDENTIAL), encoding="utf-8") as file:
                lines = (line.strip() for line in file.read(1 << 16).splitlines())
                found = [line for line in lines if line and not line.startswith("#")]
    return found or os.environ.get(ENVIRONMENT, DEFAULT).split()


def told(unit: str, host: str, status: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return subject and text."""
    name = plain(host, 100)
    return (
        f"{unit} failed on {name}",
        (
            f"{unit} on {name} ended and is not started again. Until it runs, no certificate is "
            "renewed, and nothing else is reported.",
            "",
            f"What to do: read journalctl -u {unit}, correct what it says, then run: "
            f"systemctl reset-failed {unit}; systemctl start {unit}",
            "",
            *status,
        )[:MOST_LINES],
    )


def _status(unit: str) -> list[str]:
    """Return what systemd says of the unit, with its last words in the journal."""
    argv = ["systemctl", "status", "--no-pager", "--full", f"--lines={_JOURNAL}", "--", unit]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_STATUS_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return plain_lines(done.stdout[-(1 << 16) :].decode("utf-8", "replace").strip())


def _send(message: ToSend) -> SendAnswer | None:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM],
            input=message.dump(),
            stdout=subprocess.PIPE,
            timeout=SECONDS + 5,
            check=False,
        )
        return SendAnswer.read(done.stdout)
    except (OSError, subprocess.TimeoutExpired, OddMessageError):
        return None
