"""What is wrong with the daemon's machine: file systems that are full, a clock that is behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.alarms import BesideStanding
from sslmd.core.errors import CLOCK_TOLERANCE
from sslmd.core.failed import Failed
from sslmd.core.notice_book import AlarmBook
from sslmd.core.reason import Reason

# A file system with less free than this, bytes and entries, is full: a renewal needs some 100 KB.
LEAST_FREE, LEAST_ENTRIES = 16 << 20, 200


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """What is left to the daemon on the file system `device` of a folder of ours.

    `free`: bytes. `entries`: files that can still be made, None where it does not count them.
    """

    path: str
    device: int
    free: int
    entries: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing can be renewed."""
        few = self.entries is not None and self.entries < LEAST_ENTRIES
        return self.free < LEAST_FREE or few


def full_disks(spaces: Iterable[DiskSpace]) -> Iterator[BesideStanding]:
    """Yield the file systems that are full, each once, by the first of the folders on it."""
    told: set[int] = set()
    for one in spaces:
        if one.is_full and one.device not in told:
            told.add(one.device)
            megabytes, entries = one.free >> 20, one.entries
            why = Reason(Failed.DISK_FULL, path=one.path, free=megabytes, entries=entries)
            yield BesideStanding(AlarmKind.DISK, one.path, why)


def wrong_clock(
    book: AlarmBook, issued: Iterable[datetime], now: datetime
) -> Iterator[BesideStanding]:
    """Yield that the clock is wrong: it was set back, or certificates were `issued` later than now.

    `book` says when all was last looked at, and until when a clock that was set is not believed.
    """
    times = [*issued, *([book.seen] if book.seen is not None else [])]
    latest = max(times, default=None)
    if latest is not None and latest - now > CLOCK_TOLERANCE:
        yield BesideStanding(AlarmKind.CLOCK, "clock", Reason(Failed.CLOCK_BEHIND, at=latest))
    elif book.unsure is not None and now < book.unsure:
        yield BesideStanding(AlarmKind.CLOCK, "clock", Reason(Failed.CLOCK_BEHIND))
