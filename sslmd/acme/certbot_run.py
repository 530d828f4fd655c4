"""Orders by certbot, from the request to the certificate (RFC 8555 §7.4).

`Certbot` is what a worker asks for a certificate. It hands the challenges to `prove`, which returns
when the whole world can see them; nothing is offered to the CA before (I8). Whatever goes wrong
before that ends certbot's whole process group while its last hook still waits, so that no attempt
at the CA is burnt. Who may order, where records belong and who waits for whom is the worker's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

from sslmd.acme import accounts, certbot
from sslmd.acme.attempt import AccountLostError, Attempt, Prove
from sslmd.acme.certbot import LogMark
from sslmd.acme.certbot_log import read_log
from sslmd.acme.directory import Directory
from sslmd.acme.orders import CertbotOrder, Orders
from sslmd.acme.problems import StillProcessing, limit_met, read_problem, to_error
from sslmd.acme.refusals import ProblemKind, retry_at
from sslmd.core.errors import Permanent, SslmError, Transient, ValidationFailed
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.core.told import Doing
from sslmd.pki.local_ca import Issued
from sslmd.processes import InThread, Program, start

P = ParamSpec("P")
T = TypeVar("T")

# For certbot to register, to order, and to hand in its first challenge: a few questions to the CA,
# of which a silent one, or one that sends a byte now and then, would have the answers for ever.
BEGINNING = timedelta(seconds=60)

# For it to hand in every challenge: each has a hook of its own.
HANDING_IN = timedelta(minutes=10)

# For the CA to validate and to issue. certbot has limits of its own; this is for one that hangs.
ISSUING = timedelta(minutes=40)

# For an interrupted order to be fetched: longer than `resume` waits for a CA that answers.
RESUMING = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Certbot:
    """Gets the certificate of one attempt by running certbot.

    `program` and `hook`: their paths; `socket`: where its hooks find the daemon, which finds the
    order in `orders`; `progress` hears what is done, `tell` event and line.
    """

    attempt: Attempt
    program: str
    hook: str
    socket: str
    orders: Orders
    in_thread: InThread
    now: Callable[[], datetime]
    progress: Callable[[Reason | None], None]
    tell: Callable[[str, Reason], None]
    accounts: accounts.Accounts

    @property
    def takes_place(self) -> bool:
        """It is a process."""
        return True

    async def account_uri(self) -> str:
        """Return the URL of the account, "" without one."""
        home, server = self.attempt.place.home, self.attempt.server
        await self.accounts.linked(server, home, make=False)
        return await self.in_thread(accounts.account_uri, home, server.url)

    async def lose_account(self) -> None:
        """Set it aside; certbot makes another."""
        home, url = self.attempt.place.home, self.attempt.server.url
        shared = await self.accounts.linked(self.attempt.server, home, make=False)
        if shared is not None:
            await self.accounts.lost(shared)
            return
        lost = await self.in_thread(accounts.set_account_aside, home, url, self.now())
        self.tell("order-trouble", Reason(Failed.ACCOUNT_LOST, aside=lost))

    async def issue(self, served: Directory, prove: Prove) -> Issued:
        """Order the certificate, and return it (`CaEngine.issue`)."""
        del served
        attempt, place = self.attempt, self.attempt.place
        await self.accounts.linked(attempt.server, place.home, make=True)
        await self.in_thread(certbot.prepare, place, attempt.csr, attempt.server)
        run = _Run(self)
        try:
            said = await run.run(prove)
            issued = await self.in_thread(certbot.collect, place, attempt.csr, attempt.server)
        except StillProcessing as err:
            await self.in_thread(certbot.note_open, place, err.order)
            raise
        except (SslmError, AccountLostError) as err:
            # Where nobody knows how it went, the CA may have issued: the next try asks it, in place
            # of ordering once more (I14). Else it came to its end: there is nothing to take up.
            is_open = isinstance(err, Transient) and not isinstance(err, ValidationFailed)
            if not (run.is_offered and is_open):
                await self.in_thread(certbot.clear, place)
            raise
        if issued is None:
            raise Transient(Reason(Failed.NO_CERTIFICATE_LEFT, said=Said(said)))
        return issued

    async def take_up(self, served: Directory) -> Issued | None:
        """Return the certificate of an order that was cut short, None if there is none to be had.

        Raises `Transient` where it may be there later.
        """
        attempt, place, new_order = self.attempt, self.attempt.place, served.new_order
        server, csr = attempt.server, attempt.csr
        await self.accounts.linked(server, place.home, make=False)
        url = await self.in_thread(certbot.interrupted, place, csr, server, new_order, self.now())
        if not url:
            return None
        self.progress(Reason(Doing.TAKES_UP, order=url))
        argv = await self.in_thread(certbot.resume_command, server, place, url)
        late = Reason(Failed.ORDER_UNTOLD, order=url)
        try:
            status, program = await self._ended(argv, RESUMING, late)
        finally:
            self.progress(None)
        if status == 0:
            return await self.in_thread(certbot.collect, place, csr, server)
        if status in (certbot.NOTHING_TO_RESUME, certbot.RESUME_INVALID):
            return None
        if status == certbot.RESUME_PROCESSING:
            await self.in_thread(certbot.note_open, place, url)
            again = retry_at(program.text.partition("Retry-After:")[2].strip(), self.now())
            raise Transient(Reason(Failed.ORDER_OPEN, order=url), retry_at=again)
        # It may be there all the same: another order would be one too many.
        why = limit_met(status, program.text) or Said(program.said)
        raise Transient(Reason(Failed.ORDER_NOT_TAKEN_UP, order=url, why=why))

    async def make_account(self) -> str:
        """Make an account at the CA before anything is ordered; return its URL.

        Raises `Transient` or `Permanent` in the CA's own words.
        """
        place, server = self.attempt.place, self.attempt.server
        self.progress(Reason(Doing.MAKES_ACCOUNT, url=server.url))
        if (shared := await self.accounts.linked(server, place.home, make=True)) is not None:
            self.progress(None)
            return shared.uri
        await self.in_thread(certbot.prepare, place, self.attempt.csr, server)
        try:
            before = await self.in_thread(certbot.log_mark, place)
            argv = certbot.register_command(server, place, self.program)
            late = Reason(Failed.NO_ACCOUNT_MADE, url=server.url, seconds=BEGINNING.seconds)
            status, program = await self._ended(argv, BEGINNING, late)
            if status != 0:
                raise await self.problem(status, program.text, before)
        finally:
            self.progress(None)
            await self.in_thread(certbot.clear, place)
        account = await self.in_thread(accounts.account_uri, place.home, server.url)
        if not account:
            said = Said(program.said)
            raise Transient(Reason(Failed.NO_ACCOUNT_LEFT, url=server.url, said=said))
        self.tell("account-made", Reason(Failed.ACCOUNT_MADE, account=account))
        return account

    async def _ended(
        self, argv: Sequence[str], limit: timedelta, late: Reason
    ) -> tuple[int, Program]:
        """Run a command to its end; `late`: what to raise where it takes longer than `limit`."""
        place = self.attempt.place
        env = certbot.environment(self.attempt.server, place)
        program = await start(argv, cwd=place.home, env=env, umask=0o077)
        try:
            async with asyncio.timeout(limit.total_seconds()):
                status = await program.wait()
            await program.rest_of_output()
        except TimeoutError:
            raise Transient(late) from None
        finally:
            await program.end()
        return status, program

    async def problem(self, status: int, output: str, before: LogMark) -> Exception:
        """Return what to raise for a certbot that failed; its log must not be as `before`."""
        log = await self.in_thread(certbot.read_log, self.attempt.place, before)
        url, now = self.attempt.server.url, self.now()
        # The words of a CA are long, if it wants.
        problem = await self.in_thread(read_problem, status, output, log, now, url)
        if problem.kind is ProblemKind.ACCOUNT_LOST:
            return AccountLostError(problem.why)
        return to_error(problem, now)


class _Run:
    """One run of certbot for an order. `is_offered`: the CA may issue, whatever becomes of it."""

    def __init__(self, engine: Certbot) -> None:
        attempt = engine.attempt
        self._engine = engine
        self._attempt = attempt
        self._in_thread = engine.in_thread
        names = [str(name) for name in attempt.service.spec.all_names()]
        self._order = CertbotOrder(attempt.cert, names, http=attempt.is_http)
        self._before: LogMark = None
        self.is_offered = False

    async def run(self, prove: Prove) -> str:
        """Return what certbot said when it ended well; raises what it failed with."""
        engine, order = self._engine, self._order
        server, place = self._attempt.server, self._attempt.place
        argv = await self._in_thread(certbot.command, server, place, engine.hook, engine.program)
        self._before = await self._in_thread(certbot.log_mark, place)
        engine.orders.begin(order)
        program = None
        try:
            env = certbot.environment(server, place, order, engine.socket)
            program = await start(argv, cwd=place.home, env=env, umask=0o077)
            order.group, order.end = program.pid, program.kill
            engine.progress(Reason(Doing.ORDER_AT, url=server.url))
            status = await self._accompany(program, prove)
            await program.rest_of_output()
        finally:
            # First of all: what is killed cannot offer anything any more. Whoever cancels may do it
            # twice, so that what waits comes last.
            engine.orders.end(order)
            if program is not None:
                program.kill()
                await program.end()
        if order.problem is not None:
            raise Transient(order.problem)
        if status != 0:
            raise await engine.problem(status, program.text, self._before)
        return program.said

    async def _accompany(self, program: Program, prove: Prove) -> int:
        """Have proven what certbot hands in; return its exit status."""
        order, place = self._order, self._attempt.place
        exited = asyncio.ensure_future(program.wait())
        complete = asyncio.ensure_future(order.complete.wait())
        begun = asyncio.ensure_future(order.begun.wait())
        proven: asyncio.Future[None] | None = None
        try:
            await _first(BEGINNING, exited, complete, begun)
            if not (exited.done() or complete.done() or begun.done()):
                await self._past_challenges()
            await _first(HANDING_IN - BEGINNING, exited, complete)
            if exited.done():
                return exited.result()  # it failed; or the CA had nothing left to validate
            if not complete.done():
                number, said = len(order.challenges), Said(program.said)
                raise Transient(
                    Reason(Failed.CHALLENGES_SHORT, number=number, limit=HANDING_IN, said=said)
                )
            if order.problem is not None:
                raise Permanent(order.problem)
            proven = asyncio.ensure_future(prove(order.challenges))
            await _first(None, exited, proven)
            if not proven.done():
                return exited.result()
            await proven
            names = sorted({one.name for one in order.challenges})
            await self._in_thread(certbot.note_offered, place, names)
            self.is_offered = True
            order.go_ahead()
            await _first(ISSUING, exited)
            if not exited.done():
                said = Said(program.said)
                raise Transient(Reason(Failed.CERTBOT_HANGS, limit=ISSUING, said=said))
            if exited.result() >= 0:
                await self._in_thread(certbot.forget_offered, place)
            return exited.result()
        finally:
            for task in (exited, begun, complete, proven):
                if task is not None and not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError, SslmError):
                        await task

    async def _past_challenges(self) -> None:
        """Raise `Transient` unless the CA wants no challenges, and is at work on the order."""
        log = await self._in_thread(certbot.read_log, self._attempt.place, self._before)
        if not (await self._in_thread(read_log, log)).is_validated:
            url, seconds = self._attempt.server.url, BEGINNING.seconds
            raise Transient(Reason(Failed.NO_CHALLENGE, url=url, seconds=seconds))
        self.is_offered = True


async def _first(limit: timedelta | None, *futures: asyncio.Future) -> None:  # type: ignore[type-arg]
    """Return when one of `futures` is done, or after `limit`."""
    seconds = None if limit is None else limit.total_seconds()
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
