"""The registry: everything that the daemon knows, and the only writer of what is known.

`put` is the one way to change anything, of whatever kind the thing is. An event of `core.events`
goes through `core.lifecycle`; those defined here are about what stands beside a certificate's
state. Entries are frozen: whoever keeps one has how things were at that moment, and what is made of
one is good for as long as it is the entry. Who has to follow a change (the journal, state.toml,
hosts, zones, the loop) is a listener.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Generic, TypeVar

from sslmd.config.model import Config, ServiceConfig, places, proves
from sslmd.core.alarm_events import AlarmEvent, AlarmState, advance_alarms
from sslmd.core.dane.events import ZoneEvent, advance_zone
from sslmd.core.dane.report import DaneReport
from sslmd.core.dane.verdict import Dane, Unknown
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import Refused
from sslmd.core.events import Event
from sslmd.core.lifecycle import advance, with_sets
from sslmd.core.names import BadName, CertId, GroupName, ZoneName, parse_service, shown
from sslmd.core.reason import Reason, Said, Why
from sslmd.core.renewal import Wanted, why_incomplete
from sslmd.core.spec import OwnCa
from sslmd.core.state import CertState
from sslmd.core.told import Denied
from sslmd.core.view import Decision, View, view_of, with_lost_ca
from sslmd.workers.tools import wanted_of

# Names in a message that says what there is.
_NAMED = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate.

    `hold`: why nothing may be done with it. `proves`: ports with TLSA records are looked at after a
    roll; `report`: what was last found there and in DNS. `unsaved`: why its state.toml cannot be
    written. `progress`: how far the job is that runs, where it tells. `looks_at`: when what is
    held is looked at again. `bug`: it is held because of an error of our own. `used_by`: the
    classes with servers that use it; `unused`: there is none, and nobody said that this is meant.
    `astray`: its link leads to no set.
    """

    wanted: Wanted
    servers: frozenset[tuple[str, str]]
    state: CertState
    hold: Reason | None
    decision: Decision
    proves: bool = True
    unsaved: Reason | None = None
    progress: Reason | None = None
    report: DaneReport | None = None
    looks_at: datetime | None = None
    bug: bool = False
    used_by: tuple[str, ...] = ()
    unused: bool = False
    astray: Reason | None = None

    @property
    def unusable(self) -> Reason | None:
        """Why the set in use cannot be used, None if it can, or where none was made yet."""
        curr = self.state.curr
        return self.astray if curr is None else why_incomplete(curr)


@dataclass(frozen=True, slots=True)
class Taken:
    """A certificate is as the configuration and its files have it now.

    `remarks`: what is odd; `unsaved`: state.toml does not hold all of it yet.
    """

    entry: Entry
    remarks: Sequence[Reason] = ()
    unsaved: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """A certificate left the configuration."""


@dataclass(frozen=True, slots=True)
class SetsRead:
    """The sets and links on disk are these."""

    found: CertState


@dataclass(frozen=True, slots=True)
class CaLost:
    """Nothing is left of a CA but what it signed: `remains`."""

    remains: str


@dataclass(frozen=True, slots=True)
class Forgiven:
    """What an order failed by may be right now: it need not wait for its next try."""


@dataclass(frozen=True, slots=True)
class ClassesChanged:
    """What is run for these server classes has changed: what failed there is tried again."""

    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decided:
    """What comes next. `looks_at`: when its files are read again, while it is held."""

    decision: Decision
    looks_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """It is left alone after an error of our own."""

    hold: Reason
    error: Exception


@dataclass(frozen=True, slots=True)
class Progressed:
    """A job is so far; None when that is over."""

    how: Reason | None


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Its state.toml cannot be written, or can again: None."""

    why: Reason | None


@dataclass(frozen=True, slots=True)
class Compared:
    """DNS, ports and keys were compared."""

    report: DaneReport


Noticed = (
    Taken
    | Gone
    | SetsRead
    | CaLost
    | Forgiven
    | ClassesChanged
    | Decided
    | Broken
    | Progressed
    | Unsaved
    | Compared
)


def _after(before: Entry | None, event: Event | Noticed) -> Entry | None:
    """Return how a certificate stands after an event, None if it left."""
    if isinstance(event, Taken):
        return event.entry
    if before is None:
        raise KeyError(f"happened to a certificate that is not known: {event}")
    match event:
        case Gone():
            return None
        case SetsRead():
            return replace(before, state=with_sets(before.state, event.found))
        case CaLost():
            return replace(before, state=replace(before.state, remains=event.remains))
        case Forgiven():
            return replace(before, state=replace(before.state, trouble=None))
        case ClassesChanged():
            servers = tuple(
                replace(server, attempts=0, next_try=None)
                if server.next_try is not None and server.kind in event.kinds
                else server
                for server in before.state.servers
            )
            return replace(before, state=replace(before.state, servers=servers))
        case Decided():
            return replace(before, decision=event.decision, looks_at=event.looks_at)
        case Broken():
            return replace(before, hold=event.hold, decision=Decision(event.hold), bug=True)
        case Progressed():
            return replace(before, progress=event.how)
        case Unsaved():
            return replace(before, unsaved=event.why)
        case Compared():
            return replace(before, report=event.report)
        case _:
            return replace(before, state=advance(before.state, event))


class UnknownCertError(Refused):
    """A request names a certificate that is not configured."""


Ident = TypeVar("Ident", bound=Hashable)
Thing = TypeVar("Thing")
Happened = TypeVar("Happened")


class Register(Generic[Ident, Thing, Happened]):
    """All things of one kind, a frozen entry each. `entries` is for reading."""

    def __init__(self, after: Callable[[Thing | None, Happened], Thing | None]) -> None:
        """`after` says how a thing stands after an event; None: it is not known, or left."""
        self._after = after
        self._entries: dict[Ident, Thing] = {}
        self.entries: Mapping[Ident, Thing] = MappingProxyType(self._entries)
        self._listeners: list[Callable[[Ident, Happened, Thing | None, Thing | None], None]] = []

    def __contains__(self, ident: Ident) -> bool:
        return ident in self.entries

    def __getitem__(self, ident: Ident) -> Thing:
        return self.entries[ident]

    def __iter__(self) -> Iterator[Ident]:
        return iter(self.entries)

    def listen(
        self, *listeners: Callable[[Ident, Happened, Thing | None, Thing | None], None]
    ) -> None:
        """Have every change told to `listeners`, in this order, after those who came before.

        They hear what happened to which thing, and how that was before and is now.
        """
        self._listeners += listeners

    def put(self, ident: Ident, event: Happened) -> None:
        """Take in that something happened to a thing."""
        before = self._entries.get(ident)
        after = self._after(before, event)
        if after is not None:
            self._entries[ident] = after
        elif before is not None:
            del self._entries[ident]
        for listener in self._listeners:
            listener(ident, event, before, after)


class Registry(Register[CertId, Entry, Event | Noticed]):
    """The certificates, and who is signed by whom; the `zones`, and the `alarms`."""

    def __init__(self) -> None:
        super().__init__(_after)
        self.zones: Register[ZoneName, KnownZone, ZoneEvent] = Register(advance_zone)
        # One entry, by "".
        self.alarms: Register[str, AlarmState, AlarmEvent] = Register(advance_alarms)
        self._below: dict[CertId, list[CertId]] = {}
        self.dane_of: Callable[[CertId, Entry], tuple[Dane, Reason | None]] = lambda *_: (
            Unknown(),
            None,
        )
        # Why the configuration leaves out a group, or a service of it ("": all of them).
        self.why_absent: Callable[[str, str], str] = lambda *_: ""

    def relate(self) -> None:
        """Find out anew who is signed by whom; to be called when entries came or went."""
        below: dict[CertId, list[CertId]] = defaultdict(list)
        for cert, entry in self.entries.items():
            signer = entry.wanted.spec.signer
            if isinstance(signer, OwnCa):
                below[signer.cert].append(cert)
        self._below = dict(below)

    def below(self, ca: CertId) -> list[CertId]:
        """Return what a CA signs."""
        return self._below.get(ca, [])

    def view(self, cert: CertId) -> View:
        """Return what a decision looks at."""
        # Each time: a reload reads the tree again, and may have other certificates below a CA.
        state = with_lost_ca(cert, self.entries, self.below)
        if state is not self.entries[cert].state:
            self.put(cert, CaLost(state.remains))
        entry = self.entries[cert]
        return view_of(entry, self.entries, *self.dane_of(cert, entry))

    def managed(self) -> list[CertId]:
        """Return the certificates that people asked for, in the order of the configuration."""
        return [cert for cert, entry in self.entries.items() if entry.wanted.managed]

    def select(self, names: Iterable[str] | None) -> list[CertId]:
        """Return the certificates that words such as `example.com:mail,web` name.

        None is all. Raises `UnknownCertError` for a word that names nothing, saying what there is.
        """
        if names is None:
            return self.managed()
        words = list(names)
        number = sum(1 + word.count(",") for word in words)
        # Each costs time, and who means all of them need not name one.
        if number > max(len(self.entries), 1):
            most = len(self.entries)
            raise Refused(Reason(Denied.TOO_MANY_NAMES, number=number, most=most))
        groups: dict[str, dict[CertId, None]] = defaultdict(dict)
        for cert in self.managed():
            groups[cert.group][cert] = None
        found: dict[CertId, None] = {}
        whole: set[str] = set()
        for word in words:
            group, chosen = self._expand(word, groups)
            if chosen is None and group not in whole:
                whole.add(group)
                found.update(groups[group])
            found.update(dict.fromkeys(chosen or ()))
        return list(found)

    def _expand(
        self, word: str, groups: Mapping[str, Mapping[CertId, None]]
    ) -> tuple[str, list[CertId] | None]:
        """Return the group that a word names, and the certificates of it; None for all.

        `groups`: what there is in each group.
        """
        group_text, _, services = word.replace("/", ":", 1).partition(":")
        try:
            group = GroupName.parse(group_text).text
            wanted = [one.strip() for one in services.split(",") if one.strip()]
            every = not wanted or any(one in ("ALL", "*") for one in wanted)
            chosen = [] if every else [CertId(group, parse_service(one)) for one in wanted]
        except BadName as err:
            bad = Reason(Denied.BAD_NAME, named=shown(word), why=Said(err))
            raise UnknownCertError(bad) from None
        there = groups.get(group, {})
        if every and there:
            return group, None
        for cert in chosen:
            if cert not in there:
                if why := self.why_absent(group, cert.service):
                    raise UnknownCertError(Reason(Denied.NOT_ACTIVE, named=cert.arg, why=Said(why)))
                known = [one.service for one in there]
                raise UnknownCertError(_none(Denied.NO_CERT, cert.arg, known, group=group))
        if not chosen:
            if why := self.why_absent(group, ""):
                raise UnknownCertError(Reason(Denied.NOT_ACTIVE, named=group, why=Said(why)))
            raise UnknownCertError(_none(Denied.NO_GROUP, group, sorted(groups)))
        return group, chosen


_NOT_PLANNED = Decision(Reason(Why.NOT_PLANNED))


@lru_cache(maxsize=256)  # one of each: thousands of certificates have the same
def _shared(servers: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return servers


def _none(code: Denied, named: str, known: Sequence[str], group: str | None = None) -> Reason:
    """Return that there is nothing of a name, and what there is."""
    more = len(known) - _NAMED
    return Reason(
        code, named=named, group=group, there=tuple(known[:_NAMED]), more=max(more, 0) or None
    )


def entry_of(
    config: Config,
    service: ServiceConfig,
    state: CertState,
    hold: Reason | None,
    astray: Reason | None = None,
) -> Entry:
    """Make an entry that is not decided on yet."""
    wanted = wanted_of(service, config, state.curr.asked_names if state.curr else frozenset())
    used_by = config.kinds_using(service.id)
    return Entry(
        wanted,
        _shared(places(config, service.id)),
        state,
        hold,
        _NOT_PLANNED,
        proves(config, service.id),
        used_by=tuple(map(str, used_by)),
        unused=not used_by and config.is_unused(service.id),
        astray=astray,
    )
