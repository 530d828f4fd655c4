"""What public CAs count, so that their limits are never reached.

Let's Encrypt takes five failed validations of a name per account and hour, then it refuses
the name (https://letsencrypt.org/docs/rate-limits/). Each certificate has an account of its
own, so that its own failures are all that count. Everything else that a CA limits it tells
itself, with the time when to come again, which `Trouble.binding` keeps to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sslmd.core.state import COUNTED, FailedValidation

# One less than the limit: the last one is the admin's own, for another client.
MOST_FAILED = 4


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
