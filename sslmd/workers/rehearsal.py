"""What the first start on a tree would do, by the daemon's own rules; nothing is changed.

Certificates are read as the daemon reads them, `core.plan.decide` decides, and what a job would
report is taken in as if it had gone well, until nothing is left that is due. So it is no second
opinion: where the rules change, this changes with them. Records of zones are in `zone_rehearsal`.
"""

from __future__ import annotations

import asyncio
import random
import shlex
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from sslmd.config.model import (
    THIS_HOST,
    Config,
    class_order,
    commands_of,
    hosts_of,
    places,
    proves,
    wanted_on,
)
from sslmd.core.dane.verdict import Dane, Unknown
from sslmd.core.errors import SslmError
from sslmd.core.events import AskDropped, Event, ServersProven, Settled
from sslmd.core.host.needs import needs
from sslmd.core.host.plan import by_class, by_host
from sslmd.core.jobs import (
    Certify,
    CertJob,
    Deliver,
    MakeKey,
    Order,
    PutBack,
    Roll,
    Settle,
    TakeOff,
)
from sslmd.core.lifecycle import advance
from sslmd.core.names import CertId
from sslmd.core.plan import decide
from sslmd.core.reason import Reason, Why
from sslmd.core.renewal import Wanted, why_unusable
from sslmd.core.spec import OwnCa, SelfSigned
from sslmd.core.state import CertState
from sslmd.core.told import Odd, Would
from sslmd.core.view import Decision, due, view_of, with_lost_ca
from sslmd.dns.ask import DnsAsker
from sslmd.dns.resolver import Resolver
from sslmd.net.inside import Inside
from sslmd.servers import around, as_found
from sslmd.servers.local import Locality
from sslmd.store import certs
from sslmd.store.layout import Tree
from sslmd.workers import deliver, dh, settle
from sslmd.workers.deliver import as_configured
from sslmd.workers.restart import dependents
from sslmd.workers.tools import Publishing, Site, Standings, Telling, Threads, means_of, wanted_of
from sslmd.workers.zone_rehearsal import ZoneRehearsal, rehearse_zones

# The places in the spread of renewals that a set can draw: the first day, and the last.
EARLIEST, LATEST = 1.0, -1.0

# Steps of one certificate. A start has six; more would be a bug.
_MOST_STEPS = 30

_READERS = 8


@dataclass(slots=True)
class Rehearsed:
    """One certificate: how it stands after everything that would be done at once.

    `loaded` is how it was read. `job`: what would be made, or rolled, at once. `changes`: what of
    the files would be changed; `remarks`: what is odd. `failed`: what keeps the daemon
    from delivering it. `wide`: its keys that others can read.
    """

    cert: CertId
    wanted: Wanted
    servers: frozenset[tuple[str, str]]
    state: CertState
    hold: Reason | None
    proves: bool
    loaded: CertState
    is_drawn: bool
    decision: Decision = field(default_factory=lambda: Decision(Reason(Why.NOT_PLANNED)))
    job: CertJob | None = None
    changes: list[Reason] = field(default_factory=list)
    remarks: list[Reason] = field(default_factory=list)
    failed: list[Reason] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)

    @property
    def is_root(self) -> bool:
        """Whether it signs itself, and others trust it for that."""
        return self.wanted.spec.ca is not None and isinstance(self.wanted.spec.signer, SelfSigned)

    @property
    def is_made(self) -> bool:
        """Whether a key or a certificate would be made at once, or as soon as its CA can sign."""
        return isinstance(self.job, MakeKey | Certify | Order) or self.decision.waits_for_ca

    @property
    def is_rolled(self) -> bool:
        """Whether another set would be `curr` at once."""
        return isinstance(self.job, Roll | PutBack | TakeOff)

    def unusable(self, now: datetime) -> Reason | None:
        """Return why `curr` cannot be served, None if it can."""
        return why_unusable(self.loaded.curr, now)

    def renews(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last day on which `curr` may be due, None without one."""
        state, note = self.loaded, self.loaded.curr_note
        first = due(state, self.wanted)
        if first is None or note is None:
            return None
        if self.is_drawn:
            state = replace(state, curr_note=replace(note, draw=LATEST))
        last = due(state, self.wanted)
        assert last is not None
        return first, last


@dataclass(slots=True)
class Rehearsal:
    """Everything that would be done. `runs`: visits and commands; `changes`: the rest.

    `unseen`: what could not be looked at, and why.
    """

    certs: dict[CertId, Rehearsed]
    zones: list[ZoneRehearsal] = field(default_factory=list)
    runs: list[Reason] = field(default_factory=list)
    changes: list[Reason] = field(default_factory=list)
    remarks: list[Reason] = field(default_factory=list)
    unseen: list[Reason] = field(default_factory=list)


async def rehearse(config: Config, now: datetime) -> Rehearsal:
    """Return what a daemon that is started now would do at once. Only name servers are asked."""
    with ThreadPoolExecutor(_READERS, "sslm-rehearsal") as threads:
        book: dict[CertId, Rehearsed] = {}
        tree = Tree(str(config.globals.certs_dir))
        site = Site(config, tree, lambda: now, random.SystemRandom())
        standings = Standings(lambda cert: book[cert].state)
        found = Rehearsal(book)
        await asyncio.to_thread(_load, site, found)
        await _rehearse(site, Threads(threads), standings, found)
        return found


def _load(site: Site, found: Rehearsal) -> None:
    config, book, now = site.config, found.certs, site.now()
    prod = str(config.globals.prod_cert_dir)
    for cert, service in config.services.items():
        loaded = certs.load(
            site.tree, cert, draw=lambda: EARLIEST, now=now, repair=certs.Repair.REPORTED
        )
        is_ca = service.spec.ca is not None
        as_found.compare(loaded, site.tree, prod, cert, is_ca=is_ca)
        state = as_configured(config, cert, loaded.state)
        if is_ca:
            told = as_found.told_of_ca_keys(prod, cert, managed=service.managed)
            found.remarks += [Reason(Would.OF_CERT, cert=cert, what=remark) for remark in told]
        if state.curr is not None:
            site.established.add(cert.group)
        book[cert] = Rehearsed(
            cert,
            wanted_of(service, config),
            places(config, cert),
            state,
            loaded.hold,
            proves(config, cert),
            state,
            loaded.unsaved,
            changes=list(loaded.repairs),
            remarks=[one for one in loaded.remarks if one.code is not Odd.KEY_WAS_WIDE],
            wide=loaded.wide,
        )
    _look_for_lost_cas(book)


def _look_for_lost_cas(book: dict[CertId, Rehearsed]) -> None:
    """Find out, as the daemon does, what CAs have signed of which nothing is left."""
    below: dict[CertId, list[CertId]] = defaultdict(list)
    for cert, one in book.items():
        signer = one.wanted.spec.signer
        if isinstance(signer, OwnCa):
            below[signer.cert].append(cert)
    for cert, one in book.items():
        one.state = one.loaded = with_lost_ca(cert, book, lambda ca: below.get(ca, []))


async def _rehearse(site: Site, threads: Threads, standings: Standings, found: Rehearsal) -> None:
    book, telling = found.certs, Telling()
    net = Inside()
    means = means_of(site, threads, telling, Resolver(DnsAsker(net)), net=net)
    publishing = Publishing(site, threads, standings, telling, means)
    found.zones = await rehearse_zones(publishing, book)
    zones = {one.name.text: one for one in found.zones}
    hosts = [THIS_HOST, *sorted(hosts_of(site.config))]
    known = await Locality(means.net).local(hosts)
    here = {host for host, is_here in known.items() if is_here}
    for cert, one in book.items():
        zone = zones.get(cert.group)
        dane = zone.dane_of(one) if zone is not None else Unknown()
        await asyncio.to_thread(_follow, one, book, dane, site, standings, here)
    for zone in found.zones:
        await zone.settle(book)
        if zone.changes:
            states = [(cert, one.state) for cert, one in book.items()]
            for cert, event in dependents(site.config, zone.name, states, site.now()):
                book[cert].state = advance(book[cert].state, event)
    changed = [zone.name.text for zone in found.zones if zone.changes]
    found.runs += _dns_commands(site.config, changed)
    found.runs += _on_hosts(site, book, here)
    await asyncio.to_thread(_beside, site, found)


def _follow(
    one: Rehearsed,
    book: dict[CertId, Rehearsed],
    dane: Dane,
    site: Site,
    standings: Standings,
    here: set[str],
) -> None:
    """Decide, take in what came of it, and decide again, until something would be made."""
    now = site.now()
    for _ in range(_MOST_STEPS):
        one.decision = decide(view_of(one, book, dane), now)
        event = one.decision.advertised or one.decision.event
        if event is not None:
            if isinstance(event, AskDropped):
                one.remarks.append(Reason(Would.DROPS_ASK, why=event.reason))
        else:
            try:
                event = _done(one, one.decision.job, site, standings, here)
            except SslmError as err:
                one.failed.append(err.reason)
                return
        if event is None:
            return
        one.state = advance(one.state, event)


def _done(
    one: Rehearsed, job: CertJob | None, site: Site, standings: Standings, here: set[str]
) -> Event | None:
    """Return what a job would report that makes nothing; note what it would change."""
    match job:
        case None:
            return None
        case Deliver():
            found = deliver.rehearse(job, site, standings, here)
            one.changes += found.changes
            one.wide += found.wide
            # A server may read them as they are.
            one.changes += [Reason(Would.CLOSE_KEY, path=path) for path in found.wide]
            return found.event
        case Settle():
            gone = settle.rehearse(one.cert, site, standings)
            if gone:
                keep = site.config.globals.clean_keep
                one.changes.append(Reason(Would.CLEAN, keep=keep, sets=tuple(map(str, gone))))
            return Settled(site.now(), one.state.prev)
        case MakeKey() | Certify() | Order() | Roll() | PutBack() | TakeOff():
            one.job = job
            return None
        case _:  # Prove: it looks at ports
            return ServersProven(site.now())


# --- hosts ------------------------------------------------------------------------------


def _on_hosts(site: Site, book: dict[CertId, Rehearsed], here: set[str]) -> Iterator[Reason]:
    """Yield what would be copied and restarted."""
    config, now = site.config, site.now()
    known = commands_of(config)
    placed = by_host((cert, one.state) for cert, one in book.items())
    needed = {host: needs(wanted_on(config, host), now, placed[host]) for host in sorted(placed)}
    for host, need in needed.items():
        if host not in here and need.lacking:
            certs_there = tuple(dict.fromkeys(str(one.told.cert) for one in need.lacking))
            yield Reason(Would.VISIT, host=host, certs=certs_there)
        for argv in known.after_copy_to(host) if need.lacking else ():
            yield Reason(Would.POST_COPY, host=host, command=shlex.join(argv))
    for host, need in needed.items():
        for kind, told in by_class(need.restarts, class_order(config), now):
            certs = sorted({one.cert for one in told})
            commands = tuple(map(shlex.join, known.restarting(kind, certs)))
            certs_there = tuple(map(str, certs))
            yield Reason(Would.RESTART, kind=kind, host=host, certs=certs_there, commands=commands)


def _dns_commands(config: Config, zones: list[str]) -> Iterator[Reason]:
    """Yield which commands have the name servers take changed files."""
    for argv in commands_of(config).reloading(zones) if zones else ():
        yield Reason(Would.RELOAD_DNS, zones=tuple(zones), command=shlex.join(argv))


def _beside(site: Site, found: Rehearsal) -> None:
    """Look at what is no certificate's own: what lies in production beside them."""
    try:
        surplus = around.needs_here(site.config, site.now())
        found.changes += [Reason(Would.REMOVE_SURPLUS, what=str(one)) for one in surplus.to_go]
        found.remarks += [
            Reason(Would.LEAVE_SURPLUS, what=one.path)
            for one in surplus.surplus
            if one.cert is not None and one.cert not in site.config.services
        ]
        found.changes += [Reason(Would.WRITE_DH, path=path) for path in dh.rehearse(site)]
    except SslmError as err:
        found.unseen.append(err.reason)
