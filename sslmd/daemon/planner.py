"""The planner: keeps the registry, decides, queues jobs, and takes in what they bring about.

Every change of a certificate goes through `apply`; after it, and whenever the scheduler or the
wall clock says so, `replan` asks `core.plan` what comes next. Recovery after a crash and normal
running are one path (I5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sslmd.config.groups import why_absent
from sslmd.config.model import Config
from sslmd.core.errors import SslmError
from sslmd.core.events import (
    AttemptFailed,
    Counted,
    Event,
    Rolled,
    WasIssued,
)
from sslmd.core.jobs import (
    CertJob,
    HostJob,
    Job,
    Order,
    Pool,
    Roll,
    Trial,
    WriteDh,
    ZoneJob,
    lane,
    pool,
)
from sslmd.core.lifecycle import with_sets
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.reason import Reason, Why, said
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, Delivered, Issuance
from sslmd.core.view import Decision
from sslmd.core.words import say
from sslmd.daemon.dh import DhLooks
from sslmd.daemon.held import HeldLooks, is_held
from sslmd.daemon.hosts import Hosts
from sslmd.daemon.ledger import Ledger, Page
from sslmd.daemon.refusal import Refusal
from sslmd.daemon.registry import (
    Broken,
    CaLost,
    ClassesChanged,
    Compared,
    Decided,
    Entry,
    Forgiven,
    Gone,
    Noticed,
    Progressed,
    Registry,
    SetsRead,
    Taken,
    Unsaved,
    entry_of,
)
from sslmd.daemon.runner import Runner
from sslmd.daemon.scheduler import Scheduler
from sslmd.daemon.tell import stories
from sslmd.daemon.tell.journal import ERROR, INFO, NOTICE, WARNING, Bus, Record
from sslmd.daemon.zones import Zones
from sslmd.servers import as_found
from sslmd.store import certs
from sslmd.store.reading import helpers_for, read_all
from sslmd.store.state import Entry as HistoryEntry
from sslmd.workers.copy import forget_outgoing
from sslmd.workers.deliver import as_configured
from sslmd.workers.dispatch import ca_asked
from sslmd.workers.queue import JobQueue
from sslmd.workers.reading import read_cert
from sslmd.workers.tools import Tools

# Part of `reason` in the status.
WAITS_FOR_PLACE = "waits for a place: others are ordered"

# An event can lead to another that needs no work; more in a row than this would be a bug.
MAX_EVENTS = 10

# Orders at a time. Each is a certbot of some 50 MB, and CAs look at how many come at once. More run
# only where one CA had all places and another's certificates came (core.turns): then up to twice.
ORDERS = 4

# Zones at a time whose TLSA records are published or looked at: that is mostly waiting.
ZONES = 16

# Hosts at a time. Each is an ssh and an rsync, some 20 MB, that mostly wait; some may be down.
HOSTS = 64

# Diffie-Hellman groups generated at a time: each takes a core.
GENERATING = 1


class Planner:
    """One per daemon. All of it runs in the event loop; files are touched in threads."""

    def __init__(self, tools: Tools, bus: Bus, parallel: int) -> None:
        self.tools = tools
        self.bus = bus
        self.registry = Registry()
        self.registry.listen(self._hear)
        places = {Pool.WORK: parallel, Pool.ACME: ORDERS, Pool.DNS: ZONES, Pool.HOSTS: HOSTS}
        places[Pool.DH] = GENERATING
        self.queue = JobQueue(
            self._run, self._job_done, places, lambda job: ca_asked(job, tools.config)
        )
        self.scheduler = Scheduler(self.wake, self._clock_jumped, tools.now)
        self.ledger = Ledger(tools, self._page_of, self._save_failed, self._saved_again)
        self.hosts = Hosts(tools, self.registry, self.queue, self.apply)
        self.zones = Zones(
            tools, self.registry, self.queue, self.apply, self._replan_known, self._tell
        )
        self.runner = Runner(tools, self.zones, self.registry, bus, self.apply)
        self.dh = DhLooks(tools, self.queue, self._tell)
        self.held = HeldLooks(self.look_at_held, tools.now, tools.bug)
        # What was found odd in a certificate's files when they were read last.
        self._remarks: dict[CertId, list[str]] = {}
        self.registry.dane_of = self.zones.dane
        self.registry.why_absent = lambda group, service: why_absent(tools.config, group, service)
        # The configuration that was refused since the one in force was loaded.
        self.refused: Refusal | None = None
        self._stopping = False
        self._arming: asyncio.Task[None] | None = None

    # --- the story of a run ---

    def load(self) -> None:
        """Read every certificate of the configuration from disk; blocks, for the start."""
        which = list(self.tools.config.services)
        self._take_in(read_all(self._read, which, helpers_for(len(which))))
        forget_outgoing(self.tools.tree)
        self.hosts.load()

    def start(self) -> None:
        """Make the first plan and begin to work."""
        self.scheduler.start()
        self.ledger.start()
        decisions = [(cert, self.replan(cert, arm=False)) for cert in list(self.registry)]
        self.hosts.consider()
        self.zones.start()
        self.dh.start()
        self.held.start()
        self._arming = asyncio.get_running_loop().create_task(self._arm(decisions))

    async def stop(self, grace: float) -> bool:
        """Stop working, leaving everything resumable, and write what is left to write.

        Return whether every job came to its end within `grace` seconds.
        """
        self._stopping = True
        if self._arming is not None:
            self._arming.cancel()
        self.scheduler.stop()
        self.hosts.stop()
        self.zones.stop()
        self.dh.stop()
        self.held.stop()
        ended = await self.queue.close(grace)
        await self.ledger.close()
        return ended

    async def at_rest(self) -> None:
        """Return when nothing is queued or running, and no restart is due."""
        while len(self.queue) or self.hosts.due(self.tools.now()):
            await self.queue.idle()
            self.hosts.consider()
            await asyncio.sleep(0)

    # --- reading the tree ---

    def _read(
        self, which: Iterable[CertId], config: Config | None = None
    ) -> dict[CertId, certs.Loaded]:
        tree, now, draw = self.tools.tree, self.tools.now(), self.tools.draw
        config = config or self.tools.config
        found = {
            cert: read_cert(certs.load, config, tree, cert, draw=draw, now=now) for cert in which
        }
        prod = str(config.globals.prod_cert_dir)
        for cert, one in found.items():
            service = config.services[cert]
            if service.spec.ca is not None:
                one.remarks += as_found.ca_keys(prod, cert, managed=service.managed)
        return found

    def _take_in(self, loaded: dict[CertId, certs.Loaded]) -> None:
        config = self.tools.config
        for cert, one in loaded.items():
            state = as_configured(config, cert, one.state)
            entry = entry_of(config, config.services[cert], state, one.hold, one.astray)
            if state.curr is not None:
                self.tools.site.established.add(cert.group)
            self._remarks[cert] = one.remarks
            self.registry.put(cert, Taken(entry, one.remarks, one.unsaved))
        self.registry.relate()

    async def reconfigure(self, config: Config) -> tuple[list[CertId], list[CertId], list[CertId]]:
        """Work by another configuration from now on; return what was added, removed, changed.

        The tree is read again as well, where no job is at work in it: it may have been edited.
        """
        before = {cert: entry.state for cert, entry in self.registry.entries.items()}
        loaded = await self.tools.in_thread(self._read, config.services, config)
        # What was read is perhaps old where something came to its end in the meantime.
        moved = [
            cert
            for cert, entry in self.registry.entries.items()
            if cert in config.services and entry.state is not before.get(cert)
        ]
        if moved:
            before |= {cert: self.registry[cert].state for cert in moved}
            loaded |= await self.tools.in_thread(self._read, moved, config)
        old = self.tools.config
        self.tools.site.config = config
        removed = [cert for cert in self.registry if cert not in config.services]
        added = [cert for cert in config.services if cert not in self.registry]
        changed = [
            cert
            for cert in config.services
            if cert in self.registry and config.services[cert] != old.services.get(cert)
        ]
        with self.zones.in_flux():
            for cert in removed:
                self.registry.put(cert, Gone())  # before the wait: nothing new begins for it
            for cert in removed:
                await self._stop_work(cert)
            self._take_in({cert: loaded[cert] for cert in added})
            for cert in config.services:
                if cert not in added:
                    # What was read is old where a job came to its end in the meantime.
                    still = self.registry[cert].state is before.get(cert)
                    remarks = self._remarks[cert] = loaded[cert].remarks if still else []
                    self._refresh(cert, loaded[cert] if still else None, remarks)
            self.registry.relate()
            for cert in changed:
                was = old.services.get(cert)
                other = was is not None and was.fingerprint != config.services[cert].fingerprint
                if other and self._is_ordering(cert):
                    await self._stop_work(cert)  # it is for other names, or at another CA
        self.hosts.reconfigured(old)
        self.zones.reconfigured()
        await self.dh.reconfigured(old)
        self._forgive(old)
        self.replan_all()
        return added, removed, changed

    def _forgive(self, old: Config) -> None:
        """Try orders again at once where what challenges are published by has changed."""
        config = self.tools.config
        if _publishing(old) == _publishing(config):
            return
        for cert, entry in list(self.registry.entries.items()):
            trouble = entry.state.trouble
            if trouble is None or trouble.binding:
                continue
            if isinstance(entry.wanted.spec.signer, AcmeCa):
                self.registry.put(cert, Forgiven())

    def _is_ordering(self, cert: CertId) -> bool:
        return any(
            pool(job) is Pool.ACME
            for name in (f"cert {cert}", f"trial {cert}")
            for job in self.queue.in_lane(name)
        )

    async def _stop_work(self, cert: CertId) -> None:
        await self.queue.cancel(f"cert {cert}")
        await self.queue.cancel(f"trial {cert}")

    def _refresh(self, cert: CertId, fresh: certs.Loaded | None, remarks: Sequence[str]) -> None:
        """Take over what the configuration says now, and what was read `fresh`."""
        entry, config = self.registry[cert], self.tools.config
        state, hold, is_released = entry.state, entry.hold, False
        if fresh is not None and not self.queue.busy(f"cert {cert}"):
            hold, is_released = fresh.hold, bool(entry.hold) and not fresh.hold
            if is_released:
                state = fresh.state  # what held it was put right
            elif not hold:
                # What is noted in memory may be newer than the file; the sets on disk are not.
                state = with_sets(state, fresh.state)
                if fresh.state.delivered.curr is None:  # not in production, or elsewhere now
                    state = replace(state, delivered=Delivered())
        astray = fresh.astray if fresh is not None else entry.astray
        state = as_configured(config, cert, state)
        renewed = replace(
            entry_of(config, config.services[cert], state, hold, astray),
            decision=entry.decision,  # an alarm that stands is not told again
            progress=entry.progress,
            unsaved=entry.unsaved,
            # An alarm stands until ports were looked at again.
            report=entry.report if config.services[cert].dane else None,
        )
        self.registry.put(cert, Taken(renewed, remarks, is_released))

    async def look_at_held(self, which: Iterable[CertId] | None = None) -> None:
        """Read again what is held, of `which` or of all, and go on with what was put right."""
        held = {
            cert: self.registry[cert].state
            for cert in (self.registry if which is None else which)
            if is_held(self.registry[cert]) and not self.queue.busy(f"cert {cert}")
        }
        if not held or self._stopping:
            return
        config = self.tools.config
        loaded = await self.tools.threads.aside(self._read, list(held))
        if self.tools.config is not config or self._stopping:
            return  # a reload has read all of them meanwhile
        for cert, before in held.items():
            if self.registry[cert].state is not before or self.queue.busy(f"cert {cert}"):
                continue
            fresh = loaded[cert]
            known = self._remarks.get(cert, [])
            self._remarks[cert] = fresh.remarks
            self._refresh(cert, fresh, [one for one in fresh.remarks if one not in known])
        for cert in held:
            self.replan(cert)
            for child in self.registry.below(cert):
                self.replan(child)
        self.hosts.consider()

    def _replan_known(self, cert: CertId) -> None:
        if cert in self.registry and not self._stopping:
            self.replan(cert)

    def consider_hosts(self) -> None:
        """Queue the copies and restarts that are due."""
        self.hosts.consider()

    # --- deciding ---

    def wake(self, cert: CertId) -> None:
        """It is time to look at a certificate."""
        if cert in self.registry and not self._stopping:
            self.replan(cert)

    def replan_all(self) -> None:
        """Look at everything."""
        for cert in list(self.registry):
            self.replan(cert)
        self.hosts.consider()

    def replan(self, cert: CertId, *, arm: bool = True) -> Decision:
        """Decide what comes next for one certificate, and see to it."""
        try:
            decision = self._decide(cert)
        except Exception as err:
            hold = f"left alone after an error of sslmd's own: {err!r}; see the journal"
            self.registry.put(cert, Broken(hold, err))
            return self.registry[cert].decision
        if self._stopping:
            return decision
        job = decision.job
        if job is not None and not self.queue.busy(lane(job)) and not self._waits_for_zone(job):
            self.queue.submit(job)
            if isinstance(job, Order) and self.queue.crowded(Pool.ACME):
                self.registry.put(cert, Progressed(WAITS_FOR_PLACE))
        self._consider_trial(cert)
        if arm:
            self.scheduler.arm(cert, decision)
        return decision

    def _waits_for_zone(self, job: CertJob) -> bool:
        """Whether a roll would only wait for its zone's turn, in a place that others need (I6).

        It is planned again when the turn is free.
        """
        return isinstance(job, Roll) and self.zones.is_taken(job.cert)

    def _consider_trial(self, cert: CertId) -> None:
        entry = self.registry[cert]
        if entry.state.trial is not None and not entry.hold:
            kind = entry.state.trial.kind
            self.queue.submit(Trial(cert, entry.state.trial, Reason(Why.TRIAL, kind=kind)))

    async def _arm(self, decisions: list[tuple[CertId, Decision]]) -> None:
        """Set the timers of a start, a few at a time: most are for weeks ahead."""
        for number, (cert, decision) in enumerate(decisions):
            if cert in self.registry and self.registry[cert].decision is decision:
                self.scheduler.arm(cert, decision)
            if number % 50 == 0:
                await asyncio.sleep(0)

    def _decide(self, cert: CertId) -> Decision:
        for _ in range(MAX_EVENTS):
            decision = decide(self.registry.view(cert), self.tools.now())
            if decision.event is None:
                break
            self.registry.put(cert, decision.event)
        else:
            raise RuntimeError(f"{cert}: one event led to another without end: {decision}")
        entry = self.registry[cert]
        is_held = not entry.bug and bool(entry.hold or decision.alarm or entry.unusable)
        looks_at = self.held.next_at if is_held else None
        if (decision, looks_at) != (entry.decision, entry.looks_at):
            self.registry.put(cert, Decided(decision, looks_at))
        # The same one as long as nothing changes: timers go by it.
        return self.registry[cert].decision

    def apply(self, cert: CertId, event: Event) -> None:
        """Take in that something happened to a certificate, and plan on."""
        self.take(cert, event)
        self.replan(cert)
        if isinstance(event, Rolled | AttemptFailed):
            for child in self.registry.below(cert):
                if self.registry[child].decision.waits_for_ca:
                    self.replan(child)

    def take(self, cert: CertId, event: Event) -> None:
        """Take in that something happened, and leave the planning to others."""
        self.registry.put(cert, event)

    def _hear(
        self, cert: CertId, event: Event | Noticed, before: Entry | None, after: Entry | None
    ) -> None:
        """Tell of a change, note it, and have hosts and zones follow."""
        if isinstance(event, Decided | CaLost | Broken | Progressed | Unsaved | Compared):
            self._tell_of(cert, event, before)
            return
        if after is None:
            self.scheduler.drop(cert)
            self.hosts.forget(cert)
            self.zones.forget(cert)
            return
        lines: list[HistoryEntry] = []
        if isinstance(event, Taken):
            for remark in event.remarks:
                self._tell("tree-remark", remark, WARNING, cert)
            earlier = said(before.hold) if before is not None else None
            self._tell_alarm(cert, earlier, said(after.hold))
        elif not isinstance(event, SetsRead | Forgiven | ClassesChanged | Gone):
            assert before is not None
            lines = self._story(cert, event, before.state, after.state)
        if not isinstance(event, Taken) or (event.unsaved and not after.hold):
            self.ledger.note(cert, lines)
        self.hosts.note(cert)
        self.zones.note(cert)

    def _story(
        self, cert: CertId, event: Event, before: CertState, after: CertState
    ) -> list[HistoryEntry]:
        """Tell what happened; return what of it is kept in the history."""
        story = stories.of_event(event, before, after)
        if story is None:
            return []
        at = self.tools.now()
        self.bus.record(
            Record(
                at,
                story.event,
                story.text,
                story.priority,
                cert,
                story.job,
                story.set,
                story.reason,
            )
        )
        name = str(story.set) if story.set else ""
        return [HistoryEntry(at, story.event, name, story.text)] if story.kept else []

    def _tell_of(
        self,
        cert: CertId,
        event: Decided | CaLost | Broken | Progressed | Unsaved | Compared,
        before: Entry | None,
    ) -> None:
        """Tell of what is known beside the state of a certificate."""
        assert before is not None
        match event:
            case Decided():
                self._tell_alarm(cert, before.decision.alarm, event.decision.alarm)
            case Broken():
                self.bus.bug(self.tools.now(), event.hold, event.error, cert)
            case Progressed() if event.text and event.text != WAITS_FOR_PLACE:
                self._tell("order-progress", event.text, INFO, cert)
            case Unsaved() if event.why:
                self._tell("state-unsaved", f"{event.why}; it is tried again", WARNING, cert)
            case Compared():
                last = before.report.findings if before.report is not None else ()
                known = {(one.where, one.text) for one in last if one.wrong}
                wrong = [one for one in event.report.findings if one.wrong]
                for one in wrong:
                    if (one.where, one.text) not in known:
                        self._tell("dane-mismatch", f"{one.where} {one.text}", ERROR, cert)
                if known and not wrong:
                    self._tell("dane-well", "DNS, ports and keys agree again", INFO, cert)

    def _tell_alarm(self, cert: CertId, before: Reason | None, after: Reason | None) -> None:
        """Say once what only an admin can put right, and when it is."""
        if after and after != before:
            self._tell("held", say(after), ERROR, cert)
        elif before and not after:
            self._tell("released", f"no longer: {say(before)}", NOTICE, cert)

    def _page_of(self, cert: CertId) -> Page | None:
        if cert not in self.registry or self.registry[cert].hold:
            return None
        entry = self.registry[cert]
        times = {"renew_at": entry.decision.renew_at, "roll_at": entry.decision.roll_at}
        return Page(entry.state, times)

    @property
    def failures(self) -> int:
        """How much has failed since the start."""
        return self.runner.failures + self.dh.failures

    def state_of(self, cert: CertId) -> CertState:
        """Return how a certificate stands, for the workers."""
        return self.registry[cert].state if cert in self.registry else CertState()

    def progress(self, cert: CertId, text: str) -> None:
        """A job tells how far it is, "" when that is over; part of `reason` in the status."""
        entry = self.registry.entries.get(cert)
        if entry is not None and entry.progress != text:
            self.registry.put(cert, Progressed(text))

    def count(self, cert: CertId, names: tuple[str, ...]) -> None:
        """Take in that a CA may have failed to validate `names`."""
        if cert in self.registry:
            self.take(cert, Counted(self.tools.now(), names))

    def count_issued(self, cert: CertId, issuance: Issuance) -> None:
        """Take in that a CA issued a certificate."""
        if cert in self.registry:
            self.take(cert, WasIssued(issuance))

    # --- jobs ---

    async def _run(self, job: Job) -> None:
        if isinstance(job, HostJob):
            await self.runner.host_job(job, self.hosts)
        elif isinstance(job, Trial):
            await self.runner.trial(job)
        elif isinstance(job, ZoneJob):
            await self.zones.run(job)
        elif isinstance(job, WriteDh):
            await self.dh.run(job)
        elif job.cert in self.registry:
            # Decided anew: since the job was queued, its reason may have gone.
            fresh = self._decide(job.cert).job
            # One of another pool is queued for a place there when this one is done.
            if fresh is None or self._waits_for_zone(fresh):
                return
            if pool(fresh) is pool(job):
                await self._cert_job(fresh)

    async def _cert_job(self, job: CertJob) -> None:
        if not isinstance(job, Roll):
            await self.runner.cert_job(job)
            return
        # What DNS was seen serving must not change before the new key is served (I4).
        async with self.zones.turn(job.cert):
            await self.runner.cert_job(job)

    def _job_done(self, job: Job) -> None:
        if self._stopping:
            return
        if isinstance(job, ZoneJob):
            self.zones.done(job)
        elif not isinstance(job, HostJob | WriteDh) and job.cert in self.registry:
            self.progress(job.cert, "")
            self.replan(job.cert)
        self.hosts.consider()

    # --- what went wrong beside jobs ---

    def _clock_jumped(self, seconds: float) -> None:
        if seconds:
            text = f"the clock was set by {seconds:+.0f} s, or the machine slept; planning again"
            self._tell("clock-jumped", text, WARNING)
        self.replan_all()
        self.dh.consider()

    def _saved_again(self, cert: CertId) -> None:
        if cert in self.registry:
            self.registry.put(cert, Unsaved(""))

    def _save_failed(self, cert: CertId, err: SslmError) -> None:
        self.runner.failures += 1
        if cert in self.registry:
            self.registry.put(cert, Unsaved(str(err)))

    def _tell(self, event: str, text: str, priority: int, cert: CertId | None = None) -> None:
        self.bus.record(Record(self.tools.now(), event, text, priority, cert))


def _publishing(config: Config) -> object:
    """Return what a configuration says of publishing challenges."""
    web = [(one.servers, one.server_dir, one.http_check) for one in config.server_classes]
    return config.dns, config.dns_primaries, web, config.globals.dns_extra_servers
