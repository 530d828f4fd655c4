"""Seeing for oneself: before a key is served, before old records go, and every day (I4)."""

from __future__ import annotations

import asyncio

from sslmd.core.dane.gate import gate_of
from sslmd.core.dane.report import DaneReport, Finding, findings_of
from sslmd.core.dane.verdict import NoRecords, Withdrawn
from sslmd.core.errors import Transient
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason, Why
from sslmd.daemon.registry import Compared, Entry, Registry
from sslmd.daemon.zone import Zone
from sslmd.daemon.zone_work import Tell, ZoneWork, clock
from sslmd.servers.probe import BELIEVED, FIRST_PAUSE, SLOWER
from sslmd.workers.dane import ask_resolver, findings_of_ports, prove_ports
from sslmd.workers.dane import look as look_ports
from sslmd.workers.ports import PortSeen
from sslmd.workers.tools import Publishing

# Seconds after which a watch that found something is repeated, before it is told; and then, while
# something is wrong: the alarm is to end when it was put right.
DOUBT = 60.0
IN_ALARM = 900.0

# Certificates of one zone whose ports are looked at side by side.
WATCHED_AT_ONCE = 4


class ZoneWatch:
    """Looks at name servers, a validating resolver and ports, and judges what they show."""

    def __init__(
        self, publishing: Publishing, registry: Registry, work: ZoneWork, tell: Tell
    ) -> None:
        self._publishing, self._site = publishing, publishing.site
        self._registry = registry
        self._work = work
        self._tell = tell

    async def compare(self, zone: Zone, *, asked: bool) -> None:
        """Compare what DNS shows, what ports serve, and what should be; tell what is wrong.

        `asked` by somebody; by itself, what is wrong is looked at twice before it is told, and
        every few minutes until it is right.
        """
        if zone.given is None:
            # Nothing could be put together yet, so that nobody knows what to look for (I11).
            why = zone.trouble or "its TLSA records are being published"
            for cert in sorted(zone.certs):
                if cert in self._registry:
                    self._report(cert, [Finding("DNS", f"not seen: {why}", unseen=True)])
            return
        await self._work.look(zone)
        turn = asyncio.Semaphore(WATCHED_AT_ONCE)

        async def one(cert: CertId) -> list[Finding]:
            async with turn:
                return await self._find(zone, cert)

        certs = sorted(zone.certs)
        ends = await asyncio.gather(*map(one, certs), return_exceptions=True)
        found: dict[CertId, list[Finding]] = {}
        for cert, end in zip(certs, ends, strict=True):
            if isinstance(end, BaseException):  # it ends nobody else's (I6)
                self._publishing.telling.bug(
                    f"{cert}: a watch met an error of sslmd's own: {end!r}", end
                )
            else:
                found[cert] = end
        wrong = any(one.wrong for findings in found.values() for one in findings)
        if wrong:
            pause = IN_ALARM if zone.doubted or asked else DOUBT
            zone.watch_at = min(zone.watch_at, clock() + pause)
        if wrong and not asked and not zone.doubted:
            zone.doubted = True
            return
        zone.doubted = wrong
        for cert, findings in found.items():
            if cert in self._registry:
                self._report(cert, findings)

    async def _find(self, zone: Zone, cert: CertId) -> list[Finding]:
        seen = await self._look_at_ports(zone, cert) if cert in self._registry else []
        if cert not in self._registry:
            return []
        state = self._registry[cert].state
        limit = self._site.config.globals.dns_check_timeout
        findings = findings_of(zone, cert, state, self._site.now(), limit)
        name = state.curr.name if state.curr else None
        spare = zone.spare(cert)
        return findings + findings_of_ports(seen, name, zone.shown_to_clients(), spare)

    def _report(self, cert: CertId, findings: list[Finding]) -> None:
        self._registry.put(cert, Compared(DaneReport(self._site.now(), tuple(findings))))

    async def _look_at_ports(self, zone: Zone, cert: CertId) -> list[PortSeen]:
        assert zone.given is not None
        owners = zone.looked_at(cert)
        materials = zone.given.materials.get(cert, {})
        return await look_ports(cert, zone.name, owners, materials, zone.servers, self._publishing)

    async def prove_ports(self, zone: Zone, cert: CertId, name: SetName) -> None:
        """Raise `Transient` while a port with TLSA records serves an older set than `name`.

        And while nobody knows where those ports are: what was not looked at is not proven.
        """
        if zone.given is not None and not zone.servers:
            await self._work.look(zone)
        if zone.given is None or not zone.servers:
            why = zone.trouble or zone.look_trouble or "they are not looked at yet"
            raise Transient(
                f"its ports are not looked at, so TLSA records of older keys stay: {why}",
                about=cert,
            )
        classes = self._site.config.classes_for(cert)
        alone = not any(one.servers for one in classes)
        end, pause = clock() + BELIEVED, FIRST_PAUSE
        while True:
            seen = await self._look_at_ports(zone, cert)
            try:
                return prove_ports(cert, name, seen, alone=alone)
            except Transient:
                # nginx, say, leaves its old workers at the port for a moment after a reload.
                if clock() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause *= SLOWER

    async def may_roll(self, zone: Zone, cert: CertId, name: SetName) -> Reason | None:
        """Look once more before a set is served; return why not, None if nothing is against it.

        Raises `Transient` for what a validating resolver does not like.
        """
        entry = self._registry.entries.get(cert)
        if entry is None:
            return None
        if not entry.wanted.dane:
            return await self._withdrawn(zone, cert, entry)
        if self._work.wish(zone) != zone.wish:
            # Just switched on, or the start: what caches may hold has to be known.
            await self._work.give(zone)
        view = self._registry.view(cert)
        if isinstance(view.dane, Withdrawn):
            return gate_of(view).reason
        await self._work.look(zone)
        view = self._registry.view(cert)
        if view.state.next is None or view.state.next.name != name:
            return Reason(Why.ANOTHER_SET)
        gate = gate_of(view)
        if not gate.open:
            return gate.reason
        if isinstance(view.dane, NoRecords):
            return None  # nor has a resolver to show any
        assert zone.notes is not None
        needed = zone.share(cert).needed
        await ask_resolver(zone.name, needed, self._site, signed=zone.notes.signed)
        return None

    async def _withdrawn(self, zone: Zone, cert: CertId, entry: Entry) -> Reason | None:
        """Return why a certificate without DANE may not be rolled yet, None if it may.

        Only for records of its own that caches may hold still: what else happens to DANE in its
        zone, or fails there, is none of its business (I6). Raises nothing.
        """
        if not await self._work.is_concerned(zone, entry):
            return None
        if self._work.wish(zone) != zone.wish:
            # Just switched off, or the start: what caches may hold has to be known.
            async with zone.turn:
                await self._work.give(zone)
        view = self._registry.view(cert)
        return gate_of(view).reason if isinstance(view.dane, Withdrawn) else None
