"""The disk and the clock of the daemon's machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sslmd.core.alarm_kinds import AlarmKind
from sslmd.core.errors import CLOCK_TOLERANCE
from sslmd.core.machine import LEAST_ENTRIES, LEAST_FREE, DiskSpace, full_disks, wrong_clock
from sslmd.core.notice_book import UNSURE, AlarmBook, at_time
from sslmd.core.words.sentence import say

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND, YEAR = timedelta(seconds=1), timedelta(days=365)


@pytest.mark.parametrize(
    ("free", "entries", "full"),
    [
        (LEAST_FREE, LEAST_ENTRIES, False),
        (LEAST_FREE - 1, LEAST_ENTRIES, True),
        (LEAST_FREE, LEAST_ENTRIES - 1, True),
        (LEAST_FREE, None, False),  # some file systems count none
        (0, None, True),
    ],
)
def test_a_file_system_with_little_left_is_full(
    free: int, entries: int | None, *, full: bool
) -> None:
    found = list(full_disks([DiskSpace("/var/lib", 1, free, entries)]))
    assert bool(found) is full
    assert all(one.kind is AlarmKind.DISK and say(one.cause) for one in found)


def test_each_file_system_is_named_once() -> None:
    spaces = [DiskSpace("/a", 1, 0), DiskSpace("/b", 1, 0), DiskSpace("/c", 2, 0)]
    assert [one.name for one in full_disks(spaces)] == ["/a", "/c"]


def clock(now: datetime, *issued: datetime, book: AlarmBook | None = None) -> list[AlarmKind]:
    return [one.kind for one in wrong_clock(book or AlarmBook(), issued, now)]


def test_a_clock_before_what_was_issued_or_seen_is_behind() -> None:
    assert clock(NOW) == []
    assert clock(NOW, NOW - YEAR, NOW + CLOCK_TOLERANCE) == []
    assert clock(NOW, NOW - YEAR, NOW + CLOCK_TOLERANCE + SECOND) == [AlarmKind.CLOCK]
    seen = AlarmBook(seen=NOW + CLOCK_TOLERANCE + SECOND)
    assert clock(NOW, NOW - YEAR, book=seen) == [AlarmKind.CLOCK]
    assert clock(NOW, book=AlarmBook(seen=NOW)) == []


def test_a_clock_that_was_set_back_is_not_believed_for_a_day() -> None:
    book = at_time(at_time(AlarmBook(), NOW), NOW - YEAR)
    assert clock(NOW - YEAR + SECOND, book=book) == [AlarmKind.CLOCK]
    assert clock(NOW - YEAR + UNSURE, book=book) == []
