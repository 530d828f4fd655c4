"""Failures: what kind one is, how often it came in a row, and when it is tried again.

One value for all (`Trouble`), and one table of waits. Certificates, servers, hosts, zones and
challenges go by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sslmd.core.errors import SslmError, Transient
from sslmd.core.reason import Held, Reason


class Failure(StrEnum):
    """What kind of failure it was (see `core.errors`)."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    BUG = "bug"


# Minutes. Quick at first, for a busy disk or a restarting server; six hours at last, so that
# a CA's limits are never run into and a certificate still gets several tries a day.
LADDER_MINUTES = (1, 2, 5, 10, 20, 30, 60, 120, 180, 360)

# What only a person or a new configuration can fix is tried daily, in case it was fixed.
DAILY = timedelta(days=1)

# Up to this share is added at random, so that hundreds of services that failed together
# do not come back together.
JITTER = 0.1

# No wait of our own is longer: one that is was noted before the clock was set back.
LONGEST_WAIT = DAILY * (1 + JITTER)

# Clocks differ by so much: what was made or noted this far in the future is still taken as it is.
CLOCK_TOLERANCE = timedelta(minutes=5)


def kind_of(err: BaseException) -> Failure:
    """Return what kind of failure an exception is: the only place where that is decided."""
    if isinstance(err, Transient):
        return Failure.TRANSIENT
    return Failure.PERMANENT if isinstance(err, SslmError) else Failure.BUG


def text_of(err: BaseException) -> str:
    """Return what people read about a failure."""
    return str(err) if isinstance(err, SslmError) else f"an error of sslmd's own: {err!r}"


def wait_after(failure: Failure, attempts: int) -> timedelta:
    """Return the wait of the table after `attempts` (1 or more) failures in a row."""
    if failure is not Failure.TRANSIENT:
        return DAILY
    return timedelta(minutes=LADDER_MINUTES[min(max(attempts, 1), len(LADDER_MINUTES)) - 1])


def is_over(when: datetime | None, now: datetime) -> bool:
    """Whether a wait is over, or was noted before the clock was set back."""
    return when is None or when <= now or when > now + LONGEST_WAIT


@dataclass(frozen=True, slots=True)
class Trouble:
    """Failures in a row; none (`attempts` 0) where an admin stopped the work.

    `fingerprint` is of the configuration that failed: a changed one starts again. `binding`:
    the CA `ca` named `next_try`, so not even an admin goes past it; another CA is free to be asked.
    `reason`: what `text` says, as data; it is not noted on disk.
    """

    attempts: int
    failure: Failure
    text: str
    at: datetime
    next_try: datetime
    fingerprint: str = ""
    binding: bool = False
    ca: str = ""
    reason: Reason | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, err: Exception, attempts: int, now: datetime, *, jitter: float, fingerprint: str = ""
    ) -> Trouble:
        """Return the failure after `attempts` (0 or more) in a row before it.

        `jitter` is a random number from 0 to 1. A time that a CA asked for wins, and is binding.
        """
        kind, attempts = kind_of(err), attempts + 1
        again = now + wait_after(kind, attempts) * (1 + JITTER * jitter)
        retry_at = err.retry_at if isinstance(err, Transient) else None
        if retry_at is not None and retry_at > now:
            again = retry_at
        binding = retry_at is not None
        why = err.reason if isinstance(err, SslmError) else Reason(Held.OWN_ERROR, error=repr(err))
        text = text_of(err)
        return cls(attempts, kind, text, now, again, fingerprint, binding, reason=why)

    @property
    def rests(self) -> bool:
        """Whether it is no failure: the work was stopped by an admin, and rests."""
        return self.attempts == 0

    def blocks(self, now: datetime, fingerprint: str = "", ca: str = "") -> bool:
        """Whether it still has to be waited out at `now`.

        It is forgotten when the configuration changed, and when it lies in the future: then the
        clock was set back. What a CA asked for is kept to all the same, unless it would then be
        waited for more than twice.
        """
        if now >= self.next_try:
            return False
        ahead = self.at - now
        if self.binding and self.ca in ("", ca):
            return ahead <= max(self.next_try - self.at, CLOCK_TOLERANCE)
        return self.fingerprint == fingerprint and ahead <= CLOCK_TOLERANCE

    def eased(self, at: datetime) -> Trouble:
        """Return it after an admin's request: past our own wait, not past what a CA asked for."""
        return self if self.binding else replace(self, next_try=at)
