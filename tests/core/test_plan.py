"""Every situation in the life of a certificate, and what the plan says to do in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from sslmd.core.errors import Failure, Trouble
from sslmd.core.events import (
    Advertised,
    AskDropped,
    Asked,
    AttemptFailed,
    CertIssued,
    Event,
    KeyMade,
    Rolled,
    ServersProven,
    TrialAsked,
    TrialEnded,
)
from sslmd.core.jobs import Certify, CertJob, Deliver, MakeKey, Order, Roll, Settle
from sslmd.core.lifecycle import advance, phase_of
from sslmd.core.limits import failed_too_often
from sslmd.core.names import CertId, SetName
from sslmd.core.plan import decide
from sslmd.core.renewal import Wanted
from sslmd.core.spec import AcmeCa, KeySpec, KeyType, OwnCa, SelfSigned, SetFacts
from sslmd.core.state import (
    Ask,
    CertState,
    Delivered,
    FailedValidation,
    Phase,
    Request,
    Server,
    ServerPhase,
    SetNote,
    Track,
    TrialAsk,
    TrialKind,
    Unseen,
)
from sslmd.core.view import CaAbove, Decision, View
from sslmd.core.words.sentence import say
from tests.reasons import because
from tests.stand.world import START, days, facts, wanted

NOT_DUE = "not due until 2026-02-20; sslmctl force-renew renews it now"

NOW = START
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
WEB = CertId("example.com", "web")
SUB = OwnCa(CertId("ca", "sub"))
WANTED = wanted("example.com:web", signer=SUB)
CA_WANTED = wanted("ca:sub", signer=OwnCa(CertId("ca", "root")), life=90, renew=120)
NOTE = SetNote(0.0, None, "sub")

OTHER_NAMES = replace(WANTED, names=frozenset({"new.example"}), fingerprint="other names")
OTHER_KEY = replace(WANTED, spec=replace(WANTED.spec, key=KeySpec(KeyType.RSA, bits=2048)))
DANE = replace(WANTED, dane=True)
ACME = replace(WANTED, spec=replace(WANTED.spec, signer=AcmeCa("letsencrypt")))

RENEW = Ask(Request.RENEW, NOW)
FORCED = replace(RENEW, force=True)
ROLL = Ask(Request.ROLL, NOW)
FORCED_ROLL = replace(ROLL, force=True)


def issued(made: datetime, life: float = 90) -> SetFacts:
    return facts(WANTED, made, cert=(made - 5 * MINUTE, made + days(life)))


GOOD = issued(NOW - days(10))
DUE = issued(NOW - days(61))
EXPIRED = issued(NOW - days(91))
BROKEN = replace(GOOD, problem="privkey.pem does not match cert.pem")
KEYED = facts(WANTED, NOW - HOUR)
NEXT = issued(NOW - HOUR)  # may be rolled in 30 min
READY = issued(NOW - 2 * HOUR)
UNREADABLE = replace(NEXT, problem="no chain.pem")

CA_GOOD = facts(CA_WANTED, NOW - days(100), cert=(NOW - days(100), NOW + days(3000)))


def ca(curr: SetFacts | None = CA_GOOD, want: Wanted | None = CA_WANTED, **more: object) -> CaAbove:
    settled = curr.name if curr else None
    state = CertState(curr=curr, curr_note=SetNote(0.0), settled=settled)
    return CaAbove(SUB.cert, want, replace(state, **more))  # type: ignore[arg-type]


def settled(curr: SetFacts | None, next_: SetFacts | None = None, **more: object) -> CertState:
    """A certificate at rest on `curr`, with `next_` on deck, as it would be read from disk."""
    name = curr.name if curr else None
    next_name = next_.name if next_ and next_.complete else None
    proven = (Server("web", "localhost", ServerPhase.PROVEN, name),)
    state = CertState(
        curr=curr,
        next=next_,
        curr_note=NOTE if curr else None,
        next_note=NOTE if next_ else None,
        deployed=name,
        settled=name,
        delivered=Delivered(name, next_name),
        servers=proven if curr else (),
    )
    return reread(replace(state, **more))  # type: ignore[arg-type]


def reread(state: CertState) -> CertState:
    """The state after a crash: the phase is read anew."""
    phase = phase_of(
        state.curr,
        state.next,
        advertised=state.advertised,
        deployed=state.deployed,
        settled=state.settled,
    )
    return replace(state, phase=phase)


def advertised(curr: SetFacts | None, next_: SetFacts, **more: object) -> CertState:
    return settled(curr, next_, advertised=next_.name, **more)


SERVERS = frozenset({("web", "localhost")})


def look(state: CertState, want: Wanted = WANTED, above: CaAbove | None = None) -> View:
    return View(want, state, above or ca(), SERVERS)


def step(
    state: CertState, want: Wanted = WANTED, above: CaAbove | None = None, now: datetime = NOW
) -> Decision:
    return decide(look(state, want, above), now)


def at_once(state: CertState) -> CertJob | None:
    """What is done, production apart."""
    next_ = state.next.name if state.next and state.next.complete else None
    there = Delivered(state.curr.name if state.curr else None, next_)
    return step(replace(state, delivered=there)).job


def dropped(decision: Decision) -> str:
    assert isinstance(decision.event, AskDropped)
    return say(decision.event.reason)


def waits(decision: Decision, *texts: str) -> Decision:
    assert decision.job is None
    assert decision.event is None
    for text in texts:
        assert text in say(decision.reason)
    return decision


# --- renewing ------------------------------------------------------------------------------


def test_the_first_certificate_is_made_and_rolled_at_once() -> None:
    state, now = CertState(), NOW
    seen: list[str] = []
    for _ in range(4):
        decision = step(state, now=now)
        now += MINUTE
        event: Event
        match decision.job:
            case MakeKey():
                event = KeyMade(now, facts(WANTED, now), SetNote(0.0), decision.reason)
            case Certify(set=name):
                event = CertIssued(now, issued(name.time), replace(NOTE, issued_at=now))
            case Roll(set=name, overrode=overrode):
                assert (name, overrode) == (state.next and state.next.name, None)
                event = Rolled(now)
            case _:
                happened = decision.advertised or decision.event
                assert happened is not None
                event = happened
        seen.append(type(event).__name__)
        state = advance(state, event)
        assert reread(state) == state
        if state.phase is Phase.ROLLED:
            break
    assert seen[0] == "KeyMade"
    assert seen[1] == "CertIssued"
    assert seen[-1] == "Rolled"


def test_a_good_certificate_is_left_alone_until_it_is_due() -> None:
    decision = waits(step(settled(GOOD)), "valid")
    assert decision.wake_at == decision.renew_at == GOOD.name.time + days(60)


@pytest.mark.parametrize(
    ("curr", "want"),
    [(DUE, WANTED), (EXPIRED, WANTED), (BROKEN, WANTED), (GOOD, OTHER_NAMES), (GOOD, OTHER_KEY)],
    ids=["due", "expired", "broken", "names", "key"],
)
def test_what_has_to_be_renewed_gets_a_new_key(curr: SetFacts, want: Wanted) -> None:
    decision = step(settled(curr, delivered=Delivered(curr.name)), want)
    assert isinstance(decision.job, MakeKey)
    assert decision.reason == decision.job.reason
    assert say(decision.reason)
    assert not decision.job.reuse


def test_an_incomplete_next_waits_until_a_renewal_is_due() -> None:
    decision = waits(step(settled(GOOD, KEYED)), "unfinished next waits")
    assert decision.wake_at == decision.renew_at
    assert step(settled(DUE, KEYED)).job == Certify(
        WEB, KEYED.name, step(settled(DUE, KEYED)).reason
    )


@pytest.mark.parametrize(
    ("next_", "want"),
    [
        (KEYED, OTHER_NAMES),
        (KEYED, OTHER_KEY),
        (replace(KEYED, key=""), WANTED),
        (replace(KEYED, asked_names=frozenset()), WANTED),
        (UNREADABLE, WANTED),
    ],
    ids=["names", "key", "no key", "no request", "broken certificate"],
)
def test_an_incomplete_next_that_no_longer_fits_is_replaced(next_: SetFacts, want: Wanted) -> None:
    assert isinstance(step(settled(DUE, next_), want).job, MakeKey)


def test_a_next_is_finished_whatever_key_a_curr_without_certificate_has() -> None:
    """Its key is known while there is no certificate: another one would be made for ever."""
    curr = replace(facts(WANTED, NOW - days(10)), problem="no cert.pem", key_id="aa")
    next_ = replace(KEYED, key_id="bb")
    assert isinstance(at_once(settled(curr)), MakeKey)
    assert isinstance(at_once(settled(curr, next_)), Certify)


@pytest.mark.parametrize("curr", [GOOD, DUE, EXPIRED, BROKEN, None])
@pytest.mark.parametrize("ask", [None, RENEW, ROLL, FORCED, FORCED_ROLL])
def test_a_valid_next_on_deck_is_never_issued_again(curr: SetFacts | None, ask: Ask | None) -> None:
    """Not even with force, unless it was on deck when that was asked for."""
    for state in (settled(curr, NEXT, ask=ask), advertised(curr, NEXT, ask=ask)):
        assert not isinstance(step(state).job, MakeKey | Certify)


def test_a_next_equal_to_curr_is_none() -> None:
    """As ssl-mgr leaves it after a roll."""
    state = settled(GOOD, GOOD, delivered=Delivered(GOOD.name))
    waits(step(state), "valid")
    late = settled(DUE, DUE, delivered=Delivered(DUE.name), ask=replace(FORCED, replaces=DUE.name))
    decision = step(late)
    assert isinstance(decision.job, MakeKey)
    advance(late, KeyMade(NOW, KEYED, NOTE, because("")))
    assert "nothing on deck" in dropped(step(replace(late, ask=FORCED_ROLL)))


def test_asked_without_need() -> None:
    assert dropped(step(settled(GOOD, ask=RENEW))) == NOT_DUE
    assert "already on deck" in dropped(step(settled(GOOD, NEXT, ask=RENEW)))
    assert isinstance(step(settled(DUE, ask=RENEW)).job, MakeKey)


def test_a_forced_renewal_is_done_exactly_once() -> None:
    for at_start in (settled(GOOD), settled(GOOD, KEYED), settled(GOOD, NEXT)):
        on_deck = at_start.next.name if at_start.next else None
        state = advance(at_start, Asked(replace(FORCED, replaces=on_deck)))
        assert isinstance(step(state).job, MakeKey)

        state = advance(state, KeyMade(NOW, facts(WANTED, NOW), NOTE, because("")))
        crashed = reread(state)
        assert crashed == state
        job = at_once(crashed)
        assert isinstance(job, Certify)
        assert job.set == SetName.at(NOW)

        done = advance(state, CertIssued(NOW, issued(NOW), replace(NOTE, issued_at=NOW)))
        assert done.ask is None
        assert not isinstance(at_once(done), MakeKey | Certify)
        # Killed between the certificate's arrival and the note of it: the ask still stands.
        crashed = reread(replace(done, ask=state.ask))
        assert "already on deck" in dropped(step(crashed))


def test_a_forced_renewal_that_comes_while_a_certificate_is_on_its_way_is_not_lost() -> None:
    state = advance(settled(DUE, KEYED), Asked(replace(FORCED, replaces=KEYED.name)))
    state = advance(state, CertIssued(NOW, NEXT, NOTE))
    assert state.ask is not None
    assert isinstance(at_once(state), MakeKey)


def test_a_renewal_with_the_same_key() -> None:
    decision = step(settled(GOOD, ask=replace(FORCED, reuse=True)))
    assert isinstance(decision.job, MakeKey)
    assert decision.job.reuse


@pytest.mark.parametrize(
    ("curr", "want"),
    [(None, WANTED), (GOOD, OTHER_KEY), (replace(BROKEN, key=""), WANTED)],
    ids=["no curr", "another kind", "unreadable"],
)
@pytest.mark.parametrize("next_", [None, NEXT])
def test_a_key_that_is_not_there_cannot_be_used_again(
    curr: SetFacts | None, want: Wanted, next_: SetFacts | None
) -> None:
    """The request is dropped with the reason: it must not stand in the way of a renewal."""
    replaces = next_.name if next_ else None
    ask = replace(FORCED, reuse=True, replaces=replaces)
    decision = step(settled(curr, next_, ask=ask), want)
    assert "without --reuse" in dropped(decision)
    after = advance(settled(curr, next_, ask=ask), AskDropped(NOW, because("")))
    if next_ is None:
        assert isinstance(step(after, want).job, MakeKey)


# --- a next cannot be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("next_", "want"),
    [(issued(NOW - HOUR), OTHER_NAMES), (issued(NOW - days(100)), WANTED)],
    ids=["names", "expired"],
)
def test_a_next_of_no_use_never_goes_live(next_: SetFacts, want: Wanted) -> None:
    for curr in (DUE, None):
        decision = step(settled(curr, next_), want)
        assert isinstance(decision.job, MakeKey)
        assert "cannot be used" in say(decision.reason)


def test_its_successor_is_made_only_when_curr_has_to_be_renewed() -> None:
    """The file was changed and changed back: curr is what it asks for, and not due."""
    odd = replace(NEXT, asked_names=frozenset({"short.lived.idea"}))
    decision = waits(step(settled(GOOD, odd)), "valid", "cannot be used", "short.lived.idea")
    assert decision.wake_at == decision.renew_at
    assert isinstance(step(settled(DUE, odd)).job, MakeKey)
    assert dropped(step(settled(GOOD, odd, ask=RENEW))) == NOT_DUE


@pytest.mark.parametrize("ask", [ROLL, FORCED_ROLL])
@pytest.mark.parametrize("curr", [GOOD, DUE])
def test_a_roll_of_a_next_of_no_use_is_dropped_with_the_reason(curr: SetFacts, ask: Ask) -> None:
    odd = replace(NEXT, asked_names=frozenset({"short.lived.idea"}))
    assert "cannot be used" in dropped(step(settled(curr, odd, ask=ask)))


@pytest.mark.parametrize("curr", [DUE, None])
def test_a_ca_whose_clock_is_ahead_is_waited_for_not_asked_again(curr: SetFacts | None) -> None:
    ahead = facts(WANTED, NOW - MINUTE, cert=(NOW + 20 * MINUTE, NOW + days(90)))
    state = settled(curr, ahead)
    decision = waits(step(state), "valid only from")
    assert decision.wake_at
    assert NOW < decision.wake_at <= NOW + 20 * MINUTE
    later = step(state, now=decision.wake_at)
    assert later.job or later.advertised


def test_a_next_from_a_clock_that_was_far_ahead_is_replaced() -> None:
    ahead = facts(WANTED, NOW + days(300), cert=(NOW + days(300), NOW + days(390)))
    assert isinstance(step(settled(DUE, ahead)).job, MakeKey)
    waits(step(settled(GOOD, ahead)), "valid", "cannot be used")


# --- rolling -------------------------------------------------------------------------------


def test_a_next_is_rolled_no_sooner_than_min_roll_mins() -> None:
    state = settled(DUE, NEXT)
    first = step(state)
    assert first.advertised == Advertised(NOW)
    state = advance(state, first.advertised)
    assert state == reread(state)
    decision = waits(step(state), "on deck; rolls at")
    assert decision.wake_at == decision.roll_at == NOW + 30 * MINUTE
    later = step(state, now=NOW + 30 * MINUTE)
    assert later.job == Roll(WEB, NEXT.name, later.reason)


@pytest.mark.parametrize(("minutes", "rolls"), [(0, 0), (60, 0), (61, 1), (500, 440)])
def test_an_admin_names_other_minutes_for_one_roll(minutes: int, rolls: int) -> None:
    """Shorter or longer than the configuration's 90; `NEXT` is an hour old."""
    ask = replace(ROLL, min_roll=minutes * MINUTE)
    decision = step(advertised(GOOD, NEXT, ask=ask))
    if rolls:
        waits(decision, "rolls at")
        assert decision.roll_at == NOW + rolls * MINUTE
        later = step(advertised(GOOD, NEXT, ask=ask), now=NOW + rolls * MINUTE)
        assert isinstance(later.job, Roll)
        return
    assert isinstance(decision.job, Roll)
    assert say(decision.job.overrode) == ""
    assert f"an admin asked to roll it {minutes} min after it was issued" in say(decision.reason)


def test_who_asked_for_a_roll_hears_what_it_waits_for() -> None:
    """Not how servers get on with the set that is to go."""
    failed = Server("web", "localhost", ServerPhase.FAILED, GOOD.name, "no", 1, NOW + HOUR)
    ask = replace(ROLL, min_roll=61 * MINUTE)
    state = advertised(GOOD, NEXT, ask=ask, servers=(failed,), deployed=None, settled=None)
    waits(step(state), "on deck; rolls at")
    waits(step(replace(state, ask=None)), "waits for its servers")


def test_other_minutes_are_for_a_roll_alone_and_end_with_curr() -> None:
    renewal = replace(RENEW, min_roll=0 * MINUTE)
    assert isinstance(step(settled(GOOD, NEXT, ask=renewal)).event, AskDropped)
    ask = replace(ROLL, min_roll=days(300))
    last = waits(step(advertised(DUE, NEXT, ask=ask)), "rolls at")
    assert DUE.cert is not None
    assert last.roll_at == DUE.cert.not_after
    assert isinstance(step(settled(EXPIRED, NEXT, ask=ask)).job, Roll)


def test_min_roll_mins_counts_from_the_certificate_not_the_key() -> None:
    note = replace(NOTE, issued_at=NOW - 5 * MINUTE)
    decision = waits(step(advertised(DUE, READY, next_note=note)))
    assert decision.roll_at == NOW + 85 * MINUTE


def test_force_says_what_it_overrode() -> None:
    decision = step(advertised(DUE, NEXT, ask=FORCED_ROLL))
    assert isinstance(decision.job, Roll)
    assert "min_roll_mins" in say(decision.job.overrode)
    assert "TLSA" not in say(decision.job.overrode)
    assert not decision.job.blind
    both = step(settled(DUE, NEXT, ask=FORCED_ROLL), DANE).job
    assert isinstance(both, Roll)
    assert "TLSA" in say(both.overrode)
    assert "min_roll_mins" in say(both.overrode)
    assert both.blind
    free = step(advertised(DUE, READY, ask=FORCED_ROLL)).job
    assert isinstance(free, Roll)
    assert say(free.overrode) == ""


def test_a_roll_without_force_still_waits() -> None:
    waits(step(advertised(DUE, NEXT, ask=ROLL)), "rolls at")
    assert isinstance(step(advertised(DUE, READY, ask=ROLL)).job, Roll)


@pytest.mark.parametrize("ask", [ROLL, FORCED_ROLL])
@pytest.mark.parametrize("next_", [None, KEYED, UNREADABLE])
def test_nothing_on_deck_to_roll(next_: SetFacts | None, ask: Ask) -> None:
    assert "nothing on deck" in dropped(step(settled(DUE, next_, ask=ask)))


@pytest.mark.parametrize("curr", [EXPIRED, BROKEN, replace(GOOD, cert=None), None])
def test_an_unusable_curr_is_not_waited_for(curr: SetFacts | None) -> None:
    state = advertised(curr, NEXT)
    decision = step(state)
    assert isinstance(decision.job, Roll)
    assert say(decision.job.overrode) == ""


def test_a_roll_is_no_later_than_the_expiry_of_curr() -> None:
    ending = issued(NOW - days(90) + 10 * MINUTE)
    decision = waits(step(advertised(ending, NEXT)))
    assert ending.cert
    assert decision.wake_at == ending.cert.not_after == NOW + 10 * MINUTE


def test_with_dane_a_roll_is_held_until_the_records_are_seen() -> None:
    for now in (NOW, NOW + 31 * MINUTE, NOW + days(10)):
        decision = waits(step(settled(DUE, NEXT), DANE, now=now), "TLSA")
        assert decision.wake_at is None or decision.wake_at > now
        assert decision.roll_at is None


@pytest.mark.parametrize(
    ("named", "begin", "rolls"),
    [
        (-10, -15, 80),  # as sslmd makes it: the key first, a begin that slow clocks take
        (-10, -70, 80),  # Let's Encrypt begins an hour early
        (-370, -10, 80),  # ssl-mgr in Chicago: six hours behind
        (50, -10, 90),  # in Berlin: ahead; late rather than early
        (110, -10, 90),  # in Berlin in summer
        (-5000, -10, 80),  # a key that was made ahead
    ],
)
def test_without_a_note_the_certificate_says_when_it_was_issued(
    named: int, begin: int, rolls: int
) -> None:
    """As in a tree of ssl-mgr's, which names sets by local time. It was issued 10 min ago."""
    cert = (NOW + begin * MINUTE, NOW + days(90))
    next_ = facts(WANTED, NOW + named * MINUTE, cert=cert)
    decision = waits(step(advertised(DUE, next_)), "on deck; rolls at")
    assert decision.roll_at == NOW + rolls * MINUTE


def test_an_issue_time_in_the_future_does_not_hold_up_a_roll() -> None:
    """The clock was set back by a little: the certificate is valid, the note is not."""
    note = replace(NOTE, issued_at=NOW + 40 * MINUTE)
    state = advertised(DUE, NEXT, next_note=note)
    now = NOW
    for _ in range(5):
        decision = step(state, now=now)
        if decision.job:
            break
        assert decision.wake_at
        assert decision.wake_at > now
        now = decision.wake_at
    assert isinstance(decision.job, Roll)
    assert now <= NOW + 4 * HOUR


# --- the CA above --------------------------------------------------------------------------


@pytest.mark.parametrize("state", [settled(None), settled(DUE), settled(DUE, KEYED)])
@pytest.mark.parametrize(
    "curr",
    [
        None,
        replace(CA_GOOD, problem="no chain.pem"),
        facts(CA_WANTED, NOW - days(99), cert=(NOW - days(99), NOW)),
        facts(CA_WANTED, NOW - days(99), cert=(NOW - days(99), NOW + 30 * MINUTE)),
        facts(CA_WANTED, NOW + days(9), cert=(NOW + days(9), NOW + days(99))),
    ],
    ids=["none", "broken", "expired", "about to expire", "not yet valid"],
)
def test_a_leaf_waits_for_a_ca_that_cannot_sign(state: CertState, curr: SetFacts | None) -> None:
    decision = waits(step(state, above=ca(curr)), "waits for its CA ca/sub: ")
    assert decision.waits_for_ca
    assert decision.wake_at is None
    assert decision.stuck is None
    # Nobody would mend it: the attempt is made, and its failure told.
    unmanaged = step(state, above=ca(curr, replace(CA_WANTED, managed=False)))
    assert unmanaged.job is not None


def test_a_leaf_tells_its_cas_trouble_and_next_try() -> None:
    trouble = fail(CA_WANTED, text="the root's key is not there")
    decision = waits(
        step(settled(None), above=ca(None, trouble=trouble)),
        "the root's key is not there",
        "next try is at 2026-01-01 00:30:00 UTC",
    )
    assert decision.stuck == trouble
    assert decision.waits_for_ca


def test_a_forced_renewal_waits_for_a_ca_that_cannot_sign_and_is_not_lost() -> None:
    for state in (settled(GOOD, ask=FORCED), settled(GOOD, NEXT, ask=replaced(NEXT))):
        assert waits(step(state, above=ca(None))).waits_for_ca
        assert isinstance(step(state).job, MakeKey)


def replaced(next_: SetFacts) -> Ask:
    return replace(FORCED, replaces=next_.name)


def test_what_is_unknown_of_a_ca_is_for_the_issuer_to_complain_of() -> None:
    for above in (CaAbove(SUB.cert, None, None), CaAbove(SUB.cert, CA_WANTED, None)):
        assert isinstance(step(settled(None), above=above).job, MakeKey)
    assert isinstance(decide(View(WANTED, settled(None)), NOW).job, MakeKey)


def test_a_root_waits_for_nobody() -> None:
    root = wanted("ca:root", signer=SelfSigned(), life=3650)
    assert isinstance(decide(View(root, CertState()), NOW).job, MakeKey)


ENDING_CA = facts(CA_WANTED, NOW - days(900), cert=(NOW - days(900), NOW + days(60)))


def test_a_leaf_is_patient_with_a_ca_that_is_being_renewed() -> None:
    decision = waits(step(settled(DUE), above=ca(ENDING_CA)), "which is being renewed")
    # It is due at 30 d before its end, and is patient for half of them.
    assert decision.wake_at == DUE.name.time + days(75)
    assert decision.waits_for_ca
    then = DUE.name.time + days(75)
    again = fail(CA_WANTED, ago=NOW - then + 5 * MINUTE)
    late = step(settled(DUE), above=ca(ENDING_CA, trouble=again), now=then)
    assert isinstance(late.job, MakeKey)


def test_patience_is_only_for_what_is_merely_due() -> None:
    above = ca(ENDING_CA)
    assert isinstance(step(settled(GOOD, ask=FORCED), above=above).job, MakeKey)
    assert isinstance(step(settled(GOOD, NEXT, ask=replaced(NEXT)), above=above).job, MakeKey)
    late = ca(ENDING_CA, trouble=fail(CA_WANTED))
    for one in (above, late):
        for curr, want in ((GOOD, OTHER_NAMES), (EXPIRED, WANTED), (None, WANTED)):
            found = step(settled(curr), want, one)
            # A moment is waited for, as long as the CA does something about it.
            assert isinstance(found.job, MakeKey) is (one is late), say(found.reason)
            assert found.waits_for_ca is (one is above)


def test_a_ca_that_outlives_what_it_signs_is_not_waited_for() -> None:
    long = facts(CA_WANTED, NOW - days(900), cert=(NOW - days(900), NOW + days(91)))
    # But for the moment that its renewal takes.
    assert step(settled(DUE), above=ca(long)).wake_at is None
    assert isinstance(step(settled(DUE), above=ca(long, trouble=fail(CA_WANTED))).job, MakeKey)


def test_the_plan_of_all() -> None:
    root = wanted("ca:root", signer=SelfSigned(), life=3650)
    above = CaAbove(root.spec.id, root, CertState())
    views = [
        View(root, CertState()),
        View(CA_WANTED, CertState(), above),
        look(settled(None), above=ca(None)),
    ]
    found = {view.wanted.spec.id: decide(view, NOW) for view in views}
    assert isinstance(found[root.spec.id].job, MakeKey)
    assert found[CA_WANTED.spec.id].waits_for_ca
    assert found[WEB].waits_for_ca


# --- trouble -------------------------------------------------------------------------------


def fail(
    want: Wanted = WANTED,
    *,
    text: str = "disk full",
    ago: timedelta = 5 * MINUTE,
    wait: timedelta = 35 * MINUTE,
    binding: bool = False,
) -> Trouble:
    at = NOW - ago
    return Trouble(3, Failure.TRANSIENT, text, at, at + wait, want.fingerprint, binding)


@pytest.mark.parametrize(
    "state", [settled(None), settled(DUE), settled(DUE, KEYED), advertised(DUE, READY)]
)
def test_trouble_is_waited_out(state: CertState) -> None:
    trouble = fail()
    state = replace(state, trouble=trouble)
    decision = waits(step(state), "disk full", "attempt 3 failed", "2026-01-01 00:30:00 UTC")
    assert decision.wake_at == trouble.next_try
    assert decision.stuck == trouble
    assert step(state, now=trouble.next_try).job is not None


@pytest.mark.parametrize("binding", [False, True])
def test_a_changed_configuration_starts_afresh_but_not_past_a_ca(binding: bool) -> None:
    state = settled(DUE, trouble=fail(binding=binding))
    changed = step(state, replace(WANTED, fingerprint="changed"))
    assert (changed.job is None) is binding


@pytest.mark.parametrize("binding", [False, True])
@pytest.mark.parametrize("ask", [RENEW, FORCED])
def test_an_admin_goes_past_our_backoff_but_not_past_a_ca(binding: bool, ask: Ask) -> None:
    state = advance(settled(DUE, trouble=fail(binding=binding)), Asked(ask))
    assert (step(state).job is None) is binding


def test_trouble_from_before_the_clock_was_set_back_is_forgotten() -> None:
    assert isinstance(step(settled(DUE, trouble=fail(ago=-days(1)))).job, MakeKey)
    # A CA's wish is kept to, but never waited for more than twice.
    week = fail(ago=-days(1), wait=days(7), binding=True)
    waits(step(settled(DUE, trouble=week)))
    year = fail(ago=-days(365), wait=days(7), binding=True)
    assert isinstance(step(settled(DUE, trouble=year)).job, MakeKey)


def test_trouble_does_not_keep_from_what_needs_no_job() -> None:
    trouble = fail()
    assert step(settled(DUE, NEXT, trouble=trouble)).advertised == Advertised(NOW)
    assert dropped(step(settled(GOOD, ask=RENEW, trouble=trouble)))
    quiet = waits(step(settled(GOOD, trouble=trouble)), "valid")
    assert quiet.stuck is None


# --- delivering ----------------------------------------------------------------------------


def rolled(*servers: Server, **more: object) -> CertState:
    """Just rolled, and the production tree already has it."""
    return settled(GOOD, None, deployed=None, settled=None, servers=servers, **more)


def on(phase: ServerPhase, name: SetName | None = GOOD.name, **more: object) -> Server:
    return replace(Server("web", "localhost", phase, name), **more)  # type: ignore[arg-type]


def test_from_a_roll_to_settled() -> None:
    state = rolled(delivered=Delivered())
    job = step(state).job
    assert isinstance(job, Deliver)
    assert (job.curr, job.next, job.adopt) == (GOOD.name, None, False)
    waits(step(rolled(on(ServerPhase.DELIVERED))), "web on localhost (to be restarted)")
    state = rolled(on(ServerPhase.PROVEN))
    proven = step(state)
    assert isinstance(proven.event, ServersProven)
    state = advance(state, proven.event)
    assert isinstance(step(state).job, Settle)
    waits(step(settled(GOOD)), "valid")


def test_a_tree_of_an_older_tool_is_adopted() -> None:
    job = step(rolled(delivered=Delivered(), adopted=True)).job
    assert isinstance(job, Deliver)
    assert job.adopt


def test_a_next_on_deck_is_shown_in_production_and_taken_away_again() -> None:
    there = Delivered(GOOD.name)
    new = step(advertised(GOOD, NEXT, delivered=there)).job
    assert isinstance(new, Deliver)
    assert new.next == NEXT.name
    gone = step(settled(GOOD, KEYED, delivered=Delivered(GOOD.name, NEXT.name))).job
    assert isinstance(gone, Deliver)
    assert gone.next is None


def test_other_servers() -> None:
    view = replace(look(settled(GOOD)), servers=frozenset({("web", "localhost"), ("imap", "h2")}))
    job = decide(view, NOW).job
    assert isinstance(job, Deliver)
    assert "other servers" in say(job.reason)
    assert isinstance(decide(replace(view, servers=frozenset()), NOW).job, Deliver)


def test_a_roll_comes_before_delivery() -> None:
    assert isinstance(step(advertised(DUE, READY, delivered=Delivered())).job, Roll)


@pytest.mark.parametrize(
    "server",
    [
        on(ServerPhase.FAILED, error="no answer", next_try=NOW + HOUR),
        on(ServerPhase.PENDING, None, error="not here"),
        on(ServerPhase.PENDING, None, error="no route", next_try=NOW + HOUR),
        on(ServerPhase.PROVEN, DUE.name),
        on(ServerPhase.RESTARTED, unseen=Unseen(because("nobody could look"), owed=True)),
    ],
    ids=["failed", "pending", "pending, tried again", "proven on an older set", "owed a look"],
)
def test_a_server_that_does_not_use_curr_keeps_the_old_records(server: Server) -> None:
    """And it neither stops a renewal nor a roll."""
    decision = waits(step(rolled(server)), "waits for its servers: web on localhost")
    assert decision.wake_at
    assert decision.wake_at > NOW
    assert server.error in say(decision.reason)
    forced = replace(rolled(server), ask=FORCED)
    assert isinstance(step(forced).job, MakeKey)
    ready = advertised(GOOD, READY, servers=(server,), deployed=None, settled=None)
    assert isinstance(step(ready).job, Roll)


def test_what_did_not_reach_a_server_is_told_and_keeps_it_from_being_deployed() -> None:
    behind = on(ServerPhase.PENDING, None, error="no route", next_try=NOW + HOUR)
    for state in (rolled(behind), settled(GOOD, servers=(behind,))):
        waits(step(state), "no route; next try at")
    waits(step(rolled(replace(behind, error="", next_try=None))), "web on localhost (to be copied")


def test_delivery_in_trouble_does_not_hold_up_a_renewal() -> None:
    trouble = fail()
    stuck = settled(GOOD, delivered=Delivered(), delivery_trouble=trouble)
    decision = waits(step(stuck), "disk full")
    assert (decision.wake_at, decision.stuck) == (trouble.next_try, trouble)
    assert isinstance(step(stuck, now=trouble.next_try).job, Deliver)
    late = settled(DUE, delivered=Delivered(), delivery_trouble=trouble)
    assert isinstance(step(late).job, MakeKey)


def test_trouble_with_the_old_set_does_not_hold_up_the_delivery_of_a_new_one() -> None:
    state = advertised(DUE, READY, settled=None, delivery_trouble=fail(wait=days(1)))
    state = advance(state, Rolled(NOW))
    assert isinstance(step(state).job, Deliver)


def test_renewal_in_trouble_does_not_hold_up_delivery() -> None:
    state = settled(DUE, delivered=Delivered(), trouble=fail())
    assert isinstance(step(state).job, Deliver)


def test_of_two_troubles_the_first_wakes() -> None:
    soon, late = fail(wait=10 * MINUTE), fail()
    state = settled(DUE, delivered=Delivered(), trouble=late, delivery_trouble=soon)
    decision = waits(step(state), "disk full")
    assert decision.wake_at == soon.next_try


@pytest.mark.parametrize("curr", [None, BROKEN, replace(GOOD, cert=None)])
def test_what_cannot_be_used_is_not_delivered(curr: SetFacts | None) -> None:
    assert not isinstance(step(settled(curr, delivered=Delivered())).job, Deliver)


def test_notes_at_odds_with_each_other_do_no_harm() -> None:
    """`settled` without `deployed`, as after an edit by hand: it is settled."""
    waits(step(settled(GOOD, deployed=None)), "valid")


# --- what is left alone --------------------------------------------------------------------


def test_a_certificate_of_an_acme_ca_is_ordered_like_any_other() -> None:
    noted = SetNote(0.0, None, "letsencrypt")
    assert isinstance(step(settled(None), ACME).job, MakeKey)
    keyed = settled(DUE, KEYED, curr_note=noted)
    assert step(keyed, ACME).job == Order(WEB, KEYED.name, step(keyed, ACME).reason)
    adopted = advertised(DUE, READY, curr_note=noted, next_note=noted)
    assert isinstance(step(adopted, ACME).job, Roll)


def failed(minutes: int, name: str = "web.example") -> FailedValidation:
    return FailedValidation(name, NOW - minutes * MINUTE)


def test_a_name_that_failed_too_often_waits_even_for_an_admin() -> None:
    often = tuple(failed(minutes) for minutes in (50, 40, 30, 20))
    for state in (settled(None), settled(None, KEYED), settled(GOOD, ask=FORCED)):
        note = SetNote(0.0, None, "letsencrypt")
        known = replace(state, failed=often, curr_note=note)
        decision = waits(step(known, ACME), "letsencrypt", "web.example", "4 times")
        assert decision.wake_at == decision.looks_again == NOW + 10 * MINUTE
        assert decide(replace(look(known, ACME)), NOW + 10 * MINUTE).job is not None


@pytest.mark.parametrize(
    ("before", "again"),
    [
        ((), None),
        ((10, 20, 30), None),
        ((10, 20, 30, 60), None),  # the oldest does not count any more
        ((10, 20, 30, 40), 20),
        ((5, 10, 20, 30, 40), 30),  # one too many: until only three are left
        ((-10, 20, 30, 40), 20),  # the clock was set back: the CA has counted it all the same
        ((-10, -20, -30, -59), 60),
        ((-61, 20, 30, 40), None),  # by too much to be waited for
    ],
)
def test_four_failures_of_a_name_an_hour(before: tuple[int, ...], again: int | None) -> None:
    worst = failed_too_often([failed(one) for one in before], ["web.example"], NOW)
    assert (worst and worst[1]) == (None if again is None else NOW + again * MINUTE)
    assert failed_too_often([failed(one) for one in before], ["other.example"], NOW) is None
    wild = failed_too_often([failed(one) for one in before], ["*.web.example"], NOW)
    assert (wild is None) == (worst is None)


def test_failures_of_a_week_are_kept_and_no_others() -> None:
    state = settled(None)
    for minutes in (0, 10, 10_081):
        now = NOW + minutes * MINUTE
        trouble = Trouble(1, Failure.TRANSIENT, "", now, now, "")
        state = advance(state, AttemptFailed(Track.RENEW, trouble, ("a.example", "b.example")))
    kept = [(one.name, one.at) for one in state.failed]
    assert kept == [
        (name, NOW + minutes * MINUTE)
        for minutes in (10, 10_081)
        for name in ("a.example", "b.example")
    ]


def test_a_trial_stands_until_it_has_ended() -> None:
    ask = TrialAsk(TrialKind.TEST, NOW)
    asked = advance(settled(GOOD), TrialAsked(ask))
    assert asked.trial == ask
    assert decide(look(asked), NOW) == decide(look(settled(GOOD)), NOW)
    other = TrialAsk(TrialKind.DRY_RUN, NOW)
    assert advance(asked, TrialEnded(NOW, other, because(""))).trial == ask
    assert advance(asked, TrialEnded(NOW, ask, because(""))) == settled(GOOD)


@pytest.mark.parametrize("ask", [None, FORCED, FORCED_ROLL])
def test_hold_leaves_everything_alone(ask: Ask | None) -> None:
    view = replace(look(settled(None, ask=ask)), hold=because("state.toml is of version 2"))
    assert decide(view, NOW) == Decision(because("state.toml is of version 2"))


def test_what_is_not_managed_is_left_alone() -> None:
    unmanaged = replace(WANTED, managed=False)
    for state in (settled(None), settled(EXPIRED), advertised(DUE, READY)):
        waits(step(state, unmanaged), "not in an active group")
    # Nothing would ever carry out a request: it does not stand for ever.
    assert "not in an active group" in dropped(step(settled(DUE, ask=FORCED), unmanaged))


def test_tracks_are_two() -> None:
    assert set(Track) == {Track.RENEW, Track.DELIVER}
