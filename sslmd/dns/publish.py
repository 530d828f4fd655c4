"""Getting one zone's challenge records served: by include files and command, or RFC 2136.

What may be in DNS stands in a note on disk before it goes there, and until it is gone again: so a
daemon that was killed takes back what it published (I5). Nothing here is proof that anybody
serves the records; that is `observe`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from sslmd.config.model import Argv, Config, DnsPrimary
from sslmd.core.errors import Permanent, SslmError, together
from sslmd.core.failed import Failed
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import TxtRecord
from sslmd.dns.command import Change
from sslmd.dns.include import TTL, data_of, is_ours, parse, render
from sslmd.dns.notes import UPDATE, Noted, read_challenges, write_challenges
from sslmd.dns.resolver import Resolver
from sslmd.dns.runs import Pace, Runs
from sslmd.dns.update import change_owners, txt_changes
from sslmd.store import files
from sslmd.store.layout import Tree, challenge_file

Records = frozenset[TxtRecord]


def _unheard(event: str, text: str) -> None:
    """Nobody listens."""


def _not_established(_: ZoneName) -> bool:
    return False


def keep_place(_: ZoneName) -> AbstractContextManager[None]:
    """Hold nothing while a zone waits for a run of the command."""
    return nullcontext()


@dataclass(slots=True)
class Means:
    """What publishing needs. `config` gives the one in force; `run` does a command of the admin's.

    `resolver` finds addresses; `in_thread` runs what blocks; `crowded` tells whether more orders
    are still to begin. `pace`: how long a run of the command waits for more zones.

    `established`: whether a zone had certificates in use when the daemon started; what is not there
    then is not included by it either. `resting`: to be held while a zone only waits for a run.
    `tell`: takes the event and text of what fails when nobody waits for it.
    """

    config: Callable[[], Config]
    run: Callable[[Argv], Awaitable[object]]
    in_thread: Callable[[Callable[[], object]], Awaitable[object]]
    resolver: Resolver
    crowded: Callable[[], bool] = bool  # False
    pace: Pace = field(default_factory=Pace)
    established: Callable[[ZoneName], bool] = _not_established
    resting: Callable[[ZoneName], AbstractContextManager[None]] = keep_place
    tell: Callable[[str, str], None] = _unheard
    runs: Runs = field(init=False)
    _tlsa_turns: dict[ZoneName, asyncio.Lock] = field(default_factory=dict)

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

    def tlsa_turn(self, zone: ZoneName) -> asyncio.Lock:
        """Return what to hold while the TLSA records of `zone` are published, from note to note."""
        return self._tlsa_turns.setdefault(zone, asyncio.Lock())

    async def command(self, zone: ZoneName) -> None:
        """Have the name servers take the files of `zone`; raises what the command failed with."""
        await self.answer(zone, self.runs.ask(zone))

    async def answer(self, zone: ZoneName, asked: asyncio.Future[None]) -> None:
        """Wait for the run that was asked for; raises what it failed with."""
        with self.resting(zone):
            await asked

    def along(self, zone: ZoneName, changes: Collection[Change], event: str) -> None:
        """Have files that nobody waits for taken by a run, where the zone may include them.

        In a zone that is in use, what was not there is included by nothing: it would not be loaded.
        """
        if changes and not self.established(zone):
            self.runs.along(
                zone, tuple(changes), lambda err: self.tell(event, f"zone {zone}: {err}")
            )


def left_behind(means: Means, zone: ZoneName) -> tuple[Records, tuple[str, ...]]:
    """Return what an earlier run left in DNS, and the folders where the include file is missing.

    Blocks; never raises. A zone without a place for its file is looked at when it is needed. What
    others wrote into it, ssl-mgr for one, is left until the next challenge of the zone.
    """
    left = set(read_challenges(means.tree.challenge_note(zone)).records)
    missing = []
    if not means.updated(zone):
        for folder in map(str, means.config().dns.acme_dirs):
            data = data_of(challenge_file(folder, zone)) if os.path.isdir(folder) else b""
            if data is None:
                missing.append(folder)
            elif is_ours(data):
                left |= parse(data)
    return frozenset(left), tuple(missing)


async def make_files(means: Means, zone: ZoneName, folders: Iterable[str]) -> None:
    """Put a file without records into folders that have none: the zone may include it.

    Raises as `write_file` does.
    """
    with means.runs.writing():
        changes, refused = await _write(means, zone, tuple(folders), frozenset())
        means.along(zone, changes, "order-trouble")
    if refused:
        raise together(refused)


@dataclass(slots=True)
class ChallengesPublished:
    """How it went: what each record that could not be published failed with.

    `left`: why something of old is still in DNS that should not be, "" if nothing is; `stranded`:
    what nobody here can take back any more, or put into one of several folders. `before`: what may
    have been there.
    """

    failed: dict[TxtRecord, SslmError]
    left: str = ""
    stranded: str = ""
    before: Records = frozenset()


async def publish(means: Means, zone: ZoneName, wanted: Records) -> ChallengesPublished:
    """Have exactly `wanted` served as the challenge records of `zone`.

    Raises `Permanent` where there is no way to publish or what the admin has to mend, and what
    the command raises. By update a name that is refused keeps out no other (I6).
    """
    path = means.tree.challenge_note(zone)
    noted = await means.in_thread(lambda: read_challenges(path))
    assert isinstance(noted, Noted)
    primary = means.updated(zone)
    folders = tuple(map(str, means.config().dns.acme_dirs))
    if primary is None and not folders:
        raise Permanent(Reason(Failed.NO_WAY_TO_PUBLISH), about=f"zone {zone}")
    before = noted.records
    now = (UPDATE,) if primary is not None else folders
    stranded = ""
    if noted.records and any(one not in now for one in noted.means):
        stranded = await _take_back(means, zone, noted, now)
        noted = noted if any(one in now for one in noted.means) else Noted()
    await means.in_thread(lambda: write_challenges(path, zone, Noted(noted.records | wanted, now)))
    if primary is None:
        with means.runs.writing():
            changes, problems = await _write(means, zone, folders, wanted)
            if problems and len(problems) == len(folders):
                raise together(problems)
            asked = means.runs.ask(zone, changes)
        await means.answer(zone, asked)
        left = ""
        if problems and wanted:
            stranded = "; ".join(filter(None, (stranded, *map(str, problems))))
        elif problems:
            left = str(together(problems))
        if not left:
            await means.in_thread(lambda: write_challenges(path, zone, Noted(wanted, now)))
        return ChallengesPublished({}, left, stranded, before)
    gone = noted.records - wanted
    problems_at = await change_owners(zone, primary, txt_changes(wanted, gone, TTL), means.resolver)
    failed = {one: problems_at[one.owner] for one in wanted if one.owner in problems_at}
    stay = {one: problems_at[one.owner] for one in gone if one.owner in problems_at}
    # What was refused was not done: RFC 2136 §3.7, all of a message or nothing. What got no
    # answer may be there.
    refused = {one for one, err in failed.items() if isinstance(err, Permanent)}
    may_be = frozenset((wanted - refused) | set(stay))
    await means.in_thread(lambda: write_challenges(path, zone, Noted(may_be, now)))
    left = "; ".join(dict.fromkeys(map(str, stay.values())))
    return ChallengesPublished(failed, left, stranded, before)


async def _take_back(means: Means, zone: ZoneName, noted: Noted, now: Collection[str]) -> str:
    """Take back what was published by other means than now; return why it could not be."""
    unused = [one for one in noted.means if one not in (UPDATE, *now)]
    _, refused = await _write(means, zone, unused, frozenset())
    names = ", ".join(sorted({record.owner.text for record in noted.records}))
    stay = f"old challenges stay in DNS, remove them there: {names}"
    problems = [f"{err}; {stay}" for err in refused]
    if UPDATE in noted.means and UPDATE not in now:
        primary = means.config().primary_for(zone)
        if primary is None:
            problems.append(f"zone {zone}: {stay}")
        else:
            changes = txt_changes((), noted.records, 0)
            failed = await change_owners(zone, primary, changes, means.resolver)
            problems += [f"{err}; {stay}" for err in dict.fromkeys(map(str, failed.values()))]
    return "; ".join(problems)


async def _write(
    means: Means, zone: ZoneName, folders: Collection[str], records: Records
) -> tuple[list[Change], list[SslmError]]:
    """Write the include file into each folder; return what changed, and what failed."""
    data, nothing = render(zone, records, TTL), render(zone, ())
    changes: list[Change] = []
    refused: list[SslmError] = []

    def work() -> None:
        for folder in folders:
            try:
                if os.path.isdir(folder):
                    path = challenge_file(folder, zone)
                    before = data_of(path)
                    if before != data:
                        files.write_shared(path, data)
                        changes.append(Change(path, before, data, nothing))
                elif records:
                    why = Reason(Failed.NO_ACME_DIR, folder=folder)
                    raise Permanent(why, about=f"zone {zone}")
            except SslmError as err:
                refused.append(err)

    await means.in_thread(work)
    return changes, refused
