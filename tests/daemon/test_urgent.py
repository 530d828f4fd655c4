"""A thousand certificates that their CA wants replaced now: the queue has the most urgent first."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

from sslmd.core.ari import Life, WindowAnswer, looked
from sslmd.core.events import Advertised, CertIssued, Event, KeyMade, ProdUpdated, Rolled
from sslmd.core.jobs import CertJob, Deliver, Job, MakeKey, Order, Pool, Roll
from sslmd.core.lifecycle import advance
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.renewal import urgent_since
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, Delivered, Phase, SetNote
from sslmd.core.view import View
from sslmd.daemon.queue import JobQueue
from tests.core.test_ari import SATURDAY
from tests.stand.world import START, days, facts, wanted

NUMBER = 1000
MINUTE = timedelta(minutes=1)


class Site:
    """A thousand certificates behind a real queue, on a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = START  # a Thursday
        self.orders: list[CertId] = []
        self.rolls: list[CertId] = []
        self.queue = JobQueue(self.do, lambda _: None, dict.fromkeys(Pool, 4), urgency=self.urgency)
        self.wants = {
            want.spec.id: replace(want, roll_windows=((SATURDAY,),))
            for want in (
                wanted(f"z{number}.example:web", signer=AcmeCa("le")) for number in range(NUMBER)
            )
        }
        self.states = {cert: self.told_now(cert) for cert in self.wants}
        self.since = {cert: self.urgency_of(cert) for cert in self.wants}

    def told_now(self, cert: CertId) -> CertState:
        want, begin = self.wants[cert], self.now - days(10)
        curr = facts(want, begin, cert=(begin, begin + days(90)))
        end = self.now - MINUTE * random.randint(1, 10**5)
        said = WindowAnswer((end - days(1)).timestamp(), end.timestamp())
        advice = looked(None, said, Life(begin, begin + days(90)), self.now)
        note = SetNote(0.0, begin, "le", ari=advice)
        name, held = curr.name, Delivered(curr.name)
        settled = CertState(curr=curr, curr_note=note, deployed=name, settled=name, delivered=held)
        return replace(settled, phase=Phase.SETTLED)

    def urgency_of(self, cert: CertId) -> datetime | None:
        state = self.states[cert]
        return urgent_since(state.curr, state.curr_note, self.wants[cert])

    def urgency(self, job: Job) -> datetime | None:
        assert isinstance(job, CertJob)
        return self.urgency_of(job.cert)

    async def do(self, job: Job) -> None:
        assert isinstance(job, CertJob)
        cert, now = job.cert, self.now
        state, want = self.states[cert], self.wants[cert]
        event: Event
        match job:
            case MakeKey():
                event = KeyMade(now, facts(want, now), SetNote(0.0, wished=now), job.reason)
            case Order():
                self.orders.append(cert)
                assert state.next is not None
                made = facts(want, state.next.name.time, cert=(now, now + days(90)))
                assert state.next_note is not None
                event = CertIssued(now, made, replace(state.next_note, issued_at=now, ca="le"))
            case Roll():
                self.rolls.append(cert)
                event = Rolled(now, job.overrode)
            case Deliver():
                event = ProdUpdated(now, Delivered(job.curr, job.next), ())
            case _:
                raise AssertionError(job)
        self.states[cert] = advance(state, event)

    async def turn(self) -> None:
        """Submit what is to be done now, in any order, and have it done."""
        certs = list(self.states)
        random.shuffle(certs)
        for cert in certs:
            decision = decide(View(self.wants[cert], self.states[cert]), self.now)
            if isinstance(decision.advertised, Advertised):
                self.states[cert] = advance(self.states[cert], decision.advertised)
                decision = decide(View(self.wants[cert], self.states[cert]), self.now)
            if isinstance(decision.job, MakeKey | Order | Roll | Deliver):
                self.queue.submit(decision.job)
        await self.queue.idle()


async def test_all_are_renewed_and_rolled_the_most_urgent_first() -> None:
    site = Site()
    by_urgency = sorted(site.since, key=lambda cert: str(site.since[cert]))
    for _ in range(4):
        await site.turn()
    # Whoever has a place at once has one: then the longest over is first.
    assert sorted(site.orders) == sorted(by_urgency)
    places = {cert: place for place, cert in enumerate(by_urgency)}
    late = [cert for at, cert in enumerate(site.orders) if at > places[cert] + 4]
    assert len(late) <= 8
    assert site.rolls == []
    site.now += 90 * MINUTE  # min_roll_mins; the window opens on Saturday
    for _ in range(3):
        await site.turn()
    assert sorted(site.rolls) == sorted(by_urgency)
    # And nothing more, whatever the day brings.
    for _ in range(20):
        site.now += 60 * MINUTE
        await site.turn()
    assert len(site.orders) == len(site.rolls) == NUMBER
