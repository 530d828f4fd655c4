"""Times as people read them: the local time of this machine, with the name of its zone.

Everything that a person sees goes through here: texts of the daemon (reasons, errors, answers, the
journal) in the daemon's zone, tables of `sslmctl` in that of who reads them. Programs and files
(JSON, state.toml, names of sets) have UTC.

The zone is the one thing that core asks of the machine: a setting, like its language. It is no
clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta

# Nearer than this, the time of the day matters too.
_NEAR = timedelta(days=3)


def here(when: datetime) -> datetime:
    """Return an aware time in the zone of this process ($TZ, /etc/localtime)."""
    try:
        return when.astimezone()
    except (OverflowError, ValueError):
        # RFC 5280 §4.1.2.5: 9999-12-31 stands for "no end", and is the last day that there is.
        return when


def clock(when: datetime) -> str:
    """Return `2026-12-01 04:12:05 CET`."""
    return f"{here(when):%Y-%m-%d %H:%M:%S %Z}"


def minute(when: datetime) -> str:
    """Return `2026-12-01 04:12 CET`."""
    return f"{here(when):%Y-%m-%d %H:%M %Z}"


def day(when: datetime) -> str:
    """Return `2026-12-01`."""
    return f"{here(when):%Y-%m-%d}"


def hour(when: datetime) -> str:
    """Return `04:12:05 CET`, for what is near."""
    return f"{here(when):%H:%M:%S %Z}"


def local(moment: datetime | None, now: datetime) -> str:
    """Return a local time with its zone, of far ones the date alone; "-" for None."""
    if moment is None:
        return "-"
    far = abs(moment - now) > _NEAR
    return day(moment) if far else minute(moment)


def span(length: timedelta) -> str:
    """Return a length of time in its fitting unit, rounded down: 41 d, 31 h, 12 min."""
    seconds = int(abs(length).total_seconds())
    if seconds >= 2 * 86400:
        return f"{seconds // 86400} d"
    return f"{seconds // 3600} h" if seconds >= 2 * 3600 else f"{seconds // 60} min"
