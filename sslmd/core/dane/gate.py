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
from sslmd.core.state import Phase
from sslmd.core.times import clock
from sslmd.core.view import View

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


def _withdrawn(owner: str) -> str:
    return f"caches may hold TLSA records that were withdrawn ({owner})"


def gate_of(view: View) -> Gate:
    """Return how the gate stands for the complete set on deck."""
    dane = view.dane
    if not view.wanted.dane and not isinstance(dane, Withdrawn):
        return _open("no TLSA records are wanted")
    match dane:
        case Withdrawn(owner, until):
            return _shut(_withdrawn(owner), until)
        case NoRecords():
            return _open("there are no TLSA records at its ports yet: nobody checks them")
        case Unknown(trouble=trouble):
            return _waits(trouble) if trouble else _shut("its TLSA records are being published")
        case HeldBack(why=why):
            return _waits(why)
        case Everywhere(since=since):
            if since is None:
                return _open("its TLSA records are those of the key in use, which are in DNS")
            return _open(f"{_seen(since)}, for longer than caches keep older ones")
        case Counting(ports=ports, sighting=sighting, trouble=trouble):
            # Publishing that fails for other records of the zone is none of its business (I6):
            # what counts is what was seen.
            if sighting is None:
                return _waits(trouble or "they are being looked for")
            if sighting.since is None:
                return _waits("; ".join(filter(None, (trouble, sighting.missing))))
            if sighting.silent:
                return _shut(f"{_seen(sighting.since)}, but {sighting.missing}", sighting.opens_at)
            text = f"{_seen(sighting.since)}, which caches may lack for {ports.ttl} s twice"
            return _shut(text, sighting.opens_at)
        case _:
            assert_never(dane)


def _seen(since: datetime) -> str:
    return f"its TLSA records are on every name server since {clock(since)}"


def lost_sight(view: View) -> str:
    """Return why a set that was advertised is not any more, "" if it is."""
    dane = view.dane
    if isinstance(dane, Withdrawn):
        return _withdrawn(dane.owner)
    if not view.wanted.dane:
        return ""
    match dane:
        case HeldBack(why=why) | Counting(sighting=None, trouble=why):
            pass
        case Counting(sighting=Sighting(since=None, missing=why)):
            pass
        case Counting(sighting=Sighting(waited=waited, need=need)):
            why = "others are wanted now" if waited < need else ""
        case Unknown() | NoRecords() | Everywhere() | Counting():
            why = ""
        case _:
            assert_never(dane)
    return (
        f"its TLSA records are not everywhere any more, the wait begins again: {why}" if why else ""
    )


def harm_of(view: View, now: datetime) -> str:
    """Return what a roll at `now` would break, and for how long; "" if it is known to be safe."""
    dane = view.dane
    if isinstance(dane, Withdrawn):
        return f"clients that check DANE may refuse it as long as caches hold {dane.owner}"
    if view.state.next is None or not view.wanted.dane or view.state.phase is Phase.ADVERTISED:
        return ""
    match dane:
        case NoRecords() | Everywhere():
            return ""
        case Unknown(ports=ports) | HeldBack(ports=ports):
            if ports is None:
                return (
                    "which records its ports have is not known, so clients that check DANE may "
                    "refuse it"
                )
            return _unseen(ports, "")
        case Counting(ports=ports, sighting=sighting):
            if sighting is None or sighting.since is None:
                return _unseen(ports, sighting.missing if sighting is not None else "")
            end = sighting.since + timedelta(seconds=ports.ttl)
            clients = f"clients that check DANE may refuse {_named(ports)}"
            if sighting.waited >= ports.ttl and not sighting.silent:
                return (
                    f"{clients} only where a cache keeps records for longer than their TTL, "
                    f"{ports.ttl} s"
                )
            left = max(ports.ttl - sighting.waited, 1.0)
            return (
                f"{clients} for up to {_span(left)}, until {clock(max(end, now))}, where they "
                "hold older TLSA records"
            )
        case _:
            assert_never(dane)


def _unseen(ports: CheckedPorts, missing: str) -> str:
    after = f"for {_span(ports.ttl)} after that, as long" if ports.ttl else "after that as long"
    return (
        f"clients that check DANE may refuse {_named(ports)} until every name server shows the "
        f"new records{f' ({missing})' if missing else ''}, and {after} as caches may keep the "
        "old ones"
    )


def _named(ports: CheckedPorts) -> str:
    some = ", ".join(ports.names[:_NAMED])
    more = len(ports.names) - _NAMED
    return f"{some} and {more} more" if more > 0 else some or "it"


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"
