"""Getting one zone's TLSA records served: by include files and command, or RFC 2136 (I4).

What may be in DNS stands in a note on disk before it goes there, and until it is gone again. No
record that stays is away for an instant: files are replaced as a whole, an owner changes in one
message, and what was published by other means goes only after it is there by the new ones. Nothing
here is proof that anybody serves the records; that is `tlsa_look`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from sslmd.core.errors import Permanent, SslmError, Transient, together
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.tlsa import Content, TlsaSet
from sslmd.dns.notes import UPDATE
from sslmd.dns.publish import Means
from sslmd.dns.tlsa_include import MOST, read, render, tlsa_file
from sslmd.dns.tlsa_notes import (
    DEFAULT_TTL,
    TlsaNote,
    read_tlsa_note,
    tlsa_note_file,
    union,
    without,
    write_tlsa_note,
)
from sslmd.dns.tlsa_update import replace_tlsa
from sslmd.store import files

T = TypeVar("T")

# Owners that a text names.
MOST_OWNERS = 3


@dataclass(frozen=True, slots=True)
class TlsaPublished:
    """How it went. `before`: what may have been in DNS.

    `left`: why records that are not wanted any more may still be there, and the way out; "" if
    none are.
    """

    before: Content
    left: str = ""


def published(means: Means, zone: ZoneName) -> Content:
    """Return what may be in DNS now, by the note, or by what ssl-mgr left; blocks."""
    return _noted(means, zone).content


def differs(means: Means, zone: ZoneName, content: Content) -> str:
    """Return why what was given to DNS is not `content`; "" if it is.

    Blocks. Raises ValueError for what cannot be in the zone.
    """
    content, data = _plain(content), render(zone, content)
    note, now = _look(means, zone)
    problem = (
        _change(note.content, content)
        or _other_means(note.means, now if content else note.means)
        or _files_differ(zone, now, content, data)
        or _copy_differs(tlsa_file(_copy_folder(means, zone), zone), content, data)
    )
    return f"zone {zone}: {problem}" if problem else ""


async def publish(means: Means, zone: ZoneName, content: Content) -> TlsaPublished:
    """Have exactly `content` served as the TLSA records of `zone`.

    Raises `Permanent` where there is no way to publish or what the admin has to mend, `Transient`
    for what may pass, and what the command raises; ValueError for what cannot be in the zone. What
    can be done is done all the same: neither a folder that is not there nor an owner that is
    refused keeps out the others (I6).
    """
    render(zone, content)
    content = _plain(content)
    async with means.tlsa_turn(zone):
        note, now = await _in_thread(means, lambda: _look(means, zone))
        if content and not now:
            raise Permanent(
                f"zone {zone}: there is no way to publish TLSA records; write tlsa_dirs in [dns], "
                "or update = true in its [[dns_primary]]"
            )
        if not (now or note.means or note.content):
            return TlsaPublished({})
        # Whatever happens from here on, all of it may be there.
        every = dict.fromkeys((*now, *note.means))
        await _note(means, zone, union(note.content, content), every)
        if means.updated(zone) is not None:
            await _by_update(means, zone, note, content, every)
        else:
            # Without any means, this is the last change: nothing stays.
            await _by_files(means, zone, _folders(now or note.means), content)
        left, again = await _take_back(means, zone, note, content, now)
        if again:
            await _note(means, zone, union(note.content, content), (*now, UPDATE))
        else:
            await _note(means, zone, content, now)
        return TlsaPublished(note.content, left)


# --- by update, by files ---


async def _by_update(
    means: Means, zone: ZoneName, note: TlsaNote, content: Content, every: Iterable[str]
) -> None:
    primary = means.updated(zone)
    assert primary is not None
    failed = await replace_tlsa(zone, primary, note.content, content, means.resolver)
    if failed:
        await _note(means, zone, _after_failures(note.content, content, failed), every)
        raise together(list(failed.values()))


def _after_failures(
    before: Content, content: Content, failed: Mapping[DomainName, SslmError]
) -> Content:
    """Return what may be in DNS after an update that failed for some owners."""
    both = union(before, content)
    may_be = {owner: some for owner, some in content.items() if owner not in failed}
    for owner, err in failed.items():
        # What was refused was not done: RFC 2136 §3.7, all of a message or nothing. What got no
        # answer may be there.
        source = before if isinstance(err, Permanent) else both
        if owner in source:
            may_be[owner] = source[owner]
    return may_be


async def _by_files(
    means: Means, zone: ZoneName, folders: Collection[str], content: Content
) -> None:
    """Write the file into every folder, and run the command if it went into one of them."""
    failed: list[SslmError] = []
    async with means.turn(zone):
        refused = await _in_thread(means, lambda: _write_files(zone, folders, content))
        failed += refused.values()
        failed += await _in_thread(means, lambda: _write_copy(means, zone, content))
        if len(refused) < len(folders):
            try:
                await means.command(zone)
            except SslmError as err:
                failed.append(err)
    if failed:
        raise together(failed)


async def _take_back(
    means: Means, zone: ZoneName, note: TlsaNote, content: Content, now: Collection[str]
) -> tuple[str, bool]:
    """Take back what is there by other means than now, which serve already.

    Returns why something may be left, and whether that may work later.
    """
    used = [*_folders(now), _copy_folder(means, zone)]
    refused = await _in_thread(means, lambda: _write_files(zone, _unused(note.means, used), {}))
    failed = list(refused.values())
    if UPDATE in now:
        # Where the zone file still includes them, they count when the server starts again.
        kept = _folders(now)
        refused = await _in_thread(means, lambda: _write_files(zone, kept, content))
        failed += refused.values()
        failed += await _in_thread(means, lambda: _write_copy(means, zone, content))
    if failed:
        raise together(failed)
    # Only what is not wanted at all: the zone is the same, whoever put a record into it.
    gone = without(note.content, content)
    if UPDATE in now or UPDATE not in note.means or not gone:
        return "", False
    primary = means.config().primary_for(zone)
    if primary is None:
        return f"zone {zone}: {_stay(gone)}", False
    problems = await replace_tlsa(zone, primary, gone, {}, means.resolver)
    if not problems:
        return "", False
    texts = "; ".join(dict.fromkeys(map(str, problems.values())))
    again = any(isinstance(err, Transient) for err in problems.values())
    return f"{texts}; {_stay(problems)}", again


def _stay(owners: Iterable[DomainName]) -> str:
    return f"old TLSA records may still be in DNS, remove them there: {_some(owners)}"


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
    config = means.config()
    folders = tuple(str(folder) for folder in config.dns.tlsa_dirs)
    note = read_tlsa_note(tlsa_note_file(config.globals.certs_dir, zone))
    if note is not None:
        # ssl-mgr named no means; it had this one.
        return note if note.means or not note.content else TlsaNote(note.content, folders)
    for folder in folders:
        content = read(tlsa_file(folder, zone), DEFAULT_TTL)
        if content is not None:
            return TlsaNote(content, folders if content else ())
    return TlsaNote()


def _change(old: Content, new: Content) -> str:
    changed = [owner for owner in sorted({*old, *new}) if old.get(owner) != new.get(owner)]
    if not changed:
        return ""
    nothing: frozenset[object] = frozenset()
    same = all(
        (old[owner].records if owner in old else nothing)
        == (new[owner].records if owner in new else nothing)
        for owner in changed
    )
    what = "have another TTL" if same else "change"
    return f"the TLSA records of {_some(changed)} are to {what}"


def _other_means(was: Collection[str], now: Collection[str]) -> str:
    if set(was) == set(now):
        return ""
    return (
        f"TLSA records were published by {', '.join(was) or 'nobody'}, and now are by "
        f"{', '.join(now) or 'nobody'}"
    )


def _files_differ(zone: ZoneName, now: Iterable[str], content: Content, data: bytes) -> str:
    for folder in _folders(now):
        if os.path.isdir(folder):
            if problem := _file_differs(tlsa_file(folder, zone), data):
                return problem
        elif content:  # without anything to say, nobody lacks the folder
            return f"the directory {folder} is not there"
    return ""


def _copy_differs(path: str, content: Content, data: bytes) -> str:
    """Return what is wrong with the copy in the production tree: without records, it may lack."""
    return _file_differs(path, data) if content or os.path.lexists(path) else ""


def _file_differs(path: str, data: bytes) -> str:
    try:
        found = files.read_file(path, MOST)
    except FileNotFoundError:
        return f"{path} is not there"
    except SslmError as err:
        return str(err)
    return "" if found == data else f"{path} was changed by others"


def _plain(content: Content) -> dict[DomainName, TlsaSet]:
    return {owner: some for owner, some in content.items() if some.records}


def _folders(means: Iterable[str]) -> list[str]:
    return [one for one in means if one != UPDATE]


def _unused(means: Iterable[str], used: Iterable[str]) -> list[str]:
    """Return the folders of `means` that are none of the `used`, by whatever path. Blocks."""
    real = {os.path.realpath(folder) for folder in used}
    return [folder for folder in _folders(means) if os.path.realpath(folder) not in real]


def _copy_folder(means: Means, zone: ZoneName) -> str:
    return f"{means.config().globals.prod_cert_dir}/{zone}"


def _some(owners: Iterable[DomainName]) -> str:
    names = sorted(owner.text for owner in owners)
    more = f" and {len(names) - MOST_OWNERS} more" if len(names) > MOST_OWNERS else ""
    return ", ".join(names[:MOST_OWNERS]) + more


# --- writing ---


def _write_files(zone: ZoneName, folders: Iterable[str], content: Content) -> dict[str, SslmError]:
    """Write the include file into each folder; return those where that failed. Blocks."""
    data = render(zone, content)
    failed: dict[str, SslmError] = {}
    for folder in folders:
        try:
            if os.path.isdir(folder):
                files.write_file(tlsa_file(folder, zone), data, files.FILE_MODE)
            elif content:
                raise Permanent(
                    f"zone {zone}: the directory {folder} is not there; make it, for the name "
                    "server to read, or mend tlsa_dirs in [dns]"
                )
        except SslmError as err:
            failed[folder] = err
    return failed


def _write_copy(means: Means, zone: ZoneName, content: Content) -> list[SslmError]:
    """Write the copy of the production tree; return what failed. Blocks."""
    folder = _copy_folder(means, zone)
    try:
        files.make_dirs(folder)
        files.write_file(tlsa_file(folder, zone), render(zone, content), files.FILE_MODE)
    except SslmError as err:
        return [err]
    return []


async def _note(means: Means, zone: ZoneName, content: Content, by: Iterable[str]) -> None:
    path = tlsa_note_file(means.config().globals.certs_dir, zone)
    await _in_thread(means, lambda: write_tlsa_note(path, zone, content, by))


async def _in_thread(means: Means, call: Callable[[], T]) -> T:
    return cast(T, await means.in_thread(call))
