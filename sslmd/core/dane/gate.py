"""The gate before a roll: may the set on deck be served, as far as DANE goes (I4)?

A key may be served when every cache that has records of its ports has its record too, which is
what a `Sighting` tells; and when nobody checks those ports yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sslmd.core.state import Phase
from sslmd.core.times import clock
from sslmd.core.view import Dane, View

# Ports that one message names.
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the set on deck may be rolled, why, and when it may be if nothing goes wrong."""

    open: bool
    text: str
    at: datetime | None = None


def _open(text: str) -> Gate:
    return Gate(open=True, text=text)


def _shut(text: str, at: datetime | None = None) -> Gate:
    return Gate(open=False, text=text, at=at)


def _waits(why: str) -> Gate:
    return _shut(f"waits for its TLSA records in DNS: {why}")


def _withdrawn(dane: Dane) -> str:
    return f"caches may hold TLSA records that were withdrawn ({dane.fading})"


def gate_of(view: View) -> Gate:
    """Return how the gate stands for the complete set on deck."""
    dane, next_ = view.dane, view.state.next
    assert next_ is not None
    if dane is not None and dane.fading:
        return _shut(_withdrawn(dane), dane.fading_until)
    if not view.wanted.dane:
        return _open("no TLSA records are wanted")
    if dane is None or dane.next != next_.name:
        why = f": {dane.trouble}" if dane is not None and dane.trouble else ""
        return _shut(f"its TLSA records are being published{why}")
    if not dane.checked:
        return _open("there are no TLSA records at its ports yet: nobody checks them")
    if dane.unchanged:
        return _open("its TLSA records are those of the key in use, which are in DNS")
    if dane.unseen or dane.held:
        return _waits(dane.unseen or dane.held)
    # Publishing that fails for other records of the zone is none of its business (I6): what counts
    # is what was seen.
    sighting = view.state.sighting
    if sighting is None or sighting.set != next_.name:
        return _waits(dane.trouble or "they are being looked for")
    if sighting.since is None:
        return _waits("; ".join(filter(None, (dane.trouble, sighting.missing))))
    seen = f"its TLSA records are on every name server since {clock(sighting.since)}"
    if sighting.complete:
        return _open(f"{seen}, for longer than caches keep older ones")
    if sighting.silent:
        return _shut(f"{seen}, but {sighting.missing}", sighting.opens_at)
    return _shut(f"{seen}, which caches may lack for {dane.ttl} s twice", sighting.opens_at)


def lost_sight(view: View) -> str:
    """Return why a set that was advertised is not any more, "" if it is."""
    dane, next_, sighting = view.dane, view.state.next, view.state.sighting
    if dane is not None and dane.fading:
        return _withdrawn(dane)
    if not view.wanted.dane or dane is None or next_ is None or dane.next != next_.name:
        return ""
    if not dane.checked or dane.unchanged:
        return ""
    if sighting is None or sighting.set != next_.name:
        why = dane.held or dane.trouble
    elif sighting.since is None:
        why = sighting.missing
    else:
        why = "others are wanted now" if sighting.waited < sighting.need else ""
    return (
        f"its TLSA records are not everywhere any more, the wait begins again: {why}" if why else ""
    )


def harm_of(view: View, now: datetime) -> str:
    """Return what a roll at `now` would break, and for how long; "" if it is known to be safe."""
    dane, next_ = view.dane, view.state.next
    if dane is not None and dane.fading:
        return f"clients that check DANE may refuse it as long as caches hold {dane.fading}"
    if next_ is None or not view.wanted.dane or view.state.phase is Phase.ADVERTISED:
        return ""
    if dane is None:
        return "which records its ports have is not known, so clients that check DANE may refuse it"
    if not dane.checked or dane.unchanged:
        return ""
    sighting = view.state.sighting
    clients = f"clients that check DANE may refuse {_named(dane)}"
    if sighting is None or sighting.set != next_.name or sighting.since is None:
        missing = f" ({sighting.missing})" if sighting is not None and sighting.missing else ""
        after = f"for {_span(dane.ttl)} after that, as long" if dane.ttl else "after that as long"
        return (
            f"{clients} until every name server shows the new records{missing}, and {after} as "
            "caches may keep the old ones"
        )
    end = sighting.since + timedelta(seconds=dane.ttl)
    if sighting.waited >= dane.ttl and not sighting.silent:
        return f"{clients} only where a cache keeps records for longer than their TTL, {dane.ttl} s"
    left = max(timedelta(seconds=dane.ttl - sighting.waited), timedelta(seconds=1))
    return (
        f"{clients} for up to {_span(left.total_seconds())}, until {clock(max(end, now))}, where "
        "they hold older TLSA records"
    )


def _named(dane: Dane) -> str:
    some = ", ".join(dane.ports[:_NAMED])
    more = len(dane.ports) - _NAMED
    return f"{some} and {more} more" if more > 0 else some or "it"


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"
