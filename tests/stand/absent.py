"""A network process that is away: whoever asks it gets no answer, and learns nothing."""

from __future__ import annotations

from typing import Any

from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.net.inside import Inside
from sslmd.net.link import Asker, NetBug, NetGone, Operation


class Absent:
    """Answers as `there` does, but is `away` for so many questions, and `faulty` for so many more.

    `asked`: how many there were.
    """

    def __init__(self, away: float = 0, faulty: float = 0, there: Asker | None = None) -> None:
        self.away, self.faulty = away, faulty
        self.there = there or Inside()
        self.asked = 0

    async def call(self, operation: Operation[Any, Any], asked: Any) -> Any:
        """Ask it."""
        self.asked += 1
        if self.away > 0:
            self.away -= 1
            raise NetGone(Reason(Failed.NET_GONE))
        if self.faulty > 0:
            self.faulty -= 1
            raise NetBug(operation.name, "KeyError")
        return await self.there.call(operation, asked)
