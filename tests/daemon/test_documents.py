"""What `status` says of a certificate: each failure once, and none for another."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sslmd.config.kinds import ServerKind
from sslmd.console.answers import Cert
from sslmd.console.health import problems, why
from sslmd.core.jobs import Order
from sslmd.core.reason import Held, Reason, Why, noted, said
from sslmd.core.spec import SelfSigned
from sslmd.core.state import CertState, Phase, Server, ServerPhase
from sslmd.core.told import Doing
from sslmd.core.trouble import Severity, TroubleKind
from sslmd.core.view import Decision
from sslmd.daemon.api.status_document import status_entry, summary
from sslmd.daemon.cert_status import status_of
from sslmd.daemon.registry import Entry, Registry, Taken
from tests.stand.world import START, days, facts, wanted

WANTED = wanted("example.com:web", signer=SelfSigned(), dane=True)
CURR = facts(WANTED, START, cert=(START, START + days(90)))
BROKEN = replace(CURR, cert=None, problem="no cert.pem")
MISSING = Reason(Why.RECORDS_MISSING, why=(noted("ns2 is silent"),))
WAITS = Reason(Why.DNS_WAITS, gate=MISSING)
BLOCKED = Reason(Held.ROLL_BLOCKED_FIRST, why=MISSING, arg="example.com:web", harm=None)
ODD = Reason(Why.OLDER_ON_DECK, set="a", curr="b", arg="example.com:web")
NO_CURR = Reason(Held.CA_NO_CURR, remains="the link curr", arg="ca:root")
LEFT = Reason(Why.LEFT, why=NO_CURR)


def shown(state: CertState, decision: Decision, hold: str = "", astray: str = "") -> Cert:
    told = said(hold), said(astray)
    entry = Entry(WANTED, frozenset(), state, told[0], decision, astray=told[1])
    return Cert(status_entry(WANTED.spec.id, entry))


@pytest.mark.parametrize(
    ("state", "decision", "hold", "astray"),
    [
        (CertState(Phase.ISSUED, BROKEN), Decision(WAITS, alarm=BLOCKED), "", ""),
        (CertState(Phase.ISSUED, BROKEN), Decision(ODD, alarm=ODD), "", ""),
        (CertState(), Decision(LEFT, alarm=NO_CURR), "", "the link curr leads to nothing"),
        (CertState(), Decision(Reason(Why.VALID)), "a bug", "the link curr leads to nothing"),
    ],
)
def test_a_set_that_cannot_be_used_is_told_beside_an_alarm_that_says_nothing_of_it(
    state: CertState, decision: Decision, hold: str, astray: str
) -> None:
    found = [trouble for trouble, _ in problems(shown(state, decision, hold, astray), START)]
    assert [one.kind for one in found] == [TroubleKind.UNUSABLE, TroubleKind.HELD]
    assert found[0].severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("decision", "hold", "left"),
    [
        (Decision(noted("left alone")), "left alone", ""),
        (Decision(ODD, alarm=ODD), "", ""),
        (Decision(LEFT, alarm=NO_CURR), "", ""),
        (Decision(WAITS, alarm=BLOCKED), "", "on deck; waits for its TLSA records in DNS: "),
    ],
)
def test_what_a_problem_says_is_not_said_as_the_reason_too(
    decision: Decision, hold: str, left: str
) -> None:
    assert why(shown(CertState(Phase.SETTLED, CURR), decision, hold)).startswith(left)
    assert bool(why(shown(CertState(Phase.SETTLED, CURR), decision, hold))) is bool(left)


def test_what_only_an_admin_can_put_right_is_told_beside_a_wait_for_its_ca() -> None:
    waits = Decision(Reason(Why.CA_WAITS, ca="ca/my", why=ODD), waits_for_ca=True, alarm=NO_CURR)
    found = problems(shown(CertState(Phase.SETTLED, CURR), waits), START)
    assert [trouble.kind for trouble, _ in found] == [TroubleKind.HELD]
    assert problems(shown(CertState(Phase.SETTLED, CURR), replace(waits, alarm=None)), START) == []


def test_a_server_that_failed_too_is_no_failure_of_a_certificate_that_waits_for_its_ca() -> None:
    waits = Decision(Reason(Why.CA_WAITS, ca="ca/my", why=ODD), waits_for_ca=True)
    server = Server(
        ServerKind.WEB, "web1", ServerPhase.DELIVERED, attempts=2, next_try=START + days(1)
    )
    state = CertState(Phase.SETTLED, CURR, servers=(server,))
    entry = Entry(WANTED, frozenset(), state, None, waits)
    assert status_of(entry).attempts == 0
    assert status_of(replace(entry, decision=Decision(ODD))).attempts == 2


def test_what_is_done_and_how_far_it_is_are_codes_and_facts() -> None:
    reason = Reason(Why.FORCED)
    order = Decision(reason, job=Order(WANTED.spec.id, CURR.name, reason))
    entry = Entry(WANTED, frozenset(), CertState(Phase.KEYED), None, order)
    row = status_entry(WANTED.spec.id, entry)
    assert (row["doing_code"], row["progress"], row["progress_code"]) == ("orders", None, None)
    how = Reason(Doing.OF_TRIAL, kind="test", what=Reason(Doing.ORDER_AT, url="https://ca.test"))
    row = status_entry(WANTED.spec.id, replace(entry, progress=how))
    assert row["doing_code"] == row["progress_code"] == "of-trial"
    assert row["progress_facts"]["what"]["facts"] == {"url": "https://ca.test"}


def test_what_holds_a_certificate_is_a_code_and_facts() -> None:
    why = Reason(Held.LATER_STATE, path="/certs/state.toml", why=noted("version 2"))
    entry = Entry(WANTED, frozenset(), CertState(), why, Decision(why))
    row = status_entry(WANTED.spec.id, entry)
    assert row["reason_code"] == row["error_code"] == "later-state"
    assert row["error_facts"]["path"] == "/certs/state.toml"
    assert (row["doing"], row["unusable_code"]) == (None, None)


def test_the_line_in_systemctl_status_counts_what_sslmctl_status_counts() -> None:
    registry, now = Registry(), START + days(88)  # nobody renewed it, and nothing failed
    entry = Entry(WANTED, frozenset(), CertState(Phase.SETTLED, CURR), None, Decision(WAITS))
    registry.put(WANTED.spec.id, Taken(entry))
    hub = SimpleNamespace(
        registry=registry,
        site=SimpleNamespace(now=lambda: now),
        queue=(),
        refused=None,
        net=None,
        ordering=SimpleNamespace(signer=SimpleNamespace(trouble=None)),
    )
    assert problems(Cert(status_entry(WANTED.spec.id, entry)), now)
    assert summary(cast("Any", hub)) == "1 certificates, 1 live, 1 in trouble"
