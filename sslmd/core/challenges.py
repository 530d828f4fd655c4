"""When the challenges of a zone are written: one write serves many orders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a zone waits before it writes, in seconds.

    `gather`: for the other orders that are under way there; small beside what secondaries and the
    CA take, long enough for certbots that started together. `linger`: records that nobody needs
    any more stay so long, so that the next order's write takes them away; `longest`: and so long
    while orders are under way there, or still to begin.
    """

    gather: float = 10.0
    linger: float = 5.0
    longest: float = 60.0


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class ChallengesView:
    """The challenges of one zone. Times are in seconds of a clock that nobody sets.

    `offered_at`: since when records of an order wait to be written, None if none do. `coming`: an
    order that came has not handed in its records; `crowded`: orders are still to begin. `differs`:
    what is served is not what orders want; `left_at`: when the last of them went. `not_before`:
    what is to be taken back is not tried earlier.
    """

    offered_at: float | None
    coming: bool
    crowded: bool
    differs: bool
    left_at: float
    not_before: float


def publish_at(view: ChallengesView, patience: Patience) -> float | None:
    """Return when the zone is to be written, None if there is nothing to write."""
    if view.offered_at is not None:
        return view.offered_at + (patience.gather if view.coming else 0.0)
    if not view.differs:
        return None
    linger = patience.longest if view.coming or view.crowded else patience.linger
    return max(view.left_at + linger, view.not_before)
