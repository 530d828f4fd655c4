"""The value of a failure, and the retry table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.errors import (
    JITTER,
    LONGEST_WAIT,
    Failure,
    Overdue,
    Permanent,
    SslmError,
    Transient,
    Trouble,
    ValidationFailed,
    is_over,
    kind_of,
    text_of,
    together,
)
from sslmd.core.failed import Failed
from sslmd.core.reason import Held, Reason
from tests.stand.world import START

MINUTES = [1, 2, 5, 10, 20, 30, 60, 120, 180, 360, 360, 360]
ERRORS: list[Exception] = [Transient("disk full"), Permanent("no such CA"), ValueError("a bug")]


@pytest.mark.parametrize(("before", "minutes"), list(enumerate(MINUTES)))
def test_the_ladder(before: int, minutes: int) -> None:
    trouble = Trouble.of(Transient("disk full"), before, START, jitter=0)
    assert trouble.next_try == START + timedelta(minutes=minutes)
    assert (trouble.attempts, trouble.text, trouble.at) == (before + 1, "disk full", START)


@pytest.mark.parametrize("err", ERRORS[1:])
@pytest.mark.parametrize("before", [0, 4, 1000])
def test_what_only_a_person_can_fix_is_tried_daily(err: Exception, before: int) -> None:
    assert Trouble.of(err, before, START, jitter=0).next_try == START + timedelta(days=1)


@given(st.sampled_from(ERRORS), st.integers(0, 10_000), st.floats(0, 1))
def test_jitter_only_adds_and_a_wait_is_bounded(err: Exception, before: int, jitter: float) -> None:
    plain = Trouble.of(err, before, START, jitter=0).next_try - START
    wait = Trouble.of(err, before, START, jitter=jitter).next_try - START
    assert timedelta() < plain <= wait <= plain * (1 + JITTER)
    assert wait <= LONGEST_WAIT


@pytest.mark.parametrize("wait", [timedelta(seconds=1), timedelta(days=7)])
def test_the_time_that_a_ca_asked_for_wins(wait: timedelta) -> None:
    trouble = Trouble.of(Transient("busy", retry_at=START + wait), 2, START, jitter=1)
    assert trouble.next_try == START + wait
    assert trouble.binding
    assert trouble.eased(START) == trouble


@pytest.mark.parametrize("ago", [timedelta(), timedelta(days=1)])
def test_a_time_that_has_passed_does_not(ago: timedelta) -> None:
    trouble = Trouble.of(Transient("busy", retry_at=START - ago), 0, START, jitter=0)
    assert trouble.next_try == START + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("err", "kind"),
    [
        (Transient("x"), Failure.TRANSIENT),
        (Overdue("x"), Failure.TRANSIENT),
        (ValidationFailed("x", ["a"]), Failure.TRANSIENT),
        (Permanent("x"), Failure.PERMANENT),
        (SslmError("x"), Failure.PERMANENT),
        (KeyError("x"), Failure.BUG),
    ],
)
def test_what_kind_an_exception_is(err: Exception, kind: Failure) -> None:
    assert kind_of(err) is kind
    text = "an error of sslmd's own: KeyError('x')" if kind is Failure.BUG else "x"
    assert text_of(err) == text


def test_it_blocks_until_its_time_for_the_configuration_that_failed() -> None:
    trouble = Trouble.of(Transient("x"), 0, START, jitter=0, fingerprint="f")
    second = timedelta(seconds=1)
    assert trouble.blocks(START, "f")
    assert not trouble.blocks(trouble.next_try, "f")
    assert trouble.blocks(trouble.next_try - second, "f")
    assert not trouble.blocks(START, "another")
    assert not trouble.blocks(START - timedelta(minutes=5) - second, "f")
    assert not trouble.eased(START).blocks(START, "f")


def test_what_a_ca_asked_for_blocks_whatever_the_configuration_says() -> None:
    week = timedelta(days=7)
    trouble = Trouble.of(Transient("x", retry_at=START + week), 0, START, jitter=0)
    trouble = replace(trouble, ca="a CA")
    assert trouble.blocks(START, "another", "a CA")
    assert trouble.blocks(START - week, "another", "a CA")
    assert not trouble.blocks(START - week - timedelta(seconds=1), "another", "a CA")
    assert not trouble.blocks(START, "another", "another CA")


def test_a_wait_longer_than_ours_was_noted_before_the_clock_was_set_back() -> None:
    assert is_over(None, START)
    assert is_over(START, START)
    assert not is_over(START + LONGEST_WAIT, START)
    assert is_over(START + LONGEST_WAIT + timedelta(seconds=1), START)


def test_it_keeps_the_code_of_what_failed() -> None:
    why = Reason(Failed.CA_NO_SUCH_PLACE, url="https://acme.test/", status=404)
    trouble = Trouble.of(Permanent(why), 0, START, jitter=0)
    assert trouble.reason == why
    assert trouble.text == (
        "the CA at https://acme.test/ answers 404: that is not where its directory is; correct "
        "ca_server"
    )
    assert trouble == replace(trouble, reason=None)  # as it is read again from disk
    bug = Trouble.of(KeyError("x"), 0, START, jitter=0)
    assert bug.reason == Reason(Held.OWN_ERROR, error="KeyError('x')")


def test_several_failures_are_one_reason_of_all_of_theirs() -> None:
    lost, now = Reason(Failed.NS_NO_SOA), datetime(2026, 6, 1, tzinfo=UTC)
    silent = Transient(Reason(Failed.NS_CLOSED), about="zone example.com", retry_at=now)
    failed = together([silent, Permanent(lost, about="zone example.com"), silent])
    assert isinstance(failed, Permanent)
    assert failed.reason.code is Failed.SEVERAL
    assert failed.reason["parts"] == (Reason(Failed.NS_CLOSED), lost)  # each once
    assert failed.reason["about"] == "zone example.com"  # and what they are about
    apart = together([silent, Transient(lost, about="zone example.org")])
    assert isinstance(apart, Transient)
    assert apart.retry_at == now
    assert apart.reason["parts"] == (silent.reason, lost.of("zone example.org"))
    assert together([silent]) is silent
