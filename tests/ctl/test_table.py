"""In a pipe nothing is cut; a terminal's width is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.ctl.table import Row, table

HEADER = ("NAME", "CA", "STATE")
ROWS = [
    Row([("example.com/web-ec", ""), ("le", "")], [("settled: all is well", "")]),
    Row([("a.de/x", ""), ("my-ca", "")], [("issued: waits", ""), ("failed twice: no", "red")]),
]


def lines(width: int, *, colour: bool = False) -> list[str]:
    return list(table(HEADER, ROWS, width=width, colour=colour))


def test_a_pipe_gets_one_line_for_each_row() -> None:
    assert lines(0) == [
        "NAME                CA     STATE",
        "example.com/web-ec  le     settled: all is well",
        "a.de/x              my-ca  issued: waits; failed twice: no",
    ]


def test_a_wide_terminal_has_the_remarks_beside() -> None:
    assert lines(70) == [
        "NAME                CA     STATE",
        "example.com/web-ec  le     settled: all is well",
        "a.de/x              my-ca  issued: waits",
        "                           failed twice: no",
    ]


def test_a_narrow_terminal_has_the_remarks_below() -> None:
    assert lines(40) == [
        "NAME                CA",
        "example.com/web-ec  le",
        "    settled: all is well",
        "a.de/x              my-ca",
        "    issued: waits",
        "    failed twice: no",
    ]


def test_colours() -> None:
    red = [line for line in lines(70, colour=True) if "\x1b[31m" in line]
    assert red == [" " * 27 + "\x1b[31mfailed twice: no\x1b[0m"]


def test_no_rows() -> None:
    assert list(table(HEADER, [], width=0, colour=False)) == ["NAME  CA  STATE"]


@pytest.mark.parametrize("length", [30, 300])
def test_long_cells_end_in_an_ellipsis(length: int) -> None:
    row = Row([("x" * length, ""), ("le", "")], [("", "")])
    shown = list(table(HEADER, [row], width=24, colour=False))[1]
    assert len(shown) <= 24
    assert "…" in shown


@given(st.integers(30, 200), st.lists(st.tuples(st.text("ab -", max_size=80), st.text("c "))))
def test_no_line_is_wider_than_the_terminal(width: int, texts: list[tuple[str, str]]) -> None:
    rows = [Row([(name, ""), ("le", "")], [(remark, "")]) for name, remark in texts]
    assert all(len(line) <= width for line in table(HEADER, rows, width=width, colour=False))
