"""Getting one zone's TLSA records served: by include files and command, or RFC 2136 (I4).

What may be in DNS stands in a note on disk before it goes there, and until it is gone again. No
record that stays is away for an instant: files are replaced as a whole, an owner changes in one
message, and what was published by other means goes only after it is there by the new ones. Nothing
here is proof that anybody serves the records; that is `look`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial

from sslmd.core.dane.tlsa import Content, TlsaSet
from sslmd.core.errors import Permanent, SslmError, Transient, several, together
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.seen import InDns
from sslmd.dns import before
from sslmd.dns.include import TLSA_FILES, records_in, says
from sslmd.dns.means import Means
from sslmd.dns.notes import UPDATE, RecordNote, Stage, read_note, union, without, write_note
from sslmd.dns.update import change_owners, tlsa_changes
from sslmd.dns.zone_files import (
    Fits,
    copy_differs,
    copy_folder,
    files_differ,
    write_copy,
    write_files,
)
from sslmd.store.layout import tlsa_file

TlsaNote = RecordNote[Content]

MOST_OWNERS = 3  # that a reason names


@dataclass(frozen=True, slots=True)
class TlsaPublished:
    """How it went. `before`: what may have been in DNS.

    `left`: why records that are not wanted any more may still be there, and the way out; None if
    none are. `given`: name servers were made to take something; all was there already if not.
    """

    before: Content
    left: Reason | None = None
    given: bool = True


def published(means: Means, zone: ZoneName) -> Content:
    """Return what may be in DNS now, by the note, or by what ssl-mgr left; blocks."""
    return _noted(means, zone).content


def differs(means: Means, zone: ZoneName, content: Content) -> Reason | None:
    """Return why what was given to DNS is not `content`; None if it is.

    Blocks. Raises ValueError for what cannot be in the zone. Where what is there was written by
    ssl-mgr or others, comments and lifetimes do not count.
    """
    TLSA_FILES.render(zone, content)
    content = _plain(content)
    note, now = _look(means, zone)
    others = None
    if content and set(note.means) != set(now):
        others = Reason(InDns.OTHER_MEANS, before=tuple(note.means) or None, now=now or None)
    return (
        _change(note, content)
        or others
        or files_differ(zone, _folders(now), content)
        or copy_differs(means, zone, content)
        or (Reason(InDns.UNSURE) if note.under_way else None)
    )


def is_of_others(means: Means, zone: ZoneName) -> bool:
    """Whether what is served was written by others, with lifetimes of their own. Blocks."""
    if means.updated(zone) is not None:
        return False
    found = [TLSA_FILES.data_of(tlsa_file(one, zone)) for one in means.config().dns.tlsa_dirs]
    return any(data is not None and not TLSA_FILES.is_ours(data) for data in found)


async def publish(
    means: Means, zone: ZoneName, content: Content, *, again: bool = False
) -> TlsaPublished:
    """Have exactly `content` served as the TLSA records of `zone`.

    Files that say so already stay as they are, and without any change the command is not run;
    `again`: all the same. Raises `Permanent` where there is no way to publish or what the admin has
    to mend, `Transient` for what may pass, and what the command raises; ValueError for what cannot
    be in the zone. What can be done is done all the same: neither a folder that is not there nor an
    owner that is refused keeps out the others (I6). To be called by who holds the zone's turn.
    """
    TLSA_FILES.render(zone, content)
    content = _plain(content)
    note, now = await means.in_thread(lambda: _look(means, zone))
    if content and not now:
        raise Permanent(Reason(Failed.NO_WAY_FOR_TLSA), about=f"zone {zone}")
    if not (now or note.means or note.content):
        return TlsaPublished({}, given=False)
    new = bool(_change(note, content) or note.under_way) or set(note.means) != set(now)
    silent = not (content or note.content or note.under_way)
    if not again and (silent or not new) and await _put_right(means, zone, now, content):
        if silent and note.ours and new:
            await _note(means, zone, content, now)
        return TlsaPublished(note.content, given=False)
    # Whatever happens from here on, all of it may be there.
    every = dict.fromkeys((*now, *note.means))
    await _note(means, zone, union(note.content, content), every, Stage.BEFORE)
    given = True
    if means.updated(zone) is not None:
        await _by_update(means, zone, note, content, every)
    else:
        # Without any means, this is the last change: nothing stays.
        run = again or (note.ours and new)
        fits = TLSA_FILES.is_rendered if run else says
        folders = _folders(now or note.means)
        # While nobody knows what came of the last try, that is nothing to go back to.
        served = note.content if not note.under_way else {}
        given = await _by_files(means, zone, folders, content, fits, served, run=run)
    left, later = await _take_back(means, zone, note, content, now)
    if later:
        await _note(means, zone, union(note.content, content), (*now, UPDATE))
    else:
        await _note(means, zone, content, now)
    return TlsaPublished(note.content, left, given)


# --- by update, by files ---


async def _by_update(
    means: Means, zone: ZoneName, note: TlsaNote, content: Content, every: Iterable[str]
) -> None:
    primary = means.updated(zone)
    assert primary is not None
    failed = await change_owners(zone, primary, tlsa_changes(note.content, content), means.resolver)
    if failed:
        both = union(note.content, content)
        may_be = {owner: some for owner, some in content.items() if owner not in failed}
        for owner, err in failed.items():
            # What was refused was not done: RFC 2136 §3.7, all of a message or nothing. What got
            # no answer may be there.
            source = note.content if isinstance(err, Permanent) else both
            if owner in source:
                may_be[owner] = source[owner]
        await _note(means, zone, may_be, every, Stage.BEFORE)
        told = together(list(failed.values()))
        if isinstance(told, Permanent) and any(isinstance(e, Transient) for e in failed.values()):
            # What may pass does not wait for a day because of an owner that is refused (I6).
            raise Transient(told.reason)
        raise told


async def _by_files(
    means: Means,
    zone: ZoneName,
    folders: Collection[str],
    content: Content,
    fits: Fits[Content],
    served: Content,
    *,
    run: bool,
) -> bool:
    """Write the files that do not fit, and have the command run: if one was written, or `run`.

    `served`: what was given to DNS last. Return whether it ran.
    """
    with means.runs.writing():
        changes, failed = await write_files(
            means, zone, TLSA_FILES, folders, content, fits, keep=True, served=served
        )
        run = run and len(failed) < len(folders)
        copied, problems = await write_copy(means, zone, content, fits, keep=True)
        failed += problems
        asked = None
        if changes or run:
            # The copy goes back with the rest: some zone files include that one.
            asked = means.runs.ask(zone, [*changes, *copied])
    if asked is not None:
        try:
            await means.answer(f"zone {zone}", asked)
            kept = means.tree.before_note(zone)
            written = [*changes, *copied]
            await means.in_thread(lambda: before.loaded(kept, written) if written else None)
        except SslmError as err:
            failed.append(err)
    if failed:
        raise together(failed)
    return asked is not None


async def confirm(means: Means, zone: ZoneName) -> None:
    """Take in that a name server was seen to serve what was written: it needs no way back.

    Raises as `files.remove_file` does.
    """
    path = means.tree.before_note(zone)
    if await means.in_thread(lambda: os.path.lexists(path)):
        await means.in_thread(lambda: before.forget(path))


async def put_back(means: Means, zone: ZoneName) -> list[str]:
    """Put files back that no name server was ever seen to serve; return their paths.

    For commands that succeed whether or not the zone could be loaded. Then they run once more,
    while the files are as they were. Raises what the command raises, and as `write_file` does. To
    be called by who holds the zone's turn.
    """
    path = means.tree.before_note(zone)
    nothing = TLSA_FILES.render(zone, {})
    with means.runs.writing():
        found = await means.in_thread(lambda: before.left(path, nothing))
        put = await means.runs.command.put(found, older=True)
        if not put:
            return []
        asked = means.runs.ask(zone)
    await means.answer(f"zone {zone}", asked)
    return [one.path for one in put]


async def _put_right(means: Means, zone: ZoneName, now: Collection[str], content: Content) -> bool:
    """Write what no name server has to be told of; False if there is more to do than that.

    Those are files that are not there, where there is nothing to say, and the copy in production.
    """
    folders = _folders(now)

    def is_all() -> bool:
        for folder in folders:
            data = TLSA_FILES.data_of(tlsa_file(folder, zone)) if os.path.isdir(folder) else None
            if data is None and content:
                return False
            if data is not None and not says(data, zone, content):
                return False
        return True

    if not await means.in_thread(is_all):
        return False
    with means.runs.writing():
        changes, failed = await write_files(means, zone, TLSA_FILES, folders, content, says)
        means.along(zone, changes, "tlsa-trouble")
    if await means.in_thread(lambda: bool(copy_differs(means, zone, content))):
        failed += (await write_copy(means, zone, content, says))[1]
    if failed:
        raise together(failed)
    return True


async def _take_back(
    means: Means, zone: ZoneName, note: TlsaNote, content: Content, now: Collection[str]
) -> tuple[Reason | None, bool]:
    """Take back what is there by other means than now, which serve already.

    Returns why something may be left, and whether that may work later.
    """
    used = [*_folders(now), copy_folder(means, zone)]

    def unused() -> list[str]:
        real = {os.path.realpath(folder) for folder in used}
        return [one for one in _folders(note.means) if os.path.realpath(one) not in real]

    rest = await means.in_thread(unused)
    _, failed = await write_files(means, zone, TLSA_FILES, rest, {}, says)
    if UPDATE in now:
        # Where the zone file still includes them, they count when the server starts again.
        kept = _folders(now)
        failed += (await write_files(means, zone, TLSA_FILES, kept, content, says))[1]
        failed += (await write_copy(means, zone, content, says))[1]
    if failed:
        raise together(failed)
    # Only what is not wanted at all: the zone is the same, whoever put a record into it.
    gone = without(note.content, content)
    if UPDATE in now or UPDATE not in note.means or not gone:
        return None, False
    primary = means.config().primary_for(zone)
    if primary is None:
        return _stay(gone), False
    problems = await change_owners(zone, primary, tlsa_changes(gone, {}), means.resolver)
    if not problems:
        return None, False
    again = any(isinstance(err, Transient) for err in problems.values())
    return several([one.reason for one in problems.values()]).also(_stay(problems)), again


def _stay(owners: Iterable[DomainName]) -> Reason:
    return _of_owners(InDns.STAY, owners)


# --- what is there ---


def _look(means: Means, zone: ZoneName) -> tuple[TlsaNote, tuple[str, ...]]:
    """Return what is noted, and the means of now; blocks."""
    note = _noted(means, zone)
    folders = tuple(str(folder) for folder in means.config().dns.tlsa_dirs)
    if means.updated(zone) is None:
        return note, folders
    # The files of a zone that was published by them are kept up to date: a zone file that still
    # includes them would lose the records when the server starts again.
    kept = (one for one in folders if one in note.means and os.path.isdir(one))
    return note, (UPDATE, *kept)


def _noted(means: Means, zone: ZoneName) -> TlsaNote:
    """Return our note; without one, what the include files hold that ssl-mgr has left.

    Name servers read these. It has left a note as well, which counts where no file is.
    """
    config = means.config()
    note = read_note(means.tree, zone, TLSA_FILES)
    if note.ours:
        return note
    folders = tuple(str(folder) for folder in config.dns.tlsa_dirs)
    found = [TLSA_FILES.read(tlsa_file(folder, zone)) for folder in folders]
    content: Content = {}
    for one in found:
        content = union(content, one or {})
    if all(one is None for one in found):
        content = note.content
    return RecordNote(content, folders if content else ())


def _change(note: TlsaNote, new: Content) -> Reason | None:
    """Return what is to change of what is noted; None if nothing is."""
    was, will = records_in(note.content), records_in(new)
    if changed := [owner for owner in sorted({*was, *will}) if was.get(owner) != will.get(owner)]:
        return _of_owners(InDns.RECORDS_CHANGE, changed)
    others = [owner for owner in sorted(will) if note.content[owner].ttl != new[owner].ttl]
    # ssl-mgr's files do not always tell a lifetime; what is served stays as it is.
    return _of_owners(InDns.TTL_CHANGES, others) if others and note.ours else None


def _plain(content: Content) -> dict[DomainName, TlsaSet]:
    return {owner: some for owner, some in content.items() if some.records}


def _folders(means: Iterable[str]) -> list[str]:
    return [one for one in means if one != UPDATE]


def _of_owners(code: InDns, owners: Iterable[DomainName]) -> Reason:
    names = sorted(owner.text for owner in owners)
    some, more = tuple(names[:MOST_OWNERS]), len(names[MOST_OWNERS:]) or None
    return Reason(code, owners=some, more=more)


# --- notes ---


async def _note(
    means: Means,
    zone: ZoneName,
    content: Content,
    by: Iterable[str],
    stage: Stage = Stage.AFTER,
) -> None:
    call = partial(write_note, means.tree, zone, TLSA_FILES, content, by, stage)
    await means.in_thread(call)
