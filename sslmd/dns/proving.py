"""Waiting until every name server shows what an order published (I8).

An `OrderPart` is one order's share in a zone. What was published by one write is proven together,
in one wait, and each order goes on as soon as its own records are seen everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sslmd.config.model import Endpoint
from sslmd.core.errors import SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import TxtRecord
from sslmd.core.told import Doing
from sslmd.dns.ask import NameServer
from sslmd.dns.diagnosis import Behind, Primary, PublishedBy, missing
from sslmd.dns.look import zone_serial
from sslmd.dns.means import Means
from sslmd.dns.nameservers import authoritative, primary_server
from sslmd.dns.observe import Propagation
from sslmd.dns.publish import Records

Seen = Callable[[Sequence[Behind], Primary | None], None]


class OrderPart:
    """What one order wants of one zone. `records` None: it has not handed them in yet."""

    def __init__(self) -> None:
        self.records: Records | None = None
        self.offered = False
        self.offered_at = 0.0
        self.missing: set[TxtRecord] = set()
        self.waiting: WriteWait | None = None
        self.confirming = False
        self.tell: Callable[[Reason], None] = lambda _: None
        self._left: list[Callable[[], None]] = []
        self._shown: asyncio.Future[None] | None = None

    def offer(self, records: Records, tell: Callable[[Reason], None]) -> None:
        """Hand in `records`; `tell` hears how far they are."""
        loop = asyncio.get_running_loop()
        self.records, self.tell = records, tell
        self.missing = set(records)
        self.offered, self.offered_at = True, loop.time()
        self._shown = loop.create_future()

    def taken(self) -> None:
        """The records go out with the write that begins now."""
        self.offered = False

    async def confirm(self) -> None:
        """Look once more, after another zone kept the order waiting."""
        if self.waiting is None:
            return
        self.confirming = True
        try:
            await self.waiting.look_at_once(self)
        finally:
            self.confirming = False

    async def shown(self) -> None:
        """Return when all are visible, and the CA may look; raises what prevents it."""
        assert self._shown is not None
        await self._shown

    @property
    def waits(self) -> bool:
        """Whether an order still waits for this part."""
        return self._shown is not None and not self._shown.done()

    def done(self) -> None:
        """All is visible."""
        if self._shown is not None and not self._shown.done():
            self._shown.set_result(None)

    def fail(self, err: Exception) -> None:
        """It will not become visible."""
        if self._shown is not None and not self._shown.done():
            self._shown.set_exception(err)
            self._shown.exception()  # the order may have gone; then nobody asks

    def on_leave(self, call: Callable[[], None]) -> None:
        """Have `call` called when the order goes."""
        self._left.append(call)

    def leave(self) -> None:
        """The order is over."""
        self.confirming = False
        if self._shown is not None:
            self._shown.cancel()
        for call in self._left:
            call()


class WriteWait:
    """One wait for one write. `begin` before the write, so that it knows what was before."""

    def __init__(
        self,
        means: Means,
        zone: ZoneName,
        servers: Sequence[NameServer],
        primary: NameServer | None,
        serial: int | None,
    ) -> None:
        self._means = means
        self._zone = zone
        self._servers = tuple(servers)
        self._primary = primary
        self._serial = serial

    @classmethod
    async def begin(cls, means: Means, zone: ZoneName) -> WriteWait:
        """Find the zone's name servers; raises `Transient` if there are none to be found."""
        named = means.config().primary_for(zone)
        servers = await authoritative(zone, named, means.resolver)
        primary = None
        serial = None
        if named is not None:
            with suppress(SslmError):  # it is asked only to tell what is wrong, if something is
                primary = await primary_server(zone, named, means.resolver)
                serial = await zone_serial(means.resolver.asker, primary, zone) if primary else None
        return cls(means, zone, servers, primary, serial)

    async def prove(self, parts: Sequence[OrderPart]) -> None:
        """Return when no order waits any more; how it went, the parts know. Never raises."""
        options = self._means.config().globals
        loop = asyncio.get_running_loop()
        go_ahead = loop.time() + options.dns_check_delay.total_seconds()
        extra = await self._extra_servers(options.dns_extra_servers)
        endings: list[asyncio.Task[None]] = []

        def proven(record: TxtRecord) -> None:
            for part in parts:
                if record in part.missing:
                    part.missing.discard(record)
                    if not part.missing:
                        endings.append(loop.create_task(self._end(part, go_ahead, extra)))

        wanted = {record for part in parts for record in part.missing if part.waits}
        proof = self._proof(wanted, extra, self._telling(parts), proven)
        for part in parts:
            part.waiting = self
            part.on_leave(lambda: _forget(proof, wanted, parts))
        try:
            await proof.run()
        except SslmError as err:
            for part in parts:
                if part.missing:
                    part.fail(err)
        except Exception as err:
            for part in parts:
                part.fail(err)
        finally:
            if endings:
                await asyncio.wait(endings)

    def _proof(
        self,
        records: Iterable[TxtRecord],
        extra: Sequence[NameServer],
        seen: Seen,
        proven: Callable[[TxtRecord], None] = lambda _: None,
    ) -> Propagation:
        updated = self._means.updated(self._zone) is not None
        return Propagation(
            self._zone,
            self._servers,
            records,
            asker=self._means.resolver.asker,
            extra=extra,
            primary=self._primary,
            serial_before=self._serial,
            published=PublishedBy.BY_UPDATE if updated else PublishedBy.BY_COMMAND,
            limit=self._means.config().globals.dns_check_timeout.total_seconds(),
            seen=seen,
            proven=proven,
        )

    def _telling(self, parts: Sequence[OrderPart], *, last: bool = False) -> Seen:
        """Tell each order of its own names alone; in the last look, of all of them."""

        def tell(behind: Sequence[Behind], primary: Primary | None) -> None:
            for part in parts:
                own = {record.owner for record in (part.records or () if last else part.missing)}
                mine = [
                    replace(one, owners=[owner for owner in one.owners if owner in own])
                    for one in behind
                ]
                mine = [one for one in mine if one.owners]
                if mine and (part.waits or part.confirming):
                    part.tell(missing(self._zone, mine, primary))

        return tell

    async def _end(self, part: OrderPart, go_ahead: float, extra: Sequence[NameServer]) -> None:
        """Wait for the rest of `dns_check_delay`, then see all of it at one time."""
        loop = asyncio.get_running_loop()
        left = go_ahead - loop.time()
        try:
            if left > 0:
                at = datetime.now(UTC) + timedelta(seconds=left)
                part.tell(Reason(Doing.ALL_SHOW_IT, at=at))
                await asyncio.sleep(left)
            await self.look_at_once(part, extra)
        except Exception as err:
            part.fail(err)
        else:
            part.done()

    async def look_at_once(
        self, part: OrderPart, extra: Sequence[NameServer] | None = None
    ) -> None:
        """Return when one round of questions finds all of a part's records everywhere.

        What was seen once may be gone: a server that was restarted with older data, say. Raises
        `Transient` after `dns_check_timeout`.
        """
        if extra is None:
            extra = await self._extra_servers(self._means.config().globals.dns_extra_servers)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._means.config().globals.dns_check_timeout.total_seconds()
        while part.waits or part.confirming:
            if loop.time() > end:
                raise Transient(Reason(Failed.BY_TURNS), about=f"zone {self._zone}")
            wanted = set(part.records or ())
            proof = self._proof(wanted, extra, self._telling([part], last=True))
            part.on_leave(lambda: _forget(proof, wanted, ()))  # noqa: B023  (this round's)
            await proof.run()
            if proof.rounds <= 1:
                return

    async def _extra_servers(self, named: Sequence[Endpoint]) -> tuple[NameServer, ...]:
        """Return `dns_xtra_ns` with their addresses; one without an address counts as silent."""
        servers: list[NameServer] = []
        for one in named:
            try:
                found = await self._means.resolver.addresses(one.host)
            except Transient:
                found = ()
            name = "" if one.host in found else one.host
            servers += [NameServer(address, one.port, name) for address in found]
            if not found:
                servers.append(NameServer(one.host, one.port, one.host))
        return tuple(servers)


def _forget(proof: Propagation, wanted: Iterable[TxtRecord], parts: Sequence[OrderPart]) -> None:
    """Look no more for what nobody waits for."""
    needed = {record for part in parts if part.waits for record in part.missing}
    for record in set(wanted) - needed:
        proof.drop(record)
