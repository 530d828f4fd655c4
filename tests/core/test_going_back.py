"""Going back to an older set: a roll as any other, of what an admin named."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from sslmd.core.dane.sighting import Sighting
from sslmd.core.dane.verdict import CheckedPorts, counted
from sslmd.core.events import (
    AskDropped,
    Asked,
    BackOnDeck,
    Lost,
    OffDeck,
    Rolled,
)
from sslmd.core.jobs import Deliver, MakeKey, PutBack, Roll, TakeOff
from sslmd.core.lifecycle import advance
from sslmd.core.plan import decide
from sslmd.core.reason import Reason, Why
from sslmd.core.renew_track import why_again
from sslmd.core.renewal import Wanted
from sslmd.core.state import Ask, CertState, Delivered, Request, Server, ServerPhase, SetNote
from sslmd.core.words.sentence import say
from tests.core.test_decade import hierarchy, leaves
from tests.core.test_plan import (
    ACME,
    BROKEN,
    DANE,
    DUE,
    EXPIRED,
    GOOD,
    HOUR,
    KEYED,
    MINUTE,
    NEXT,
    NOTE,
    NOW,
    OTHER_KEY,
    OTHER_NAMES,
    READY,
    advertised,
    dropped,
    fail,
    issued,
    look,
    reread,
    settled,
    step,
    waits,
)
from tests.reasons import because
from tests.stand.world import START, World, days

OLD = issued(NOW - days(20))
BACK = Ask(Request.ROLL, NOW, back=OLD.name)
FORCED_BACK = replace(BACK, force=True)
# The newer set is rolled, and its server does not take it.
FAILED = Server("web", "localhost", ServerPhase.FAILED, GOOD.name, "refused", 1, NOW + HOUR)
STUCK = settled(GOOD, prev=OLD.name, prev_note=NOTE, servers=(FAILED,), deployed=OLD.name)
STUCK = reread(replace(STUCK, settled=OLD.name, ask=BACK))


def on_deck_again(state: CertState = STUCK) -> CertState:
    return advance(state, BackOnDeck(NOW, OLD, NOTE, because("an admin asked")))


@pytest.mark.parametrize(
    "state",
    [
        STUCK,
        settled(GOOD, prev=OLD.name, ask=BACK),
        settled(GOOD, KEYED, prev=OLD.name, ask=BACK),
        settled(GOOD, NEXT, prev=OLD.name, ask=BACK),
        advertised(GOOD, READY, prev=OLD.name, ask=BACK),
        settled(DUE, READY, prev=OLD.name, ask=FORCED_BACK),
        settled(BROKEN, prev=OLD.name, ask=BACK),
        settled(None, prev=OLD.name, ask=BACK),
    ],
)
def test_whatever_is_under_way_it_comes_first(state: CertState) -> None:
    decision = step(state)
    assert decision.job == PutBack(
        look(state).wanted.spec.id,
        OLD.name,
        Reason(Why.GOES_BACK, set=OLD.name),
    )
    there = advance(state, BackOnDeck(NOW, OLD, NOTE, because("")))
    assert there == reread(there)
    assert isinstance(step(there).job, Roll)
    done = advance(there, Rolled(NOW))
    assert done.ask is None
    assert isinstance(step(done).job, Deliver)


@pytest.mark.parametrize("want", [OTHER_NAMES, OTHER_KEY, ACME])
def test_what_the_service_file_asks_for_comes_after_it(want: Wanted) -> None:
    state = on_deck_again(settled(GOOD, prev=OLD.name, ask=BACK))
    assert isinstance(step(state, want).job, Roll)
    reason = why_again(look(STUCK, want), OLD, NOW)
    assert reason is not None
    assert "the service file asks for" in say(reason)
    done = advance(state, Rolled(NOW))
    done = replace(done, delivered=Delivered(OLD.name))
    assert isinstance(step(done, want).job, MakeKey)


def test_it_is_told_when_it_is_renewed_at_once() -> None:
    assert why_again(look(STUCK), OLD, NOW) is None
    due = why_again(look(STUCK), DUE, NOW)
    assert due is not None
    assert due.code is Why.DUE


def test_min_roll_mins_does_not_hold_it() -> None:
    """Not even a set that was issued a minute ago."""
    young = issued(NOW - MINUTE)
    state = settled(GOOD, young, ask=replace(BACK, back=young.name))
    job = step(state).job
    assert isinstance(job, Roll)
    assert say(job.overrode) == ""
    assert not isinstance(step(replace(state, ask=None)).job, Roll)


def test_neither_our_own_backoff_nor_a_ca_holds_it() -> None:
    asked = advance(replace(STUCK, ask=None, trouble=fail()), Asked(BACK))
    assert isinstance(step(asked).job, PutBack)
    bound = replace(STUCK, trouble=fail(binding=True))
    assert isinstance(step(bound).job, PutBack)
    assert isinstance(step(on_deck_again(bound)).job, Roll)
    # What the CA asked for is kept to afterwards.
    done = advance(on_deck_again(bound), Rolled(NOW))
    assert done.trouble == bound.trouble
    # What failed while it was put back is waited out as ever.
    waits(step(replace(STUCK, trouble=fail())), "disk full")


def test_the_reason_is_told_also_where_servers_fail() -> None:
    state = on_deck_again(replace(STUCK, delivered=Delivered(GOOD.name, OLD.name)))
    decision = waits(step(state, DANE), f"going back to set {OLD.name}, as an admin asked")
    assert "TLSA" in say(decision.reason)


SEEN = Sighting(OLD.name, frozenset({"0f"}), 60.0, NOW - HOUR, 60.0, opens_at=NOW)
PORTS = CheckedPorts(("mail.example.com:25",), 30)


def test_with_dane_its_records_are_waited_for() -> None:
    def at(state: CertState) -> object:
        view = replace(look(state, DANE), dane=counted(PORTS, state.sighting))
        decision = decide(view, NOW)
        return decision.event or decision.job or say(decision.reason)

    there = Delivered(GOOD.name, OLD.name)
    state = replace(on_deck_again(), delivered=there)
    waiting = replace(SEEN, waited=10.0, opens_at=NOW + MINUTE)
    text = at(replace(state, sighting=waiting))
    assert isinstance(text, str)
    assert "rolls at 2026-01-01 00:01:00" in text
    seen = replace(state, sighting=SEEN, advertised=OLD.name)
    job = at(reread(seen))
    assert isinstance(job, Roll)
    assert not job.blind
    lost = replace(SEEN, since=None, missing=because("ns2 lacks it"))
    assert isinstance(at(reread(replace(seen, sighting=lost))), Lost)
    forced = at(replace(state, ask=FORCED_BACK))
    assert isinstance(forced, Roll)
    assert forced.blind
    assert "clients that check DANE may refuse mail.example.com:25" in say(forced.overrode)


def test_what_cannot_be_used_any_more_is_not_gone_back_to() -> None:
    for bad in (
        replace(OLD, problem="no chain.pem"),
        replace(EXPIRED, name=OLD.name),
        replace(KEYED, name=OLD.name),
    ):
        state = reread(replace(on_deck_again(), next=bad))
        text = dropped(step(state))
        assert f"set {OLD.name} cannot be rolled back to: " in text
        after = advance(state, AskDropped(NOW, because(text)))
        assert isinstance(step(after).job, TakeOff)
        assert step(advance(after, OffDeck(NOW))).event is None


def test_a_crash_right_after_the_roll() -> None:
    """The links say that it is done; the note still asks for it."""
    state = settled(OLD, prev=GOOD.name, ask=BACK)
    assert dropped(step(state)) == f"set {OLD.name} is in use"
    assert advance(state, AskDropped(NOW, because(""))).off_deck is None


def test_called_off_it_leaves_the_deck_and_is_not_rolled() -> None:
    state = advance(on_deck_again(), AskDropped(NOW, because("cancelled")))
    assert isinstance(step(state, now=NOW + days(1)).job, TakeOff)
    off = advance(state, OffDeck(NOW))
    assert off == reread(off)
    assert off.next is None
    # Called off before it got there.
    early = advance(STUCK, AskDropped(NOW, because("cancelled")))
    assert not isinstance(step(early).job, TakeOff | Roll)
    # And asked for once more.
    again = advance(advance(early, Asked(BACK)), BackOnDeck(NOW, OLD, NOTE, because("")))
    assert isinstance(step(again).job, Roll)


def test_an_older_set_that_somebody_linked_by_hand_is_rolled_only_if_an_admin_says_so() -> None:
    found = step(replace(settled(GOOD, OLD), next_note=SetNote(0.0, OLD.name.time)))
    assert found.job is None
    assert found.event is None
    assert "is older than set" in say(found.alarm)
    assert "sslmctl roll --force example.com:web" in say(found.alarm)
    forced = replace(settled(GOOD, OLD), ask=Ask(Request.ROLL, NOW, force=True))
    assert isinstance(step(forced).job, Roll)
    ours = replace(settled(GOOD, OLD), next_note=SetNote(0.0, OLD.name.time, "sub"))
    assert isinstance(step(ours).job, Roll)


def test_ten_years_of_going_back() -> None:
    """With failures, sleeps and clocks that jump; each request comes to its end."""
    rng = random.Random(7)
    which = leaves(90, 8)
    world = World({**hierarchy(), **which}, rng, trouble=0.05)
    asked = 0
    while world.now < START + days(3650):
        world.run_until(world.now + timedelta(hours=rng.expovariate(1 / 300)))
        asked += world.go_back(rng.choice(list(which)))
        if rng.random() < 0.2:
            world.now += timedelta(hours=rng.expovariate(1 / 6)) * rng.choice([1, -0.5])
            world.replan()
    world.run_until(world.now + days(3))
    assert asked > 50
    assert world.expired == []
    assert all(state.ask is None for state in world.states.values())
