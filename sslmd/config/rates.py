"""`ca_limits`: what a CA allows in a span of time, as `300/3h`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from sslmd.config import values
from sslmd.core.buckets import CaLimit, Rate

_RATE = re.compile(r"([1-9][0-9]{0,8}) ?/ ?([1-9][0-9]{0,8})? ?(s|min|h|d)")
_UNITS = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
# What is noted of orders is kept for as long.
_LONGEST_RATE = timedelta(days=7)


def limits(value: Any) -> tuple[tuple[CaLimit, Rate | None], ...]:
    """Parse the limits of a CA: `{ orders = '300/3h', names = 'none' }`."""
    if not isinstance(value, dict):
        raise values.wrong(
            f"{values.seen(value)} is not a table of limits", "write { orders = '300/3h' }"
        )
    found = []
    for name, rate in value.items():
        try:
            limit = CaLimit(name)
        except ValueError:
            known = values.one_of(list(CaLimit))
            raise values.wrong(f"{values.seen(name)} is not a limit of a CA", known) from None
        found.append((limit, _rate(name, rate)))
    return tuple(found)


def _rate(name: str, value: Any) -> Rate | None:
    if value in ("none", "0") or (type(value) is int and value == 0):
        return None
    remedy = f"write {name} = '300/3h' (s, min, h or d; 7d at most), or 'none' for no limit"
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise values.wrong(f"{values.seen(value)} is not a number in a span of time", remedy)
    every = int(match[2] or 1) * _UNITS[match[3]]
    if every > _LONGEST_RATE:
        raise values.wrong(f"{values.seen(value)} is too long a span", remedy)
    return Rate(int(match[1]), every)
