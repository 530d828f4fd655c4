"""The service manager's protocol, spoken by a real daemon (sd_notify(3), sd-daemon(3))."""

from __future__ import annotations

import logging
import re
import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sslmd.core.names import CertId, SetName
from sslmd.daemon.tell.events import message_id
from sslmd.daemon.tell.journal import NOTICE, JournalHandler, Record
from tests.stand.supervised import Supervised

# A beat of the watchdog every 0.2 s.
WATCHDOG_USEC = "400000"
PERIOD = 0.2


def monotonic_usec() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_ready_comes_when_the_socket_answers() -> None:
    with Supervised() as daemon:
        heard = daemon.hear_of("READY")
        assert heard["READY"] == "1"
        assert "6 certificates" in heard["STATUS"]
        assert b'"hello"' in daemon.greeting()


def test_a_reload_is_announced_and_ended() -> None:
    with Supervised() as daemon:
        daemon.hear_of("READY")
        before = monotonic_usec()
        daemon.signal(signal.SIGHUP)
        heard = daemon.hear_of("RELOADING")
        assert heard["RELOADING"] == "1"
        # systemd takes a READY for the end of this reload only if this time is after its signal.
        assert before <= int(heard["MONOTONIC_USEC"]) <= monotonic_usec()
        assert daemon.hear_of("READY")["READY"] == "1"
        daemon.wait_match("configuration loaded: 0 added, 0 removed, 0 changed")


def test_a_refused_reload_ends_as_well_and_changes_nothing() -> None:
    with Supervised() as daemon:
        daemon.hear_of("READY")
        (daemon.conf / "ssl-mgr.conf").write_text("[globals]\nclean_keep = 'many'\n")
        daemon.signal(signal.SIGHUP)
        daemon.hear_of("RELOADING")
        told = daemon.hear_of("READY")["STATUS"]
        assert "6 certificates" in told
        assert re.search(r"the configuration was refused at .*/ssl-mgr\.conf:2: .*clean_keep", told)
        assert told.endswith("; the next start would fail")
        daemon.wait_match(r"<3>.*ssl-mgr\.conf:2: .*clean_keep")
        daemon.wait_match("<3>the old configuration stays in force; the next start would fail")
        assert daemon.status()


def test_a_daemon_that_cannot_start_says_why() -> None:
    with Supervised() as daemon:
        daemon.hear_of("READY")
        daemon.stop()
        (daemon.conf / "ssl-mgr.conf").write_text("[globals]\nclean_kep = 1\nclean_keep = 'a'\n")
        daemon.begin()
        while "cannot start" not in (status := daemon.hear_of("STATUS")["STATUS"]):
            pass
        assert "clean_keep" in status
        assert daemon.wait() == 1
        daemon.wait_match("ssl-mgr.conf:3: .*clean_keep")
        daemon.wait_match("warning: .*ssl-mgr.conf:2: .*clean_kep")


def test_the_end_is_announced_and_comes_soon() -> None:
    with Supervised() as daemon:
        daemon.hear_of("READY")
        daemon.signal(signal.SIGTERM)
        assert daemon.hear_of("STOPPING", 5)["STOPPING"] == "1"
        assert daemon.wait() == 0
        assert not daemon.socket.exists()


def test_no_watchdog_is_fed_that_nobody_set() -> None:
    with Supervised() as daemon:
        daemon.hear_of("READY")
        assert daemon.silent_about("WATCHDOG", 1)


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    with Supervised({"WATCHDOG_USEC": WATCHDOG_USEC, "WATCHDOG_PID": "1"}) as daemon:
        daemon.hear_of("READY")
        assert daemon.silent_about("WATCHDOG", 5 * PERIOD)


def test_the_watchdog_is_fed_while_the_daemon_runs() -> None:
    with Supervised({"WATCHDOG_USEC": WATCHDOG_USEC}) as daemon:
        for _ in range(3):
            assert daemon.hear_of("WATCHDOG")["WATCHDOG"] == "1"
        daemon.signal(signal.SIGSTOP)
        while daemon.hear(PERIOD) is not None:
            pass  # what was on its way
        assert daemon.silent_about("WATCHDOG", 5 * PERIOD)
        daemon.signal(signal.SIGCONT)
        daemon.hear_of("WATCHDOG")


def test_the_watchdog_is_not_fed_while_the_socket_is_out_of_reach() -> None:
    with Supervised({"WATCHDOG_USEC": WATCHDOG_USEC}) as daemon:
        daemon.hear_of("WATCHDOG")
        aside = daemon.socket.rename(daemon.top / "aside")
        daemon.silent_about("WATCHDOG", PERIOD)  # a beat may have been under way
        assert daemon.silent_about("WATCHDOG", 5 * PERIOD)
        aside.rename(daemon.socket)
        daemon.hear_of("WATCHDOG")


def test_lines_on_stderr_carry_their_priority() -> None:
    with Supervised() as daemon:
        daemon.hear_of("READY")
        daemon.wait_match("^<5>sslmd .* is ready")
        daemon.wait_match("^<5>example.net/web-ec: set .* is live")
        daemon.stop()
        lines = daemon.lines
        assert [line for line in lines if not re.match("<[0-7]>", line)] == []


def test_a_stream_of_the_journal_that_is_not_our_stderr_is_not_believed(tmp_path: Path) -> None:
    # $JOURNAL_STREAM is inherited by what a service starts with another stderr (systemd.exec(5)).
    other = tmp_path.stat()
    with Supervised({"JOURNAL_STREAM": f"{other.st_dev}:{other.st_ino}"}) as daemon:
        daemon.hear_of("READY")
        daemon.wait_match("^<5>sslmd .* is ready")


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "j"))
        journal.settimeout(5)
        handler = JournalHandler(str(tmp_path / "j"))
        cert, name = CertId.parse("example.com:web"), SetName.parse("20261123-10:00:00")
        told = Record(datetime.now(UTC), "rolled", "it is live", NOTICE, cert, "Roll", name)
        line = logging.LogRecord("sslmd", logging.INFO + 5, "", 0, "two\nlines", None, None)
        line.record = told
        handler.emit(line)
        handler.close()
        datagram = journal.recv(65536)
    # The native protocol: a text with a newline goes with its length, little-endian, 64 bits.
    assert b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n" in datagram
    for field in (
        "PRIORITY=5",
        "SYSLOG_IDENTIFIER=sslmd",
        "SSLM_EVENT=rolled",
        "SSLM_CERT=example.com/web",
        "SSLM_JOB=Roll",
        "SSLM_SET=20261123-10:00:00",
        f"MESSAGE_ID={message_id('rolled')}",
    ):
        assert f"{field}\n".encode() in datagram


def test_without_a_journal_its_lines_go_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A journal that is being restarted, or a container that has its stream without its socket.
    handler = JournalHandler(str(tmp_path / "gone"))
    handler.emit(logging.LogRecord("sslmd", logging.ERROR, "", 0, "it failed", None, None))
    handler.close()
    assert capsys.readouterr().err == "<3>it failed\n"
