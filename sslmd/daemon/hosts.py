"""Hosts: what is copied to each and restarted there, in batches, tried again on its own.

One visit serves all certificates that rolled together: it waits for jobs that are still under way,
but not for long. A host that fails is tried again by the table, and holds up nothing (I6).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import zip_longest

from sslmd.config.model import Config, class_order, wanted_on
from sslmd.core.errors import SslmError, Trouble
from sslmd.core.events import ServerCopied, ServerSeen, ServersWanting, ServerTold
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
from sslmd.core.host.server import failed, given, looked_at, not_given, restarted
from sslmd.core.jobs import Copy, HostJob, Job, Pool, Restart, See, Told, lane
from sslmd.core.names import CertId
from sslmd.core.renewal import ROLL_MARGIN
from sslmd.core.state import Server, ServerPhase
from sslmd.core.windows import opens
from sslmd.daemon.host_book import HostBook
from sslmd.daemon.loop import Due, Loop
from sslmd.daemon.registry import ClassesChanged, Entry, Registry
from sslmd.workers.copy import Visit, copy
from sslmd.workers.proof import rule_of
from sslmd.workers.restart import ClassRestarted, restart, see
from sslmd.workers.tools import Delivering, Site

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
        # When servers were last looked at that nobody has seen using their set.
        self._looked: dict[tuple[CertId, str, str], datetime] = {}
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
        last = self._looked.get((cert, server.kind, server.host))
        return now if last is None else looks_again(server.since or last, last)

    def forget(self, cert: CertId) -> None:
        """A certificate left the configuration."""
        for certs in self._waiting.values():
            certs.pop(cert, None)
        self._looked = {key: at for key, at in self._looked.items() if key[0] != cert}

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
        return (job.host, *waited) if isinstance(job, HostJob) else waited

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
        groups = self._site.config.restart_windows(server.kind, cert)
        if not groups:
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
        if isinstance(job, Copy):
            return await self._copy(job)
        if isinstance(job, See):
            return await self._see(job)
        return await self._restart(job)

    # --- copies ---

    async def _copy(self, job: Copy) -> list[Exception]:
        # What was rolled again since it was planned is planned anew.
        told = {one.cert: one.set for one in job.told if self._is_current(one)}
        job = replace(job, told=tuple(one for one in job.told if one.cert in told))
        before = self._as_it_is(told, job.host)
        whole: Exception | None = None
        visit = Visit()
        try:
            visit = await copy(job, self._delivering, self.notes)
        except Exception as err:
            whole = err
        errors = visit.errors if whole is None else dict.fromkeys(told, whole)
        again, now = _Again(self._site), self._site.now()
        for cert, old in self._unchanged(before):
            name, error = told[cert], errors.get(cert)
            if old.phase is not ServerPhase.PENDING:
                continue
            if error is not None:
                after = not_given(old, again.of(old, error))
            elif visit.here and not old.here:
                # Found to be this machine after all: production is to have the right owners.
                self._registry.put(cert, ServersWanting(now, frozenset({job.host})))
                continue
            else:
                is_new = visit.new.get(cert, True)
                after = given(old, name, now, is_new=is_new, here=visit.here)
            self._registry.put(cert, ServerCopied(now, after, old.set))
        for cert, hosts in self.notes.parted(job.host, visit.taken).items():
            if cert in self._registry:
                self._registry.put(cert, ServersWanting(now, hosts))
        await self.notes.visited(job.host, visit, whole)
        return list(dict.fromkeys([*errors.values(), *filter(None, (whole, visit.trouble))]))

    def _is_current(self, told: Told) -> bool:
        if told.cert not in self._registry:
            return False
        curr = self._registry[told.cert].state.curr
        return curr is not None and curr.name == told.set

    def _as_it_is(self, certs: Iterable[CertId], host: str) -> list[tuple[CertId, Server]]:
        """Return the servers of certificates on a host, as they are before something is done."""
        return [(cert, server) for cert in certs for server in self._servers(cert, host)]

    def _unchanged(self, before: list[tuple[CertId, Server]]) -> list[tuple[CertId, Server]]:
        """Return those that nothing has happened to meanwhile.

        What was done to the others was done to something else than what is wanted now; the plan
        has it done again.
        """
        return [(cert, old) for cert, old in before if old in self._servers(cert, old.host)]

    def _end_of(self, cert: CertId) -> datetime | None:
        curr = self._registry[cert].state.curr
        return curr.cert.not_after if curr is not None and curr.cert is not None else None

    def _servers(self, cert: CertId, host: str) -> list[Server]:
        if cert not in self._registry:
            return []
        return [one for one in self._registry[cert].state.servers if one.host == host]

    # --- restarts ---

    async def _restart(self, job: Restart) -> list[Exception]:
        certs = {one.cert for _, told in job.told for one in told}
        before = self._as_it_is(certs, job.host)
        try:
            outcomes = await restart(job, self._delivering)
        except Exception as err:
            outcomes = [ClassRestarted(kind, job.host, told, err) for kind, told in job.told]
        unchanged = {(cert, server.kind): server for cert, server in self._unchanged(before)}
        for outcome in outcomes:
            self._take(outcome, unchanged)
        return [error for outcome in outcomes for error in outcome.errors]

    def _take(
        self, outcome: ClassRestarted, unchanged: Mapping[tuple[CertId, str], Server]
    ) -> None:
        now = self._site.now()
        again = _Again(self._site)
        for told in outcome.told:
            old = unchanged.get((told.cert, outcome.kind))
            if old is None or old.set != told.set or old.phase is ServerPhase.PENDING:
                continue  # it is to be given something first
            error = outcome.error_of(told.cert)
            sight = outcome.sight_of(told.cert)
            old = replace(old, ports=sight.ports or old.ports)
            self._looked[told.cert, outcome.kind, outcome.host] = now
            if error is None:
                server = restarted(old, sight.why_unseen, self._end_of(told.cert), now)
            else:
                trouble = again.of(old, error)
                if outcome.error is not None:
                    trouble = replace(trouble, text=f"the restart failed: {trouble.text}")
                server = failed(old, trouble)
            unproven = error is not None and outcome.error is None
            self._registry.put(told.cert, ServerTold(now, server, unproven))

    # --- looks ---

    async def _see(self, job: See) -> list[Exception]:
        """Look at servers, and restart none: what is served there is no failure of ours."""
        certs = {one.cert for _, told in job.told for one in told}
        before = self._as_it_is(certs, job.host)
        now = self._site.now()
        self._looked.update({(cert, server.kind, server.host): now for cert, server in before})
        outcomes = await see(job, self._delivering)
        unchanged = {(cert, server.kind): server for cert, server in self._unchanged(before)}
        now = self._site.now()
        for outcome in outcomes:
            for told in outcome.told:
                old = unchanged.get((told.cert, outcome.kind))
                if old is None or old.set != told.set or old.phase is not ServerPhase.RESTARTED:
                    continue
                sight = outcome.sight_of(told.cert)
                old = replace(old, ports=sight.ports or old.ports)
                server = looked_at(old, sight.why_unseen, now)
                if server != unchanged[told.cert, outcome.kind]:
                    self._registry.put(told.cert, ServerSeen(now, server))
                self.note(told.cert)
        return []


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


class _Again:
    """Says when servers that failed together are tried again: at one time, so that one serves all.

    One that failed more often than another would else drift away from it.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._at: datetime | None = None

    def of(self, server: Server, error: Exception) -> Trouble:
        """Return the failure of a server that failed once more."""
        jitter = self._site.rng.random()
        trouble = Trouble.of(error, server.attempts, self._site.now(), jitter=jitter)
        self._at = self._at or trouble.next_try
        return replace(trouble, next_try=self._at)
