"""Getting one zone's challenge records served: by include files and command, or RFC 2136.

What may be in DNS stands in a note on disk before it goes there, and until it is gone again: so a
daemon that was killed takes back what it published (I5). Nothing here is proof that anybody
serves the records; that is `observe`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from sslmd.core.errors import Permanent, SslmError, several, together
from sslmd.core.failed import Failed
from sslmd.core.names import ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import TxtRecord
from sslmd.core.seen import InDns
from sslmd.dns.include import CHALLENGE_FILES, TTL
from sslmd.dns.means import Means
from sslmd.dns.notes import UPDATE, RecordNote, read_note, write_note
from sslmd.dns.update import change_owners, txt_changes
from sslmd.dns.zone_files import write_files

Records = frozenset[TxtRecord]

NONE: Records = frozenset()


def left_behind(means: Means, zone: ZoneName) -> tuple[Records, tuple[str, ...]]:
    """Return what an earlier run left in DNS, and the folders where the include file is missing.

    Blocks; never raises. A zone without a place for its file is looked at when it is needed. What
    others wrote into it, ssl-mgr for one, is left until the next challenge of the zone.
    """
    left = read_note(means.tree, zone, CHALLENGE_FILES).content
    missing = []
    for folder in map(str, means.config().dns.acme_dirs) if not means.updated(zone) else ():
        path = CHALLENGE_FILES.file_in(folder, zone)
        data = CHALLENGE_FILES.data_of(path) if os.path.isdir(folder) else b""
        if data is None:
            missing.append(folder)
        elif CHALLENGE_FILES.is_ours(data):
            left |= CHALLENGE_FILES.parse(data)
    return left, tuple(missing)


async def make_files(means: Means, zone: ZoneName, folders: Collection[str]) -> None:
    """Put a file without records into folders that have none: the zone may include it.

    Raises as `write_file` does.
    """
    with means.runs.writing():
        changes, refused = await write_files(means, zone, CHALLENGE_FILES, folders, NONE)
        means.along(zone, changes, "order-trouble")
    if refused:
        raise together(refused)


@dataclass(slots=True)
class ChallengesPublished:
    """How it went: what each record that could not be published failed with.

    `left`: why something of old is still in DNS that should not be, None if nothing is; `stranded`:
    what nobody here can take back any more, or put into one of several folders. `before`: what may
    have been there.
    """

    failed: dict[TxtRecord, SslmError]
    left: Reason | None = None
    stranded: Reason | None = None
    before: Records = NONE


async def publish(means: Means, zone: ZoneName, wanted: Records) -> ChallengesPublished:
    """Have exactly `wanted` served as the challenge records of `zone`.

    Raises `Permanent` where there is no way to publish or what the admin has to mend, and what
    the command raises. By update a name that is refused keeps out no other (I6).
    """
    tree, primary = means.tree, means.updated(zone)
    noted = await means.in_thread(lambda: read_note(tree, zone, CHALLENGE_FILES))
    folders = tuple(map(str, means.config().dns.acme_dirs))
    if primary is None and not folders:
        raise Permanent(Reason(Failed.NO_WAY_TO_PUBLISH), about=f"zone {zone}")
    before = there = noted.content
    now = (UPDATE,) if primary is not None else folders
    stranded = None
    if before and any(one not in now for one in noted.means):
        stranded = await _take_back(means, zone, noted, now)
        there = before if any(one in now for one in noted.means) else NONE

    async def note(records: Records) -> None:
        call = partial(write_note, tree, zone, CHALLENGE_FILES, records, now)
        await means.in_thread(call)

    await note(there | wanted)
    if primary is None:
        with means.runs.writing():
            changes, problems = await write_files(means, zone, CHALLENGE_FILES, folders, wanted)
            if problems and len(problems) == len(folders):
                raise together(problems)
            asked = means.runs.ask(zone, changes)
        await means.answer(f"challenges {zone}", asked)
        left = None
        if problems and wanted:
            told = [one.reason for one in problems]
            stranded = _all_of(told if stranded is None else [stranded, *told])
        elif problems:
            left = _all_of([one.reason for one in problems])
        if not left:
            await note(wanted)
        return ChallengesPublished({}, left, stranded, before)
    gone = there - wanted
    problems_at = await change_owners(zone, primary, txt_changes(wanted, gone, TTL), means.resolver)
    failed = {one: problems_at[one.owner] for one in wanted if one.owner in problems_at}
    stay = {one: problems_at[one.owner] for one in gone if one.owner in problems_at}
    # What was refused was not done: RFC 2136 §3.7, all of a message or nothing. What got no
    # answer may be there.
    refused = {one for one, err in failed.items() if isinstance(err, Permanent)}
    await note((wanted - refused) | stay.keys())
    left = _all_of([one.reason for one in stay.values()])
    return ChallengesPublished(failed, left, stranded, before)


async def _take_back(
    means: Means, zone: ZoneName, noted: RecordNote[Records], now: Collection[str]
) -> Reason | None:
    """Take back what was published by other means than now; return why it could not be."""
    unused = [one for one in noted.means if one not in (UPDATE, *now)]
    _, refused = await write_files(means, zone, CHALLENGE_FILES, unused, NONE)
    names = tuple(sorted({record.owner.text for record in noted.content}))
    stay = Reason(InDns.CHALLENGES_STAY, owners=names)
    problems = [err.reason.also(stay) for err in refused]
    if UPDATE in noted.means and UPDATE not in now:
        primary = means.config().primary_for(zone)
        if primary is None:
            problems.append(stay.of(f"zone {zone}"))
        else:
            changes = txt_changes((), noted.content, 0)
            failed = await change_owners(zone, primary, changes, means.resolver)
            problems += [err.reason.also(stay) for err in failed.values()]
    return _all_of(problems)


def _all_of(problems: Sequence[Reason]) -> Reason | None:
    return several(problems) if problems else None
