"""A server's phases: what the table says, and nothing else, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given as whenever
from hypothesis import strategies as st

from sslmd.core.errors import ImpossibleTransition, Transient, Trouble
from sslmd.core.events import RestartAsked
from sslmd.core.host import server as life
from sslmd.core.host.server import TABLE, HostUse, ServerChange, in_production
from sslmd.core.names import SetName
from sslmd.core.reason import Reason, Why
from sslmd.core.seen import AtPort
from sslmd.core.state import CertState, Delivered, Server, ServerPhase, Unseen
from tests.stand.world import START, days

NOW = START
OLD, NEW = SetName.at(NOW - days(60)), SetName.at(NOW)
WHY = Unseen(Reason(AtPort.PROBE_FALSE))
LATER = NOW + days(0.1)


def trouble(text: str, after: int = 0) -> Trouble:
    return Trouble.of(Transient(text), after, NOW, jitter=0)


CHANGES: dict[ServerChange, Callable[[Server], Server]] = {
    ServerChange.GIVEN: lambda one: life.given(one, NEW, NOW, is_new=True, here=False),
    ServerChange.NOT_GIVEN: lambda one: life.not_given(one, trouble("it is down")),
    ServerChange.RESTARTED: lambda one: life.restarted(one, None, None, NOW),
    ServerChange.FAILED: lambda one: life.failed(one, trouble("exited with 1")),
    ServerChange.LOOKED: lambda one: life.looked_at(one, WHY, NOW),
    ServerChange.WANTED: lambda one: life.wanted(one, {"h1"}),
    ServerChange.ASKED: lambda one: life.asked(
        one, RestartAsked(NOW, "web", frozenset({"h1"}), Reason(Why.RECORDS_CHANGED))
    ),
}


def server(phase: ServerPhase, name: SetName | None = OLD) -> Server:
    return Server("web", "h1", phase, name)


@pytest.mark.parametrize("what", ServerChange)
@pytest.mark.parametrize("phase", ServerPhase)
def test_what_the_table_does_not_name_cannot_happen(phase: ServerPhase, what: ServerChange) -> None:
    before = server(phase)
    if (phase, what) in TABLE:
        assert CHANGES[what](before).phase in TABLE[phase, what]
    elif what is ServerChange.ASKED:
        assert CHANGES[what](before) is before  # what is copied to is restarted then
    else:
        with pytest.raises(ImpossibleTransition, match=str(phase)):
            CHANGES[what](before)


def test_from_a_roll_to_proof() -> None:
    one = life.given(server(ServerPhase.PENDING), NEW, NOW, is_new=True, here=False)
    assert (one.phase, one.set) == (ServerPhase.DELIVERED, NEW)
    one = life.failed(one, trouble("exited with 1"))
    one = life.failed(one, trouble("exited with 2", after=1))
    assert (one.attempts, one.error, one.since) == (2, "exited with 2", NOW)
    one = life.restarted(one, WHY, LATER, NOW)
    assert (one.phase, one.restarted, one.proven, one.attempts) == (
        ServerPhase.RESTARTED,
        NEW,
        None,
        0,
    )
    one = life.looked_at(one, None, LATER)
    assert (one.phase, one.proven, one.seen, one.unseen) == (ServerPhase.PROVEN, NEW, LATER, None)
    # Given again what it has and was proven with, it is done.
    again = life.wanted(one, {"h1"})
    assert life.given(again, NEW, LATER, is_new=False, here=False).phase is ServerPhase.PROVEN


def test_only_who_is_meant_is_changed() -> None:
    one = server(ServerPhase.PROVEN)
    assert life.wanted(one, {"h2"}) is one
    assert life.asked(one, RestartAsked(NOW, "imap", frozenset({"h1"}))) is one
    assert life.asked(one, RestartAsked(NOW, "web", frozenset({"h1"}))).next_try == NOW


USES = st.builds(
    HostUse,
    st.just("web"),
    st.just("h1"),
    st.sampled_from(["", "root:ssl 0640", life.UNTOUCHED]),
    st.booleans(),
    st.booleans(),
)
SERVERS = st.builds(
    Server,
    st.just("web"),
    st.just("h1"),
    st.sampled_from(ServerPhase),
    st.sampled_from([None, OLD, NEW]),
    attempts=st.integers(0, 2),
    proven=st.sampled_from([None, OLD, NEW]),
    restarted=st.sampled_from([None, OLD, NEW]),
    access=st.sampled_from(["", "root:ssl 0640", life.UNTOUCHED]),
    here=st.booleans(),
)


@whenever(
    st.lists(SERVERS, max_size=1), USES, st.booleans(), st.booleans(), st.sampled_from([OLD, NEW])
)
def test_whatever_production_held_and_holds(
    before: list[Server], use: HostUse, changed: bool, adopt: bool, was: SetName
) -> None:
    state = CertState(servers=tuple(before), delivered=Delivered(was))
    (one,) = in_production(state, [use], NEW, NOW, changed=changed, adopt=adopt)
    assert one.access == use.access
    # It has the set, or is to be given it (I4: nothing is done with another one).
    assert one.phase is ServerPhase.PENDING or one.set == NEW
    if not use.is_visited:
        assert one.set == NEW
    # What reads other files than before was not seen using these.
    if changed and use.here:
        assert one.proven is None
        assert one.phase not in (ServerPhase.PROVEN, ServerPhase.RESTARTED)
