"""Telling people: journal, stderr, log files, and the events that clients follow (I10).

Every event is one line that a person understands, with fields that a machine can match. Keys
and other secrets never come here: records carry names and reasons only (I2). Words of others in a
record are made plain when it is made (`core.plain`), for whoever reads it then.

The log file in `logdir` is always a file of ours, whoever may write to that folder. Rotation by
renaming (logrotate's `create` and `nocreate`) is noticed with the next line. What stands there and
is no file of ours, a link above all, is not written to: what is said goes on into the file that was
open.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sslmd.core.errors import SslmError
from sslmd.core.names import CertId, SetName
from sslmd.core.plain import hour, plain, plain_lines, rfc3339
from sslmd.core.reason import Reason, on_wire
from sslmd.core.told import Happened
from sslmd.core.words.sentence import say
from sslmd.daemon.tell.events import DEBUG as DEBUG
from sslmd.daemon.tell.events import ERROR as ERROR
from sslmd.daemon.tell.events import INFO as INFO
from sslmd.daemon.tell.events import NOTICE as NOTICE
from sslmd.daemon.tell.events import WARNING as WARNING
from sslmd.daemon.tell.events import message_id
from sslmd.store import files, owners
from sslmd.store.paths import open_folder

NAME = "sslmd.log"

# Takes in what happened: event, text, priority, and the certificate that it is about.
Tell = Callable[[str, Reason, int, CertId | None], None]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LogFile(logging.Handler):
    """Writes lines to `sslmd.log` in a folder; raises OSError or `SslmError` if it cannot begin."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        files.make_dirs(folder, 0o750)
        self._folder = folder
        self._handle = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a full disk is no reason to stop."""
        with suppress(OSError, SslmError):
            self._follow()
        with suppress(OSError):
            os.write(self._handle, f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        super().close()

    def _follow(self) -> None:
        """Go on in another file where the one that is open has no longer this name."""
        ours, folder = os.fstat(self._handle), open_folder(self._folder)
        try:
            there = os.stat(NAME, dir_fd=folder, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        finally:
            os.close(folder)
        handle = self._open()
        os.close(self._handle)
        self._handle = handle

    def _open(self) -> int:
        folder = open_folder(self._folder)
        path = f"{self._folder}/{NAME}"
        try:
            # Made only where there is nothing; what is there is looked at before it is used.
            with suppress(FileExistsError):
                return os.open(NAME, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
            handle = os.open(NAME, _FLAGS, dir_fd=folder)
        except OSError as err:
            if err.errno == errno.ELOOP:
                raise OSError(
                    errno.ELOOP, f"{NAME} is a link; put a file in its place", path
                ) from err
            raise
        finally:
            os.close(folder)
        try:
            owners.check_own(handle, path)
        except BaseException:
            os.close(handle)
            raise
        return handle


JOURNAL_SOCKET = "/run/systemd/journal/socket"

_LEVELS = {
    ERROR: logging.ERROR,
    WARNING: logging.WARNING,
    NOTICE: logging.INFO + 5,
    INFO: logging.INFO,
    DEBUG: logging.DEBUG,
}

_RECENT = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """Something that happened, in a plain line. `priority` as in syslog(3): 3 error to 7 debug.

    `line` is the text, or what it is made of; `reason`: the same as a code and facts, None for a
    text that has none.
    """

    at: datetime
    event: str
    line: InitVar[Reason | str]
    priority: int = INFO
    cert: CertId | None = None
    job: str = ""
    set: SetName | None = None
    text: str = field(init=False)
    reason: Reason | None = field(init=False)

    def __post_init__(self, line: Reason | str) -> None:
        reason = line if isinstance(line, Reason) else None
        object.__setattr__(self, "text", plain(line if isinstance(line, str) else say(line)))
        object.__setattr__(self, "reason", reason)

    @property
    def because(self) -> Reason | None:
        """Why it happened, where the line says that, else what the line is made of."""
        if self.reason is None or not isinstance(self.reason.code, Happened):
            return self.reason
        why = dict(self.reason.facts).get("why")
        return why if isinstance(why, Reason) else self.reason

    def as_json(self) -> dict[str, object]:
        """Return the parameters of an `event` notification (docs/socket-api.md)."""
        return {
            "at": rfc3339(self.at),
            "cert": str(self.cert) if self.cert else "",
            "event": self.event,
            "job": self.job,
            "set": str(self.set) if self.set else "",
            "text": self.text,
            "priority": self.priority,
            **on_wire(self.because),
            **on_wire(self.reason, "text"),
        }


class Bus:
    """Takes records: to the log, to those who follow, and the last ones to memory."""

    def __init__(self) -> None:
        self._log = logging.getLogger("sslmd")
        self._recent: deque[Record] = deque(maxlen=_RECENT)
        self._followers: list[Callable[[Record], None]] = []
        # Since the start, by the kind of event.
        self.counts = Counter[str]()

    def record(self, record: Record) -> None:
        """Tell everybody."""
        self.counts[record.event] += 1
        if record.priority < DEBUG:
            self._recent.append(record)
        text = f"{record.cert}: {record.text}" if record.cert else record.text
        self._log.log(_LEVELS[record.priority], "%s", text, extra={"record": record})
        for follow in list(self._followers):
            follow(record)

    def bug(self, at: datetime, text: str, err: BaseException, cert: CertId | None = None) -> None:
        """Tell of an error of our own, with its traceback."""
        record = Record(at, "bug", text, ERROR, cert)
        self.counts[record.event] += 1
        self._recent.append(record)
        shown = f"{cert}: {record.text}" if cert else record.text
        self._log.error("%s", shown, exc_info=err, extra={"record": record})

    def recent(self) -> list[Record]:
        """Return the last records, oldest first."""
        return list(self._recent)

    def follow(self, callback: Callable[[Record], None]) -> Callable[[], None]:
        """Call `callback`, which has to be quick, for each record; return what ends it."""
        self._followers.append(callback)
        return lambda: self._followers.remove(callback)


def set_up(*, verbose: bool) -> None:
    """Send log lines to the journal if we run under it, else to stderr; those of libraries too."""
    logger = logging.getLogger("sslmd")
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    logging.addLevelName(logging.INFO + 5, "NOTICE")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        logging.getLogger().removeHandler(handler)
        handler.close()
    handler = JournalHandler() if _under_journal() else StderrHandler()
    logger.addHandler(handler)
    logging.getLogger().addHandler(handler)


def catch_crashes() -> None:
    """Log tracebacks that Python would write to stderr, with words of others as they are."""
    log = logging.getLogger("sslmd")

    def crashed(kind: type[BaseException], err: BaseException | None, _: object) -> None:
        if not issubclass(kind, KeyboardInterrupt | SystemExit):
            log.error("an error of sslmd's own", exc_info=err)

    sys.excepthook = crashed
    threading.excepthook = lambda hook: crashed(hook.exc_type, hook.exc_value, None)
    sys.unraisablehook = lambda hook: crashed(hook.exc_type, hook.exc_value, None)


def add_file(logdir: Path) -> None:
    """Also log to `sslmd.log` in a folder; raises as `LogFile` does."""
    logger = logging.getLogger("sslmd")
    for handler in list(logger.handlers):
        if isinstance(handler, LogFile):
            logger.removeHandler(handler)
            handler.close()
    handler = LogFile(str(logdir))
    handler.setFormatter(
        PlainLines("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z", more="    ")
    )
    logger.addHandler(handler)


class PlainLines(logging.Formatter):
    """Lines without anything raw. `more` begins the second line and those after it.

    Where lines have nothing else to tell them apart, a traceback of an error with others' words
    must not have one that looks like a record.
    """

    def __init__(
        self, fmt: str = "%(message)s", datefmt: str | None = None, *, more: str = ""
    ) -> None:
        super().__init__(fmt, datefmt)
        self._more = more

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines, joined by newlines."""
        return f"\n{self._more}".join(plain_lines(super().format(record)))


def _under_journal() -> bool:
    """Whether stderr is the journal's stream (systemd.exec(5), $JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        info = os.fstat(sys.stderr.fileno())
        return (info.st_dev, info.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


def _priority(record: logging.LogRecord) -> int:
    for priority, level in _LEVELS.items():
        if record.levelno >= level:
            return priority
    return DEBUG


class StderrHandler(logging.Handler):
    """Lines with `<N>` priorities (sd-daemon(3)); on a terminal with the time instead."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(PlainLines(more="  "))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a closed stderr is no reason to stop."""
        try:
            lines = self.format(record).split("\n")
            if sys.stderr.isatty():
                stamp = hour(datetime.fromtimestamp(record.created, UTC))
                text = "".join(f"{stamp} {line}\n" for line in lines)
            else:
                text = "".join(f"<{_priority(record)}>{line}\n" for line in lines)
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            pass


class JournalHandler(logging.Handler):
    """journald's native protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._fallback = StderrHandler()
        self.setFormatter(PlainLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; if the journal is gone, to stderr."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(_priority(record)),
            "SYSLOG_IDENTIFIER": "sslmd",
        }
        told: Record | None = getattr(record, "record", None)
        if told is not None:
            fields["SSLM_EVENT"] = told.event
            fields["MESSAGE_ID"] = message_id(told.event)
            fields["SSLM_CERT"] = str(told.cert or "")
            fields["SSLM_JOB"] = told.job
            fields["SSLM_SET"] = str(told.set or "")
        payload = b"".join(_field(name, value) for name, value in fields.items() if value)
        try:
            self._socket.sendto(payload, self._path)
        except OSError:
            self._fallback.emit(record)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
