"""The same bytes give the same lines, however they arrive, and none grows without bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.wire.framing import FrameReader
from sslmd.wire.messages import ErrorCode, WireError


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


def read(pieces: list[bytes], limit: int) -> list[bytes] | None:
    """All lines, or None if one was too long."""
    reader = FrameReader(limit)
    try:
        return [line for piece in pieces for line in reader.feed(piece)]
    except WireError:
        return None


@given(
    st.lists(st.binary(max_size=12), max_size=8).map(b"\n".join),
    st.lists(st.integers(0, 100), max_size=12),
)
def test_any_chunking_gives_the_same_lines(data: bytes, places: list[int]) -> None:
    assert read(cut(data, places), 10) == read([data], 10)


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=12))
def test_it_holds_no_more_than_the_limit(data: bytes, places: list[int]) -> None:
    reader = FrameReader(5)
    for piece in cut(data, places):
        try:
            reader.feed(piece)
        except WireError:
            assert not reader.pending
        assert sum(map(len, reader._pieces)) <= 5


def test_lines_end_with_a_newline() -> None:
    reader = FrameReader()
    assert reader.feed(b'{"a"') == []
    assert reader.pending
    assert reader.feed(b":1}\n{}\n\n{") == [b'{"a":1}', b"{}", b""]
    assert reader.pending
    assert reader.feed(b"}\n") == [b"{}"]
    assert not reader.pending


def test_a_line_of_the_limit_passes_and_one_more_byte_does_not() -> None:
    assert FrameReader(3).feed(b"abc\nabc\n") == [b"abc", b"abc"]
    with pytest.raises(WireError):
        FrameReader(3).feed(b"abcd\n")
    with pytest.raises(WireError):
        FrameReader(3).feed(b"abcd")


def test_after_a_line_too_long_nothing_more_is_read() -> None:
    reader = FrameReader(3)
    with pytest.raises(WireError):
        reader.feed(b"abcd")
    with pytest.raises(WireError, match="3 bytes") as caught:
        reader.feed(b"\n{}\n")
    assert caught.value.code == ErrorCode.LIMIT
