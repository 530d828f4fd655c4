"""The TLSA records of every zone: given to DNS, looked at, and what follows for a roll (I4).

Whatever changes of a certificate is noted here; its zone then gets a `Publish` if DNS should serve
something else than it was given, a `Look` when it is time to see what it serves, and a `Watch`
every day. Times here are those of the event loop's clock, which nobody sets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from sslmd.core.backoff import LADDER_MINUTES, Failure
from sslmd.core.errors import SslmError, Transient
from sslmd.core.gate import gate_of
from sslmd.core.jobs import Look, Publish, Watch, ZoneJob
from sslmd.core.lifecycle import Event, TlsaLooked
from sslmd.core.names import CertId, GroupName, SetName, ZoneName
from sslmd.core.sighting import FIRST_PAUSE, GROWTH, LONGEST_MISSING
from sslmd.core.view import Dane
from sslmd.daemon.book import Book, DaneReport, Entry
from sslmd.daemon.dane_zone import Zone, cert_wish, is_of, unsigned_text
from sslmd.daemon.journal import ERROR, INFO, WARNING
from sslmd.daemon.restarts import failure_of
from sslmd.dns import tlsa_publish
from sslmd.dns.tlsa_include import tlsa_file
from sslmd.dns.tlsa_notes import noted_tlsa_zones
from sslmd.store import zone_notes
from sslmd.workers.dane import Finding, ask_resolver, findings_of_ports, prove_ports
from sslmd.workers.dane import look as look_ports
from sslmd.workers.ports import PortSeen
from sslmd.workers.queue import JobQueue
from sslmd.workers.tlsa import CertWish, Given, Wish, look, publish
from sslmd.workers.tools import Tools

# Seconds between two looks at the include files: somebody may have changed one by hand.
FILES = 60.0

# Seconds between two looks at a zone where nothing is waited for, and between two watches.
DAY = 86_400.0

# Seconds after which a watch that found something is repeated, before it is told; and then, while
# something is wrong: the alarm is to end when it was put right.
DOUBT = 60.0
IN_ALARM = 900.0

# Certificates of one zone whose ports are looked at side by side.
WATCHED_AT_ONCE = 4

# Seconds to the next try after what should not have happened.
AFTER_BUG = 60.0

# Seconds from the start to the first watch: up to so many, so that a site's zones take turns.
FIRST_WATCH = 600.0

Tell = Callable[[str, str, int, CertId | None], None]


class Zones:
    """Knows the zones of the certificates and queues their jobs. One per daemon."""

    def __init__(
        self,
        tools: Tools,
        book: Book,
        queue: JobQueue,
        apply: Callable[[CertId, Event], None],
        replan: Callable[[CertId], object],
        tell: Tell,
    ) -> None:
        self._tools = tools
        self._book = book
        self._queue = queue
        self._apply = apply
        self._replan = replan
        self._tell = tell
        self._zones: dict[ZoneName, Zone] = {}
        self._timers: dict[ZoneName, asyncio.TimerHandle] = {}
        self._dirty: set[ZoneName] = set()
        self._steady = asyncio.Event()
        self._steady.set()
        self._running = False

    # --- its life ---

    def start(self) -> None:
        """Begin with every zone: those without TLSA records have an include file as well.

        Also those that the configuration does not know any more: what is left there goes.
        """
        self._running = True
        left = noted_tlsa_zones(self._tools.config.globals.certs_dir)
        for name in sorted({*self._tools.config.zones(), *left}):
            self._zone(name)
        for name in sorted(self._zones):
            self._consider(name)

    def stop(self) -> None:
        """Start nothing more."""
        self._running = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @contextmanager
    def in_flux(self) -> Iterator[None]:
        """Give nothing to DNS meanwhile: the book is being exchanged, with waits in between.

        A service that gets another name would leave first, with its records, and then come.
        """
        self._steady.clear()
        try:
            yield
        finally:
            self._steady.set()
            for name in self._zones:
                self._soon(name)

    def reconfigured(self) -> None:
        """Look at everything again: zones, the ways to publish and the files may be others."""
        for name in self._tools.config.zones():
            self._zone(name)
        for zone in self._zones.values():
            zone.again = zone.again or zone.given is not None
            zone.retry_at = 0.0
            self._soon(zone.name)

    def _zone(self, name: ZoneName) -> Zone:
        if name not in self._zones:
            self._zones[name] = Zone(name)
        return self._zones[name]

    # --- what changes ---

    def note(self, cert: CertId) -> None:
        """A certificate changed, or is new."""
        entry = self._book.entries.get(cert)
        name = ZoneName(cert.group)
        if entry is not None and entry.wanted.dane:
            self._zone(name).certs.add(cert)
        elif name in self._zones and cert in self._zones[name].certs:
            self._zones[name].certs.discard(cert)
        else:
            return
        self._soon(name)

    def forget(self, cert: CertId) -> None:
        """A certificate left the configuration: its records go."""
        name = ZoneName(cert.group)
        if name in self._zones and cert in self._zones[name].certs:
            self._zones[name].certs.discard(cert)
            self._soon(name)

    def _soon(self, name: ZoneName) -> None:
        """Consider a zone when everything that happens now has happened."""
        if not self._running or name in self._dirty:
            return
        self._dirty.add(name)
        asyncio.get_running_loop().call_soon(self._consider_dirty, name)

    def _consider_dirty(self, name: ZoneName) -> None:
        self._dirty.discard(name)
        self._consider(name)

    # --- what comes next ---

    def _wish(self, zone: Zone) -> Wish:
        certs = [cert for cert in sorted(zone.certs) if cert in self._book]
        return Wish(zone.name, tuple(self._cert_wish(cert) for cert in certs))

    def _cert_wish(self, cert: CertId) -> CertWish:
        entry = self._book[cert]
        service = self._tools.config.services[cert]
        return cert_wish(entry, service)

    def consider(self, name: ZoneName) -> None:
        """Queue what is due for a zone; set the timer for what is not."""
        if name in self._zones:
            self._consider(name)

    def _consider(self, name: ZoneName) -> None:
        if not self._running or not self._steady.is_set():
            return
        zone = self._zones[name]
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if self._queue.busy(f"zone {name}"):
            return  # considered again when that is done
        now = _clock()
        job = self._due(zone, now)
        if job is not None:
            self._queue.submit(job)
            return
        times = [zone.files_at]
        if zone.trouble or zone.again:
            times.append(zone.retry_at)
        if zone.wish is not None and zone.wish.wants_mx:
            times.append(zone.mx_at)
        if self._has_records(zone):
            times += [zone.look_at, zone.watch_at]
        delay = max(min(times) - now, 0.05)
        self._timers[name] = asyncio.get_running_loop().call_later(delay, self._consider, name)

    def _due(self, zone: Zone, now: float) -> ZoneJob | None:
        wish = self._wish(zone)
        if wish != zone.wish and (wish != zone.tried or now >= zone.retry_at):
            return Publish(zone.name, "what it should serve may be something else now")
        if zone.again and now >= zone.retry_at:
            return Publish(zone.name, "what was given to DNS is compared with what should be")
        if wish.wants_mx and now >= zone.mx_at:
            zone.mx_at = now + DAY
            return Publish(zone.name, "its MX hosts are looked up every day")
        if now >= zone.files_at:
            zone.files_at = now + FILES
            if self._stamps(zone) != zone.stamps:
                return Publish(zone.name, "an include file was changed or removed by hand")
        if not self._has_records(zone):
            return None
        if now >= zone.look_at:
            return Look(zone.name, "what its name servers show")
        if now >= zone.watch_at:
            if self._is_changing(zone, now):
                zone.watch_at = now + DOUBT
                return None
            return Watch(zone.name, "the daily comparison of DNS, ports and keys")
        return None

    def _is_changing(self, zone: Zone, now: float) -> bool:
        """Whether name servers may just be taking what was published lately."""
        limit = self._tools.config.globals.dns_check_timeout.total_seconds()
        complete = zone.sighting is not None and zone.sighting.complete
        return not complete and now - zone.changed_at < limit

    def _has_records(self, zone: Zone) -> bool:
        fading = zone.notes is not None and bool(zone.notes.fading)
        return (bool(zone.certs) or fading) and zone.given is not None

    def _stamps(self, zone: Zone) -> tuple[object, ...]:
        """Tell the include files from others, without reading them."""
        if self._tools.means.updated(zone.name):
            return ()
        return tuple(_stamp(tlsa_file(d, zone.name)) for d in self._tools.config.dns.tlsa_dirs)

    # --- the jobs ---

    async def run(self, job: ZoneJob) -> None:
        """Do a job of a zone; what fails is tried again by the table, and told."""
        zone = self._zones[job.zone]
        try:
            match job:
                case Publish():
                    await self._publish(zone)
                case Look():
                    await self._look(zone)
                case Watch():
                    zone.watch_at = _clock() + DAY
                    await self.watch(zone.name, asked=False)
        except Exception as err:
            # It must neither end the zone's turn for good nor be tried again at once.
            zone.look_at = zone.retry_at = _clock() + AFTER_BUG
            text = err if isinstance(err, SslmError) else f"an error of sslmd's own: {err!r}"
            zone.look_trouble = f"{type(job).__name__}: {text}"
            if isinstance(err, SslmError):
                self._tell("tlsa-trouble", f"zone {zone.name}: {text}", ERROR, None)
            else:
                self._tools.bug(f"zone {zone.name}: {text}", err)

    def done(self, job: ZoneJob) -> None:
        """A job has left the queue."""
        self._soon(job.zone)

    async def _publish(self, zone: Zone, *, again: bool = False) -> Given | None:
        try:
            async with zone.turn:
                return await self._give(zone, again=again)
        finally:
            # What the plan goes by is new, and whoever waits for the zone's turn may have it.
            self._replan_all(zone)

    async def _give(self, zone: Zone, *, again: bool = False) -> Given | None:
        """Have DNS given what it should serve, as who holds the zone's turn; None: that failed."""
        await self._steady.wait()
        wish = self._wish(zone)
        try:
            if zone.given is None:
                means, name = self._tools.means, zone.name
                zone.noted = await self._tools.in_thread(tlsa_publish.published, means, name)
            if zone.notes is None:
                zone.notes = await self._tools.in_thread(self._read_notes, zone.name)
            given = await publish(wish, zone.notes, self._tools, again=again)
        except Exception as err:
            self._failed(zone, wish, err)
            if again:
                raise
            return None
        self._given(zone, wish, given)
        if given.failure is not None:
            self._failed(zone, wish, given.failure)
            if again:
                raise given.failure
            return None
        return given

    def _replan_all(self, zone: Zone) -> None:
        """Plan anew what the zone has a say in, and what waits for its turn.

        While records fade, that is every certificate there.
        """
        which = zone.certs | zone.queued
        zone.queued = set()
        if zone.notes is not None and zone.notes.fading:
            which |= self._of_group(zone)
        for cert in sorted(which):
            if cert in self._book:
                self._replan(cert)

    def _of_group(self, zone: Zone) -> set[CertId]:
        return {cert for cert in self._book if cert.group == zone.name.text}

    def _read_notes(self, name: ZoneName) -> zone_notes.ZoneNotes:
        path = zone_notes.notes_file(self._tools.config.globals.certs_dir, name)
        return zone_notes.read_notes(path)

    def _given(self, zone: Zone, wish: Wish, given: Given) -> None:
        now = _clock()
        before, first = zone.given, zone.given is None
        zone.wish = zone.tried = wish
        zone.given, zone.notes = given, given.notes
        zone.trouble, zone.again = "", bool(given.unfit)
        if given.unfit:
            self._unfit(zone, given, before)
        elif given.failure is None:
            zone.attempts, zone.retry_at = 0, 0.0
        zone.stamps, zone.files_at = self._stamps(zone), now + FILES
        if first:
            zone.mx_at = now + DAY
        if given.changed or first:
            zone.changed_at = now
        zone.look_at = now
        if first and not given.unfit:
            zone.watch_at = now + self._tools.rng.uniform(0.1, 1.0) * FIRST_WATCH
        if given.changed and given.failure is None:
            count = sum(len(one.records) for one in given.content.records.values())
            how = "sent to its primary" if self._tools.means.updated(zone.name) else "written"
            why = given.changed.removeprefix(f"zone {zone.name}: ")
            text = f"{count or 'no'} TLSA record{'' if count == 1 else 's'} {how}: {why}"
            self._tell("tlsa-published", f"zone {zone.name}: {text}", INFO, None)
        outside = [
            f"its MX host {host} is outside the zone: its TLSA records are for that zone to have"
            for host in given.outside
        ]
        remarks = frozenset((*given.remarks, *outside))
        for remark in sorted(remarks - zone.remarks):
            self._tell("tlsa-trouble", f"zone {zone.name}: {remark}", WARNING, None)
        zone.remarks = remarks

    def _unfit(self, zone: Zone, given: Given, before: Given | None) -> None:
        """Some ports are not ready for records: look again by the table."""
        minutes = LADDER_MINUTES[min(zone.attempts, len(LADDER_MINUTES) - 1)]
        for owner, (cert, text) in given.unfit.items():
            if before is None or before.unfit.get(owner) != (cert, text):
                self._tell("tlsa-trouble", f"not published: {text}", ERROR, cert)
                zone.watch_at = _clock()
        zone.attempts, zone.retry_at = zone.attempts + 1, _clock() + minutes * 60

    def _failed(self, zone: Zone, wish: Wish, err: Exception) -> None:
        minutes = LADDER_MINUTES[min(zone.attempts, len(LADDER_MINUTES) - 1)]
        if failure_of(err) is not Failure.TRANSIENT:
            minutes = LADDER_MINUTES[-1]
        text = str(err) if isinstance(err, SslmError) else f"an error of sslmd's own: {err!r}"
        if not isinstance(err, SslmError):
            self._tools.bug(f"zone {zone.name}: {text}", err)
        zone.tried, zone.attempts = wish, zone.attempts + 1
        zone.retry_at = _clock() + minutes * 60
        # Even if what is wanted is what was given last, once more: it may be there in part.
        zone.trouble, zone.again = text, True
        told = f"{text}; its TLSA records are seen to again in {minutes} min"
        told = told if told.startswith("zone ") else f"zone {zone.name}: {told}"
        self._tell("tlsa-trouble", told, ERROR, None)

    async def _look(self, zone: Zone) -> None:
        """Ask every server, and take in what that means for the certificates."""
        if zone.given is None or zone.notes is None:
            return
        before = zone.notes
        try:
            seen = await look(zone.name, zone.owners(), self._tools, zone.servers)
        except SslmError as err:
            told = str(err)
            if told != zone.look_trouble:
                self._tell("tlsa-trouble", told, WARNING, None)
            zone.look_trouble = told
            zone.look_pause = min(zone.look_pause * GROWTH, LONGEST_MISSING)
            zone.look_at = _clock() + zone.look_pause
            return
        zone.look_pause = FIRST_PAUSE
        zone.servers = tuple(one.server for one in seen.servers)
        known = before.known
        if zone.take(seen) or zone.unsaved:
            await self._save_notes(zone)
        if before.fading and not zone.notes.fading:
            text = "no cache holds the withdrawn TLSA records any more"
            self._tell("tlsa-gone", f"zone {zone.name}: {text}", INFO, None)
            for cert in sorted(self._of_group(zone)):
                self._replan(cert)
        pauses = [DAY]
        if zone.sighting is not None and not zone.sighting.complete:
            pauses.append(zone.sighting.next_look)
        for cert in sorted(zone.certs):
            if cert not in self._book:
                continue
            state = self._book[cert].state
            sighting = zone.sight(cert, state)
            if sighting is not None:
                pauses.append(sighting.next_look)
            if sighting != state.sighting:
                self._apply(cert, TlsaLooked(seen.at, sighting))
            else:
                self._replan(cert)
        zone.look_at = _clock() + max(min(pauses), 0.05)
        if zone.notes.known != known:
            zone.again = True  # what waited for that can be published now
        self._warn_unsigned(zone)

    async def _save_notes(self, zone: Zone) -> None:
        """Write down what was learned; if that fails it costs a wait after the next start."""
        assert zone.notes is not None
        path = zone_notes.notes_file(self._tools.config.globals.certs_dir, zone.name)
        try:
            await self._tools.in_thread(zone_notes.write_notes, path, zone.notes)
        except SslmError as err:
            if str(err) != zone.unsaved:
                self._tell("state-unsaved", f"{err}; it is tried again", WARNING, None)
            zone.unsaved = str(err)
        else:
            zone.unsaved = ""

    def _warn_unsigned(self, zone: Zone) -> None:
        if zone.unsigned and not zone.warned_unsigned:
            zone.warned_unsigned = True
            self._tell("tlsa-trouble", unsigned_text(zone.name), WARNING, None)

    # --- what others ask ---

    @property
    def troubles(self) -> list[str]:
        """Why TLSA records cannot be published or looked at, of all zones."""
        every = (one.trouble or one.look_trouble for one in self._zones.values())
        return [text for text in every if text]

    def zone_of(self, cert: CertId) -> Zone | None:
        """Return the zone of a certificate with TLSA records."""
        return self._zones.get(ZoneName(cert.group))

    def is_taken(self, cert: CertId) -> bool:
        """Whether the zone's turn is somebody's; if so, `cert` is planned again after that."""
        zone = self._zones.get(ZoneName(cert.group))
        if zone is None or not zone.turn.locked():
            return False
        zone.queued.add(cert)
        return True

    @asynccontextmanager
    async def turn(self, cert: CertId) -> AsyncIterator[None]:
        """Hold the zone's turn while a server of it is made to use another key."""
        zone = self._zones.get(ZoneName(cert.group))
        if zone is None:  # CAs have none: their group must not become one
            yield
            return
        try:
            async with zone.turn:
                yield
        finally:
            self._replan_all(zone)

    def dane(self, cert: CertId, entry: Entry) -> Dane | None:
        """Return what the plan has to know of a certificate's records."""
        zone = self._zones.get(ZoneName(cert.group)) if cert.group != GroupName.CA else None
        if zone is None:
            return None
        if not entry.wanted.dane:
            return zone.dane(cert, entry, current=True)
        current = zone.wish is not None and not zone.trouble
        if current and cert in self._tools.config.services:
            assert zone.wish is not None
            current = self._cert_wish(cert) in zone.wish.certs
        return zone.dane(cert, entry, current=current)

    async def may_roll(self, cert: CertId, name: SetName) -> str:
        """Look once more before a set is served; return why not, "" if nothing is against it.

        Raises `Transient` for what a validating resolver does not like.
        """
        entry = self._book.entries.get(cert)
        zone = self._zones.get(ZoneName(cert.group)) if cert.group != GroupName.CA else None
        if entry is None or zone is None:
            return ""
        if self._wish(zone) != zone.wish:
            # Just switched on or off, or the start: what caches may hold has to be known.
            await self._give(zone)
            if zone.trouble and not entry.wanted.dane and await self._may_be_there(zone, entry):
                raise Transient(f"zone {zone.name}: {zone.trouble}")
        dane = self.dane(cert, entry)
        if dane is not None and dane.fading:
            return gate_of(self._book.view(cert)).text
        if not entry.wanted.dane or (dane is not None and not dane.checked):
            return ""
        await self._look(zone)
        view = self._book.view(cert)
        if view.state.next is None or view.state.next.name != name:
            return "another set is on deck now"
        gate = gate_of(view)
        if not gate.open:
            return gate.text
        assert zone.notes is not None
        needed = zone.share(cert).needed
        await ask_resolver(zone.name, needed, self._tools, signed=zone.notes.signed)
        return ""

    async def _may_be_there(self, zone: Zone, entry: Entry) -> bool:
        """Whether records may be in DNS, not withdrawn yet, for ports of this certificate."""
        means = self._tools.means
        there = await self._tools.in_thread(tlsa_publish.published, means, zone.name)
        return any(is_of(owner, entry.wanted.names) for owner in there)

    async def prove_ports(self, cert: CertId, name: SetName) -> None:
        """Raise `Transient` while a port with TLSA records serves an older set than `name`.

        And while nobody knows where those ports are: what was not looked at is not proven.
        """
        zone = self._zones.get(ZoneName(cert.group))
        if zone is None:
            return
        if zone.given is not None and not zone.servers:
            await self._look(zone)
        if zone.given is None or not zone.servers:
            why = zone.trouble or zone.look_trouble or "they are not seen to yet"
            raise Transient(
                f"{cert}: its ports are not looked at, so TLSA records of older keys stay: {why}"
            )
        seen = await self._look_at_ports(zone, cert)
        classes = self._tools.config.classes_for(cert)
        alone = not any(one.servers for one in classes)
        prove_ports(cert, name, seen, alone=alone)

    async def _look_at_ports(self, zone: Zone, cert: CertId) -> list[PortSeen]:
        assert zone.given is not None
        owners = {owner for owner, _ in zone.share(cert).serving}
        materials = zone.given.materials.get(cert, {})
        return await look_ports(cert, zone.name, owners, materials, zone.servers, self._tools)

    async def refresh(self, name: ZoneName) -> str:
        """Give a zone's records to DNS anew, and look up its MX hosts; return what was done.

        Raises what publishing raises. "" for a zone that has none and never had.
        """
        zone = self._zones.get(name)
        if zone is None:
            return ""
        if zone.notes is not None:
            zone.notes = replace(zone.notes, mx_at=None)
        given = await self._publish(zone, again=True)
        self._soon(name)
        if given is None or not (zone.certs or given.before):
            return ""
        count = sum(len(one.records) for one in given.content.records.values())
        return f"{count or 'no'} TLSA record{'' if count == 1 else 's'} given to DNS anew"

    # --- the standing watch ---

    async def watch(self, name: ZoneName, *, asked: bool = True) -> None:
        """Compare what DNS shows, what ports serve, and what should be; tell what is wrong.

        `asked` by somebody; by itself, what is wrong is looked at twice before it is told, and
        every few minutes until it is right.
        """
        zone = self._zones.get(name)
        if zone is None or zone.given is None:
            return
        await self._look(zone)
        turn = asyncio.Semaphore(WATCHED_AT_ONCE)

        async def one(cert: CertId) -> list[Finding]:
            async with turn:
                return await self._find(zone, cert)

        certs = sorted(zone.certs)
        ends = await asyncio.gather(*map(one, certs), return_exceptions=True)
        found: dict[CertId, list[Finding]] = {}
        for cert, end in zip(certs, ends, strict=True):
            if isinstance(end, BaseException):  # it ends nobody else's (I6)
                self._tools.bug(f"{cert}: a watch met an error of sslmd's own: {end!r}", end)
            else:
                found[cert] = end
        wrong = any(one.wrong for findings in found.values() for one in findings)
        if wrong:
            pause = IN_ALARM if zone.doubted or asked else DOUBT
            zone.watch_at = min(zone.watch_at, _clock() + pause)
        if wrong and not asked and not zone.doubted:
            zone.doubted = True
            return
        zone.doubted = wrong
        for cert, findings in found.items():
            if cert in self._book:
                self._report(cert, findings)

    async def _find(self, zone: Zone, cert: CertId) -> list[Finding]:
        seen = await self._look_at_ports(zone, cert) if cert in self._book else []
        if cert not in self._book:
            return []
        state = self._book[cert].state
        limit = self._tools.config.globals.dns_check_timeout
        findings = zone.findings(cert, state, self._tools.now(), limit)
        name = state.curr.name if state.curr else None
        return findings + findings_of_ports(seen, name, zone.shown_everywhere())

    def _report(self, cert: CertId, findings: list[Finding]) -> None:
        entry = self._book[cert]
        before = entry.report
        entry.report = DaneReport(self._tools.now(), tuple(findings))
        entry.document = None
        known = {(one.where, one.text) for one in before.findings if one.wrong} if before else set()
        wrong = [one for one in findings if one.wrong]
        for one in wrong:
            if (one.where, one.text) not in known:
                self._tell("dane-mismatch", f"{one.where} {one.text}", ERROR, cert)
        if known and not wrong:
            self._tell("dane-well", "DNS, ports and keys agree again", INFO, cert)


def _stamp(path: str) -> object:
    try:
        info = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return (info.st_mtime_ns, info.st_ino, info.st_size)


def _clock() -> float:
    return asyncio.get_running_loop().time()
