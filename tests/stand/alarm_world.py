"""A simulated world for alarms: certificates, what goes wrong, and a daemon that tells of it.

What judges and tells is the daemon's own (`core.trouble`, `core.alarms`, `core.notices`, the note
on disk). Simulated are CAs that are down or refuse, zones whose name servers fail, hosts that go
and come back, TLSA records that do not fit or cannot be looked at, a full disk; in words that
differ from one attempt to the next. Clocks jump, the daemon is restarted and is off for hours,
notifiers fail, admins ask for silence.

Times of the world are seconds since `START`; the daemon goes by the clock on the wall.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from sslmd.core.alarm import Alarm
from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import BesideStanding, CertStanding, Overview, alarms_of, unknown_of
from sslmd.core.errors import Transient, Trouble
from sslmd.core.names import CertId
from sslmd.core.notice_book import AlarmBook, moved, watched
from sslmd.core.notices import (
    AlarmMessage,
    NoticeRule,
    decide_notices,
    not_taken,
    silence,
    silenced,
    took,
    without_ended,
)
from sslmd.core.reason import noted
from sslmd.core.trouble import CRIT_SHARE, WARN_SHARE, CertStatus, ServerStatus, Severity
from sslmd.core.windows import Window
from sslmd.store.note_kinds import ALARM_BOOK_NOTE
from tests.reasons import because

START = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NEVER = float("inf")
ZONES, HOSTS, CAS = 100, 12, 3
LIVES = [90 * DAY] * 8 + [45 * DAY] + [160 * HOUR]

NIGHT = Window(frozenset(range(7)), 22 * 60, 7 * 60, ZoneInfo("Europe/Berlin"), "22:00-07:00")
RULES = (
    NoticeRule("mail"),
    NoticeRule("pager", level=Severity.CRITICAL),
    NoticeRule("chat", repeat=timedelta(days=7), quiet=(NIGHT,), after=timedelta(hours=1)),
)

# How each thing fails; which way it is differs between attempts.
CA_WORDS = (
    "the CA answers 503 (request {n}); it is tried again",
    "cannot reach the CA: connection timed out after {n} s",
    "the CA says: rateLimited: too many new orders recently",
)
DNS_WORDS = (
    "zone {zone}: ns2.{zone} (192.0.2.{n}) lacks _acme-challenge.www.{zone} TXT after {n} min",
    "zone {zone}: ns1.{zone} (2001:db8::{n}) does not answer",
)
HOST_WORDS = ("ssh: connect to host {host}: no route", "it did not answer within {n} s")
DANE_WORDS = (
    "name server ns1.{zone} (192.0.2.{n}) lacks the record of {zone}",
    "name server ns2.{zone} (192.0.2.{n}) is silent",
)

Broken = tuple[str, int]
"""What is broken: of which sort, and which one of it."""

# Of each sort: how many there are, how often one breaks in a year, and for how long.
SORTS = (
    ("ca", CAS, 14, 3 * DAY),
    ("all", 1, 2, 2 * DAY),  # every CA: the network is gone
    ("zone", ZONES, 60, 10 * DAY),
    ("cert", 300, 25, 40 * DAY),  # its CA refuses it
    ("held", 300, 10, 20 * DAY),
    ("host", HOSTS, 30, DAY),
    ("dane", ZONES, 40, 2 * DAY),
    ("blind", ZONES, 10, DAY),  # TLSA records cannot be looked at
    ("disk", 1, 4, DAY),
)


@dataclass
class SimCert:
    """One certificate. `failing`: since when it is due, and its renewal fails."""

    number: int
    life: float
    lead: float
    ends: float
    failing: float | None = None

    def __post_init__(self) -> None:
        self.zone, self.host, self.ca = self.number % ZONES, self.number % HOSTS, self.number % CAS
        self.id = CertId(f"site{self.zone}.example", f"s{self.number // ZONES}")
        self.name = self.id.arg

    @property
    def due(self) -> float:
        return self.ends - self.lead


@dataclass(frozen=True)
class Sent:
    """What a notifier got, and when. `skew`: how far the clock was set unseen until then."""

    at: float
    skew: float
    message: AlarmMessage


@dataclass
class AlarmWorld:
    """The world, the daemon in it, and what was sent to each notifier."""

    rng: random.Random
    number: int = 300
    now: float = 0.0
    offset: float = 0.0
    skew: float = 0.0
    broken: set[Broken] = field(default_factory=set)
    failing: dict[int, SimCert] = field(default_factory=dict)
    dues: list[tuple[float, int]] = field(default_factory=list)
    events: list[tuple[float, int, str, Broken | float | str]] = field(default_factory=list)
    book: AlarmBook = field(default_factory=AlarmBook)
    off_until: float = 0.0
    looked: float = 0.0  # when TLSA records are looked at after a start
    refuses: set[str] = field(default_factory=set)
    sent: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    restarts: int = 0

    def __post_init__(self) -> None:
        self.certs, self._order = [], count()
        for number in range(self.number):
            life = LIVES[number % len(LIVES)]
            lead = life / 2 if life < 10 * DAY else life / 3 * self.rng.uniform(0.9, 1)
            cert = SimCert(number, life, lead, self.rng.uniform(lead, life))
            self.certs.append(cert)
            self.dues.append((cert.due, number))
        heapq.heapify(self.dues)

    # --- what happens ---

    def at(self, when: float, what: str, which: Broken | float | str = 0.0) -> None:
        heapq.heappush(self.events, (when, next(self._order), what, which))

    def plan(self, end: float) -> None:
        """Draw everything that is going to happen until `end`."""
        draw, choice = self.rng.uniform, self.rng.choice
        for sort, number, times, mean in SORTS:
            for _ in range(times):
                begin, which = draw(0, end - DAY), (sort, self.rng.randrange(number))
                self.at(begin, "break", which)
                self.at(min(end, begin + self.rng.expovariate(1 / mean)), "mend", which)
        for _ in range(12):  # something comes and goes, for hours
            which = choice(["host", "zone", "dane"]), self.rng.randrange(HOSTS)
            begin, step = draw(0, end - 2 * DAY), draw(3 * MINUTE, 40 * MINUTE)
            for number in range(40):
                self.at(begin + number * step, "mend" if number % 2 else "break", which)
        for _ in range(60):
            self.at(draw(0, end), "restart", choice([0.0, 20.0, HOUR, 5 * HOUR]))
        for number in range(20):
            jump, begin = draw(-5, 5) * HOUR, draw(0, end - DAY)
            length = draw(HOUR, 9 * HOUR)
            if number % 4 == 0:
                jump, length = choice([-2000, 2000]) * DAY, draw(MINUTE, 40 * MINUTE)
            self.at(begin, "clock", jump)
            self.at(begin + length, "clock", -jump)
        for _ in range(20):
            begin, name = draw(0, end - DAY), choice(RULES).name
            self.at(begin, "refuse", name)
            self.at(begin + draw(HOUR, 12 * HOUR), "accept", name)
        for _ in range(25):
            self.at(draw(0, end - 30 * DAY), "silence", draw(HOUR, 20 * DAY))

    def happen(self, what: str, which: Broken | float | str) -> None:
        match what, which:
            case "break", tuple():
                self.broken.add(which)
            case "mend", tuple():
                self.broken.discard(which)
            case "restart", float():
                self.restart(which)
            case "clock", float():
                self.offset += which
                if self.now >= self.off_until:  # the daemon's other clock tells it
                    self.book = moved(self.book, timedelta(seconds=which))
                elif 0 < which < 30 * DAY:
                    self.skew += which
            case "refuse", str():
                self.refuses.add(which)
            case "accept", str():
                self.refuses.discard(which)
            case "silence", float():
                cert = self.rng.choice(self.certs)
                about = self.rng.choice([cert.name, cert.id.group, f"www{cert.host}", "dane"])
                asked = silence(about, timedelta(seconds=which), "root", "known", self.wall())
                self.book = silenced(self.book, asked)

    def restart(self, off: float) -> None:
        self.restarts += 1
        read = ALARM_BOOK_NOTE.decode(ALARM_BOOK_NOTE.encode(self.book))
        assert read == self.book
        self.book = read
        self.off_until = max(self.off_until, self.now + off)
        self.looked = self.off_until + 5 * MINUTE
        self.at(self.off_until, "start")
        self.at(self.looked, "look")

    def why(self, cert: SimCert) -> str:
        """Return what its renewal fails by, "" if it can be renewed."""
        number = int(self.now / HOUR) + cert.ca
        facts = {"zone": cert.id.group, "n": number % 250}
        if ("ca", cert.ca) in self.broken or ("all", 0) in self.broken:
            return CA_WORDS[number % 3].format(**facts)
        if ("disk", 0) in self.broken:
            return "cannot write: no space left on the file system"
        if ("zone", cert.zone) in self.broken:
            return DNS_WORDS[number % 2].format(**facts)
        if ("cert", cert.number) in self.broken:
            return f"{cert.id}: the CA says: CAA forbids it"
        return ""

    def renew(self) -> None:
        """Renew what is due and can be; what cannot be fails."""
        for cert in [one for one in self.failing.values() if not self.why(one)]:
            del self.failing[cert.number]
            cert.failing = None
            self._renewed(cert, self.now)
        while self.dues and self.dues[0][0] <= self.now:
            due, number = heapq.heappop(self.dues)
            cert = self.certs[number]
            if self.why(cert):
                cert.failing, self.failing[number] = max(due, 0.0), cert
            else:
                self._renewed(cert, due)

    def _renewed(self, cert: SimCert, at: float) -> None:
        cert.ends = at + cert.life
        heapq.heappush(self.dues, (cert.due, cert.number))

    # --- what the daemon sees, and does ---

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.now + self.offset)

    def standing(self, cert: SimCert) -> CertStanding:
        """Return how a certificate stands. The CA's clock is right, whatever ours shows."""
        ends = START + timedelta(seconds=cert.ends)
        number, host, zone = int(self.now / HOUR) % 250, f"www{cert.host}", cert.id.group
        held = f"state.toml of {cert.id} is odd" if ("held", cert.number) in self.broken else ""
        error = held or (self.why(cert) if cert.failing is not None else "")
        server = ServerStatus("web", host, "proven")
        if ("host", cert.host) in self.broken:
            text = HOST_WORDS[number % 2].format(host=host, n=number)
            server = ServerStatus("web", host, "failed", error=text, attempts=2)
        looked = self.now >= self.looked
        is_blind, wrong = looked and ("blind", cert.zone) in self.broken, []
        if looked and not is_blind and ("dane", cert.zone) in self.broken:
            wrong = [one.format(zone=zone, n=number) for one in DANE_WORDS[: 1 + number % 2]]
        status = CertStatus(
            begins=ends - timedelta(seconds=cert.life),
            ends=ends,
            renew_at=ends - timedelta(seconds=cert.lead),
            error=error,
            attempts=3 if error and not held else 0,
            servers=[server],
            dane=(wrong, []),
        )
        return CertStanding(
            cert.id,
            status,
            noted(error) if error else None,
            frozenset({zone}),
            dane=True,
            compared=self.wall() if looked else None,
            unseen=[because("ns1: not asked")] if is_blind else (),
        )

    def in_trouble(self) -> list[SimCert]:
        """Return the certificates that something may be wrong with."""
        if abs(self.offset) > 30 * DAY or self.now < self.looked:
            return self.certs
        every: dict[str, set[int]] = defaultdict(set)
        for sort, which in self.broken:
            every[sort].add(which)
        zones = every["dane"] | every["blind"]
        found = set(self.failing) | every["held"]
        found |= {n for zone in zones for n in range(zone, self.number, ZONES)}
        found |= {n for host in every["host"] for n in range(host, self.number, HOSTS)}
        return [self.certs[number] for number in found]

    def tick(self) -> float:
        """Look, tell, and return when to do so again."""
        now = self.wall()
        beside = [BesideStanding(AlarmKind.DISK, "/var/lib/sslmd", noted("no space left"))]
        certs = [self.standing(cert) for cert in self.in_trouble()]
        overview = Overview(certs, beside if ("disk", 0) in self.broken else ())
        seen = watched(self.book, alarms_of(overview, now), now, unknown_of(overview, now))
        self.book = without_ended(seen.book, now)
        return min(self.tell(rule, seen.alarms) for rule in RULES)

    def tell(self, rule: NoticeRule, alarms: Sequence[Alarm]) -> float:
        """Send what there is to send to a notifier; return when to ask again."""
        while True:
            decision = decide_notices(rule, self.book, alarms, self.wall())
            if (message := decision.message) is None:
                if decision.wake_at is None:
                    return NEVER
                assert decision.wake_at > self.wall()
                return self.now + (decision.wake_at - self.wall()).total_seconds()
            if rule.name in self.refuses:
                before = self.book.notifier(rule.name).trouble
                attempts = before.attempts if before else 0
                trouble = Trouble.of(Transient("refused"), attempts, self.wall(), jitter=0.5)
                self.book = not_taken(self.book, rule.name, trouble)
                continue
            self.sent[rule.name].append(Sent(self.now, self.skew, message))
            self.book = took(self.book, message)

    def run(self, end: float) -> None:
        while self.now < end:
            self.renew()
            wake = self.tick() if self.now >= self.off_until else NEVER
            self.after_tick()
            times = [self.events[0][0]] if self.events else []
            times += [self.dues[0][0]] if self.dues else []
            self.now = min(end, wake, *times, *self._crossings())
            while self.events and self.events[0][0] <= self.now:
                self.happen(*heapq.heappop(self.events)[2:])

    def after_tick(self) -> None:
        """For who checks something as it goes."""

    def _crossings(self) -> list[float]:
        """Return when something of what fails changes by time alone."""
        found = []
        for cert in self.failing.values():
            shares = (cert.lead / 3, cert.lead / 6, cert.lead / 10, 0.0)
            lives = (cert.life * WARN_SHARE, cert.life * CRIT_SHARE)
            found += [at for left in (*shares, *lives) if (at := cert.ends - left + 1) > self.now]
        return found
