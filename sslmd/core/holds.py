"""What CAs asked to be left alone with, and until when: a 429's Retry-After (I14).

It holds what it speaks of (`core.buckets.Key`): an account, its names, a domain, new accounts, or
all of a CA; not one certificate after the other, that each run into it. Noted, so that it counts
over restarts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.buckets import CaLimit, Key
from sslmd.core.errors import RateLimited
from sslmd.core.reason import Reason, Said, Why

# A CA that does not say what it speaks of holds all that is asked of it for so long at most.
LONGEST_OF_ALL = timedelta(hours=1)

MOST_HOLDS = 1000


@dataclass(frozen=True, slots=True)
class CaHold:
    """`limit` of `whose` bucket ("" : all of them) at the CA of this directory; `said`: its words.

    `limit` "": the CA as a whole.
    """

    server: str
    until: datetime
    limit: str = ""
    whose: str = ""
    said: str = ""

    def reason(self, ca: str) -> Reason:
        """Return it as a reason to wait."""
        return Reason(Why.CA_HOLD, until=self.until, ca=ca, why=Said(self.said) or None)


def hold_of(err: RateLimited, server: str, account: str, mark: str, now: datetime) -> CaHold | None:
    """Return what an error holds beside the certificate that met it, None if nothing.

    `account`: whose orders, as the buckets have it; `mark`: the certificate's set of names.
    """
    if err.retry_at is None:
        return None
    until, said = err.retry_at, str(err)
    if not err.limit:
        until = min(until, now + LONGEST_OF_ALL)
        return CaHold(server, until, said=said)
    buckets = {CaLimit.ORDERS: account, CaLimit.NAMES: mark, CaLimit.DOMAIN: err.whose}
    if err.limit == CaLimit.FAILED or (err.limit == CaLimit.DOMAIN and not err.whose):
        return None  # of one name: who has it knows
    return CaHold(server, until, err.limit, buckets.get(CaLimit(err.limit), ""), said)


# No CA says more (`acme.refusals.LONGEST`).
LONGEST = timedelta(days=7, minutes=1)


class Holds:
    """All of them."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, str], CaHold] = {}

    def add(self, hold: CaHold, now: datetime) -> None:
        """Take one in; what is over goes."""
        self._purge(now)
        key = (hold.server, hold.limit, hold.whose)
        there = self._held.get(key)
        if len(self._held) < MOST_HOLDS and (there is None or there.until < hold.until):
            self._held[key] = hold

    def _purge(self, now: datetime) -> None:
        """Forget what is over, and what was noted by a clock that was set back since."""
        held = self._held.items()
        self._held = {key: one for key, one in held if now < one.until <= now + LONGEST}

    def noted(self) -> tuple[CaHold, ...]:
        """Return all, to be noted."""
        return tuple(self._held.values())

    def of(self, server: str, keys: Iterable[Key], now: datetime) -> CaHold | None:
        """Return what holds an order that takes from these buckets longest, None if nothing."""
        self._purge(now)
        found = [self._held.get((server, "", ""))]
        found += [self._held.get((whose[0], str(limit), whose[1])) for limit, whose in keys]
        held = [one for one in found if one is not None]
        return max(held, key=lambda one: one.until, default=None)

    def new_account(self, server: str, now: datetime) -> CaHold | None:
        """Return what keeps from another account at a CA."""
        return self.of(server, [(CaLimit.ACCOUNTS, (server, ""))], now)
