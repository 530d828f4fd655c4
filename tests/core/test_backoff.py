"""The retry table."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.backoff import JITTER, LONGEST_WAIT, Failure, next_try
from tests.stand.world import START

MINUTES = [1, 2, 5, 10, 20, 30, 60, 120, 180, 360, 360, 360]


@pytest.mark.parametrize(("attempts", "minutes"), list(enumerate(MINUTES, start=1)))
def test_the_ladder(attempts: int, minutes: int) -> None:
    again = next_try(Failure.TRANSIENT, attempts, START, jitter=0)
    assert again == START + timedelta(minutes=minutes)


@pytest.mark.parametrize("failure", [Failure.PERMANENT, Failure.BUG])
@pytest.mark.parametrize("attempts", [1, 5, 1000])
def test_what_only_a_person_can_mend_is_tried_daily(failure: Failure, attempts: int) -> None:
    assert next_try(failure, attempts, START, jitter=0) == START + timedelta(days=1)


@given(st.sampled_from(Failure), st.integers(-1, 10_000), st.floats(0, 1))
def test_jitter_only_adds_and_a_wait_is_bounded(
    failure: Failure, attempts: int, jitter: float
) -> None:
    plain = next_try(failure, attempts, START, jitter=0) - START
    wait = next_try(failure, attempts, START, jitter=jitter) - START
    assert timedelta() < plain <= wait <= plain * (1 + JITTER)
    assert wait <= LONGEST_WAIT


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("wait", [timedelta(seconds=1), timedelta(days=7)])
def test_the_time_that_a_ca_asked_for_wins(failure: Failure, wait: timedelta) -> None:
    assert next_try(failure, 3, START, jitter=1, retry_at=START + wait) == START + wait


@pytest.mark.parametrize("ago", [timedelta(), timedelta(days=1)])
def test_a_time_that_has_passed_does_not(ago: timedelta) -> None:
    again = next_try(Failure.TRANSIENT, 1, START, jitter=0, retry_at=START - ago)
    assert again == START + timedelta(minutes=1)
