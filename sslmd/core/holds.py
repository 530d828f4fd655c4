"""What CAs asked to be left alone with, and until when: a 429's Retry-After (I14).

It holds what it speaks of (`core.buckets.Key`): an account, its names, a domain, new accounts, or
all of a CA; not one certificate after the other, that each run into it. Noted, so that it counts
over restarts. Beside it stands which accounts were made: a CA counts those of an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.buckets import CaLimit, Key
from sslmd.core.errors import CLOCK_TOLERANCE, RateLimited, is_over
from sslmd.core.reason import Reason, Said, Why

# A CA that does not say what it speaks of holds all that is asked of it for so long at most.
LONGEST_OF_ALL = timedelta(hours=1)

MOST_HOLDS = 1000

# No CA says more (`acme.refusals.LONGEST`).
LONGEST = timedelta(days=7, minutes=1)

# New accounts that are noted, and for how long: as long as a limit can count them.
MOST_MADE = 1000
COUNTED = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class CaHold:
    """`limit` of `whose` bucket ("": all of them) at the CA of this directory; `said`: its words.

    `limit` "": the CA as a whole. `at`: when it said so.
    """

    server: str
    until: datetime
    limit: str = ""
    whose: str = ""
    said: str = ""
    at: datetime | None = None

    def reason(self, ca: str) -> Reason:
        """Return it as a reason to wait."""
        return Reason(Why.CA_HOLD, until=self.until, ca=ca, why=Said(self.said) or None)

    def holds(self, now: datetime) -> bool:
        """Whether it counts: not when it is over, nor where it would be waited for twice as long.

        That is so where the clock was set back.
        """
        longest = LONGEST
        if self.at is not None:
            longest = max(min(self.until - self.at, LONGEST) * 2, CLOCK_TOLERANCE)
        return not is_over(self.until, now, longest)


@dataclass(frozen=True, slots=True)
class AccountMade:
    """An account that the CA with the directory `server` made, and counts."""

    server: str
    at: datetime


def name_key(server: str, account: str, name: str) -> Key:
    """Return whose bucket the failed validations of a name are in: the account's (RFC 8555 §7.1.3).

    A wildcard is validated as the name below its star.
    """
    return CaLimit.FAILED, (server, f"{account} {name.removeprefix('*.').lower()}")


def hold_of(err: RateLimited, server: str, account: str, mark: str, now: datetime) -> CaHold | None:
    """Return what an error holds beside the certificate that met it, None if nothing.

    `account`: whose orders, as the buckets have it; `mark`: the certificate's set of names.
    """
    if err.retry_at is None:
        return None
    until, said = err.retry_at, str(err)
    if not err.limit:
        until = min(until, now + LONGEST_OF_ALL)
        return CaHold(server, until, said=said, at=now)
    whose = ""
    match CaLimit(err.limit):
        case CaLimit.ORDERS:
            whose = account
        case CaLimit.NAMES:
            whose = mark
        case CaLimit.DOMAIN | CaLimit.FAILED if not err.whose:
            return None  # nobody knows which: who met it waits
        case CaLimit.DOMAIN:
            whose = err.whose.lower()
        case CaLimit.FAILED:
            _, (_, whose) = name_key(server, account, err.whose)
        case CaLimit.ACCOUNTS:
            pass
    return CaHold(server, until, err.limit, whose, said, now)


class Holds:
    """All of them, and the accounts that were made."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, str], CaHold] = {}
        self._made: list[AccountMade] = []

    def add(self, hold: CaHold, now: datetime) -> None:
        """Take one in; what is over goes. Of too many, those that are over first go."""
        self._purge(now)
        key = (hold.server, hold.limit, hold.whose)
        there = self._held.get(key)
        if not hold.holds(now) or (there is not None and there.until >= hold.until):
            return
        if there is None and len(self._held) >= MOST_HOLDS:
            # What a CA holds as a whole is never lost to what it says of single names.
            some = [one for one in self._held if one[1]] or list(self._held)
            self._held.pop(min(some, key=lambda one: self._held[one].until))
        self._held[key] = hold

    def _purge(self, now: datetime) -> None:
        """Forget what is over, and what was noted by a clock that was set back since."""
        if any(not one.holds(now) for one in self._held.values()):
            self._held = {key: one for key, one in self._held.items() if one.holds(now)}

    def noted(self) -> tuple[CaHold, ...]:
        """Return all, to be noted."""
        return tuple(self._held.values())

    def of(self, server: str, keys: Iterable[Key], now: datetime) -> CaHold | None:
        """Return what holds an order that takes from these buckets longest, None if nothing."""
        self._purge(now)
        if not self._held:
            return None
        found = [self._held.get((server, "", ""))]
        for limit, (where, whose) in keys:
            found += [self._held.get((where, limit, one)) for one in _names_of(limit, whose)]
        held = [one for one in found if one is not None]
        return max(held, key=lambda one: one.until, default=None)

    def new_account(self, server: str, now: datetime) -> CaHold | None:
        """Return what keeps from another account at a CA."""
        return self.of(server, [(CaLimit.ACCOUNTS, (server, ""))], now)

    # --- accounts that were made ---

    def account_made(self, made: AccountMade) -> None:
        """Take in that a CA made one."""
        kept = [one for one in self._made if abs(made.at - one.at) < COUNTED]
        self._made = [*kept, made][-MOST_MADE:]

    def accounts_made(self, server: str = "") -> list[AccountMade]:
        """Return those that were made at a CA, or everywhere."""
        return [one for one in self._made if server in ("", one.server)]


def _names_of(limit: CaLimit, whose: str) -> Iterator[str]:
    """Yield by which names a CA may mean a bucket.

    Its registered domain may be above a zone of ours, which stands for one here.
    """
    yield whose
    if limit is CaLimit.DOMAIN:
        labels = whose.split(".")
        for start in range(1, len(labels)):
            yield ".".join(labels[start:])
