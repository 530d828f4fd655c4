"""What is known of each host beside its certificates: what it holds, and what lies there besides.

A host that holds what it is not meant to have any more is visited for that alone (I1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sslmd.config.model import THIS_HOST, hosts_of, is_meant, wanted_here, wanted_on
from sslmd.core.errors import Refused, SslmError
from sslmd.core.host.needs import Belonging, belonging_of, needs
from sslmd.core.jobs import Copy
from sslmd.core.names import CertId, shown
from sslmd.core.retry import Trouble
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


class HostBook:
    """The notes of all hosts of the configuration."""

    def __init__(self, site: Site, threads: Threads, telling: Telling) -> None:
        self._site = site
        self._threads = threads
        self._telling = telling
        self._notes: dict[str, HostNote] = {}
        self._untidy: dict[str, datetime | None] = {}
        self._again: dict[str, datetime | None] = {}
        self._left: set[str] = set()

    def load(self) -> None:
        """Read the notes; blocks, for the start."""
        for host in dict.fromkeys((*noted_hosts(self._site.tree), *self._hosts())):
            self._notes[host] = self._read(host)
        self.reconfigured()

    def _read(self, host: str) -> HostNote:
        try:
            return HOST_NOTE.read(self._file(host))
        except SslmError as err:
            self._telling.tell("host-trouble", f"what {host} holds is not known: {err}", None)
            return HostNote()

    def _file(self, host: str) -> str:
        return self._site.tree.host_note(host)

    def _hosts(self) -> dict[str, None]:
        return hosts_of(self._site.config)

    def of(self, host: str) -> HostNote:
        """Return what is known of a host."""
        return self._notes.get(host, HostNote())

    def met(self, host: str, machine: str) -> None:
        """Note which machine a host says that it is; blocks. Raises `SslmError`."""
        note, machine = self.of(host), shortened(machine)
        if machine and machine != note.machine:
            note = replace(note, machine=machine)
            HOST_NOTE.write(self._file(host), note)
            self._notes[host] = note

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

    def told(self) -> list[tuple[str, HostNote, str]]:
        """Return the hosts of which there is something to tell, with their notes and a sentence."""
        known = {*self._hosts(), THIS_HOST}
        told = []
        for host, note in sorted(self._notes.items()):
            if host not in known:
                if note.holds or note.older:
                    told.append((host, note, self._left_text(host)))
            elif note.surplus or note.older:
                texts = [surplus_text(host, note, self._site)] if note.surplus else []
                texts += [older_text(host, note.older)] if note.older else []
                told.append((host, note, "; ".join(texts)))
            elif note.error and host in self._untidy:
                told.append((host, note, ""))
        return told

    def _left_text(self, host: str) -> str:
        note = self.of(host)
        some = ", ".join(sorted(map(str, note.holds))[:5]) or "older ones"
        return (
            f"{host} is in no server class any more, but has what was copied there, with keys: "
            f"{some}; remove it from {' and '.join(note.places) or 'prod_cert_dir'} there, then "
            f"run: sslmctl forget {host} --yes"
        )

    def visits(self) -> dict[str, datetime | None]:
        """Return the hosts to visit beside their certificates, and when.

        Those with something that has to go, and those where it is to be seen whether what does not
        belong there is gone: an admin who removed it says nothing.
        """
        return {**self._again, **self._untidy}

    async def forget(self, host: str, *, leaving: bool) -> HostNote:
        """Forget a host that is in no class any more. Return what was known of it.

        Nothing is forgotten while it holds certificates, unless `leaving` says that they may stay.
        Raises `SslmError` for a host that is in a class, or that is not known.
        """
        known = sorted(self._notes.keys() - self._hosts().keys() - {THIS_HOST})
        if host not in known:
            if host in self._hosts() or host == THIS_HOST:
                classes = [f"[{one.kind}]" for one in self._site.config.server_classes]
                named = [
                    table
                    for table, one in zip(classes, self._site.config.server_classes, strict=True)
                    if host in one.servers
                ]
                why = f"is in {' and '.join(named)}" if named else "is this machine"
                raise Refused(f"{host} {why}: take it out of ssl-mgr.conf first, then reload")
            there = ", ".join(known) or "none"
            raise Refused(f"nothing is known of {shown(host)}; known and in no class: {there}")
        note = self.of(host)
        if (note.holds or note.older) and not leaving:
            return note
        await self._threads.in_thread(files.remove_file, self._file(host))
        self._notes.pop(host, None)
        self._untidy.pop(host, None)
        self._left.discard(host)
        self._telling.tell("forgotten", f"{host} is forgotten, as an admin asked", None)
        return note

    def older(self, host: str) -> tuple[str, ...]:
        """Return where production was before on a host, as far as is known."""
        prod = str(self._site.config.globals.prod_cert_dir)
        return tuple(one for one in self.of(host).places if one != prod)

    def moved(self) -> frozenset[str]:
        """Return the hosts that have everything below another folder than it should be now."""
        prod = str(self._site.config.globals.prod_cert_dir)
        return frozenset(host for host in self._hosts() if self.of(host).prod not in ("", prod))

    def untidy(self) -> dict[str, datetime | None]:
        """Return the hosts with something that has to go, and when that is next tried."""
        return self._untidy

    def reconfigured(self) -> None:
        """Find out what has to go from where: other certificates, grants or hosts."""
        self._untidy, self._again = {}, {}
        hosts = self._hosts()
        for host in hosts:
            if host not in self._notes:
                self._notes[host] = self._read(host)
            note = self._notes[host] = replace(self.of(host), attempts=0, next_try=None)
            self._sort(host, map(belonging_of, note.surplus))
            if note.surplus or note.older or note.kept or note.same:
                self._again[host] = None  # it may be gone, in keep now or no more, another machine
        # Whether classes name this machine or not: what is in production here costs a look.
        self._untidy[THIS_HOST] = None
        for host in self._notes.keys() - hosts.keys() - self._left - {THIS_HOST}:
            if self.of(host).holds or self.of(host).older:
                self._telling.tell("surplus", self._left_text(host), None)
                self._left.add(host)
        self._left &= self._notes.keys() - hosts.keys()

    def _sort(self, host: str, there: Iterable[Belonging] = ()) -> None:
        """Find out whether something has to go from a host; `there`: what others put there.

        What a visit left is not among it: it would be left again.
        """
        config, note = self._site.config, self.of(host)
        same = [one for one in note.same if one in self._hosts()]
        ours = [Belonging(str(one), one, is_ours=True) for one in note.holds]
        wanted, now = wanted_on(config, host, *same), self._site.now()
        if needs(wanted, now, there=[*ours, *there]).to_go:
            self._untidy[host] = note.next_try
        else:
            self._untidy.pop(host, None)

    def will_hold(self, job: Copy) -> Callable[[], None]:
        """Return what notes, before anything is sent, that a host holds it; it blocks."""
        sent = frozenset(one.cert for one in job.told)

        def write() -> None:
            note = self.of(job.host)
            if sent <= note.holds:
                return
            prod = str(self._site.config.globals.prod_cert_dir)
            note = replace(note, holds=note.holds | sent, prod=note.prod or prod)
            HOST_NOTE.write(self._file(job.host), note)
            self._notes[job.host] = note

        return write

    async def visited(self, host: str, visit: Visit, whole: Exception | None) -> None:
        """Take in how a visit went; `whole`: why there was none."""
        old = self.of(host)
        prod = str(self._site.config.globals.prod_cert_dir)
        error = whole or visit.trouble
        note = old
        if visit.left is not None:
            note = replace(old, holds=old.holds & visit.left, same=visit.same)
            note = note.with_surplus(visit.surplus, visit.unlisted)
        elif visit.here:
            # What is in production here is judged there, under the name of this machine alone.
            note = replace(old, holds=frozenset()).with_surplus(visit.surplus)
        if whole is None:
            older, meant = visit.older, visit.kept
            if older is None:  # nobody has looked; of this machine that is done by one name
                meant = () if visit.here else old.kept
                before = () if visit.here else self.older(host)
                older = tuple(one for one in before if one not in meant)
            note = replace(note, visited=self._site.now(), prod=prod, older=older, kept=meant)
        if error is None:
            note = replace(note, attempts=0, error="", next_try=None)
        else:
            failed = Trouble.of(
                error, old.attempts, self._site.now(), jitter=self._site.rng.random()
            )
            note = replace(
                note, attempts=failed.attempts, error=failed.text, next_try=failed.next_try
            )
        self._tell(host, visit, old, note)
        self._notes[host] = note
        is_known = host in self._hosts()
        if is_known or host == THIS_HOST:
            was_seen = visit.left is not None or visit.here
            self._sort(host, () if was_seen else map(belonging_of, note.surplus))
        if host == THIS_HOST and error is not None:
            self._untidy[host] = note.next_try
        self._again.pop(host, None)
        if host == THIS_HOST:
            is_clean = not note.surplus and not note.older
            self._again[host] = self._site.now() + (HERE if is_clean else SURPLUS_HERE)
        elif (note.surplus or note.older) and is_known:
            self._again[host] = self._site.now() + SURPLUS_THERE
        elif note.same and is_known:
            self._again[host] = self._site.now() + SAME
        # A host that was never reached holds nothing: there is nothing to note.
        was_reached = note.visited is not None or bool(note.machine)
        # Of this machine there is only where its tree is, which can be looked at at any time.
        kept = replace(note, surplus=(), more=0, visited=None) if visit.here else note
        is_new = not visit.here or bool(old.holds) or note.places != old.places
        if was_reached and is_new and (not visit.here or host == THIS_HOST or old.holds):
            try:
                await self._threads.in_thread(HOST_NOTE.write, self._file(host), kept)
            except SslmError as err:
                self._telling.tell(
                    "host-trouble", f"what {host} holds cannot be noted: {err}", None
                )

    def _tell(self, host: str, visit: Visit, old: HostNote, note: HostNote) -> None:
        tell = self._telling.tell
        if visit.removed:
            tell("withdrawn", f"{host}: removed {', '.join(visit.removed)}", None)
        if visit.trouble is not None:
            tell("host-trouble", f"not removed: {visit.trouble}", None)
        if note.surplus and (note.surplus, note.more) != (old.surplus, old.more):
            tell("surplus", surplus_text(host, note, self._site), None)
        if new := [one for one in note.older if one not in old.older]:
            tell("surplus", older_text(host, new), None)


def older_text(host: str, older: Sequence[str]) -> str:
    """Return which folders of a host are not production any more but have keys, and the way out."""
    return (
        f"{host}: {' and '.join(older)} is not used any more (prod_cert_dir), but still has keys; "
        "remove what lies there when no server reads it, or name what is meant to stay in keep of "
        "[globals]"
    )


def surplus_text(host: str, note: HostNote, site: Site) -> str:
    """Return what lies on a host that is not meant for it, and the way out."""
    config = site.config
    tables = " and ".join(f"[{one.kind}]" for one in config.copied_to(host))
    some = note.surplus[:5]
    more = len(note.surplus) + note.more - len(some)
    listed = ", ".join(some) + (f" and {more} more" if more > 0 else "")
    prod = config.globals.prod_cert_dir
    ways = ["remove it by hand"]
    wanted = wanted_here(config) if host == THIS_HOST else wanted_on(config, host)
    there = [belonging_of(one) for one in note.surplus]
    if any(one.path.startswith("ca/") and one.cert in wanted.certs for one in there):
        ways.insert(0, "sslmctl deliver ca:NAME removes keys of a CA")
    pruned = needs(replace(wanted, prunes=True), site.now(), there=there).to_go
    if tables and len(pruned) == len(there):
        ways = [f"prune = true in {tables} removes it"]
    ways.append("if it is meant, name it in keep of [globals]")
    found = "found certificates or keys that do not belong there"
    return f"{host}: in {prod}, {found}: {listed}; {'; '.join(ways)}"
