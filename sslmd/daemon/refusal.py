"""A configuration that was refused: it stays visible until a good one is loaded (I11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sslmd.core.plain import plain, rfc3339
from sslmd.core.reason import Reason, Said, on_wire
from sslmd.core.told import Reported
from sslmd.core.words.sentence import say


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was wrong, each with file and line, and what a start would make of it."""

    at: datetime
    mistakes: tuple[str, ...]
    what_then: Reported = Reported.START_FAILS

    @property
    def consequence(self) -> Reason:
        """What a start would make of it, as a reason."""
        return Reason(self.what_then)

    @property
    def text(self) -> str:
        """One line, with the first mistake."""
        why = Reason(
            Reported.CONFIG_REFUSED,
            at=self.at,
            mistake=Said(self.mistakes[0]),
            more=len(self.mistakes) - 1 or None,
            consequence=self.consequence,
        )
        return plain(say(why))

    def as_json(self) -> dict[str, Any]:
        """Return its part of the `status` answer (docs/socket-api.md)."""
        then = self.consequence
        return {
            "at": rfc3339(self.at),
            "mistakes": list(self.mistakes),
            "consequence": say(then),
            **on_wire(then, "consequence"),
        }


def refusal_of(
    at: datetime, mistakes: Sequence[object], then: Reported = Reported.START_FAILS
) -> Refusal:
    """Return the refusal for some mistakes; there is at least one."""
    return Refusal(at, tuple(map(str, mistakes)), then)
