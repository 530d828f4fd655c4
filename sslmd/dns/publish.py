"""Getting one zone's challenge records served: by include file and command, or RFC 2136.

What may be in DNS stands in a note on disk before it goes there, and until it is gone again: so a
daemon that was killed takes back what it published (I5). Nothing here is proof that anybody
serves the records; that is `observe`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sslmd.config.model import Argv, Config, DnsPrimary
from sslmd.core.errors import Permanent
from sslmd.core.names import ZoneName
from sslmd.core.records import TxtRecord
from sslmd.dns.command import with_zones
from sslmd.dns.include import TTL, challenge_file, read, render
from sslmd.dns.resolver import Resolver
from sslmd.dns.update import add, remove
from sslmd.store import files

Records = frozenset[TxtRecord]


@dataclass(slots=True)
class Means:
    """What publishing needs. `config` gives the one in force; `run` does a command of the admin's.

    `resolver` finds addresses; `in_thread` runs what blocks; `crowded` tells whether more orders
    are still to begin.
    """

    config: Callable[[], Config]
    run: Callable[[Argv], Awaitable[object]]
    in_thread: Callable[[Callable[[], object]], Awaitable[object]]
    resolver: Resolver
    crowded: Callable[[], bool] = bool  # False
    _bare: asyncio.Lock = field(default_factory=asyncio.Lock)
    _folders: dict[ZoneName, Path] = field(default_factory=dict)

    def note_file(self, zone: ZoneName) -> str:
        """Return where it stands what of ours may be in DNS."""
        return f"{self.config().globals.certs_dir}/{zone}/acme-challenge.{zone}"

    def moved(self, zone: ZoneName, folder: Path | None) -> Path | None:
        """Note where the zone's include file is; return where it was, if that was elsewhere."""
        old = self._folders.pop(zone, None)
        if folder is not None:
            self._folders[zone] = folder
        return old if old != folder else None

    def updated(self, zone: ZoneName) -> DnsPrimary | None:
        """Return the primary that takes updates of `zone`, None where files are written."""
        primary = self.config().primary_for(zone)
        return primary if primary is not None and primary.update else None

    async def command(self, zone: ZoneName) -> None:
        """Have the name servers take the changed file of `zone`; raises what `run` raises."""
        dns = self.config().dns
        for argv in dns.restart:
            whole = with_zones(argv, [zone.text], pass_zones=dns.pass_zones)
            if whole == argv:
                # It is for all zones at once: two of them would get into each other's way.
                async with self._bare:
                    await self.run(whole)
            else:
                await self.run(whole)


def left_behind(means: Means, zone: ZoneName) -> tuple[Records, bool]:
    """Return what an earlier run left in DNS, and whether the include file has to be written.

    Blocks; never raises. A zone without a place for its file is looked at when it is needed.
    """
    noted = read(means.note_file(zone)) or frozenset()
    folder = means.config().dns.acme_dir
    if means.updated(zone) or folder is None or not os.path.isdir(folder):
        return noted, False
    there = read(challenge_file(folder, zone))
    return noted | (there or frozenset()), there is None


async def publish(means: Means, zone: ZoneName, wanted: Records) -> None:
    """Have exactly `wanted` served as the challenge records of `zone`.

    Raises `Permanent` where there is no way to publish or what the admin has to mend, and what
    the command or the update raises.
    """
    note = means.note_file(zone)
    before = await means.in_thread(lambda: read(note)) or frozenset()
    assert isinstance(before, frozenset)
    primary = means.updated(zone)
    folder = means.config().dns.acme_dir
    if primary is None and folder is None:
        raise Permanent(
            f"zone {zone}: there is no way to publish challenges; write acme_dir in [dns], or "
            "update = true in its [[dns_primary]]"
        )
    old = means.moved(zone, folder if primary is None else None)
    if old is not None:
        await means.in_thread(lambda: _leave(old, zone))
    if before | wanted:
        await means.in_thread(lambda: _write_note(note, zone, before | wanted))
    if primary is not None:
        if gone := before - wanted:
            await remove(zone, primary, gone, means.resolver)
        if wanted:
            await add(zone, primary, wanted, TTL, means.resolver)
    else:
        assert folder is not None
        await means.in_thread(lambda: _write_include(folder, zone, wanted))
        await means.command(zone)
    await means.in_thread(lambda: _write_note(note, zone, wanted))


def _write_note(path: str, zone: ZoneName, records: Records) -> None:
    if records:
        files.make_dirs(os.path.dirname(path))
        files.write_file(path, render(zone, records, TTL))
        return
    if os.path.lexists(path):
        files.remove_file(path)


def _leave(folder: Path, zone: ZoneName) -> None:
    """Another acme_dir since a reload: nothing of ours stays in the old one."""
    if os.path.isdir(folder):
        _write_include(folder, zone, frozenset())


def _write_include(folder: Path, zone: ZoneName, records: Records) -> None:
    path = challenge_file(folder, zone)
    if not os.path.isdir(folder):
        raise Permanent(
            f"zone {zone}: acme_dir {folder} is not there; make that directory, which the name "
            "server reads, or mend acme_dir in [dns]"
        )
    files.write_file(path, render(zone, records, TTL), files.FILE_MODE)
