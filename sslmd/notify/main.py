"""One message: `python -m sslmd.notify`, with a request on stdin (`wire.sending`).

1. Nobody may look into it: the request has an address, which may hold secrets.
2. The request is read. From here on there is an answer, whatever happens, within `SECONDS`.
3. What is needed is loaded: later there may be no file to load it from.
4. Where it is root (the daemon started it), it becomes a user of its own.
5. Mail goes to sendmail(8), which needs the rights of that program's setgid bit.
6. For Apprise everything is given up first that sending does not need (`net.sandbox`): privileges,
   files, programs. Only then the address is used.
7. The answer is written, once.

`--failed UNIT` tells by mail that a unit failed (systemd/sslmd-failed@.service).
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from sslmd.memory import keep_private
from sslmd.net import sandbox
from sslmd.notify import failed_unit, mail
from sslmd.wire.sending import (
    MOST_ASKED,
    NOTIFY_USER,
    SECONDS,
    OddMessageError,
    SendAnswer,
    SendFailure,
    ToSend,
    is_local_mail,
)

# Bytes of a thread's stack, which count as memory of its own (`sandbox.MEMORY`) from the start.
_STACK = 1 << 20

# Where systems have the roots that they trust; what `sslmctl trust` adds is there as well.
_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Do as the command line says, and end."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["--failed"] and len(words) == 2:
        sys.exit(failed_unit.main(words[1]))
    if words:
        sys.exit("usage: sslmd-notify < REQUEST, or sslmd-notify --failed UNIT")
    keep_private()
    os.umask(0o077)
    # Traces have values in them, and libraries say what they like.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    threading.stack_size(_STACK)
    once = _Once()
    watch = threading.Timer(SECONDS, lambda: once.end(SendAnswer(SendFailure.OVERDUE)))
    watch.daemon = True
    watch.start()
    once.end(_answer())


class _Once:
    """The answer: the first one counts, and is the end of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def end(self, answer: SendAnswer) -> NoReturn:
        self._lock.acquire()  # and never released
        try:
            os.write(1, answer.dump())
        finally:
            os._exit(0)


def _answer() -> SendAnswer:
    try:
        message = ToSend.read(_request())
        return (_by_mail if is_local_mail(message.address) else _by_apprise)(message)
    except OddMessageError:
        return SendAnswer(SendFailure.ODD_REQUEST)
    except Exception as err:  # its text may have anything in it
        return SendAnswer(SendFailure.BUG, why=type(err).__name__)


def _request() -> bytes:
    data = bytearray()
    while len(data) <= MOST_ASKED and (piece := os.read(0, 1 << 16)):
        data += piece
    return bytes(data)


def _by_mail(message: ToSend) -> SendAnswer:
    mail.load()
    if os.geteuid() == 0:
        sandbox.become(NOTIFY_USER)
    return mail.send(message)


def _by_apprise(message: ToSend) -> SendAnswer:
    _trust_what_the_system_trusts()
    # A second and 50 MB: not for mail.
    from sslmd.notify import services

    services.load()
    sandbox.enter(NOTIFY_USER if os.geteuid() == 0 else "")
    return services.send(message)


def _trust_what_the_system_trusts() -> None:
    """Let `requests` go by the roots of this machine, not by those that came with it."""
    if os.environ.get("REQUESTS_CA_BUNDLE"):
        return
    own = ssl.get_default_verify_paths().cafile
    for path in (own, *_ROOTS):
        if path and os.access(path, os.R_OK):
            os.environ["REQUESTS_CA_BUNDLE"] = path
            return
