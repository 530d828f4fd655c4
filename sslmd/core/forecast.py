"""How long many orders take within the limits of their CA: at least, and at most.

Limits say to the second when an order may begin, if those before it begin as soon as they may. How
long name servers and the CA then take is not known: that has two bounds.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.buckets import CaLimit, Key, Rate, Rates, free_at


@dataclass(frozen=True, slots=True)
class Planned:
    """An order that is to come. `keys`: the buckets that it takes from.

    `after`: it does not begin before, None: now. `counts`: it is one of those that are asked about,
    and not only before them in the same lines.
    """

    keys: tuple[Key, ...] = ()
    after: datetime | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """How long one order takes from its begin on, and how many are under way at a time."""

    each: timedelta
    places: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the last of `number` orders has its certificate: between `soonest` and `latest`.

    `bound`: the limit that the last one waits for, with its `rate`; None: for none. `crowded`: it
    waits for a place.
    """

    number: int
    soonest: datetime
    latest: datetime
    bound: CaLimit | None = None
    rate: Rate | None = None
    crowded: bool = False


_Bound = tuple[CaLimit, Rate] | None


def forecast(
    orders: Sequence[Planned],
    full: Mapping[Key, datetime],
    rates: Rates,
    now: datetime,
    least: Work,
    most: Work,
) -> Forecast:
    """Return how long orders take that begin now. `full`: how their buckets are.

    The first are the most urgent: where a bucket has too little for all, it is theirs. `least` and
    `most`: how long they take where all goes well, and where it does not.
    """
    begins = _begins(orders, full, rates, now)
    soonest, _, _ = _last(orders, begins, now, least)
    latest, bound, crowded = _last(orders, begins, now, most)
    limit, rate = bound if bound is not None else (None, None)
    number = sum(one.counts for one in orders)
    return Forecast(number, soonest, latest, limit, rate, crowded)


def _begins(
    orders: Sequence[Planned], full: Mapping[Key, datetime], rates: Rates, now: datetime
) -> list[tuple[datetime, _Bound]]:
    """Return when each order may begin, and which limit that is because of.

    As in `core.turns`: whoever stands before another in a line has its share of the bucket, also
    while it waits for another bucket.
    """
    ahead: dict[Key, int] = {}
    found = list[tuple[datetime, _Bound]]()
    for one in orders:
        begins, bound = max(one.after or now, now), None
        for key in one.keys:
            if (rate := rates.get(key[0])) is None:
                continue
            at = free_at(full.get(key), rate, now, ahead.get(key, 0))
            ahead[key] = ahead.get(key, 0) + 1
            if at > begins:
                begins, bound = at, (key[0], rate)
        found.append((begins, bound))
    return found


def _last(
    orders: Sequence[Planned],
    begins: Sequence[tuple[datetime, _Bound]],
    now: datetime,
    work: Work,
) -> tuple[datetime, _Bound, bool]:
    """Return when the last order is over that counts, what it waited for, and if for a place."""
    ends = list[datetime]()
    last, bound, crowded = now, None, False
    # In the order in which they may begin: who waits for a limit takes no place meanwhile.
    for index in sorted(range(len(orders)), key=lambda index: begins[index][0]):
        begin, waits = begins[index]
        waits_for_place = False
        if len(ends) >= work.places and (first := heapq.heappop(ends)) > begin:
            begin, waits, waits_for_place = first, None, True
        end = begin + work.each
        heapq.heappush(ends, end)
        if orders[index].counts and end >= last:
            last, bound, crowded = end, waits, waits_for_place
    return last, bound, crowded
