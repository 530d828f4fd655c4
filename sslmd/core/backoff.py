"""When to try again: the one retry table.

A policy is a table with units and the reason beside it; `next_try` reads it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum


class Failure(StrEnum):
    """What kind of failure it was (see `core.errors`)."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    BUG = "bug"


# Minutes. Quick at first, for a busy disk or a restarting server; six hours at last, so that
# a CA's limits are never run into and a certificate still gets several tries a day.
LADDER_MINUTES = (1, 2, 5, 10, 20, 30, 60, 120, 180, 360)

# What only a person or a new configuration can mend is looked at daily, in case it was mended.
DAILY = timedelta(days=1)

# Up to this share is added at random, so that hundreds of services that failed together
# do not come back together.
JITTER = 0.1

# No wait of our own is longer: one that is was noted before the clock was set back.
LONGEST_WAIT = DAILY * (1 + JITTER)


def ladder_minutes(attempts: int) -> int:
    """Return the minutes of the table after `attempts` (1 or more) failures in a row."""
    return LADDER_MINUTES[min(max(attempts, 1), len(LADDER_MINUTES)) - 1]


def next_try(
    failure: Failure,
    attempts: int,
    now: datetime,
    *,
    jitter: float,
    retry_at: datetime | None = None,
) -> datetime:
    """Return when to try again after `attempts` (1 or more) failures in a row.

    `jitter` is a random number from 0 to 1; `retry_at` the time a CA asked for, which wins.
    """
    if retry_at is not None and retry_at > now:
        return retry_at
    if failure is Failure.TRANSIENT:
        wait = timedelta(minutes=ladder_minutes(attempts))
    else:
        wait = DAILY
    return now + wait * (1 + JITTER * jitter)
