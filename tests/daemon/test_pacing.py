"""Orders wait for what their CA allows, and whoever met a limit at the last moment waits too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sslmd.acme.account_homes import Home
from sslmd.config.model import CaAccount, CaInfo, CaKind
from sslmd.core.buckets import CaLimit, Rate
from sslmd.core.errors import Paced, RateLimited
from sslmd.core.holds import AccountMade, Holds
from sslmd.core.jobs import Order
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Why
from sslmd.core.spec import AcmeCa, SetFacts
from sslmd.core.state import CertState, Issuance, OrderMade, TrialAsk, TrialKind
from sslmd.core.view import Decision
from sslmd.daemon.pacing import Pacing
from sslmd.daemon.registry import Registry, Taken, entry_of
from tests.reasons import because
from tests.stand.tools import Tools, believe

NOW = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)
CA, TEST = "https://ca.example/dir", "https://test.example/dir"
WEB, MAIL = (
    CertId("example.com", "web-ec"),
    CertId("example.com", "mail-ec"),
)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ACCOUNTS = (CaLimit.ACCOUNTS, Rate(2, HOUR))


@dataclass
class Case:
    """Certificates of one CA; `now` is the time."""

    tools: Tools
    certs: tuple[CertId, ...] = (WEB, MAIL)
    now: datetime = NOW
    holds: Holds = field(default_factory=Holds)
    touched: list[CertId] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry()
        self.tools.site.now = lambda: self.now
        self.pacing = Pacing(self.tools.site, self.registry, self.touched.append, self.holds)

    def use(self, *limits: tuple[CaLimit, Rate], **more: Any) -> None:
        """Have a CA with these limits."""
        ca = CaInfo("le", CaKind.ACME, server=CA, test_server=TEST, limits=limits, **more)
        site = self.tools.site
        others = {name: one for name, one in site.config.cas.items() if name != "le"}
        site.config = replace(site.config, cas={**others, "le": ca})
        for cert in self.certs:
            entry = entry_of(site.config, site.config.services[cert], CertState(), None)
            spec = replace(entry.wanted.spec, signer=AcmeCa("le"))
            names = frozenset({f"{cert.service}.{cert.group}"})
            wanted = replace(entry.wanted, spec=spec, names=names)
            self.registry.put(cert, Taken(replace(entry, wanted=wanted)))

    def decide(self, cert: CertId) -> Decision:
        job = Order(cert, SetName.at(self.now), because("due"))
        return self.pacing.decide(cert, Decision(because("due"), job=job), self.now)

    def goes(self, cert: CertId) -> bool:
        return self.decide(cert).job is not None

    def met(self, cert: CertId, limit: str = CaLimit.ACCOUNTS, wait: timedelta = HOUR) -> None:
        """Have its order meet a limit at the last moment."""
        self.pacing.begin(cert)
        why = because("met a limit")
        self.pacing.sent_back(cert, Paced(why, limit, retry_at=self.now + wait))
        self.pacing.end(cert)

    def made(self, *, shared: bool) -> None:
        made = AccountMade(CA, self.now)
        self.holds.account_made(made)
        self.pacing.account_made(made, Home("/certs/x", is_shared=shared))


@pytest.fixture
def case(tools: Tools) -> Case:
    return Case(tools)


# --- new accounts -------------------------------------------------------------------------------


def test_who_needs_an_account_of_its_own_waits_in_line_for_it(case: Case) -> None:
    case.use(ACCOUNTS, account=CaAccount.OWN)
    for _ in range(2):
        case.made(shared=False)
    for cert in (WEB, MAIL):
        assert case.goes(cert)  # nobody knows yet that it has none
        case.met(cert, wait=HOUR / 2 - MINUTE)
    waits = [case.decide(cert) for cert in (MAIL, WEB)]
    assert [one.reason.code for one in waits] == [Why.CA_PACED, Why.CA_PACED]
    assert [one.reason["limit"] for one in waits] == ["accounts", "accounts"]
    assert [one.reason.get("ahead") for one in waits] == [None, 1]
    first, second = (one.wake_at for one in waits)
    assert first is not None
    assert second is not None
    assert first - NOW == pytest.approx(HOUR / 2, abs=MINUTE)
    assert second - first == pytest.approx(HOUR / 2, abs=MINUTE)
    case.now = first
    assert (case.goes(MAIL), case.goes(WEB)) == (True, False)
    case.pacing.begin(MAIL)
    case.made(shared=False)
    case.pacing.end(MAIL)
    assert not case.goes(WEB)
    case.now = second + MINUTE
    assert case.goes(WEB)


def test_who_shares_it_waits_until_somebody_has_made_it(case: Case) -> None:
    case.use(ACCOUNTS)
    for cert in (WEB, MAIL):
        case.met(cert)
        assert not case.goes(cert)
    case.touched.clear()
    case.made(shared=True)
    assert set(case.touched) == {WEB, MAIL}
    assert case.goes(WEB)
    assert case.goes(MAIL)


def test_accounts_that_were_made_before_a_restart_count(case: Case, tools: Tools) -> None:
    case.use(ACCOUNTS, account=CaAccount.OWN)
    for _ in range(2):
        case.made(shared=False)
    again = Case(tools, holds=case.holds)
    again.use(ACCOUNTS, account=CaAccount.OWN)
    again.met(WEB, wait=MINUTE)
    again.now += 2 * MINUTE
    assert again.decide(WEB).reason.code is Why.CA_PACED


# --- met at the last moment -----------------------------------------------------------------------


def test_what_was_sent_back_is_not_tried_again_at_once(case: Case) -> None:
    case.use()
    case.met(WEB, "", timedelta())
    waits = case.decide(WEB)
    assert waits.job is None
    assert waits.wake_at is not None
    assert waits.wake_at > case.now
    assert case.goes(MAIL)
    case.now = waits.wake_at
    assert case.goes(WEB)


def test_nor_if_its_order_seems_to_be_under_way_since_before_a_restart(case: Case) -> None:
    case.use()
    facts = SetFacts(SetName.at(NOW), "", frozenset(), None, "")
    ordered = (OrderMade(CA, NOW + MINUTE),)
    case.now = NOW + 2 * MINUTE
    believe(case.registry, WEB, state=replace(CertState(), next=facts, ordered=ordered))
    assert case.goes(WEB)
    case.met(WEB, "")
    assert not case.goes(WEB)


@pytest.mark.parametrize("back", [HOUR, timedelta(days=3650)])
def test_a_clock_that_is_set_back_ends_the_wait(case: Case, back: timedelta) -> None:
    case.use()
    case.met(WEB, "", HOUR)
    case.now -= back
    assert case.goes(WEB)


# --- what a CA wants to be left alone with ------------------------------------------------------


def refused(limit: str, whose: str = "") -> RateLimited:
    return RateLimited("enough", limit, whose, retry_at=NOW + HOUR)


def test_a_name_that_failed_too_often_holds_all_that_have_it(case: Case) -> None:
    case.use()
    assert case.pacing.held(WEB, refused(CaLimit.FAILED, "mail-ec.example.com"))
    assert case.decide(MAIL).reason.code is Why.CA_HOLD
    assert case.goes(WEB)


def test_an_order_that_is_about_to_be_sent_hears_what_was_said_to_another(case: Case) -> None:
    case.use()
    assert case.pacing.why_held(MAIL, CA) is None
    assert case.pacing.held(WEB, refused(CaLimit.ORDERS))
    found = case.pacing.why_held(MAIL, CA)
    assert found is not None
    assert found[0].code is Why.CA_HOLD
    assert case.pacing.why_held(MAIL, TEST) is None


def test_a_test_server_holds_trials_and_nothing_else(case: Case) -> None:
    case.use()
    for cert in (WEB, MAIL):
        state = CertState(trial=TrialAsk(TrialKind.DRY_RUN, NOW))
        believe(case.registry, cert, state=state)
    assert case.pacing.held(WEB, refused(""), trial=True)
    waits = case.pacing.trial(MAIL, NOW)
    assert waits is not None
    assert waits[1] == NOW + HOUR
    assert case.goes(MAIL)


def test_a_trial_that_met_a_limit_waits_and_is_no_failure(case: Case) -> None:
    case.use()
    believe(case.registry, WEB, state=CertState(trial=TrialAsk(TrialKind.TEST, NOW)))
    assert case.pacing.trial(WEB, NOW) is None
    case.pacing.begin(WEB, trial=True)
    paced = Paced(because("wait"), CaLimit.ACCOUNTS, retry_at=NOW + MINUTE)
    case.pacing.sent_back(WEB, paced, trial=True)
    case.pacing.end(WEB, trial=True)
    assert case.pacing.trial(WEB, NOW) == (paced.reason, NOW + MINUTE)
    assert case.pacing.trial(WEB, NOW + MINUTE) is None
    assert case.goes(WEB)


# --- what counts ---------------------------------------------------------------------------------


def test_an_order_that_is_told_twice_counts_once(case: Case) -> None:
    case.use((CaLimit.ORDERS, Rate(2, HOUR)))
    made = OrderMade(CA, NOW)
    for _ in range(3):
        case.pacing.ordered(WEB, made, "")
    assert case.registry[WEB].state.ordered == (made,)
    assert case.goes(MAIL)
    case.pacing.ordered(MAIL, OrderMade(CA, NOW + MINUTE), "")
    assert not case.goes(WEB)


def test_two_tables_of_one_ca_have_its_tightest_limit(case: Case) -> None:
    case.use((CaLimit.ORDERS, Rate(1, HOUR)))
    site = case.tools.site
    loose = CaInfo("loose", CaKind.ACME, server=CA, limits=((CaLimit.ORDERS, Rate(9, HOUR)),))
    site.config = replace(site.config, cas={**site.config.cas, "loose": loose})
    entry = case.registry[MAIL]
    spec = replace(entry.wanted.spec, signer=AcmeCa("loose"))
    believe(case.registry, MAIL, wanted=replace(entry.wanted, spec=spec))
    assert case.goes(MAIL)
    case.pacing.ordered(WEB, OrderMade(CA, NOW), "")
    assert not case.goes(MAIL)


def test_what_was_issued_counts_for_its_names_even_if_the_order_was_free(case: Case) -> None:
    case.use((CaLimit.NAMES, Rate(1, HOUR)))
    mark = next(
        whose
        for limit, (_, whose) in case.pacing._keys.every(WEB, case.registry[WEB], CA)
        if limit is CaLimit.NAMES
    )
    assert case.goes(WEB)
    case.pacing.issued(WEB, Issuance("1", CA, mark, NOW))
    assert case.decide(WEB).reason["limit"] == "names"
