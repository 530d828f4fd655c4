"""A roll that DNS holds back, while the certificate in use comes to its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sslmd.core.dane.verdict import Counting, Dane, Withdrawn
from sslmd.core.jobs import Roll
from sslmd.core.plan import decide
from sslmd.core.state import CertState
from sslmd.core.view import Decision
from sslmd.core.words.sentence import say
from tests.core.test_plan import DANE, DUE, GOOD, NOW, READY, WANTED, look, settled
from tests.core.test_plan_dane import PORTS as MAIL
from tests.core.test_plan_dane import READY_SEEN
from tests.reasons import because

LACKS = replace(
    READY_SEEN, since=None, waited=0.0, missing=because("ns2 lacks the record"), opens_at=None
)
PORTS = replace(MAIL, usages=frozenset({3}))
LACKING = Counting(PORTS, LACKS)
SILENT = replace(LACKING, silent=because("ns2 does not answer"))


def left(days: float) -> CertState:
    """A set on deck that name servers do not show, and a certificate with so many days left."""
    assert DUE.cert is not None
    end = NOW + timedelta(days=days)
    curr = replace(DUE, cert=replace(DUE.cert, not_before=end - timedelta(days=90), not_after=end))
    return settled(curr, READY, sighting=LACKS)


def step(days: float, dane: Dane = SILENT, *, wanted: bool = True) -> Decision:
    view = look(left(days), DANE if wanted else WANTED)
    return decide(replace(view, dane=dane), NOW)


def test_there_is_time() -> None:
    decision = step(20)
    assert decision.job is None
    assert say(decision.alarm) == ""
    assert decision.wake_at == NOW + timedelta(days=13)


def test_an_admin_has_a_week() -> None:
    decision = step(6, LACKING)
    assert decision.job is None
    assert "ns2 lacks the record" in say(decision.alarm)
    assert "sslmctl roll --force" in say(decision.alarm)
    assert "accept it even when it has expired" in say(decision.alarm)
    for usages in ({3}, {2, 3}):
        withdrawn = step(6, Withdrawn("_25._tcp.example.com", usages=frozenset(usages)))
        assert ("accept it even" in say(withdrawn.alarm)) == (usages == {3})
    mixed = step(6, replace(LACKING, ports=replace(PORTS, usages=frozenset({2, 3}))))
    assert "accept it even" not in say(mixed.alarm)
    assert mixed.alarm


@pytest.mark.parametrize("days", [1.0, -3.0])
def test_servers_that_do_not_answer_are_not_waited_for_at_the_end(days: float) -> None:
    job = step(days).job
    assert isinstance(job, Roll)
    assert "ns2 does not answer" in say(job.overrode)


@pytest.mark.parametrize("days", [1.0, -3.0])
def test_a_server_that_answers_without_the_record_is(days: float) -> None:
    """I4: that would turn clients away, whatever else happens."""
    decision = step(days, LACKING)
    assert decision.job is None
    assert "ns2 lacks the record" in say(decision.alarm)


def test_without_dane_nothing_is_waited_for_at_the_end() -> None:
    fading = Withdrawn("_25._tcp.example.com")
    assert isinstance(step(1, fading, wanted=False).job, Roll)
    assert step(20, fading, wanted=False).job is None


def test_a_certificate_that_is_well_has_no_alarm() -> None:
    assert decide(replace(look(settled(GOOD), DANE), dane=Counting(PORTS)), NOW).alarm is None
