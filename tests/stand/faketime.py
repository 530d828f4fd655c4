"""A wall clock of its own for a program (libfaketime)."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from datetime import UTC, datetime
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
    # Read again at each look: what is forked (stand/starter.py) has another clock than its parent.
    "FAKETIME_NO_CACHE": "1",
}


def faked(offset: Path) -> dict[str, str]:
    """The environment of a daemon whose wall clock is off by what the file says."""
    return {**_WALL_CLOCK, "FAKETIME_TIMESTAMP_FILE": str(offset)}


def faked_from(when: datetime) -> dict[str, str]:
    """The environment of a program whose wall clock begins at a time, UTC."""
    ahead = (when.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    return {**_WALL_CLOCK, "FAKETIME": f"{ahead:+.6f}s", "TZ": "UTC"}


def of_loading(env: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment libfaketime goes by from its first moment, and never again."""
    return {name: value for name, value in env.items() if name in {*_WALL_CLOCK, "NO_FAKE_STAT"}}
