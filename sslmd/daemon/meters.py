"""What the daemon counts for `sslmctl metrics`: since its start, and never for a decision.

Counters begin at nothing with every start, as those of Prometheus may.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sslmd.core.events import Event, WasIssued
from sslmd.core.jobs import Job
from sslmd.core.names import CertId
from sslmd.daemon.registry import Entry, Noticed

# For how long a turn of the loop that came late is remembered as the longest.
REMEMBERED = timedelta(minutes=5)


def kind_of_job(job: type[Job]) -> str:
    """Return how a kind of job is called in labels: `make_key`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", job.__name__).lower()


@dataclass(slots=True)
class JobCount:
    """Jobs of one kind that have ended, however: how many, and how long they were at work."""

    number: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Meters:
    """One per daemon. `turned`: when the loop last asked what comes next; None: not yet.

    Counts that belong to others stand with them: events with the journal, starts with the network
    process.
    """

    now: Callable[[], datetime]
    jobs: dict[str, JobCount] = field(default_factory=dict)
    # Certificates, by the directory of the CA.
    issued: Counter[str] = field(default_factory=Counter)
    turned: datetime | None = None
    _lags: deque[tuple[float, float]] = field(default_factory=deque)

    @contextmanager
    def at_work(self, job: Job) -> Iterator[None]:
        """To be held while a job is done."""
        began = time.monotonic()
        try:
            yield
        finally:
            counted = self.jobs.setdefault(kind_of_job(type(job)), JobCount())
            counted.number += 1
            counted.seconds += time.monotonic() - began

    def lagged(self, seconds: float) -> None:
        """A timer fired so much later than it was set for."""
        now, seconds = time.monotonic(), max(seconds, 0.0)
        # Those that are older and no longer than this one say nothing any more.
        while self._lags and self._lags[-1][1] <= seconds:
            self._lags.pop()
        self._lags.append((now, seconds))
        self._forget(now)

    @property
    def lag(self) -> float:
        """Seconds by which a timer fired late, at most, in the last minutes (`REMEMBERED`)."""
        self._forget(time.monotonic())
        return self._lags[0][1] if self._lags else 0.0

    def _forget(self, now: float) -> None:
        while self._lags and now - self._lags[0][0] > REMEMBERED.total_seconds():
            self._lags.popleft()

    def hear(
        self, cert: CertId, event: Event | Noticed, before: Entry | None, after: Entry | None
    ) -> None:
        """Count what CAs issued."""
        del cert, before, after
        if isinstance(event, WasIssued):
            self.issued[event.issuance.server] += 1
