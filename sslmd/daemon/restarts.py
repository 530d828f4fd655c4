"""Restarts in batches: one for all certificates that rolled together, tried again on its own.

A restart waits for jobs that are still under way, so that it serves them too, but not for
long; a server that fails is tried again by the table, and holds up nothing (I6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sslmd.config.model import Config
from sslmd.core.backoff import Failure, next_try
from sslmd.core.deliver_track import BATCH_WAIT, next_restart, plan_restarts
from sslmd.core.errors import SslmError, Transient
from sslmd.core.jobs import Pool, Restart, pool
from sslmd.core.lifecycle import ServerTold
from sslmd.core.names import CertId
from sslmd.core.state import CertState, Server, ServerPhase
from sslmd.daemon.book import Book
from sslmd.workers.deliver import DNS, class_order
from sslmd.workers.queue import JobQueue
from sslmd.workers.restart import ClassRestarted, restart
from sslmd.workers.tools import Tools


def failure_of(err: Exception) -> Failure:
    """Return what kind of failure an exception is."""
    if isinstance(err, Transient):
        return Failure.TRANSIENT
    return Failure.PERMANENT if isinstance(err, SslmError) else Failure.BUG


def _commands(config: Config) -> dict[str, object]:
    """Return what is run for each class, for how long, and what is looked at then."""
    commands: dict[str, object] = {
        str(one.kind): (one.restart, one.probes, one.probe_timeout) for one in config.server_classes
    }
    commands[DNS] = config.dns.restart
    return {kind: (done, config.globals.cmd_timeout) for kind, done in commands.items()}


class Restarts:
    """Knows which certificates have a server to be restarted, and queues it when it is time."""

    def __init__(
        self,
        tools: Tools,
        book: Book,
        queue: JobQueue,
        apply: Callable[[CertId, ServerTold], None],
    ) -> None:
        self._tools = tools
        self._book = book
        self._queue = queue
        self._apply = apply
        self._waiting: set[CertId] = set()
        self._batch_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def note(self, cert: CertId) -> None:
        """Look at the servers of a certificate that changed."""
        phases = {server.phase for server in self._book[cert].state.servers}
        if ServerPhase.DELIVERED in phases and self._batch_since is None:
            self._batch_since = time.monotonic()
        if phases & {ServerPhase.DELIVERED, ServerPhase.FAILED}:
            self._waiting.add(cert)
        else:
            self._waiting.discard(cert)

    def forget(self, cert: CertId) -> None:
        """A certificate left the configuration."""
        self._waiting.discard(cert)

    def reconfigured(self, old: Config) -> None:
        """Forget the failures of commands that `old` had otherwise: the new ones are tried."""
        before, after = _commands(old), _commands(self._tools.config)
        changed = {kind for kind in after if after[kind] != before.get(kind)}
        for cert in self._waiting:
            entry = self._book[cert]
            entry.state = replace(
                entry.state,
                servers=tuple(
                    replace(server, attempts=0, next_try=None)
                    if server.phase is ServerPhase.FAILED and server.kind in changed
                    else server
                    for server in entry.state.servers
                ),
            )
            entry.document = None

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        self._set_timer(None)

    def due(self) -> bool:
        """Whether a restart could be done now."""
        return bool(self._plan(self._tools.now()))

    def consider(self) -> None:
        """Queue the restarts that are due, unless jobs are still under way that may add to them."""
        if not self._waiting or self._stopped:
            return
        self._set_timer(None)
        now = self._tools.now()
        jobs = self._plan(now)
        if not jobs:
            self._batch_since = None
            again = next_restart(state for _, state in self._states())
            if again is not None:
                self._set_timer(max((again - now).total_seconds(), 1.0))
            return
        left = self._patience()
        if left > 0:
            self._set_timer(left)
            return
        for job in jobs:
            self._queue.submit(job)

    def _patience(self) -> float:
        """Return for how many seconds more the batch may wait for jobs under way."""
        others = (*self._queue.running(), *self._queue.queued())
        # Orders may wait for an hour, and what they get is rolled much later. Zones are looked at
        # all the time while a roll is waited for.
        apart = (Pool.ACME, Pool.DNS)
        if all(isinstance(job, Restart) or pool(job) in apart for job in others):
            return 0.0
        if self._batch_since is None:
            self._batch_since = time.monotonic()
        return BATCH_WAIT.total_seconds() - (time.monotonic() - self._batch_since)

    def _states(self) -> list[tuple[CertId, CertState]]:
        return [(cert, self._book[cert].state) for cert in self._waiting if cert in self._book]

    def _plan(self, now: datetime) -> list[Restart]:
        return plan_restarts(self._states(), class_order(self._tools.config), now)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self.consider)

    async def run(self, job: Restart) -> list[Exception]:
        """Do a restart and note how it went; return what failed."""
        self._batch_since = None
        try:
            outcomes = await restart(job, self._tools)
        except Exception as err:
            outcomes = [ClassRestarted(kind, job.host, told, err) for kind, told in job.told]
        for outcome in outcomes:
            self._take(outcome)
        return [error for outcome in outcomes for error in outcome.errors]

    def _take(self, outcome: ClassRestarted) -> None:
        now = self._tools.now()
        again: datetime | None = None
        for told in outcome.told:
            old = self._server(told.cert, outcome)
            if old is None:
                continue
            error = outcome.error_of(told.cert)
            if error is None:
                server = Server(outcome.kind, outcome.host, ServerPhase.PROVEN, told.set)
            else:
                # One time for all, so that the next try serves all as well.
                again = again or next_try(
                    failure_of(error),
                    old.attempts + 1,
                    now,
                    jitter=self._tools.rng.random(),
                )
                server = replace(
                    old,
                    phase=ServerPhase.FAILED,
                    set=told.set,
                    error=str(error) or repr(error),
                    attempts=old.attempts + 1,
                    next_try=again,
                )
            self._apply(told.cert, ServerTold(now, server))

    def _server(self, cert: CertId, outcome: ClassRestarted) -> Server | None:
        if cert not in self._book:
            return None
        for server in self._book[cert].state.servers:
            if (server.kind, server.host) == (outcome.kind, outcome.host):
                return server
        return None
