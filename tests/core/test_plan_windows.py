"""The plan of a certificate with roll windows: what waits for them, and what does not."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from sslmd.core.errors import Failure, Trouble
from sslmd.core.events import Advertised, Event
from sslmd.core.jobs import CertJob, Roll
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.spec import SelfSigned, SetFacts
from sslmd.core.state import CertState
from sslmd.core.view import Decision
from sslmd.core.windows import Window, next_common
from sslmd.core.words.sentence import say
from tests.core.test_plan import (
    BROKEN,
    DANE,
    DUE,
    EXPIRED,
    FORCED_ROLL,
    HOUR,
    MINUTE,
    NEXT,
    NOW,
    READY,
    ROLL,
    WANTED,
    advertised,
    issued,
    look,
    settled,
    step,
    waits,
)
from tests.core.test_plan_dane import READY_SEEN, dane_step
from tests.reasons import because
from tests.stand.world import START, World, days, wanted

SATURDAY = Window(
    frozenset({5}), 120, 300, ZoneInfo("Europe/Berlin"), "Sat 02:00-05:00 Europe/Berlin"
)
EARLY = Window(frozenset(range(7)), 0, 120, ZoneInfo("UTC"), "00:00-02:00 UTC")
SUNDAY = replace(SATURDAY, days=frozenset({6}), text="Sun 02:00-05:00 Europe/Berlin")
OPENS = datetime(2026, 1, 3, 1, tzinfo=UTC)  # NOW is a Thursday
LATER = datetime(2026, 1, 5, tzinfo=UTC)
WEEKLY = replace(WANTED, roll_windows=((SATURDAY,),))
SHARED = replace(WANTED, roll_windows=((SATURDAY,), (EARLY,)))
NEVER = replace(WANTED, roll_windows=((SATURDAY,), (SUNDAY,)))


def ending(when: datetime) -> SetFacts:
    """A set whose certificate expires then."""
    return issued(when - days(90))


def roll_of(decision: Decision) -> Roll:
    assert isinstance(decision.job, Roll)
    assert decision.job.reason == decision.reason
    return decision.job


def test_a_next_is_rolled_while_its_window_is_open() -> None:
    first = step(settled(DUE, READY), WEEKLY)
    assert isinstance(first.advertised, Advertised)
    assert first.roll_at == OPENS
    state = advertised(DUE, READY)
    decision = waits(step(state, WEEKLY))
    assert say(decision.reason) == (
        "on deck; rolls at 2026-01-03 01:00:00 UTC, when its roll_window opens (Sat 02:00-05:00 "
        "Europe/Berlin)"
    )
    assert say(decision.rolls_when) == "when its roll_window opens (Sat 02:00-05:00 Europe/Berlin)"
    assert decision.wake_at == decision.roll_at == OPENS
    job = roll_of(step(state, WEEKLY, now=OPENS))
    assert (job.overrode, job.blind) == (None, False)
    assert say(roll_of(step(state, WEEKLY, now=OPENS + 3 * HOUR - MINUTE)).overrode) == ""
    # It was missed: a week later.
    missed = waits(step(state, WEEKLY, now=OPENS + 3 * HOUR))
    assert missed.roll_at == OPENS + days(7)


def test_windows_of_several_owners_are_waited_for_together() -> None:
    state = advertised(DUE, READY)
    decision = waits(step(state, SHARED))
    assert say(decision.reason) == (
        "on deck; rolls at 2026-01-03 01:00:00 UTC, when its roll_windows are open together (Sat "
        "02:00-05:00 Europe/Berlin and 00:00-02:00 UTC)"
    )
    assert waits(step(state, SHARED, now=OPENS + HOUR)).roll_at == OPENS + days(7)
    assert roll_of(step(state, SHARED, now=OPENS + HOUR - MINUTE))


def test_the_window_counts_when_min_roll_mins_is_over() -> None:
    fresh = issued(OPENS + 2 * HOUR)
    state = advertised(DUE, fresh)
    # The window is open, and shut when the wait is over.
    decision = waits(step(state, WEEKLY, now=OPENS + 2 * HOUR))
    assert decision.roll_at == OPENS + days(7)
    # It is shut, and open when the wait is over.
    state = advertised(DUE, issued(OPENS - 30 * MINUTE))
    decision = waits(step(state, WEEKLY, now=OPENS - 10 * MINUTE))
    assert say(decision.reason) == "on deck; rolls at 2026-01-03 02:00:00 UTC"
    assert say(decision.rolls_when) == ""


def test_the_window_counts_when_the_wait_for_dns_is_over() -> None:
    want = replace(DANE, roll_windows=((SATURDAY,),))
    waiting = replace(READY_SEEN, waited=59.9, opens_at=NOW + MINUTE)
    decision = waits(
        dane_step(settled(DUE, READY, sighting=waiting), want=want),
        "on every name server since",
        "; rolls at 2026-01-03 01:00:00 UTC, when its roll_window opens (Sat",
    )
    assert decision.roll_at == OPENS
    assert decision.wake_at == NOW + MINUTE
    # It is advertised all the same, and its key waits with its records in DNS.
    event = dane_step(settled(DUE, READY, sighting=READY_SEEN), want=want).advertised
    assert isinstance(event, Advertised)
    waits(dane_step(advertised(DUE, READY, sighting=READY_SEEN), want=want), "its roll_window")
    # Nobody knows how long the wait is: no time is told.
    unseen = replace(READY_SEEN, since=None, missing=because("ns2 lacks it"), opens_at=None)
    decision = waits(dane_step(settled(DUE, READY, sighting=unseen), want=want), "ns2 lacks it")
    assert decision.roll_at is None


@pytest.mark.parametrize("curr", [None, EXPIRED, BROKEN])
def test_nothing_is_waited_for_without_a_usable_curr(curr: SetFacts | None) -> None:
    job = roll_of(step(advertised(curr, NEXT), WEEKLY))
    assert say(job.overrode) == ""
    assert "roll_window" not in say(job.reason)


def test_a_window_that_opens_too_late_is_not_waited_for() -> None:
    """An hour is left for servers to be restarted."""
    in_time, late = ending(OPENS + HOUR), ending(OPENS + HOUR - MINUTE)
    waits(step(advertised(in_time, READY), WEEKLY), "when its roll_window opens")
    job = roll_of(step(advertised(late, READY), WEEKLY))
    assert say(job.reason) == (
        "next is issued, proven, and min_roll_mins is over; rolled without waiting for its "
        "roll_window (Sat 02:00-05:00 Europe/Berlin): 2026-01-03 01:00:00 UTC is too late for "
        "curr, which expires at 2026-01-03 01:59:00 UTC"
    )
    assert say(job.reason).endswith(f"; {say(job.overrode)}")
    # min_roll_mins is waited for as ever.
    decision = waits(step(advertised(late, NEXT), WEEKLY), "rolls at 2026-01-01 00:30:00 UTC, with")
    assert decision.roll_at == NOW + 30 * MINUTE
    assert say(decision.rolls_when) == ""


def test_an_opening_that_was_missed_makes_it_urgent() -> None:
    state = advertised(ending(OPENS + days(5)), READY)
    waits(step(state, WEEKLY))
    assert "too late" in say(roll_of(step(state, WEEKLY, now=OPENS + 4 * HOUR)).reason)


def test_the_restart_has_to_be_in_time_too() -> None:
    state = advertised(ending(OPENS + days(1)), READY)
    waits(step(state, replace(WEEKLY, restart_windows=(((EARLY,),),))))
    tight = replace(WEEKLY, restart_windows=(((EARLY,),), ((SUNDAY,),)))
    assert "too late" in say(roll_of(step(state, tight)).reason)
    waits(step(advertised(ending(OPENS + days(1) + HOUR), READY), tight))


def test_dns_is_waited_for_even_when_windows_are_not() -> None:
    want = replace(DANE, roll_windows=((SATURDAY,),))
    waiting = replace(READY_SEEN, waited=59.9, opens_at=NOW + MINUTE)
    state = settled(ending(OPENS), READY, sighting=waiting)
    decision = waits(dane_step(state, want=want), "too late for curr")
    assert decision.roll_at == NOW + MINUTE


def test_windows_that_never_meet_hold_up_nothing() -> None:
    """The configuration refuses them; the rules of a zone may change later."""
    assert "which never meet" in say(roll_of(step(advertised(DUE, READY), NEVER)).reason)


def test_force_overrides_a_window_and_says_so() -> None:
    job = roll_of(step(advertised(DUE, READY, ask=FORCED_ROLL), WEEKLY))
    assert say(job.reason) == "an admin forced it"
    assert say(job.overrode) == (
        "forced, its roll_window (Sat 02:00-05:00 Europe/Berlin) opens at 2026-01-03 01:00:00 UTC"
    )
    both = roll_of(step(advertised(DUE, NEXT, ask=FORCED_ROLL), SHARED)).overrode
    assert say(both).startswith(
        "forced, min_roll_mins lasts until 2026-01-01 00:30:00 UTC and its roll"
    )
    assert "are open together at" in say(both)
    job = roll_of(step(advertised(DUE, READY, ask=FORCED_ROLL), WEEKLY, now=OPENS))
    assert job.overrode is None


def test_a_roll_without_force_waits_for_the_window() -> None:
    waits(step(advertised(DUE, READY, ask=ROLL), WEEKLY), "when its roll_window opens")


def test_a_roll_that_failed_is_tried_again_in_a_window() -> None:
    again = OPENS + 2 * HOUR
    trouble = Trouble(1, Failure.TRANSIENT, "disk full", OPENS, again, WEEKLY.fingerprint)
    state: CertState = advertised(DUE, READY, trouble=trouble)
    assert waits(step(state, WEEKLY, now=OPENS + HOUR)).wake_at == again
    assert roll_of(step(state, WEEKLY, now=again))
    waits(step(state, WEEKLY, now=OPENS + 3 * HOUR), "rolls at 2026-01-10")


class Windowed(World):
    """Every roll is in a window, or had to be early."""

    def _work(self, cert: CertId, job: CertJob) -> Event:
        if isinstance(job, Roll):
            want, curr = self.wants[cert], self.states[cert].curr
            # The job takes some seconds.
            in_window = next_common(want.roll_windows, self.now - MINUTE)
            if curr is not None and "without waiting" not in say(job.reason):
                assert in_window is not None
                assert in_window <= self.now
            self.early += "without waiting" in say(job.reason)
        return super()._work(cert, job)

    early = 0


@pytest.mark.parametrize("trouble", [0.0, 0.2])
def test_years_with_windows(trouble: float) -> None:
    own = wanted("ca:root", signer=SelfSigned(), life=90, renew=30)
    wants = {
        want.spec.id: want
        for index in range(20)
        for want in [replace(own, spec=replace(own.spec, id=CertId("ca", f"root{index}")))]
    }
    both = ((SATURDAY,), (EARLY,))
    world = Windowed(
        {cert: replace(want, roll_windows=both) for cert, want in wants.items()},
        random.Random(20260101),
        trouble,
    )
    world.run_until(START + timedelta(days=3 * 365))
    assert world.expired == []
    assert world.early == 0
    assert all(len(orders) > 12 for orders in world.orders.values())


def test_the_answer_is_the_same_as_often_as_it_is_asked() -> None:
    view = look(advertised(DUE, READY), SHARED)
    assert decide(view, NOW) == decide(view, NOW)
