"""A configuration that was refused: it stays visible until a good one is loaded (I11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sslmd.core.plain import clock, rfc3339

# What becomes of a daemon that is started with it.
START_FAILS = "the next start would fail"
GIVES_UP = "the next start would give these certificates up"
NEEDS_START = "a restart of sslmd is needed for it"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was wrong, each with file and line, and what a start would make of it."""

    at: datetime
    mistakes: tuple[str, ...]
    consequence: str = START_FAILS

    @property
    def text(self) -> str:
        """One line, with the first mistake."""
        more = len(self.mistakes) - 1
        others = f" (and {more} more)" if more else ""
        return (
            f"the configuration was refused at {clock(self.at)}: {self.mistakes[0]}{others}; "
            f"{self.consequence}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return its part of the `status` answer (docs/socket-api.md)."""
        return {
            "at": rfc3339(self.at),
            "mistakes": list(self.mistakes),
            "consequence": self.consequence,
        }


def refusal_of(at: datetime, mistakes: Sequence[object], consequence: str = START_FAILS) -> Refusal:
    """Return the refusal for some mistakes; there is at least one."""
    return Refusal(at, tuple(map(str, mistakes)), consequence)
