"""Limits of a CA as token buckets, and what fits into them (I14).

Of a bucket that is refilled evenly one moment is all that has to be known: when it is full again
(the "theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371). One more taken
moves that by `Rate.refill`, and can be taken as long as it then lies no more than `Rate.every`
ahead. A clock that is set does no harm: what lies further ahead counts as a bucket that is empty.

Let's Encrypt's limits: https://letsencrypt.org/docs/rate-limits/ (of 2026-08-05). Renewals, which
are orders for exactly the names of an older certificate, are free of `FREE_OF_RENEWALS`; an order
that says what it `replaces` (RFC 9773 §5), within the CA's window, of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class CaLimit(StrEnum):
    """What a CA limits."""

    ACCOUNTS = "accounts"  # new accounts of an address
    ORDERS = "orders"  # new orders of an account
    FAILED = "failed"  # failed validations of a name and an account
    NAMES = "names"  # certificates for exactly the same names, over all accounts
    DOMAIN = "domain"  # certificates of a registered domain, over all accounts


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a span, refilled evenly: `300/3h`."""

    most: int
    every: timedelta

    @property
    def refill(self) -> timedelta:
        """The span after which one more is allowed, rounded up."""
        return self.every / self.most + timedelta(microseconds=1)


Rates = Mapping[CaLimit, Rate]
NO_RATES: Rates = {}

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

# The directories of Let's Encrypt.
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

# What is taken of a name's failed validations where nothing is known of a CA.
ANY_FAILED = Rate(5, _HOUR)

KNOWN: Mapping[str, Rates] = {
    LETS_ENCRYPT: {
        CaLimit.ACCOUNTS: Rate(10, 3 * _HOUR),
        CaLimit.ORDERS: Rate(300, 3 * _HOUR),
        CaLimit.FAILED: ANY_FAILED,
        CaLimit.NAMES: Rate(5, 7 * _DAY),
        CaLimit.DOMAIN: Rate(50, 7 * _DAY),
    },
    # https://letsencrypt.org/docs/staging-environment/ (of 2026-04-10). Nobody gets near its limits
    # of certificates: 30,000 a week for a set of names, as many a second for a domain.
    LETS_ENCRYPT_STAGING: {
        CaLimit.ACCOUNTS: Rate(50, 3 * _HOUR),
        CaLimit.ORDERS: Rate(1500, 3 * _HOUR),
        CaLimit.FAILED: Rate(200, _HOUR),
    },
}

FREE_OF_RENEWALS = frozenset({CaLimit.ORDERS, CaLimit.DOMAIN})


def rates_of(server: str, given: Mapping[CaLimit, Rate | None]) -> Rates:
    """Return the limits of a CA: those that are known of its directory, and those `given`.

    None takes one away.
    """
    found = dict(KNOWN.get(server, {CaLimit.FAILED: ANY_FAILED}))
    for limit, rate in given.items():
        if rate is None:
            found.pop(limit, None)
        else:
            found[limit] = rate
    return found


def is_free(server: str, limit: CaLimit, *, renewal: bool, replaces: bool) -> bool:
    """Whether an order is free of a limit. Other CAs say nothing of that: there all count."""
    if server != LETS_ENCRYPT:
        return False
    return replaces or (renewal and limit in FREE_OF_RENEWALS)


# --- one bucket ----------------------------------------------------------------------------


def taken(full: datetime | None, rate: Rate, now: datetime) -> datetime:
    """Return when a bucket is full again after one more was taken. `full`: when it was before."""
    return _level(full, rate, now) + rate.refill


def free_at(full: datetime | None, rate: Rate, now: datetime, ahead: int = 0) -> datetime:
    """Return when one more can be taken, after `ahead` others that go first."""
    return max(now, _level(full, rate, now) + rate.refill * (ahead + 1) - rate.every - _LEEWAY)


# `Rate.refill` is rounded up: not so that the last of them has to wait.
_LEEWAY = timedelta(milliseconds=10)


def filled(events: Iterable[datetime], rate: Rate, now: datetime) -> datetime | None:
    """Return when a bucket is full again of which one was taken at each of `events`.

    What lies in the future (the clock was set back) counts as of now.
    """
    full: datetime | None = None
    for at in sorted(min(at, now) for at in events):
        if now - at < rate.every:
            full = (at if full is None else max(full, at)) + rate.refill
    return None if full is None else min(full, now + rate.every + _LEEWAY)


def _level(full: datetime | None, rate: Rate, now: datetime) -> datetime:
    return now if full is None else max(now, min(full, now + rate.every + _LEEWAY))


# A limit, and whose bucket it is: of a directory, and what it counts for there.
Key = tuple[CaLimit, tuple[str, str]]
