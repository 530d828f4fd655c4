"""Doing one job of a certificate, and what comes of it: an event, or a failure with its next try.

A job that fails changes nothing but the `Trouble` beside its certificate (I6); what it left on disk
is read again, so that the plan goes by what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from sslmd.core.errors import SslmError, Transient, ValidationFailed
from sslmd.core.events import AttemptFailed, Event, TrialEnded
from sslmd.core.jobs import CertJob, HostJob, Trial, track
from sslmd.core.names import CertId
from sslmd.core.reason import Ended, Held, Reason, Said
from sslmd.core.retry import Failure, Trouble
from sslmd.core.state import Track
from sslmd.core.times import clock
from sslmd.core.words import say
from sslmd.daemon.hosts import Hosts
from sslmd.daemon.registry import Registry, SetsRead
from sslmd.daemon.tell.journal import DEBUG, Bus, Record
from sslmd.store import certs, files
from sslmd.workers.dispatch import work
from sslmd.workers.tools import RollGate, Tools
from sslmd.workers.trial import trial

# How long work that an admin has stopped is left alone: long enough to mend what made him do it.
RESTS = timedelta(hours=1)


class Runner:
    """Runs jobs; `apply` takes in what happened. `failures` counts what failed since the start."""

    def __init__(
        self,
        tools: Tools,
        gate: RollGate,
        registry: Registry,
        bus: Bus,
        apply: Callable[[CertId, Event], None],
    ) -> None:
        self._tools = tools
        self._gate = gate
        self._registry = registry
        self._bus = bus
        self._apply = apply
        self.failures = 0

    async def host_job(self, job: HostJob, hosts: Hosts) -> None:
        """Copy to one host, or restart its server classes."""
        for error in await hosts.run(job):
            self.failures += 1
            if not isinstance(error, SslmError):
                text = f"{type(job).__name__} met an error of sslmd's own on {job.host}: {error!r}"
                self._bus.bug(self._tools.now(), text, error)

    async def trial(self, job: Trial) -> None:
        """Do a trial; it ends here, well or not."""
        after = None
        failed = True
        try:
            how = Reason(Ended.TRIAL_WELL, said=Said(await trial(job, self._tools)))
            failed = False
        except SslmError as err:
            how = Reason(Held.NOTED, text=Said(err))
            after = err.retry_at if isinstance(err, Transient) else None
        except Exception as err:
            how = Reason(Held.OWN_ERROR, error=Said(repr(err)))
            self._bus.bug(self._tools.now(), f"a {job.ask.kind} met {say(how)}", err, job.cert)
        self.failures += failed
        if job.cert in self._registry:
            self._apply(job.cert, TrialEnded(self._tools.now(), job.ask, how, failed, after))

    async def cert_job(self, job: CertJob) -> None:
        """Do a job; cancelled, it leaves everything as it is on disk."""
        name = type(job).__name__
        self._bus.record(
            Record(
                self._tools.now(),
                "job-started",
                f"{name}: {say(job.reason)}",
                DEBUG,
                job.cert,
                name,
            )
        )
        try:
            event = await work(job, self._tools, self._gate)
        except Exception as err:
            await self._failed(job, err)
            return
        if job.cert in self._registry:
            self._apply(job.cert, event)

    async def _failed(self, job: CertJob, err: Exception) -> None:
        self.failures += 1
        if job.cert not in self._registry:
            return
        now = self._tools.now()
        if isinstance(err, OSError):
            err = files.trouble(err, "use", str(err.filename or "a file"))
        if not isinstance(err, SslmError):
            self._bus.bug(
                now, f"{type(job).__name__} met an error of sslmd's own: {err!r}", err, job.cert
            )
        entry = self._registry[job.cert]
        what = track(job)
        old = entry.state.trouble if what is Track.RENEW else entry.state.delivery_trouble
        ca, fingerprint = str(entry.wanted.spec.signer), entry.wanted.fingerprint
        attempts = old.attempts if old and old.fingerprint == fingerprint else 0
        jitter = self._tools.rng.random()
        trouble = Trouble.of(err, attempts, now, jitter=jitter, fingerprint=fingerprint)
        text = err.text_beside(job.cert) if isinstance(err, SslmError) else trouble.text
        trouble = replace(trouble, text=text, ca=ca)
        await self.look_again(job.cert)
        if job.cert not in self._registry:
            return  # a reload took it away meanwhile
        failed = err.names if isinstance(err, ValidationFailed) else ()
        self._apply(job.cert, AttemptFailed(what, trouble, failed))

    def rest(self, cert: CertId) -> str:
        """What an admin stopped rests for an hour, or until he asks for it; return what to tell."""
        now, entry = self._tools.now(), self._registry.entries.get(cert)
        if entry is None:
            return "it is stopped"
        again = now + RESTS
        text = "stopped by an admin"
        ca, fingerprint = str(entry.wanted.spec.signer), entry.wanted.fingerprint
        trouble = Trouble(0, Failure.TRANSIENT, text, now, again, fingerprint, ca=ca)
        self._apply(cert, AttemptFailed(Track.RENEW, trouble))
        return (
            f"its renewal is stopped: it rests until {clock(again)}. To go on now: "
            f"sslmctl renew {cert.arg}"
        )

    async def look_again(self, cert: CertId) -> None:
        """Read a certificate's sets from disk after a job that did not end as it should."""
        entry = self._registry.entries.get(cert)
        if entry is None:
            return
        try:
            found = await self._tools.in_thread(
                certs.reread, self._tools.tree, cert, entry.state, draw=self._tools.draw
            )
        except (SslmError, OSError):
            return  # whatever is wrong there is told by the job that failed
        if cert in self._registry:
            self._registry.put(cert, SetsRead(found))
