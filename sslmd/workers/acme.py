"""One order at an ACME CA, from the CSR to its certificate: who may order, and what is proven.

An engine (`acme/engine.py`, `acme/certbot_run.py`) speaks to the CA. Here is what it does not know:
what was ordered before and how often, what can be known before an order, and that the world has to
see a challenge before the CA looks (I8).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from sslmd.acme import certbot, directory
from sslmd.acme.attempt import AccountLostError, Attempt, CaEngine
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.certbot_run import Certbot
from sslmd.acme.directory import Directory
from sslmd.acme.engine import Engine
from sslmd.acme.orders import Challenge
from sslmd.config.model import Engines
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.limits import failed_too_often
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import TxtRecord
from sslmd.core.told import Doing
from sslmd.dns.aims import Aim, Learnt
from sslmd.pki.local_ca import Issued
from sslmd.workers.http import FileChallenges
from sslmd.workers.preflight import Preflight
from sslmd.workers.tools import Ordering, wanted_of

# An order that waits longer than this for name servers, beyond `dns_check_delay`, makes room
# where others wait for its place: a zone that is broken must not keep out the rest (I6).
PATIENCE = timedelta(minutes=5)
LOOK_AROUND = 5.0  # seconds

# What is said of an address where no CA is.
_NO_CA = frozenset({Failed.NO_DIRECTORY, Failed.FOREIGN_DIRECTORY, Failed.CA_NO_SUCH_PLACE})


@dataclass(frozen=True, slots=True)
class Obtained:
    """What an order brought, and what the CA says of itself (empty if it could not be asked)."""

    issued: Issued
    directory: Directory


async def obtain(attempt: Attempt, ordering: Ordering) -> Obtained:
    """Get the certificate; what an earlier, interrupted run got is taken first (I5).

    Raises `Transient`, `ValidationFailed` or `Permanent` in the CA's own words, or naming what
    was in the way before the CA was asked.
    """
    in_thread, server = ordering.threads.in_thread, attempt.server
    try:
        found = await in_thread(certbot.collect, attempt.place, attempt.csr, server)
    except SslmError:
        await in_thread(certbot.clear, attempt.place)
        raise
    served = Directory()
    if found is not None:
        await in_thread(certbot.forget_offered, attempt.place)
        with suppress(SslmError):  # it is there: what its CA says of itself is for remarks alone
            served = await directory.fetch(server.url, server.root, ordering.net)
        return Obtained(found, served)
    engine = _engine_of(attempt, ordering)
    if engine.takes_place:
        return await _obtain(attempt, engine, ordering)
    with ordering.resting(attempt.lane):
        async with ordering.under_way:
            return await _obtain(attempt, engine, ordering)


async def _obtain(attempt: Attempt, engine: CaEngine, ordering: Ordering) -> Obtained:
    in_thread = ordering.threads.in_thread
    served = await _served(attempt.server, engine, ordering)
    try:
        resumed = await engine.take_up(served)
    except AccountLostError:
        await engine.lose_account()
        resumed = None
    if resumed is not None:
        await in_thread(certbot.forget_offered, attempt.place)
        return Obtained(resumed, served)
    await count_offered(attempt, ordering)
    check_issued(attempt, ordering)
    try:
        issued = await _order(attempt, engine, served, ordering)
    except AccountLostError:
        await engine.lose_account()
        # CAA records may allow just the account that is gone: all is looked at again.
        try:
            issued = await _order(attempt, engine, served, ordering)
        except AccountLostError as err:
            raise Transient(Reason(Failed.ACCOUNT_LOST_AGAIN, why=err.why)) from None
    ordering.learnt.pop(attempt.cert, None)
    return Obtained(issued, served)


async def _served(server: AcmeServer, engine: CaEngine, ordering: Ordering) -> Directory:
    """Return what the CA says of itself.

    What is no directory is an address that somebody has to correct: unless there was one, and an
    account of ours. Then it is the CA's trouble, which passes.
    """
    try:
        return await directory.fetch(server.url, server.root, ordering.net)
    except Permanent as err:
        if err.reason.code not in _NO_CA or not await engine.account_uri():
            raise
        raise Transient(err.reason) from None


def _engine_of(attempt: Attempt, ordering: Ordering) -> CaEngine:
    """Return what speaks to the CA; raises `Permanent` if it is not installed."""
    in_thread, now = ordering.threads.in_thread, ordering.site.now

    def progress(how: Reason | None) -> None:
        ordering.telling.progress(attempt.cert, attempt.told(how) if how else None)

    def tell(event: str, what: Reason) -> None:
        _tell(attempt, what, ordering, event)

    if attempt.server.engine is Engines.ENGINE:
        return Engine(attempt, ordering.net, ordering.accounts, in_thread, now, progress, tell)
    return Certbot(
        attempt,
        certbot.find_certbot(),
        certbot.find_hook(ordering.site.config.globals.auth_hook),
        ordering.socket,
        ordering.orders,
        in_thread,
        now,
        progress,
        tell,
        ordering.accounts,
    )


def _tell(attempt: Attempt, what: Reason, ordering: Ordering, event: str = "order-trouble") -> None:
    ordering.telling.tell(event, attempt.told(what), attempt.cert)


def check_issued(attempt: Attempt, ordering: Ordering) -> None:
    """Raise `Transient` if Let's Encrypt has issued too many for exactly these names (I14).

    It happens where several certificates have the same names, and where what was issued was of no
    use here, again and again.
    """
    if attempt.trial:
        return  # a test server's limits are not ours to keep
    wanted = wanted_of(attempt.service, ordering.site.config)
    if spent := ordering.standings.issuances(ordering.site).exhausted(wanted):
        why, again = spent
        raise Transient(why, retry_at=again)


async def count_offered(attempt: Attempt, ordering: Ordering) -> None:
    """Count the names of an order that was cut short after it was offered as failed.

    Nobody knows how it went; a daemon that is killed again and again may not run into the CA's
    limits. Raises `Transient` where a name has failed too often now.
    """
    names = await ordering.threads.in_thread(certbot.offered, attempt.place)
    if not names:
        return
    await ordering.threads.in_thread(certbot.forget_offered, attempt.place)
    if attempt.trial:
        return  # a test server's limits are not ours to keep
    ordering.telling.count(attempt.cert, names)
    failed = ordering.standings.state_of(attempt.cert).failed
    rate = wanted_of(attempt.service, ordering.site.config).failed_rate
    if worst := failed_too_often(failed, names, ordering.site.now(), rate):
        name, again = worst
        raise Transient(Reason(Failed.ORDERS_CUT_SHORT, name=name), retry_at=again)


async def _order(
    attempt: Attempt, engine: CaEngine, served: Directory, ordering: Ordering
) -> Issued:
    """Check what can be known before an order, and order."""
    server = attempt.server
    checks = Preflight(
        attempt.cert,
        ordering.site.config,
        ordering.resolver,
        served,
        server.validation,
        await engine.account_uri(),
        engine.make_account,
        lambda why: _tell(attempt, why, ordering),
        ordering.learnt.setdefault(attempt.cert, Learnt()),
    )
    aims = await checks.run(attempt.service.spec.all_names())
    # Names that lose their records to their challenge (RFC 4592 §2.2.2).
    if lost := {name: aim.wildcard for aim in aims.values() for name in aim.overshadowed}:
        names, wildcards = sorted(map(str, lost)), sorted(set(map(str, lost.values())))
        why = Reason(Failed.OVERSHADOWED, names=tuple(names), wildcards=tuple(wildcards))
        _tell(attempt, why, ordering)
    ordering.telling.ordered(attempt.cert, server.url)
    return await _Proof(attempt, aims, checks, engine, ordering).order()


class _Proof:
    """The challenges of one order: shown, and seen by all."""

    def __init__(
        self,
        attempt: Attempt,
        aims: Mapping[str, Aim],
        checks: Preflight,
        engine: CaEngine,
        ordering: Ordering,
    ) -> None:
        self._ident = secrets.token_hex(8)
        self._attempt = attempt
        self._aims = aims
        self._config, self._served = checks.config, checks.directory
        self._engine = engine
        self._ordering = ordering
        self._files = FileChallenges(
            attempt.cert, checks.config, ordering, attempt.place.home, checks
        )
        self._last: Reason | None = None

    async def order(self) -> Issued:
        """Have the engine order; return the certificate."""
        await self._files.remove_left_behind()
        challenges = self._ordering.challenges
        challenges.enter(self._ident, {aim.zone for aim in self._aims.values()})
        try:
            return await self._engine.issue(self._served, self._prove)
        finally:
            # Nothing here waits, because whoever cancels may do it twice.
            challenges.leave(self._ident)
            self._ordering.threads.in_background(self._files.remove())
            self._engine.progress(None)

    async def _prove(self, offered: Sequence[Challenge]) -> None:
        """Return when every challenge is in place and was seen there."""
        if self._attempt.is_http:
            await self._files.show(offered, self._progress)
        else:
            await self._publish(offered)
        self._progress(Reason(Doing.CA_VALIDATES))

    async def _publish(self, offered: Sequence[Challenge]) -> None:
        records: dict[ZoneName, set[TxtRecord]] = defaultdict(set)
        for challenge in offered:
            aim = self._aims[challenge.name.lower()]
            records[aim.zone].add(TxtRecord(aim.owner, challenge.value))
        wanted = {zone: frozenset(ours) for zone, ours in records.items()}
        showing = self._ordering.challenges.show(self._ident, wanted, self._progress)
        if not self._engine.takes_place:
            await showing
            return
        show = asyncio.ensure_future(showing)
        room = asyncio.ensure_future(self._make_room(len(offered)))
        try:
            await asyncio.wait({show, room}, return_when=asyncio.FIRST_COMPLETED)
            if not show.done():
                raise Transient(Reason(Failed.GAVE_PLACE, said=self._last))
            await show
        finally:
            for task in (show, room):
                task.cancel()
            await asyncio.wait({show, room})

    async def _make_room(self, number: int) -> None:
        """Return when it has waited for long and others wait for its place."""
        # Name servers that limit their answers take about a second for each name.
        delay = self._config.globals.dns_check_delay + PATIENCE + timedelta(seconds=number)
        await asyncio.sleep(delay.total_seconds())
        while not self._ordering.crowded():  # noqa: ASYNC110  (there is no event for it)
            await asyncio.sleep(LOOK_AROUND)

    def _progress(self, how: Reason) -> None:
        self._last = how
        self._engine.progress(how)
