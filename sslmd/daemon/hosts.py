"""Hosts: what is copied to each and restarted there, in batches, tried again on its own.

One visit serves all certificates that rolled together: it waits for jobs that are still under way,
but not for long. A host that fails is tried again by the table, and holds up nothing (I6).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import zip_longest

from sslmd.config.model import Config, class_order, wanted_on
from sslmd.core.errors import SslmError
from sslmd.core.events import ServersWanting
from sslmd.core.host.commands import DNS
from sslmd.core.host.needs import restarts_at
from sslmd.core.host.plan import (
    BATCH_WAIT,
    HostDecision,
    HostView,
    decide_host,
    looks_again,
    placed_on,
)
from sslmd.core.jobs import Copy, HostJob, Job, Pool, Restart, See, lane
from sslmd.core.names import CertId, machine_of
from sslmd.core.renewal import ROLL_MARGIN
from sslmd.core.state import Server, ServerPhase, replaced_urgently
from sslmd.core.windows import opens
from sslmd.daemon.host_book import HostBook
from sslmd.daemon.host_work import HostWork
from sslmd.daemon.loop import Due, Loop
from sslmd.daemon.registry import ClassesChanged, Entry, Registry
from sslmd.workers.proof import rule_of
from sslmd.workers.tools import Delivering

# Seconds for a look at all that waits that are nothing to speak of; after a longer one, the next
# comes so many times later.
QUICK = 0.01
RESTS = 10

# What has something to be done, or tried again.
_OPEN = (ServerPhase.DELIVERED, ServerPhase.PENDING, ServerPhase.FAILED)


def _commands(config: Config) -> dict[str, object]:
    """Return what is run for each class, for how long, and what is looked at then."""
    commands: dict[str, object] = {
        str(one.kind): (one.restart, one.probes, one.probe_timeout) for one in config.server_classes
    }
    commands[DNS] = config.dns.restart
    common = (config.globals.cmd_timeout, config.globals.post_copy)
    return {kind: (done, common) for kind, done in commands.items()}


class Hosts:
    """The reconciler of hosts: one visit serves many certificates.

    `failures` counts what failed since the start.
    """

    name = "hosts"
    jobs = (Copy, Restart, See)

    def __init__(self, delivering: Delivering, registry: Registry, loop: Loop) -> None:
        self._delivering, self._site = delivering, delivering.site
        self._registry = registry
        self._loop = loop
        self.failures = 0
        self.notes = HostBook(delivering.site, delivering.threads, delivering.telling)
        self.notes.listen(lambda host, *_: self._loop.touch(self.name, host))
        # The certificates for which something may be to be done on a host.
        self._waiting: dict[str, dict[CertId, None]] = {}
        self._work = HostWork(delivering, registry, self.notes)
        # Since when jobs wait for other jobs, and until when a host rests; time.monotonic().
        self._patient: dict[str, float] = {}
        self._rests_until: dict[str, float] = {}

    def note(self, cert: CertId, before: Entry | None = None) -> None:
        """Look at the servers of a certificate that changed. `before`: how it was then."""
        now, entry = self._site.now(), self._registry[cert]
        waiting: dict[str, bool] = {}
        for server in _changed(before, entry):
            waits = server.phase in _OPEN or self._sight(cert, server, now) is not None
            waiting[server.host] = waits or waiting.get(server.host, False)
        for host, waits in waiting.items():
            certs = self._waiting.setdefault(host, {})
            if waits:
                certs[cert] = None
            elif cert in certs:
                del certs[cert]
            else:
                continue
            self._loop.touch(self.name, host)

    def _sight(self, cert: CertId, server: Server, now: datetime) -> datetime | None:
        """Return when a server is looked at that nobody has seen using its set; None: never."""
        if server.phase is not ServerPhase.RESTARTED or cert not in self._site.config.services:
            return None
        rule = rule_of(self._site.config, server.kind, cert)
        if rule is not None:
            return None if rule == server.unseen else now  # to say so
        last = self._work.looked.get((cert, server.kind, server.host))
        return now if last is None else looks_again(server.since or last, last)

    def forget(self, cert: CertId) -> None:
        """A certificate left the configuration."""
        for certs in self._waiting.values():
            certs.pop(cert, None)
        for key in [key for key in self._work.looked if key[0] == cert]:
            del self._work.looked[key]

    def reconfigured(self, old: Config) -> None:
        """Forget the failures of what `old` had otherwise: it is tried anew."""
        before, after = _commands(old), _commands(self._site.config)
        changed = {kind for kind in after if after[kind] != before.get(kind)}
        for cert in {cert for certs in self._waiting.values() for cert in certs}:
            self._registry.put(cert, ClassesChanged(frozenset(changed)))
        for cert in self._registry:
            self.note(cert)  # probes may be others
        self.notes.reconfigured()
        self._move()

    def load(self) -> None:
        """Read what is noted of the hosts; blocks, for the start."""
        self.notes.load()
        self._move()

    def _move(self) -> None:
        """Have everything copied anew to hosts where it is to be in another folder now."""
        moved = self.notes.moved()
        if not moved:
            return
        event = ServersWanting(self._site.now(), moved)
        for cert, entry in list(self._registry.entries.items()):
            if any(server.host in moved for server in entry.state.servers):
                self._registry.put(cert, event)

    def _all(self) -> list[str]:
        return sorted({*(host for host, certs in self._waiting.items() if certs), *self.notes})

    def touch_all(self) -> None:
        """Look at every host."""
        for host in self._all():
            self._loop.touch(self.name, host)

    def due(self, now: datetime) -> list[HostJob]:
        """Return what could be done at a time."""
        decisions = (self._decide(host, now) for host in self._all())
        return [one.job for one in decisions if one.job is not None]

    def step(self, ident: str) -> Due:
        """Return what is due on a host, unless jobs are still under way that may add to it."""
        host, now, began = ident, self._site.now(), time.monotonic()
        rests = self._rests_until.get(host, 0.0) - began
        rests = max(rests, self._patience(host) if host in self._patient else 0.0)
        if rests > 0:
            return Due(wakes=(("look", now + timedelta(seconds=rests)),))
        decision = self._decide(host, now)
        # With thousands that wait, looking at all of them after each job would be all we do.
        spent = time.monotonic() - began
        self._rests_until[host] = began + spent * (1 + RESTS) if spent > QUICK else 0.0
        job, again = decision.job, decision.wake_at
        if again is not None:
            again = max(again, now + timedelta(seconds=1))
        if job is None:
            self._patient.pop(host, None)
            return Due(wakes=(("look", again),))
        if (left := self._patience(host)) > 0:
            return Due(wakes=(("look", now + timedelta(seconds=left)),))
        in_lane = self._loop.queue.in_lane(lane(job))
        if all(isinstance(one, HostJob) and one.host == host for one in in_lane):
            del self._patient[host]  # else the machine is busy under another name
        return Due((job,), (("look", again),))

    def _patience(self, host: str) -> float:
        """Return for how many seconds more a host may wait for jobs under way."""
        since = self._patient.setdefault(host, time.monotonic())
        # Orders may wait for an hour, and what they get is rolled much later. Zones are looked at
        # all the time while a roll is waited for. Hosts do not wait for each other. Generating
        # takes hours, and restarts nothing; nor does what is held.
        if not self._loop.queue.has(Pool.WORK):
            return 0.0
        return BATCH_WAIT.total_seconds() - (time.monotonic() - since)

    def after(self, job: Job) -> Iterable[str]:
        """Look again at the host of a job, and at those that waited for the last job under way."""
        waited = () if self._loop.queue.has(Pool.WORK) else tuple(self._patient)
        if not isinstance(job, HostJob):
            return waited
        machine = machine_of(job.host)
        return (job.host, *waited, *(one for one in self._patient if machine_of(one) == machine))

    def _decide(self, host: str, now: datetime) -> HostDecision:
        config = self._site.config
        entries = self._registry.entries
        states = [
            (cert, entries[cert].state)
            for cert in self._waiting.get(host, ())
            if cert in entries and not entries[cert].hold
        ]
        return decide_host(
            HostView(
                host,
                placed_on(host, states),
                wanted_on(config, *self.notes.names_of(host)),
                class_order(config),
                self.notes.visit_at(host, now),
                self._opens,
                self._sight,
            ),
            now,
        )

    def restarts_at(self, cert: CertId, server: Server, now: datetime) -> datetime:
        """Return when a server that is to be restarted may be."""
        return restarts_at(cert, server, now, self._opens)

    def is_coming(self, cert: CertId, server: Server, now: datetime) -> bool:
        """Whether something is about to be done with a server that does not wait for a time."""
        if server.phase is ServerPhase.PENDING:
            return not server.attempts
        return server.phase is ServerPhase.DELIVERED and self.restarts_at(cert, server, now) <= now

    def _opens(self, cert: CertId, server: Server, now: datetime) -> datetime:
        """Return when a server may be restarted: while its windows are open, or in need at once.

        What it uses must not expire while it waits; a class that uses nothing of ours yet on that
        host has nothing to be kept from.
        """
        if server.kind == DNS or cert not in self._site.config.services:
            return now
        if cert in self._registry and self._registry[cert].state.shows_revoked:
            return now
        groups = self._site.config.restart_windows(server.kind, cert)
        if not groups or (cert in self._registry and replaced_urgently(self._registry[cert].state)):
            return now
        at = opens(groups, now)
        late = server.expires is not None and at + ROLL_MARGIN >= server.expires
        return now if late or at <= now or not self._is_used(server) else at

    def _is_used(self, server: Server) -> bool:
        """Whether a class uses any certificate of ours on a host."""
        place = (server.kind, server.host)
        return server.uses_ours or any(
            one.uses_ours and (one.kind, one.host) == place
            for entry in self._registry.entries.values()
            for one in entry.state.servers
        )

    async def do(self, job: HostJob) -> None:
        """Copy to one host, restart its server classes, or look at them."""
        for error in await self.run(job):
            self.failures += 1
            if not isinstance(error, SslmError):
                text = f"{type(job).__name__} met an error of sslmd's own on {job.host}: {error!r}"
                self._delivering.telling.bug(text, error)

    async def run(self, job: HostJob) -> list[Exception]:
        """Do a job and note how it went; return what failed."""
        self._patient.pop(job.host, None)
        return await self._work.run(job)


def _changed(before: Entry | None, now: Entry) -> Iterator[Server]:
    """Yield the servers for which something else may be to be done now."""
    servers = now.state.servers
    if before is None or _given_by(before) != _given_by(now):
        yield from servers
        return
    pairs = zip_longest(before.state.servers, servers)
    other = {one.host for pair in pairs if pair[0] is not pair[1] for one in pair if one}
    yield from (one for one in servers if one.host in other)


def _given_by(entry: Entry) -> object:
    """Return what a certificate gives to all of its servers."""
    return entry.hold, entry.state.delivered, entry.state.curr
