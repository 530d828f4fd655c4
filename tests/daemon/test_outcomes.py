"""Which record is the end of what an admin asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sslmd.core.reason import Ended, Reason
from sslmd.core.state import Ask, CertState, Request, Track, TrialAsk, TrialKind
from sslmd.core.told import Happened
from sslmd.core.view import Decision
from sslmd.core.words.sentence import say
from sslmd.daemon.api.asking import Result, ended
from sslmd.daemon.registry import Entry
from sslmd.daemon.tell.journal import Record
from sslmd.wire.messages import Outcome
from tests.core.test_plan import GOOD, MINUTE, NEXT, NOW, WANTED, settled
from tests.reasons import because

ROLL = Ask(Request.ROLL, NOW)
FORCED = replace(ROLL, force=True)
SOON = replace(ROLL, min_roll=0 * MINUTE)
BACK = replace(ROLL, back=NEXT.name)
RENEW = Ask(Request.RENEW, NOW)


def entry(state: CertState) -> Entry:
    return Entry(WANTED, frozenset(), state, None, Decision(because("")))


def record(event: str, job: str = "") -> Record:
    return Record(NOW, event, "that", job=job)


SERVING = [
    record("restart-failed"),
    record("copy-failed"),
    record("settled"),
    record("attempt-failed", str(Track.DELIVER)),
]


def told(end: Result | None) -> tuple[Outcome, str] | None:
    return (end[0], say(end[1])) if end is not None else None


@pytest.mark.parametrize("ask", [ROLL, FORCED, SOON, BACK])
def test_how_servers_get_on_with_what_is_to_go_is_no_end_of_a_roll(ask: Ask) -> None:
    waiting = entry(settled(GOOD, NEXT, ask=ask))
    rolled = entry(settled(NEXT))
    for one in SERVING:
        assert ended(waiting, ask, one) is None
        end = ended(rolled, ask, one)
        assert end is not None
        assert end[0] is (Outcome.DONE if one.event == "settled" else Outcome.FAILED)


def test_what_keeps_it_from_being_rolled_is_an_end() -> None:
    waiting = entry(settled(GOOD, NEXT, ask=SOON))
    failed = record("attempt-failed", str(Track.RENEW))
    assert told(ended(waiting, SOON, failed)) == (Outcome.FAILED, "that")
    dropped = record("ask-dropped")
    assert told(ended(entry(settled(GOOD, NEXT)), SOON, dropped)) == (Outcome.UNNEEDED, "that")
    assert told(ended(entry(settled(GOOD, NEXT)), BACK, dropped)) == (Outcome.FAILED, "that")


def test_going_back_is_over_when_that_set_is_in_use() -> None:
    """Also if something else was asked for meanwhile."""
    newer = entry(settled(GOOD, ask=RENEW))
    for one in SERVING:
        assert ended(newer, BACK, one) is None
        assert ended(None, BACK, one) is not None


def test_renewals_and_trials() -> None:
    assert told(ended(entry(settled(GOOD, NEXT)), RENEW, record("cert-issued"))) == (
        Outcome.DONE,
        "that; it is on deck",
    )
    assert told(ended(None, RENEW, record("cert-issued"))) == (Outcome.DONE, "that")
    assert ended(None, RENEW, record("settled")) is None
    trial = TrialAsk(TrialKind.TEST, NOW)
    assert told(ended(None, trial, record("trial-ended"))) == (Outcome.DONE, "that")
    assert told(ended(None, trial, record("trial-failed"))) == (Outcome.FAILED, "that")
    assert ended(None, trial, record("attempt-failed")) is None


def test_a_delivery_that_fails_is_no_end_of_a_renewal() -> None:
    waiting = entry(settled(GOOD, ask=RENEW))
    assert ended(waiting, RENEW, record("attempt-failed", str(Track.DELIVER))) is None
    failed = ended(waiting, RENEW, record("attempt-failed", str(Track.RENEW)))
    assert told(failed) == (Outcome.FAILED, "that")


def test_a_renewal_that_fails_is_no_end_of_a_roll_that_is_done() -> None:
    rolled = entry(settled(NEXT))
    assert ended(rolled, ROLL, record("attempt-failed", str(Track.RENEW))) is None


@pytest.mark.parametrize("ask", [RENEW, ROLL, BACK])
def test_what_an_admin_took_back_has_not_failed(ask: Ask) -> None:
    why = Reason(Ended.CANCELLED)
    dropped = Record(NOW, "ask-dropped", Reason(Happened.DROPPED, why=why))
    assert told(ended(entry(settled(GOOD, NEXT)), ask, dropped)) == (Outcome.UNNEEDED, say(why))
