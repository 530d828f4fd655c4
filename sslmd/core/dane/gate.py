"""The gate before a roll: may the set on deck be served, as far as DANE goes (I4)?

A key may be served when every cache that has records of its ports has its record too, which is
what a `Sighting` tells; and when nobody checks those ports yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.reason import Reason, Said, Why, said
from sslmd.core.state import Phase
from sslmd.core.view import Dane, View

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


def _withdrawn(dane: Dane) -> Reason:
    return Reason(Why.WITHDRAWN, which=Said(dane.fading))


def gate_of(view: View) -> Gate:
    """Return how the gate stands for the complete set on deck."""
    dane, next_ = view.dane, view.state.next
    assert next_ is not None
    if dane is not None and dane.fading:
        return _shut(_withdrawn(dane), dane.fading_until)
    if not view.wanted.dane:
        return _open(Reason(Why.NO_RECORDS_WANTED))
    if dane is None or dane.next != next_.name:
        return _shut(Reason(Why.PUBLISHING, why=said(dane.trouble) if dane is not None else None))
    if not dane.checked:
        return _open(Reason(Why.NOBODY_CHECKS))
    if dane.unchanged:
        return _open(Reason(Why.SAME_RECORDS_IN_DNS))
    if dane.unseen or dane.held:
        return _waits(said(dane.unseen or dane.held))
    # Publishing that fails for other records of the zone is none of its business (I6): what counts
    # is what was seen.
    sighting = view.state.sighting
    if sighting is None or sighting.set != next_.name:
        return _waits(said(dane.trouble) or Reason(Why.LOOKING))
    since, missing = sighting.since, said(sighting.missing)
    if since is None:
        return _waits(said(dane.trouble), missing)
    if sighting.complete:
        return _open(Reason(Why.SEEN_LONG_ENOUGH, since=since))
    if sighting.silent:
        return _shut(Reason(Why.SEEN_BUT_SILENT, since=since, missing=missing), sighting.opens_at)
    return _shut(Reason(Why.SEEN, since=since, ttl=dane.ttl), sighting.opens_at)


def lost_sight(view: View) -> Reason | None:
    """Return why a set that was advertised is not any more, None if it is."""
    dane, next_, sighting = view.dane, view.state.next, view.state.sighting
    if dane is not None and dane.fading:
        return _withdrawn(dane)
    if not view.wanted.dane or dane is None or next_ is None or dane.next != next_.name:
        return None
    if not dane.checked or dane.unchanged:
        return None
    if sighting is None or sighting.set != next_.name:
        why = said(dane.held or dane.trouble)
    elif sighting.since is None:
        why = said(sighting.missing)
    else:
        why = Reason(Why.OTHERS_WANTED) if sighting.waited < sighting.need else None
    return Reason(Why.LOST, why=why) if why is not None else None


def harm_of(view: View, now: datetime) -> Reason | None:
    """Return what a roll at `now` would break, and for how long; None if it is known to be safe."""
    dane, next_ = view.dane, view.state.next
    if dane is not None and dane.fading:
        return Reason(Why.HARM_WITHDRAWN, which=Said(dane.fading))
    if next_ is None or not view.wanted.dane or view.state.phase is Phase.ADVERTISED:
        return None
    if dane is None:
        return Reason(Why.HARM_UNKNOWN)
    if not dane.checked or dane.unchanged:
        return None
    sighting = view.state.sighting
    ports, more = dane.ports[:_NAMED], len(dane.ports[_NAMED:]) or None
    ttl = timedelta(seconds=dane.ttl)
    if sighting is None or sighting.set != next_.name or sighting.since is None:
        missing = said(sighting.missing) if sighting is not None else None
        return Reason(
            Why.HARM_UNSEEN, ports=ports, more=more, missing=missing, ttl=ttl if ttl else None
        )
    if sighting.waited >= dane.ttl and not sighting.silent:
        return Reason(Why.HARM_LONG_CACHES, ports=ports, more=more, ttl=ttl)
    left = max(ttl - timedelta(seconds=sighting.waited), timedelta(seconds=1))
    until = max(sighting.since + ttl, now)
    return Reason(Why.HARM_UNTIL, ports=ports, more=more, left=left, until=until)
