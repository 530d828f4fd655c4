"""Seeing for oneself: before a key is served, before old records go, and every day (I4)."""

from __future__ import annotations

import asyncio

from sslmd.core.dane.events import WatchEnded
from sslmd.core.dane.gate import gate_of
from sslmd.core.dane.report import DaneReport, Finding, findings_of
from sslmd.core.dane.verdict import NoRecords, Withdrawn
from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.names import CertId, SetName, ZoneName
from sslmd.core.reason import Reason, Why
from sslmd.core.seen import InDns
from sslmd.daemon.registry import Compared, Entry, Registry
from sslmd.daemon.zone_work import ZoneWork
from sslmd.dns.bounds import clock
from sslmd.servers.probe import BELIEVED, FIRST_PAUSE, SLOWER
from sslmd.workers.dane import ask_resolver, findings_of_ports, prove_ports
from sslmd.workers.dane import look as look_ports
from sslmd.workers.ports import PortSeen
from sslmd.workers.tools import Publishing

# Certificates of one zone whose ports are looked at side by side.
WATCHED_AT_ONCE = 4


class ZoneWatch:
    """Looks at name servers, a validating resolver and ports, and judges what they show."""

    def __init__(self, publishing: Publishing, registry: Registry, work: ZoneWork) -> None:
        self._publishing, self._site = publishing, publishing.site
        self._registry, self._zones = registry, registry.zones
        self._work = work

    async def compare(self, name: ZoneName, *, asked: bool) -> None:
        """Compare what DNS shows, what ports serve, and what should be; tell what is wrong.

        `asked` by somebody; by itself, what is wrong is looked at twice before it is told, and
        every few minutes until it is right.
        """
        zone = self._zones[name]
        if zone.given is None:
            # Nothing could be put together yet, so that nobody knows what to look for (I11).
            why = Reason(InDns.UNSEEN, why=zone.trouble or Reason(Why.PUBLISHING))
            for cert in sorted(zone.certs):
                self._report(cert, [Finding("DNS", why, unseen=True)])
            return
        await self._work.look(name)
        places = asyncio.Semaphore(WATCHED_AT_ONCE)

        async def one(cert: CertId) -> list[Finding]:
            async with places:
                return await self._find(name, cert)

        certs = sorted(self._zones[name].certs)
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
        is_told = asked or not wrong or self._zones[name].doubted
        self._zones.put(name, WatchEnded(wrong, asked, clock()))
        for cert, findings in found.items() if is_told else ():
            self._report(cert, findings)

    async def _find(self, name: ZoneName, cert: CertId) -> list[Finding]:
        seen = await self._look_at_ports(name, cert) if cert in self._registry else []
        if cert not in self._registry:
            return []
        state, zone = self._registry[cert].state, self._zones[name]
        limit = self._site.config.globals.dns_check_timeout
        findings = findings_of(zone, cert, state, self._site.now(), limit)
        curr = state.curr.name if state.curr else None
        spare = zone.spare(cert)
        return findings + findings_of_ports(seen, curr, zone.shown_to_clients(), spare)

    def _report(self, cert: CertId, findings: list[Finding]) -> None:
        if cert in self._registry:
            self._registry.put(cert, Compared(DaneReport(self._site.now(), tuple(findings))))

    async def _look_at_ports(self, name: ZoneName, cert: CertId) -> list[PortSeen]:
        zone = self._zones[name]
        assert zone.given is not None
        owners = zone.looked_at(cert)
        materials = zone.given.materials.get(cert, {})
        return await look_ports(cert, name, owners, materials, zone.servers, self._publishing)

    async def prove_ports(self, of: ZoneName, cert: CertId, name: SetName) -> None:
        """Raise `Transient` while a port with TLSA records serves an older set than `name`.

        And while nobody knows where those ports are: what was not looked at is not proven.
        """
        if not self._zones[of].servers:
            await self._work.look(of)
        zone = self._zones[of]
        if zone.given is None or not zone.servers:
            why = zone.trouble or zone.look_trouble
            raise Transient(Reason(Failed.PORTS_UNSEEN, why=why), about=cert)
        classes = self._site.config.classes_for(cert)
        alone = not any(one.servers for one in classes)
        end, pause = clock() + BELIEVED, FIRST_PAUSE
        while True:
            seen = await self._look_at_ports(of, cert)
            try:
                return prove_ports(cert, name, seen, alone=alone)
            except Transient:
                # nginx, say, leaves its old workers at the port for a moment after a reload.
                if clock() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause *= SLOWER

    async def may_roll(self, of: ZoneName, cert: CertId, name: SetName) -> Reason | None:
        """Look once more before a set is served; return why not, None if nothing is against it.

        Raises `Transient` for what a validating resolver does not like.
        """
        entry = self._registry.entries.get(cert)
        if entry is None:
            return None
        if not entry.wanted.dane:
            return await self._withdrawn(of, cert, entry)
        if self._is_behind(of):
            # Just switched on, or the start: what caches may hold has to be known.
            await self._work.give(of)
        view = self._registry.view(cert)
        if isinstance(view.dane, Withdrawn):
            return gate_of(view).reason
        await self._work.look(of)
        view = self._registry.view(cert)
        if view.state.next is None or view.state.next.name != name:
            return Reason(Why.ANOTHER_SET)
        gate = gate_of(view)
        if not gate.open:
            return gate.reason
        if isinstance(view.dane, NoRecords):
            return None  # nor has a resolver to show any
        zone = self._zones[of]
        needed = zone.share(cert).needed
        asker = self._publishing.means.resolver.asker
        await ask_resolver(asker, of, needed, self._site, signed=zone.noted.signed)
        return None

    def _is_behind(self, name: ZoneName) -> bool:
        zone = self._zones[name]
        return self._work.wish(zone) != zone.wish

    async def _withdrawn(self, of: ZoneName, cert: CertId, entry: Entry) -> Reason | None:
        """Return why a certificate without DANE may not be rolled yet, None if it may.

        Only for records of its own that caches may hold still: what else happens to DANE in its
        zone, or fails there, is none of its business (I6). Raises nothing.
        """
        if not await self._work.is_concerned(of, entry):
            return None
        if self._is_behind(of):
            # Just switched off, or the start: what caches may hold has to be known.
            await self._work.publish(of)
        view = self._registry.view(cert)
        return gate_of(view).reason if isinstance(view.dane, Withdrawn) else None
