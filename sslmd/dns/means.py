"""What publishing in DNS needs: the configuration, the command, threads, a resolver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from sslmd.config.model import Argv, Config, DnsPrimary
from sslmd.core.errors import reason_of
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.dns.command import Change
from sslmd.dns.resolver import Resolver
from sslmd.dns.runs import Pace, Runs
from sslmd.net.link import Asker, Nobody
from sslmd.processes import InThread
from sslmd.store.layout import Tree


def _unheard(event: str, what: Reason) -> None:
    """Nobody listens."""


def _not_established(_: ZoneName) -> bool:
    return False


def keep_place(_: str) -> AbstractContextManager[None]:
    """Hold nothing while a zone waits for a run of the command."""
    return nullcontext()


@dataclass(slots=True)
class Means:
    """What publishing needs. `config` gives the one in force; `run` does a command of the admin's.

    `resolver` finds addresses; `in_thread` runs what blocks; `crowded` tells whether more orders
    are still to begin. `pace`: how long a run of the command waits for more zones.

    `established`: whether a zone had certificates in use when the daemon started; what is not there
    then is not included by it either. `resting`: to be held while what is done in a lane only waits
    for a run. `tell`: takes the event and reason of what fails when nobody waits for it. `net`: who
    reads what name servers send.
    """

    config: Callable[[], Config]
    run: Callable[[Argv], Awaitable[object]]
    in_thread: InThread
    resolver: Resolver
    crowded: Callable[[], bool] = bool  # False
    pace: Pace = field(default_factory=Pace)
    established: Callable[[ZoneName], bool] = _not_established
    resting: Callable[[str], AbstractContextManager[None]] = keep_place
    tell: Callable[[str, Reason], None] = _unheard
    net: Asker = field(default_factory=Nobody)
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        """Give the zones the command that they share."""
        self.runs = Runs(self.config, self.run, self.in_thread, self.pace)

    @property
    def tree(self) -> Tree:
        """The working tree."""
        return Tree(str(self.config().globals.certs_dir))

    def updated(self, zone: ZoneName) -> DnsPrimary | None:
        """Return the primary that takes updates of `zone`, None where files are written."""
        primary = self.config().primary_for(zone)
        return primary if primary is not None and primary.update else None

    async def answer(self, lane: str, asked: asyncio.Future[None]) -> None:
        """Wait for the run that was asked for; raises what it failed with.

        `lane`: of the job that waits, which has no place meanwhile.
        """
        with self.resting(lane):
            await asked

    def along(self, zone: ZoneName, changes: Collection[Change], event: str) -> None:
        """Have files that nobody waits for taken by a run, where the zone may include them.

        In a zone that is in use, what was not there is included by nothing: it would not be loaded.
        """
        if changes and not self.established(zone):
            self.runs.along(
                zone,
                tuple(changes),
                lambda err: self.tell(event, reason_of(err).of(f"zone {zone}")),
            )
