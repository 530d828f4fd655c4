"""What is remembered of a zone's TLSA records beside the records themselves.

    certs/<zone>/.dane.toml

A note, not the truth: lost, it costs a wait. docs/on-disk.md.
"""

from __future__ import annotations

from sslmd.core.dane.content import ZoneNotes
from sslmd.core.names import DomainName
from sslmd.store.notes import Nonsense, NoteKind, Shape, lines, parsed, whole

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
