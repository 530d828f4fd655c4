"""The challenges of every zone: written when orders hand them in, and taken back after that (I8).

Orders say what they want to `dns.challenges`, and wait there until name servers show it. When a
zone is written, and when it is tried again, is the loop's, as for all else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from sslmd.core.challenges import publish_at
from sslmd.core.jobs import PublishChallenges
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason, Why
from sslmd.daemon.loop import Due, OfItsJobs
from sslmd.dns.bounds import clock
from sslmd.dns.challenges import Challenges

# Seconds to the next step, at least: a timer may come a moment too early.
SHORTEST = 0.01


class ChallengeZones(OfItsJobs):
    """The reconciler of the challenges, zone by zone."""

    name = "challenges"
    jobs = (PublishChallenges,)

    def __init__(self, challenges: Challenges, now: Callable[[], datetime]) -> None:
        self._challenges = challenges
        self._now = now

    @property
    def zones(self) -> Iterable[ZoneName]:
        """The zones that had challenges, or may have had them."""
        return self._challenges.zones

    def step(self, ident: ZoneName) -> Due:
        """Write if it is time."""
        at = publish_at(self._challenges.view(ident), self._challenges.patience)
        if at is None:
            return Due(wakes=())
        left = at - clock()
        if left <= 0:
            return Due((PublishChallenges(ident, Reason(Why.CHALLENGES_DIFFER)),))
        return Due(wakes=(("look", self._now() + timedelta(seconds=max(left, SHORTEST))),))

    async def do(self, job: PublishChallenges) -> None:
        """Write what is wanted now; what fails, those who wait are told, or it is tried again."""
        await self._challenges.publish(job.zone)
