"""Certificates: what comes next for each, and what its jobs bring about.

`core.plan` says what comes next, from what is wanted, what is there and the time. A job that
fails changes nothing but the `Trouble` beside its certificate (I6); what it left on disk is read
again, so that the plan goes by what is there. Recovery after a crash and normal running are one
path (I5).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sslmd.core.errors import (
    Failure,
    Paced,
    RateLimited,
    SslmError,
    Transient,
    Trouble,
    ValidationFailed,
)
from sslmd.core.events import AttemptFailed, Event, Rolled, TrialEnded
from sslmd.core.jobs import (
    Certify,
    CertJob,
    Deliver,
    Job,
    MakeKey,
    Order,
    Prove,
    PutBack,
    Roll,
    Settle,
    TakeOff,
    Trial,
    pool,
    track,
)
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.reason import Held, Reason, Said, Why
from sslmd.core.state import Track
from sslmd.core.told import Answered, Doing
from sslmd.core.view import Decision, View
from sslmd.core.words.sentence import say
from sslmd.daemon.held import HeldCerts, is_held
from sslmd.daemon.loop import Due, Loop
from sslmd.daemon.pacing import Pacing
from sslmd.daemon.registry import Broken, Decided, Progressed, Registry, SetsRead
from sslmd.daemon.tell.journal import DEBUG, Bus, Record
from sslmd.daemon.zones import Zones
from sslmd.store import certs, files
from sslmd.workers.dispatch import work
from sslmd.workers.tools import Delivering, Ordering
from sslmd.workers.trial import trial

# An event can lead to another that needs no work; more in a row than this would be a bug.
MAX_EVENTS = 10

# What was decided so long ago is decided again before it is done.
FRESH = timedelta(seconds=1)

# How long work that an admin has stopped is left alone: long enough to fix what made them stop it.
RESTS = timedelta(hours=1)


class Certs:
    """The reconciler of certificates. `failures` counts what failed since the start."""

    name = "cert"
    jobs = (MakeKey, Certify, Order, Trial, Roll, PutBack, TakeOff, Deliver, Prove, Settle)

    def __init__(
        self,
        ordering: Ordering,
        delivering: Delivering,
        registry: Registry,
        loop: Loop,
        bus: Bus,
        zones: Zones,
        held: HeldCerts,
    ) -> None:
        self._ordering, self._site = ordering, ordering.site
        self._delivering = delivering
        self._registry = registry
        self._loop = loop
        self._bus = bus
        self._zones = zones
        self._held = held
        # When what is done now, or waits to be done, was decided on.
        self._decided_at: dict[CertId, datetime] = {}
        touch = partial(loop.touch, self.name)
        self.pacing = Pacing(self._site, registry, touch, ordering.accounts.holds)
        self.pacing.serve(ordering)
        self.failures = 0

    # --- what comes next ---

    def step(self, ident: CertId) -> Due:
        """Decide what comes next for one certificate."""
        cert = ident
        if cert not in self._registry:
            return Due()
        decision = self._decide(cert)
        entry, queue = self._registry[cert], self._loop.queue
        jobs: list[Job] = []
        progress, trial_at = None, None
        if decision.job is not None and not self._waits_for_zone(decision.job):
            jobs.append(decision.job)
        if entry.state.trial is not None and not entry.hold:
            kind = entry.state.trial.kind
            if (waits := self.pacing.trial(cert, self._site.now())) is None:
                jobs.append(Trial(cert, entry.state.trial, Reason(Why.TRIAL, kind=kind)))
            else:
                why, trial_at = waits
                progress = Reason(Doing.TRIAL_WAITS, kind=kind, why=why)
        idle = not queue.busy(f"cert {cert}") and not queue.busy(f"trial {cert}")
        if idle and entry.progress != progress:
            self._registry.put(cert, Progressed(progress))
        if decision.job is not None:
            wakes = None if trial_at is None else (("trial", trial_at),)
            return Due(tuple(jobs), wakes)  # after it, anew
        # Renew, roll and look again: those that lie ahead, each moment once.
        now, own = self._site.now(), (decision.renew_at, decision.roll_at)
        renew, roll = (when if when and when > now else None for when in own)
        look = decision.wake_at if decision.wake_at not in (renew, roll) else None
        times = (("renew", renew), ("roll", roll), ("look", look), ("trial", trial_at))
        return Due(tuple(jobs), tuple(one for one in times if one[1] is not None))

    def _decide(self, cert: CertId) -> Decision:
        try:
            for _ in range(MAX_EVENTS):
                now = self._site.now()
                decision = decide(self._view(cert), now)
                decision = self.pacing.decide(cert, decision, now)
                if decision.advertised is not None:
                    self._registry.put(cert, decision.advertised)
                    decision = replace(decision, advertised=None)
                if decision.event is None:
                    if decision.job is not None:
                        self._decided_at[cert] = now
                    break
                self._registry.put(cert, decision.event)
            else:
                raise RuntimeError(f"{cert}: one event led to another without end: {decision}")
        except Exception as err:
            self._registry.put(cert, Broken(Reason(Held.BROKEN, error=Said(repr(err))), err))
            return self._registry[cert].decision
        entry = self._registry[cert]
        looks_at = self._held.next_at if is_held(entry, decision) else None
        if (decision, looks_at) != (entry.decision, entry.looks_at):
            self._registry.put(cert, Decided(decision, looks_at))
        return decision

    def _waits_for_zone(self, job: CertJob) -> bool:
        """Whether a roll would only wait for its zone's turn, in a place that others need (I6).

        It is decided on again when the turn is free.
        """
        return isinstance(job, Roll) and self._zones.is_taken(job.cert)

    def waits(self, job: CertJob | Trial) -> None:
        """Say that an order waits because others are ordered."""
        if isinstance(job, Order) and self._loop.queue.crowded(pool(job)):
            self._registry.put(job.cert, Progressed(Reason(Doing.WAITS_FOR_PLACE)))

    def after(self, job: Job) -> Iterable[CertId]:
        """Return the certificate whose job has ended."""
        if isinstance(job, CertJob | Trial) and job.cert in self._registry:
            return (job.cert,)
        return ()

    def heard(self, cert: CertId, event: object) -> None:
        """Have it decided what comes next for a certificate that changed, and for those below."""
        self._loop.touch(self.name, cert)
        if isinstance(event, Rolled | AttemptFailed):
            for child in self._registry.below(cert):
                if self._registry[child].decision.waits_for_ca:
                    self._loop.touch(self.name, child)

    # --- jobs ---

    async def do(self, job: CertJob | Trial) -> None:
        """Do a job; cancelled, it leaves everything as it is on disk."""
        cert = job.cert
        if cert not in self._registry:
            return
        try:
            if isinstance(job, Trial):
                if self.pacing.trial(cert, self._site.now()) is None:
                    self.pacing.begin(cert, trial=True)
                    await self._try_out(job)
                return
            # What was queued for long is decided on again: its reason may have gone.
            if not self._loop.settle(self.name, cert):
                return  # something about it is being written down, and is decided on after that
            # And whoever goes before it may have come meanwhile.
            waited = self._site.now() - self._decided_at.get(cert, _NEVER) > FRESH
            if waited or isinstance(job, Order):
                self._decide(cert)
            fresh = self._registry[cert].decision.job
            # One of another pool is queued for a place there when this one is done.
            if fresh is None or self._waits_for_zone(fresh) or pool(fresh) is not pool(job):
                return
            if isinstance(fresh, Roll):
                # What DNS was seen serving must not change before the new key is served (I4).
                async with self._zones.turn(cert):
                    await self._work(fresh)
            else:
                if isinstance(fresh, Order):
                    self.pacing.begin(cert)
                await self._work(fresh)
        finally:
            if isinstance(job, Order | Trial):
                self.pacing.end(cert, trial=isinstance(job, Trial))
            if cert in self._registry and self._registry[cert].progress:
                self._registry.put(cert, Progressed(None))

    async def _work(self, job: CertJob) -> None:
        name = type(job).__name__
        self._bus.record(
            Record(
                self._site.now(),
                "job-started",
                f"{name}: {say(job.reason)}",
                DEBUG,
                job.cert,
                name,
            )
        )
        try:
            event: Event = await work(job, self._ordering, self._delivering, self._zones)
        except Paced as err:
            self.pacing.sent_back(job.cert, err)
            return
        except Exception as err:
            await self._failed(job, err)
            return
        if job.cert in self._registry:
            self._registry.put(job.cert, event)

    async def _try_out(self, job: Trial) -> None:
        """Do a trial; it ends here, well or not."""
        after = None
        failed = True
        try:
            how = await trial(job, self._ordering)
            failed = False
        except Paced as err:
            self.pacing.sent_back(job.cert, err, trial=True)
            return
        except SslmError as err:
            how = err.reason
            after = err.retry_at if isinstance(err, Transient) else None
            if isinstance(err, RateLimited):
                self._hold(job.cert, err, trial=True)
        except Exception as err:
            how = Reason(Held.OWN_ERROR, error=Said(repr(err)))
            self._bus.bug(self._site.now(), f"a {job.ask.kind} met {say(how)}", err, job.cert)
        self.failures += failed
        if job.cert in self._registry:
            ended = TrialEnded(self._site.now(), job.ask, how, failed, after)
            self._registry.put(job.cert, ended)

    async def _failed(self, job: CertJob, err: Exception) -> None:
        self.failures += 1
        if job.cert not in self._registry:
            return
        now = self._site.now()
        if isinstance(err, OSError):
            err = files.trouble(err, "use", str(err.filename or "a file"))
        if not isinstance(err, SslmError):
            text = f"{type(job).__name__} met an error of sslmd's own: {err!r}"
            self._bus.bug(now, text, err, job.cert)
        entry = self._registry[job.cert]
        what = track(job)
        old = entry.state.trouble if what is Track.RENEW else entry.state.delivery_trouble
        ca, fingerprint = str(entry.wanted.spec.signer), entry.wanted.fingerprint
        attempts = old.attempts if old and old.fingerprint == fingerprint else 0
        jitter = self._site.rng.random()
        trouble = Trouble.of(err, attempts, now, jitter=jitter, fingerprint=fingerprint)
        text = err.text_beside(job.cert) if isinstance(err, SslmError) else trouble.text
        trouble = replace(trouble, text=text, ca=ca)
        await self.look_again(job.cert)
        if job.cert not in self._registry:
            return  # a reload took it away meanwhile
        failed = err.names if isinstance(err, ValidationFailed) else ()
        if isinstance(err, RateLimited):
            self._hold(job.cert, err)
        self._registry.put(job.cert, AttemptFailed(what, trouble, failed))

    def _hold(self, cert: CertId, err: RateLimited, *, trial: bool = False) -> None:
        """Take in that a CA wants to be left alone, and note what others are held by too."""
        if self.pacing.held(cert, err, trial=trial):
            self._ordering.threads.in_background(self._ordering.accounts.note_holds())

    def _view(self, cert: CertId) -> View:
        """Return what is known of a certificate, and what failed for others of its account."""
        failed = self.pacing.failed(cert)
        view = self._registry.view(cert)
        return replace(view, failed=failed) if failed else view

    def rest(self, cert: CertId) -> Reason:
        """What an admin stopped rests for an hour, or until they ask for it; return what to say."""
        now, entry = self._site.now(), self._registry.entries.get(cert)
        if entry is None:
            return Reason(Answered.GONE)
        again = now + RESTS
        text = "stopped by an admin"
        ca, fingerprint = str(entry.wanted.spec.signer), entry.wanted.fingerprint
        trouble = Trouble(0, Failure.TRANSIENT, text, now, again, fingerprint, ca=ca)
        self._registry.put(cert, AttemptFailed(Track.RENEW, trouble))
        return Reason(Answered.RESTS_UNTIL, until=again, arg=cert.arg)

    async def look_again(self, cert: CertId) -> None:
        """Read a certificate's sets from disk after a job that did not end as it should."""
        entry = self._registry.entries.get(cert)
        if entry is None:
            return
        # Whatever is wrong there is told by the job that failed.
        with suppress(SslmError, OSError):
            found = await self._ordering.threads.in_thread(
                certs.reread,
                self._site.tree,
                cert,
                entry.state,
                draw=self._site.draw,
            )
            if cert in self._registry:
                self._registry.put(cert, SetsRead(found))


# Before anything was decided.
_NEVER = datetime.min.replace(tzinfo=UTC)
