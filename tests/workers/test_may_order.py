"""What may be against an order at the moment when it is sent, and what is counted then."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sslmd.acme import certbot
from sslmd.acme.attempt import Attempt
from sslmd.acme.certbot import AcmeServer
from sslmd.config.model import LETS_ENCRYPT, CaInfo, CaKind, Validation
from sslmd.core.ari import Advice
from sslmd.core.errors import Paced, Transient
from sslmd.core.holds import CaHold
from sslmd.core.limits import names_mark
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, FailedValidation, Issuance, OrderMade, SetNote, TrialKind
from sslmd.daemon.registry import Entry, entry_of
from sslmd.store.layout import OrderFolders
from sslmd.workers.may_order import MayOrder, check_issued, count_offered
from tests.reasons import because
from tests.stand.tools import NOW, WEB, Site

HOUR = timedelta(hours=1)


class Case:
    """An attempt at Let's Encrypt for a certificate of the small site."""

    def __init__(self, top: Path) -> None:
        self.site = Site(top)
        tools = self.site.tools
        config = tools.site.config
        ca = CaInfo("le", CaKind.ACME, server=LETS_ENCRYPT)
        spec = replace(config.services[WEB].spec, signer=AcmeCa("le"))
        service = replace(config.services[WEB], spec=spec)
        services = {**config.services, WEB: service}
        tools.site.config = replace(config, cas={**config.cas, "le": ca}, services=services)
        home = top / "cb"
        home.mkdir()
        self.place = OrderFolders(str(home), str(home / "order/set"))
        server = AcmeServer(LETS_ENCRYPT, None, Validation.DNS_01)
        self.attempt = Attempt(service, server, self.place, b"")
        self.ordering = tools.ordering
        self.state = CertState()
        self.ordering.standings.state_of = lambda _: self.state
        self.ordering.standings.every = lambda: [self.entry]
        self.ordered: list[tuple[OrderMade, str]] = []
        self.ordering.telling.ordered = lambda _, made, what: self.ordered.append((made, what))
        self.counted: list[tuple[str, ...]] = []
        self.ordering.telling.count = lambda _, names: self.counted.append(names)
        self.permit = MayOrder(self.attempt, self.ordering)

    @property
    def entry(self) -> Entry:
        config = self.site.tools.site.config
        return entry_of(config, config.services[WEB], self.state, None)

    def issued(self, number: int) -> None:
        mark = names_mark(str(name) for name in self.attempt.service.spec.all_names())
        made = tuple(Issuance(f"{one}", LETS_ENCRYPT, mark, NOW - HOUR) for one in range(number))
        self.state = replace(self.state, issued=made)

    def window(self, begin: datetime, end: datetime) -> None:
        advice = Advice(NOW, NOW, begin, end)
        self.state = replace(self.state, curr_note=SetNote(0.0, ca="le", ari=advice))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_an_order_is_counted_when_it_is_sent_and_told_again_it_is_the_same(case: Case) -> None:
    at = case.permit.sends("aki.serial")
    case.permit.was_sent(at)
    made = OrderMade(LETS_ENCRYPT, NOW)
    assert case.ordered == [(made, "aki.serial"), (made, "")]


def test_what_the_ca_said_to_another_meanwhile_is_heard(case: Case) -> None:
    hold = CaHold(LETS_ENCRYPT, NOW + HOUR, "orders", at=NOW)
    case.ordering.standings.held = lambda *_: (because("the CA wants to be left alone"), hold)
    with pytest.raises(Paced, match="left alone") as paced:
        case.permit.sends("")
    assert (paced.value.limit, paced.value.retry_at) == ("orders", NOW + HOUR)
    assert case.ordered == []


def test_an_order_that_replaces_is_free_within_the_window_alone(case: Case) -> None:
    case.issued(5)
    case.window(NOW - HOUR, NOW + HOUR)
    case.permit.sends("aki.serial")
    with pytest.raises(Transient, match="5 of 5"):
        case.permit.sends("")  # it was refused as a replacement
    for begin, end in ((NOW - 2 * HOUR, NOW - HOUR), (NOW + HOUR, NOW + 2 * HOUR)):
        case.window(begin, end)
        with pytest.raises(Transient, match="5 of 5"):
            case.permit.sends("aki.serial")
    case.state = replace(case.state, curr_note=None)
    with pytest.raises(Transient, match="5 of 5"):
        check_issued(case.attempt, case.ordering, "aki.serial")
    assert len(case.ordered) == 1


async def test_failures_of_others_with_the_account_count_for_what_was_cut_short(case: Case) -> None:
    failed = [FailedValidation("example.com", NOW - HOUR / 2) for _ in range(4)]
    certbot.note_offered(case.place, ["example.com"])
    await count_offered(case.attempt, case.ordering)
    assert case.counted == [("example.com",)]
    assert certbot.offered(case.place) == ()

    case.ordering.standings.failed_beside = lambda _: tuple(failed)
    certbot.note_offered(case.place, ["example.com", "www.example.com"])
    with pytest.raises(Transient, match="were cut short too often") as refused:
        await count_offered(case.attempt, case.ordering)
    assert refused.value.retry_at == NOW + HOUR / 2
    certbot.note_offered(case.place, ["www.example.com"])
    await count_offered(case.attempt, case.ordering)

    certbot.note_offered(case.place, ["example.com"])
    await count_offered(replace(case.attempt, trial=TrialKind.TEST), case.ordering)
