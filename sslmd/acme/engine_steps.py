"""What the steps of the engine have in common: how the CA is asked, and what its refusals mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

from sslmd.acme import certbot
from sslmd.acme.accounts import Accounts, UsedAccount, address_of
from sslmd.acme.attempt import AccountLostError, Attempt, OrderPermit, wished_profile
from sslmd.acme.ca_problem import problem_of
from sslmd.acme.certbot_log import MOST_NAME, one_line
from sslmd.acme.directory import Directory
from sslmd.acme.permits import Question
from sslmd.acme.problems import to_error
from sslmd.acme.refusals import ProblemKind
from sslmd.core.errors import Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.net import acme_messages as messages
from sslmd.net.acme_messages import AcmeProblem, CaAddress
from sslmd.net.link import Asker, Operation
from sslmd.processes import InThread

Q = TypeVar("Q", bound=Question)
A = TypeVar("A")

# Seconds for requests, their repetitions, and another process if one dies, beside what they are
# about.
ASKING = 300.0

# Why a question did not even get to the CA (`core.failed.Failed`).
_NOT_SENT = frozenset({"unresolved", "not-trusted", "tls-failed", "ca-root-unusable"})


@dataclass(slots=True)
class EngineSteps:
    """One attempt at a CA. `net` asks it; `permit` is asked before an order is sent.

    `progress` hears what is done, `tell` event and line.
    """

    attempt: Attempt
    net: Asker
    accounts: Accounts
    permit: OrderPermit
    in_thread: InThread
    now: Callable[[], datetime]
    progress: Callable[[Reason | None], None]
    tell: Callable[[str, Reason], None]
    _account: UsedAccount | None = None
    _address: CaAddress = field(default_factory=lambda: CaAddress(""))
    _binds: bool = False
    _replaces: str = ""

    async def _begin(self, served: Directory) -> str:
        """Take what the CA says of itself; return the profile to ask for: a wish that it knows."""
        self._binds = served.external_account_required
        self._replaces = self.attempt.replaces if served.renewal_info else ""
        self._address = await self.in_thread(address_of, self.attempt.server)
        return wished_profile(self.attempt, served)

    @property
    def _of(self) -> tuple[CaAddress, messages.AcmeAccount]:
        assert self._account is not None
        return self._address, self._account.asked

    async def _asked(
        self, operation: Operation[Q, A | AcmeProblem], asked: Q, seconds: float = 0.0
    ) -> A | AcmeProblem:
        """Ask; a time that is over is a problem like others."""
        try:
            with self.accounts.signer.asking(asked):
                async with asyncio.timeout(seconds + ASKING):
                    return await self.net.call(operation, asked)
        except TimeoutError:
            return AcmeProblem("late", self.attempt.server.url)

    async def _done(
        self, operation: Operation[Q, A | AcmeProblem], asked: Q, seconds: float = 0.0
    ) -> A:
        """Ask something about an order; raises what the CA says to it, and then forgets it.

        What may pass is asked of the same order again, by a later try.
        """
        found = await self._asked(operation, asked, seconds)
        if not isinstance(found, AcmeProblem):
            return found
        if found.kind == "acme" and _is_final(found):
            await self.in_thread(certbot.clear, self.attempt.place)
        raise self._error(found)

    def _error(self, found: AcmeProblem) -> Exception:
        url, now = self.attempt.server.url, self.now()
        problem = problem_of(found, url, now, binds=self._binds)
        if problem.kind is ProblemKind.ACCOUNT_LOST:
            return AccountLostError(problem.why)
        return to_error(problem, now)

    def _odd(self, url: str, what: str, said: str = "") -> Transient:
        words = Said(one_line(said, MOST_NAME)) if said else None
        url, what = one_line(url, MOST_NAME), one_line(what, MOST_NAME)
        return Transient(Reason(Failed.CA_ODD, url=url, what=Said(what), said=words))


def was_refused(found: AcmeProblem) -> bool:
    """Whether what was asked for was certainly not done: the CA said so, or never heard of it."""
    if found.kind == "unreachable":
        return found.type in _NOT_SENT
    # An error page of a proxy says nothing of what stands behind it.
    is_page = found.kind == "http" and found.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return found.kind in ("acme", "http") and not is_page


def _is_final(found: AcmeProblem) -> bool:
    """Whether the same request would be refused again, for this order."""
    passing = ("rateLimited", "badNonce", "orderNotReady", "serverInternal")
    is_ours = HTTPStatus.BAD_REQUEST <= found.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_ours and found.status != HTTPStatus.TOO_MANY_REQUESTS and found.type not in passing
