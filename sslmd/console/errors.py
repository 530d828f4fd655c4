"""Ways in which a command ends badly, each with its exit status."""

from __future__ import annotations

from collections.abc import Mapping

from sslmd.wire.messages import Code, WireError

DONE = 0
FAILED = 1
USAGE = 2
NO_DAEMON = 3
NOT_PERMITTED = 4
WAITING = 5  # accepted, and it waits for something that may take long
BROKEN_PIPE = 128 + 13  # as the shell calls an end by SIGPIPE

_EXITS: Mapping[int, int] = {
    Code.NOT_PERMITTED: NOT_PERMITTED,
    Code.UNKNOWN_CERT: USAGE,
    Code.STOPPING: NO_DAEMON,
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
