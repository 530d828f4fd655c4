"""What can happen to a zone, and how it stands after that: the only place that says so.

Times (`at`) are in seconds of a clock that nobody sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sslmd.core.dane.content import Given, Wish, ZoneNotes
from sslmd.core.dane.look import take
from sslmd.core.dane.places import Elsewhere
from sslmd.core.dane.sighting import (
    FIRST_PAUSE,
    GROWTH,
    LONGEST_MISSING,
    NameServersSeen,
    Sighting,
)
from sslmd.core.dane.zone import KnownZone
from sslmd.core.errors import Trouble
from sslmd.core.names import CertId, DomainName, ZoneName
from sslmd.core.reason import Reason

# Seconds between two looks at the include files: somebody may have changed one by hand.
FILES = 60.0

# Seconds between two looks at a zone where nothing is waited for, and between two watches.
DAY = 86_400.0

# Seconds between two looks at owners that are CNAMEs, in zones of their own, or get no records: the
# admin may have changed that, and nothing else would show it.
PLACES = 3600.0

# Seconds from the start to the first watch: up to so many, so that a site's zones take turns.
FIRST_WATCH = 600.0

# Seconds after which a watch that found something is repeated, before it is told; and then, while
# something is wrong: the alarm is to end when it was put right.
DOUBT = 60.0
IN_ALARM = 900.0

# Seconds to the next try after what should not have happened.
AFTER_BUG = 60.0

# Seconds from one look to the next, at least.
SOON = 0.05


@dataclass(frozen=True, slots=True)
class CertsOfZone:
    """These are the certificates of a zone that have TLSA records; it may be new."""

    zone: ZoneName
    certs: frozenset[CertId] = frozenset()


@dataclass(frozen=True, slots=True)
class ZoneReloaded:
    """The configuration is another: the ways to publish, and the files, may be."""


@dataclass(frozen=True, slots=True)
class NotesRead:
    """What was noted of it on disk."""

    notes: ZoneNotes


@dataclass(frozen=True, slots=True)
class GivingBegun:
    """DNS is about to be given what it should serve; `anew`: MX hosts are looked up first."""

    at: float
    anew: bool = False


@dataclass(frozen=True, slots=True)
class WasGiven:
    """DNS was given what it should serve.

    `failed`: why it has to be tried again, None if all is there and known. `stamps`: of the include
    files now. `draw`: from 0 to 1, for when the first watch is.
    """

    wish: Wish
    given: Given
    failed: Trouble | None
    stamps: tuple[object, ...]
    draw: float
    at: float


@dataclass(frozen=True, slots=True)
class NotGiven:
    """That could not be done, or was undone."""

    wish: Wish
    failed: Trouble
    stamps: tuple[object, ...]
    at: float


@dataclass(frozen=True, slots=True)
class WasSeen:
    """Every name server was asked, those `servers`."""

    seen: NameServersSeen
    servers: tuple[Any, ...]
    elsewhere: Mapping[DomainName, Elsewhere]


@dataclass(frozen=True, slots=True)
class NotSeen:
    """The name servers could not be found."""

    why: Reason
    at: float


@dataclass(frozen=True, slots=True)
class SightingsTaken:
    """What that means for the certificates.

    `apart`: by those servers alone that answer. `late`: whose set on deck waits for too long.
    `pause`: seconds to the next look.
    """

    apart: Mapping[CertId, Sighting]
    late: frozenset[CertId]
    pause: float
    at: float


@dataclass(frozen=True, slots=True)
class NotesWritten:
    """Its notes were written, or were not: `problem`."""

    problem: Reason | None = None


@dataclass(frozen=True, slots=True)
class PutBackBegun:
    """Include files that no name server takes are about to be put back."""

    at: float


@dataclass(frozen=True, slots=True)
class WatchBegun:
    """DNS, ports and keys are about to be compared, as every day."""

    at: float


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """They were compared. `asked` for by somebody; `wrong`: clients are turned away."""

    wrong: bool
    asked: bool
    at: float


@dataclass(frozen=True, slots=True)
class JobBroke:
    """A job ended as none should."""

    why: Reason
    at: float


ZoneEvent = (
    CertsOfZone
    | ZoneReloaded
    | NotesRead
    | GivingBegun
    | WasGiven
    | NotGiven
    | WasSeen
    | NotSeen
    | SightingsTaken
    | NotesWritten
    | PutBackBegun
    | WatchBegun
    | WatchEnded
    | JobBroke
)


def advance_zone(zone: KnownZone | None, event: ZoneEvent) -> KnownZone:
    """Return how a zone stands after an event; None: it was not known."""
    if isinstance(event, CertsOfZone):
        return replace(zone or KnownZone(event.zone), certs=event.certs)
    if zone is None:
        raise KeyError(f"happened to a zone that is not known: {event}")
    match event:
        case ZoneReloaded():
            return replace(zone, again=zone.again or zone.given is not None, retry_at=0.0)
        case NotesRead():
            return replace(zone, notes=event.notes)
        case GivingBegun(at=at):
            notes = zone.notes
            if notes is not None and event.anew:
                notes = replace(notes, mx_at=None)
            # What was due by now is done with it.
            mx_at = zone.mx_at if at < zone.mx_at else at + DAY
            places_at = zone.places_at if at < zone.places_at else 0.0
            return replace(zone, notes=notes, mx_at=mx_at, places_at=places_at)
        case WasGiven():
            return _given(zone, event)
        case NotGiven(at=at):
            # Even if what is wanted is what was given last, once more: it may be there in part.
            again = replace(zone, tried=event.wish, again=True)
            return _failed(again, event.failed, event.stamps, at)
        case WasSeen():
            return _seen(zone, event)
        case NotSeen(at=at):
            pause = min(zone.look_pause * GROWTH, LONGEST_MISSING)
            return replace(zone, look_trouble=event.why, look_pause=pause, look_at=at + pause)
        case SightingsTaken(at=at):
            # Who is late is reported now, and not with the next day.
            watch_at = at if event.late - zone.late else zone.watch_at
            return replace(
                zone,
                apart={**zone.apart, **event.apart},
                late=event.late,
                watch_at=watch_at,
                look_at=at + max(event.pause, SOON),
            )
        case NotesWritten():
            return replace(zone, unsaved=event.problem)
        case PutBackBegun(at=at):
            return replace(zone, changed_at=at)
        case WatchBegun(at=at):
            return replace(zone, watch_at=at + DAY)
        case WatchEnded(wrong=wrong, asked=asked, at=at):
            # By itself, what is wrong is looked at twice before it is told.
            pause = IN_ALARM if zone.doubted or asked else DOUBT
            watch_at = min(zone.watch_at, at + pause) if wrong else zone.watch_at
            return replace(zone, doubted=wrong, watch_at=watch_at)
        case JobBroke(at=at):
            again_at = at + AFTER_BUG
            return replace(zone, look_trouble=event.why, look_at=again_at, retry_at=again_at)


def _failed(
    zone: KnownZone, failed: Trouble | None, stamps: tuple[object, ...], at: float
) -> KnownZone:
    wait = (failed.next_try - failed.at).total_seconds() if failed is not None else -at
    return replace(zone, failed=failed, retry_at=at + wait, stamps=stamps, files_at=at + FILES)


def _given(zone: KnownZone, event: WasGiven) -> KnownZone:
    given, at, first = event.given, event.at, zone.given is None
    unfit = zone.given.unfit if zone.given is not None else {}
    fresh = any(unfit.get(owner) != why for owner, why in given.unfit.items())
    watch_at, changed_at, replaced = zone.watch_at, zone.changed_at, zone.replaced
    if fresh:
        watch_at = at
    elif first and not given.unfit:
        watch_at = at + (0.1 + 0.9 * event.draw) * FIRST_WATCH
    if first or given.changed:
        changed_at, replaced = at, given.before if replaced is None else replaced
    after = replace(
        zone,
        wish=event.wish,
        tried=event.wish,
        given=given,
        notes=given.notes,
        again=event.failed is not None,
        places_at=at + PLACES if given.places or given.ends else 0.0,
        mx_at=at + DAY if first else zone.mx_at,
        changed_at=changed_at,
        replaced=replaced,
        look_at=at,
        watch_at=watch_at,
        remarks=given.all_remarks,
    )
    return _failed(after, event.failed, event.stamps, at)


def _seen(zone: KnownZone, event: WasSeen) -> KnownZone:
    after = replace(zone, elsewhere=event.elsewhere, servers=event.servers, look_pause=FIRST_PAUSE)
    after = take(after, event.seen)
    doubts = after.surprises()
    # What waited for that can be published now; or an owner became a CNAME, or is none any more.
    other = (zone.noted.known, zone.others) != (after.noted.known, after.others)
    again = zone.again or other or bool(doubts and doubts != zone.doubts)
    return replace(
        after,
        doubts=doubts,
        again=again,
        replaced=None if after.is_taken() else after.replaced,
        warned_unsigned=after.warned_unsigned or after.unsigned,
    )
