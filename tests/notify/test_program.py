"""The program as it is run: what reaches servers, what it answers, what others see of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sslmd.core.trouble import Severity
from sslmd.notify.bounded import MOST_BYTES
from sslmd.wire.sending import MOST_ASKED, SendAnswer, SendFailure, ToSend
from tests.stand.hooks import HUGE, Hooks
from tests.stand.server import ROOT, free_port, wait_until

SECRET = "s3cr3t-p455"
MARKED = "CA says: <!channel> <b>x</b> @everyone [x](http://evil.example/) \x1b[31m \u202e a\r\nb"
COMMAND = (sys.executable, "-m", "sslmd.notify")


def request(address: str) -> bytes:
    lines = (MARKED, "admin@example.com can renew it")
    return ToSend(address, f"Subject {MARKED}", lines, Severity.CRITICAL).dump()


def answer_to(data: bytes) -> SendAnswer:
    done = subprocess.run(
        COMMAND, cwd=ROOT, input=data, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0
    assert done.stderr == b""
    assert SECRET.encode() not in done.stdout
    return SendAnswer.read(done.stdout)


@pytest.fixture(scope="module")
def hooks() -> Iterator[Hooks]:
    with Hooks() as one:
        yield one


NOBODY_THERE = free_port()


def addresses(hooks: Hooks) -> dict[str, str]:
    user = f"admin:{SECRET}@127.0.0.1:{hooks.port}"
    return {
        "ntfy": f"ntfy://{user}/ok",
        "json": hooks.at("json/ok"),
        "xml": hooks.at("xml/ok", "xml"),
        "mattermost": f"mmost://127.0.0.1:{hooks.port}/3ccdd113474722377935511fc85d3dd4",
        "500": f"ntfy://{user}/500",
        "429": f"ntfy://{user}/429-120",
        "429 for ever": hooks.at("429-999999999999999999999"),
        "moved": f"json://{user}/moved?redirect=yes",
        "huge": hooks.at("huge"),
        "huge error": hooks.at("huge/500"),
        "cut": hooks.at("cut"),
        "noise": hooks.at("noise"),
        "silent": hooks.at("silent?rto=1"),
        "refused": f"jsons://admin:{SECRET}@127.0.0.1:{NOBODY_THERE}/x",
        "no TLS": hooks.at("ok", "jsons"),
        "unresolved": f"json://{SECRET}.invalid/",
        "smtp": f"mailto://admin:{SECRET}@127.0.0.1:{NOBODY_THERE}/?from=a@example.com",
        "unknown": f"slak://{SECRET}/b",
        "bad": f"slack://{SECRET}",
        "package": f"xmpp://admin:{SECRET}@example.com",
        "desktop": "dbus://",
        "syslog": "syslog://",
        "file": "file:///etc/passwd",
        "config": "config://127.0.0.1/x",
        "template": "workflow://127.0.0.1/w/s?template=/etc/passwd",
    }


# Apprise is loaded once, and each message has a process that gives up all that `main` gives up.
_MANY = """
import json, os, sys
from sslmd.net import sandbox
from sslmd.notify import main, services
from sslmd.wire.sending import NOTIFY_USER, ToSend

main._trust_what_the_system_trusts()
services.load()
for request in json.load(sys.stdin):
    if not (child := os.fork()):
        message = ToSend.read(request.encode())
        sandbox.enter(NOTIFY_USER if os.geteuid() == 0 else "")
        os.write(1, services.send(message).dump())
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def answers(hooks: Hooks) -> Mapping[str, SendAnswer]:
    every = addresses(hooks)
    done = subprocess.run(
        [sys.executable, "-c", _MANY],
        cwd=ROOT,
        input=json.dumps([request(one).decode() for one in every.values()]).encode(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == b""
    assert SECRET.encode() not in done.stdout
    lines = done.stdout.splitlines()
    return dict(zip(every, map(SendAnswer.read, lines), strict=True))


def test_what_is_taken_is_taken(answers: Mapping[str, SendAnswer], hooks: Hooks) -> None:
    for name in ("ntfy", "json", "xml", "mattermost"):
        assert answers[name] == SendAnswer(), name
    (post,) = hooks.to("ok")
    assert post.json["topic"] == "ok"
    assert post.headers["User-Agent"] == "sslmd"
    assert SECRET not in json.dumps(post.json)


def test_texts_of_others_are_only_texts(answers: Mapping[str, SendAnswer], hooks: Hooks) -> None:
    (ntfy,) = hooks.to("ok")
    (mattermost,) = hooks.to("hooks/3ccdd113474722377935511fc85d3dd4")
    for text in (ntfy.json["title"], ntfy.json["message"], mattermost.json["text"]):
        assert not re.search(r"[<>\x1b\u202e]|@everyone|\]\(", text)
        assert "CA says: ‹!channel› ‹b›x‹/b› @ everyone" in text
        assert "a b" in text  # its line ended
    assert "\n" not in ntfy.json["title"]
    assert "admin@example.com can renew it" in ntfy.json["message"]
    # A program gets signs as they are, and in a way that its language wants.
    (read,) = hooks.to("json/ok")
    assert "<b>x</b>" in read.json["message"]
    assert read.json["type"] == "failure"
    (xml,) = hooks.to("xml/ok")
    assert b"&lt;b&gt;x&lt;/b&gt;" in xml.body
    for one in hooks.posts:
        assert not re.search(rb"\x1b|\xe2\x80\xae", one.body)


def test_a_server_that_refuses_is_told_by_its_status(answers: Mapping[str, SendAnswer]) -> None:
    assert answers["500"] == SendAnswer(SendFailure.STATUS, 500)
    assert answers["429"] == SendAnswer(SendFailure.STATUS, 429, 120)
    assert answers["429 for ever"] == SendAnswer(SendFailure.STATUS, 429, 86_400)


def test_nobody_else_gets_what_a_redirect_names(
    answers: Mapping[str, SendAnswer], hooks: Hooks
) -> None:
    """Not even where the address asks for it."""
    assert answers["moved"] == SendAnswer(SendFailure.REDIRECTED, 307)
    assert hooks.to("moved")
    assert not hooks.to("elsewhere")


def test_an_answer_of_ten_megabytes_is_not_read(answers: Mapping[str, SendAnswer]) -> None:
    assert MOST_BYTES < HUGE
    assert answers["huge"] == SendAnswer()  # it was taken: the status says so
    assert answers["huge error"] == SendAnswer(SendFailure.STATUS, 500)


@pytest.mark.parametrize(
    ("name", "why", "said"),
    [
        ("cut", "not-answered", ""),
        ("noise", "not-http", ""),
        ("silent", "not-in-time", ""),
        ("refused", "not-connected", "Connection refused"),
        ("no TLS", "tls-failed", "…"),
        ("unresolved", "unresolved", "…"),
        ("smtp", "not-connected", "Connection refused"),
    ],
)
def test_who_cannot_be_reached_is_told_with_the_reason(
    name: str, why: str, said: str, answers: Mapping[str, SendAnswer]
) -> None:
    answer = answers[name]
    assert (answer.failure, answer.why) == (SendFailure.UNREACHED, why)
    assert answer.said if said == "…" else answer.said == said


def test_addresses_that_apprise_does_not_understand(answers: Mapping[str, SendAnswer]) -> None:
    for name in ("unknown", "bad"):
        assert answers[name].failure is SendFailure.BAD_ADDRESS, name
    assert answers["package"].failure is SendFailure.NEEDS_PACKAGE


def test_what_else_apprise_can_do_is_closed_off(answers: Mapping[str, SendAnswer]) -> None:
    for name in ("desktop", "syslog", "file", "config", "template"):
        assert answers[name].failure is SendFailure.BAD_ADDRESS, name


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", SendFailure.ODD_REQUEST),
        (b"x" * (MOST_ASKED + 10), SendFailure.ODD_REQUEST),
        (request("mailto:-oQ/tmp"), SendFailure.BAD_ADDRESS),
        (request(f"slak://{SECRET}/b"), SendFailure.BAD_ADDRESS),
    ],
)
def test_each_run_has_an_answer(data: bytes, answer: SendFailure) -> None:
    assert answer_to(data).failure is answer


def test_it_is_over_in_time_whatever_happens(hooks: Hooks) -> None:
    """A server that says nothing, and an address that would wait for an hour."""
    code = """
import sslmd.notify.main as program
program.SECONDS = 2.5
program.main([])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        input=request(hooks.at("silent?rto=3600&retry=5")),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert SendAnswer.read(done.stdout).failure is SendFailure.OVERDUE


def test_nothing_of_the_address_is_seen_from_outside(hooks: Hooks) -> None:
    """Neither arguments nor environment, nor memory for others; and it holds no privileges."""
    hooks.posts.clear()
    with subprocess.Popen(
        COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(request(f"json://admin:{SECRET}@127.0.0.1:{hooks.port}/silent"))
            process.stdin.close()
            wait_until(lambda: hooks.posts, "the post")
            proc = Path(f"/proc/{process.pid}")
            if os.geteuid() == 0:  # others are not let in: it is not dumpable
                for name in ("cmdline", "environ"):
                    assert SECRET.encode() not in (proc / name).read_bytes()
            status = (proc / "status").read_text()
            assert "NoNewPrivs:\t1" in status
            assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
            assert "Seccomp:\t2" in status
            if os.geteuid() == 0:
                assert not re.search(r"^Uid:\t0\t", status, re.MULTILINE)
            assert (proc / "environ").stat().st_uid == 0 or os.geteuid() != 0
        finally:
            process.kill()
