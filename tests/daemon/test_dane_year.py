"""A year of one zone on a virtual clock: no key is served that a cache may have no record of (I4).

Everything that decides is the daemon's own: the plan, what a zone has to serve, the wait. Name
servers, servers and caches are simulated, with secondaries that lag, fall silent and lose what they
had, TTLs that change, wall clocks that jump, restarts of the daemon, reloads that fail, and admins
who roll whenever they like, but without `--force`. The owner becomes a CNAME to another name in the
zone, or to one of a provider, and is none again; it is delegated for a while; and somebody has a
record of a day's TTL there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from sslmd.config.model import NextKey, ServiceConfig
from sslmd.core.dane.content import Given, Wish, ZoneNotes, cert_wish, content_for
from sslmd.core.dane.events import (
    CertsOfZone,
    SightingsTaken,
    WasGiven,
    WasSeen,
    ZoneEvent,
    advance_zone,
)
from sslmd.core.dane.gate import gate_of
from sslmd.core.dane.judging import dane_of
from sslmd.core.dane.last_call import calls_of, curr_ends
from sslmd.core.dane.look import sight
from sslmd.core.dane.places import Elsewhere, Fate, Place, sure_places
from sslmd.core.dane.sighting import (
    LONGEST_MISSING,
    LONGEST_SILENT,
    TTLS,
    Instant,
    NameServersSeen,
    OwnerSeen,
    Sighting,
    TlsaSeen,
)
from sslmd.core.dane.tlsa import (
    Content,
    DaneEntry,
    Material,
    Tlsa,
    TlsaSet,
    association,
    wants_of,
)
from sslmd.core.dane.verdict import Withdrawn
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import Transient, Trouble
from sslmd.core.events import (
    AskDropped,
    Asked,
    BackOnDeck,
    CertIssued,
    KeyMade,
    Lost,
    OffDeck,
    ProdUpdated,
    Rolled,
    ServersProven,
    ServerTold,
    Settled,
    TlsaLooked,
)
from sslmd.core.jobs import Certify, Deliver, MakeKey, Prove, PutBack, Roll, Settle, TakeOff
from sslmd.core.lifecycle import advance
from sslmd.core.names import CertId, DomainName, SetName, ZoneName
from sslmd.core.plan import decide
from sslmd.core.reason import Reason
from sslmd.core.renew_track import why_not_back
from sslmd.core.seen import InDns
from sslmd.core.spec import OwnCa, SetFacts
from sslmd.core.state import Ask, CertState, Delivered, Request, Server, ServerPhase, SetNote
from sslmd.core.view import Decision, View
from sslmd.daemon.registry import Entry
from sslmd.dns.notes import union
from sslmd.store.state import notes_of, parse, render
from tests.reasons import because
from tests.stand.world import START, days, facts, wanted

ZONE = ZoneName("example.com")
OWNER = DomainName("_25._tcp.mail.example.com")
HOSTS = ("mx1", "mx2")
TARGET = DomainName("_dane.example.com")
OUTSIDE = DomainName("_dane.example.net")

# Seconds: of CNAMEs, of the provider's records, of a record made by hand.
CNAME_TTL = 3600
PROVIDER_TTL = 7200
HAND_TTL = 86_400
PLAIN = DaneEntry(25, "tcp", 3, 1, 1, (DomainName("mail.example.com"),))
STRONG = replace(PLAIN, match=2)
WHOLE = replace(PLAIN, selector=0)


@dataclass(frozen=True)
class Shape:
    """What of the zone is not ours: a CNAME at the owner, a cut above it, a record made by hand."""

    cname: DomainName | None = None
    cut: bool = False
    by_hand: frozenset[Tlsa] = frozenset()


PLAIN_ZONE = Shape()


@dataclass(frozen=True)
class Version:
    """What one name server served, from a moment on."""

    since: float
    content: Content
    shape: Shape = PLAIN_ZONE

    def at_owner(self) -> TlsaSet | None:
        """Return what it has at the owner itself."""
        if self.shape.cut or self.shape.cname is not None:
            return None
        ours = self.content.get(OWNER)
        if not self.shape.by_hand:
            return ours
        records = ours.records if ours is not None else frozenset()
        return TlsaSet(HAND_TTL, records | self.shape.by_hand)


@dataclass
class NameServerModel:
    """A name server: `versions` it served, `silent_until` when it answers again."""

    name: str
    versions: list[Version] = field(default_factory=list)
    pending: list[tuple[float, Content, Shape]] = field(default_factory=list)
    silent_until: float = 0.0

    def serve(self, at: float, content: Content, shape: Shape) -> None:
        self.versions.append(Version(at, content, shape))

    def catch_up(self, now: float) -> None:
        """Take the zone transfers that are due, in order."""
        while self.pending and self.pending[0][0] <= now:
            at, content, shape = self.pending.pop(0)
            since = max(at, self.versions[-1].since if self.versions else 0.0)
            self.serve(since, content, shape)


def material(cert: CertId, name: SetName) -> Material:
    text = f"{cert.service} {name}".encode()
    return Material(b"key " + text, b"leaf " + text, b"issuer", b"issuer key")


@dataclass
class Cert:
    """One certificate: its entry in the registry, and what each host serves since when."""

    service: ServiceConfig
    entry: Entry
    served: dict[str, list[tuple[float, SetName]]] = field(default_factory=dict)
    down: dict[str, float] = field(default_factory=dict)

    @property
    def id(self) -> CertId:
        return self.service.id


class Year:
    """The site. `now` is seconds since the start by a clock that nobody sets."""

    def __init__(self, rng: random.Random, certs: int, *, ahead: bool) -> None:
        self.rng = rng
        self.ahead = ahead
        self.lags = [1, 5, 60, 600, 7200]  # seconds, of secondaries
        self.now = 0.0
        self.offset = 0.0  # of the wall clock
        self.boot = 0
        self.servers = [NameServerModel(f"ns{number}") for number in range(3)]
        self.zone = KnownZone(ZONE, notes=ZoneNotes())
        self.noted: Content = {}
        self.loaded: Content = {}  # what the primary has
        self.shape = PLAIN_ZONE
        self.provider: list[tuple[float, frozenset[Tlsa]]] = [(0.0, frozenset())]
        self.fates: Counter[Fate] = Counter()
        self.rolls = self.back = 0
        self.made: dict[tuple[CertId, SetName], SetFacts] = {}
        self.kept = ZoneNotes()  # what is on disk
        self.certs = [self._cert(number, ahead=ahead) for number in range(certs)]
        self.put(CertsOfZone(ZONE, frozenset(cert.id for cert in self.certs)))
        for server in self.servers:
            server.serve(0.0, {}, self.shape)

    def _cert(self, number: int, *, ahead: bool) -> Cert:
        name = CertId("example.com", f"mail{number}")
        want = wanted(str(name), signer=OwnCa(CertId("ca", "sub")), dane=True, renew=10, min_roll=1)
        want = replace(want, next_ahead=ahead)
        key = NextKey.AT_ROLL if ahead else NextKey.AT_RENEW
        service = ServiceConfig(want.spec, want.timing, "f", (PLAIN,), 600, key)
        places = frozenset(("smtp", host) for host in HOSTS)
        return Cert(service, Entry(want, places, CertState(), None, Decision(because("new"))))

    # --- clocks ---

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.now + self.offset)

    def instant(self) -> Instant:
        return Instant(str(self.boot), self.now)

    # --- the daemon ---

    def put(self, event: ZoneEvent) -> None:
        self.zone = advance_zone(self.zone, event)

    def view(self, cert: Cert) -> View:
        wish = self.zone.wish
        current = not cert.service.dane or (wish is not None and self._wish_of(cert) in wish.certs)
        behind = None if current and not self.zone.trouble else Reason(InDns.TOLD_NOW)
        dane = dane_of(self.zone, cert.id, cert.entry)
        entry = cert.entry
        return View(entry.wanted, entry.state, None, entry.servers, None, dane, behind)

    def _wish_of(self, cert: Cert) -> object:
        return cert_wish(cert.entry, cert.service.dane, cert.service.dane_ttl)

    def publish(self) -> None:
        wishes = [
            cert_wish(one.entry, one.service.dane, one.service.dane_ttl)
            for one in self.certs
            if one.service.dane
        ]
        wish = Wish(ZONE, tuple(wishes))
        if wish == self.zone.wish and not self.zone.again:
            return
        assert self.zone.notes is not None
        before = self.noted
        places, notes = self._places(before, self.zone.notes)
        content, materials, notes = content_for(
            wish, notes, before, material, frozenset(), places, others=self.zone.others
        )
        self.fates.update(place.fate for place in places.values())
        self.kept = notes
        # When the command fails, nobody knows what came of it.
        failed = self.rng.random() < 0.05
        if content.records != self.loaded and not (failed and self.rng.random() < 0.5):
            self._give(content.records)
        self.noted = union(before, content.records) if failed else content.records
        trouble = None
        if failed or any(one.fate is Fate.UNKNOWN for one in places.values()):
            why = Transient("rndc failed" if failed else "")
            trouble = Trouble.of(why, 0, START, jitter=0)
        wants = {one.cert: wants_of(one.entries, ZONE, one.names, ()) for one in wish.certs}
        given = Given(
            content, materials, notes, before, None, (), True, (), wants=wants, places=places
        )
        self.put(WasGiven(wish, given, trouble, (), 0.5, self.now))

    def _places(
        self, before: Content, notes: ZoneNotes
    ) -> tuple[dict[DomainName, Place], ZoneNotes]:
        """As `find_places` does: only of owners without records of ours, and of those in doubt."""
        doubted = {owner for owner, *_ in self.zone.doubts}
        wanted = any(one.service.dane for one in self.certs)
        if not wanted or (OWNER in before and OWNER not in doubted and OWNER not in notes.moved):
            return {}, replace(notes, moved={} if not wanted else notes.moved)
        heard = [one for one in self.servers if one.silent_until <= self.now]
        shapes = {(one.versions[-1].shape.cname, one.versions[-1].shape.cut) for one in heard}
        place = Place(Fate.UNKNOWN, OWNER, because("nobody tells"))
        if len(shapes) == 1:
            cname, cut = shapes.pop()
            if cut:
                place = Place(Fate.ELSEWHERE, OWNER, because("below a cut"), is_cut=True)
            elif cname is None:
                place = Place(Fate.HERE, OWNER)
            else:
                fate = Fate.MOVED if cname == TARGET else Fate.ELSEWHERE
                place = Place(fate, cname, because("a CNAME"), cname)
        longest = dict(notes.longest)
        for server in heard:
            for owner, one in self._shown(server, {OWNER, TARGET} - before.keys()).items():
                if one.ttl > notes.ttl:
                    longest[owner] = max(longest.get(owner, 0), one.ttl)
        places = sure_places({OWNER: place}, notes.moved, before, self.zone.places)
        moved = {owner: one.at for owner, one in places.items() if one.fate is Fate.MOVED}
        return places, replace(notes, moved=moved, longest=longest)

    def _give(self, content: Content) -> None:
        self.loaded = content
        first, *others = self.servers
        first.catch_up(self.now)
        first.serve(self.now, content, self.shape)
        for server in others:
            lag = self.rng.choice(self.lags)
            last = server.pending[-1][0] if server.pending else 0.0
            server.pending.append((max(self.now + lag, last), content, self.shape))

    def _shown(
        self, server: NameServerModel, owners: Collection[DomainName]
    ) -> dict[DomainName, OwnerSeen[Tlsa]]:
        """Return what a server shows at owners."""
        version = server.versions[-1]
        content, shape = version.content, version.shape
        signed = self.wall() + days(400)
        found: dict[DomainName, OwnerSeen[Tlsa]] = {}
        for owner in owners:
            some, cname = content.get(owner), None
            if owner == OWNER and shape.cut:
                found[owner] = OwnerSeen(fault=because("is not authoritative"), is_cut=True)
                continue
            if owner == OWNER and shape.cname is not None:
                cname = shape.cname
                some = content.get(cname)
            elif owner == OWNER:
                some = version.at_owner()
            ttl = max(some.ttl if some else 0, CNAME_TTL if cname else 0)
            lost = cname is not None and some is None
            fault = because(f"has a CNAME to {cname}") if lost else None
            records = some.records if some is not None else frozenset()
            found[owner] = OwnerSeen(records, ttl, signed if records else None, fault, cname)
        return found

    def look(self) -> None:
        if self.zone.given is None:
            return
        began = self.instant()
        self.pass_time(self.rng.uniform(0.01, 3.0))
        found: list[TlsaSeen] = []
        for server in self.servers:
            if server.silent_until > self.now:
                found.append(TlsaSeen(server.name, {}, silent=because("does not answer")))
                continue
            found.append(TlsaSeen(server.name, self._shown(server, self.zone.owners())))
        elsewhere = {
            owner: Elsewhere(
                place.at,
                self.provider[-1][1] if place.at == OUTSIDE else frozenset(),
                PROVIDER_TTL if place.at == OUTSIDE and self.provider[-1][1] else 0,
            )
            for owner, place in self.zone.places.items()
            if place.is_checked_elsewhere
        }
        seen = NameServersSeen(tuple(found), began, self.instant(), self.wall())
        before = self.zone.notes
        self.put(WasSeen(seen, (), elsewhere))
        if self.zone.notes != before:
            self.kept = self.zone.noted
        apart = {}
        for cert in self.certs:
            sighting, alone = sight(self.zone, cert.id, cert.entry.state)
            if alone is not None:
                apart[cert.id] = alone
            if sighting != cert.entry.state.sighting:
                self.apply(cert, TlsaLooked(self.wall(), sighting))
        self.put(SightingsTaken(apart, frozenset(), 0.0, self.now))

    def apply(self, cert: Cert, event: object) -> None:
        state = advance(cert.entry.state, event)  # type: ignore[arg-type]
        cert.entry = replace(cert.entry, state=state)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for server in self.servers:
            server.catch_up(self.now)

    def step(self, cert: Cert) -> bool:
        """Do what is next for a certificate; return whether there was something."""
        decision = decide(self.view(cert), self.wall())
        event = decision.advertised or decision.event
        if event is not None:
            self.apply(cert, event)
            return True
        if decision.job is None:
            return False
        self.pass_time(self.rng.uniform(0.01, 2.0))
        return self._work(cert, decision.job)

    def _work(self, cert: Cert, job: object) -> bool:
        state, want, at = cert.entry.state, cert.entry.wanted, self.wall()
        match job:
            case MakeKey(reuse=reuse):
                fresh = facts(want, at)
                known = [s.name for s in (state.curr, state.next) if s]
                known += [name for of, name in self.made if of == cert.id]
                last = max(known, default=fresh.name)
                if fresh.name <= last:
                    fresh = replace(fresh, name=last.later())
                assert not reuse
                self.apply(cert, KeyMade(at, fresh, SetNote(0.0), because("simulated")))
            case Certify():
                assert state.next is not None
                life = (at - timedelta(minutes=1), at + days(40))
                name = state.next.name
                made = replace(facts(want, at, cert=life), name=name)
                self.made[cert.id, name] = made
                self.apply(cert, CertIssued(at, made, SetNote(0.0, at, "sub")))
            case Roll(set=name, blind=blind):
                if blind:
                    # What does not answer is not waited for at the end: `core.dane.last_call`.
                    assert curr_ends(state) is not None
                    assert at >= calls_of(state, curr_ends(state) or at)[1]
                    self.rolls += 1
                    self.apply(cert, Rolled(at))
                    return True
                self._roll(cert, name)
            case PutBack(set=name):
                old = self.made[cert.id, name]
                if problem := why_not_back(old, at):
                    self.apply(cert, AskDropped(at, problem))
                else:
                    self.apply(cert, BackOnDeck(at, old, SetNote(0.0), because("simulated")))
            case TakeOff():
                self.apply(cert, OffDeck(at))
            case Deliver(curr=curr, next=next_):
                told = tuple(Server("smtp", h, ServerPhase.DELIVERED, curr) for h in HOSTS)
                self.apply(cert, ProdUpdated(at, Delivered(curr, next_), told))
            case Prove(set=name):
                if any(cert.served[host][-1][1] != name for host in HOSTS):
                    return False
                self.apply(cert, ServersProven(at))
            case Settle():
                self.apply(cert, Settled(at, state.prev))
            case _:
                raise AssertionError(job)
        return True

    def _roll(self, cert: Cert, name: SetName) -> None:
        """As `Zones.may_roll` does: one more look, then the key may be served."""
        if cert.service.dane or isinstance(self.view(cert).dane, Withdrawn):
            self.look()
            gate = gate_of(self.view(cert))
            if not gate.open:
                self.apply(cert, Lost(self.wall(), gate.reason))
                return
        self.rolls += 1
        self.apply(cert, Rolled(self.wall()))

    def restart_servers(self, cert: Cert) -> None:
        for server in cert.entry.state.servers:
            if server.phase is ServerPhase.PROVEN or server.set is None:
                continue
            if cert.down.get(server.host, 0.0) > self.now:
                continue
            if self.rng.random() < 0.1:
                cert.down[server.host] = self.now + self.rng.choice([60, 3600, 86400 * 3])
                continue
            cert.served.setdefault(server.host, []).append((self.now, server.set))
            proven = replace(server, phase=ServerPhase.PROVEN)
            self.apply(cert, ServerTold(self.wall(), proven))

    # --- what goes wrong, and what admins do ---

    def disturb(self) -> None:
        one = self.rng.choice(self.servers)
        match self.rng.randrange(15):
            case 12:
                self._reshape(Shape(self.rng.choice([TARGET, OUTSIDE, None])))
            case 13:
                self._reshape(Shape(cut=not self.shape.cut))
            case 14:
                self._write_by_hand()
            case 0:
                one.silent_until = self.now + self.rng.choice([2, 30, 900, 90_000])
            case 1 if one is not self.servers[0] and self._harmless(one):
                # Started with older data, as old as nobody can help; it catches up later.
                old = one.versions[-2]
                one.serve(self.now, old.content, old.shape)
                at = self.now + self.rng.choice([5, 600])
                one.pending.append((at, self.loaded, self.shape))
            case 2:
                self.offset += self.rng.choice([-7200, -3600, 3600, 7200])
            case 3:
                self.restart_daemon()
            case 4:
                self.boot += 1
                self.restart_daemon()
            case 5:
                cert = self.rng.choice(self.certs)
                at_once = self.rng.choice([None, timedelta()])
                self.apply(cert, Asked(Ask(Request.ROLL, self.wall(), min_roll=at_once)))
            case 6:
                cert = self.rng.choice(self.certs)
                ttl = self.rng.choice([60, 600, 3600, 14_400])
                cert.service = replace(cert.service, dane_ttl=ttl)
            case 7:
                cert = self.rng.choice(self.certs)
                dane = self.rng.choice([(PLAIN,), (PLAIN, STRONG), (PLAIN, WHOLE), (STRONG,)])
                self._switch(cert, dane if cert.service.dane else ())
            case 8:
                # For all of them: they are served at one port.
                switched_on = any(cert.service.dane for cert in self.certs)
                self._reshape(PLAIN_ZONE)
                for cert in self.certs:
                    self._switch(cert, () if switched_on else (PLAIN,))
            case 9 | 10:
                self._go_back(self.rng.choice(self.certs))
            case _:
                cert = self.rng.choice(self.certs)
                self.apply(cert, Asked(Ask(Request.RENEW, self.wall(), force=True)))

    def _reshape(self, shape: Shape) -> None:
        """The admin changes the zone, not what we gave it. A provider gets every key first."""
        if shape == self.shape or not all(cert.service.dane for cert in self.certs):
            return
        if shape.cname == OUTSIDE:
            self.provider.append((self.now, self._every_record()))
        self.shape = shape
        self._give(self.loaded)

    def _write_by_hand(self) -> None:
        """Somebody writes a record of the keys in use, or removes it, beside ours."""
        if self.shape.by_hand:
            self._reshape(PLAIN_ZONE)
            return
        seen = self.zone.sighting
        well = seen is not None and seen.complete and self._is_everywhere()
        if self.shape == PLAIN_ZONE and well and OWNER in self.loaded:
            self._reshape(Shape(by_hand=self._every_record()))

    def _is_everywhere(self) -> bool:
        return all(one.versions[-1].content == self.loaded for one in self.servers)

    def _served(self) -> list[Material]:
        """Return every set that a server uses, or was told to use."""
        names = {
            (cert.id, history[-1][1]) for cert in self.certs for history in cert.served.values()
        }
        for cert in self.certs:
            state = cert.entry.state
            names |= {(cert.id, one.name) for one in (state.curr, state.next) if one is not None}
            names |= {(cert.id, one) for one in state.retired}
        return [material(cert, name) for cert, name in sorted(names)]

    def _every_record(self) -> frozenset[Tlsa]:
        """Return what a provider has to serve: its own combination, of every key."""
        made = [association(PLAIN.combination, one) for one in self._served()]
        return frozenset(one for one in made if one is not None)

    def maintain(self) -> None:
        """Somebody reads `sslmctl dane`, and writes what is missing at the provider."""
        if self.shape.cname == OUTSIDE:
            records = self.provider[-1][1] | self._every_record()
            if records != self.provider[-1][1]:
                self.provider.append((self.now, records))

    def _go_back(self, cert: Cert) -> None:
        """An admin wants what was in use before; or takes that back."""
        state, at = cert.entry.state, self.wall()
        if state.ask is not None and state.ask.back is not None:
            self.apply(cert, AskDropped(at, because("cancelled")))
        elif state.prev is not None and state.ask is None:
            self.back += 1
            self.apply(cert, Asked(Ask(Request.ROLL, at, back=state.prev)))

    def _switch(self, cert: Cert, dane: tuple[DaneEntry, ...]) -> None:
        """Switch DANE on, off, or to other combinations."""
        cert.service = replace(cert.service, dane=dane)
        want = cert.entry.wanted
        want = replace(want, dane=bool(dane), next_ahead=self.ahead and bool(dane))
        cert.entry = replace(cert.entry, wanted=want)
        self.put(CertsOfZone(ZONE, frozenset(one.id for one in self.certs if one.service.dane)))

    def _harmless(self, server: NameServerModel) -> bool:
        """Whether the data before has records of every key that is served now.

        With DANE switched off, nobody looks.
        """
        if len(server.versions) < 2 or not all(cert.service.dane for cert in self.certs):
            return False
        if server.versions[-2].shape != PLAIN_ZONE or self.shape != PLAIN_ZONE:
            return False
        content = server.versions[-2].content
        records = content[OWNER].records if OWNER in content else frozenset()
        keys = [
            material(cert.id, history[-1][1])
            for cert in self.certs
            for history in cert.served.values()
        ]
        # What is rolled and still on its way to a server counts as well.
        states = [(cert.id, cert.entry.state.curr) for cert in self.certs]
        keys += [material(cert, curr.name) for cert, curr in states if curr is not None]
        return not records or all(trusted(records, key) for key in keys)

    def restart_daemon(self) -> None:
        """Only what is noted on disk is left."""
        certs = frozenset(cert.id for cert in self.certs if cert.service.dane)
        self.zone = KnownZone(ZONE, certs, self.kept)
        for cert in self.certs:
            noted, known = notes_of(cert.entry.state), cert.entry.state
            again = parse(render(noted, {}, None, [])).state
            assert again.retired == known.retired
            assert (again.sighting and again.sighting.since) == (
                known.sighting and known.sighting.since
            )

    # --- the run ---

    def run(self, end: float) -> None:
        disturb_at = 3600.0
        while self.now < end:
            if self.now >= disturb_at:
                self.disturb()
                self.maintain()
                disturb_at = self.now + self.rng.expovariate(1 / 40_000)
            busy = True
            rounds = 0
            while busy:
                self.publish()
                stepped = [self.step(cert) for cert in self.certs]
                busy = any(stepped)
                for cert in self.certs:
                    self.restart_servers(cert)
                rounds += 1
                assert rounds < 60, [decide(self.view(c), self.wall()) for c in self.certs]
            self.look()
            self.pass_time(min(self._pause(), max(disturb_at - self.now, 1.0)))

    def _pause(self) -> float:
        """Return the seconds to the next look that can show anything else than the last one did.

        The daemon looks in between, and sees the same: that is left out. After whatever happens,
        the next look comes as late as the daemon's may.
        """
        seen = [cert.entry.state.sighting for cert in self.certs]
        waiting = [one for one in (self.zone.sighting, *seen) if one and not one.complete]
        # What is complete is looked after less often than by the daemon: it is a long year.
        pause = min([21_600.0, *(max(one.next_look, 1.0) for one in waiting)])
        same = min([21_600.0, *(at - self.now for at in self._events(waiting) if at > self.now)])
        if not waiting or self.zone.again or same <= pause:
            return pause
        longest = LONGEST_SILENT if any(one.since and one.silent for one in waiting) else pause
        missing = all(one.since is None for one in waiting)
        longest = LONGEST_MISSING if missing and same > 3 * LONGEST_MISSING else longest
        return same + self.rng.uniform(0.0, min(same, max(longest, pause)))

    def _events(self, waiting: Sequence[Sighting]) -> Iterator[float]:
        """Yield when something happens by itself: transfers, silences, outages and waits end."""
        for server in self.servers:
            yield server.silent_until
            yield from (at for at, _, _ in server.pending[:1])
        for cert in self.certs:
            yield from cert.down.values()
        for one in waiting:
            if one.since is not None and not one.silent:
                yield self.now + max(one.left, 1.0)
            # Silent for longer than a TTL: the wait begins anew.
            yield from (some.since.seconds + one.need / TTLS + 1.0 for some in one.silent)


def violations(year: Year) -> list[str]:
    """Every key that was served while a cache may have held records without its own."""
    held = []  # from, to, records that a client goes by
    provider = [*year.provider, (year.now, frozenset[Tlsa]())]
    kept = [(at, end, records) for (at, records), (end, _) in pairwise(provider)]
    for model in year.servers:
        versions = [*model.versions, Version(year.now, {})]
        spans = list(pairwise(versions))
        for one, after in spans:
            if some := one.at_owner():
                held.append((one.since, after.since + some.ttl, some.records, model.name))
            if one.shape.cname is None:
                continue
            # Who holds the CNAME goes on to its end, whatever stands at the owner by then.
            until = after.since + CNAME_TTL
            there = [(at, end, records, PROVIDER_TTL) for at, end, records in kept]
            if one.shape.cname == TARGET:
                there = [
                    (v.since, w.since, v.content[TARGET].records, v.content[TARGET].ttl)
                    for v, w in spans
                    if TARGET in v.content
                ]
            for start, end, records, ttl in there:
                if records and start < until and end > one.since:
                    begin = max(start, one.since)
                    held.append((begin, min(end, until) + ttl, records, model.name))
    found = []
    for cert in year.certs:
        for host, history in cert.served.items():
            ends = [at for at, _ in history[1:]] + [year.now]
            for (begin, name), end in zip(history, ends, strict=True):
                key = material(cert.id, name)
                for since, until, records, server in held:
                    if since < end and until > begin and not trusted(records, key):
                        found.append(
                            f"{cert.id} on {host}: {name} at {begin:.0f}, {server} {since:.0f}"
                        )
    return found


def trusted(records: frozenset[object], key: Material) -> bool:
    """Whether a client with these records takes the key (RFC 7671 §9), by its own reading."""
    kinds: dict[tuple[int, int], set[object]] = {}
    for record in records:
        kinds.setdefault((record.usage, record.selector), set()).add(record)  # type: ignore[attr-defined]
    for some in kinds.values():
        strongest = max(record.match for record in some)  # type: ignore[attr-defined]
        for record in some:
            combination = record.combination  # type: ignore[attr-defined]
            if combination.match == strongest and association(combination, key) == record:
                return True
    return False


@pytest.mark.parametrize("seed", [0, 3])
def test_a_year(seed: int) -> None:
    year = Year(random.Random(seed), certs=1 + seed % 2, ahead=seed > 1)
    year.run(365 * 86_400.0)
    assert violations(year) == []
    assert year.rolls > 8 * len(year.certs)
    assert year.back
    assert {Fate.MOVED, Fate.ELSEWHERE} <= set(year.fates)


def test_the_checker_finds_what_is_wrong() -> None:
    """A roll without the wait is seen to break something."""
    year = Year(random.Random(99), certs=1, ahead=False)
    year.run(30 * 86_400.0)
    cert = year.certs[0]
    while not cert.service.dane or year.zone.content == {}:
        year.run(year.now + 86_400.0)
    assert violations(year) == []
    stranger = SetName("20300101-00:00:00")
    cert.served["mx1"].append((year.now - 1.0, stranger))
    assert violations(year)
