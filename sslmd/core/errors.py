"""The exception tree: a failure is named by what to do about it.

`Transient` is tried again by the table of waits below, `Permanent` needs the admin or a
change of the configuration and is tried daily, `ConfigError` refuses a configuration as a
whole. Anything else that escapes a job is a bug and shows its traceback. Failures in a row, of all
kinds, are one value: `Trouble`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sslmd.core.failed import OF_ACCOUNT, Failed
from sslmd.core.plain import plain
from sslmd.core.reason import ABOUT, Held, Reason, Said, noted
from sslmd.core.unusable import NotUsable
from sslmd.core.words.sentence import say

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.core.reason import Named

# Failures that one message tells.
_TOLD = 5


class SslmError(Exception):
    """Any failure that we can name; its reason says what, where, and the way out.

    `about`: the zone or certificate that it is about; it stands before the text. The text repeats
    what others said, goes into notes and answers, and is one plain line from here on.
    """

    def __init__(self, what: Reason | str = "", *, about: Named | str | None = None) -> None:
        reason = what if isinstance(what, Reason) else noted(what)
        self.reason = reason.of(about) if about is not None else reason
        super().__init__(plain(say(self.reason)))

    def beside(self, about: Named | str) -> Reason:
        """Return the reason for where it is plain that it is about `about`."""
        known = self.reason.get(ABOUT) == str(about)
        return self.reason.of(None) if known else self.reason

    def text_beside(self, about: Named | str) -> str:
        """Return the text of that."""
        return plain(say(self.beside(about)))


class ImpossibleTransition(Exception):
    """An event that cannot happen in this phase: a bug, never a user's doing."""


class Transient(SslmError):
    """It may work later: a full disk, a busy server. `retry_at`: not sooner (a CA's wish)."""

    def __init__(
        self,
        what: Reason | str,
        *,
        about: Named | str | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(what, about=about)
        self.retry_at = retry_at


class Overdue(Transient):
    """A command took longer than it may, and was ended."""


class RateLimited(Transient):
    """A CA has had enough (RFC 8555 §6.6): of `limit` (`core.buckets.CaLimit`; "": it is unknown).

    `whose`: the domain or the name that it speaks of, "" where that is plain.
    """

    def __init__(
        self, what: Reason | str, limit: str, whose: str = "", *, retry_at: datetime | None = None
    ) -> None:
        super().__init__(what, retry_at=retry_at)
        self.limit = limit
        self.whose = whose


class Paced(Transient):
    """A limit of a CA is against it before `retry_at`: no failure, it waits for that.

    `limit`: as of `RateLimited`.
    """

    def __init__(self, what: Reason | str, limit: str, *, retry_at: datetime) -> None:
        super().__init__(what, retry_at=retry_at)
        self.limit = limit


class ValidationFailed(Transient):
    """A CA looked for the challenges of `names` and did not find them: it counts that."""

    def __init__(
        self, what: Reason | str, names: Sequence[str], *, retry_at: datetime | None = None
    ) -> None:
        super().__init__(what, retry_at=retry_at)
        self.names = tuple(names)


class Permanent(SslmError):
    """It will not work until a person or the configuration changes something."""


def together(failures: Sequence[BaseException]) -> BaseException:
    """Return one failure for several that happened side by side; there is at least one.

    A bug among them is it. Otherwise all reasons are told, and one that needs a person makes the
    whole `Permanent`; the latest `retry_at` counts.
    """
    for one in failures:
        if not isinstance(one, SslmError):
            return one
    if len(failures) == 1:
        return failures[0]
    why = several([one.reason for one in failures if isinstance(one, SslmError)])
    if any(isinstance(one, Permanent) for one in failures):
        return Permanent(why)
    times = [one.retry_at for one in failures if isinstance(one, Transient) and one.retry_at]
    return Transient(why, retry_at=max(times, default=None))


def several(reasons: Iterable[Reason]) -> Reason:
    """Return one reason for several, each told once; there is at least one."""
    every = list(dict.fromkeys(reasons))
    if len(every) == 1:
        return every[0]
    # What all of them are about is named once.
    (about, *others) = {str(dict(one.facts).get(ABOUT, "")) for one in every}
    if about and not others:
        every = [one.of(None) for one in every]
    parts, more = tuple(every[:_TOLD]), len(every[_TOLD:]) or None
    known = about if about and not others else None
    return Reason(Failed.SEVERAL, parts=parts, more=more, about=known)


class Refused(SslmError):
    """A request that cannot be carried out as asked (a roll before its time, no such name)."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a configuration file, with the way out.

    `line` counts from 1; 0 where the file as a whole is meant.
    """

    file: str
    line: int
    key: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        return plain(f"{place}: {key}{self.problem}; {self.remedy}")


class ConfigError(SslmError):
    """A configuration that is refused as a whole, with every mistake in it.

    `warnings`: what else is odd in it, as far as it could be read.
    """

    def __init__(self, mistakes: Sequence[Mistake], warnings: Sequence[Mistake] = ()) -> None:
        super().__init__()
        self.args = ("\n".join(map(str, mistakes)),)  # a line for each
        self.mistakes = tuple(mistakes)
        self.warnings = tuple(warnings)

    def lines(self) -> list[str]:
        """Return a line for each mistake, and for each warning."""
        return [*map(str, self.mistakes), *(f"warning: {one}" for one in self.warnings)]


# --- what the operating system refuses ------------------------------------------------------

# What may be over in a minute without anybody's doing.
_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ESTALE,
    }
)
_REMEDY = {
    errno.ENOSPC: NotUsable.FIX_FULL,
    errno.EDQUOT: NotUsable.FIX_QUOTA,
    errno.EFBIG: NotUsable.FIX_FILE_SIZE,
    errno.EROFS: NotUsable.FIX_READ_ONLY,
    errno.EACCES: NotUsable.FIX_RIGHTS,
    errno.EPERM: NotUsable.FIX_IMMUTABLE,
    errno.EBUSY: NotUsable.FIX_MOUNT,
    errno.EXDEV: NotUsable.FIX_MOUNT,
    errno.EOPNOTSUPP: NotUsable.FIX_FILE_SYSTEM,
    errno.ENOTDIR: NotUsable.FIX_NO_DIRECTORY,
    errno.EISDIR: NotUsable.FIX_DIRECTORY,
    errno.ELOOP: NotUsable.FIX_LINKS,
}


def trouble(err: OSError, doing: str, path: str) -> Transient | Permanent:
    """Return the error to raise for `err`: what was being done, to which file, the way out.

    `doing`: a verb, as in "cannot read".
    """
    remedy = Reason(_REMEDY.get(err.errno or 0, NotUsable.FIX_FILE))
    said = Said(err.strerror or err)
    why = Reason(NotUsable.FILE_TROUBLE, doing=doing, path=path, said=said, remedy=remedy)
    return Transient(why) if err.errno in _PASSING else Permanent(why)


@contextmanager
def naming(doing: str, path: str) -> Iterator[None]:
    """Raise what the operating system refuses as `trouble` does."""
    try:
        yield
    except OSError as err:
        raise trouble(err, doing, path) from err


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


def reason_of(err: BaseException) -> Reason:
    """Return the reason of a failure."""
    if isinstance(err, SslmError):
        return err.reason
    return Reason(Held.OWN_ERROR, error=repr(err))


def text_of(err: BaseException) -> str:
    """Return what people read about a failure."""
    return str(err) if isinstance(err, SslmError) else plain(say(reason_of(err)))


def wait_after(failure: Failure, attempts: int) -> timedelta:
    """Return the wait of the table after `attempts` (1 or more) failures in a row."""
    if failure is not Failure.TRANSIENT:
        return DAILY
    return timedelta(minutes=LADDER_MINUTES[min(max(attempts, 1), len(LADDER_MINUTES)) - 1])


def is_over(when: datetime | None, now: datetime, longest: timedelta = LONGEST_WAIT) -> bool:
    """Whether a wait until `when` is over, or began before the clock was set back.

    That shows where it is longer than the `longest` that there is.
    """
    return when is None or when <= now or when > now + longest


@dataclass(frozen=True, slots=True)
class Trouble:
    """Failures in a row; none (`attempts` 0) where an admin stopped the work.

    `fingerprint` is of the configuration that failed: a changed one starts again. `binding`:
    the CA `ca` named `next_try`, so not even an admin goes past it; another CA is free to be asked.
    `reason`: what `text` says, as data; it is not noted on disk. `account`: it is the account that
    is in trouble, and not one certificate alone.
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
    account: bool = False

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
        why = reason_of(err)
        account = any(one.code in OF_ACCOUNT for one in why.within())
        text, facts = text_of(err), (fingerprint, binding)
        return cls(attempts, kind, text, now, again, *facts, reason=why, account=account)

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
