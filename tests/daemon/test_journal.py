"""Log lines for journald, stderr and files."""

from __future__ import annotations

import ast
import logging
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason, Why
from sslmd.core.told import Happened
from sslmd.daemon.tell import journal
from sslmd.daemon.tell.events import EVENTS, message_id, table
from sslmd.daemon.tell.journal import (
    ERROR,
    INFO,
    NOTICE,
    Bus,
    JournalHandler,
    Record,
    StderrHandler,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ROLLED = Record(
    NOW,
    "rolled",
    "set 20261123-12:00:00 is live",
    NOTICE,
    CertId("example.com", "web"),
    "Roll",
    SetName("20261123-12:00:00"),
)


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[Bus]:
    """A bus whose lines go to `handler` alone."""
    logger = logging.getLogger("sslmd")
    before, level, propagate = list(logger.handlers), logger.level, logger.propagate
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield Bus()
    finally:
        logger.handlers[:] = before
        logger.setLevel(level)
        logger.propagate = propagate
        handler.close()


def parse(datagram: bytes) -> dict[str, str]:
    """Read journald's native protocol, as journald does."""
    fields = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[9 + length :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "journal"))
        server.settimeout(10)
        yield server


def test_what_happened_is_told_with_why_as_codes() -> None:
    why = Reason(Why.FORCED)
    line = Reason(Happened.KEY_MADE, key="ec secp384r1", why=why)
    record = Record(NOW, "key-made", line, cert=CertId("example.com", "web"))
    assert record.text == "key made (ec secp384r1): an admin asked for it"
    told = record.as_json()
    assert (told["reason_code"], told["text_code"]) == ("forced", "key-made")
    assert Record(NOW, "held", why).as_json()["reason_code"] == "forced"
    assert Record(NOW, "held", "damaged").as_json()["text_code"] is None


def test_a_line_goes_to_the_journal_with_its_fields(listener: socket.socket) -> None:
    with logging_to(JournalHandler(listener.getsockname())) as bus:
        bus.record(ROLLED)
    assert parse(listener.recv(65536)) == {
        "MESSAGE": "example.com/web: set 20261123-12:00:00 is live",
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "sslmd",
        "SSLM_EVENT": "rolled",
        "SSLM_CERT": "example.com/web",
        "SSLM_JOB": "Roll",
        "SSLM_SET": "20261123-12:00:00",
        "MESSAGE_ID": message_id("rolled"),
    }


def test_a_traceback_is_one_entry(listener: socket.socket) -> None:
    with logging_to(JournalHandler(listener.getsockname())) as bus:
        try:
            raise RuntimeError("what it was")
        except RuntimeError as err:
            bus.bug(NOW, "an error of sslmd's own", err)
    fields = parse(listener.recv(65536))
    assert fields["PRIORITY"] == str(ERROR)
    assert fields["MESSAGE"].startswith("an error of sslmd's own\nTraceback")
    assert "what it was" in fields["MESSAGE"]


def test_without_a_journal_lines_go_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to(JournalHandler(str(tmp_path / "none"))) as bus:
        bus.record(ROLLED)
    assert capsys.readouterr().err == "<5>example.com/web: set 20261123-12:00:00 is live\n"


def test_every_line_on_stderr_has_its_priority(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(StderrHandler()) as bus:
        bus.bug(NOW, "two\nlines", ValueError("of an error\n<3>example.com/web: set 1 is live"))
        bus.record(Record(NOW, "settled", "one", INFO))
    assert capsys.readouterr().err == (
        "<3>two lines\n<3>  ValueError: of an error\n"
        "<3>  <3>example.com/web: set 1 is live\n<6>one\n"
    )


def test_a_closed_stderr_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with logging_to(StderrHandler()) as bus:
        bus.record(ROLLED)
    assert bus.recent() == [ROLLED]


def test_message_ids_never_change() -> None:
    assert message_id("rolled") == "8644420b959a5911901945cc151f51e3"
    ids = {message_id(event) for event in EVENTS}
    assert len(ids) == len(EVENTS)
    assert all(len(one) == 32 and int(one, 16) for one in ids)


def test_log_files_are_followed_when_they_are_rotated(tmp_path: Path) -> None:
    journal.set_up(verbose=False)
    bus = Bus()
    try:
        journal.add_file(tmp_path / "logs")
        file = tmp_path / "logs" / "sslmd.log"
        bus.record(ROLLED)
        file.rename(tmp_path / "logs" / "sslmd.log.1")
        bus.record(ROLLED)
        assert file.read_text().endswith("NOTICE example.com/web: set 20261123-12:00:00 is live\n")
    finally:
        logger = logging.getLogger("sslmd")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def test_followers_hear_of_everything_until_they_end() -> None:
    with logging_to(logging.NullHandler()) as bus:
        heard: list[Record] = []
        end = bus.follow(heard.append)
        bus.record(ROLLED)
        end()
        bus.record(ROLLED)
    assert heard == [ROLLED]


def test_events_are_told_with_a_priority_of_their_kind() -> None:
    names = {"ERROR": 3, "WARNING": 4, "NOTICE": 5, "INFO": 6, "DEBUG": 7}
    told = 0
    for path in sorted(Path("sslmd").resolve().rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            args = node.args if isinstance(node, ast.Call) else []
            texts = [str(one.value) for one in args if isinstance(one, ast.Constant)]
            events = [one for one in texts if one in EVENTS]
            ids = [one.id for one in args if isinstance(one, ast.Name) and one.id in names]
            for event in events:
                told += len(ids)
                assert {names[one] for one in ids} <= set(EVENTS[event].priorities), (path, event)
    assert told > 40


def test_the_table_of_the_manual_is_that_of_the_program() -> None:
    text = Path("docs/operations.md").resolve().read_text()
    begin, end = "<!-- events: begin -->\n", "<!-- events: end -->"
    assert text.partition(begin)[2].partition(end)[0] == table(), "run: make docs"
