"""What the daemon asks of the program that sends messages, and what that answers.

One JSON document each way: the request is what the program reads on stdin to its end, the answer
what it writes on stdout. The program reads bytes of others, so its answer is looked at as theirs
is: bounded, of known words, numbers within their limits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum

from sslmd.core.plain import plain
from sslmd.core.trouble import Severity
from sslmd.wire.messages import Json

# Where systemd listens for the program (systemd/sslmd-notify.socket).
NOTIFY_SOCKET = "/run/sslmd-notify.sock"

# Whom the program becomes, by systemd/sysusers.d.
NOTIFY_USER = "sslmd-notify"

# Begins an address that is given to sendmail(8): RFC 6068, but for one recipient alone.
LOCAL_MAIL = "mailto:"

# Seconds from the start of the program to its answer, whatever others do.
SECONDS = 60.0

# Bytes of a request, and of an answer. Characters of an address, of a subject and of a line, lines.
MOST_ASKED, MOST_ANSWERED = 256 << 10, 4096
MOST_ADDRESS, MOST_SUBJECT, MOST_LINE, MOST_LINES = 2000, 250, 1000, 200
# Characters of what a program or TLS said.
MOST_SAID = 200

# Seconds after which a server may ask to be tried again; what it says beyond that does not count.
LONGEST_RETRY = 86_400


class SendFailure(StrEnum):
    """Why a message was not sent, and what the other members of an answer are then."""

    BAD_ADDRESS = "bad-address"  # Apprise does not understand it
    NEEDS_PACKAGE = "needs-package"  # Apprise sends there with another package alone
    UNREACHED = "unreached"  # `why`: one of `core.failed.Failed`; `said`
    STATUS = "status"  # HTTP: `number`, `retry_after`
    REDIRECTED = "redirected"  # HTTP: `number`
    REPLY = "reply"  # SMTP: `number`
    REFUSED = "refused"  # Apprise says no more
    OVERDUE = "overdue"
    NO_SENDMAIL = "no-sendmail"
    SENDMAIL = "sendmail"  # `number` is its exit status; `said`
    BARRED = "barred"  # sendmail failed, and its setuid and setgid bits do not count here
    ODD_REQUEST = "odd-request"
    BUG = "bug"  # `why` is the exception's type


class OddMessageError(Exception):
    """A request or an answer that is not as agreed; the text has nothing of what stands in it."""


def is_local_mail(address: str) -> bool:
    """Whether an address is for sendmail(8), and not for Apprise (`mailto://…`)."""
    return address.startswith(LOCAL_MAIL) and not address.startswith(f"{LOCAL_MAIL}//")


@dataclass(frozen=True, slots=True)
class ToSend:
    """A message, and where it goes. The address may hold secrets: no `repr` shows it."""

    address: str = field(repr=False)
    subject: str
    lines: tuple[str, ...]
    severity: Severity

    def dump(self) -> bytes:
        """Return it as the program reads it; what is too long is shortened."""
        lines = [plain(one, MOST_LINE) for one in self.lines[:MOST_LINES]]
        document = {
            "address": self.address,
            "subject": plain(self.subject, MOST_SUBJECT),
            "lines": lines,
            "severity": self.severity.name,
        }
        return json.dumps(document, ensure_ascii=True).encode()

    @classmethod
    def read(cls, data: bytes) -> ToSend:
        """Read what `dump` made; raises `OddMessageError`."""
        document = _document(data, MOST_ASKED)
        lines = document.get("lines")
        if not isinstance(lines, list) or len(lines) > MOST_LINES:
            raise OddMessageError("lines")
        try:
            severity = Severity[_text(document, "severity", 20)]
        except KeyError:
            raise OddMessageError("severity") from None
        return cls(
            _text(document, "address", MOST_ADDRESS),
            plain(_text(document, "subject", MOST_SUBJECT), MOST_SUBJECT),
            tuple(plain(_checked("lines", one, MOST_LINE), MOST_LINE) for one in lines),
            severity,
        )


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """How it went. `failure` None: it was taken. `retry_after`: seconds, 0 for none."""

    failure: SendFailure | None = None
    number: int = 0
    retry_after: int = 0
    why: str = ""
    said: str = ""

    def dump(self) -> bytes:
        """Return it as the daemon reads it."""
        document = {
            "failure": self.failure and str(self.failure),
            "number": self.number,
            "retry_after": min(max(self.retry_after, 0), LONGEST_RETRY),
            "why": self.why,
            "said": plain(self.said, MOST_SAID),
        }
        return json.dumps(document, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def read(cls, data: bytes) -> SendAnswer:
        """Read what `dump` made; raises `OddMessageError`."""
        document = _document(data, MOST_ANSWERED)
        failure = document.get("failure")
        try:
            known = None if failure is None else SendFailure(failure)
        except (ValueError, TypeError):
            raise OddMessageError("failure") from None
        why = _text(document, "why", 60)
        if not why.replace("-", "_").isidentifier() and why:
            raise OddMessageError("why")
        return cls(
            known,
            _number(document, "number", 9999),
            _number(document, "retry_after", LONGEST_RETRY),
            why,
            plain(_text(document, "said", 4 * MOST_SAID), MOST_SAID),
        )


def _document(data: bytes, most: int) -> dict[str, Json]:
    if len(data) > most:
        raise OddMessageError("too long")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise OddMessageError("no JSON") from None
    if not isinstance(document, dict):
        raise OddMessageError("no JSON object")
    return document


def _text(document: dict[str, Json], name: str, most: int) -> str:
    return _checked(name, document.get(name), most)


def _checked(name: str, value: Json, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise OddMessageError(name)
    return value


def _number(document: dict[str, Json], name: str, most: int) -> int:
    value = document.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise OddMessageError(name)
    return value
