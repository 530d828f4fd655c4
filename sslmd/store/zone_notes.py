"""What is remembered of a zone's TLSA records beside the records themselves.

    certs/<zone>/.dane.toml

A note, not the truth: lost, it costs a wait. docs/on-disk.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sslmd.core.dane.tlsa import Known
from sslmd.core.names import DomainName
from sslmd.store.notes import Nonsense, NoteKind, Shape, lines, parsed, whole

# Owners, each with the name of a certificate.
Holders = frozenset[tuple[DomainName, str]]


@dataclass(frozen=True, slots=True)
class ZoneNotes:
    """`mx`: the zone's MX hosts when they were last looked up, at `mx_at`; None: never. `null_mx`:
    it takes no mail (RFC 7505).

    `known`: the combinations that every name server was seen serving. `ttl`: the longest that
    caches may hold a record of ours, in seconds. `signed`: DNSSEC was seen in use. `holders`: which
    certificates have records at which owners; `fading`: which had some that were withdrawn, and may
    be in caches still ("" for a certificate: it is not known which).

    `longest`: owners where a longer TTL than `ttl` was seen, in seconds, of records that others
    wrote, or of CNAMEs. `moved`: owners that are CNAMEs, and where their records are written.
    """

    mx: tuple[DomainName, ...] | None = None
    mx_at: datetime | None = None
    known: Known | None = None
    ttl: int = 0
    signed: bool = False
    holders: Holders = frozenset()
    fading: Holders = frozenset()
    null_mx: bool = False
    longest: Mapping[DomainName, int] = field(default_factory=dict)
    moved: Mapping[DomainName, DomainName] = field(default_factory=dict)

    @property
    def mail(self) -> tuple[DomainName, ...] | None:
        """The MX hosts; None: the zone takes no mail."""
        return None if self.null_mx else self.mx or ()

    @property
    def longest_ttl(self) -> int:
        """The longest that a cache may hold anything at our owners, in seconds."""
        return max(self.ttl, *self.longest.values(), 0)

    def ttl_at(self, owners: Iterable[DomainName]) -> int:
        """Return the longest that a cache may hold anything at these owners, in seconds."""
        return max(self.ttl, *(self.longest.get(owner, 0) for owner in owners), 0)


_OWNER, _TTL = parsed(DomainName.parse), whole(0, 1 << 31)
ZONE_NOTE = NoteKind(
    ZoneNotes,
    Nonsense.ANEW,
    {
        ZoneNotes: Shape(
            codecs={
                "ttl": _TTL,
                "longest": lines(_OWNER, parsed(lambda text: _TTL.load(int(text)))),
                "moved": lines(_OWNER, _OWNER),
            }
        )
    },
)
