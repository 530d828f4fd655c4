"""The line of time that certificates are drawn along: what it shows, and where its marks are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from sslmd.console.answers import Cert
from sslmd.core.plain import here

# A root of ten years would make dots of the others. So all but the longest tenth are shown whole,
# and no more than twice what half of them have. What is longer goes on at the edge.
_FIT, _TIMES = 0.9, 2

_LEAST = timedelta(days=7)
_MOST = timedelta(days=20 * 365)

# At least so much of the line is past, so that something is to be seen of it.
_PAST = 0.15

# Marks: every so many days, or months.
_DAYS = (1, 2, 7, 14)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)


class Axis:
    """A stretch of time around `now`."""

    __slots__ = ("end", "now", "start")

    def __init__(self, start: datetime, end: datetime, now: datetime) -> None:
        self.start, self.end, self.now = start, end, now

    def at(self, moment: datetime) -> float:
        """Return where it is: from 0 at the start to 1 at the end, and no further."""
        return min(max((moment - self.start) / (self.end - self.start), 0.0), 1.0)

    def ticks(self, most: int) -> list[tuple[datetime, str]]:
        """Return at most so many marks with their names, of one distance, in local time."""
        length = (self.end - self.start) / timedelta(days=1)
        for days in _DAYS:
            if length / days <= most:
                return list(self._inside(self._every(days), "%-d %b"))
        for months in _MONTHS:
            if length / (30.44 * months) <= most:
                form = "%Y" if months >= 12 else "%b %Y"
                return list(self._inside(self._months(months), form))
        return []

    def _every(self, days: int) -> Iterator[datetime]:
        first = here(self.start).replace(hour=0, minute=0, second=0, microsecond=0)
        for number in range(1, int((self.end - self.start).days / days) + 2):
            yield first + timedelta(days=days * number)

    def _months(self, months: int) -> Iterator[datetime]:
        first = here(self.start).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        whole = first.year * 12 + first.month - 1
        whole += -whole % months
        last = self.end.year * 12 + self.end.month
        for number in range(whole, last + 1, months):
            yield first.replace(year=number // 12, month=number % 12 + 1)

    def _inside(self, moments: Iterable[datetime], form: str) -> Iterator[tuple[datetime, str]]:
        for moment in moments:
            if self.start <= moment <= self.end:
                yield moment, moment.strftime(form)


def axis_of(certs: Sequence[Cert], now: datetime) -> Axis:
    """Return the line on which most of them can be seen from begin to end."""
    ends, begins = [], []
    for cert in certs:
        newest = cert.sub("next").time("not_after") or cert.not_after
        if newest is not None:
            ends.append(newest - now)
        begin = cert.curr.time("not_before")
        if begin is not None:
            begins.append(now - begin)
    ahead = _share(ends)
    behind = min(max(_share(begins), ahead * _PAST), ahead * 2)
    return Axis(now - behind, now + ahead * 1.03, now)


def _share(lengths: list[timedelta]) -> timedelta:
    if not lengths:
        return _LEAST
    lengths.sort()
    most = lengths[min(int(len(lengths) * _FIT), len(lengths) - 1)]
    middle = max(lengths[(len(lengths) - 1) // 2], _LEAST)
    return min(max(most, _LEAST), middle * _TIMES, _MOST)
