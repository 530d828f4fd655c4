"""Everything of a CA is replaced: nothing is ordered twice, refused ones are counted, time is told.

The methods of the socket are called directly. A hub that is not started orders nothing: what then
happens, the test says.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from sslmd.config.model import CaInfo, CaKind, Engines
from sslmd.core.buckets import CaLimit, Rate
from sslmd.core.errors import Failure, RateLimited, Trouble
from sslmd.core.events import AskDropped, Asked, Event
from sslmd.core.names import CertId, GroupName, SetName
from sslmd.core.plan import decide
from sslmd.core.reason import Ended, Reason
from sslmd.core.spec import AcmeCa, CertFacts, SetFacts
from sslmd.core.state import Ask, CertState, Phase, Request, SetNote, TrialKind
from sslmd.core.told import Denied
from sslmd.daemon.api.asking import Asking, Batch
from sslmd.daemon.api.replacing import Replacing, rows, standings
from sslmd.daemon.api.requests import Requests
from sslmd.daemon.api.server import Client
from sslmd.daemon.hub import Hub
from sslmd.daemon.ledger import Ledger
from sslmd.daemon.order_work import places_of, work_of
from sslmd.daemon.tell.journal import Bus
from sslmd.wire.messages import Method, Outcome, RpcRequest, WireError
from sslmd.wire.params import Params
from sslmd.workers.dispatch import work
from tests.daemon.test_urgent import MIN_ROLL, SATURDAY_OPENS, Incident, Site
from tests.reasons import because
from tests.stand.tools import INT, Open, Tools, believe
from tests.stand.tools import Site as TreeSite

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
CA, TEST = "https://ca.example/dir", "https://test.example/dir"
LE = CaInfo("le", CaKind.ACME, server=CA, test_server=TEST)
BAD = because("its files do not fit")


class Told:
    """A client that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def notify(self, *what: Any) -> None:
        self.told.append(what)


class Noted(Ledger):
    """Writes nothing."""

    async def written(self, cert: CertId) -> None:
        return


def asking(hub: Hub) -> Replacing:
    return Replacing(hub, Requests(hub, Asking(hub)))


async def call(replacing: Replacing, **params: Any) -> dict[str, Any]:
    request = Params(RpcRequest(1, Method.REPLACE, {"wait": False, **params}))
    return await replacing.replace(cast(Client, Told()), request)


def outcomes(answer: dict[str, Any]) -> dict[str, str]:
    return {row["cert"]: row["outcome"] for row in answer["certs"]}


class Stand:
    """Four certificates of the example, by ACME CAs; the clock is `now`."""

    def __init__(self, tools: Tools) -> None:
        self.now = NOW
        self.site = tools.site
        self.site.now = lambda: self.now
        self.hub = Hub(tools.site, tools.threads, tools.standings, tools.telling, Bus(), 2)
        self.hub.load()
        self.hub.ledger = Noted(tools.site, lambda _: None, lambda *_: None)
        self.certs = [c for c in self.hub.registry if c.group != GroupName.CA]
        self.use(LE)

    def use(self, *cas: CaInfo) -> None:
        """Have the certificates be of these CAs, in turn."""
        others = {name: one for name, one in self.site.config.cas.items() if name != "le"}
        self.site.config = replace(
            self.site.config, cas={**others, **{one.name: one for one in cas}}
        )
        for number, cert in enumerate(self.certs):
            entry = self.hub.registry[cert]
            spec = replace(entry.wanted.spec, signer=AcmeCa(cas[number % len(cas)].name))
            names = frozenset({f"{cert.service}.{cert.group}"})
            believe(self.hub.registry, cert, wanted=replace(entry.wanted, spec=spec, names=names))

    async def replace(self, **params: Any) -> dict[str, Any]:
        return await call(asking(self.hub), **(params or {"ca": "le"}))

    def state(self, cert: CertId) -> CertState:
        return self.hub.registry[cert].state

    def set_of(self, cert: CertId, at: datetime) -> SetFacts:
        names = self.hub.registry[cert].wanted.names
        x509 = CertFacts("01", at, at + timedelta(days=90), tuple(names), "", "CN=CA", "", False)
        return SetFacts(SetName.at(at), "", names, x509, "")

    def issued(self, cert: CertId, at: datetime, *, in_use: bool = False) -> None:
        """Have it got what was asked for."""
        made, note = self.set_of(cert, at), SetNote(0.0, at, "le")
        old = self.set_of(cert, NOW - timedelta(days=60))
        known = CertState(Phase.ADVERTISED, old, made, curr_note=SetNote(0.0), next_note=note)
        if in_use:
            known = CertState(Phase.SETTLED, made, curr_note=note)
        believe(self.hub.registry, cert, state=known)


@pytest.fixture
def stand(tools: Tools) -> Stand:
    return Stand(tools)


# --- once more ----------------------------------------------------------------------------------


async def test_what_was_done_since_it_was_asked_for_is_left_alone(stand: Stand) -> None:
    first, second, third, fourth = stand.certs
    assert set(outcomes(await stand.replace()).values()) == {Outcome.ACCEPTED}
    asked = stand.state(fourth).ask
    stand.issued(first, NOW + MINUTE)
    stand.issued(second, NOW + MINUTE, in_use=True)
    stand.issued(third, NOW - MINUTE)  # just before
    stand.now += HOUR
    (ahead,) = (await stand.replace(ca="le", forecast=True))["forecast"]
    assert ahead["number"] == 2
    again = await stand.replace()
    assert outcomes(again) == {
        str(first): Outcome.UNNEEDED,
        str(second): Outcome.UNNEEDED,
        str(third): Outcome.ACCEPTED,
        str(fourth): Outcome.ACCEPTED,
    }
    codes = {row["cert"]: row["reason_code"] for row in again["certs"]}
    assert codes[str(first)] == codes[str(second)] == Ended.MADE_SINCE
    assert stand.state(first).ask is None
    # What waits is not begun again with another key.
    assert stand.state(fourth).ask == asked
    (standing,) = standings(stand.hub, stand.now)
    assert (standing.asked, standing.number, standing.done, standing.waiting) == (NOW, 4, 2, 2)
    # When all of it is done, it can be asked for anew.
    for cert in stand.certs:
        stand.issued(cert, stand.now, in_use=True)
    stand.now += HOUR
    assert set(outcomes(await stand.replace()).values()) == {Outcome.ACCEPTED}
    assert {stand.state(cert).ask for cert in stand.certs} != {None}
    (standing,) = standings(stand.hub, stand.now)
    assert (standing.asked, standing.done) == (stand.now, 0)


async def test_that_they_are_revoked_can_be_said_later(stand: Stand) -> None:
    on_deck, in_use, *others = stand.certs
    await stand.replace()
    stand.issued(on_deck, NOW + MINUTE)
    stand.issued(in_use, NOW + MINUTE, in_use=True)
    stand.now += HOUR
    for _ in range(2):  # the second has nothing more to say
        again = outcomes(await stand.replace(ca="le", revoked=True))
        assert again[str(in_use)] == Outcome.UNNEEDED
        state = stand.state(on_deck)
        assert state.shows_revoked  # no window is waited for
        assert state.next is not None
        dropped = decide(stand.hub.registry.view(on_deck), stand.now).event
        if state.ask is not None:
            assert isinstance(dropped, AskDropped)
            assert dropped.reason.code is Ended.ALREADY_ON_DECK
            stand.hub.registry.put(on_deck, dropped)
    assert again[str(on_deck)] == Outcome.UNNEEDED
    assert not stand.state(in_use).shows_revoked
    for cert in others:
        ask = stand.state(cert).ask
        assert ask is not None
        assert (ask.at, ask.revoked) == (NOW, True)


# --- how far it is --------------------------------------------------------------------------------


async def test_refused_cancelled_and_failed_ones_are_not_done(stand: Stand) -> None:
    held, cancelled, failed, done = stand.certs
    believe(stand.hub.registry, held, hold=BAD)
    assert outcomes(await stand.replace())[str(held)] == Outcome.FAILED
    stand.hub.registry.put(cancelled, AskDropped(stand.now, Reason(Ended.CANCELLED)))
    stand.now += MINUTE
    trouble = Trouble(1, Failure.TRANSIENT, "no", stand.now, stand.now + HOUR, "")
    believe(stand.hub.registry, failed, state=replace(stand.state(failed), trouble=trouble))

    def counts() -> tuple[int, int, int, int]:
        (one,) = standings(stand.hub, stand.now)
        return one.done, one.waiting, one.failed, one.refused

    assert counts() == (0, 1, 1, 2)
    stand.issued(done, stand.now)
    assert counts() == (1, 0, 1, 2)
    (row,) = rows(stand.hub)
    facts = row["text_facts"]
    assert (facts["done"], facts["failed"], facts["refused"], facts["number"]) == (1, 1, 2, 4)
    assert (await stand.replace())["forecast"][0]["number"] == 3


# --- how long it takes ----------------------------------------------------------------------------


async def latest(stand: Stand, **params: Any) -> list[timedelta]:
    answer = await stand.replace(**params, forecast=True)
    times = [datetime.fromisoformat(one["text_facts"]["at"]) for one in answer["forecast"]]
    return [at - stand.now for at in sorted(times)]


async def test_two_tables_of_one_ca_share_its_limits(stand: Stand) -> None:
    table = replace(LE, limits=((CaLimit.ORDERS, Rate(1, HOUR)),))
    stand.use(table, replace(table, name="le-short"))
    (alone,) = await latest(stand, ca="le")
    assert HOUR < alone < HOUR * 1.1  # two of its own
    first, last = await latest(stand, all=True)
    assert HOUR < first < last
    assert HOUR * 3 < last < HOUR * 3.1
    # Also what was asked for before, of the other table, and comes first.
    await stand.replace(ca="le-short", revoked=True)
    (behind,) = await latest(stand, ca="le")
    assert behind > HOUR * 2
    apart = replace(table, name="le-short", server="https://other.example/dir")
    stand.use(table, apart)
    assert max(await latest(stand, all=True)) < HOUR * 1.1


async def test_what_a_ca_wants_to_be_left_alone_with_is_waited_for(stand: Stand) -> None:
    pacing = stand.hub.certs.pacing
    refused = RateLimited("enough", CaLimit.ORDERS, retry_at=stand.now + HOUR)
    assert pacing.held(stand.certs[0], refused)
    assert min(await latest(stand, ca="le")) > HOUR


def test_the_engine_has_other_places_than_certbot() -> None:
    certbot = replace(LE, engine=Engines.CERTBOT)
    assert places_of(LE) > 100 * places_of(certbot)
    for ca in (LE, certbot):
        least, most = work_of(ca, timedelta(minutes=4))
        assert timedelta(minutes=4) < least.each < most.each
    busy, calm = (work_of(replace(LE, requests=one), timedelta())[0] for one in (32, 1))
    assert places_of(LE) > busy.places > calm.places > places_of(certbot)


async def test_a_forecast_says_what_bounds_it(stand: Stand) -> None:
    certbot = replace(LE, engine=Engines.CERTBOT)
    for ca, places in ((LE, None), (certbot, None)):
        stand.use(ca)
        (one,) = (await stand.replace(ca="le", forecast=True))["forecast"]
        facts = one["text_facts"]
        assert facts.get("places") == places
        assert facts["least"] < facts["span"]
    stand.use(replace(certbot, limits=((CaLimit.ORDERS, Rate(1, HOUR)),)))
    (one,) = (await stand.replace(ca="le", forecast=True))["forecast"]
    facts = one["text_facts"]
    assert (facts["limit"], facts["most"]) == (CaLimit.ORDERS, 1)
    assert "least" not in facts  # a minute more or less of three hours


# --- what can be asked for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"ca": "nobody"}, Denied.NOTHING_OF_CA),
        ({"ca": "le", "all": True}, Denied.CA_OR_ALL),
        ({"revoked": True}, Denied.CA_OR_ALL),
        ({"ca": "le", "dry_run": True, "revoked": True}, Denied.DRILL_REVOKED),
        ({"ca": "my-int", "dry_run": True}, Denied.NOTHING_OF_CA),
    ],
)
async def test_refused(stand: Stand, params: dict[str, Any], code: Denied) -> None:
    with pytest.raises(WireError) as err:
        await stand.replace(**params)
    assert err.value.data is not None
    assert err.value.data["reason_code"] == code
    assert all(entry.state.ask is None for entry in stand.hub.registry.entries.values())


def asked(stand: Stand) -> Collection[CertId]:
    return {c for c, entry in stand.hub.registry.entries.items() if entry.state.ask is not None}


async def test_all_leaves_the_sites_own_cas(stand: Stand) -> None:
    entry = stand.hub.registry[stand.certs[0]]
    signed = stand.hub.registry[INT].wanted.spec.signer
    spec = replace(entry.wanted.spec, signer=signed)  # of the root
    believe(stand.hub.registry, stand.certs[0], wanted=replace(entry.wanted, spec=spec))
    answer = await stand.replace(all=True)
    assert asked(stand) == set(stand.certs)
    assert {one["ca"] for one in answer["forecast"]} == {"le", "my-root"}


async def test_an_own_ca_by_its_name(stand: Stand) -> None:
    answer = await stand.replace(ca="my-root")
    assert asked(stand) == {INT}
    assert answer["forecast"][0]["number"] == 1


async def test_a_drill_changes_nothing(stand: Stand) -> None:
    answer = await stand.replace(ca="le", dry_run=True)
    assert set(outcomes(answer).values()) == {Outcome.ACCEPTED}
    assert not asked(stand)
    for cert in stand.certs:
        trial = stand.state(cert).trial
        assert trial is not None
        assert trial.kind is TrialKind.DRY_RUN
    assert standings(stand.hub, stand.now) == []
    again = await stand.replace(ca="le", dry_run=True)
    assert set(outcomes(again).values()) == {Outcome.WAITING}


# --- a restart in the middle ----------------------------------------------------------------------

_MAIL = """\
name = 'Mail'
group = 'example.com'
service = 'mail'
signing_ca = 'my-int'

[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp256r1'

[X509]
    CN = 'mail.example.com'
    sans = ['mail.example.com']
"""


async def test_a_restart_in_the_middle(tmp_path: Path) -> None:
    """What was asked for, and what was issued since, is noted: the rest goes on, once."""
    site = await TreeSite(tmp_path, files={"example.com/mail": _MAIL}).with_cas()
    web, mail = CertId("example.com", "web"), CertId("example.com", "mail")
    for cert in (web, mail):
        await site.renew(cert)
        site.save(cert)
    site.later(days=1)
    tools = site.tools

    def started() -> Hub:
        hub = Hub(tools.site, tools.threads, tools.standings, tools.telling, Bus(), 2)
        tools.standings.state_of = lambda cert: hub.registry[cert].state
        hub.load()
        # At once: no loop turns here.
        hub.registry.listen(lambda *_: hub.ledger.write())
        hub.ledger.start()
        return hub

    async def one(hub: Hub, cert: CertId) -> None:
        """Do what the loop would, until it is renewed."""
        while hub.registry[cert].state.ask is not None:
            decision = decide(hub.registry.view(cert), site.now)
            event: Event | None = decision.event
            if event is None:
                assert decision.job is not None
                event = await work(decision.job, tools.ordering, tools.delivering, Open())
            hub.registry.put(cert, event)

    hub = started()
    assert set(outcomes(await call(asking(hub), ca="my-int")).values()) == {Outcome.ACCEPTED}
    began = site.now
    site.later(minutes=1)
    await one(hub, web)
    await hub.stop(1.0)

    site.later(hours=1)
    hub = started()
    (standing,) = standings(hub, site.now)
    assert (standing.asked, standing.number, standing.done, standing.waiting) == (began, 2, 1, 1)
    again = outcomes(await call(asking(hub), ca="my-int"))
    assert again == {str(web): Outcome.UNNEEDED, str(mail): Outcome.ACCEPTED}
    await one(hub, mail)
    assert standings(hub, site.now) == []
    assert all(hub.registry[cert].state.ask is None for cert in (web, mail))
    await hub.stop(1.0)


# --- through a shut window ------------------------------------------------------------------------


def ask_all(zone: Incident, *, revoked: bool) -> None:
    """Ask for all certificates of a zone, as the method does."""
    which = tuple(cert.id for cert in zone.certs)
    batch = Batch(which, zone.wall(), len(which), revoked)
    for cert in zone.certs:
        ask = batch.ask(cert.entry.state, Ask(Request.RENEW, zone.wall(), force=True))
        assert isinstance(ask, Ask)
        zone.apply(cert, Asked(ask))


async def test_what_is_revoked_is_rolled_through_a_shut_window() -> None:
    """It is a Thursday; windows open on Saturday. What is only replaced waits for them."""
    site = Site(5, 6)
    await site.settle()
    first, orders = site.now, len(site.orders)
    revoked, others = site.zones[::2], site.zones[1::2]
    for zone in site.zones:
        ask_all(zone, revoked=zone in revoked)
    await site.turn()
    # Those that are revoked came first, and nothing is lost by a restart.
    half = len(revoked) * len(revoked[0].certs)
    assert {site.at[cert][0] for cert in site.orders[orders : orders + half]} == set(revoked)
    for zone in site.zones:
        zone.restart_daemon()
    while not all(zone.rests for zone in revoked):
        await site.turn()
        assert site.now - first < 86_400
    for zone in revoked:
        for cert in zone.certs:
            assert zone.rolled[cert.id] >= zone.issued[cert.id] + MIN_ROLL
            assert zone.rolled[cert.id] < SATURDAY_OPENS - timedelta(days=1)
            assert not cert.entry.state.shows_revoked
    for zone in others:
        assert all(zone.rolled[cert.id] < zone.issued[cert.id] for cert in zone.certs)
        assert all(cert.entry.state.phase is Phase.ADVERTISED for cert in zone.certs)
    assert len(site.orders) == 2 * orders
