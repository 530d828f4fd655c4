"""What public CAs count, so that their limits are never reached.

Let's Encrypt takes five failed validations of a name per account and hour, then it refuses
the name (https://letsencrypt.org/docs/rate-limits/). Each certificate has an account of its
own, so that its own failures are all that count. It issues five certificates a week for exactly
the same names, over all accounts. Everything else that a CA limits it tells itself, with the time
when to come again, which `Trouble.binding` keeps to.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sslmd.core.state import COUNTED, ISSUED_COUNTED, FailedValidation

# The directory whose limits these are.
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

# One less than the limit: the last one is the admin's own, for another client.
MOST_FAILED = 4

# Certificates for exactly the same names in 7 days; one more every 7 d / 5 = 33 h 36 min.
MOST_ISSUED = 5
REFILL = ISSUED_COUNTED / MOST_ISSUED


def failed_too_often(
    failed: Iterable[FailedValidation], names: Iterable[str], now: datetime
) -> tuple[str, datetime] | None:
    """Return a name that failed too often to be tried now, and when it can be; None if none.

    A wildcard counts with the name below its star: it is validated there (RFC 8555 §7.1.3).
    """
    times: dict[str, list[datetime]] = defaultdict(list)
    for one in failed:
        if now - COUNTED < one.at <= now:
            times[one.name.removeprefix("*.")].append(one.at)
    worst: tuple[str, datetime] | None = None
    for name in sorted({name.removeprefix("*.") for name in names}):
        recent = sorted(times[name])
        if len(recent) >= MOST_FAILED:
            again = recent[-MOST_FAILED] + COUNTED
            if worst is None or again > worst[1]:
                worst = (name, again)
    return worst


def names_mark(names: Iterable[str]) -> str:
    """Return a short text that is the same for the same set of names, and for no other."""
    text = "\n".join(sorted({name.lower().rstrip(".") for name in names}))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Spent:
    """How much of the limit for one set of names is used. `again`: when it allows the next one."""

    used: int
    again: datetime | None = None

    def __str__(self) -> str:
        return f"{self.used} of {MOST_ISSUED} used"


def spent(issued: Iterable[datetime], now: datetime) -> Spent:
    """Return what is used at `now` of `MOST_ISSUED`, as a CA counts that refills it evenly.

    Issuances in the future (the clock was set back) count as of now.
    """
    full = None  # when the limit is full again
    for at in sorted(min(at, now) for at in issued):
        if now - at < ISSUED_COUNTED:
            full = (at if full is None else max(full, at)) + REFILL
    if full is None or full <= now:
        return Spent(0)
    used = min(math.ceil((full - now) / REFILL), MOST_ISSUED)
    again = full - REFILL * (MOST_ISSUED - 1)
    return Spent(used, again if again > now else None)
