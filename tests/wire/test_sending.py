"""Requests and answers of the program that sends messages: whole, bounded, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.plain import is_plain
from sslmd.core.trouble import Severity
from sslmd.wire import sending
from sslmd.wire.sending import OddMessageError, SendAnswer, SendFailure, ToSend

SECRET = "ntfys://someone:s3cr3t@ntfy.example.com/topic"


@given(st.text(max_size=400), st.lists(st.text(max_size=1200), max_size=220))
def test_whatever_stands_in_a_message_arrives_in_plain_lines(
    subject: str, lines: list[str]
) -> None:
    message = ToSend(SECRET, subject, tuple(lines), Severity.CRITICAL)
    data = message.dump()
    assert data.isascii()
    assert b"\n" not in data
    read = ToSend.read(data)
    assert (read.address, read.severity) == (SECRET, Severity.CRITICAL)
    assert is_plain(read.subject)
    assert len(read.subject) <= sending.MOST_SUBJECT
    assert all(map(is_plain, read.lines))
    assert len(read.lines) == min(len(lines), sending.MOST_LINES)


def test_no_repr_shows_an_address() -> None:
    assert "s3cr3t" not in repr(ToSend(SECRET, "x", ("y",), Severity.OK))


GOOD = json.loads(ToSend(SECRET, "x", ("y",), Severity.OK).dump())


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": 5},
        {"address": "x" * (sending.MOST_ADDRESS + 1)},
        {"lines": "y"},
        {"lines": [1]},
        {"lines": ["y"] * (sending.MOST_LINES + 1)},
        {"severity": "loud"},
        {"severity": None},
        {"subject": None},
    ],
)
def test_a_request_that_is_not_as_agreed_is_refused_without_its_words(
    wrong: dict[str, Any],
) -> None:
    with pytest.raises(OddMessageError) as err:
        ToSend.read(json.dumps({**GOOD, **wrong}).encode())
    assert str(err.value) in GOOD


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b"5", b" " * (1 << 20)]
)
def test_no_json_is_no_message(data: bytes) -> None:
    for kind in (ToSend, SendAnswer):
        with pytest.raises(OddMessageError):
            kind.read(data)


@pytest.mark.parametrize("failure", [None, *SendFailure])
def test_an_answer_arrives(failure: SendFailure | None) -> None:
    answer = SendAnswer(failure, 429, 120, "not-trusted", "it said so")
    data = answer.dump()
    assert data.endswith(b"\n")
    assert SendAnswer.read(data) == answer


def test_the_longest_answer_is_read_from_the_end_of_what_a_program_says() -> None:
    from sslmd.processes import TAIL

    longest = SendAnswer(SendFailure.SENDMAIL, 9999, sending.LONGEST_RETRY, "x" * 60, "ü" * 5000)
    assert len(longest.dump()) < min(TAIL, sending.MOST_ANSWERED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure": "sorry"},
        {"failure": ["bug"]},
        {"number": -1},
        {"number": 10_000},
        {"number": True},
        {"number": 1.5},
        {"retry_after": sending.LONGEST_RETRY + 1},
        {"why": "../../etc"},
        {"why": "x" * 61},
        {"said": 5},
    ],
)
def test_an_answer_that_is_not_as_agreed_is_refused(wrong: dict[str, Any]) -> None:
    good = json.loads(SendAnswer(SendFailure.BUG, why="KeyError").dump())
    with pytest.raises(OddMessageError):
        SendAnswer.read(json.dumps({**good, **wrong}).encode())


def test_words_of_others_in_an_answer_are_plain() -> None:
    good = json.loads(SendAnswer(SendFailure.SENDMAIL, 75).dump())
    read = SendAnswer.read(json.dumps({**good, "said": "a\nb\x1b[2Jc\u202ed"}).encode())
    assert is_plain(read.said)
    assert len(read.said) <= sending.MOST_SAID
