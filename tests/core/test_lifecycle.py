"""The one table of transitions, and what each event changes beside the phase."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.core.ari import Advice
from sslmd.core.dane.sighting import Sighting
from sslmd.core.errors import Failure, ImpossibleTransition, Trouble
from sslmd.core.events import (
    Advertised,
    Advised,
    AskDropped,
    Asked,
    AttemptFailed,
    BackOnDeck,
    CertIssued,
    Counted,
    Event,
    KeyMade,
    Lost,
    OffDeck,
    ProdUpdated,
    RestartAsked,
    Rolled,
    ServerCopied,
    ServerSeen,
    ServersProven,
    ServersWanting,
    ServerTold,
    Settled,
    TlsaLooked,
    TrialAsked,
    TrialEnded,
    WasIssued,
    WasOrdered,
)
from sslmd.core.lifecycle import (
    TABLE,
    advance,
    phase_of,
    with_sets,
)
from sslmd.core.names import SetName
from sslmd.core.spec import SelfSigned, SetFacts
from sslmd.core.state import (
    Ask,
    CertState,
    Delivered,
    Issuance,
    OrderMade,
    Phase,
    Request,
    Server,
    ServerPhase,
    SetNote,
    Track,
    TrialAsk,
    TrialKind,
)
from tests.reasons import because
from tests.stand.world import START, days, facts, wanted

NOW = START
WANTED = wanted("example.com:web", signer=SelfSigned())
OLD = facts(WANTED, NOW - days(60), cert=(NOW - days(60), NOW + days(30)))
KEYED = facts(WANTED, NOW - days(1))
NEW = facts(WANTED, NOW - days(1), cert=(NOW - days(1), NOW + days(89)))
LATER = facts(WANTED, NOW)
LATER_CERT = facts(WANTED, NOW, cert=(NOW, NOW + days(90)))
NOTE, NEW_NOTE = SetNote(0.1, NOW - days(60), "self"), SetNote(0.2, NOW, "self")
WEB = Server("web", "localhost", ServerPhase.DELIVERED, OLD.name)
TROUBLE = Trouble(3, Failure.TRANSIENT, "disk full", NOW, NOW + days(1), "f")
BINDING = replace(TROUBLE, binding=True)
SEEN = Sighting(NEW.name, frozenset({"a", "b"}), 60.0, NOW, 7.0)
FORCED = Ask(Request.RENEW, NOW, force=True)
ROLL = Ask(Request.ROLL, NOW, force=True)
BACK = Ask(Request.ROLL, NOW, back=OLD.name)
TRIAL = TrialAsk(TrialKind.DRY_RUN, NOW)
ADVICE = Advice(NOW, NOW + days(1), NOW + days(5), NOW + days(6))
ISSUANCE = Issuance("0a", "https://ca.example/directory", "names", NOW)

STATES = {
    Phase.SETTLED: CertState(Phase.SETTLED, OLD, settled=OLD.name, deployed=OLD.name),
    Phase.KEYED: CertState(Phase.KEYED, OLD, KEYED, settled=OLD.name, deployed=OLD.name),
    Phase.ISSUED: CertState(Phase.ISSUED, OLD, NEW, settled=OLD.name, deployed=OLD.name),
    Phase.ADVERTISED: CertState(Phase.ADVERTISED, OLD, NEW, advertised=NEW.name),
    Phase.ROLLED: CertState(Phase.ROLLED, NEW, prev=OLD.name, deployed=OLD.name),
    Phase.DEPLOYED: CertState(Phase.DEPLOYED, NEW, prev=OLD.name, deployed=NEW.name),
}
EVENTS: dict[type[Event], Event] = {
    KeyMade: KeyMade(NOW, LATER, NOTE, because("due")),
    CertIssued: CertIssued(NOW, NEW, NEW_NOTE),
    Advertised: Advertised(NOW),
    Lost: Lost(NOW, because("ns2 lacks it")),
    TlsaLooked: TlsaLooked(NOW, SEEN),
    Rolled: Rolled(NOW),
    BackOnDeck: BackOnDeck(NOW, LATER_CERT, NOTE, because("an admin asked")),
    OffDeck: OffDeck(NOW),
    ProdUpdated: ProdUpdated(NOW, Delivered(OLD.name), (WEB,)),
    ServerTold: ServerTold(NOW, WEB),
    ServerSeen: ServerSeen(NOW, WEB),
    ServerCopied: ServerCopied(NOW, WEB, None),
    ServersWanting: ServersWanting(NOW, frozenset({"localhost"})),
    RestartAsked: RestartAsked(NOW, "web", frozenset({"localhost"})),
    ServersProven: ServersProven(NOW),
    Settled: Settled(NOW, None),
    Asked: Asked(FORCED),
    AskDropped: AskDropped(NOW, because("not due")),
    AttemptFailed: AttemptFailed(Track.RENEW, TROUBLE),
    Counted: Counted(NOW, ("example.com",)),
    WasIssued: WasIssued(ISSUANCE),
    Advised: Advised(NOW, OLD.name, ADVICE),
    WasOrdered: WasOrdered(OrderMade(ISSUANCE.server, NOW)),
    TrialAsked: TrialAsked(TRIAL),
    TrialEnded: TrialEnded(NOW, TRIAL, because("it would")),
}
S, K, I, A, R, D = Phase  # noqa: E741
# The table once more, as a person would draw it: what each event makes of each phase.
DRAWN: dict[type[Event], dict[Phase, Phase]] = {
    KeyMade: dict.fromkeys(Phase, K),
    CertIssued: {K: I},
    Advertised: {I: A},
    Lost: {A: I, I: I},
    Rolled: {I: R, A: R},
    BackOnDeck: dict.fromkeys(Phase, I),
    OffDeck: {K: S, I: S, A: R},
    ServersProven: {R: D, K: K, I: I, A: A},
    Settled: {D: S, K: K, I: I, A: A},
    **{
        beside: {phase: phase for phase in Phase}
        for beside in (
            TlsaLooked,
            ProdUpdated,
            ServerTold,
            ServerSeen,
            ServerCopied,
            ServersWanting,
            RestartAsked,
            Asked,
            AskDropped,
            AttemptFailed,
            Counted,
            WasIssued,
            Advised,
            WasOrdered,
            TrialAsked,
            TrialEnded,
        )
    },
}


def read(state: CertState) -> Phase:
    return phase_of(
        state.curr,
        state.next,
        advertised=state.advertised,
        deployed=state.deployed,
        settled=state.settled,
    )


def changed(before: CertState, after: CertState) -> set[str]:
    return {
        field.name
        for field in fields(CertState)
        if getattr(before, field.name) != getattr(after, field.name)
    }


def test_every_event_is_drawn() -> None:
    assert set(EVENTS) == set(get_args(Event)) == set(DRAWN)
    assert set(STATES) == set(Phase)
    assert {(phase, event) for event, ways in DRAWN.items() for phase in ways} >= set(TABLE)


@pytest.mark.parametrize("event", DRAWN, ids=lambda event: event.__name__)
@pytest.mark.parametrize("phase", Phase)
def test_the_table(phase: Phase, event: type[Event]) -> None:
    state = STATES[phase]
    assert read(state) is phase
    if phase in DRAWN[event]:
        after = advance(state, EVENTS[event])
        assert after.phase is DRAWN[event][phase]
        assert read(after) is after.phase
    else:
        with pytest.raises(ImpossibleTransition, match=f"{event.__name__} in phase {phase}"):
            advance(state, EVENTS[event])


# --- one path for crashes and for normal running -------------------------------------------


def events(draw: st.DrawFn, state: CertState, step: int) -> Event:
    """Draw an event that is legal in `state`, or one beside the phases."""
    now = NOW + timedelta(minutes=step)
    legal = [event for event, ways in DRAWN.items() if state.phase in ways]
    curr = state.curr.name if state.curr else None
    match draw(st.sampled_from(legal)).__name__:
        case "KeyMade":
            return KeyMade(now, facts(WANTED, now), NOTE, because("drawn"))
        case "BackOnDeck":
            old = now - days(100)
            return BackOnDeck(
                now, facts(WANTED, old, cert=(old, now + days(1))), NOTE, because("drawn")
            )
        case "CertIssued":
            assert state.next is not None
            made = state.next.name.time
            problem = draw(st.sampled_from(["", "no chain.pem"]))
            issued = facts(WANTED, made, cert=(made, made + days(90)), problem=problem)
            return CertIssued(now, issued, NEW_NOTE)
        case "Settled":
            return Settled(now, draw(st.sampled_from([None, curr])))
        case "ProdUpdated":
            return ProdUpdated(now, Delivered(curr), (replace(WEB, set=curr),))
        case "ServerSeen":
            return ServerSeen(now, replace(WEB, set=curr, phase=ServerPhase.RESTARTED))
        case "ServerTold":
            return ServerTold(now, replace(WEB, set=curr, phase=ServerPhase.PROVEN))
        case "Asked":
            asks = [FORCED, ROLL, BACK, Ask(Request.RENEW, now), replace(FORCED, replaces=curr)]
            return Asked(draw(st.sampled_from(asks)))
        case "AttemptFailed":
            track = draw(st.sampled_from(Track))
            return AttemptFailed(track, draw(st.sampled_from([TROUBLE, BINDING])))
        case name:
            plain: dict[str, Event] = {
                "Advertised": Advertised(now),
                "Rolled": Rolled(now),
                "OffDeck": OffDeck(now),
                "ServersProven": ServersProven(now),
                "AskDropped": AskDropped(now, because("")),
                "Lost": Lost(now, because("")),
                "TlsaLooked": TlsaLooked(now, None),
                "Counted": Counted(now, ("example.com",)),
                "WasIssued": WasIssued(replace(ISSUANCE, at=now)),
                "Advised": Advised(now, OLD.name, ADVICE),
                "WasOrdered": WasOrdered(OrderMade(ISSUANCE.server, now)),
                "ServerCopied": ServerCopied(now, WEB, None),
                "ServersWanting": ServersWanting(now, frozenset({"localhost"})),
                "RestartAsked": RestartAsked(now, "web", frozenset({"localhost"})),
                "TrialAsked": TrialAsked(TRIAL),
                "TrialEnded": TrialEnded(now, TRIAL, because("")),
            }
            return plain[name]


@st.composite
def walks(draw: st.DrawFn) -> list[CertState]:
    start = draw(st.sampled_from([CertState(), *STATES.values()]))
    states = [start]
    for step in range(draw(st.integers(1, 30))):
        states.append(advance(states[-1], events(draw, states[-1], step + 1)))
    return states


@given(walks())
def test_the_phase_can_always_be_read_from_disk_and_notes(walk: list[CertState]) -> None:
    for state in walk:
        assert read(state) is state.phase


@given(walks())
def test_what_holds_all_along(walk: list[CertState]) -> None:
    for before, after in itertools.pairwise(walk):
        # Once there is a curr there always is one, and it changes only by a roll.
        if before.curr is not None and after.curr != before.curr:
            assert after.curr == before.next
            assert after.prev == before.curr.name
            assert after.next is None
        if before.curr is not None:
            assert after.curr is not None


def test_next_equal_to_curr_is_no_next() -> None:
    for settled, phase in ((None, Phase.ROLLED), (OLD.name, Phase.SETTLED)):
        found = phase_of(OLD, OLD, advertised=OLD.name, deployed=None, settled=settled)
        assert found is phase


def test_notes_of_sets_that_are_gone_count_for_nothing() -> None:
    gone = SetName("20200101-00:00:00")
    found = phase_of(OLD, NEW, advertised=gone, deployed=gone, settled=gone)
    assert found is Phase.ISSUED
    assert phase_of(OLD, None, advertised=gone, deployed=gone, settled=gone) is Phase.ROLLED
    assert phase_of(None, None, advertised=gone, deployed=gone, settled=gone) is Phase.SETTLED


# --- what each event clears and keeps ------------------------------------------------------

BEFORE = SetName("20250901-00:00:00")
FULL = CertState(
    phase=Phase.ROLLED,
    curr=OLD,
    next=None,
    prev=BEFORE,
    curr_note=NOTE,
    next_note=None,
    rolled_at=NOW - days(59),
    deployed=None,
    settled=None,
    delivered=Delivered(OLD.name),
    servers=(WEB,),
    ask=FORCED,
    trouble=TROUBLE,
    delivery_trouble=TROUBLE,
    adopted=True,
)


def on_deck(next_: SetFacts, phase: Phase) -> CertState:
    return replace(FULL, next=next_, next_note=NEW_NOTE, phase=phase)


def test_key_made() -> None:
    before = replace(on_deck(NEW, Phase.ADVERTISED), advertised=NEW.name)
    after = advance(before, EVENTS[KeyMade])
    assert changed(before, after) == {"phase", "next", "next_note", "advertised", "trouble"}
    assert (after.next, after.next_note, after.advertised) == (LATER, NOTE, None)
    assert after.trouble is None


def test_cert_issued_ends_a_renewal() -> None:
    before = on_deck(KEYED, Phase.KEYED)
    after = advance(before, EVENTS[CertIssued])
    assert changed(before, after) == {"phase", "next", "ask", "trouble"}
    assert (after.next, after.ask, after.trouble) == (NEW, None, None)


def test_cert_issued_again_is_not_yet_advertised() -> None:
    """Its certificate was lost and made anew: what was seen in DNS was of the lost one."""
    before = replace(on_deck(KEYED, Phase.KEYED), advertised=KEYED.name)
    after = advance(before, EVENTS[CertIssued])
    assert after.phase is read(after) is Phase.ISSUED


def test_cert_issued_keeps_a_roll_and_a_renewal_that_wants_yet_another() -> None:
    for ask in (ROLL, replace(FORCED, replaces=NEW.name)):
        before = replace(on_deck(KEYED, Phase.KEYED), ask=ask)
        assert advance(before, EVENTS[CertIssued]).ask == ask
    before = replace(on_deck(KEYED, Phase.KEYED), ask=replace(FORCED, replaces=OLD.name))
    assert advance(before, EVENTS[CertIssued]).ask is None


def test_advertised() -> None:
    before = on_deck(NEW, Phase.ISSUED)
    after = advance(before, Advertised(NOW))
    assert changed(before, after) == {"phase", "advertised"}
    assert after.advertised == NEW.name


def test_lost() -> None:
    before = replace(on_deck(NEW, Phase.ADVERTISED), advertised=NEW.name, sighting=SEEN)
    after = advance(before, EVENTS[Lost])
    assert changed(before, after) == {"phase", "advertised"}
    assert after.advertised is None
    # The last look before a roll may have told so already, when the roll comes to its end.
    assert advance(after, EVENTS[Lost]) == after


def test_what_was_seen_in_dns_goes_with_its_set() -> None:
    before = on_deck(NEW, Phase.ISSUED)
    after = advance(before, EVENTS[TlsaLooked])
    assert changed(before, after) == {"sighting"}
    assert advance(after, EVENTS[KeyMade]).sighting is None
    kept = advance(after, KeyMade(NOW, LATER, NOTE, because("other names"), kept=True))
    assert kept.sighting == replace(SEEN, set=LATER.name)
    elsewhere = replace(after, sighting=replace(SEEN, set=OLD.name))
    assert advance(elsewhere, KeyMade(NOW, LATER, NOTE, because(""), kept=True)).sighting is None


def test_sets_are_retired_until_every_server_is_proven() -> None:
    first = replace(on_deck(NEW, Phase.ADVERTISED), advertised=NEW.name)
    rolled = advance(first, EVENTS[Rolled])
    assert rolled.retired == (OLD.name,)
    again = advance(advance(rolled, EVENTS[KeyMade]), CertIssued(NOW, LATER_CERT, NOTE))
    twice = advance(again, EVENTS[Rolled])
    assert twice.retired == (OLD.name, NEW.name)
    assert advance(twice, EVENTS[ServersProven]).retired == ()


def test_a_curr_that_was_exchanged_or_lost_by_hand_may_still_be_served() -> None:
    noted = STATES[Phase.DEPLOYED]
    lost = with_sets(noted, replace(noted, curr=None))
    assert lost.retired == (NEW.name,)
    assert with_sets(lost, noted).retired == ()
    assert with_sets(noted, replace(noted, curr=LATER_CERT)).retired == (NEW.name,)
    assert with_sets(noted, noted) == noted


def test_rolled() -> None:
    before = replace(
        on_deck(NEW, Phase.ADVERTISED),
        advertised=NEW.name,
        ask=ROLL,
        retired=(BEFORE, NEW.name),
        sighting=SEEN,
    )
    after = advance(before, Rolled(NOW, because("the wait")))
    assert after == replace(
        before,
        phase=Phase.ROLLED,
        curr=NEW,
        curr_note=NEW_NOTE,
        prev=OLD.name,
        prev_note=NOTE,
        next=None,
        next_note=None,
        rolled_at=NOW,
        advertised=None,
        retired=(BEFORE, OLD.name),
        sighting=None,
        ask=None,
        trouble=None,
        delivery_trouble=None,
        adopted=False,
    )


def test_rolled_keeps_a_renewal_that_was_asked_for_meanwhile() -> None:
    before = replace(on_deck(NEW, Phase.ADVERTISED), ask=FORCED)
    assert advance(before, Rolled(NOW)).ask == FORCED


def test_a_roll_back_by_hand_has_the_whole_way_before_it() -> None:
    """The set that was settled last is put on deck again, and rolled."""
    before = replace(STATES[Phase.ROLLED], next=OLD, settled=OLD.name, phase=Phase.ISSUED)
    after = advance(before, Rolled(NOW))
    assert (after.phase, after.deployed, after.settled) == (Phase.ROLLED, None, None)
    assert read(after) is Phase.ROLLED


# --- going back ----------------------------------------------------------------------------


def test_back_on_deck_has_the_whole_way_before_it() -> None:
    before = replace(
        STATES[Phase.ROLLED],
        settled=OLD.name,
        next=LATER_CERT,
        advertised=LATER_CERT.name,
        sighting=SEEN,
        off_deck=OLD.name,
        trouble=BINDING,
        ask=BACK,
        phase=Phase.ADVERTISED,
    )
    after = advance(before, BackOnDeck(NOW, OLD, NOTE, because("an admin asked")))
    assert after == replace(
        before,
        phase=Phase.ISSUED,
        next=OLD,
        next_note=NOTE,
        advertised=None,
        sighting=None,
        deployed=None,
        settled=None,
        off_deck=None,
    )
    plain = advance(replace(before, trouble=TROUBLE), BackOnDeck(NOW, OLD, NOTE, because("")))
    assert plain.trouble is None


def test_going_back_is_done_when_just_that_set_is_rolled() -> None:
    before = replace(STATES[Phase.ISSUED], curr=LATER_CERT, curr_note=NEW_NOTE, ask=BACK)
    other = advance(before, Rolled(NOW))
    assert other.ask == BACK
    after = advance(advance(other, BackOnDeck(NOW, OLD, NOTE, because(""))), Rolled(NOW))
    assert after.ask is None
    assert (after.curr, after.curr_note, after.prev) == (OLD, NOTE, NEW.name)


def test_sets_keep_their_notes_there_and_back() -> None:
    there = replace(STATES[Phase.ISSUED], curr_note=NOTE, next_note=NEW_NOTE)
    rolled = advance(there, Rolled(NOW))
    assert (rolled.prev, rolled.prev_note) == (OLD.name, NOTE)
    back = advance(advance(rolled, BackOnDeck(NOW, OLD, NOTE, because(""))), Rolled(NOW))
    assert (back.prev, back.prev_note, back.retired) == (NEW.name, NEW_NOTE, (NEW.name,))


def test_back_without_a_curr_leaves_no_prev() -> None:
    lost = CertState(prev=OLD.name, prev_note=NOTE)
    after = advance(advance(lost, BackOnDeck(NOW, OLD, NOTE, because(""))), Rolled(NOW))
    assert (after.curr, after.prev, after.prev_note) == (OLD, None, None)


def test_what_is_not_gone_back_to_any_more_leaves_the_deck() -> None:
    """Noted at once, also if it is not there yet: its job may just be at it."""
    for before in (
        replace(STATES[Phase.ISSUED], curr=NEW, next=OLD, ask=BACK),
        replace(STATES[Phase.ROLLED], ask=BACK),
    ):
        assert advance(before, AskDropped(NOW, because("cancelled"))).off_deck == OLD.name
        assert advance(before, Asked(FORCED)).off_deck == OLD.name
        assert advance(before, Asked(replace(BACK, force=True))).off_deck is None
    done = replace(STATES[Phase.SETTLED], ask=BACK)
    assert advance(done, AskDropped(NOW, because("it is in use"))).off_deck is None
    again = replace(STATES[Phase.ROLLED], off_deck=OLD.name)
    assert advance(again, Asked(BACK)).off_deck is None
    assert advance(again, Asked(FORCED)).off_deck == OLD.name


def test_off_deck() -> None:
    before = replace(STATES[Phase.ADVERTISED], next_note=NEW_NOTE, sighting=SEEN, off_deck=NEW.name)
    after = advance(before, OffDeck(NOW))
    assert changed(before, after) == {
        *("phase", "next", "next_note", "advertised", "sighting", "off_deck")
    }
    assert after.phase is read(after) is Phase.ROLLED


def test_the_first_roll_keeps_prev() -> None:
    before = replace(on_deck(NEW, Phase.ISSUED), curr=None, curr_note=None)
    assert advance(before, Rolled(NOW)).prev == before.prev


def test_prod_updated() -> None:
    fresh = replace(WEB, host="h2")
    after = advance(FULL, ProdUpdated(NOW, Delivered(OLD.name, NEW.name), (fresh,)))
    assert changed(FULL, after) == {"delivered", "servers", "delivery_trouble", "adopted"}
    assert (after.servers, after.delivery_trouble, after.adopted) == ((fresh,), None, False)


def test_server_told_changes_only_its_own_place() -> None:
    other = replace(WEB, kind="imap")
    before = replace(FULL, servers=(other, WEB))
    proven = replace(WEB, phase=ServerPhase.PROVEN)
    after = advance(before, ServerTold(NOW, proven))
    assert changed(before, after) == {"servers"}
    assert after.servers == (other, proven)


def test_server_told_of_a_set_that_was_replaced_meanwhile_is_ignored() -> None:
    before = replace(FULL, servers=(replace(WEB, set=NEW.name),))
    assert advance(before, ServerTold(NOW, replace(WEB, phase=ServerPhase.PROVEN))) == before


def test_servers_proven_and_settled() -> None:
    deployed = advance(FULL, ServersProven(NOW))
    assert changed(FULL, deployed) == {"phase", "deployed"}
    assert deployed.deployed == OLD.name
    settled = advance(deployed, Settled(NOW, None))
    assert changed(deployed, settled) == {"phase", "settled", "prev", "delivery_trouble"}
    assert (settled.settled, settled.prev) == (OLD.name, None)


def test_asked_goes_past_our_own_backoff_only() -> None:
    later = replace(FORCED, at=NOW + timedelta(minutes=1))
    after = advance(replace(FULL, ask=None), Asked(later))
    assert after.ask == later
    assert after.trouble == replace(TROUBLE, next_try=later.at)
    assert after.delivery_trouble == replace(TROUBLE, next_try=later.at)
    assert {server.next_try for server in after.servers} <= {None, later.at}
    bound = advance(replace(FULL, ask=None, trouble=BINDING), Asked(later))
    assert (bound.ask, bound.trouble) == (later, BINDING)


@pytest.mark.parametrize(
    ("standing", "new", "kept"),
    [
        (None, Ask(Request.RENEW, NOW), "new"),
        (Ask(Request.RENEW, NOW), FORCED, "new"),
        (FORCED, ROLL, "new"),
        (FORCED, replace(FORCED, replaces=NEW.name), "new"),
        (Ask(Request.RENEW, NOW), Ask(Request.RENEW, NOW, reuse=True), "new"),
        (FORCED, Ask(Request.RENEW, NOW), "standing"),
        (Ask(Request.ROLL, NOW, min_roll=days(1)), Ask(Request.ROLL, NOW), "new"),
        (ROLL, Ask(Request.ROLL, NOW, min_roll=days(1)), "standing"),
        (ROLL, Ask(Request.RENEW, NOW), "standing"),
        (FORCED, Ask(Request.ROLL, NOW), "standing"),
    ],
)
def test_what_was_asked_with_force_is_not_lost_to_what_was_not(
    standing: Ask | None, new: Ask, kept: str
) -> None:
    after = advance(replace(FULL, ask=standing), Asked(new))
    assert after.ask == (new if kept == "new" else standing)


def test_ask_dropped() -> None:
    after = advance(FULL, AskDropped(NOW, because("cancelled")))
    assert changed(FULL, after) == {"ask", "trouble"}
    assert (after.ask, after.trouble) == (None, None)
    assert advance(replace(FULL, trouble=BINDING), AskDropped(NOW, because(""))).trouble == BINDING


def test_attempt_failed_changes_only_its_own_track() -> None:
    worse = replace(TROUBLE, attempts=4)
    renew = advance(FULL, AttemptFailed(Track.RENEW, worse))
    assert changed(FULL, renew) == {"trouble"}
    assert renew.trouble == worse
    deliver = advance(FULL, AttemptFailed(Track.DELIVER, worse))
    assert changed(FULL, deliver) == {"delivery_trouble"}
    assert deliver.delivery_trouble == worse


# --- copies to servers ---------------------------------------------------------------------

FAR = Server("web", "far", ServerPhase.PENDING, OLD.name)


def copied(state: CertState, server: Server, before: SetName | None) -> Server:
    (after,) = advance(state, ServerCopied(NOW, server, before)).servers
    return after


def test_what_was_copied_is_there() -> None:
    state = replace(STATES[Phase.ROLLED], servers=(FAR,))
    there = replace(FAR, phase=ServerPhase.DELIVERED, set=NEW.name)
    assert copied(state, there, OLD.name) == there


def test_what_was_rolled_during_a_copy_is_still_to_be_copied() -> None:
    state = replace(STATES[Phase.ROLLED], servers=(FAR,))
    older = replace(FAR, phase=ServerPhase.DELIVERED, set=LATER.name)
    after = copied(state, older, OLD.name)
    assert (after.phase, after.set, after.next_try) == (ServerPhase.PENDING, LATER.name, None)


@pytest.mark.parametrize(
    "now", [replace(FAR, set=None), replace(FAR, phase=ServerPhase.PROVEN), replace(FAR, host="x")]
)
def test_a_copy_tells_nothing_of_a_server_that_is_another_by_now(now: Server) -> None:
    state = replace(STATES[Phase.ROLLED], servers=(now,))
    assert copied(state, replace(FAR, phase=ServerPhase.DELIVERED, set=NEW.name), OLD.name) == now


def test_a_server_that_an_admin_names_wants_everything_again() -> None:
    proven = replace(FAR, phase=ServerPhase.PROVEN, proven=OLD.name, attempts=3, next_try=NOW)
    state = replace(STATES[Phase.SETTLED], servers=(proven, WEB))
    after = advance(state, ServersWanting(NOW, frozenset({"far"}))).servers
    assert after == (replace(FAR, proven=OLD.name), WEB)


def test_a_restart_that_an_admin_asks_for_is_of_what_has_something() -> None:
    failed = replace(FAR, phase=ServerPhase.FAILED, attempts=3, error="no")
    others = (FAR, replace(failed, kind="imap"), replace(failed, host="x"))
    state = replace(STATES[Phase.SETTLED], servers=(failed, *others))
    first, *rest = advance(state, RestartAsked(NOW, "web", frozenset({"far"}))).servers
    assert (first.phase, first.attempts, first.error) == (ServerPhase.DELIVERED, 0, "")
    assert first.next_try == NOW
    assert tuple(rest) == others
