"""New accounts at CAs: one at a time, within the CA's limit, and counted over restarts (I14).

Let's Encrypt makes ten in three hours for an address. Whoever waits for that has not failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from sslmd.acme.account_homes import Home
from sslmd.acme.certbot import AcmeServer
from sslmd.core.buckets import CaLimit, filled, free_at
from sslmd.core.errors import Paced, RateLimited
from sslmd.core.failed import Failed
from sslmd.core.holds import AccountMade, Holds, hold_of
from sslmd.core.reason import Reason, Said, Why


def _unheard(*_: object) -> None:
    """Nobody listens."""


class NewAccounts:
    """Who may make one now. `note` writes down what `holds` has; `made` hears of each."""

    def __init__(
        self, holds: Holds, now: Callable[[], datetime], note: Callable[[], Awaitable[None]]
    ) -> None:
        self.made: Callable[[AccountMade, Home], None] = _unheard
        self._holds, self._now, self._note = holds, now, note
        self._turns: dict[str, asyncio.Lock] = {}

    def turn(self, server: AcmeServer) -> asyncio.Lock:
        """Return what is held by who makes one: what a CA says to the first keeps back others."""
        return self._turns.setdefault(server.url, asyncio.Lock())

    def check(self, server: AcmeServer) -> None:
        """Raise `Paced` where the CA would make none now."""
        now = self._now()
        if (hold := self._holds.new_account(server.url, now)) is not None:
            why = Reason(
                Failed.MANY_ACCOUNTS_HELD, url=server.url, until=hold.until, why=Said(hold.said)
            )
            raise Paced(why, CaLimit.ACCOUNTS, retry_at=hold.until)
        rate = server.account_rate
        if rate is None:
            return
        times = [one.at for one in self._holds.accounts_made(server.url)]
        at = free_at(filled(times, rate, now), rate, now)
        if at > now:
            why = Reason(
                Why.CA_PACED,
                until=at,
                ca=server.ca or server.url,
                limit=str(CaLimit.ACCOUNTS),
                most=rate.most,
                every=rate.every,
            )
            raise Paced(why, CaLimit.ACCOUNTS, retry_at=at)

    async def refused(self, server: AcmeServer, err: RateLimited) -> None:
        """Take in that the CA makes no more for now."""
        now = self._now()
        if (hold := hold_of(err, server.url, "", "", now)) is not None:
            self._holds.add(hold, now)
            await self._note()

    async def count(self, server: AcmeServer, home: Home) -> None:
        """Count one that the CA has just made."""
        made = AccountMade(server.url, self._now())
        self._holds.account_made(made)
        self.made(made, home)
        await self._note()
