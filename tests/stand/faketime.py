"""A wall clock of its own for a program (libfaketime)."""

from __future__ import annotations

import glob
from datetime import datetime
from pathlib import Path

import pytest

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), "")

needs_faketime = pytest.mark.skipif(not FAKETIME, reason="libfaketime is missing")


# The wall clock alone. As it corrects waits by the monotonic clock it has them end at once: threads
# that wait for Python's lock would ask for it without a pause, and so take it in turns for nothing.
_WALL_CLOCK = {
    "LD_PRELOAD": FAKETIME,
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "FAKETIME_FORCE_MONOTONIC_FIX": "0",
}


def faked(offset: Path) -> dict[str, str]:
    """The environment of a daemon whose wall clock is off by what the file says."""
    return {**_WALL_CLOCK, "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}


def faked_from(when: datetime) -> dict[str, str]:
    """The environment of a program whose wall clock begins at a time, UTC."""
    return {**_WALL_CLOCK, "FAKETIME": when.strftime("@%Y-%m-%d %H:%M:%S"), "TZ": "UTC"}
