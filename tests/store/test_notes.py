"""The codec of notes: any dataclass there and back; nonsense is refused, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmd.core.errors import Permanent
from sslmd.core.names import CertId, DomainName, SetName, ZoneName
from sslmd.store import notes
from sslmd.store.notes import BadNoteError, LaterVersionError, Nonsense, NoteKind, Shape


class Colour(StrEnum):
    RED = "red"
    BLUE = "dark blue"


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: float = 0.5


@dataclass(frozen=True, slots=True)
class Known:
    since: datetime
    owner: DomainName | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    why: str


@dataclass(frozen=True, slots=True)
class Everything:
    text: str = ""
    flag: bool = False
    count: int = 3
    data: bytes | None = None
    colour: Colour = Colour.RED
    cert: CertId | None = None
    zone: ZoneName | None = None
    when: datetime | None = None
    some: tuple[str, ...] = ("a",)
    names: frozenset[SetName] = frozenset()
    pairs: frozenset[tuple[DomainName, str]] = frozenset()
    points: tuple[Point, ...] = ()
    by_name: Mapping[SetName, Point] = field(default_factory=dict)
    by_path: Mapping[str, Point] = field(default_factory=dict)
    longest: Mapping[DomainName, DomainName] = field(default_factory=dict)
    wait: timedelta = timedelta(0)
    at: Point | None = None
    told: Known | Unknown | None = None
    forgotten: int = 0


_NAME = notes.parsed(DomainName.parse)
KIND = NoteKind(
    Everything,
    Nonsense.ANEW,
    {
        Everything: Shape(
            {"text": "a text", "at": "place"},
            {
                "wait": notes.minutes(timedelta(days=1)),
                "by_path": notes.rows("path", notes.codec_of(Point)),
                "longest": notes.lines(_NAME, _NAME),
            },
            flat=frozenset({"at"}),
            never=frozenset({"forgotten"}),
        ),
        Known: Shape(kind="known"),
        Unknown: Shape(kind="unknown"),
    },
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
sets = times.map(SetName.at)
words = st.sampled_from(["a", "web", "mail-ec", "x_y"])
domains = words.map(lambda word: DomainName(f"{word}.example"))
points = st.builds(Point, st.integers(-(2**60), 2**60), st.floats(allow_nan=False, width=32))
every = st.builds(
    Everything,
    texts,
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.none() | st.binary(max_size=20),
    st.sampled_from(Colour),
    st.none() | words.map(lambda word: CertId("example.com", word)),
    st.none() | words.map(lambda word: ZoneName(f"{word}.example")),
    st.none() | times,
    st.lists(texts, max_size=3).map(tuple),
    st.frozensets(sets, max_size=3),
    st.frozensets(st.tuples(domains, st.just("") | words), max_size=3),
    st.lists(points, max_size=2).map(tuple),
    st.dictionaries(sets, points, max_size=2),
    st.dictionaries(texts, points, max_size=2),
    st.dictionaries(domains, domains, max_size=2),
    st.integers(0, 1440).map(lambda minutes: timedelta(minutes=minutes)),
    st.none() | points,
    st.none() | st.builds(Known, times, st.none() | domains) | st.builds(Unknown, texts),
)


@settings(max_examples=100)
@given(every)
def test_there_and_back(note: Everything) -> None:
    assert KIND.decode(KIND.encode(note)) == note


def test_what_it_looks_like() -> None:
    assert KIND.encode(Everything()) == b"version = 1\n"
    note = Everything(
        text="x",
        pairs=frozenset({(DomainName("b.example"), ""), (DomainName("a.example"), "y")}),
        longest={DomainName("a.example"): DomainName("b.example")},
        wait=timedelta(minutes=90),
        at=Point(1),
        told=Unknown("nobody asked"),
        forgotten=7,
    )
    assert tomli.loads(KIND.encode(note, {"seen_at": 5}).decode()) == {
        "version": 1,
        "seen_at": 5,
        "a text": "x",
        "pairs": ["a.example y", "b.example"],
        "longest": ["a.example b.example"],
        "wait": 90.0,
        "x": 1,
        "told": {"kind": "unknown", "why": "nobody asked"},
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("count = true", "count: a whole number is expected"),
        ("count = 1.0", "count: a whole number is expected"),
        ("flag = 1", "flag: true or false is expected"),
        ("when = 2026-01-01", "when: a time with its zone is expected"),
        ("when = 0001-01-01T00:00:00+23:59", "when: date value out of range"),
        ("colour = 'green'", "colour: 'green' is not a valid Colour"),
        ("cert = '../x:y'", "cert: "),
        ("some = [1]", "some: a string is expected, not 1"),
        ("names = ['..']", "names: "),
        ("points = [{y = 1}]", "points: x is missing"),
        ("points = [{x = 1, y = nan}]", "points: y: a number"),
        ("by_path = [{x = 1}]", "by_path: 'path'"),
        ("wait = 1441", "wait: a number from 0 to 1440 is expected"),
        ("y = 'x'", "y: a number"),
        ("told = {}", "told: kind: one of known, unknown is expected, not None"),
        ("told = {kind = 'known'}", "told: since is missing"),
    ],
)
def test_nonsense_is_refused_and_the_place_is_named(text: str, why: str) -> None:
    with pytest.raises(BadNoteError) as caught:
        KIND.decode(f"version = 1\n{text}\n")
    assert str(caught.value).startswith(f"it makes no sense: {why}")


def test_versions() -> None:
    assert KIND.decode("version = 1\nof_later = [1]\n") == Everything()
    for text in ("", "version = 0", "version = true", "version = 1.0", "version = '1'"):
        with pytest.raises(BadNoteError, match="version must be 1"):
            KIND.decode(text)
    with pytest.raises(LaterVersionError, match="it is of version 2, this sslmd knows 1"):
        KIND.decode("version = 2\ncount = 'x'\n")


def test_what_becomes_of_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "below" / "note"
    kept = NoteKind(Point, Nonsense.SET_ASIDE)
    assert KIND.read(str(path)) == Everything()
    KIND.write(str(path), Everything(count=5))
    assert KIND.read(str(path)) == Everything(count=5)
    for text in ("version = 2", "x = = y", "version = 1\ncount = 'x'"):
        path.write_text(text)
        assert KIND.read(str(path)) == Everything()
        with pytest.raises((BadNoteError, LaterVersionError)):
            kept.read(str(path))
    path.write_bytes(b"#" * (KIND.most + 1))
    with pytest.raises(Permanent, match="bytes, more than"):
        KIND.read(str(path))


def test_what_cannot_be_noted_is_found_when_it_is_declared() -> None:
    with pytest.raises(TypeError, match="cannot be noted"):
        notes.codec_of(complex)


def test_lines(tmp_path: Path) -> None:
    path = str(tmp_path / "left")
    assert notes.read_lines(path) == []
    notes.write_lines(path, {"b", "a"})
    assert notes.read_lines(path) == ["a", "b"]
    notes.write_lines(path, ())
    assert not Path(path).exists()
