"""When CAs are asked whether they want certificates renewed (RFC 9773): a few at a time.

Every certificate of an ACME CA is asked about from its issuance on, in use or on deck, until it
expires or is replaced. What the CA says is noted beside its set; `core.ari` has the rules, and the
plan of each certificate goes by them. A CA has one timer and one job, whatever number it is asked
about, and one that is silent keeps no other waiting (I6).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from datetime import datetime, timedelta

from sslmd.acme.directory import roots_in
from sslmd.core.ari import LATEST, LONG, Fault, Later, Life, WindowAnswer, looked
from sslmd.core.errors import SslmError
from sslmd.core.events import Advised
from sslmd.core.jobs import AskCa, CertJob, Job
from sslmd.core.names import CertId
from sslmd.core.reason import Reason, Why
from sslmd.core.renewal import NEVER, hurry_since
from sslmd.core.spec import AcmeCa, SetFacts
from sslmd.core.state import SetNote
from sslmd.daemon.loop import Due, Loop, OfItsJobs
from sslmd.daemon.registry import Entry, Registry
from sslmd.daemon.tell.changes import BESIDE
from sslmd.net.acme_messages import CaAddress
from sslmd.net.link import Asker
from sslmd.workers import ari
from sslmd.workers.tools import Site, Threads

# Certificates that a CA is asked about at one time, and until the next: ten thousand, all of which
# are new here, take a quarter of an hour.
AT_ONCE, EVERY = 20, timedelta(seconds=2)


class RenewalLooks(OfItsJobs):
    """The reconciler of looks: one job per CA, by the name of its table."""

    name = "ari"
    jobs = (AskCa,)

    def __init__(
        self, net: Asker, site: Site, threads: Threads, registry: Registry, loop: Loop
    ) -> None:
        self._net = net
        self._site = site
        self._threads = threads
        self._registry = registry
        self._loop = loop
        # When each certificate is asked about next, and where; and by CA who is next.
        self._next: dict[CertId, tuple[str, datetime]] = {}
        self._queues: dict[str, list[tuple[datetime, CertId]]] = {}
        self._resting: dict[str, datetime] = {}
        # CAs that do not offer it are left alone until then.
        self._without: dict[str, datetime] = {}
        registry.listen(self._heard)

    # --- when ---

    def _heard(self, cert: CertId, event: object, *_: object) -> None:
        if not isinstance(event, BESIDE):
            self._note(cert)

    def _note(self, cert: CertId) -> None:
        entry = self._registry.entries.get(cert)
        due = self._due(entry) if entry is not None else None
        if due == self._next.get(cert):
            return
        if due is None:
            self._next.pop(cert, None)
            return
        self._plan(cert, *due)

    def touch_all(self) -> None:
        """Look at all of them again: the clock was set, or another configuration is in force."""
        self._resting.clear()
        self._without.clear()
        for cert in self._registry:
            self._note(cert)
        for ca in self._queues:
            self._loop.touch(self.name, ca)

    def _plan(self, cert: CertId, ca: str, when: datetime) -> None:
        self._next[cert] = (ca, when)
        queue = self._queues.setdefault(ca, [])
        if not queue or when < queue[0][0]:
            self._loop.touch(self.name, ca)
        heapq.heappush(queue, (when, cert))

    def _due(self, entry: Entry) -> tuple[str, datetime] | None:
        """Return at which CA it is asked about a certificate, and when."""
        signer, timing = entry.wanted.spec.signer, entry.wanted.timing
        if not isinstance(signer, AcmeCa) or not timing.by_ca or entry.hold:
            return None
        if not entry.wanted.managed:
            return None
        times = [when for _, _, when in self._looks(entry)]
        return (signer.name, min(times)) if times else None

    def _looks(self, entry: Entry) -> Iterable[tuple[SetFacts, SetNote, datetime]]:
        """Yield the sets of a certificate that are asked about, and when."""
        state, now = entry.state, self._site.now()
        for facts, note in ((state.curr, state.curr_note), (state.next, state.next_note)):
            if facts is None or note is None or facts.cert is None:
                continue
            if note.ca not in ("", str(entry.wanted.spec.signer)):
                continue
            when = NEVER if note.ari is None else note.ari.next_look
            # A clock that was far ahead must not keep us from looking for years.
            when = NEVER if when > now + 2 * LATEST else when
            if max(when, now) < facts.cert.not_after:
                yield facts, note, when

    # --- the loop ---

    def step(self, ident: str) -> Due:
        """Ask a CA if it is time."""
        ca, now = ident, self._site.now()
        queue = self._queue(ca)
        if not queue:
            return Due()
        waits = (self._resting.get(ca, NEVER), self._without.get(ca, NEVER))
        when = max(queue[0][0], *waits)
        if when > now:
            return Due(wakes=(("look", when),))
        return Due((AskCa(ca, Reason(Why.ASKS_CA, ca=ca)),))

    def _queue(self, ca: str) -> list[tuple[datetime, CertId]]:
        """Return who is next at a CA, without those that have changed meanwhile."""
        queue = self._queues.get(ca, [])
        while queue and self._next.get(queue[0][1]) != (ca, queue[0][0]):
            heapq.heappop(queue)
        return queue

    async def do(self, job: AskCa) -> None:
        """Ask a CA about those whose turn it is."""
        now = self._site.now()
        self._resting[job.ca] = now + EVERY
        config = self._site.config.cas.get(job.ca)
        due = self._take(job.ca, now, AT_ONCE)
        try:
            if config is None:
                return
            try:
                roots = await self._threads.aside(roots_in, config.server_root, config.server)
                server = CaAddress(config.server, roots, config.requests)
                looks = (self._look(cert, job.ca, server) for cert in due)
                offered = await asyncio.gather(*looks)
            except (SslmError, OSError, ValueError):  # a file of roots that orders complain of
                offered = [False]
            if not all(offered):
                self._without[job.ca] = self._site.now() + LONG
                due += self._take(job.ca, now)
                for number, cert in enumerate(due, 1):
                    self._unanswered(cert)
                    if number % AT_ONCE == 0:
                        await asyncio.sleep(0)
        finally:
            for cert in due:
                self._note(cert)

    def _take(self, ca: str, now: datetime, most: int | None = None) -> list[CertId]:
        """Take out those that a CA is to be asked about by now, at most so many."""
        queue, due = self._queue(ca), list[CertId]()
        while queue and queue[0][0] <= now and len(due) != most:
            cert = heapq.heappop(queue)[1]
            del self._next[cert]
            due.append(cert)
            self._queue(ca)
        return due

    async def _look(self, cert: CertId, ca: str, server: CaAddress) -> bool:
        """Ask about the sets of one certificate; False if its CA offers no answers."""
        entry = self._registry.entries.get(cert)
        if entry is None or entry.hold:
            return True
        for facts, note, when in list(self._looks(entry)):
            now = self._site.now()
            if when > now:
                continue
            tree = self._site.tree
            ident = await self._threads.aside(ari.id_of_set, tree, cert, facts.name)
            got: WindowAnswer | Fault | Later | None = Fault.LASTING
            if ident:
                got = await ari.ask(self._net, server, ident, note.issued_at, now)
            if got is None:
                return False
            if isinstance(got, Later):
                self._resting[ca] = max(self._site.now() + got.pause, self._resting.get(ca, NEVER))
            self._heard_of(cert, facts, note, got)
        return True

    def _unanswered(self, cert: CertId) -> None:
        """Note that a CA which has answered before offers no answers: it counts as silent."""
        entry = self._registry.entries.get(cert)
        if entry is None or entry.hold:
            return
        for facts, note, when in list(self._looks(entry)):
            if note.ari is not None and when <= self._site.now():
                self._heard_of(cert, facts, note, Fault.LASTING)

    def _heard_of(
        self, cert: CertId, facts: SetFacts, note: SetNote, got: WindowAnswer | Fault | Later
    ) -> None:
        """Note an answer about a set."""
        assert facts.cert is not None
        life, now = Life(facts.cert.not_before, facts.cert.not_after, note.draw), self._site.now()
        advice = looked(note.ari, got, life, now, self._site.rng.random())
        if cert in self._registry:
            self._registry.put(cert, Advised(now, facts.name, advice))

    # --- who is in a hurry ---

    def urgency(self, job: Job) -> datetime | None:
        """Return since when what a job is about is to be replaced at once, None if it is not."""
        entry = self._registry.entries.get(job.cert) if isinstance(job, CertJob) else None
        return None if entry is None else hurry_since(entry.state, entry.wanted)
