"""The exception tree: a failure is named by what to do about it.

`Transient` is tried again by the retry table (`retry`), `Permanent` needs the admin or a
change of the configuration and is tried daily, `ConfigError` refuses a configuration as a
whole. Anything else that escapes a job is a bug and shows its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sslmd.core.plain import plain
from sslmd.core.reason import ABOUT, Reason, noted
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

    def text_beside(self, about: Named | str) -> str:
        """Return the text for where it is plain that it is about `about`."""
        if dict(self.reason.facts).get(ABOUT) != str(about):
            return str(self)
        return plain(say(self.reason.of(None)))


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

    A bug among them is it. Otherwise all texts are told, and one that needs a person makes the
    whole `Permanent`; the latest `retry_at` counts.
    """
    for one in failures:
        if not isinstance(one, SslmError):
            return one
    if len(failures) == 1:
        return failures[0]
    named = [one for one in failures if isinstance(one, SslmError)]
    first = dict(named[0].reason.facts).get(ABOUT)
    # What all of them are about is named once.
    is_same = all(dict(one.reason.facts).get(ABOUT) == first for one in named)
    about = str(first) if first is not None and is_same else None
    texts = list(dict.fromkeys(one.text_beside(about) if about else str(one) for one in named))
    text = "; ".join(texts[:_TOLD]) + (f"; and {len(texts) - _TOLD} more" * (len(texts) > _TOLD))
    if any(isinstance(one, Permanent) for one in failures):
        return Permanent(text, about=about)
    times = [one.retry_at for one in failures if isinstance(one, Transient) and one.retry_at]
    return Transient(text, about=about, retry_at=max(times, default=None))


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
    errno.ENOSPC: "free some space on that file system",
    errno.EDQUOT: "raise the quota or free some space",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "mount it for writing, or name it in ReadWritePaths= of sslmd.service",
    errno.EACCES: "let the daemon's user read and write there",
    errno.EPERM: "let the daemon's user read and write there; lsattr tells of immutable files",
    errno.EBUSY: "unmount what is mounted there",
    errno.EXDEV: "unmount what is mounted there",
    errno.EOPNOTSUPP: "move it away; it is written again with the next try",
    errno.ENOTDIR: "move away the file that stands where a directory should be",
    errno.EISDIR: "move away the directory that stands where a file should be",
    errno.ELOOP: "replace the link by what it should be",
}


def trouble(err: OSError, doing: str, path: str) -> Transient | Permanent:
    """Return the error to raise for `err`: what was being done, to which file, the way out."""
    remedy = _REMEDY.get(err.errno or 0, "see to it; it is tried again by itself")
    text = f"cannot {doing} {path}: {err.strerror or err}; {remedy}"
    return Transient(text) if err.errno in _PASSING else Permanent(text)


@contextmanager
def naming(doing: str, path: str) -> Iterator[None]:
    """Raise what the operating system refuses as `trouble` does."""
    try:
        yield
    except OSError as err:
        raise trouble(err, doing, path) from err
