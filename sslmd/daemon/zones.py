"""The TLSA records of every zone: given to DNS, looked at, and what follows for a roll (I4).

Whatever changes of a certificate is noted here; its zone then gets a `Publish` if DNS should serve
something else than it was given, a `Look` when it is time to see what it serves, and a `Watch`
every day. Times here are those of the event loop's clock, which nobody sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from sslmd.core.dane.verdict import Dane, Unknown
from sslmd.core.errors import SslmError, text_of
from sslmd.core.jobs import Job, Look, Publish, Watch, ZoneJob
from sslmd.core.names import CertId, GroupName, SetName, ZoneName
from sslmd.core.reason import Reason, Why, said
from sslmd.daemon.api.limits import ASKED_EVERY
from sslmd.daemon.loop import Due, Loop
from sslmd.daemon.registry import Entry, Registry
from sslmd.daemon.tell.journal import ERROR
from sslmd.daemon.zone import Zone
from sslmd.daemon.zone_watch import DOUBT, ZoneWatch
from sslmd.daemon.zone_work import DAY, FILES, Tell, ZoneWork, clock, counted
from sslmd.dns.notes import noted_tlsa_zones
from sslmd.workers.tools import Publishing

# Seconds to the next try after what should not have happened.
AFTER_BUG = 60.0

# Zones at a time that are compared because somebody asks.
ASKED_AT_ONCE = 16


class Zones:
    """The reconciler of the certificates' zones. One per daemon."""

    name = "zone"
    jobs = (Publish, Look, Watch)

    def __init__(self, publishing: Publishing, registry: Registry, loop: Loop, tell: Tell) -> None:
        self._site, self._telling = publishing.site, publishing.telling
        self._registry = registry
        self._loop = loop
        self._tell = tell
        self._work = ZoneWork(publishing, registry, loop, tell)
        self._watch = ZoneWatch(publishing, registry, self._work, tell)
        self._zones: dict[ZoneName, Zone] = {}
        self._asked = asyncio.Semaphore(ASKED_AT_ONCE)

    # --- its life ---

    def start(self) -> None:
        """Begin with every zone: those without TLSA records have an include file as well.

        Also those that the configuration does not know any more: what is left there goes.
        """
        known = self._site.config.zones()
        left = noted_tlsa_zones(self._site.tree, known)
        for name in sorted({*known, *left}):
            self._zone(name)
        for name in sorted(self._zones):
            self._loop.touch(self.name, name)

    def stop(self) -> None:
        """Look no more for those who ask."""
        for zone in self._zones.values():
            if zone.asked is not None:
                zone.asked.cancel()

    def touch_all(self) -> None:
        """Look at every zone, in case its wake-up comes at a wrong time: the clock was set."""
        for name in self._zones:
            self._loop.touch(self.name, name)

    def reconfigured(self) -> None:
        """Look at everything again: zones, the ways to publish and the files may be others."""
        for name in self._site.config.zones():
            self._zone(name)
        for zone in self._zones.values():
            zone.again = zone.again or zone.given is not None
            zone.retry_at = 0.0
            self._loop.touch(self.name, zone.name)

    def _zone(self, name: ZoneName) -> Zone:
        if name not in self._zones:
            self._zones[name] = Zone(name)
        return self._zones[name]

    # --- what changes ---

    def note(self, cert: CertId) -> None:
        """A certificate changed, or is new."""
        entry = self._registry.entries.get(cert)
        name = ZoneName(cert.group)
        if entry is not None and entry.wanted.dane:
            self._zone(name).certs.add(cert)
        elif name in self._zones and cert in self._zones[name].certs:
            self._zones[name].certs.discard(cert)
        else:
            return
        self._loop.touch(self.name, name)

    def forget(self, cert: CertId) -> None:
        """A certificate left the configuration: its records go."""
        name = ZoneName(cert.group)
        if name in self._zones and cert in self._zones[name].certs:
            self._zones[name].certs.discard(cert)
            self._loop.touch(self.name, name)

    # --- what comes next ---

    def step(self, ident: ZoneName) -> Due:
        """Return what is due for a zone, and when something will be."""
        zone = self._zones.get(ident)
        if zone is None or self._loop.queue.busy(f"zone {ident}"):
            return Due()  # asked for again when that is over
        now = clock()
        job = self._due(zone, now)
        if job is not None:
            return Due((job,))
        times = [zone.files_at]
        if zone.places_at:
            times.append(zone.places_at)
        if zone.trouble or zone.again:
            times.append(zone.retry_at)
        if zone.wish is not None and zone.wish.wants_mx and zone.mx_at > now:
            times.append(zone.mx_at)  # one that is over counts no more: others may be wanted now
        if self._has_records(zone):
            times += [zone.look_at, zone.watch_at]
        delay = timedelta(seconds=max(min(times) - now, 0.05))
        return Due(wakes=(("look", self._site.now() + delay),))

    def after(self, job: Job) -> Iterable[ZoneName]:
        """Return the zone whose job has ended."""
        return (job.zone,) if isinstance(job, ZoneJob) else ()

    def _due(self, zone: Zone, now: float) -> ZoneJob | None:
        wish = self._work.wish(zone)
        if wish != zone.wish and (wish != zone.tried or now >= zone.retry_at):
            return Publish(zone.name, Reason(Why.ZONE_MAY_DIFFER))
        if zone.again and now >= zone.retry_at:
            return Publish(zone.name, Reason(Why.ZONE_COMPARED))
        if wish.wants_mx and now >= zone.mx_at:
            zone.mx_at = now + DAY
            return Publish(zone.name, Reason(Why.ZONE_MX))
        if now >= zone.places_at > 0.0:
            zone.places_at = 0.0
            return Publish(zone.name, Reason(Why.ZONE_OWNERS))
        if now >= zone.files_at:
            zone.files_at = now + FILES
            if self._work.stamps(zone) != zone.stamps:
                return Publish(zone.name, Reason(Why.ZONE_BY_HAND))
        if not self._has_records(zone):
            return None
        if now >= zone.look_at:
            return Look(zone.name, Reason(Why.ZONE_LOOK))
        if now >= zone.watch_at:
            if self._is_changing(zone, now):
                zone.watch_at = now + DOUBT
                return None
            return Watch(zone.name, Reason(Why.ZONE_WATCH))
        return None

    def _is_changing(self, zone: Zone, now: float) -> bool:
        """Whether name servers may just be taking what was published lately."""
        limit = self._site.config.globals.dns_check_timeout.total_seconds()
        complete = zone.sighting is not None and zone.sighting.complete
        return not complete and now - zone.changed_at < limit

    def _has_records(self, zone: Zone) -> bool:
        fading = zone.notes is not None and bool(zone.notes.fading)
        return (bool(zone.certs) or fading) and zone.given is not None

    # --- the jobs ---

    async def do(self, job: ZoneJob) -> None:
        """Do a job of a zone; what fails is tried again by the table, and told."""
        zone = self._zones[job.zone]
        try:
            match job:
                case Publish():
                    await self._work.publish(zone)
                case Look():
                    await self._work.look(zone)
                case Watch():
                    zone.watch_at = clock() + DAY
                    await self._watch.compare(zone, asked=False)
        except Exception as err:
            # It must neither end the zone's turn for good nor be tried again at once.
            zone.look_at = zone.retry_at = clock() + AFTER_BUG
            text = text_of(err)
            zone.look_trouble = f"{type(job).__name__}: {text}"
            if isinstance(err, SslmError):
                self._tell("tlsa-trouble", f"zone {zone.name}: {text}", ERROR, None)
            else:
                self._telling.bug(f"zone {zone.name}: {text}", err)

    # --- what others ask ---

    @property
    def troubles(self) -> list[str]:
        """Why TLSA records cannot be published or looked at, of all zones."""
        every = (one.trouble or one.look_trouble for one in self._zones.values())
        return [text for text in every if text]

    def troubled(self) -> list[tuple[ZoneName, str, Reason | None]]:
        """Return the zones with such troubles, by name, and the reason of each."""
        return [
            (name, one.failed.text, one.failed.reason)
            if one.failed is not None and one.failed.text
            else (name, one.look_trouble, said(one.look_trouble))
            for name, one in sorted(self._zones.items())
            if one.trouble or one.look_trouble
        ]

    def zone_of(self, cert: CertId) -> Zone | None:
        """Return the zone of a certificate with TLSA records."""
        return self._zones.get(ZoneName(cert.group))

    def is_taken(self, cert: CertId) -> bool:
        """Whether the zone's turn is somebody's; if so, `cert` is planned again after that."""
        zone = self._zones.get(ZoneName(cert.group))
        if zone is None or not self._needs_turn(cert) or not zone.turn.locked():
            return False
        zone.queued.add(cert)
        return True

    def _needs_turn(self, cert: CertId) -> bool:
        return cert in self._registry and self._registry[cert].wanted.dane

    @asynccontextmanager
    async def turn(self, cert: CertId) -> AsyncIterator[None]:
        """Hold the zone's turn while a server of it is made to use another key."""
        zone = self._zones.get(ZoneName(cert.group))
        if zone is None or not self._needs_turn(cert):
            # CAs have none: their group must not become one. And who has no records waits for no
            # name server (I6).
            yield
            return
        try:
            async with zone.turn:
                yield
        finally:
            self._work.replan_all(zone)

    def dane(self, cert: CertId, entry: Entry) -> tuple[Dane, str]:
        """Return what is known of a certificate's records, and why DNS does not have them all."""
        zone = self._zones.get(ZoneName(cert.group)) if cert.group != GroupName.CA else None
        if zone is None or not entry.wanted.dane:
            return zone.dane(cert, entry) if zone is not None else Unknown(), ""
        behind, wish = zone.trouble, zone.wish
        known = cert in self._site.config.services
        if wish is None or (known and self._work.cert_wish_of(cert) not in wish.certs):
            behind = behind or zone.look_trouble or "its name servers are being told"
        return zone.dane(cert, entry), behind

    async def may_roll(self, cert: CertId, name: SetName) -> Reason | None:
        """Look once more before a set is served; return why not, None if nothing is against it.

        Raises `Transient` for what a validating resolver does not like.
        """
        zone = self._zones.get(ZoneName(cert.group)) if cert.group != GroupName.CA else None
        return await self._watch.may_roll(zone, cert, name) if zone is not None else None

    async def prove_ports(self, cert: CertId, name: SetName) -> None:
        """Raise `Transient` while a port with TLSA records serves an older set than `name`."""
        zone = self._zones.get(ZoneName(cert.group))
        if zone is not None:
            await self._watch.prove_ports(zone, cert, name)

    async def watch(self, name: ZoneName, *, again: bool = False) -> bool:
        """Compare what DNS shows, what ports serve, and what should be, for who asks.

        At most once in `ASKED_EVERY` for all who ask, unless it is to be `again`. Return whether
        that was done now; else what is known is that of then.
        """
        zone = self._zones.get(name)
        if zone is None:
            return False
        if again and zone.asked is not None:
            await asyncio.wait({zone.asked})  # it began before what is to be seen now
        begun = zone.asked
        if begun is None or (begun.done() and (again or clock() - zone.asked_at >= ASKED_EVERY)):
            zone.asked_at = clock()
            zone.asked = begun = asyncio.get_running_loop().create_task(self._ask(zone))
        elif begun.done():
            return False
        # Not ended with who asked first: others wait for it, and what it found is to be kept.
        await asyncio.shield(begun)
        return True

    async def _ask(self, zone: Zone) -> None:
        async with self._asked:
            await self._watch.compare(zone, asked=True)

    async def refresh(self, name: ZoneName) -> str:
        """Give a zone's records to DNS anew, and look up its MX hosts; return what was done.

        Raises what publishing raises. "" where nothing here gives DNS any, and none are wanted.
        """
        zone = self._zones.get(name)
        if zone is None:
            return ""
        if zone.notes is not None:
            # While nobody tells, this fails: a name server that is down is not to be reloaded.
            zone.notes = replace(zone.notes, mx_at=None)
        given = await self._work.publish(zone, again=True)
        self._loop.touch(self.name, name)
        if given is None:
            return ""
        records = counted(given.content.records)
        if given.ours:
            unfit = [f"not published: {text}" for _, text in given.unfit.values()]
            return "; ".join((f"{records} given to DNS again", *given.remarks, *unfit))
        way = f"to be put into the zone by you, see sslmctl dane {name.text}"
        return f"{records} {way}" if given.content.records else ""
