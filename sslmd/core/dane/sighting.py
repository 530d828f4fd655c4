"""How long the world has seen the records of a set on deck: the wait before a roll (I4).

Every authoritative server has to show the records of both keys, and to go on showing them for
twice the longest TTL that a cache may hold (RFC 7671 §8.1, §8.4). The wait is counted by a clock
that nobody sets and that goes on while the machine sleeps (CLOCK_BOOTTIME), from one look to the
next: what was counted is kept over restarts, and a wall clock that jumps changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from sslmd.core.dane.tlsa import Owned, Tlsa
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, SetName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns

R = TypeVar("R")

# RFC 7671 §8.4: twice the TTL, so that what a cache fetched just before is gone for certain.
TTLS = 2

# Seconds between two looks during the wait: several in a TTL, so that none of a server's lapses is
# missed; not more often than every second, and at least every five minutes.
LOOKS_PER_TTL = 4
SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 300.0

# A sighting that is complete is looked after so that a lapse of a whole TTL cannot go by unseen,
# but not more often than every minute: a key that was made ahead is on deck for months.
LOOKS_WHEN_COMPLETE = 2
SHORTEST_WHEN_COMPLETE = 60.0
LONGEST_WHEN_COMPLETE = 1800.0

# While something is missing: at first, by how much more each time, at most. The most is reached
# after a quarter of an hour: one dead server may be that of a thousand zones.
FIRST_PAUSE = 1.0
GROWTH = 1.5
LONGEST_MISSING = 300.0

# While a server is silent in the wait: it may come back without the records, for less than a TTL.
LONGEST_SILENT = 30.0


@dataclass(frozen=True, slots=True)
class Instant:
    """A reading of a clock that only counts: seconds since the boot `boot`."""

    boot: str
    seconds: float

    def since(self, earlier: Instant | None) -> float:
        """Return the seconds since `earlier`; none of those before this boot can be counted."""
        if earlier is None or earlier.boot != self.boot:
            return 0.0
        return max(0.0, self.seconds - earlier.seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one address of a name server showed in a look.

    `missing`: what is wrong with it, None if all is there; `silent`: why it did not answer. Both go
    on after the server's name.
    """

    server: str
    missing: Reason | None = None
    silent: Reason | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """A server that has not answered since."""

    server: str
    since: Instant


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of the records of one set on deck, and of the keys that are served.

    `set` None: they are of a whole zone. `records` are digests of what has to be seen; `need` the
    seconds to wait, `waited` those that are over. `since` None: not all was seen, and `missing`
    says what lacks. `opens_at`: when the wait is over, by the wall clock of the last look.
    """

    set: SetName | None
    records: frozenset[str]
    need: float
    since: datetime | None = None
    waited: float = 0.0
    at: Instant | None = None
    silent: tuple[Silence, ...] = ()
    missing: Reason | None = None
    opens_at: datetime | None = None
    pause: float = FIRST_PAUSE

    @property
    def complete(self) -> bool:
        """Whether everything was seen everywhere, for long enough, and still is."""
        return self.since is not None and self.waited >= self.need and not self.silent

    @property
    def left(self) -> float:
        """Seconds still to be waited, from the last look on, if nothing goes wrong."""
        return max(0.0, self.need - self.waited)

    @property
    def next_look(self) -> float:
        """Seconds until servers are to be asked again."""
        if self.since is None or self.silent:
            return self.pause
        ttl = max(self.need / TTLS, SHORTEST_PAUSE)
        if self.complete:
            pause = max(ttl / LOOKS_WHEN_COMPLETE, SHORTEST_WHEN_COMPLETE)
            return min(pause, LONGEST_WHEN_COMPLETE)
        pause = min(max(ttl / LOOKS_PER_TTL, SHORTEST_PAUSE), LONGEST_PAUSE)
        return min(pause, self.left)


@dataclass(frozen=True)
class OwnerSeen(Generic[R]):
    """What a server shows at one owner. `ttl`: seconds, 0 without records or CNAMEs.

    `signed_until`: when the last of the signatures over the records ends, None if there is none.
    `fault`: why its answer is none, without the server's name, None if it is one. `cname`: where
    the CNAME at the owner leads, None if there is none: then the records are those at its end, and
    the TTL is the longest on the way. `is_cut`: the owner is in a zone below. `serial`: of the
    zone, if the answer tells it, to say how far the server is.
    """

    records: frozenset[R] = frozenset()
    ttl: int = 0
    signed_until: datetime | None = None
    fault: Reason | None = None
    cname: DomainName | None = None
    is_cut: bool = False
    serial: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class NameServerSeen(Generic[R]):
    """What one server shows. `server`: its name; `owners` has those that were answered.

    `silent`: why it did not answer, `out_of_reach`: why it cannot be asked from this machine, both
    without its name, None if it was; then nothing more was asked.
    """

    server: str
    owners: Mapping[DomainName, OwnerSeen[R]]
    silent: Reason | None = None
    out_of_reach: Reason | None = None


TlsaSeen = NameServerSeen[Tlsa]


@dataclass(frozen=True, slots=True)
class NameServersSeen:
    """What every name server showed, and when it was asked."""

    servers: tuple[TlsaSeen, ...]
    began: Instant
    ended: Instant
    at: datetime


def missing_at(seen: TlsaSeen, wanted: frozenset[Owned]) -> frozenset[Owned]:
    """Return which of the records a server was not seen to serve: all, if it did not answer."""
    return wanted - _records(seen)


def surplus(seen: TlsaSeen, wanted: frozenset[Owned]) -> frozenset[Owned]:
    """Return what a server serves, at the owners that it was asked for, and should not.

    What it shows at the end of a CNAME stands elsewhere.
    """
    return _records(seen, through_cnames=False) - wanted


def _records(seen: TlsaSeen, *, through_cnames: bool = True) -> frozenset[Owned]:
    return frozenset(
        (owner, record)
        for owner, one in seen.owners.items()
        if through_cnames or one.cname is None
        for record in one.records
    )


def digests(records: Iterable[Owned]) -> frozenset[str]:
    """Return short digests of records, to be noted: those of matching type 0 are long."""
    return frozenset(
        hashlib.blake2b(f"{owner} {record}".encode(), digest_size=10).hexdigest()
        for owner, record in records
    )


def at_servers(servers: Iterable[tuple[str, Reason | None]]) -> Reason | None:
    """Return what several servers do, each with its name; None without any that does something."""
    told = tuple(
        Reason(Failed.NAME_SERVER, server=server, why=why)
        for server, why in servers
        if why is not None
    )
    return Reason(InDns.NOT_AT_ALL, servers=told) if told else None


def look_again(
    old: Sighting | None,
    *,
    name: SetName | None,
    records: frozenset[str],
    ttl: float,
    answers: Sequence[Answer],
    now: datetime,
    began: Instant,
    ended: Instant,
) -> Sighting:
    """Return the sighting after a look at every server.

    `ttl`: the longest that caches may hold what was served before, in seconds. The wait begins
    with the end of the first look that finds everything everywhere. It begins anew when a server
    answers without a record, or stays silent for longer than a TTL; and for other records than
    those that were looked for before, unless these are only fewer.
    """
    need = TTLS * ttl
    if old is None or old.set != name or not records <= old.records:
        old = Sighting(name, records, need)
    else:
        # While it waits, a TTL may become shorter; what caches hold does not.
        need = max(need, old.need)
    lacking = [one for one in answers if not one.silent and one.missing]
    quiet = [one for one in answers if one.silent]
    known = {one.server: one.since for one in old.silent if one.since.boot == ended.boot}
    silent = tuple(Silence(one.server, known.get(one.server, began)) for one in quiet)
    too_long = any(ended.since(one.since) > ttl for one in silent)
    missing = at_servers((one.server, one.missing or one.silent) for one in (*lacking, *quiet))
    begun = old.since is not None and not lacking and not too_long
    if not begun and (lacking or quiet or not answers):
        pause = min(old.pause * GROWTH, LONGEST_MISSING) if old.since is None else FIRST_PAUSE
        return Sighting(
            name,
            records,
            need,
            at=ended,
            silent=silent,
            missing=missing or Reason(InDns.NO_NAME_SERVER),
            pause=pause,
        )
    if begun and not quiet and old.complete and (records, need) == (old.records, old.need):
        return old  # nothing to note, for months if the key was made ahead
    fresh = replace(old, records=records, need=need, silent=silent, missing=missing)
    if begun:
        waited = old.waited + began.since(old.at)
        pause = min(old.pause * GROWTH, LONGEST_SILENT) if quiet else FIRST_PAUSE
        fresh = replace(fresh, waited=waited, at=_later(old.at, began), pause=pause)
    else:
        fresh = replace(fresh, since=now, waited=0.0, at=ended, pause=FIRST_PAUSE)
    return replace(fresh, opens_at=now + timedelta(seconds=fresh.left))


def _later(one: Instant | None, other: Instant) -> Instant:
    """Return the later of two: of looks side by side, the first to begin may be the last to end."""
    if one is None or one.boot != other.boot or one.seconds <= other.seconds:
        return other
    return one
