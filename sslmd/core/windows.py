"""Windows: the weekly times at which a certificate may be rolled, or a server restarted.

A window is open while a clock on the wall of its time zone shows a time inside it. What lies
wholly in the hour that the change to summer time skips does not open on that day; the hour that is
there twice in autumn opens twice.

Several windows of one owner (a service file, a server class) are a group: it is open while any one
of them is, and always if there are none. What several owners have a say in waits until all their
groups are open at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

DAY = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_WEEKDAY = 3  # a Thursday

# Windows are weekly, so most questions are answered within a week and a day.
STEP = 8 * DAY

# Summer time moves zones against each other twice a year: windows that do not meet within two
# years never do.
HORIZON = 2 * 366 * DAY

# The longest wait is looked for in this year and the two after it. Changes of summer time fall on
# the same days of the week year by year, and so do the windows that they touch.
YEARS = 3

Span = tuple[int, int]
"""From when to (not including) when, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly time span in a time zone's own wall-clock time: `Sat 02:00-05:00 Europe/Berlin`.

    `days` are the days on which it begins (0 = Monday); `start` and `end` are minutes after
    midnight (0 to 1439, an end of 1440 is midnight at the day's end). An end that is not after
    the start is on the next day.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo
    text: str

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        """Yield when it is open between `begin` and `end`, in order; they may touch."""
        start = self.start * 60
        length = self.end * 60 - start + (DAY if self.end <= self.start else 0)
        for since, until, offset in _offsets(self.zone, begin, end):
            # One that began the day before may still be open.
            for day in range((since + offset) // DAY - 1, (until + offset) // DAY + 1):
                if (day + EPOCH_WEEKDAY) % 7 not in self.days:
                    continue
                opens = day * DAY + start - offset
                opens, closes = max(opens, since), min(opens + length, until)
                if opens < closes:
                    yield opens, closes

    def __str__(self) -> str:
        return self.text


Group = tuple[Window, ...]
"""The windows of one owner, any one of which may be open."""


def next_common(groups: Sequence[Sequence[Window]], now: datetime) -> datetime | None:
    """Return when all groups are open at the same moment: `now`, or later in UTC; None if never."""
    begin = (now - EPOCH) // timedelta(seconds=1)
    for since in range(begin, begin + HORIZON, STEP):
        for opens, closes in _common(groups, since, since + STEP):
            if _time(closes) > now:
                return max(_time(opens), now)
    return None


def opens(groups: Sequence[Sequence[Window]], now: datetime) -> datetime:
    """Return `now` if all groups are open, else when they are next.

    Groups that never are at the same time (the configuration refuses them) are waited for by
    nobody: that is `now`, too.
    """
    return next_common(groups, now) or now


def open_now(group: Sequence[Window], now: datetime) -> tuple[datetime, datetime] | None:
    """Return since when a group is open at `now`, and until when; None if it is shut, or empty.

    It looks a week back and ahead: one that never is shut is open for longer than that.
    """
    moment = (now - EPOCH) // timedelta(seconds=1)
    spans = _common([group], moment - STEP, moment + STEP) if group else []
    for begin, end in spans:
        if begin <= moment < end:
            return _time(begin), _time(end)
    return None


def longest_wait(groups: Sequence[Sequence[Window]], now: datetime) -> timedelta | None:
    """Return the longest time that all groups together may stay shut; None if they never open.

    It is exact for the year of `now` (which is counted from its first day) and the two after it,
    with every change of summer time in them.
    """
    some = tuple(tuple(group) for group in groups if group)
    return _longest(some, now.astimezone(UTC).year) if some else timedelta()


def longest_open(group: Group, now: datetime) -> timedelta:
    """Return the longest time that a group stays open without a break; nothing if it is empty.

    It is exact for the same years as `longest_wait`. Windows that never shut are open for years.
    """
    year = now.astimezone(UTC).year
    spans = _common([group], _new_year(year), _new_year(year + YEARS)) if group else []
    return timedelta(seconds=max((end - begin for begin, end in spans), default=0))


def listed(groups: Sequence[Sequence[Window]]) -> str:
    """Return the windows for people."""
    return " and ".join(" or ".join(map(str, group)) for group in groups if group)


@lru_cache(maxsize=4096)  # thousands of certificates share a few classes
def _longest(groups: tuple[Group, ...], year: int) -> timedelta | None:
    begin, end = _new_year(year), _new_year(year + YEARS)
    spans = _common(groups, begin, end)
    if not spans:
        return None
    edges = (begin, *(edge for span in spans for edge in span), end)
    return timedelta(seconds=max(b - a for a, b in zip(edges[::2], edges[1::2], strict=True)))


def _common(groups: Iterable[Iterable[Window]], begin: int, end: int) -> list[Span]:
    """Return when all groups are open between `begin` and `end`."""
    found = [(begin, end)]
    for group in groups:
        windows = tuple(group)
        if windows:
            spans = _merged(span for one in windows for span in one.spans(begin, end))
            found = _overlaps(found, spans)
    return found


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans that touch or overlap as one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


def _overlaps(one: list[Span], other: list[Span]) -> list[Span]:
    """Return what two lists of spans, each in order, have in common."""
    found = []
    i = j = 0
    while i < len(one) and j < len(other):
        begin, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if begin < end:
            found.append((begin, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def _offsets(zone: ZoneInfo, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield from when to when between `begin` and `end` which offset from UTC holds, in seconds."""
    years = range(_time(begin).year, _time(end).year + 1)
    marks = [mark for year in years for mark in _changes(zone, year)]
    for (since, offset), (until, _) in pairwise([*marks, (end, 0)]):
        since, until = max(since, begin), min(until, end)
        if since < until:
            yield since, until, offset


@lru_cache(maxsize=1024)
def _changes(zone: ZoneInfo, year: int) -> tuple[tuple[int, int], ...]:
    """Return the offset at the beginning of `year` (UTC), and from when on which others hold."""
    begin, end = _new_year(year), _new_year(year + 1)
    found = [(begin, _offset(zone, begin))]
    for day in range(begin, end, DAY):
        old, before, after = found[-1][1], day, min(day + DAY, end - 1)
        if _offset(zone, after) == old:
            continue
        while after - before > 1:  # the change is after `before`, and at `after` at the latest
            middle = (before + after) // 2
            before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
        found.append((after, _offset(zone, after)))
    return tuple(found)


def _offset(zone: ZoneInfo, when: int) -> int:
    offset = _time(when).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(seconds=1)


def _new_year(year: int) -> int:
    return (datetime(year, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(seconds=1)


def _time(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)
