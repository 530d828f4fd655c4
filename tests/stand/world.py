"""A simulated world for decisions: certificates without cryptography, on a virtual clock.

It carries out what `decide` says, with random failures, sleeps and clock jumps, and remembers
what was ordered and when.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sslmd.core.errors import JITTER, Failure, Trouble, wait_after
from sslmd.core.events import (
    Asked,
    AttemptFailed,
    BackOnDeck,
    CertIssued,
    Event,
    KeyMade,
    OffDeck,
    ProdUpdated,
    Rolled,
    ServersProven,
    ServerTold,
    Settled,
)
from sslmd.core.jobs import (
    Certify,
    CertJob,
    Deliver,
    MakeKey,
    Order,
    Prove,
    PutBack,
    Restart,
    Roll,
    Settle,
    TakeOff,
    track,
)
from sslmd.core.lifecycle import advance
from sslmd.core.names import CertId, SetName
from sslmd.core.plan import decide
from sslmd.core.renewal import Wanted, signs_until, why_unusable
from sslmd.core.spec import (
    CaOptions,
    CertFacts,
    CertSpec,
    KeySpec,
    KeyType,
    OwnCa,
    SelfSigned,
    SetFacts,
    Signer,
    Subject,
    Timing,
    parts_asked,
)
from sslmd.core.state import (
    Ask,
    CertState,
    Delivered,
    Request,
    Server,
    ServerPhase,
    SetNote,
    Track,
)
from sslmd.core.view import CaAbove, Decision, View, due
from tests.stand.hosts_decided import decided, next_look

START = datetime(2026, 1, 1, tzinfo=UTC)
EC = KeySpec(KeyType.EC, curve="secp384r1")


def days(number: float) -> timedelta:
    return timedelta(days=number)


def wanted(
    cert: str,
    *,
    signer: Signer,
    life: float | None = None,
    renew: float = 30,
    spread: float = 0,
    min_roll: float = 90,
    dane: bool = False,
    fingerprint: str = "as first written",
) -> Wanted:
    """A configuration of one certificate; `life` (days) makes it a CA that signs that long."""
    cert_id = CertId.parse(cert)
    ca = None if life is None else CaOptions(days(life), "sha384", None)
    spec = CertSpec(cert_id, "", EC, Subject(cert_id.service), (), signer, ca=ca)
    timing = Timing(days(renew), days(spread), timedelta(minutes=min_roll))
    names = frozenset() if ca else frozenset({f"{cert_id.service}.example"})
    return Wanted(spec, timing, names, fingerprint, dane=dane)


def facts(
    want: Wanted,
    made: datetime,
    *,
    cert: tuple[datetime, datetime] | None = None,
    problem: str = "",
) -> SetFacts:
    """A set made at `made`, with a certificate if its validity is given."""
    names = tuple(sorted(want.names))
    x509 = None
    if cert is not None:
        subject, issuer = f"CN={want.spec.id.service}", f"CN={want.spec.signer}"
        if isinstance(want.spec.signer, SelfSigned):
            issuer = subject
        is_ca = want.spec.ca is not None
        x509 = CertFacts("01", *cert, names, subject, issuer, str(EC), is_ca)
    return SetFacts(
        SetName.at(made), str(EC), want.names, x509, problem or ("" if cert else "no cert.pem")
    )


@dataclass
class Given:
    """One certificate that a CA gave out. `ca_due`: when that CA is due, itself."""

    at: datetime
    due: datetime | None
    replaced: CertFacts | None
    until: datetime
    ca_due: datetime | None


@dataclass
class World:
    """Certificates and a clock. `trouble` is the chance that a job fails."""

    wants: dict[CertId, Wanted]
    rng: random.Random
    trouble: float = 0.0
    now: datetime = START
    states: dict[CertId, CertState] = field(default_factory=dict)
    orders: dict[CertId, list[Given]] = field(default_factory=lambda: defaultdict(list))
    expired: list[str] = field(default_factory=list)
    sets: dict[tuple[CertId, SetName], SetFacts] = field(default_factory=dict)
    jobs: int = 0
    restarts: int = 0
    _wakes: list[tuple[datetime, CertId]] = field(default_factory=list)
    _first: dict[CertId, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = {cert: CertState() for cert in self.wants}
        self.below: dict[CertId, list[CertId]] = defaultdict(list)
        for cert, want in self.wants.items():
            if isinstance(want.spec.signer, OwnCa):
                self.below[want.spec.signer.cert].append(cert)
        for cert in self.wants:
            self.wake(cert, self.now)

    def wake(self, cert: CertId, when: datetime) -> None:
        if cert not in self._first or when < self._first[cert]:
            self._first[cert] = when
            heapq.heappush(self._wakes, (when, cert))

    def replan(self) -> None:
        """What the daemon does after a sleep or a clock jump."""
        for cert in self.wants:
            self.wake(cert, self.now)

    def go_back(self, cert: CertId) -> bool:
        """An admin wants what was in use before; return whether that is accepted."""
        state = self.states[cert]
        prev = self.sets.get((cert, state.prev)) if state.prev else None
        # What fails with an error of our own is tried again after a day.
        if prev is None or state.ask is not None or why_unusable(prev, self.now + days(2)):
            return False
        self._apply(cert, Asked(Ask(Request.ROLL, self.now, back=prev.name)))
        return True

    def view(self, cert: CertId) -> View:
        want = self.wants[cert]
        servers = frozenset() if want.spec.ca else frozenset({("web", "localhost")})
        return View(want, self.states[cert], self._ca_of(want), servers)

    def _ca_of(self, want: Wanted) -> CaAbove | None:
        if not isinstance(want.spec.signer, OwnCa):
            return None
        above = want.spec.signer.cert
        its = self.wants.get(above)
        return CaAbove(above, its, self.states.get(above), self._ca_of(its) if its else None)

    def run_until(self, end: datetime) -> None:
        """Let everything happen that happens before `end`."""
        while self._wakes and self._wakes[0][0] <= end:
            when, cert = heapq.heappop(self._wakes)
            if self._first.get(cert) != when:
                continue
            del self._first[cert]
            self.now = max(self.now, when)
            self._check_expiry(cert)
            self._step(cert)
        self.now = max(self.now, end)

    def _check_expiry(self, cert: CertId) -> None:
        curr = self.states[cert].curr
        if curr is not None and curr.cert is not None and curr.cert.not_after <= self.now:
            self.expired.append(f"{cert} at {self.now}")

    def _step(self, cert: CertId) -> None:
        decision = decide(self.view(cert), self.now)
        event = decision.advertised or decision.event
        if event is not None:
            self._apply(cert, event)
        elif decision.job is not None:
            self._run(cert, decision.job)
        else:
            self._rest(cert, decision)

    def _rest(self, cert: CertId, decision: Decision) -> None:
        if decision.wake_at is not None:
            assert decision.wake_at > self.now, f"{cert} would spin: {decision}"
            self.wake(cert, decision.wake_at)
        found = decided([(cert, self.states[cert])], ["web"], self.now)
        if jobs := [one.job for one in found.values() if isinstance(one.job, Restart)]:
            for job in jobs:
                self._restart(cert, job)
            found = decided([(cert, self.states[cert])], ["web"], self.now)
        again = next_look(found)
        if again is not None:
            self.wake(cert, max(again, self.now + timedelta(seconds=1)))

    def _apply(self, cert: CertId, event: Event) -> None:
        self.states[cert] = advance(self.states[cert], event)
        self.wake(cert, self.now)
        for child in self.below[cert]:
            self.wake(child, self.now)

    def _run(self, cert: CertId, job: CertJob) -> None:
        self.jobs += 1
        self.now += timedelta(seconds=self.rng.expovariate(1 / 5))
        if self.rng.random() < self.trouble:
            self._apply(cert, self._failure(cert, job))
            return
        self._apply(cert, self._work(cert, job))

    def _failure(self, cert: CertId, job: CertJob) -> AttemptFailed:
        state, what = self.states[cert], track(job)
        old = state.trouble if what is Track.RENEW else state.delivery_trouble
        attempts = old.attempts + 1 if old else 1
        kind = Failure.TRANSIENT if self.rng.random() < 0.95 else Failure.BUG
        again = self.now + wait_after(kind, attempts) * (1 + JITTER * self.rng.random())
        fingerprint = self.wants[cert].fingerprint
        trouble = Trouble(attempts, kind, "simulated", self.now, again, fingerprint)
        return AttemptFailed(what, trouble)

    def _work(self, cert: CertId, job: CertJob) -> Event:
        want, state, now = self.wants[cert], self.states[cert], self.now
        match job:
            case MakeKey():
                note = SetNote(0.0, new_key=job.new_key, at_end=job.at_end)
                return KeyMade(now, self._keyed(cert, job), note, job.reason)
            case Certify() | Order():
                return self._issue(cert, want, state)
            case Roll():
                assert state.next is not None
                assert state.next.complete
                return Rolled(now)
            case PutBack():
                note = SetNote(0.0, job.set.time)
                return BackOnDeck(now, self.sets[cert, job.set], note, job.reason)
            case TakeOff():
                assert state.next is not None
                assert state.next.name == job.set
                return OffDeck(now)
            case Deliver():
                assert job.curr is not None
                servers = tuple(
                    Server(kind, host, ServerPhase.DELIVERED, job.curr)
                    for kind, host in self.view(cert).servers
                )
                return ProdUpdated(now, Delivered(job.curr, job.next), servers)
            case Prove():
                return ServersProven(now)
            case Settle():
                return Settled(now, state.prev)

    def _keyed(self, cert: CertId, job: MakeKey) -> SetFacts:
        """A set with a key; of a CA it is known which."""
        want, state = self.wants[cert], self.states[cert]
        made = facts(want, self.now)
        if want.spec.ca is None:
            return made
        old = state.curr.key_id if state.curr is not None else ""
        assert not job.reuse or old
        return replace(made, key_id=old if job.reuse else f"key {self.jobs}")

    def _known(self, fresh: SetFacts, state: CertState, want: Wanted) -> SetFacts:
        """A set with its certificate, and what is known of its CA and, of a CA, of itself."""
        assert fresh.cert is not None
        assert state.next is not None
        if want.spec.ca is not None:
            key = state.next.key_id
            identity = f"{want.spec.id}: {key}"
            cert = replace(
                fresh.cert, identity=identity, key_id=key, parts=parts_asked(want.spec.subject)
            )
            fresh = replace(fresh, cert=cert, key_id=key, signer=identity)
        if not isinstance(want.spec.signer, OwnCa):
            return fresh
        ca = self.states[want.spec.signer.cert].curr
        assert ca is not None
        assert ca.cert is not None
        above = self.wants[want.spec.signer.cert]
        end = None if isinstance(above.spec.signer, SelfSigned) else signs_until(ca)
        return replace(fresh, signer=ca.cert.identity, chain_end=end)

    def _issue(self, cert: CertId, want: Wanted, state: CertState) -> Event:
        assert state.next is not None
        assert state.next.cert is None, f"{cert}: ordered twice"
        life, end = days(90), None
        if want.spec.ca is not None and isinstance(want.spec.signer, SelfSigned):
            life = want.spec.ca.life
        elif isinstance(want.spec.signer, OwnCa):
            above = self.wants[want.spec.signer.cert].spec.ca
            ca_curr = self.states[want.spec.signer.cert].curr
            assert above is not None
            assert ca_curr is not None
            assert ca_curr.cert is not None
            life, end = above.life, signs_until(ca_curr)
            assert end is not None
            assert end > self.now, f"{cert}: signed by an expired CA"
        not_after = min(self.now + life, end) if end else self.now + life
        old = state.curr.cert if state.curr else None
        self.orders[cert].append(
            Given(self.now, due(state, want), old, not_after, self._due_of(want))
        )
        fresh = facts(want, state.next.name.time, cert=(self.now - timedelta(minutes=5), not_after))
        fresh = self._known(fresh, state, want)
        made = state.next_note or SetNote(0.0)
        note = replace(
            made, draw=self.rng.uniform(-1, 1), issued_at=self.now, ca=str(want.spec.signer)
        )
        self.sets[cert, fresh.name] = fresh
        return CertIssued(self.now, fresh, note)

    def _due_of(self, want: Wanted) -> datetime | None:
        """When the CA that signs is due."""
        signer = want.spec.signer
        if not isinstance(signer, OwnCa):
            return None
        return due(self.states[signer.cert], self.wants[signer.cert])

    def _restart(self, cert: CertId, job: Restart) -> None:
        self.restarts += 1
        for server in self.states[cert].servers:
            failed = self.rng.random() < self.trouble
            told = replace(server, phase=ServerPhase.PROVEN, error="", next_try=None)
            if failed:
                again = self.now + wait_after(Failure.TRANSIENT, server.attempts + 1)
                told = replace(
                    server,
                    phase=ServerPhase.FAILED,
                    error="simulated",
                    next_try=again,
                    attempts=server.attempts + 1,
                )
            self._apply(cert, ServerTold(self.now, told))
