"""What is noted of a zone beside its TLSA records: written, read, and damaged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sslmd.core.dane.content import ZoneNotes
from sslmd.core.dane.tlsa import Combination
from sslmd.core.names import DomainName, ZoneName
from sslmd.store.layout import Tree
from sslmd.store.note_kinds import ZONE_NOTE

ZONE = ZoneName("example.com")
NOTES = ZoneNotes(
    mx=(DomainName("mx1.example.com"), DomainName("mx.example.net")),
    mx_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    known=frozenset(
        (DomainName("_25._tcp.mx1.example.com"), Combination(3, 1, match)) for match in (1, 2)
    ),
    ttl=3600,
    signed=True,
    holders=frozenset({(DomainName("_25._tcp.mx1.example.com"), "example.com/mail")}),
    fading=frozenset(
        {
            (DomainName("_465._tcp.mx1.example.com"), "example.com/mail"),
            (DomainName("_465._tcp.mx2.example.com"), ""),
        }
    ),
    null_mx=True,
    longest={DomainName("_25._tcp.mx1.example.com"): 86_400},
    moved={DomainName("_465._tcp.mx1.example.com"): DomainName("_dane.example.com")},
)


@pytest.mark.parametrize("notes", [NOTES, ZoneNotes(), ZoneNotes(mx=(), known=frozenset())])
def test_round_trip(tmp_path: Path, notes: ZoneNotes) -> None:
    path = Tree(str(tmp_path)).zone_note(ZONE)
    assert path == f"{tmp_path}/example.com/.dane.toml"
    assert ZONE_NOTE.read(path) == ZoneNotes()
    ZONE_NOTE.write(path, notes)
    assert ZONE_NOTE.read(path) == notes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 2\nttl = 5",
        "version = 1\nttl = 'x'",
        "version = 1\nttl = inf",
        "version = 1\nmx = 5",
        "version = 1\nmx = ['../x']",
        "version = 1\nmx_at = 2026-01-01",
        "version = 1\nknown = ['_25._tcp.a.example 3 1']",
        "version = 1\nknown = ['_25._tcp.a.example 3 1 x']",
        "version = 1\nknown = ['']",
        "version = 1\nfading = ['../x']",
        "version = 1\nlongest = ['_25._tcp.a.example']",
        "version = 1\nlongest = ['_25._tcp.a.example x']",
        "version = 1\nmoved = ['_25._tcp.a.example ../x']",
        "x = " + "[" * 100_000,
        "\x00\xff",
    ],
)
def test_what_makes_no_sense_counts_as_nothing(tmp_path: Path, text: str) -> None:
    path = Path(Tree(str(tmp_path)).zone_note(ZONE))
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    assert ZONE_NOTE.read(str(path)) == ZoneNotes()
