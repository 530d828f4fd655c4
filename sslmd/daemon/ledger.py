"""state.toml of every certificate, written behind the events: many changes, one write.

A state file is a note and not the truth, so a write may come a moment after what it tells of;
only what an admin asks for, or takes back, is awaited before it is confirmed. A full disk loses
nothing: what could not be written is kept and tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sslmd.core.errors import SslmError, is_over
from sslmd.core.jobs import WriteNotes
from sslmd.core.names import CertId
from sslmd.core.reason import Held, Reason, Said, Why
from sslmd.core.state import CertState
from sslmd.daemon.loop import Due, OfItsJobs
from sslmd.daemon.registry import Registry, Unsaved
from sslmd.store import certs
from sslmd.store.state import HistoryEntry
from sslmd.workers.tools import Site, Telling

Errors = dict[CertId, Exception]

# To the next try after a write failed: nothing that happens meanwhile is safe from a crash.
RETRY = timedelta(seconds=20)

# Seconds from a batch of many to the next that nobody waits for: with thousands of certificates on
# their way, what happens to one in between is written together.
PAUSE = 0.5
MANY = 8


@dataclass(frozen=True, slots=True)
class Page:
    """What to write for one certificate."""

    state: CertState
    times: dict[str, datetime | None]


@dataclass(slots=True)
class _Pending:
    entries: list[HistoryEntry] = field(default_factory=list)
    awaited: list[asyncio.Future[None]] = field(default_factory=list)


class Ledger(OfItsJobs):
    """Writes what `page_of` tells of the certificates that were noted.

    `failed` is told when writing began to fail, with the error, which may be one of our own;
    `mended` when it works again. Of the loop it is a reconciler: when it is tried again is asked
    for by `touch`.
    """

    name = "notes"
    jobs = (WriteNotes,)

    def __init__(
        self,
        site: Site,
        page_of: Callable[[CertId], Page | None],
        failed: Callable[[CertId, Exception], None],
        mended: Callable[[CertId], None] = lambda _: None,
        touch: Callable[[], None] = lambda: None,
    ) -> None:
        self._site = site
        self._page_of = page_of
        self._failed = failed
        self._mended = mended
        self._touch = touch
        self._again_at: datetime | None = None
        # Of its own: what is left to write at the end must not wait behind keys being made.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sslmd-notes")
        self._pending: dict[CertId, _Pending] = {}
        self._being_written: dict[CertId, _Pending] = {}
        self._wanted, self._urgent = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing: set[CertId] = set()
        self._closing = False

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._write_all())

    def note(self, cert: CertId, entries: list[HistoryEntry]) -> None:
        """The state of `cert` changed; `entries` are new in its history.

        It is written with what else this moment brings about: at the next `write`.
        """
        self._pending.setdefault(cert, _Pending()).entries += entries

    def step(self, ident: str) -> Due:
        """Try again when it is time; also where the clock was set back."""
        del ident  # there is one
        if self._again_at is None:
            return Due(wakes=())
        now = self._site.now()
        if not is_over(self._again_at, now, RETRY):
            return Due(wakes=(("look", self._again_at),))
        return Due((WriteNotes(Reason(Why.NOTES_AGAIN)),))

    async def do(self, job: WriteNotes) -> None:
        """Try again, beside what else is to be written."""
        del job  # there is one kind
        self._again_at = None
        self.write()

    def write(self) -> None:
        """Write what was noted."""
        if self._pending:
            self._wanted.set()

    def unwritten(self, cert: CertId) -> tuple[HistoryEntry, ...]:
        """Return what is new in its history, and perhaps not on disk."""
        both = self._being_written.get(cert), self._pending.get(cert)
        return tuple(entry for one in both if one is not None for entry in one.entries)

    async def written(self, cert: CertId) -> None:
        """Return when everything noted of `cert` is on disk; raises what kept it from that."""
        pending = self._pending.get(cert) or self._being_written.get(cert)
        if pending is None:
            return
        future = asyncio.get_running_loop().create_future()
        pending.awaited.append(future)
        self._wanted.set()
        self._urgent.set()
        await future

    async def close(self) -> None:
        """Write what is left, as far as it can be written, and end."""
        self._closing = True
        self._wanted.set()
        self._urgent.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _write_all(self) -> None:
        while not (self._closing and not self._pending):
            await self._wanted.wait()
            self._wanted.clear()
            if not self._closing:
                self._urgent.clear()
            batch, self._pending = self._pending, {}
            self._being_written = batch
            loop = asyncio.get_running_loop()
            pages, errors = self._pages_of(batch)
            errors |= await loop.run_in_executor(self._thread, self._write, batch, pages)
            self._being_written = {}
            for cert, pending in batch.items():
                self._settle(cert, pending, errors.get(cert))
            if errors and self._closing:
                return
            if errors:
                self._again_at = self._site.now() + RETRY
                self._touch()
            if len(batch) >= MANY:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), PAUSE)

    def _pages_of(self, which: Iterable[CertId]) -> tuple[dict[CertId, Page], Errors]:
        """Return what to write, and whose page cannot be made; what is gone has none."""
        pages: dict[CertId, Page] = {}
        errors: Errors = {}
        for cert in which:
            try:
                if (page := self._page_of(cert)) is not None:
                    pages[cert] = page
            except Exception as err:
                errors[cert] = err
        return pages, errors

    def _settle(self, cert: CertId, pending: _Pending, error: Exception | None) -> None:
        for future in pending.awaited:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        if error is None:
            if cert in self._failing:
                self._failing.discard(cert)
                self._mended(cert)
            return
        later = self._pending.setdefault(cert, _Pending())
        later.entries[:0] = pending.entries
        if cert not in self._failing:
            self._failing.add(cert)
            self._failed(cert, error)

    def _write(self, batch: dict[CertId, _Pending], pages: dict[CertId, Page]) -> Errors:
        errors: Errors = {}
        for cert, page in pages.items():
            entries = batch[cert].entries
            try:
                certs.save(self._site.tree, cert, page.state, times=page.times, entries=entries)
            except Exception as err:  # an error of our own, too, stops no other's (I6)
                errors[cert] = err
        return errors


class Pages:
    """The ledger's side of the registry. `failures` counts what could not be written."""

    def __init__(self, registry: Registry, telling: Telling) -> None:
        self._registry, self._telling = registry, telling
        self.failures = 0

    def page_of(self, cert: CertId) -> Page | None:
        """Return what to write, None for what is gone, or is held and not to be touched."""
        if cert not in self._registry or self._registry[cert].hold:
            return None
        entry = self._registry[cert]
        times = {"renew_at": entry.decision.renew_at, "roll_at": entry.decision.roll_at}
        return Page(entry.state, times)

    def mended(self, cert: CertId) -> None:
        """It can be written again."""
        if cert in self._registry:
            self._registry.put(cert, Unsaved(None))

    def failed(self, cert: CertId, err: Exception) -> None:
        """It cannot be written any more."""
        self.failures += 1
        if isinstance(err, SslmError):
            why = err.beside(cert)
        else:
            why = Reason(Held.OWN_ERROR, error=Said(repr(err)))
            self._telling.bug(f"{cert}: state.toml cannot be written: {err!r}", err)
        if cert in self._registry:
            self._registry.put(cert, Unsaved(why))
