"""When a CA wants certificates renewed: windows, looks, and what a plan makes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.ari import (
    BACKSTOP,
    LATEST,
    LONG,
    SILENT,
    SOONEST,
    Advice,
    Fault,
    Later,
    Life,
    WindowAnswer,
    certificate_id,
    looked,
    pause,
)
from sslmd.core.events import Advised, Asked, Rolled, ServersProven
from sslmd.core.jobs import MakeKey, Order, Roll
from sslmd.core.lifecycle import advance
from sslmd.core.plan import decide
from sslmd.core.reason import Why
from sslmd.core.renewal import CA_WISHES, Question, hurry_since, renew_at, when_due, why_renew
from sslmd.core.spec import AcmeCa, SetFacts, Timing
from sslmd.core.state import (
    Ask,
    CertState,
    Delivered,
    Phase,
    Request,
    SetNote,
    replaced_urgently,
)
from sslmd.core.view import Decision, View
from sslmd.core.windows import Window
from sslmd.core.words.sentence import say
from sslmd.store.state import notes_of, parse, render
from tests.core.test_plan import reread
from tests.stand.world import START, days, facts, wanted

NOW = START
LE = AcmeCa("le")
WANTED = wanted("example.com:web", signer=LE, renew=30)
BEGIN, END = NOW - days(20), NOW + days(70)
CURR = facts(WANTED, BEGIN, cert=(BEGIN, END))
HOUR = timedelta(hours=1)
SATURDAY = Window(
    frozenset({5}), 120, 300, ZoneInfo("Europe/Berlin"), "Sat 02:00-05:00 Europe/Berlin"
)

times = st.timedeltas(days(-300), days(500)).map(lambda after: NOW + after)
draws = st.floats(-1, 1)
spans = st.timedeltas(timedelta(seconds=1), days(400))


def answer(
    begin: datetime, end: datetime, url: str = "", again: timedelta | None = HOUR
) -> WindowAnswer:
    return WindowAnswer(begin.timestamp(), end.timestamp(), url, again)


def life(draw: float = 0.0) -> Life:
    return Life(BEGIN, END, draw)


def advice(
    begin: datetime, end: datetime, now: datetime = NOW, before: Advice | None = None
) -> Advice:
    return looked(before, answer(begin, end), life(), now)


def note(said: Advice | None, draw: float = 0.0, wished: datetime | None = None) -> SetNote:
    return SetNote(draw, BEGIN, "le", ari=said, wished=wished)


def due(said: Advice | None, draw: float = 0.0, timing: Timing = WANTED.timing) -> datetime:
    at = when_due(CURR, note(said, draw), replace(WANTED, timing=timing))
    assert at is not None
    return at


FUTURE = advice(NOW + days(40), NOW + days(42))
PAST = advice(NOW - HOUR, NOW - HOUR / 2)


def test_the_identifier_is_that_of_the_rfc() -> None:
    key_id = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert certificate_id(key_id, 0x87654321) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert certificate_id(b"\x01", 0x7F) == "AQ.fw"


# --- looks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "after"),
    [
        (timedelta(0), SOONEST),
        (timedelta(seconds=-5), SOONEST),
        (HOUR, HOUR),
        (days(30), LATEST),
        (None, LONG),
    ],
)
def test_the_next_look_is_when_the_ca_says_within_bounds(
    said: timedelta | None, after: timedelta
) -> None:
    one = looked(None, answer(NOW + days(1), NOW + days(2), again=said), life(), NOW)
    assert one.next_look == NOW + after
    assert (one.failures, one.silent_since) == (0, None)


def test_faults_that_pass_are_asked_again_soon_and_then_seldom() -> None:
    one: Advice | None = None
    now, waits = NOW, []
    for _ in range(12):
        one = looked(one, Fault.TEMPORARY, life(), now)
        waits.append((one.next_look - now) / SOONEST)
        now = one.next_look
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]
    assert looked(None, Fault.LASTING, life(), NOW).next_look == NOW + LONG
    well = looked(one, answer(NOW + days(1), NOW + days(2)), life(), now)
    assert (well.failures, well.silent_since) == (0, None)


@pytest.mark.parametrize(
    ("said", "after"), [(timedelta(seconds=5), SOONEST), (HOUR, HOUR), (days(30), LATEST)]
)
def test_a_refusal_with_a_retry_after_is_obeyed(said: timedelta, after: timedelta) -> None:
    one = looked(FUTURE, Later(said), life(), NOW)
    assert one.next_look == NOW + after
    assert (one.failures, one.silent_since, one.begin) == (1, NOW, FUTURE.begin)
    assert looked(None, Later(said), life(), NOW).next_look == NOW + after


@given(st.floats(), st.floats())
def test_any_numbers_give_a_window_or_none(start: float, end: float) -> None:
    one = looked(None, WindowAnswer(start, end, "x" * 10_000), life(), NOW)
    assert SOONEST <= one.next_look - NOW <= LATEST
    assert len(one.explanation) <= 500
    if one.begin is not None:
        assert one.end is not None
        assert math.isclose(one.begin.timestamp(), start, abs_tol=1e-3)
        assert one.begin < one.end
        assert one.begin < END


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)),
        (datetime(9999, 1, 1, tzinfo=UTC), datetime(9999, 1, 2, tzinfo=UTC)),
        (NOW + days(2), NOW + days(1)),
        (NOW, NOW),
        (END, END + days(1)),
    ],
)
def test_a_window_of_another_time_is_none(begin: datetime, end: datetime) -> None:
    one = advice(begin, end)
    assert (one.begin, one.failures) == (None, 1)
    assert due(one) == END - days(30)
    # What it said before that stays.
    assert advice(begin, end, before=FUTURE).begin == FUTURE.begin


# --- when a set is due -------------------------------------------------------------------------


@given(times, spans, draws, draws)
def test_a_set_is_due_at_its_place_in_the_window(
    begin: datetime, span: timedelta, draw: float, other: float
) -> None:
    one = looked(None, answer(begin, begin + span), life(draw), NOW)
    if one.begin is None or one.urgent_since is not None:
        return
    at, last = due(one, draw), END - (END - BEGIN) * BACKSTOP
    assert at <= last
    assert at == min(begin + span * ((draw + 1) / 2), last)
    # Later looks that say the same change nothing, whatever time it is.
    again = looked(one, answer(begin, begin + span), life(draw), NOW + days(30) * abs(other))
    assert due(again, draw) == at
    assert (due(one, other) - at) * (other - draw) >= timedelta()


def test_days_count_without_a_window_or_if_asked() -> None:
    days_alone = replace(WANTED.timing, by_ca=False)
    assert due(None) == due(FUTURE, timing=days_alone) == END - days(30)
    assert due(FUTURE) == NOW + days(41)
    assert due(PAST, timing=days_alone) == END - days(30)


def test_our_own_spread_does_not_leave_the_window_of_a_silent_ca() -> None:
    wide = replace(WANTED.timing, spread=days(20))
    silent = replace(advice(NOW + days(38), NOW + days(42)), silent_since=NOW, looked=NOW + SILENT)
    assert silent.is_silent
    assert due(silent, 1.0, wide) == END - days(30)
    elsewhere = replace(silent, begin=NOW, end=NOW + days(1))
    assert due(elsewhere, 1.0, wide) == renew_at(CURR.cert, wide, 1.0)  # type: ignore[arg-type]


def test_a_ca_that_is_silent_for_two_days_is_not_waited_for() -> None:
    one, now = FUTURE, NOW
    late = replace(FUTURE, begin=END - days(20), end=END - days(18))
    while not one.is_silent:
        assert due(one) == NOW + days(41)
        now = one.next_look
        one = looked(one, Fault.TEMPORARY, life(), now)
    assert SILENT <= now - NOW < SILENT + 2 * LONG
    assert due(replace(one, begin=late.begin, end=late.end)) == END - days(30)
    assert due(looked(one, answer(NOW + days(50), NOW + days(51)), life(), now)) > NOW + days(50)


# --- urgency -----------------------------------------------------------------------------------


def test_a_window_in_the_past_is_urgent_and_one_that_passed_is_not() -> None:
    assert PAST.urgent_since == NOW - HOUR * 0.75
    passed = advice(NOW + days(40), NOW + days(42), NOW + days(60), before=FUTURE)
    assert passed.urgent_since is None
    assert due(passed) < NOW + days(60)
    # Moved within what is left, so that its time has come.
    forward = advice(NOW - days(1), NOW + days(3) / 4, before=FUTURE)
    assert forward.urgent_since is not None
    assert advice(NOW - days(1), NOW + days(3)).urgent_since is None  # just due, in its window
    assert advice(NOW + days(1), NOW + days(2), before=FUTURE).urgent_since is None


def test_a_window_that_is_computed_again_is_no_alarm_and_one_in_the_past_is() -> None:
    """A CA may be off by minutes from look to look; in an incident it is off by a window."""
    over = NOW + days(43)
    length, minutes = days(2), timedelta(minutes=20)
    for shift in (-minutes, minutes):
        again = advice(NOW + days(40) + shift, NOW + days(42) + shift, over, before=FUTURE)
        assert again.urgent_since is None
        due_now = advice(NOW - length / 2 + minutes, NOW + length / 2 + minutes)
        assert due_now.urgent_since is None
        moved = advice(NOW - length / 2 + shift, NOW + length / 2 + shift, before=due_now)
        assert moved.urgent_since is None
    # Whoever is just in its window is told as well: Boulder's is half an hour, an hour ago.
    for left in (timedelta(minutes=1), HOUR, length - timedelta(minutes=1)):
        now_due = advice(NOW + left - length, NOW + left)
        told = advice(NOW - HOUR, NOW - HOUR / 2, before=now_due)
        assert told.urgent_since is not None, left


def test_urgency_lasts_from_look_to_look_until_it_is_withdrawn() -> None:
    now = NOW + HOUR
    still = advice(now - HOUR, now - HOUR / 2, now, before=PAST)  # Boulder's moves along
    assert still.urgent_since == PAST.urgent_since
    assert looked(still, Fault.TEMPORARY, life(), now + days(9)).urgent_since == PAST.urgent_since
    assert advice(now + days(9), now + days(10), now, before=still).urgent_since is None


def test_the_usual_window_of_a_tree_that_was_never_asked_about_is_not_urgent() -> None:
    now = END - days(10)
    usual = looked(None, answer(END - days(31), END - days(29)), life(), now)
    assert usual.urgent_since is None
    assert due(usual) < now
    told = looked(None, answer(END - days(31), END - days(29), "https://ca/x"), life(), now)
    assert told.urgent_since is not None
    assert looked(None, answer(now - HOUR, now - HOUR / 2), life(), now).urgent_since is not None


def test_who_is_in_a_hurry_and_since_when() -> None:
    later = replace(PAST, urgent_since=NOW - HOUR / 4)
    assert hurry_since(state(FUTURE), WANTED) is None
    assert hurry_since(state(later), WANTED) == NOW - HOUR / 4
    assert hurry_since(state(later, on_deck(), PAST), WANTED) == PAST.urgent_since
    by_days = replace(WANTED, timing=replace(WANTED.timing, by_ca=False))
    assert hurry_since(state(PAST), by_days) is None
    # Until servers are seen with the other set.
    rolled = state(None, curr=on_deck(), prev=CURR.name, prev_note=note(PAST))
    assert hurry_since(rolled, WANTED) == PAST.urgent_since
    assert hurry_since(replace(rolled, deployed=on_deck().name), WANTED) is None
    # What an admin says is revoked goes before all that a CA wants.
    revoked = advance(state(None), Asked(Ask(Request.RENEW, NOW, force=True, revoked=True)))
    for one in (revoked, replace(revoked, ask=None), replace(revoked, curr_note=None)):
        since = hurry_since(one, WANTED)
        assert since is not None
        assert since < NOW - days(10_000)


# --- the plan ----------------------------------------------------------------------------------

URGENT = replace(PAST, explanation="https://ca.example/incident")


def state(
    said: Advice | None,
    next_: SetFacts | None = None,
    next_said: Advice | None = None,
    **more: object,
) -> CertState:
    one = CertState(
        curr=CURR,
        curr_note=note(said),
        next=next_,
        next_note=SetNote(0.0, NOW - HOUR / 2, "le", ari=next_said) if next_ else None,
        deployed=CURR.name,
        settled=CURR.name,
        delivered=Delivered(CURR.name, next_.name if next_ and next_.cert else None),
    )
    return reread(replace(one, **more))  # type: ignore[arg-type]


def step(one: CertState, now: datetime = NOW, want: object = WANTED) -> Decision:
    return decide(View(want, one), now)  # type: ignore[arg-type]


def on_deck(made: datetime = NOW - HOUR / 2) -> SetFacts:
    return facts(WANTED, made, cert=(made, made + days(90)))


def test_what_a_ca_wants_replaced_is_renewed_at_once() -> None:
    decision = step(state(URGENT))
    assert isinstance(decision.job, MakeKey)
    assert decision.job.reason.code is Why.CA_WANTS
    assert "https://ca.example/incident" in say(decision.reason)
    unfinished = facts(WANTED, NOW)
    assert isinstance(step(state(URGENT, unfinished)).job, Order)


def test_it_is_rolled_through_shut_windows_and_min_roll_mins_is_kept() -> None:
    want = replace(WANTED, roll_windows=((SATURDAY,),))  # NOW is a Thursday
    calm, urgent = state(None, on_deck()), state(URGENT, on_deck())
    assert step(calm, NOW, want).roll_at == datetime(2026, 1, 3, 1, tzinfo=UTC)
    first = step(urgent, NOW, want)
    assert first.job is None
    assert first.roll_at == NOW + HOUR
    job = step(urgent, NOW + HOUR, want).job
    assert isinstance(job, Roll)
    assert job.overrode is not None
    assert "its CA wants the certificate in use replaced" in say(job.overrode)
    assert "min_roll" not in say(job.overrode)


def test_the_waits_of_dane_are_kept() -> None:
    want = replace(WANTED, dane=True, roll_windows=((SATURDAY,),))
    decision = step(state(URGENT, on_deck()), NOW + days(1), want)
    assert not isinstance(decision.job, Roll)
    assert decision.reason.code is Why.DNS_WAITS


def test_a_next_that_a_ca_wants_replaced_gives_way_to_another() -> None:
    due_now = replace(FUTURE, begin=NOW - days(2), end=NOW - days(1))
    decision = step(state(due_now, on_deck(), PAST))
    assert isinstance(decision.job, MakeKey)
    assert decision.job.reason.code is Why.CA_WANTS
    # Better than none.
    assert isinstance(step(state(None, on_deck(), PAST, curr=None, curr_note=None)).job, Roll)


def test_a_ca_that_says_now_for_ever_gets_one_order_a_day() -> None:
    curr, said, orders, now = CURR, PAST, [], NOW
    wished = None
    for _ in range(24 * 30):
        facts_note = SetNote(0.0, curr.name.time, "le", ari=said, wished=wished)
        why = why_renew(Question(curr, facts_note, WANTED, frozenset(), False, now))
        if why is not None:
            assert why.code in CA_WISHES
            orders.append(now)
            curr, wished = on_deck(now), now
        assert curr.cert is not None
        span = Life(curr.cert.not_before, curr.cert.not_after, 0.0)
        said = looked(None if why else said, answer(now - HOUR, now - HOUR / 2), span, now)
        now += HOUR
    assert len(orders) == 30
    assert pause(days(90)) == days(1)
    assert pause(timedelta(hours=160)) == days(1)
    assert pause(days(2)) == days(2) * BACKSTOP
    assert pause(HOUR) == HOUR


@given(
    st.lists(st.tuples(st.floats(-400, 400), st.floats(-1, 400)), min_size=1, max_size=40), draws
)
def test_whatever_a_ca_answers_there_is_no_loop(
    windows: list[tuple[float, float]], draw: float
) -> None:
    now, made, orders, wished = NOW, NOW, 0, None
    said: Advice | None = None
    curr = on_deck(now)
    for number in range(200):
        begin, length = windows[number % len(windows)]
        span = Life(made, made + days(90), draw)
        said = looked(said, answer(now + days(begin), now + days(begin + length)), span, now)
        facts_note = SetNote(draw, made, "le", ari=said, wished=wished)
        why = why_renew(Question(curr, facts_note, WANTED, frozenset(), False, now))
        if why is not None:
            orders += 1
            curr, made, said = on_deck(now), now, None
            wished = now if why.code in CA_WISHES else None
        now += HOUR
    assert orders <= 2 + 200 / 24


def test_restarts_after_an_urgent_roll_wait_for_no_window() -> None:
    rolled = CertState(curr=on_deck(), prev=CURR.name, prev_note=note(PAST))
    assert replaced_urgently(rolled) == PAST.urgent_since
    assert replaced_urgently(replace(rolled, prev_note=note(FUTURE))) is None
    assert replaced_urgently(replace(rolled, deployed=on_deck().name)) is None


def test_nor_after_another_roll_before_servers_took_that_one() -> None:
    first, second, third = (on_deck(NOW + HOUR * number) for number in range(3))
    begun = replace(state(PAST, first), deployed=CURR.name, phase=Phase.ISSUED)
    rolled = advance(begun, Rolled(NOW))
    for fresh in (second, third):
        again = replace(rolled, next=fresh, next_note=note(None), phase=Phase.ISSUED)
        rolled = advance(again, Rolled(NOW))
        notes = parse(render(notes_of(rolled), {}, None, []))
        # The daemon is started again; or it was killed before it had noted the roll.
        for hurried in (notes.state.hurried, again.hurried):
            later = replace(rolled, hurried=hurried)
            assert replaced_urgently(later) == PAST.urgent_since
            assert hurry_since(later, WANTED) == PAST.urgent_since
    assert hurry_since(advance(rolled, ServersProven(NOW)), WANTED) is None
    # Of what was in use everywhere, servers use nothing older.
    proven = replace(again, deployed=second.name, hurried=())
    assert hurry_since(advance(proven, Rolled(NOW)), WANTED) is None
    # An admin goes back to it: it is no longer one of before.
    back = replace(rolled, next=CURR, next_note=note(FUTURE), phase=Phase.ISSUED)
    assert advance(back, Rolled(NOW)).hurried == ()


def test_what_a_ca_said_is_noted_beside_its_set() -> None:
    one = state(None, on_deck())
    said = advance(one, Advised(NOW, CURR.name, PAST))
    assert said.curr_note == replace(note(None), ari=PAST)
    assert said.next_note == one.next_note
    made = on_deck().name
    beside = advance(one, Advised(NOW, made, PAST)).next_note
    assert beside is not None
    assert beside.ari == PAST
    other = facts(WANTED, NOW).name
    assert advance(one, Advised(NOW, other, PAST)) == one
