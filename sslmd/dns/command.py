"""One run of the command of `[dns]`, and putting include files back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sslmd.config.model import Argv, Config
from sslmd.core.errors import SslmError
from sslmd.core.host.commands import ZONE, ZONES, runs_for
from sslmd.core.names import ZoneName
from sslmd.processes import InThread
from sslmd.store import files

T = TypeVar("T")


# Runs at a time of a command that has one for each zone.
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Change:
    """An include file that was written: what it held before, None if it was not there, and now.

    `nothing` is what it holds without any record.
    """

    path: str
    before: bytes | None
    after: bytes
    nothing: bytes

    @property
    def older(self) -> bytes:
        """What it is put back to: a file that was not there stays, for the zone to be loaded."""
        return self.nothing if self.before is None else self.before


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run failed, and whether it was for other zones as well, which it named."""

    error: Exception
    shared: bool = False
    named: bool = True


class DnsCommand:
    """Runs the command of `[dns]`, and gives include files what they held.

    `config` gives the configuration in force, `run` does a command of the admin's, `in_thread` runs
    what blocks.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        run: Callable[[Argv], Awaitable[object]],
        in_thread: InThread,
    ) -> None:
        self._config = config
        self._run = run
        self._in_thread = in_thread
        self._places = asyncio.Semaphore(AT_ONCE)

    async def once(self, zones: Sequence[ZoneName]) -> dict[ZoneName, RunFailure]:
        """Run every command for these zones, in order; return those for which one failed.

        A zone that failed does not get the commands that follow.
        """
        dns = self._config().dns  # read for each run: a reload may have corrected it
        failed: dict[ZoneName, RunFailure] = {}
        for argv in dns.restart:
            left = [zone.text for zone in zones if zone not in failed]
            if not left:
                break
            named = dns.pass_zones or ZONES in argv or ZONE in argv
            runs = runs_for(argv, left, pass_zones=dns.pass_zones)
            errors = await asyncio.gather(*(self._one(words) for words, _ in runs))
            for (_, some), error in zip(runs, errors, strict=True):
                if error is not None:
                    failure = RunFailure(error, len(some) > 1, named)
                    failed |= {ZoneName(zone): failure for zone in some}
        return failed

    async def _one(self, argv: Argv) -> Exception | None:
        async with self._places:  # `cmd_timeout` begins after this
            try:
                await self._run(argv)
            except Exception as err:
                return err
        return None

    async def put(self, changes: Sequence[Change], *, older: bool) -> list[Change]:
        """Give files what they held before, or what was written; return those that were changed.

        One that somebody else has written meanwhile is left alone. Raises as `write_file` does.
        """

        def work() -> list[Change]:
            done = []
            for one in changes:
                old, new = (one.after, one.older) if older else (one.older, one.after)
                if old != new and _holds(one.path, old):
                    files.write_shared(one.path, new)
                    done.append(one)
            return done

        return await self._in_thread(work)


def _holds(path: str, data: bytes) -> bool:
    """Whether a file holds this, whoever owns it; blocks, never raises."""
    try:
        return files.read_shared(path, len(data) + 1) == data
    except (OSError, SslmError):
        return False
