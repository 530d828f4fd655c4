"""The daemon's parts, put together: registry, loop, and the reconcilers of every kind.

What changes goes into the registry; who has to follow hears of it there, and the loop asks what
comes next. Reading the tree, at the start, at a reload and where something is held, is done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from sslmd.acme.signing import Signer
from sslmd.config.groups import why_absent
from sslmd.config.model import Config
from sslmd.core.alarms import BesideStanding
from sslmd.core.events import Counted, Event
from sslmd.core.jobs import Pool, pool
from sslmd.core.lifecycle import with_sets
from sslmd.core.names import CertId
from sslmd.core.reason import Reason
from sslmd.core.spec import AcmeCa
from sslmd.core.state import CertState, Delivered
from sslmd.core.told import Reported
from sslmd.daemon.alarms import Alarms
from sslmd.daemon.ari import RenewalLooks
from sslmd.daemon.beside_standing import beside, of_network
from sslmd.daemon.certs import Certs
from sslmd.daemon.challenges import ChallengeZones
from sslmd.daemon.dh import DhGroups
from sslmd.daemon.heartbeat import Heartbeat
from sslmd.daemon.held import HeldCerts, is_held
from sslmd.daemon.hosts import Hosts
from sslmd.daemon.ledger import Ledger, Pages
from sslmd.daemon.loop import Loop
from sslmd.daemon.notices import Notices
from sslmd.daemon.refusal import Refusal
from sslmd.daemon.registry import (
    Entry,
    Forgiven,
    Gone,
    Noticed,
    Progressed,
    Registry,
    Taken,
    entry_of,
)
from sslmd.daemon.tell.changes import BESIDE, Changes
from sslmd.daemon.tell.journal import WARNING, Bus, Record
from sslmd.daemon.zones import Zones
from sslmd.dns.ask import DnsAsker
from sslmd.dns.resolver import Resolver
from sslmd.net.link import Asker, Nobody
from sslmd.servers import as_found
from sslmd.servers.local import Locality
from sslmd.store import certs
from sslmd.store.reading import read_all
from sslmd.workers.copy import forget_outgoing
from sslmd.workers.deliver import as_configured
from sslmd.workers.dispatch import ca_asked
from sslmd.workers.notify import Sender
from sslmd.workers.tools import (
    Delivering,
    Publishing,
    Site,
    Standings,
    Telling,
    Threads,
    means_of,
    ordering_of,
)


class Hub:
    """One per daemon. All of it runs in the event loop; files are touched in threads."""

    def __init__(
        self,
        site: Site,
        threads: Threads,
        standings: Standings,
        telling: Telling,
        bus: Bus,
        parallel: int,
        socket: str = "",
        net: Asker | None = None,
        signer: Signer | None = None,
    ) -> None:
        self.site, self.threads, self.standings, self.telling = site, threads, standings, telling
        self.bus, self.registry, self.net = bus, Registry(), net
        self.loop = Loop(
            site.now,
            parallel,
            lambda job: ca_asked(job, site.config),
            self._clock_jumped,
            telling.bug,
            lambda: self.ledger.write(),
            lambda job: self.ari.urgency(job),
        )
        again = partial(self.loop.touch, Ledger.name)
        self._pages = pages = Pages(self.registry, telling)
        self.ledger = Ledger(site, pages.page_of, pages.failed, pages.mended, again)
        self.queue = queue = self.loop.queue
        net, common = net or Nobody(), (site, threads, standings, telling)
        resolver, self.locality = Resolver(DnsAsker(net)), Locality(net)
        crowded = partial(queue.crowded, Pool.ACME)
        self.means = means = means_of(site, threads, telling, resolver, crowded, queue.resting, net)
        touch = partial(self.loop.touch, ChallengeZones.name)
        self.ordering = ordering_of(site, threads, standings, telling, means, socket, touch, signer)
        delivering = Delivering(*common, resolver, self.locality, means.runs, net)
        self.zones = Zones(Publishing(*common, means), self.registry, self.loop, self._tell)
        self.hosts = Hosts(delivering, self.registry, self.loop)
        self.ari = RenewalLooks(net, site, threads, self.registry, self.loop)
        self.dh = DhGroups(site, threads, telling, self.loop, self._tell)
        self.held = HeldCerts(self.look_at_held, self.registry, site.now, telling.bug)
        ways = self.ordering, delivering, self.registry, self.loop, bus
        self.certs = Certs(*ways, self.zones, self.held)
        self.loop.add(self.certs, self.certs.waits)
        self._challenges = ChallengeZones(self.ordering.challenges, site.now)
        told = self._tell, telling.bug
        self.alarms = Alarms(site, threads, self.registry, self._beside, self._alarmed, *told)
        self.heartbeat = Heartbeat(site, self.loop, net, self.alarms, *told)
        self.notices = Notices(site, self.alarms, self.loop, Sender(site, threads), *told)
        others = self._challenges, self.hosts, self.ari, self.dh, self.held, self.ledger
        for reconciler in (self.zones, *others, self.alarms, self.notices, self.heartbeat):
            self.loop.add(reconciler)
        changes = Changes(bus, site.now, self.ledger.note)
        self.registry.listen(changes.hear, self.loop.meters.hear, self._follow)
        # What was found odd in a certificate's files when they were read last.
        self._remarks: dict[CertId, list[Reason]] = {}
        self.registry.dane_of = self.zones.dane
        self.registry.why_absent = lambda group, service: why_absent(site.config, group, service)
        # The configuration that was refused since the one in force was loaded.
        self.refused: Refusal | None = None
        self._stopping = False

    # --- the story of a run ---

    def load(self) -> None:
        """Read every certificate of the configuration from disk; blocks, for the start."""
        which = list(self.site.config.services)
        self._take_in(read_all(self._read, which))
        forget_outgoing(self.site.tree)
        self.hosts.load()
        self.ordering.accounts.load()
        self.alarms.load()
        self.notices.reconfigured()

    def start(self) -> None:
        """Make the first plan and begin to work."""
        self.ledger.start()
        self.zones.start()
        self.touch_all()
        self.loop.start()

    async def stop(self, grace: float) -> bool:
        """Stop working, leaving everything resumable, and write what is left to write.

        Return whether every job came to its end within `grace` seconds.
        """
        self._stopping = True
        self.zones.stop()
        ended = await self.loop.stop(grace)
        await self.ledger.close()
        return ended

    async def at_rest(self) -> None:
        """Return when nothing is queued or running, and no restart is due."""
        while not self.loop.is_at_rest or self.hosts.due(self.site.now()):
            await self.queue.idle()
            self.hosts.touch_all()
            await asyncio.sleep(0)

    # --- reading the tree ---

    def _read(
        self, which: Iterable[CertId], config: Config | None = None
    ) -> dict[CertId, certs.Loaded]:
        tree, now, draw = self.site.tree, self.site.now(), self.site.draw
        config = config or self.site.config
        prod, found = str(config.globals.prod_cert_dir), dict[CertId, certs.Loaded]()
        for cert in which:
            service = config.services[cert]
            is_ca = service.spec.ca is not None
            one = found[cert] = certs.load(tree, cert, draw=draw, now=now)
            as_found.compare(one, tree, prod, cert, is_ca=is_ca)
            if is_ca:
                one.remarks += as_found.ca_keys(prod, cert, managed=service.managed)
        return found

    def _take_in(self, loaded: dict[CertId, certs.Loaded]) -> None:
        config = self.site.config
        for cert, one in loaded.items():
            state = as_configured(config, cert, one.state)
            entry = entry_of(config, config.services[cert], state, one.hold, one.astray)
            if state.curr is not None:
                self.site.established.add(cert.group)
            self._remark(cert, one.remarks)
            self.registry.put(cert, Taken(entry, one.remarks, one.unsaved))
        self.registry.relate()

    def _remark(self, cert: CertId, remarks: list[Reason]) -> None:
        self._remarks.pop(cert, None)
        if remarks:
            self._remarks[cert] = remarks

    async def reconfigure(self, config: Config) -> tuple[list[CertId], list[CertId], list[CertId]]:
        """Work by another configuration from now on; return what was added, removed, changed.

        The tree is read again as well, where no job is at work in it: it may have been edited.
        """
        before = {cert: entry.state for cert, entry in self.registry.entries.items()}
        loaded = await self.threads.in_thread(self._read, config.services, config)
        # What was read is perhaps old where something came to its end in the meantime.
        moved = [
            cert
            for cert, entry in self.registry.entries.items()
            if cert in config.services and entry.state is not before.get(cert)
        ]
        if moved:
            before |= {cert: self.registry[cert].state for cert in moved}
            loaded |= await self.threads.in_thread(self._read, moved, config)
        old = self.site.config
        self.site.config = config
        removed = [cert for cert in self.registry if cert not in config.services]
        added = [cert for cert in config.services if cert not in self.registry]
        changed = [
            cert
            for cert in config.services
            if cert in self.registry and config.services[cert] != old.services.get(cert)
        ]
        # All of it at one instant: a service that gets another name would otherwise leave first,
        # with its records, and then come.
        for cert in removed:
            self.registry.put(cert, Gone())
        self._take_in({cert: loaded[cert] for cert in added})
        for cert in config.services:
            if cert not in added:
                # What was read is old where a job came to its end in the meantime.
                still = self.registry[cert].state is before.get(cert)
                remarks = loaded[cert].remarks if still else []
                self._remark(cert, remarks)
                self._refresh(cert, loaded[cert] if still else None, remarks)
        self.registry.relate()
        self.hosts.reconfigured(old)
        self.zones.reconfigured()
        self.notices.reconfigured()
        self.heartbeat.reconfigured()
        self._forgive(old)
        self.touch_all()
        # An order that is for other names, or at another CA.
        queue = self.queue
        asked = {cert: old.services[cert].fingerprint for cert in changed if cert in old.services}
        other = [
            one
            for one in asked
            if asked[one] != config.services[one].fingerprint
            and any(pool(job) is Pool.ACME for lane in _lanes(one) for job in queue.in_lane(lane))
        ]
        stopping = [queue.cancel(lane) for one in (*removed, *other) for lane in _lanes(one)]
        await asyncio.gather(*stopping, self.dh.reconfigured(old))
        for cert in other:  # one that only waited for its place has ended without a word
            self.loop.touch("cert", cert)
        self.loop.take_turn()
        return added, removed, changed

    def _forgive(self, old: Config) -> None:
        """Try orders again at once where what challenges are published by has changed."""

        def publishing(config: Config) -> object:
            web = [(one.servers, one.server_dir, one.http_check) for one in config.server_classes]
            return config.dns, config.dns_primaries, web, config.globals.dns_extra_servers

        if publishing(old) == publishing(self.site.config):
            return
        for cert, entry in list(self.registry.entries.items()):
            trouble, is_acme = entry.state.trouble, isinstance(entry.wanted.spec.signer, AcmeCa)
            if trouble is not None and not trouble.binding and is_acme:
                self.registry.put(cert, Forgiven())

    def _refresh(self, cert: CertId, fresh: certs.Loaded | None, remarks: Sequence[Reason]) -> None:
        """Take over what the configuration says now, and what was read `fresh`."""
        entry, config = self.registry[cert], self.site.config
        state, hold, is_released = entry.state, entry.hold, False
        if fresh is not None and not self.queue.busy(f"cert {cert}"):
            hold, is_released = fresh.hold, entry.hold is not None and fresh.hold is None
            if is_released:
                state = fresh.state  # what held it was put right
            elif not hold:
                # What is noted in memory may be newer than the file; the sets on disk are not.
                state = with_sets(state, fresh.state)
                if fresh.state.delivered.curr is None:  # not in production, or elsewhere now
                    state = replace(state, delivered=Delivered())
        astray = fresh.astray if fresh is not None else entry.astray
        state = as_configured(config, cert, state)
        renewed = replace(
            entry_of(config, config.services[cert], state, hold, astray),
            decision=entry.decision,  # an alarm that stands is not told again
            progress=entry.progress,
            unsaved=entry.unsaved,
            # An alarm stands until ports were looked at again.
            report=entry.report if config.services[cert].dane else None,
        )
        self.registry.put(cert, Taken(renewed, remarks, is_released))

    async def look_at_held(self, which: Iterable[CertId] | None = None) -> None:
        """Read again what is held, of `which` or of all, and go on with what was put right."""
        held = {
            cert: self.registry[cert].state
            for cert in (self.registry if which is None else which)
            if is_held(self.registry[cert]) and not self.queue.busy(f"cert {cert}")
        }
        if not held or self._stopping:
            return
        config = self.site.config
        loaded = await self.threads.aside(self._read, list(held))
        if self.site.config is not config or self._stopping:
            return  # a reload has read all of them meanwhile
        for cert, before in held.items():
            if self.registry[cert].state is not before or self.queue.busy(f"cert {cert}"):
                continue
            fresh = loaded[cert]
            known = self._remarks.get(cert, [])
            self._remark(cert, fresh.remarks)
            self._refresh(cert, fresh, [one for one in fresh.remarks if one not in known])
        for cert in held:
            self.loop.touch("cert", cert)
            for child in self.registry.below(cert):
                self.loop.touch("cert", child)
        self.loop.take_turn()

    def touch_all(self) -> None:
        """Look at everything."""
        for cert in self.registry:
            self.loop.touch("cert", cert)
        for zone in self._challenges.zones:
            self.loop.touch(ChallengeZones.name, zone)
        for one in (self.zones, self.hosts, self.ari, self.notices):
            one.touch_all()
        for name in ("dh", "held", "notes", "alarms", "alive"):
            self.loop.touch(name)

    def _follow(
        self, cert: CertId, event: Event | Noticed, before: Entry | None, after: Entry | None
    ) -> None:
        """Have hosts, zones and the loop follow a change."""
        if isinstance(event, BESIDE):
            return
        if after is None:
            self.loop.forget("cert", cert)
            self.hosts.forget(cert)
            self.zones.forget(cert)
            return
        self.hosts.note(cert, before)
        self.zones.note(cert)
        self.certs.heard(cert, event)

    @property
    def failures(self) -> int:
        """How much has failed since the start."""
        return self._pages.failures + self.certs.failures + self.hosts.failures + self.dh.failures

    def state_of(self, cert: CertId) -> CertState:
        """Return how a certificate stands, for the workers."""
        return self.registry[cert].state if cert in self.registry else CertState()

    def progress(self, cert: CertId, how: Reason | None) -> None:
        """A job tells how far it is, None when that is over; part of `reason` in the status."""
        entry = self.registry.entries.get(cert)
        if entry is not None and entry.progress != how:
            self.registry.put(cert, Progressed(how))

    def count(self, cert: CertId, event: Counted) -> None:
        """Take in that a CA may have failed to validate names."""
        if cert in self.registry:
            self.registry.put(cert, event)

    # --- what went wrong beside jobs ---

    def _beside(self) -> Iterable[BesideStanding]:
        net, book = of_network(self.net, self.ordering.signer), self.alarms.state.book
        return beside(self.hosts, self.zones, self.dh, net, self.refused, book, self.heartbeat)

    def _alarmed(self) -> None:
        self.notices.touch_all()

    def _clock_jumped(self, seconds: float) -> None:
        if seconds:
            self._tell("clock-jumped", Reason(Reported.CLOCK, seconds=round(seconds)), WARNING)
        self.touch_all()

    def _tell(self, event: str, line: Reason, priority: int, cert: CertId | None = None) -> None:
        self.bus.record(Record(self.site.now(), event, line, priority, cert))


def _lanes(cert: CertId) -> tuple[str, str]:
    """Return the lanes of what is done for one certificate alone."""
    return f"cert {cert}", f"trial {cert}"
