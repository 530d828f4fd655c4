"""One zone with TLSA records: what is known of it, and when what is done for it next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from sslmd.core.dane.sighting import FIRST_PAUSE
from sslmd.core.dane.zone import KnownZone
from sslmd.core.names import CertId
from sslmd.dns.ask import NameServer


@dataclass(slots=True)
class Zone(KnownZone):
    """`servers`: those of the last look. `queued`: certificates whose roll waits for the turn.

    `late`: whose set on deck waits for its records for too long. `asked`: the comparison that
    somebody asked for last. `unsaved`: why writing notes failed last, "" if it did not. Times
    ending in `_at` are of the event loop's clock, in seconds. `turn` is held by who gives records
    to DNS, and by who makes a server use another key.
    """

    retry_at: float = 0.0
    look_pause: float = FIRST_PAUSE
    unsaved: str = ""
    servers: tuple[NameServer, ...] = ()
    look_at: float = 0.0
    watch_at: float = 0.0
    mx_at: float = 0.0
    places_at: float = 0.0
    changed_at: float = 0.0
    doubted: bool = False
    late: set[CertId] = field(default_factory=set)
    files_at: float = 0.0
    stamps: tuple[object, ...] = ()
    again: bool = False
    remarks: frozenset[str] = frozenset()
    queued: set[CertId] = field(default_factory=set)
    warned_unsigned: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: asyncio.Task[None] | None = None
    asked_at: float = 0.0
