"""A CA wants a thousand certificates with DANE replaced now: the year's prober sees no failure.

Zones, name servers, caches and mail servers are those of the DANE year, on one virtual clock. Jobs
of all zones go through the daemon's own queue. It is a Thursday, and windows open on Saturday.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sslmd.core.ari import Life, WindowAnswer, looked
from sslmd.core.events import Advised, CertIssued, KeyMade, ServerTold
from sslmd.core.jobs import CertJob, Job, MakeKey, Order, Pool
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.renewal import CA_WISHES, hurry_since
from sslmd.core.spec import AcmeCa
from sslmd.core.state import Phase, ServerPhase, SetNote
from sslmd.daemon.queue import JobQueue
from tests.core.test_ari import SATURDAY
from tests.daemon.test_dane_year import Cert, Year, violations
from tests.stand.world import days, facts

ZONES, CERTS = 200, 5
MINUTE = timedelta(minutes=1)
MIN_ROLL = 90 * MINUTE
SATURDAY_OPENS = datetime(2026, 1, 3, 1, tzinfo=UTC)
PLACES = 4

# Seconds between two looks.
LOOK = 1500.0


class Incident(Year):
    """One zone whose certificates come from an ACME CA, and are rolled on Saturdays."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self.group = f"z{number}.example"
        super().__init__(rng, CERTS, ahead=False)
        self.lags = [1]
        self.issued: dict[CertId, datetime] = {}
        self.rolled: dict[CertId, datetime] = {}

    def _cert(self, number: int, *, ahead: bool) -> Cert:
        cert = super()._cert(number, ahead=ahead)
        name = replace(cert.id, service=f"{cert.id.service}-{self.group}")
        spec = replace(cert.service.spec, id=name, signer=AcmeCa("le"))
        timing = replace(cert.service.timing, min_roll=MIN_ROLL)
        cert.service = replace(cert.service, spec=spec, timing=timing)
        want = replace(cert.entry.wanted, spec=spec, timing=timing, roll_windows=((SATURDAY,),))
        cert.entry = replace(cert.entry, wanted=want)
        return cert

    @property
    def is_settled(self) -> bool:
        return all(cert.entry.state.phase is Phase.SETTLED for cert in self.certs)

    @property
    def rests(self) -> bool:
        """Whether there is nothing to do, and DNS shows what it should."""
        seen = self.zone.sighting is not None and self.zone.sighting.complete
        states = [(cert.entry.state, cert.entry.wanted) for cert in self.certs]
        return seen and self.is_settled and not any(hurry_since(*one) for one in states)

    def next_job(self, cert: Cert) -> CertJob | None:
        """Return what is to be done now."""
        while True:
            decision = decide(self.view(cert), self.wall())
            event = decision.advertised or decision.event
            if event is None:
                return decision.job
            self.apply(cert, event)

    def do(self, cert: Cert, job: CertJob) -> None:
        """Do it."""
        state, at, want = cert.entry.state, self.wall(), cert.entry.wanted
        if isinstance(job, MakeKey):
            wished = at if job.reason.code in CA_WISHES else None
            self.apply(cert, KeyMade(at, facts(want, at), SetNote(0.0, wished=wished), job.reason))
        elif isinstance(job, Order):
            assert state.next is not None
            assert state.next_note is not None
            made = facts(want, at, cert=(at - MINUTE, at + days(90)))
            made = replace(made, name=state.next.name)
            self.issued[cert.id] = at
            note = replace(state.next_note, issued_at=at, ca="le")
            self.apply(cert, CertIssued(at, made, note))
        else:
            self._work(cert, job)
            if cert.entry.state.rolled_at != state.rolled_at:
                self.rolled[cert.id] = at

    def restart_servers(self, cert: Cert) -> None:
        for server in cert.entry.state.servers:
            if server.phase is ServerPhase.PROVEN or cert.down.get(server.host, 0.0) > self.now:
                continue
            if self.rng.random() < 0.1:
                cert.down[server.host] = self.now + self.rng.choice([60, 900])
                continue
            assert server.set is not None
            cert.served.setdefault(server.host, []).append((self.now, server.set))
            proven = replace(server, phase=ServerPhase.PROVEN)
            self.apply(cert, ServerTold(self.wall(), proven))

    def told_now(self, cert: Cert) -> datetime:
        """The CA wants what is in use replaced; return since when."""
        state, now = cert.entry.state, self.wall()
        assert state.curr is not None
        assert state.curr.cert is not None
        end = now - MINUTE * self.rng.randint(1, 10**5)
        window = WindowAnswer((end - 30 * MINUTE).timestamp(), end.timestamp())
        life = Life(state.curr.cert.not_before, state.curr.cert.not_after)
        advice = looked(None, window, life, now)
        self.apply(cert, Advised(now, state.curr.name, advice))
        assert advice.urgent_since is not None
        return advice.urgent_since


class Site:
    """All zones, and the queue before their jobs."""

    def __init__(self, seed: int, number: int = ZONES) -> None:
        self.rng = random.Random(seed)
        zones = [Incident(random.Random(seed + one), one) for one in range(number)]
        self.zones = zones
        self.at = {cert.id: (zone, cert) for zone in zones for cert in zone.certs}
        self.now = 0.0
        self.orders: list[CertId] = []
        places = dict.fromkeys(Pool, PLACES)
        self.queue = JobQueue(self.do, lambda _: None, places, urgency=self.urgency)

    def urgency(self, job: Job) -> datetime | None:
        assert isinstance(job, CertJob)
        entry = self.at[job.cert][1].entry
        return hurry_since(entry.state, entry.wanted)

    async def do(self, job: Job) -> None:
        assert isinstance(job, CertJob)
        zone, cert = self.at[job.cert]
        if isinstance(job, Order):
            self.orders.append(cert.id)
        zone.do(cert, job)

    async def turn(self) -> None:
        """Have done what there is to do at this moment, then look at DNS."""
        awake = busy = [zone for zone in self.zones if not zone.rests]
        while busy:
            jobs = list[CertJob]()
            for zone in busy:
                zone.publish()
                jobs += filter(None, map(zone.next_job, zone.certs))
            self.rng.shuffle(jobs)
            for job in jobs:
                self.queue.submit(job)
            await self.queue.idle()
            worked = {job.cert for job in jobs}
            busy = [zone for zone in awake if any(cert.id in worked for cert in zone.certs)]
            for zone in busy or awake:
                for cert in zone.certs:
                    zone.restart_servers(cert)
        self.now += LOOK
        for zone in self.zones:
            if not zone.rests:
                zone.look()
            zone.pass_time(max(self.now - zone.now, 0.0))

    async def settle(self) -> None:
        """Let time pass until all is settled, at most a day."""
        end = self.now + 86_400.0
        while not all(zone.rests for zone in self.zones):
            assert self.now < end
            await self.turn()


async def test_all_are_rolled_before_saturday_and_no_sender_sees_a_key_without_its_record() -> None:
    site = Site(1)
    await site.settle()
    first = len(site.orders)
    assert first == ZONES * CERTS
    since = {cert.id: zone.told_now(cert) for zone, cert in site.at.values()}
    for zone in site.zones[::3]:
        zone.lags = [1, 5, 60, 600, 3600]
        zone.servers[1].silent_until = zone.now + zone.rng.choice([30, 900, 4000])
    await site.turn()
    # The longest over first; but whoever comes while a place is free has it at once.
    by_urgency = sorted(since, key=lambda cert: since[cert])
    orders = site.orders[first:]
    assert sorted(orders) == sorted(by_urgency)
    places = {cert: place for place, cert in enumerate(by_urgency)}
    late = [cert for at, cert in enumerate(orders) if at > places[cert] + PLACES]
    assert len(late) <= 2 * PLACES
    for zone in site.zones[::5]:
        zone.restart_daemon()
    await site.settle()

    for zone, cert in site.at.values():
        assert zone.rolled[cert.id] >= zone.issued[cert.id] + MIN_ROLL
        assert zone.rolled[cert.id] < SATURDAY_OPENS - days(1)
        assert len({name for _, name in cert.served["mx1"]}) == 2
    assert [one for zone in site.zones for one in violations(zone)] == []
    # Nothing more, whatever the day brings.
    for zone in site.zones:
        zone.pass_time(86_400.0)
    assert [zone.next_job(cert) for zone, cert in site.at.values()] == [None] * len(site.at)
    assert len(site.orders) == 2 * first
