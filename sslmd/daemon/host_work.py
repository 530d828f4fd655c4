"""What is done on hosts, and what it comes to for each certificate there.

What happened to a server while something was done for it was done for something else than what is
wanted now: what came of it is not counted, and the plan has it done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from sslmd.core.errors import Trouble
from sslmd.core.events import ServerCopied, ServerSeen, ServersWanting, ServerTold
from sslmd.core.failed import Failed
from sslmd.core.host.server import failed, given, looked_at, not_given, restarted
from sslmd.core.jobs import Copy, HostJob, Restart, See, Told
from sslmd.core.names import CertId
from sslmd.core.plain import plain
from sslmd.core.reason import Reason
from sslmd.core.state import Server, ServerPhase
from sslmd.core.words.sentence import say
from sslmd.daemon.host_book import HostBook
from sslmd.daemon.registry import Registry
from sslmd.workers.copy import Visit, copy
from sslmd.workers.restart import ClassRestarted, restart, see
from sslmd.workers.tools import Delivering, Site

# The servers that something is done for, as they were before it.
_Before = Mapping[tuple[CertId, str], Server]


class HostWork:
    """Does the jobs of hosts. `looked`: when nobody saw a server using its set, last."""

    def __init__(self, delivering: Delivering, registry: Registry, notes: HostBook) -> None:
        self._delivering, self._site = delivering, delivering.site
        self._registry = registry
        self._notes = notes
        self.looked: dict[tuple[CertId, str, str], datetime] = {}

    async def run(self, job: HostJob) -> list[Exception]:
        """Do a job and note how it went; return what failed."""
        if isinstance(job, Copy):
            return await self._copy(job)
        before = self._servers({one.cert for _, told in job.told for one in told}, job.host)
        if isinstance(job, See):
            await self._see(job, before)
            return []
        return await self._restart(job, before)

    def _servers(self, certs: Iterable[CertId], host: str) -> dict[tuple[CertId, str], Server]:
        """Return the servers of certificates on a host, by certificate and class."""
        return {
            (cert, one.kind): one
            for cert in certs
            if cert in self._registry
            for one in self._registry[cert].state.servers
            if one.host == host
        }

    def _unchanged(self, before: _Before, host: str) -> dict[tuple[CertId, str], Server]:
        """Return those to which nothing has happened meanwhile."""
        now = self._servers(dict.fromkeys(cert for cert, _ in before), host)
        return {place: old for place, old in before.items() if now.get(place) == old}

    # --- copies ---

    async def _copy(self, job: Copy) -> list[Exception]:
        # What was rolled again since it was planned is planned anew.
        told = {one.cert: one.set for one in job.told if self._is_current(one)}
        job = replace(job, told=tuple(one for one in job.told if one.cert in told))
        before = self._servers(told, job.host)
        whole: Exception | None = None
        visit = Visit()
        try:
            visit = await copy(job, self._delivering, self._notes)
        except Exception as err:
            whole = err
        errors = visit.errors if whole is None else dict.fromkeys(told, whole)
        again, now = _Again(self._site), self._site.now()
        for (cert, _), old in self._unchanged(before, job.host).items():
            if old.phase is not ServerPhase.PENDING:
                continue
            if (error := errors.get(cert)) is not None:
                after = not_given(old, again.of(old, error))
            elif visit.here and not old.here:
                # Found to be this machine after all: production is to have the right owners.
                self._registry.put(cert, ServersWanting(now, frozenset({job.host})))
                continue
            else:
                is_new = visit.new.get(cert, True)
                after = given(old, told[cert], now, is_new=is_new, here=visit.here)
            self._registry.put(cert, ServerCopied(now, after, old.set))
        for cert, hosts in self._notes.parted(job.host, visit.taken).items():
            if cert in self._registry:
                self._registry.put(cert, ServersWanting(now, hosts))
        await self._notes.visited(job.host, visit, whole)
        return list(dict.fromkeys([*errors.values(), *filter(None, (whole, visit.trouble))]))

    def _is_current(self, told: Told) -> bool:
        if told.cert not in self._registry:
            return False
        curr = self._registry[told.cert].state.curr
        return curr is not None and curr.name == told.set

    # --- restarts, and looks ---

    async def _restart(self, job: Restart, before: _Before) -> list[Exception]:
        try:
            outcomes = await restart(job, self._delivering)
        except Exception as err:
            outcomes = [ClassRestarted(kind, job.host, told, err) for kind, told in job.told]
        unchanged = self._unchanged(before, job.host)
        now = self._site.now()
        for outcome in outcomes:
            again = _Again(self._site)
            for cert, old in self._told(outcome, unchanged):
                if old.phase is ServerPhase.PENDING:
                    continue  # it is to be given something first
                error, sight = outcome.error_of(cert), outcome.sight_of(cert)
                self.looked[cert, old.kind, old.host] = now
                if error is None:
                    curr = self._registry[cert].state.curr
                    end = curr.cert.not_after if curr is not None and curr.cert else None
                    server = restarted(old, sight.why_unseen, end, now)
                else:
                    trouble = again.of(old, error)
                    if outcome.error is not None:
                        why = Reason(Failed.NOT_RESTARTED, why=trouble.reason)
                        trouble = replace(trouble, text=plain(say(why)), reason=why)
                    server = failed(old, trouble)
                unproven = error is not None and outcome.error is None
                self._registry.put(cert, ServerTold(now, server, unproven))
        return [error for outcome in outcomes for error in outcome.errors]

    async def _see(self, job: See, before: _Before) -> None:
        """Look at servers, and restart none: what is served there is no failure of ours.

        But where nobody could look after a restart, this is the look that says how it went.
        """
        now = self._site.now()
        self.looked |= {(cert, kind, job.host): now for cert, kind in before}
        outcomes = await see(job, self._delivering)
        unchanged = self._unchanged(before, job.host)
        now = self._site.now()
        for outcome in outcomes:
            again = _Again(self._site)
            for cert, old in self._told(outcome, unchanged):
                if old.phase is not ServerPhase.RESTARTED:
                    continue
                error = outcome.error_of(cert)
                if error is not None and old.is_owed_a_look:
                    server = failed(old, again.of(old, error))
                    self._registry.put(cert, ServerTold(now, server, unproven=True))
                    continue
                server = looked_at(old, outcome.sight_of(cert).why_unseen, now)
                if server != unchanged[cert, old.kind]:
                    self._registry.put(cert, ServerSeen(now, server))

    def _told(self, outcome: ClassRestarted, unchanged: _Before) -> Iterator[tuple[CertId, Server]]:
        """Yield the servers that something was done for, with the ports that were seen to count."""
        for told in outcome.told:
            old = unchanged.get((told.cert, outcome.kind))
            if old is not None and old.set == told.set:
                yield told.cert, replace(old, ports=outcome.sight_of(told.cert).ports or old.ports)


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
