"""One message by the local sendmail(8): what every mail server of this machine brings along.

Postfix, Exim and others have a program of this name that takes a message on stdin. It needs the
rights of its setgid or setuid bit, so nothing that forbids new privileges may hold this process
when it is started; who reads the network comes later, in another one.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from signal import SIGKILL

from sslmd.core.plain import plain
from sslmd.core.trouble import Severity
from sslmd.wire.sending import LOCAL_MAIL, MOST_SAID, SECONDS, SendAnswer, SendFailure, ToSend

# Where mail servers put it; PATH is that of whoever started us.
_PLACES = ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/sendmail")

# Seconds for sendmail, which hands over and does not deliver, as a rule. Less than for the program.
LIMIT = SECONDS - 10

# Seconds for its last words, once it has ended.
REST = 0.5

# RFC 5321 §4.1.2, without quotes: a word of a local part never begins with "-", as options do.
RECIPIENT = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._+=/~-]*(?:@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)?"
)

_ENDINGS = SMTP.clone(linesep="\n", cte_type="7bit")


def send(message: ToSend, program: str = "", limit: float = LIMIT) -> SendAnswer:
    """Send it; `program` is sendmail, by default the one of this machine; `limit` in seconds."""
    recipient = message.address.removeprefix(LOCAL_MAIL)
    if not RECIPIENT.fullmatch(recipient):
        return SendAnswer(SendFailure.BAD_ADDRESS)
    sendmail = program or _found()
    if not sendmail:
        return SendAnswer(SendFailure.NO_SENDMAIL)
    # A line with nothing but a dot is a part of the text (-i).
    try:
        status, said = _run([sendmail, "-i", recipient], text_of(message, recipient), limit)
    except FileNotFoundError:
        return SendAnswer(SendFailure.NO_SENDMAIL)
    except OSError as err:
        return SendAnswer(SendFailure.SENDMAIL, number=126, said=err.strerror or "")
    if status is None:
        return SendAnswer(SendFailure.OVERDUE)
    if status == 0:
        return SendAnswer()
    failure = SendFailure.BARRED if _is_barred() else SendFailure.SENDMAIL
    return SendAnswer(failure, number=min(abs(status), 9999), said=said)


def load() -> None:
    """Load what Python loads when a mail is made: other users may not see where it lies."""
    text_of(ToSend(LOCAL_MAIL, "…", ("…",), Severity.CRITICAL), "root")


def text_of(message: ToSend, recipient: str) -> bytes:
    """Return the mail (RFC 5322); the mail server puts in who sends it."""
    mail = EmailMessage(policy=_ENDINGS)
    mail["To"] = recipient
    mail["Subject"] = plain(message.subject)
    mail["Date"] = formatdate(localtime=True)
    # Named by us: who asks DNS for it waits where DNS is what is wrong.
    mail["Message-ID"] = make_msgid("sslmd", socket.gethostname())
    # RFC 3834 §5: no vacation answers it.
    mail["Auto-Submitted"] = "auto-generated"
    if message.severity is Severity.CRITICAL:
        mail["Importance"] = "high"  # RFC 2156 §5.3.4
    mail.set_content("\n".join(map(plain, message.lines)) + "\n")
    return mail.as_bytes()


def _found() -> str:
    for path in _PLACES:
        if os.access(path, os.X_OK):
            return path
    return shutil.which("sendmail") or ""


def _run(argv: list[str], text: bytes, limit: float) -> tuple[int | None, str]:
    """Return its exit status, negative for a signal, None if it hangs; and the end of its words."""
    words = _Words()
    given = os.memfd_create("mail", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(given), "wb") as stream:
            stream.write(text)
        os.lseek(given, 0, os.SEEK_SET)
        process = subprocess.Popen(
            argv,
            stdin=given,
            stdout=words.writer,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(given)
        os.close(words.writer)
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            os.killpg(process.pid, SIGKILL)
            process.wait(REST)
        return None, ""
    return status, words.text()


class _Words:
    """The end of what a program says, while it runs: who delivers may hold the pipe for longer."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._tail = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while piece := os.read(self._reader, 1 << 12):
            self._tail = (self._tail + piece)[-4 * MOST_SAID :]

    def text(self) -> str:
        """Return it as one line."""
        self._thread.join(REST)
        return plain(" ".join(self._tail.decode("utf-8", "replace").split()), MOST_SAID)


def _is_barred() -> bool:
    """Whether setuid and setgid bits of programs do not count (PR_SET_NO_NEW_PRIVS)."""
    with suppress(OSError), open("/proc/self/status", encoding="utf-8") as file:
        return "NoNewPrivs:\t1" in file.read()
    return False
