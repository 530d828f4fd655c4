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
from sslmd.core.errors import Permanent, SslmError
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.dns.command import with_zones
from sslmd.dns.include import TTL, challenge_file, read, render
from sslmd.dns.notes import UPDATE, Note, note_file, read_note, write_note
from sslmd.dns.resolver import Resolver
from sslmd.dns.update import add, remove
from sslmd.store import files

Records = frozenset[TxtRecord]


# Commands at a time: after a start, hundreds of zones may have their file missing.
COMMANDS = 16

# Updates of one zone at a time.
AT_ONCE = 8


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
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COMMANDS))
    _turns: dict[ZoneName, asyncio.Lock] = field(default_factory=dict)
    _tlsa_turns: dict[ZoneName, asyncio.Lock] = field(default_factory=dict)

    def note_file(self, zone: ZoneName) -> str:
        """Return where it stands what of ours may be in DNS."""
        return note_file(self.config().globals.certs_dir, zone)

    def updated(self, zone: ZoneName) -> DnsPrimary | None:
        """Return the primary that takes updates of `zone`, None where files are written."""
        primary = self.config().primary_for(zone)
        return primary if primary is not None and primary.update else None

    def turn(self, zone: ZoneName) -> asyncio.Lock:
        """Return what to hold from writing a file of `zone` until its command has ended.

        Challenges and TLSA records have a file each, but the zone is one: two commands at a time
        would get into each other's way. Nothing else is waited for meanwhile.
        """
        return self._turns.setdefault(zone, asyncio.Lock())

    def tlsa_turn(self, zone: ZoneName) -> asyncio.Lock:
        """Return what to hold while the TLSA records of `zone` are published, from note to note.

        Taken before `turn`, never while holding that.
        """
        return self._tlsa_turns.setdefault(zone, asyncio.Lock())

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
                async with self._places:
                    await self.run(whole)


def left_behind(means: Means, zone: ZoneName) -> tuple[Records, bool]:
    """Return what an earlier run left in DNS, and whether the include file has to be written.

    Blocks; never raises. A zone without a place for its file is looked at when it is needed.
    """
    noted = read_note(means.note_file(zone)).records
    folder = means.config().dns.acme_dir
    if means.updated(zone) or folder is None or not os.path.isdir(folder):
        return noted, False
    there = read(challenge_file(folder, zone))
    return noted | (there or frozenset()), there is None


@dataclass(slots=True)
class Published:
    """How it went: what each record that could not be published failed with.

    `left`: why something of old is still in DNS that should not be, "" if nothing is; `stranded`:
    what nobody here can take back any more. `before`: what may have been there.
    """

    failed: dict[TxtRecord, SslmError]
    left: str = ""
    stranded: str = ""
    before: Records = frozenset()


async def publish(means: Means, zone: ZoneName, wanted: Records) -> Published:
    """Have exactly `wanted` served as the challenge records of `zone`.

    Raises `Permanent` where there is no way to publish or what the admin has to mend, and what
    the command raises. By update each name is sent by itself: one that is refused keeps out no
    other (I6).
    """
    path = means.note_file(zone)
    noted = await means.in_thread(lambda: read_note(path))
    assert isinstance(noted, Note)
    primary = means.updated(zone)
    folder = means.config().dns.acme_dir
    if primary is None and folder is None:
        raise Permanent(
            f"zone {zone}: there is no way to publish challenges; write acme_dir in [dns], or "
            "update = true in its [[dns_primary]]"
        )
    before = noted.records
    now = UPDATE if primary is not None else str(folder)
    stranded = ""
    if noted.records and noted.means not in ("", now):
        stranded = await _take_back(means, zone, noted)
        noted = Note()
    await means.in_thread(lambda: write_note(path, zone, Note(noted.records | wanted, now)))
    if primary is None:
        assert folder is not None
        async with means.turn(zone):
            await means.in_thread(lambda: _write_include(folder, zone, wanted))
            await means.command(zone)
        done = Published({}, "", stranded, before)
        await means.in_thread(lambda: write_note(path, zone, Note(wanted, now)))
        return done
    failed = await _each_name(wanted, lambda some: add(zone, primary, some, TTL, means.resolver))
    gone = noted.records - wanted
    stay = await _each_name(gone, lambda some: remove(zone, primary, some, means.resolver))
    # What was refused was not done: RFC 2136 §3.7, all of a message or nothing. What got no
    # answer may be there.
    refused = {one for one, err in failed.items() if isinstance(err, Permanent)}
    may_be = frozenset((wanted - refused) | set(stay))
    await means.in_thread(lambda: write_note(path, zone, Note(may_be, now)))
    left = "; ".join(dict.fromkeys(map(str, stay.values())))
    return Published(failed, left, stranded, before)


async def _each_name(
    records: Records, send: Callable[[list[TxtRecord]], Awaitable[None]]
) -> dict[TxtRecord, SslmError]:
    """Send the records of each name by themselves; return those that failed."""
    names: dict[DomainName, list[TxtRecord]] = {}
    for record in sorted(records):
        names.setdefault(record.owner, []).append(record)
    places = asyncio.Semaphore(AT_ONCE)
    failed: dict[TxtRecord, SslmError] = {}

    async def one(some: list[TxtRecord]) -> None:
        async with places:
            try:
                await send(some)
            except SslmError as err:
                failed.update(dict.fromkeys(some, err))

    await asyncio.gather(*map(one, names.values()))
    return failed


async def _take_back(means: Means, zone: ZoneName, noted: Note) -> str:
    """Take back what was published by other means than now; return why it could not be."""
    if noted.means != UPDATE:
        await means.in_thread(lambda: _leave(Path(noted.means), zone))
        return ""
    primary = means.config().primary_for(zone)
    names = ", ".join(sorted({record.owner.text for record in noted.records}))
    if primary is None:
        return f"zone {zone}: old challenges stay in DNS, remove them there: {names}"
    try:
        await remove(zone, primary, noted.records, means.resolver)
    except SslmError as err:
        return f"{err}; old challenges stay in DNS, remove them there: {names}"
    return ""


def _leave(folder: Path, zone: ZoneName) -> None:
    """Nothing of ours stays in a folder that is not acme_dir any more."""
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
