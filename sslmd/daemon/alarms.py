"""What is wrong is looked for every minute, and remembered: raised since when, told to whom.

`core.alarms` says what an alarm is, `core.machine` what of the disk and the clock is one. All of it
is read from what is known; the disk is looked at as well. Thousands of certificates are looked at a
few at a time: nobody waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from sslmd.config.model import Config
from sslmd.core.alarm import AlarmCase, gathered
from sslmd.core.alarm_events import AlarmEvent, AlarmsSeen, AlarmState, BookRead, BookUnsaved
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import (
    BesideStanding,
    CertStanding,
    Overview,
    Unknown,
    cases_beside,
    cases_of,
    unknown_of,
)
from sslmd.core.dane.report import DaneReport
from sslmd.core.errors import SslmError, Transient, is_over, text_of
from sslmd.core.failed import Failed
from sslmd.core.jobs import WatchAlarms
from sslmd.core.machine import DiskSpace, full_disks, wrong_clock
from sslmd.core.names import CertId, SetName
from sslmd.core.notice_book import AlarmBook
from sslmd.core.reason import Reason, Said, Why, noted
from sslmd.core.told import Odd
from sslmd.core.words.sentence import say
from sslmd.daemon.cert_status import failed_server_of, last_error_of, status_of, trouble_of
from sslmd.daemon.loop import Due, OfItsJobs
from sslmd.daemon.registry import Entry, Registry
from sslmd.daemon.tell.journal import WARNING, Tell
from sslmd.store import files
from sslmd.store.note_kinds import ALARM_BOOK_NOTE
from sslmd.store.notes import BadNoteError, LaterVersionError
from sslmd.workers.tools import Site, Threads

# Between two looks.
PERIOD = timedelta(minutes=1)

# Certificates that are looked at without a pause for others: a few milliseconds.
AT_ONCE = 100

# Looks for which a certificate that has not changed is taken to stand as it did: what comes with
# time alone (an expiry, say) is seen so much later at most. Each has its own number of them, so
# that thousands are not looked at again at the same time.
KEPT = range(5, 15)

Beside = Callable[[], Iterable[BesideStanding]]
_Cases = tuple[AlarmCase, ...]


class Alarms(OfItsJobs):
    """The reconciler of alarms. `beside` yields what is wrong with what is no certificate.

    `changed` is called when alarms, or what is remembered of them, may have changed.
    """

    name = "alarms"
    jobs = (WatchAlarms,)

    def __init__(
        self,
        site: Site,
        threads: Threads,
        registry: Registry,
        beside: Beside,
        changed: Callable[[], None],
        tell: Tell,
        bug: Callable[[str, BaseException], None],
    ) -> None:
        self._site, self._threads, self._registry = site, threads, registry
        self._beside, self._changed, self._tell, self._bug = beside, changed, tell, bug
        self._next: datetime | None = None
        # Of each certificate: its entry then, until when that counts, its cases and unknowns.
        self._kept: dict[CertId, tuple[Entry, datetime, _Cases, frozenset[Unknown]]] = {}
        self._saved = AlarmBook()
        self._writing = asyncio.Lock()
        self._place = site.tree.alarm_note

    @property
    def state(self) -> AlarmState:
        """The alarms, and what is remembered of them."""
        return self._registry.alarms.entries.get("") or AlarmState()

    def load(self) -> None:
        """Read what the run before remembered; blocks, for the start."""
        try:
            self._saved = ALARM_BOOK_NOTE.read(self._place)
        except (BadNoteError, LaterVersionError) as err:
            self._set_aside(err.reason)
        except (OSError, SslmError) as err:
            # What is raised is told once more; that it cannot be written is an alarm of its own.
            self._registry.alarms.put("", BookUnsaved(_why(err)))
        self._registry.alarms.put("", BookRead(self._saved))

    def _set_aside(self, why: Reason) -> None:
        aside = f"{self._place}.bad-{SetName.at(self._site.now())}"
        try:
            files.move(self._place, aside)
        except OSError as err:
            self._registry.alarms.put("", BookUnsaved(_why(err)))
            return
        odd = Reason(Odd.ALARMS_ASIDE, path=self._place, why=why, aside=aside)
        self._tell("tree-remark", odd, WARNING, None)

    def put(self, event: AlarmEvent) -> None:
        """Take in what happened."""
        self._registry.alarms.put("", event)
        self._changed()

    async def noted(self, event: AlarmEvent) -> None:
        """Take in what happened, and return when it is on disk.

        Raises `Transient` where it cannot be written; then it holds until the next start.
        """
        self.put(event)
        try:
            await self._write()
        except (OSError, SslmError) as err:
            why = Reason(Failed.ALARMS_UNSAVED, path=self._place, why=Said(_why(err)))
            raise Transient(why) from None

    # --- as a reconciler ---

    def step(self, ident: str) -> Due:
        """Look when it is time, or when the clock was set."""
        del ident  # there is one
        now = self._site.now()
        if is_over(self._next, now, PERIOD):
            return Due((WatchAlarms(Reason(Why.ALARMS_LOOK)),))
        return Due(wakes=(("look", self._next),))

    async def do(self, job: WatchAlarms) -> None:
        """Look at everything, and write down what is new."""
        del job  # there is one kind
        self._next = self._site.now() + PERIOD
        try:
            await self.look()
        except Exception as err:
            self._bug("looking for alarms met an error of sslmd's own", err)
        await self.save()

    # --- looking ---

    async def look(self) -> None:
        """Look at everything once."""
        cases: list[AlarmCase] = []
        unknown: set[Unknown] = set()
        which, now = self._registry.managed(), self._site.now()
        until = [now + PERIOD * looks for looks in KEPT]
        for cert in self._kept.keys() - set(which):
            del self._kept[cert]
        for number, cert in enumerate(which):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            entry = self._registry.entries.get(cert)
            if entry is not None:
                its_cases, its_unknown = self._of(cert, entry, now, until[number % len(until)])
                cases += its_cases
                unknown |= its_unknown
        spaces = await self._threads.aside(_spaces, self._site.config)
        clock = wrong_clock(self.state.book, self._issued(), self._site.now())
        beside = [*self._beside(), *full_disks(spaces), *clock, *self._notes()]
        cases += cases_beside(beside)
        # From here on without a pause: this is how things stand at one moment.
        alarms = tuple(gathered(cases))
        self.put(AlarmsSeen(self._site.now(), alarms, frozenset(unknown)))

    def _of(
        self, cert: CertId, entry: Entry, now: datetime, until: datetime
    ) -> tuple[_Cases, frozenset[Unknown]]:
        """Return what a certificate makes of alarms; it counts `until` then."""
        kept = self._kept.get(cert)
        if kept is not None and kept[0] is entry and not is_over(kept[1], now, PERIOD * KEPT.stop):
            return kept[2:]
        standing = cert_standing(cert, entry)
        found = tuple(cases_of(standing, now)), unknown_of(Overview((standing,)), now)
        self._kept[cert] = (entry, until, *found)
        return found

    def _issued(self) -> Iterator[datetime]:
        """Yield when what is in use was issued."""
        for entry in self._registry.entries.values():
            if entry.state.curr is not None and (cert := entry.state.curr.cert) is not None:
                yield cert.not_before

    def _notes(self) -> Iterator[BesideStanding]:
        if why := self.state.unsaved:
            reason = Reason(Failed.ALARMS_UNSAVED, path=self._place, why=Said(why))
            yield BesideStanding(AlarmKind.NOTES, os.path.basename(self._place), reason)

    # --- writing ---

    async def save(self) -> None:
        """Write the book if there is more in it than that time went on."""
        with suppress(OSError, SslmError):  # it is an alarm, and tried again with the next look
            await self._write()

    async def _write(self) -> None:
        async with self._writing:
            book = self.state.book
            if not book.differs(self._saved):
                return
            try:
                await self._threads.aside(ALARM_BOOK_NOTE.write, self._place, book)
            except (OSError, SslmError) as err:
                self._registry.alarms.put("", BookUnsaved(_why(err)))
                raise
            self._saved = book
            self._registry.alarms.put("", BookUnsaved(""))


def cert_standing(cert: CertId, entry: Entry) -> CertStanding:
    """Return how a certificate stands, as alarms are made of it."""
    *_, why = last_error_of(entry, trouble_of(entry), failed_server_of(entry.state.servers))
    report, wanted = entry.report, entry.wanted
    names = frozenset(name.lower() for name in (*wanted.names, cert.group))
    return CertStanding(
        cert,
        status_of(entry),
        why,
        names,
        say(entry.unsaved),
        wanted.dane,
        report.at if report is not None else None,
        _unseen(report) if report is not None and wanted.dane else (),
        _account(entry),
    )


def _unseen(report: DaneReport) -> tuple[Reason, ...]:
    return tuple(one.why.of(one.where) for one in report.findings if one.unseen)


def _account(entry: Entry) -> BesideStanding | None:
    """Return what failed last where that is the account at its CA, by the name of the CA."""
    trouble, ca = entry.state.trouble, str(entry.wanted.spec.signer)
    if trouble is None or not trouble.account or trouble.ca != ca:
        return None
    why = trouble.reason.of(None) if trouble.reason is not None else noted(trouble.text)
    return BesideStanding(AlarmKind.ACCOUNT, ca, why)


def _spaces(config: Config) -> list[DiskSpace]:
    """Return what is left where our folders are; blocks."""
    found = []
    for path in (config.globals.certs_dir, config.globals.prod_cert_dir):
        there = next((one for one in (path, *path.parents) if one.exists()), path)
        try:
            info, device = os.statvfs(there), os.stat(there).st_dev
        except OSError:
            continue  # who needs it says so
        entries = info.f_favail if info.f_files else None
        found.append(DiskSpace(str(path), device, info.f_bavail * info.f_frsize, entries))
    return found


def _why(err: Exception) -> str:
    return (err.strerror if isinstance(err, OSError) else None) or text_of(err)
