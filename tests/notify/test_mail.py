"""Mail to the local sendmail: what it gets, and what it may do."""

from __future__ import annotations

import email
import email.policy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslmd.core.trouble import Severity
from sslmd.notify import mail
from sslmd.wire.sending import SendAnswer, SendFailure, ToSend
from tests.stand.server import ROOT

HOSTILE = "a\r\nBcc: x@example.org\r\n\r\n.\r\n\x1b[31m\u202e" + "ü" * 200


def message(address: str = "mailto:root", subject: str = "s", *lines: str) -> ToSend:
    return ToSend(address, subject, lines or ("text",), Severity.CRITICAL)


def script(folder: Path, text: str) -> str:
    path = folder / "sendmail"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_mail_has_what_it_needs_and_nothing_of_others() -> None:
    data = mail.text_of(message("mailto:root", HOSTILE, HOSTILE, "second"), "root")
    assert data.isascii()
    assert b"\r" not in data
    assert max(map(len, data.splitlines())) < 998  # RFC 5322 §2.1.1
    read = email.message_from_bytes(data, policy=email.policy.default)
    assert read["To"] == "root"
    assert read["Bcc"] is None
    assert read["Auto-Submitted"] == "auto-generated"
    assert "ü" in read["Subject"]
    assert "\\x1b" in read["Subject"]
    body = read.get_content().splitlines()
    assert len(body) == 2
    assert body[1] == "second"
    # Who sends it is said by the mail server.
    assert read["From"] is None


def test_sendmail_gets_the_recipient_and_the_text(tmp_path: Path) -> None:
    program = script(tmp_path, f'echo "$@" >{tmp_path}/args; cat >{tmp_path}/text')
    assert mail.send(message("mailto:ops+x@mail.example.com"), program) == SendAnswer()
    assert (tmp_path / "args").read_text() == "-i ops+x@mail.example.com\n"
    assert "To: ops+x@mail.example.com\n" in (tmp_path / "text").read_text()


@pytest.mark.parametrize(
    "recipient",
    ["", "-oQ/tmp", "a b", "a@b@c", "a@-b", "a,b@c", "a@b?subject=x", "|sh", "a\n", "ü@b", "@b"],
)
def test_what_is_no_recipient_reaches_no_program(recipient: str, tmp_path: Path) -> None:
    program = script(tmp_path, f"touch {tmp_path}/ran")
    answer = mail.send(message(f"mailto:{recipient}"), program)
    assert answer.failure is SendFailure.BAD_ADDRESS
    assert not (tmp_path / "ran").exists()


def test_a_sendmail_that_fails_says_why(tmp_path: Path) -> None:
    program = script(tmp_path, r"printf 'postdrop:\tno\nroom\033[2J'; exit 75")
    answer = mail.send(message(), program)
    assert answer == SendAnswer(SendFailure.SENDMAIL, 75, said="postdrop: no room\\x1b[2J")


def test_a_sendmail_that_is_not_there(tmp_path: Path) -> None:
    assert mail.send(message(), str(tmp_path / "none")).failure is SendFailure.NO_SENDMAIL
    (tmp_path / "folder").mkdir()
    answer = mail.send(message(), str(tmp_path / "folder"))
    assert answer.failure is SendFailure.SENDMAIL


def test_one_that_prints_without_end_and_reads_nothing_costs_little(tmp_path: Path) -> None:
    program = script(tmp_path, "head -c 50000000 /dev/zero; exit 1")
    text = message("mailto:root", "s", *["x" * 1000] * 200)
    answer = mail.send(text, program)
    assert answer.failure is SendFailure.SENDMAIL
    assert len(answer.said) <= 200


def test_who_delivers_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    """As Exim does: what was forked keeps our pipe."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = script(tmp_path, f"cat >/dev/null; (read x <{fifo}; echo done >{tmp_path}/done) &")
    assert mail.send(message(), program) == SendAnswer()
    assert not (tmp_path / "done").exists()
    fifo.write_text("go\n")


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    program = script(tmp_path, "exec sleep 1000")
    assert mail.send(message(), program, limit=0.2).failure is SendFailure.OVERDUE


def test_where_setgid_does_not_count_that_is_said(tmp_path: Path) -> None:
    """As in the daemon's own unit (NoNewPrivileges=yes)."""
    program = script(tmp_path, "exit 75")
    code = f"""
import ctypes
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
from sslmd.core.trouble import Severity
from sslmd.notify import mail
from sslmd.wire.sending import ToSend
print(mail.send(ToSend("mailto:root", "s", (), Severity.OK), {program!r}).failure)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "barred\n"
