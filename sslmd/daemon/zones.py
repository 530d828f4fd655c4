"""The TLSA records of every zone: given to DNS, looked at, and what follows for a roll (I4).

Whatever changes of a certificate is noted here; `core.dane.plan` says what its zone gets then: a
`Publish` if DNS should serve something else than it was given, a `Look` when it is time to see what
it serves, and a `Watch` every day. Times here are those of the event loop's clock, which nobody
sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from functools import partial

from sslmd.core.dane.events import SOON, CertsOfZone, JobBroke, WatchBegun, ZoneReloaded
from sslmd.core.dane.judging import dane_of
from sslmd.core.dane.plan import ZoneView, decide_zone
from sslmd.core.dane.verdict import Dane, Unknown
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import SslmError, reason_of
from sslmd.core.jobs import Look, Publish, Watch, ZoneJob
from sslmd.core.names import CertId, GroupName, SetName, ZoneName
from sslmd.core.plain import plain
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.core.words.sentence import say
from sslmd.daemon.api.limits import ASKED_EVERY
from sslmd.daemon.loop import Due, Loop, OfItsJobs
from sslmd.daemon.registry import Entry, Registry
from sslmd.daemon.tell.journal import ERROR, Tell
from sslmd.daemon.zone_watch import ZoneWatch
from sslmd.daemon.zone_work import ZoneWork, counted
from sslmd.dns.bounds import clock
from sslmd.dns.notes import noted_tlsa_zones
from sslmd.workers.tools import Publishing

# Zones at a time that are compared because somebody asks.
ASKED_AT_ONCE = 16

NOBODY: frozenset[CertId] = frozenset()


class Zones(OfItsJobs):
    """The reconciler of the certificates' zones. One per daemon."""

    name = "zone"
    jobs = (Publish, Look, Watch)

    def __init__(self, publishing: Publishing, registry: Registry, loop: Loop, tell: Tell) -> None:
        self._site, self._telling = publishing.site, publishing.telling
        self._registry, self._zones = registry, registry.zones
        self._loop = loop
        self._tell = tell
        self._work = ZoneWork(publishing, registry, loop, tell)
        self._watch = ZoneWatch(publishing, registry, self._work)
        # Comparisons that somebody asked for last, and when they began.
        self._asked: dict[ZoneName, tuple[asyncio.Task[None], float]] = {}
        self._places = asyncio.Semaphore(ASKED_AT_ONCE)
        registry.zones.listen(lambda zone, *_: loop.touch(self.name, zone))

    # --- its life ---

    def start(self) -> None:
        """Begin with every zone: those without TLSA records have an include file as well.

        Also those that the configuration does not know any more: what is left there goes.
        """
        known = self._site.config.zones()
        for name in sorted({*known, *noted_tlsa_zones(self._site.tree, known)}):
            self._become(name)

    def _become(self, name: ZoneName, *come: CertId, gone: frozenset[CertId] = NOBODY) -> None:
        certs = self._zones[name].certs if name in self._zones else NOBODY
        self._zones.put(name, CertsOfZone(name, certs.union(come) - gone))

    def stop(self) -> None:
        """Look no more for those who ask."""
        for task, _ in self._asked.values():
            task.cancel()

    def touch_all(self) -> None:
        """Look at every zone, in case its wake-up comes at a wrong time: the clock was set."""
        for name in self._zones:
            self._loop.touch(self.name, name)

    def reconfigured(self) -> None:
        """Look at everything again: zones, the ways to publish and the files may be others."""
        for name in self._site.config.zones():
            self._become(name)
        for name in self._zones:
            self._zones.put(name, ZoneReloaded())

    # --- what changes ---

    def note(self, cert: CertId) -> None:
        """A certificate changed, or is new."""
        entry, name = self._registry.entries.get(cert), ZoneName(cert.group)
        if entry is None or not entry.wanted.dane:
            self.forget(cert)
        elif name in self._zones and cert in self._zones[name].certs:
            self._loop.touch(self.name, name)
        else:
            self._become(name, cert)

    def forget(self, cert: CertId) -> None:
        """A certificate left the configuration, or wants no records any more: those go."""
        name = ZoneName(cert.group)
        if name in self._zones and cert in self._zones[name].certs:
            self._become(name, gone=frozenset({cert}))

    # --- what comes next ---

    def step(self, ident: ZoneName) -> Due:
        """Return what is due for a zone, and when something will be."""
        if ident not in self._zones or self._loop.queue.busy(f"zone {ident}"):
            return Due()  # asked for again when that is over
        zone, now = self._zones[ident], clock()
        limit = self._site.config.globals.dns_check_timeout.total_seconds()
        edited = partial(self._work.is_edited, ident)
        decision = decide_zone(ZoneView(zone, self._work.wish(zone), edited, limit), now)
        if decision.job is not None:
            return Due((decision.job,))
        delay = timedelta(seconds=max(decision.again_at - now, SOON))
        return Due(wakes=(("look", self._site.now() + delay),))

    # --- the jobs ---

    async def do(self, job: ZoneJob) -> None:
        """Do a job of a zone; what fails is tried again by the table, and told."""
        name = job.zone
        try:
            match job:
                case Publish():
                    await self._work.publish(name)
                case Look():
                    await self._work.look(name)
                    await self._work.put_back_what_is_ignored(name)
                case Watch():
                    self._zones.put(name, WatchBegun(clock()))
                    await self._watch.compare(name, asked=False)
        except Exception as err:
            # It must neither end the zone's turn for good nor be tried again at once.
            why = reason_of(err)
            broke = Reason(InDns.JOB_BROKE, job=type(job).__name__, why=why)
            self._zones.put(name, JobBroke(broke, clock()))
            if isinstance(err, SslmError):
                self._tell("tlsa-trouble", why.of(f"zone {name}"), ERROR, None)
            else:
                self._telling.bug(f"zone {name}: {say(why)}", err)

    # --- what others ask ---

    @property
    def troubles(self) -> list[str]:
        """Why TLSA records cannot be published or looked at, of all zones."""
        return [plain(say(why)) for _, why in self.troubled()]

    def troubled(self) -> list[tuple[ZoneName, Reason]]:
        """Return the zones with such troubles, by name, and the reason of each."""
        return [
            (name, why)
            for name, one in sorted(self._zones.entries.items())
            if (why := one.trouble or one.look_trouble) is not None
        ]

    def known(self) -> list[tuple[ZoneName, KnownZone]]:
        """Return the zones that have, or had, TLSA records."""
        return list(self._zones.entries.items())

    def zone_of(self, cert: CertId) -> KnownZone | None:
        """Return the zone of a certificate, if it has, or had, TLSA records.

        CAs have none: their group must not become one.
        """
        return self._zones.entries.get(ZoneName(cert.group)) if cert.group != GroupName.CA else None

    def is_taken(self, cert: CertId) -> bool:
        """Whether the zone's turn is somebody's; if so, `cert` is planned again after that."""
        return self._needs_turn(cert) and self._work.is_taken(ZoneName(cert.group), cert)

    def _needs_turn(self, cert: CertId) -> bool:
        # Who has no records waits for no name server (I6).
        has_records = cert in self._registry and self._registry[cert].wanted.dane
        return has_records and self.zone_of(cert) is not None

    @asynccontextmanager
    async def turn(self, cert: CertId) -> AsyncIterator[None]:
        """Hold the zone's turn while a server of it is made to use another key."""
        async with (
            self._work.turn(ZoneName(cert.group)) if self._needs_turn(cert) else nullcontext()
        ):
            yield

    def dane(self, cert: CertId, entry: Entry) -> tuple[Dane, Reason | None]:
        """Return what is known of a certificate's records, and why DNS does not have them all."""
        zone = self.zone_of(cert)
        if zone is None or not entry.wanted.dane:
            return dane_of(zone, cert, entry) if zone is not None else Unknown(), None
        behind, wish = zone.trouble, zone.wish
        known = cert in self._site.config.services
        if wish is None or (known and self._work.cert_wish_of(cert) not in wish.certs):
            behind = behind or zone.look_trouble or Reason(InDns.TOLD_NOW)
        return dane_of(zone, cert, entry), behind

    async def may_roll(self, cert: CertId, name: SetName) -> Reason | None:
        """Look once more before a set is served; return why not, None if nothing is against it.

        Raises `Transient` for what a validating resolver does not like.
        """
        zone = self.zone_of(cert)
        return await self._watch.may_roll(zone.name, cert, name) if zone is not None else None

    async def prove_ports(self, cert: CertId, name: SetName) -> None:
        """Raise `Transient` while a port with TLSA records serves an older set than `name`."""
        if (zone := self.zone_of(cert)) is not None:
            await self._watch.prove_ports(zone.name, cert, name)

    async def watch(self, name: ZoneName, *, again: bool = False) -> bool:
        """Compare what DNS shows, what ports serve, and what should be, for who asks.

        At most once in `ASKED_EVERY` for all who ask, unless it is to be `again`. Return whether
        that was done now; else what is known is that of then.
        """
        if name not in self._zones:
            return False
        if again and name in self._asked:
            await asyncio.wait({self._asked[name][0]})  # it began before what is to be seen now
        begun, at = self._asked.get(name, (None, 0.0))
        if begun is None or (begun.done() and (again or clock() - at >= ASKED_EVERY)):
            begun = asyncio.get_running_loop().create_task(self._ask(name))
            self._asked[name] = (begun, clock())
        elif begun.done():
            return False
        # Not ended with who asked first: others wait for it, and what it found is to be kept.
        await asyncio.shield(begun)
        return True

    async def _ask(self, name: ZoneName) -> None:
        async with self._places:
            await self._watch.compare(name, asked=True)

    async def refresh(self, name: ZoneName) -> Reason | None:
        """Give a zone's records to DNS again, and look up its MX hosts; return what was done.

        Raises what publishing raises. None where nothing here gives DNS any, and none are wanted.
        """
        given = await self._work.publish(name, again=True) if name in self._zones else None
        if given is None:
            return None
        number = counted(given.content.records)
        if given.ours:
            unfit = (Reason(InDns.NOT_PUBLISHED, why=why) for _, why in given.unfit.values())
            return Reason(InDns.GIVEN_AGAIN, number=number).also(*given.remarks, *unfit)
        return Reason(InDns.GIVE_YOURSELF, number=number, zone=name) if number else None
