"""Times for people: local, with the name of the zone that is in force at that moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sslmd.core.plain import clock, day, hour, minute

WINTER = datetime(2026, 12, 1, 3, 12, 5, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def live_in(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield live_in
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "when", "shown"),
    [
        ("UTC", WINTER, "2026-12-01 03:12:05 UTC"),
        ("Europe/Berlin", WINTER, "2026-12-01 04:12:05 CET"),
        ("Europe/Berlin", SUMMER, "2026-07-02 00:30:00 CEST"),
        ("America/New_York", WINTER, "2026-11-30 22:12:05 EST"),
        # Zones that have no name of their own have an offset.
        ("Europe/Istanbul", WINTER, "2026-12-01 06:12:05 +03"),
        ("Asia/Kathmandu", WINTER, "2026-12-01 08:57:05 +0545"),
        ("", WINTER, "2026-12-01 03:12:05 UTC"),
    ],
)
def test_the_zone_is_that_of_the_machine_at_that_time(
    zone: Callable[[str], None], name: str, when: datetime, shown: str
) -> None:
    zone(name)
    date, time_of_day, abbreviation = shown.split()
    assert clock(when) == shown
    assert clock(when.astimezone(timezone(timedelta(hours=-7)))) == shown
    assert minute(when) == f"{date} {time_of_day[:5]} {abbreviation}"
    assert hour(when) == f"{time_of_day} {abbreviation}"
    assert day(when) == date
