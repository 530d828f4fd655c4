"""What is known of hosts, and noted: what they hold, with keys, and what does not belong there.

An entry for each host of the configuration, for this machine, and for hosts that left every class
and still hold something. What certificates know of their servers stands with these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sslmd.config.model import THIS_HOST, Config, hosts_of, is_meant, wanted_here, wanted_on
from sslmd.core.errors import Refused, SslmError, Trouble, reason_of
from sslmd.core.host.needs import Belonging, needs, surplus_on
from sslmd.core.jobs import Copy
from sslmd.core.names import CertId, shown
from sslmd.core.reason import Held, Reason
from sslmd.core.told import Denied, Reported
from sslmd.daemon.registry import Register
from sslmd.store import files
from sslmd.store.note_kinds import HOST_NOTE, HostNote, noted_hosts, shortened
from sslmd.workers.copy import Visit
from sslmd.workers.tools import Site, Telling, Threads

# Between two looks at a production tree for what does not belong there: here, where that costs
# little, and where something was found.
HERE = timedelta(hours=6)
SURPLUS_HERE, SURPLUS_THERE = timedelta(minutes=5), timedelta(hours=1)

# Between two looks whether names still lead to one machine.
SAME = timedelta(hours=6)

# Certificates that one message names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One host: `note` is what is noted of it.

    `in_use`: a server class names it, or it is this machine (`is_this`). `look_at`: when it is to
    be seen whether what does not belong there is gone; None: there is no need. `looked`: a visit
    has left there what it was to leave. `trouble`: why the last visit failed.
    """

    note: HostNote
    in_use: bool = False
    is_this: bool = False
    look_at: datetime | None = None
    looked: bool = False
    trouble: Reason | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """This is what the configuration, and the note, make of it."""

    entry: HostEntry


@dataclass(frozen=True, slots=True)
class Met:
    """It says that it is this machine."""

    machine: str


@dataclass(frozen=True, slots=True)
class Holding:
    """These are about to be sent there, below `prod`."""

    certs: frozenset[CertId]
    prod: str


@dataclass(frozen=True, slots=True)
class Visited:
    """A visit is over. `failed`: what is to be tried again; `reached`: there was one at all."""

    at: datetime
    prod: str
    visit: Visit
    failed: Trouble | None
    reached: bool


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An admin says that nothing of ours is left there, or may stay."""


HostEvent = Configured | Met | Holding | Visited | Forgotten


def _after(before: HostEntry | None, event: HostEvent) -> HostEntry | None:
    entry = before or HostEntry(HostNote())
    note = entry.note
    match event:
        case Configured():
            return event.entry
        case Met():
            return replace(entry, note=replace(note, machine=shortened(event.machine)))
        case Holding():
            holds, prod = note.holds | event.certs, note.prod or event.prod
            return replace(entry, note=replace(note, holds=holds, prod=prod))
        case Visited():
            return _visited(entry, event)
        case Forgotten():
            return None


def _visited(entry: HostEntry, event: Visited) -> HostEntry:
    visit, failed = event.visit, event.failed
    old = note = entry.note
    if visit.left is not None:
        note = replace(old, holds=old.holds & visit.left, same=visit.same)
        note = note.with_surplus(visit.surplus, visit.unlisted)
    elif visit.here:
        # What is in production here is judged there, under the name of this machine alone.
        note = replace(old, holds=frozenset()).with_surplus(visit.surplus)
    if event.reached:
        older, kept = visit.older, visit.kept
        if older is None:  # nobody has looked; of this machine that is done by one name
            kept = () if visit.here else old.kept
            before = () if visit.here else old.places
            older = tuple(one for one in before if one not in (*kept, event.prod))
        note = replace(note, visited=event.at, prod=event.prod, older=older, kept=kept)
    if failed is None:
        note = replace(note, attempts=0, error="", next_try=None)
    else:
        again = failed.next_try
        note = replace(note, attempts=failed.attempts, error=failed.text, next_try=again)
    look_at: datetime | None = None
    if entry.is_this:
        is_clean = not note.surplus and not note.older
        look_at = note.next_try or event.at + (HERE if is_clean else SURPLUS_HERE)
    elif entry.in_use and (note.surplus or note.older):
        look_at = event.at + SURPLUS_THERE
    elif entry.in_use and note.same:
        look_at = event.at + SAME
    looked, trouble = visit.left is not None or visit.here, failed.reason if failed else None
    return replace(entry, note=note, look_at=look_at, looked=looked, trouble=trouble)


class HostBook(Register[str, HostEntry, HostEvent]):
    """All hosts of which something is known."""

    def __init__(self, site: Site, threads: Threads, telling: Telling) -> None:
        super().__init__(_after)
        self._site = site
        self._threads = threads
        self._telling = telling
        self._untidy: dict[str, tuple[HostEntry, Config, bool]] = {}
        self.listen(self._tell)

    @property
    def _prod(self) -> str:
        return str(self._site.config.globals.prod_cert_dir)

    def _file(self, host: str) -> str:
        return self._site.tree.host_note(host)

    def _hosts(self) -> dict[str, None]:
        return hosts_of(self._site.config)

    def of(self, host: str) -> HostNote:
        """Return what is noted of a host."""
        return self[host].note if host in self else HostNote()

    # --- the configuration ---

    def load(self) -> None:
        """Read the notes; blocks, for the start."""
        self._configure([*noted_hosts(self._site.tree), *self._hosts()])

    def reconfigured(self) -> None:
        """Take in which hosts there are: their failures are forgotten, and looks are due."""
        self._configure([*self, *self._hosts()])

    def _configure(self, hosts: Iterable[str]) -> None:
        used = {*self._hosts(), THIS_HOST}
        for host in dict.fromkeys((*hosts, THIS_HOST)):
            note = self[host].note if host in self else self._read(host)
            entry = HostEntry(note, host in used, host == THIS_HOST)
            if entry.in_use:
                note = replace(note, attempts=0, next_try=None)
                # It may be gone, in keep now or no more, another machine. Whether classes name
                # this machine or not: what is in production here costs a look.
                looks = note.surplus or note.older or note.kept or note.same or entry.is_this
                look_at = self._site.now() if looks else None
                entry = replace(entry, note=note, look_at=look_at)
            self.put(host, Configured(entry))

    def _read(self, host: str) -> HostNote:
        try:
            return HOST_NOTE.read(self._file(host))
        except SslmError as err:
            why = Reason(Reported.HOLDS_UNKNOWN, host=host, why=err.reason)
            self._telling.tell("host-trouble", why, None)
            return HostNote()

    # --- what is to be done there, and what to tell ---

    def names_of(self, host: str) -> tuple[str, ...]:
        """Return all names under which a machine was seen, those that are in use."""
        same = (one for one in self.of(host).same if one in self and self[one].in_use)
        return (host, *same)

    def untidy(self) -> dict[str, datetime | None]:
        """Return the hosts with something that has to go, and when that is next tried."""
        return {host: self[host].note.next_try for host in self if self._is_untidy(host)}

    def _is_untidy(self, host: str) -> bool:
        """Whether something is known that has to go from a machine; what is here is looked for."""
        entry, config = self[host], self._site.config
        if not entry.in_use or entry.is_this:
            return False
        known = self._untidy.get(host)
        # Good for as long as it is the entry, and the configuration.
        if known is None or known[0] is not entry or known[1] is not config:
            ours = (Belonging(str(one), one, is_ours=True) for one in entry.note.holds)
            others = () if entry.looked else entry.note.surplus
            wanted = wanted_on(config, *self.names_of(host))
            to_go = needs(wanted, self._site.now(), there=[*ours, *others]).to_go
            known = self._untidy[host] = (entry, config, bool(to_go))
        return known[2]

    def visit_at(self, host: str, now: datetime) -> datetime | None:
        """Return when a host is to be visited whatever its servers have; None: it need not be."""
        if host not in self or not self[host].in_use:
            return None
        if self._is_untidy(host):
            return self[host].note.next_try or now
        return self[host].look_at

    def visits(self) -> dict[str, datetime]:
        """Return the hosts that are to be visited beside their certificates, and when."""
        now = self._site.now()
        times = ((host, self.visit_at(host, now)) for host in self)
        return {host: at for host, at in times if at is not None}

    def told(self) -> list[tuple[str, HostEntry, Reason | None]]:
        """Return the hosts of which there is something to tell, and what is wrong there."""
        untidy = self.untidy()
        told = []
        for host, entry in sorted(self.entries.items()):
            note = entry.note
            if not entry.in_use:
                why = self._left(host, note)
            else:
                found = (self._surplus(host, note), _older(host, note.older))
                first, *others = [*filter(None, found), None]
                why = first.also(*others) if first is not None else None
            if why is not None or (note.error and (host in untidy or entry.is_this)):
                told.append((host, entry, why))
        return told

    def _left(self, host: str, note: HostNote) -> Reason | None:
        """Return what a host that is in no class any more holds."""
        if not (note.holds or note.older):
            return None
        some = tuple(sorted(map(str, note.holds))[:_NAMED])
        places = note.places or ("prod_cert_dir",)
        return Reason(Held.LEFT_HOST, host=host, things=some, places=places)

    def _surplus(self, host: str, note: HostNote) -> Reason | None:
        """Return what lies on a host that is not meant for it."""
        if not note.surplus:
            return None
        config, now = self._site.config, self._site.now()
        wanted = wanted_here(config) if host == THIS_HOST else wanted_on(config, host)
        return surplus_on(host, self._prod, wanted, note.surplus, now, note.more)

    def _tell(
        self, host: str, event: HostEvent, before: HostEntry | None, after: HostEntry | None
    ) -> None:
        """Tell what a visit has done and found, and what a host holds that left; each once."""
        tell = self._telling.tell
        old, note = (one.note if one else HostNote() for one in (before, after))
        match event:
            case Forgotten():
                tell("forgotten", Reason(Reported.FORGOTTEN, host=host), None)
            case Configured(entry) if not entry.in_use and (before is None or before.in_use):
                if left := self._left(host, note):
                    tell("surplus", left, None)
            case Visited(visit=visit):
                if visit.removed:
                    what = tuple(map(str, visit.removed))
                    tell("withdrawn", Reason(Reported.REMOVED_THERE, host=host, what=what), None)
                if visit.trouble is not None:
                    why = Reason(Reported.NOT_REMOVED, why=reason_of(visit.trouble))
                    tell("host-trouble", why, None)
                is_other = (note.surplus, note.more) != (old.surplus, old.more)
                if is_other and (surplus := self._surplus(host, note)):
                    tell("surplus", surplus, None)
                if older := _older(host, [one for one in note.older if one not in old.older]):
                    tell("surplus", older, None)

    async def forget(self, host: str, *, leaving: bool) -> HostNote:
        """Forget a host that is in no class any more. Return what was known of it.

        Nothing is forgotten while it holds certificates, unless `leaving` says that they may stay.
        Raises `SslmError` for a host that is in a class, or that is not known.
        """
        known = sorted(one for one, entry in self.entries.items() if not entry.in_use)
        if host not in known:
            if host in self:
                classes = self._site.config.server_classes
                named = tuple(f"[{one.kind}]" for one in classes if host in one.servers)
                if not named:
                    raise Refused(Reason(Denied.HOST_IS_THIS, host=host))
                raise Refused(Reason(Denied.HOST_IN_CLASS, host=host, classes=named))
            there = tuple(known) or ("none",)
            raise Refused(Reason(Denied.HOST_NOT_KNOWN, host=shown(host), known=there))
        note = self.of(host)
        if leaving or not (note.holds or note.older):
            await self._threads.in_thread(files.remove_file, self._file(host))
            self.put(host, Forgotten())
        return note

    # --- visits: what they go by, and how they went ---

    def holds(self, host: str) -> frozenset[CertId]:
        """Return what we once put on a host."""
        return self.of(host).holds

    def older(self, host: str) -> tuple[str, ...]:
        """Return where production was before on a host, as far as is known."""
        return tuple(one for one in self.of(host).places if one != self._prod)

    def moved(self) -> frozenset[str]:
        """Return the hosts that have everything below another folder than it should be now."""
        return frozenset(
            host for host in self._hosts() if self.of(host).prod not in ("", self._prod)
        )

    def alike(self, host: str) -> list[str]:
        """Return the other hosts that say that they are the same machine."""
        machine = self.of(host).machine
        if not machine:
            return []
        return [one for one in self._hosts() if one != host and self.of(one).machine == machine]

    def parted(self, host: str, certs: Iterable[CertId]) -> dict[CertId, frozenset[str]]:
        """Return who is to be given these certificates again, now that they were taken from a host.

        If it is one machine with them all the same, and only was not seen so, they lack them now.
        """
        config, alike = self._site.config, self.alike(host)
        found = {
            cert: frozenset(one for one in alike if is_meant(config, cert, one)) for cert in certs
        }
        return {cert: hosts for cert, hosts in found.items() if hosts}

    async def met(self, host: str, machine: str) -> None:
        """Note which machine a host says that it is. Raises `SslmError`."""
        if machine and shortened(machine) != self.of(host).machine:
            await self._note_first(host, Met(machine))

    async def will_hold(self, job: Copy) -> None:
        """Note, before anything is sent, that a host holds it. Raises `SslmError`."""
        sent = frozenset(one.cert for one in job.told)
        if not sent <= self.holds(job.host):
            await self._note_first(job.host, Holding(sent, self._prod))

    async def _note_first(self, host: str, event: Met | Holding) -> None:
        """Write down what is about to be so: a daemon that is killed has to know of it (I5)."""
        after = _after(self.entries.get(host), event)
        assert after is not None
        await self._threads.in_thread(HOST_NOTE.write, self._file(host), after.note)
        self.put(host, event)

    async def visited(self, host: str, visit: Visit, whole: Exception | None) -> None:
        """Take in how a visit went; `whole`: why there was none."""
        old, error, now = self.of(host), whole or visit.trouble, self._site.now()
        failed = None
        if error is not None:
            failed = Trouble.of(error, old.attempts, now, jitter=self._site.rng.random())
        self.put(host, Visited(now, self._prod, visit, failed, reached=whole is None))
        note = self.of(host)
        # A host that was never reached holds nothing: there is nothing to note.
        if note.visited is None and not note.machine:
            return
        if visit.here:
            # Of this machine there is only where its tree is, which can be looked at at any time.
            if not old.holds and (host != THIS_HOST or note.places == old.places):
                return
            note = replace(note, surplus=(), more=0, visited=None)
        try:
            await self._threads.in_thread(HOST_NOTE.write, self._file(host), note)
        except SslmError as err:
            why = Reason(Reported.HOLDS_UNNOTED, host=host, why=err.reason)
            self._telling.tell("host-trouble", why, None)


def _older(host: str, folders: Sequence[str]) -> Reason | None:
    """Return which folders of a host are not production any more but have keys."""
    return Reason(Held.OLDER_PRODUCTION, folders=tuple(folders)).of(host) if folders else None
