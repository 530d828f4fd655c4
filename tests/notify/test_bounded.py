"""What is seen of servers: waits that they ask for, and why there was no answer."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.stand.server import ROOT

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        (" 7 ", 7),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("١٢", 0),  # digits of another script
        ("Tue, 01 Dec 2026 12:02:00 GMT", 120),
        ("Tue, 01 Dec 2026 11:00:00 GMT", 0),
        ("Tue, 01 Dec 2026 12:02:00", 120),
        ("Tue, 99 Dec 2026 12:02:00 GMT", 0),
        ("x" * 1_000_000, 0),
    ],
)
def test_a_wait_that_a_server_asks_for(value: str | None, seconds: int) -> None:
    from sslmd.notify.bounded import retry_after

    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("err", "code"),
    [
        (TimeoutError(), "not-in-time"),
        (socket.gaierror(-2, "Name or service not known"), "unresolved"),
        (ConnectionRefusedError(111, "Connection refused"), "not-connected"),
        (ssl.SSLError(1, "wrong version number"), "tls-failed"),
        (ValueError("http://user:s3cr3t@host"), "not-http"),
        (OSError("s3cr3t"), "not-answered"),
        (OSError("wrapped", ConnectionResetError(104, "s3cr3t")), "not-connected"),
    ],
)
def test_why_there_was_no_answer(err: BaseException, code: str) -> None:
    from sslmd.notify.bounded import why_not

    found, said = why_not(err)
    assert found == code
    assert "s3cr3t" not in said


def test_every_request_and_session_goes_through_it() -> None:
    """Whatever a plugin makes itself: sessions of requests, and SMTP in both forms."""
    code = """
from sslmd.notify import bounded, services
import requests, smtplib
for session in (requests.Session(), requests.session()):
    assert all(type(one) is bounded._OneAnswer for one in session.adapters.values())
for smtp in (smtplib.SMTP, smtplib.SMTP_SSL):
    assert smtp.__name__ == "Noting", smtp
from apprise.plugins import email
import apprise.plugins.email.base as base
assert base.smtplib.SMTP is smtplib.SMTP
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
