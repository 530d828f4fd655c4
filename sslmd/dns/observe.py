"""Proof that every name server shows a record: nothing is believed until it is seen (I8).

`Propagation` waits until all of them show all of it. Resolvers are asked last: one that is asked
too early remembers that there is no such record (RFC 2308). Serials prove nothing, and are asked
for only to say what is wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from sslmd.core.errors import Transient
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import TxtRecord
from sslmd.dns.ask import DnsAsker, NameServer, Unanswered
from sslmd.dns.diagnosis import Behind, Primary, PublishedBy, missing
from sslmd.dns.look import (
    TXT,
    TXT_OF_RESOLVER,
    RecordKind,
    look_at_owner,
    look_at_server,
    zone_serial,
)

# Seconds between two rounds of questions: at first, by how much more each time, at most. A
# secondary that heard NOTIFY has a zone within seconds; one that did not asks by itself only
# after the zone's refresh time.
FIRST_PAUSE = 1.0
GROWTH = 1.5
LONGEST_PAUSE = 30.0

# Seconds of a round that count: one that takes longer has servers that limit their answers, and
# gets on all the same.
LONGEST_ROUND = 10.0


class Propagation:
    """Waits until every server shows every record; `run` it once.

    `authoritative` have to show a record before `extra`, which are resolvers, are asked for it.
    `primary` is only looked at to say what is wrong; `serial_before` is its serial before the
    change, None if it is not known. `limit`: seconds after which to give up; of a round of
    questions at servers that limit their answers, `LONGEST_ROUND` count.

    `seen` gets who is behind after each round, `proven` each record when all show it; they have to
    be quick.
    """

    def __init__(
        self,
        zone: ZoneName,
        authoritative: Sequence[NameServer],
        records: Iterable[TxtRecord],
        *,
        asker: DnsAsker,
        extra: Sequence[NameServer] = (),
        primary: NameServer | None = None,
        serial_before: int | None = None,
        published: PublishedBy = PublishedBy.BY_COMMAND,
        limit: float = 3600.0,
        proven: Callable[[TxtRecord], None] = lambda _: None,
        seen: Callable[[Sequence[Behind], Primary | None], None] = lambda *_: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not authoritative:
            raise ValueError(f"zone {zone} has no name servers to ask")
        self._asker = asker
        self._zone = zone
        self._wanted = set(records)
        self._shown: set[TxtRecord] = set()  # by all that are authoritative
        servers = [*dict.fromkeys(authoritative)]
        resolvers = [one for one in dict.fromkeys(extra) if one not in servers]
        self._servers = [_ServerAsked(asker, zone, one, set(self._wanted), TXT) for one in servers]
        self._resolvers = [
            _ServerAsked(asker, zone, one, set(self._wanted), TXT_OF_RESOLVER) for one in resolvers
        ]
        self._primary = primary
        self._serial_before = serial_before
        self._published = published
        self._limit = limit
        self._proven = proven
        self._seen = seen
        self._sleep = sleep
        self._clock = clock
        self._over = asyncio.Event()
        self.rounds = 0  # of questions; after one, all was seen at the same time

    def drop(self, record: TxtRecord) -> None:
        """Wait for a record no more. Nothing happens if it is none of ours."""
        self._wanted.discard(record)
        if not self._wanted:
            self._over.set()

    async def run(self) -> None:
        """Return when all records are proven or dropped.

        Servers that cannot be asked from this machine are left out, unless all of them are.

        Raises `Transient` when the time is up, naming server by server what is missing, and
        the way out.
        """
        began, pause = self._clock(), FIRST_PAUSE
        while self._wanted:
            asked = self._clock()
            await self._ask_all()
            began += max(0.0, self._clock() - asked - LONGEST_ROUND)
            if not self._wanted:
                return
            behind = self._behind()
            primary = await self._look_at_primary(behind)
            await self._add_serials(behind)
            if not self._wanted:
                return
            self._seen(behind, primary)
            waited = self._clock() - began
            if waited >= self._limit:
                span = timedelta(seconds=waited)
                raise Transient(missing(self._zone, behind, primary, span, self._published))
            await self._wait(min(pause, self._limit - waited))
            pause = min(pause * GROWTH, LONGEST_PAUSE)

    async def _ask_all(self) -> None:
        """Ask every server for what it was not yet seen to show; release what is proven."""
        self.rounds += 1
        async with asyncio.TaskGroup() as group:
            for one in self._servers:
                group.create_task(one.ask(self._wanted))
        if self._nobody_in_reach():
            return
        # All values of an owner are in one answer, which a resolver keeps as a whole.
        unseen = {record.owner for one in self._servers for record in one.lacks(self._wanted)}
        shown = self._shown = {one for one in self._wanted if one.owner not in unseen}
        async with asyncio.TaskGroup() as group:
            for one in self._resolvers:
                group.create_task(one.ask(shown))
        everywhere = shown.difference(*(one.lacks(shown) for one in self._resolvers))
        for record in sorted(everywhere & self._wanted):
            self._wanted.discard(record)
            self._proven(record)

    def _behind(self) -> list[Behind]:
        """Return the servers that what is wanted waits for."""
        if self._nobody_in_reach():
            return [Behind(one.server, (), one.out_of_reach) for one in self._servers]
        found = []
        for one in (*self._servers, *self._resolvers):
            asked_for = self._wanted & self._shown if one.recursive else self._wanted
            if owners := sorted({record.owner for record in one.lacks(asked_for)}):
                found.append(Behind(one.server, owners, one.fault, one.serial, one.recursive))
        return found

    def _nobody_in_reach(self) -> bool:
        return all(one.out_of_reach for one in self._servers)

    async def _look_at_primary(self, behind: Sequence[Behind]) -> Primary | None:
        owners = [one.owners[0] for one in behind if one.owners and not one.resolver]
        if self._primary is None or not owners:
            return None
        values = frozenset(record.value for record in self._wanted if record.owner == owners[0])
        try:
            serial = await zone_serial(self._asker, self._primary, self._zone)
            seen = await look_at_owner(self._asker, self._zone, self._primary, owners[0], TXT)
        except Unanswered:
            return None
        shows = None if seen.fault else values <= seen.records
        return Primary(self._primary, owners[0], shows, serial, self._serial_before)

    async def _add_serials(self, behind: list[Behind]) -> None:
        async def add(one: Behind) -> None:
            with suppress(Unanswered):
                one.serial = await zone_serial(self._asker, one.server, self._zone)

        async with asyncio.TaskGroup() as group:
            for one in behind:
                if not one.fault and not one.resolver and one.serial is None:
                    group.create_task(add(one))

    async def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than until there is nothing left to wait for."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({sleeping, over}, return_when=asyncio.FIRST_COMPLETED)
            if sleeping.done():
                sleeping.result()
        finally:
            sleeping.cancel()
            over.cancel()


class _ServerAsked:
    """One server, and what it was not yet seen to show."""

    def __init__(
        self,
        asker: DnsAsker,
        zone: ZoneName,
        server: NameServer,
        records: set[TxtRecord],
        kind: RecordKind[str],
    ) -> None:
        self._asker = asker
        self.server = server
        self.recursive = kind.recursive
        self.fault: Reason | None = None
        self.serial: int | None = None
        self.out_of_reach: Reason | None = None
        self._zone = zone
        self._kind = kind
        self._unseen = records

    def lacks(self, wanted: set[TxtRecord]) -> set[TxtRecord]:
        """Return which of them it was not seen to show; none where it cannot be asked."""
        return set() if self.out_of_reach else self._unseen & wanted

    async def ask(self, wanted: set[TxtRecord]) -> None:
        """Ask for what was not seen yet."""
        owners = {record.owner for record in self._unseen & wanted}
        if not owners:
            return
        seen = await look_at_server(self._asker, self._zone, self.server, owners, self._kind)
        self._unseen -= {
            TxtRecord(owner, value) for owner, one in seen.owners.items() for value in one.records
        }
        self.out_of_reach = seen.out_of_reach
        faults = (one.fault for one in seen.owners.values())
        self.fault = seen.out_of_reach or seen.silent or next(filter(None, faults), None)
        serials = [one.serial for one in seen.owners.values() if one.serial is not None]
        self.serial = serials[-1] if serials else None
