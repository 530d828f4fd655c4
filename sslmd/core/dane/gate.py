"""The gate before a roll: may the set on deck be served, as far as DANE goes (I4)?

A key may be served when every cache that has records of its ports has its record too, which is
what a `Sighting` tells; and when nobody checks those ports yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from sslmd.core.dane.sighting import Sighting
from sslmd.core.dane.verdict import (
    CheckedPorts,
    Counting,
    Everywhere,
    HeldBack,
    NoRecords,
    Unknown,
    Withdrawn,
)
from sslmd.core.reason import Reason, Why
from sslmd.core.state import Phase
from sslmd.core.view import View

# Ports that one message names.
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the set on deck may be rolled, why, and when it may be if nothing goes wrong."""

    open: bool
    reason: Reason
    at: datetime | None = None


def _open(reason: Reason) -> Gate:
    return Gate(open=True, reason=reason)


def _shut(reason: Reason, at: datetime | None = None) -> Gate:
    return Gate(open=False, reason=reason, at=at)


def _waits(*why: Reason | None) -> Gate:
    reasons = tuple(one for one in why if one is not None)
    return _shut(Reason(Why.RECORDS_MISSING, why=reasons))


def _withdrawn(owner: str) -> Reason:
    return Reason(Why.WITHDRAWN, which=owner)


def gate_of(view: View) -> Gate:
    """Return how the gate stands for the complete set on deck."""
    dane = view.dane
    if not view.wanted.dane and not isinstance(dane, Withdrawn):
        return _open(Reason(Why.NO_RECORDS_WANTED))
    match dane:
        case Withdrawn(owner, until):
            return _shut(_withdrawn(owner), until)
        case NoRecords():
            return _open(Reason(Why.NOBODY_CHECKS))
        case Unknown(trouble=trouble):
            return _waits(trouble) if trouble else _shut(Reason(Why.PUBLISHING))
        case HeldBack(why=why):
            return _waits(why)
        case Everywhere(since=since):
            if since is None:
                return _open(Reason(Why.SAME_RECORDS_IN_DNS))
            return _open(Reason(Why.SEEN_LONG_ENOUGH, since=since))
        case Counting(ports=ports, sighting=sighting, trouble=trouble):
            # Publishing that fails for other records of the zone is none of its business (I6):
            # what counts is what was seen.
            if sighting is None:
                return _waits(trouble or Reason(Why.LOOKING))
            since, missing = sighting.since, sighting.missing
            if since is None:
                return _waits(trouble, missing)
            if sighting.silent:
                why_silent = Reason(Why.SEEN_BUT_SILENT, since=since, missing=missing)
                return _shut(why_silent, sighting.opens_at)
            return _shut(Reason(Why.SEEN, since=since, ttl=ports.ttl), sighting.opens_at)
        case _:
            assert_never(dane)


def lost_sight(view: View) -> Reason | None:
    """Return why a set that was advertised is not any more, None if it is."""
    dane = view.dane
    if isinstance(dane, Withdrawn):
        return _withdrawn(dane.owner)
    if not view.wanted.dane:
        return None
    match dane:
        case HeldBack(why=why) | Counting(sighting=None, trouble=why):
            lost = why
        case Counting(sighting=Sighting(since=None, missing=why)):
            lost = why
        case Counting(sighting=Sighting(waited=waited, need=need)):
            lost = Reason(Why.OTHERS_WANTED) if waited < need else None
        case Unknown() | NoRecords() | Everywhere() | Counting():
            lost = None
        case _:
            assert_never(dane)
    return Reason(Why.LOST, why=lost) if lost is not None else None


def harm_of(view: View, now: datetime) -> Reason | None:
    """Return what a roll at `now` would break, and for how long; None if it is known to be safe."""
    dane = view.dane
    if isinstance(dane, Withdrawn):
        return Reason(Why.HARM_WITHDRAWN, which=dane.owner)
    if view.state.next is None or not view.wanted.dane or view.state.phase is Phase.ADVERTISED:
        return None
    match dane:
        case NoRecords() | Everywhere():
            return None
        case Unknown(ports=ports) | HeldBack(ports=ports):
            return Reason(Why.HARM_UNKNOWN) if ports is None else _unseen(ports, None)
        case Counting(ports=ports, sighting=sighting):
            if sighting is None or sighting.since is None:
                return _unseen(ports, sighting.missing if sighting is not None else None)
            names, more = _named(ports)
            ttl = timedelta(seconds=ports.ttl)
            if sighting.waited >= ports.ttl and not sighting.silent:
                return Reason(Why.HARM_LONG_CACHES, ports=names, more=more, ttl=ttl)
            left = max(ttl - timedelta(seconds=sighting.waited), timedelta(seconds=1))
            until = max(sighting.since + ttl, now)
            return Reason(Why.HARM_UNTIL, ports=names, more=more, left=left, until=until)
        case _:
            assert_never(dane)


def _unseen(ports: CheckedPorts, missing: Reason | None) -> Reason:
    names, more = _named(ports)
    ttl = timedelta(seconds=ports.ttl) if ports.ttl else None
    return Reason(Why.HARM_UNSEEN, ports=names, more=more, missing=missing, ttl=ttl)


def _named(ports: CheckedPorts) -> tuple[tuple[str, ...], int | None]:
    return ports.names[:_NAMED], len(ports.names[_NAMED:]) or None
