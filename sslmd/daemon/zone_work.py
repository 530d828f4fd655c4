"""What is done for one zone: records are given to DNS, and looked at (I4).

What happened is put into the registry, and told. Times are those of the event loop's clock, which
nobody sets.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sslmd.core.dane.content import (
    CertWish,
    Given,
    LookedUp,
    Wish,
    cert_wish,
    held_by,
    is_of,
)
from sslmd.core.dane.events import (
    DAY,
    GivingBegun,
    NotesRead,
    NotesWritten,
    NotGiven,
    NotSeen,
    PutBackBegun,
    SightingsTaken,
    WasGiven,
    WasSeen,
)
from sslmd.core.dane.look import sight
from sslmd.core.dane.report import late
from sslmd.core.dane.tlsa import Content, TlsaHosts, owned, wants_of
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import Failure, SslmError, Transient, Trouble, reason_of, wait_after
from sslmd.core.events import TlsaLooked
from sslmd.core.failed import Failed
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.core.told import Happened
from sslmd.core.words.sentence import say
from sslmd.daemon.loop import Loop
from sslmd.daemon.registry import Entry, Registry
from sslmd.daemon.tell.journal import ERROR, INFO, WARNING, Tell
from sslmd.dns import tlsa_publish
from sslmd.dns.bounds import clock
from sslmd.store.layout import tlsa_file
from sslmd.store.note_kinds import ZONE_NOTE
from sslmd.workers.places import look_elsewhere
from sslmd.workers.restart import dependents
from sslmd.workers.tlsa import look, publish
from sslmd.workers.tools import Publishing


class ZoneWork:
    """Gives records to DNS, asks name servers, and takes in what that means."""

    def __init__(self, publishing: Publishing, registry: Registry, loop: Loop, tell: Tell) -> None:
        self._publishing = publishing
        self._site, self._means = publishing.site, publishing.means
        self._registry, self._zones = registry, registry.zones
        self._loop = loop
        self._tell = tell
        self._turns: defaultdict[ZoneName, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Certificates whose roll waits for the zone's turn.
        self._queued: defaultdict[ZoneName, set[CertId]] = defaultdict(set)

    # --- its turn ---

    @asynccontextmanager
    async def turn(self, zone: ZoneName) -> AsyncIterator[None]:
        """Hold the zone's turn: to give records to DNS, or to have a server use another key."""
        try:
            async with self._turns[zone]:
                yield
        finally:
            # What the plan goes by is new, and whoever waits for the turn may have it.
            which = self._zones[zone].certs | self._queued.pop(zone, set())
            if self._zones[zone].noted.fading:
                which |= self._of_group(zone)
            for cert in sorted(which):
                if cert in self._registry:
                    self._loop.touch("cert", cert)

    def is_taken(self, zone: ZoneName, cert: CertId | None = None) -> bool:
        """Whether the turn is somebody's; if so, `cert` is planned again after that."""
        taken = self._turns[zone].locked()
        if taken and cert is not None:
            self._queued[zone].add(cert)
        return taken

    def _of_group(self, zone: ZoneName) -> set[CertId]:
        return {cert for cert in self._registry if cert.group == zone.text}

    # --- publishing ---

    def wish(self, zone: KnownZone) -> Wish:
        """Return everything that a zone's records depend on, as it is now."""
        certs = [cert for cert in sorted(zone.certs) if cert in self._registry]
        return Wish(zone.name, tuple(map(self.cert_wish_of, certs)))

    def cert_wish_of(self, cert: CertId) -> CertWish:
        """Return what of it is one certificate's."""
        service = self._site.config.services[cert]
        return cert_wish(self._registry[cert], service.dane, service.dane_ttl)

    async def publish(self, name: ZoneName, *, again: bool = False) -> Given | None:
        """Have DNS given what it should serve; None: that failed, and was told.

        `again`: even if it was given before; then what it fails with is raised. While nobody tells
        the MX hosts, that is a failure: a name server that is down is not to be reloaded.
        """
        async with self.turn(name):
            return await self.give(name, again=again)

    async def give(self, name: ZoneName, *, again: bool = False) -> Given | None:
        """Have DNS given what it should serve, as who holds the zone's turn; None: that failed."""
        self._zones.put(name, GivingBegun(clock(), anew=again))
        wish = self.wish(self._zones[name])
        try:
            zone = await self._with_notes(name)
            doubted = {owner for owner, *_ in zone.doubts}
            last = LookedUp(zone.places, doubted, zone.ends, zone.others)
            given = await publish(wish, zone.noted, self._publishing, again=again, last=last)
        except Exception as err:
            self._failed(name, wish, err)
            if again:
                raise
            return None
        self._given(name, wish, given)
        if given.failure is None:
            return given
        if again:
            raise given.failure
        return None

    async def _with_notes(self, name: ZoneName) -> KnownZone:
        """Return a zone with its notes, read from disk if nobody has; raises as `read` does."""
        if self._zones[name].notes is None:
            path = self._site.tree.zone_note(name)
            notes = await self._publishing.threads.in_thread(ZONE_NOTE.read, path)
            self._zones.put(name, NotesRead(notes))
        return self._zones[name]

    def _trouble(self, name: ZoneName, err: Exception) -> Trouble:
        failed, jitter = self._zones[name].failed, self._site.rng.random()
        attempts = failed.attempts if failed is not None else 0
        return Trouble.of(err, attempts, self._site.now(), jitter=jitter)

    def _given(self, name: ZoneName, wish: Wish, given: Given) -> None:
        before, failed = self._zones[name], None
        if given.failure is not None or given.is_unfinished:
            # Without a text, it is no trouble of the zone: ports that are not ready are told.
            failed = self._trouble(name, given.failure or Transient(""))
        draw, stamps = self._site.rng.random(), self._stamps(name)
        self._zones.put(name, WasGiven(wish, given, failed, stamps, draw, clock()))
        told = before.given.unfit if before.given is not None else {}
        for owner, (cert, why) in given.unfit.items():
            if told.get(owner) != (cert, why):
                self._tell("tlsa-trouble", Reason(InDns.NOT_PUBLISHED, why=why), ERROR, cert)
        if given.changed and given.failure is None:
            updated = bool(self._means.updated(name)) or None
            number = counted(given.content.records)
            line = Reason(InDns.GIVEN, number=number, updated=updated, why=given.changed)
            self._tell("tlsa-published", line.of(f"zone {name}"), INFO, None)
            # `depends`: classes that want to be restarted when records change.
            states = [(cert, entry.state) for cert, entry in self._registry.entries.items()]
            for cert, event in dependents(self._site.config, name, states, self._site.now()):
                self._registry.put(cert, event)
        for remark in sorted(given.all_remarks - before.remarks, key=say):
            self._tell("tlsa-trouble", remark.of(f"zone {name}"), WARNING, None)
        if failed is not None and given.failure is not None:
            self._tell_failed(name, failed, given.failure)

    def _failed(self, name: ZoneName, wish: Wish, err: Exception) -> None:
        failed = self._trouble(name, err)
        self._zones.put(name, NotGiven(wish, failed, self._stamps(name), clock()))
        self._tell_failed(name, failed, err)

    def _tell_failed(self, name: ZoneName, failed: Trouble, err: Exception) -> None:
        place = f"zone {name}"
        if failed.failure is Failure.BUG:
            self._publishing.telling.bug(f"{place}: {failed.text}", err)
        wait = wait_after(failed.failure, failed.attempts)
        why = err.beside(place) if isinstance(err, SslmError) else failed.reason
        line = Reason(InDns.TRIED_AGAIN, why=why or reason_of(err), wait=wait)
        self._tell("tlsa-trouble", line.of(place), ERROR, None)

    def is_edited(self, name: ZoneName) -> bool:
        """Whether an include file is not as it was left, by its times and size."""
        return not self.is_taken(name) and self._stamps(name) != self._zones[name].stamps

    def _stamps(self, name: ZoneName) -> tuple[object, ...]:
        """Tell the include files from others, without reading them."""
        if self._means.updated(name):
            return ()
        return tuple(_stamp(tlsa_file(one, name)) for one in self._site.config.dns.tlsa_dirs)

    # --- looking ---

    async def look(self, name: ZoneName) -> None:
        """Ask every server, and take in what that means for the certificates."""
        before = self._zones[name]
        if before.given is None:
            return
        resolver = self._means.resolver
        try:
            seen, servers = await look(name, before.owners(), self._site, resolver, before.servers)
        except SslmError as err:
            if err.reason != self._zones[name].look_trouble:
                self._tell("tlsa-trouble", err.reason, WARNING, None)
            self._zones.put(name, NotSeen(err.reason, clock()))
            return
        places, ends = self._zones[name].places, self._zones[name].ends
        elsewhere = await look_elsewhere(places, ends, self._site, resolver)
        before = self._zones[name]
        self._zones.put(name, WasSeen(seen, servers, elsewhere))
        zone = self._zones[name]
        if zone.notes != before.notes or zone.unsaved:
            await self._save_notes(name)
        if before.noted.fading and not zone.noted.fading:
            self._tell("tlsa-gone", Reason(InDns.CACHES_EMPTY).of(f"zone {name}"), INFO, None)
            for cert in sorted(self._of_group(name)):
                self._loop.touch("cert", cert)
        self._take_sightings(name)
        if zone.unsigned and not before.warned_unsigned:
            self._tell("tlsa-trouble", Reason(InDns.ZONE_UNSIGNED, zone=name), WARNING, None)
        if self._has_files(zone) and zone.is_taken():
            try:
                await tlsa_publish.confirm(self._means, name)
            except SslmError as err:
                self._tell_way_back(name, err)

    def _take_sightings(self, name: ZoneName) -> None:
        zone, now = self._zones[name], self._site.now()
        limit = self._site.config.globals.dns_check_timeout
        pauses, apart, behind = [DAY], {}, set()
        if zone.sighting is not None and not zone.sighting.complete:
            pauses.append(zone.sighting.next_look)
        for cert in sorted(zone.certs):
            if cert not in self._registry:
                continue
            state = self._registry[cert].state
            sighting, alone = sight(zone, cert, state)
            if sighting is not None and alone is not None:
                pauses.append(sighting.next_look)
                apart[cert] = alone
            if sighting != state.sighting and zone.seen is not None:
                self._registry.put(cert, TlsaLooked(zone.seen.at, sighting))
            else:
                self._loop.touch("cert", cert)
            if late(self._registry[cert].state, now, limit):
                behind.add(cert)
        self._zones.put(name, SightingsTaken(apart, frozenset(behind), min(pauses), clock()))

    async def _save_notes(self, name: ZoneName) -> None:
        """Write down what was learned; if that fails it costs a wait after the next start."""
        path, zone = self._site.tree.zone_note(name), self._zones[name]
        try:
            await self._publishing.threads.in_thread(ZONE_NOTE.write, path, zone.noted)
        except SslmError as err:
            if err.reason != self._zones[name].unsaved:
                line = Reason(Happened.UNSAVED, said=err.reason)
                self._tell("state-unsaved", line, WARNING, None)
            self._zones.put(name, NotesWritten(err.reason))
        else:
            self._zones.put(name, NotesWritten())

    async def put_back_what_is_ignored(self, name: ZoneName) -> None:
        """Put include files back that no name server takes, though the command succeeded.

        Such a file may be one that the zone cannot be loaded with: at the next start of the name
        server there would be no zone at all. `rndc reload` succeeds all the same.
        """
        if not self._is_ignored(name):
            return
        try:
            async with self.turn(name):
                if not self._is_ignored(name):
                    return  # whoever had the turn has given it something else
                self._zones.put(name, PutBackBegun(clock()))
                if paths := await tlsa_publish.put_back(self._means, name):
                    self._failed(name, self.wish(self._zones[name]), _not_taken(name, paths))
        except SslmError as err:
            self._tell_way_back(name, err)

    def _is_ignored(self, name: ZoneName) -> bool:
        zone = self._zones[name]
        limit = self._site.config.globals.dns_check_timeout.total_seconds()
        is_late = clock() - zone.changed_at > limit
        return self._has_files(zone) and is_late and zone.is_ignored()

    def _has_files(self, zone: KnownZone) -> bool:
        ours = zone.given is not None and zone.given.ours
        return ours and self._means.updated(zone.name) is None

    def _tell_way_back(self, name: ZoneName, err: SslmError) -> None:
        place = f"zone {name}"
        self._tell("tlsa-trouble", err.beside(place).of(place), WARNING, None)

    # --- whose records there are ---

    async def is_concerned(self, name: ZoneName, entry: Entry) -> bool:
        """Whether records for ports of this certificate may be in DNS, or in caches.

        Those that are another certificate's do not count. What cannot be read counts as nothing.
        """
        try:
            zone = await self._with_notes(name)
        except SslmError:
            return False
        noted = zone.noted.holders | zone.noted.fading
        if held_by(noted, entry.wanted.spec.id, entry):
            return True
        in_thread = self._publishing.threads.in_thread
        there = await in_thread(tlsa_publish.published, self._means, name)
        others = {owner for owner, _ in noted}
        return any(
            is_of(owner, entry.wanted.names)
            for owner in there
            if owner not in others and not self._is_wanted(zone, owner)
        )

    def _is_wanted(self, zone: KnownZone, owner: DomainName) -> bool:
        """Whether a certificate with DANE has its records at an owner, so that no other has."""
        for one in self.wish(zone).certs:
            if owner in wants_of(one.entries, zone.name, one.names, zone.noted.mail):
                return True
            # Which hosts take the mail may not be known yet.
            ports = {f"_{e.port}._{e.proto}." for e in one.entries if e.hosts is TlsaHosts.MX}
            if any(owner.text.startswith(port) for port in ports):
                return True
        return False


def _not_taken(zone: ZoneName, paths: list[str]) -> Transient:
    several = len(paths) > 1 or None
    why = Reason(Failed.TLSA_NOT_TAKEN, paths=tuple(paths), several=several)
    return Transient(why, about=f"zone {zone}")


def counted(content: Content) -> int:
    """Return how many records a content has."""
    return len(owned(content))


def _stamp(path: str) -> object:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return (info.st_mtime_ns, info.st_ino, info.st_size)
