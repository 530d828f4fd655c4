"""One order at an ACME CA, from the CSR to its certificate (RFC 8555 §7.4).

certbot speaks to the CA, the daemon publishes and proves; nothing is offered for validation
before the whole world can see it (I8). Whatever goes wrong before that ends certbot's whole
process group while its last hook still waits, so that no attempt at the CA is burnt.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from sslmd.acme import accounts, certbot, directory
from sslmd.acme.certbot import LogMark
from sslmd.acme.certbot_log import read_log
from sslmd.acme.directory import Directory
from sslmd.acme.orders import CertbotOrder
from sslmd.acme.problems import StillProcessing, limit_met
from sslmd.acme.refusals import retry_at
from sslmd.core.errors import Permanent, SslmError, Transient, ValidationFailed
from sslmd.core.names import ZoneName
from sslmd.core.records import TxtRecord
from sslmd.core.words.sentence import say
from sslmd.dns.aims import Aim
from sslmd.pki.local_ca import Issued
from sslmd.processes import Program, start
from sslmd.workers.acme_before import (
    BEGINNING,
    HANDING_IN,
    AccountLostError,
    Attempt,
    check_issued,
    cleared,
    count_offered,
    problem_of,
)
from sslmd.workers.http import FileChallenges
from sslmd.workers.preflight import Preflight
from sslmd.workers.tools import Ordering

# For the CA to validate and to issue. certbot has limits of its own; this is for one that hangs.
ISSUING = timedelta(minutes=40)

# For an interrupted order to be fetched: longer than `resume` waits for a CA that answers.
RESUMING = timedelta(minutes=3)

# An order that waits longer than this for name servers, beyond `dns_check_delay`, makes room
# where others wait for its place: a zone that is broken must not keep out the rest (I6).
PATIENCE = timedelta(minutes=5)
LOOK_AROUND = 5.0  # seconds

# Names that a text names.
_TOLD = 5


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
    in_thread = ordering.threads.in_thread
    try:
        found = await in_thread(certbot.collect, attempt.place, attempt.csr, attempt.server)
    except SslmError:
        await in_thread(certbot.clear, attempt.place)
        raise
    if found is not None:
        await in_thread(certbot.forget_offered, attempt.place)
        served = Directory()
        with suppress(SslmError):  # it is there: what its CA says of itself is for remarks alone
            served = await directory.fetch(
                attempt.server.url, attempt.server.root, ordering.threads.aside
            )
        return Obtained(found, served)
    auth_hook = ordering.site.config.globals.auth_hook
    programs = certbot.find_certbot(), certbot.find_hook(auth_hook)
    served = await directory.fetch(attempt.server.url, attempt.server.root, ordering.threads.aside)
    if (resumed := await _resume(attempt, served, ordering)) is not None:
        await in_thread(certbot.forget_offered, attempt.place)
        return Obtained(resumed, served)
    await count_offered(attempt, ordering)
    check_issued(attempt, ordering)
    checks, aims = await cleared(attempt, served, programs, ordering)
    _tell_overshadowed(attempt, aims, ordering)
    obtained = await _order(attempt, aims, checks, programs, served, ordering)
    ordering.learnt.pop(attempt.cert, None)
    return obtained


def _tell_overshadowed(attempt: Attempt, aims: Mapping[str, Aim], ordering: Ordering) -> None:
    """Report names that lose their records to their challenge (RFC 4592 §2.2.2)."""
    names = {name: aim.wildcard for aim in aims.values() for name in aim.overshadowed}
    if not names:
        return
    some = ", ".join(map(str, sorted(names)[:_TOLD]))
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    wildcards = ", ".join(sorted({str(wildcard) for wildcard in names.values()}))
    ordering.telling.tell(
        "order-trouble",
        f"{attempt.label}{some}{more}: all records come from {wildcards}, and are gone while a "
        "challenge is in DNS below the name; give it records of its own, or order the wildcard",
        attempt.cert,
    )


async def _order(
    attempt: Attempt,
    aims: Mapping[str, Aim],
    checks: Preflight,
    programs: tuple[str, str],
    served: Directory,
    ordering: Ordering,
) -> Obtained:
    try:
        return Obtained(await _Run(attempt, aims, checks, programs, ordering).run(), served)
    except AccountLostError:
        aside = await ordering.threads.in_thread(
            accounts.set_account_aside, attempt.place.home, attempt.server.url
        )
        text = f"{attempt.label}the CA does not know our account any more: set aside as {aside}"
        ordering.telling.tell("order-trouble", f"{text}; another is made", attempt.cert)
    # CAA records may allow just the account that is gone.
    checks, aims = await cleared(attempt, served, programs, ordering)
    try:
        return Obtained(await _Run(attempt, aims, checks, programs, ordering).run(), served)
    except AccountLostError as err:
        raise Transient(f"the CA does not know the account that it has just made: {err}") from None


async def _resume(attempt: Attempt, served: Directory, ordering: Ordering) -> Issued | None:
    """Return the certificate of an order that was cut short, None if there is none to be had."""
    in_thread = ordering.threads.in_thread
    url = await in_thread(
        certbot.interrupted,
        attempt.place,
        attempt.csr,
        attempt.server,
        served.new_order,
        ordering.site.now(),
    )
    if not url:
        return None
    ordering.telling.progress(attempt.cert, f"{attempt.label}takes up the order {url}")
    argv = await in_thread(certbot.resume_command, attempt.server, attempt.place, url)
    program = await start(
        argv,
        cwd=attempt.place.home,
        env=certbot.environment(attempt.server, attempt.place),
        umask=0o077,
    )
    try:
        async with asyncio.timeout(RESUMING.total_seconds()):
            status = await program.wait()
        await program.rest_of_output()
    except TimeoutError:
        raise Transient(
            f"the CA does not tell how the order {url} went; it is asked again"
        ) from None
    finally:
        await program.end()
        ordering.telling.progress(attempt.cert, "")
    if status == 0:
        return await in_thread(certbot.collect, attempt.place, attempt.csr, attempt.server)
    if status in (certbot.NOTHING_TO_RESUME, certbot.RESUME_INVALID):
        return None
    if status == certbot.RESUME_PROCESSING:
        await in_thread(certbot.note_open, attempt.place, url)
        again = retry_at(program.text.partition("Retry-After:")[2].strip(), ordering.site.now())
        raise Transient(
            f"the CA is still at work on the order {url}; it is kept and asked for again",
            retry_at=again,
        )
    # It may be there all the same: another order would be one too many.
    limit = limit_met(status, program.text)
    why = say(limit) if limit is not None else program.said
    raise Transient(f"the order {url} cannot be taken up now: {why}")


class _Run:
    """One run of certbot."""

    def __init__(
        self,
        attempt: Attempt,
        aims: Mapping[str, Aim],
        checks: Preflight,
        programs: tuple[str, str],
        ordering: Ordering,
    ) -> None:
        config = checks.config
        self._attempt = attempt
        self._aims = aims
        self._config = config
        self._certbot, self._hook = programs
        self._ordering = ordering
        names = [str(name) for name in attempt.service.spec.all_names()]
        self._order = CertbotOrder(attempt.cert, names, http=attempt.is_http)
        self._files = FileChallenges(attempt.cert, config, ordering, attempt.place.home, checks)
        self._last = ""
        self._before: LogMark = None
        self._is_offered = False

    async def run(self) -> Issued:
        attempt, threads = self._attempt, self._ordering.threads
        await self._files.remove_left_behind()
        await threads.in_thread(certbot.prepare, attempt.place, attempt.csr, attempt.server)
        try:
            said = await self._run_certbot()
            issued = await threads.in_thread(
                certbot.collect, attempt.place, attempt.csr, attempt.server
            )
        except StillProcessing as err:
            await threads.in_thread(certbot.note_open, attempt.place, err.order)
            raise
        except (SslmError, AccountLostError) as err:
            # Where nobody knows how it went, the CA may have issued: the next try asks it, in place
            # of ordering once more (I14). Else it came to its end: there is nothing to take up.
            is_open = isinstance(err, Transient) and not isinstance(err, ValidationFailed)
            if not (self._is_offered and is_open):
                await threads.in_thread(certbot.clear, attempt.place)
            raise
        if issued is None:
            raise Transient(f"certbot ended well, but left no certificate: {said}")
        return issued

    async def _run_certbot(self) -> str:
        """Return what certbot said when it ended well; raises what it failed with."""
        attempt, ordering, order = self._attempt, self._ordering, self._order
        argv = await ordering.threads.in_thread(
            certbot.command, attempt.server, attempt.place, self._hook, self._certbot
        )
        self._before = await ordering.threads.in_thread(certbot.log_mark, attempt.place)
        ordering.orders.begin(order)
        ordering.challenges.enter(order.ident, {aim.zone for aim in self._aims.values()})
        program = None
        try:
            env = certbot.environment(attempt.server, attempt.place, order, ordering.socket)
            program = await start(argv, cwd=attempt.place.home, env=env, umask=0o077)
            order.group, order.end = program.pid, program.kill
            self._progress(f"order at {attempt.server.url}")
            status = await self._accompany(program)
            await program.rest_of_output()
        finally:
            # First of all: what is killed cannot offer anything any more. Nothing here waits until
            # all is let go, because whoever cancels may do it twice.
            if program is not None:
                program.kill()
            ordering.orders.end(order)
            ordering.challenges.leave(order.ident)
            ordering.threads.in_background(self._files.remove())
            self._progress("")
            if program is not None:
                await program.end()
        if order.problem:
            raise Transient(order.problem)
        if status != 0:
            raise await problem_of(attempt, status, program.text, self._before, self._ordering)
        return program.said

    async def _accompany(self, program: Program) -> int:
        """Publish and prove what certbot hands in; return its exit status."""
        order = self._order
        exited = asyncio.ensure_future(program.wait())
        complete = asyncio.ensure_future(order.complete.wait())
        showing: asyncio.Future[None] | None = None
        begun = asyncio.ensure_future(order.begun.wait())
        try:
            await _first(BEGINNING, exited, complete, begun)
            if not (exited.done() or complete.done() or begun.done()):
                await self._past_challenges()
            await _first(HANDING_IN - BEGINNING, exited, complete)
            if exited.done():
                return exited.result()  # it failed; or the CA had nothing left to validate
            if not complete.done():
                minutes = HANDING_IN.total_seconds() / 60
                raise Transient(
                    f"certbot handed in {len(order.challenges)} challenges and no more within "
                    f"{minutes:g} min: {program.said}"
                )
            if order.problem:
                raise Permanent(order.problem)
            showing = asyncio.ensure_future(self._show())
            await _first(None, exited, showing)
            if showing.done():
                await showing
            else:
                return exited.result()
            self._progress("every challenge is in place; the CA validates")
            place = self._attempt.place
            names = sorted({one.name for one in order.challenges})
            await self._ordering.threads.in_thread(certbot.note_offered, place, names)
            self._is_offered = True
            order.go_ahead()
            await _first(ISSUING, exited)
            if exited.done() and exited.result() >= 0:
                await self._ordering.threads.in_thread(certbot.forget_offered, place)
            if not exited.done():
                minutes = ISSUING.total_seconds() / 60
                raise Transient(f"certbot did not end within {minutes:g} min: {program.said}")
            return exited.result()
        finally:
            for task in (exited, begun, complete, showing):
                if task is not None and not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError, SslmError):
                        await task

    async def _past_challenges(self) -> None:
        """Raise `Transient` unless the CA wants no challenges, and is at work on the order."""
        log = await self._ordering.threads.in_thread(
            certbot.read_log, self._attempt.place, self._before
        )
        if not (await self._ordering.threads.in_thread(read_log, log)).is_validated:
            raise Transient(
                f"the CA at {self._attempt.server.url} asked for no challenge within "
                f"{BEGINNING.seconds} s, and certbot was ended; it is asked again"
            )
        self._is_offered = True  # it may issue, whatever becomes of certbot

    async def _show(self) -> None:
        """Return when every challenge is in place and was seen there."""
        if self._attempt.is_http:
            await self._files.show(self._order.challenges, self._progress)
            return
        records: dict[ZoneName, set[TxtRecord]] = defaultdict(set)
        for challenge in self._order.challenges:
            aim = self._aims[challenge.name.lower()]
            records[aim.zone].add(TxtRecord(aim.owner, challenge.value))
        wanted = {zone: frozenset(ours) for zone, ours in records.items()}
        show = asyncio.ensure_future(
            self._ordering.challenges.show(self._order.ident, wanted, self._progress)
        )
        room = asyncio.ensure_future(self._make_room())
        try:
            await asyncio.wait({show, room}, return_when=asyncio.FIRST_COMPLETED)
            if not show.done():
                raise Transient(
                    f"gave its place to other orders, after waiting too long: {self._last}"
                )
            await show
        finally:
            for task in (show, room):
                task.cancel()
            await asyncio.wait({show, room})

    async def _make_room(self) -> None:
        """Return when it has waited for long and others wait for its place."""
        # Name servers that limit their answers take about a second for each name.
        names = timedelta(seconds=len(self._order.challenges))
        delay = self._config.globals.dns_check_delay + PATIENCE + names
        await asyncio.sleep(delay.total_seconds())
        while not self._ordering.crowded():  # noqa: ASYNC110  (there is no event for it)
            await asyncio.sleep(LOOK_AROUND)

    def _progress(self, text: str) -> None:
        self._last = text or self._last
        self._ordering.telling.progress(
            self._attempt.cert, f"{self._attempt.label}{text}" if text else ""
        )


async def _first(limit: timedelta | None, *futures: asyncio.Future) -> None:  # type: ignore[type-arg]
    """Return when one of `futures` is done, or after `limit`."""
    seconds = None if limit is None else limit.total_seconds()
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
