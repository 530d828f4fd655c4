"""What is done for one zone: records are given to DNS, and looked at (I4).

What fails is told, and noted in the `Zone` with the time of the next try. Times are those of the
event loop's clock, which nobody sets.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from sslmd.core.dane.content import (
    CertWish,
    Given,
    LookedUp,
    Wish,
    ZoneNotes,
    cert_wish,
    held_by,
    is_of,
    unsigned_text,
)
from sslmd.core.dane.look import sight, take
from sslmd.core.dane.report import late
from sslmd.core.dane.sighting import FIRST_PAUSE, GROWTH, LONGEST_MISSING
from sslmd.core.dane.tlsa import Content, TlsaHosts, owned, wants_of
from sslmd.core.errors import Failure, SslmError, Transient, Trouble, wait_after
from sslmd.core.events import TlsaLooked
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.words.sentence import written
from sslmd.daemon.loop import Loop
from sslmd.daemon.registry import Entry, Registry
from sslmd.daemon.tell.journal import ERROR, INFO, WARNING
from sslmd.daemon.zone import Zone
from sslmd.dns import tlsa_publish
from sslmd.store.layout import tlsa_file
from sslmd.store.note_kinds import ZONE_NOTE
from sslmd.workers.places import look_elsewhere
from sslmd.workers.restart import dependents
from sslmd.workers.tlsa import look, publish
from sslmd.workers.tools import Publishing

# Seconds between two looks at the include files: somebody may have changed one by hand.
FILES = 60.0

# Seconds between two looks at a zone where nothing is waited for, and between two watches.
DAY = 86_400.0

# Seconds between two looks at owners that are CNAMEs, in zones of their own, or get no records: the
# admin may have changed that, and nothing else would show it.
PLACES = 3600.0

# Seconds from the start to the first watch: up to so many, so that a site's zones take turns.
FIRST_WATCH = 600.0

Tell = Callable[[str, str, int, CertId | None], None]


class ZoneWork:
    """Gives records to DNS, asks name servers, and takes in what that means."""

    def __init__(self, publishing: Publishing, registry: Registry, loop: Loop, tell: Tell) -> None:
        self._publishing = publishing
        self._site, self._means = publishing.site, publishing.means
        self._registry = registry
        self._loop = loop
        self._tell = tell

    def wish(self, zone: Zone) -> Wish:
        """Return everything that a zone's records depend on, as it is now."""
        certs = [cert for cert in sorted(zone.certs) if cert in self._registry]
        return Wish(zone.name, tuple(self.cert_wish_of(cert) for cert in certs))

    def cert_wish_of(self, cert: CertId) -> CertWish:
        """Return what of it is one certificate's."""
        entry = self._registry[cert]
        service = self._site.config.services[cert]
        return cert_wish(entry, service.dane, service.dane_ttl)

    async def publish(self, zone: Zone, *, again: bool = False) -> Given | None:
        """Have DNS given what it should serve; None: that failed, and was told.

        `again`: even if it was given before; then what it fails with is raised.
        """
        try:
            async with zone.turn:
                return await self.give(zone, again=again)
        finally:
            # What the plan goes by is new, and whoever waits for the zone's turn may have it.
            self.replan_all(zone)

    async def give(self, zone: Zone, *, again: bool = False) -> Given | None:
        """Have DNS given what it should serve, as who holds the zone's turn; None: that failed."""
        wish = self.wish(zone)
        try:
            if zone.given is None:
                means, name = self._means, zone.name
                zone.noted = await self._publishing.threads.in_thread(
                    tlsa_publish.published, means, name
                )
            if zone.notes is None:
                zone.notes = await self._publishing.threads.in_thread(self._read_notes, zone.name)
            given = await publish(
                wish,
                zone.notes,
                self._publishing,
                again=again,
                last=LookedUp(
                    zone.places, {owner for owner, *_ in zone.doubts}, zone.ends, zone.others
                ),
            )
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

    def replan_all(self, zone: Zone) -> None:
        """Plan anew what the zone has a say in, and what waits for its turn.

        While records fade, that is every certificate there.
        """
        which = zone.certs | zone.queued
        zone.queued = set()
        if zone.notes is not None and zone.notes.fading:
            which |= self._of_group(zone)
        for cert in sorted(which):
            if cert in self._registry:
                self._loop.touch("cert", cert)

    def _of_group(self, zone: Zone) -> set[CertId]:
        return {cert for cert in self._registry if cert.group == zone.name.text}

    def _read_notes(self, name: ZoneName) -> ZoneNotes:
        path = self._site.tree.zone_note(name)
        return ZONE_NOTE.read(path)

    def _given(self, zone: Zone, wish: Wish, given: Given) -> None:
        now = clock()
        before, first = zone.given, zone.given is None
        zone.wish = zone.tried = wish
        zone.given, zone.notes = given, given.notes
        zone.again = bool(given.unfit or given.unknown or given.ends_problem)
        zone.places_at = now + PLACES if given.places or given.ends else 0.0
        if zone.again:
            self._unfit(zone, given, before)
        elif given.failure is None:
            zone.failed, zone.retry_at = None, 0.0
        zone.stamps, zone.files_at = self.stamps(zone), now + FILES
        if first:
            zone.mx_at = now + DAY
        if given.changed or first:
            zone.changed_at = now
            zone.replaced = given.before if zone.replaced is None else zone.replaced
        zone.look_at = now
        if first and not given.unfit:
            zone.watch_at = now + self._site.rng.uniform(0.1, 1.0) * FIRST_WATCH
        if given.changed and given.failure is None:
            how = "sent to its primary" if self._means.updated(zone.name) else "written"
            text = f"{counted(given.content.records)} {how}: {given.changed}"
            self._tell("tlsa-published", f"zone {zone.name}: {text}", INFO, None)
            self._restart_dependents(zone)
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
        for owner, (cert, text) in given.unfit.items():
            if before is None or before.unfit.get(owner) != (cert, text):
                self._tell("tlsa-trouble", f"not published: {text}", ERROR, cert)
                zone.watch_at = clock()
        self._retry(zone, Transient(""))  # no trouble of the zone: the ports are told

    def _retry(self, zone: Zone, err: Exception) -> Trouble:
        """Note that publishing failed once more; return that."""
        now, attempts = self._site.now(), zone.failed.attempts if zone.failed else 0
        zone.failed = Trouble.of(err, attempts, now, jitter=self._site.rng.random())
        zone.retry_at = clock() + (zone.failed.next_try - now).total_seconds()
        return zone.failed

    def _failed(self, zone: Zone, wish: Wish, err: Exception) -> None:
        failed = self._retry(zone, err)
        if failed.failure is Failure.BUG:
            self._publishing.telling.bug(f"zone {zone.name}: {failed.text}", err)
        # Even if what is wanted is what was given last, once more: it may be there in part.
        zone.tried, zone.again = wish, True
        wait = written(wait_after(failed.failure, failed.attempts))
        place = f"zone {zone.name}"
        why = err.text_beside(place) if isinstance(err, SslmError) else failed.text
        told = f"{place}: {why}; its TLSA records are tried again in {wait}"
        self._tell("tlsa-trouble", told, ERROR, None)

    async def look(self, zone: Zone) -> None:
        """Ask every server, and take in what that means for the certificates."""
        if zone.given is None or zone.notes is None:
            return
        before = zone.notes
        try:
            seen, servers = await look(
                zone.name, zone.owners(), self._site, self._means.resolver, zone.servers
            )
        except SslmError as err:
            told = str(err)
            if told != zone.look_trouble:
                self._tell("tlsa-trouble", told, WARNING, None)
            zone.look_trouble = told
            zone.look_pause = min(zone.look_pause * GROWTH, LONGEST_MISSING)
            zone.look_at = clock() + zone.look_pause
            return
        elsewhere = await look_elsewhere(zone.places, zone.ends, self._site, self._means.resolver)
        zone.elsewhere = elsewhere
        zone.look_pause = FIRST_PAUSE
        zone.servers = servers
        known, others = before.known, zone.others
        if take(zone, seen) or zone.unsaved:
            await self._save_notes(zone)
        if before.fading and not zone.notes.fading:
            text = "no cache holds the withdrawn TLSA records any more"
            self._tell("tlsa-gone", f"zone {zone.name}: {text}", INFO, None)
            for cert in sorted(self._of_group(zone)):
                self._loop.touch("cert", cert)
        pauses = [DAY]
        if zone.sighting is not None and not zone.sighting.complete:
            pauses.append(zone.sighting.next_look)
        for cert in sorted(zone.certs):
            if cert not in self._registry:
                continue
            state = self._registry[cert].state
            sighting = sight(zone, cert, state)
            if sighting is not None:
                pauses.append(sighting.next_look)
            if sighting != state.sighting:
                self._registry.put(cert, TlsaLooked(seen.at, sighting))
            else:
                self._loop.touch("cert", cert)
        self._see_who_is_late(zone)
        zone.look_at = clock() + max(min(pauses), 0.05)
        if (zone.notes.known, zone.others) != (known, others):
            zone.again = True  # what waited for that can be published now
        doubts = zone.surprises()
        if doubts and doubts != zone.doubts:
            zone.again = True  # an owner became a CNAME, or is none any more, say
        zone.doubts = doubts
        self._warn_unsigned(zone)
        await self._see_whether_it_is_taken(zone)

    def _see_who_is_late(self, zone: Zone) -> None:
        """Have what waits for its records for too long reported now, and not with the next day."""
        now, limit = self._site.now(), self._site.config.globals.dns_check_timeout
        found = {
            cert
            for cert in zone.certs
            if cert in self._registry and late(self._registry[cert].state, now, limit)
        }
        if found - zone.late:
            zone.watch_at = clock()
        zone.late = found

    async def _see_whether_it_is_taken(self, zone: Zone) -> None:
        """Put include files back that no name server takes, though the command succeeded.

        Such a file may be one that the zone cannot be loaded with: at the next start of the name
        server there would be no zone at all. `rndc reload` succeeds all the same.
        """
        given = zone.given
        if given is None or not given.ours or self._means.updated(zone.name) is not None:
            return
        means, limit = self._means, self._site.config.globals.dns_check_timeout
        try:
            if zone.is_taken():
                zone.replaced = None
                await tlsa_publish.confirm(means, zone.name)
            elif zone.is_ignored() and clock() - zone.changed_at > limit.total_seconds():
                zone.changed_at = clock()
                if paths := await tlsa_publish.put_back(means, zone.name):
                    self._failed(zone, self.wish(zone), _not_taken(zone, paths))
        except SslmError as err:
            place = f"zone {zone.name}"
            self._tell("tlsa-trouble", f"{place}: {err.text_beside(place)}", WARNING, None)

    async def _save_notes(self, zone: Zone) -> None:
        """Write down what was learned; if that fails it costs a wait after the next start."""
        assert zone.notes is not None
        path = self._site.tree.zone_note(zone.name)
        try:
            await self._publishing.threads.in_thread(ZONE_NOTE.write, path, zone.notes)
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

    def _restart_dependents(self, zone: Zone) -> None:
        """Have the classes restarted that want it when records change: `depends`."""
        states = [(cert, entry.state) for cert, entry in self._registry.entries.items()]
        for cert, event in dependents(self._site.config, zone.name, states, self._site.now()):
            self._registry.put(cert, event)

    def stamps(self, zone: Zone) -> tuple[object, ...]:
        """Tell the include files from others, without reading them."""
        if self._means.updated(zone.name):
            return ()
        return tuple(_stamp(tlsa_file(d, zone.name)) for d in self._site.config.dns.tlsa_dirs)

    async def is_concerned(self, zone: Zone, entry: Entry) -> bool:
        """Whether records for ports of this certificate may be in DNS, or in caches.

        Those that are another certificate's do not count. What cannot be read counts as nothing.
        """
        if zone.notes is None:
            try:
                zone.notes = await self._publishing.threads.in_thread(self._read_notes, zone.name)
            except SslmError:
                return False
        if held_by(zone.notes.holders | zone.notes.fading, entry.wanted.spec.id, entry):
            return True
        means = self._means
        there = await self._publishing.threads.in_thread(tlsa_publish.published, means, zone.name)
        others = {owner for owner, _ in zone.notes.holders | zone.notes.fading}
        return any(
            is_of(owner, entry.wanted.names)
            for owner in there
            if owner not in others and not self._is_wanted(zone, owner)
        )

    def _is_wanted(self, zone: Zone, owner: DomainName) -> bool:
        """Whether a certificate with DANE has its records at an owner, so that no other has."""
        assert zone.notes is not None
        mail = zone.notes.mail
        for one in self.wish(zone).certs:
            if owner in wants_of(one.entries, zone.name, one.names, mail):
                return True
            # Which hosts take the mail may not be known yet.
            ports = {f"_{e.port}._{e.proto}." for e in one.entries if e.hosts is TlsaHosts.MX}
            if any(owner.text.startswith(port) for port in ports):
                return True
        return False


def _not_taken(zone: Zone, paths: list[str]) -> Transient:
    return Transient(
        "no name server shows its new TLSA records, although restart_cmd "
        f"succeeded; {', '.join(paths)} is as it was before; see in the name server's log whether "
        "it can load the zone with them (named-checkzone), and whether its serial was raised",
        about=f"zone {zone.name}",
    )


def counted(content: Content) -> str:
    """Return how many records a content has, in words."""
    count = len(owned(content))
    return f"{count or 'no'} TLSA record{'' if count == 1 else 's'}"


def _stamp(path: str) -> object:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return (info.st_mtime_ns, info.st_ino, info.st_size)


def clock() -> float:
    """Return the time by the event loop's clock, in seconds."""
    return asyncio.get_running_loop().time()
