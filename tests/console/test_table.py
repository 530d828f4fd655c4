"""In a pipe nothing is cut; a terminal's width is kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sslmd.console.table import Row, table

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
        "NAME                CA     STATE",
        "example.com/web-ec  le",
        "    settled: all is well",
        "a.de/x              my-ca  issued: waits",
        "    failed twice: no",
    ]


def test_colours() -> None:
    red = [line for line in lines(70, colour=True) if "\x1b[31m" in line]
    assert red == [" " * 27 + "\x1b[31mfailed twice: no\x1b[0m"]


def test_no_rows() -> None:
    assert list(table(HEADER, [], width=0, colour=False)) == ["NAME  CA  STATE"]


def test_a_short_remark_stands_beside_the_columns_where_it_fits() -> None:
    short = Row([("a.de/x", ""), ("le", "")], [("settled: valid", "")])
    assert list(table(HEADER, [short], width=30, colour=False)) == [
        "NAME    CA  STATE",
        "a.de/x  le  settled: valid",
    ]
    long = Row([("b.de/x", ""), ("le", "")], [("issued", ""), ("failed twice: no answer", "")])
    assert list(table(HEADER, [short, long], width=30, colour=False)) == [
        "NAME    CA  STATE",
        "a.de/x  le  settled: valid",
        "b.de/x  le  issued",
        "    failed twice: no answer",
    ]


def test_a_narrow_terminal_misses_columns_before_it_moves_names() -> None:
    shown = list(table(HEADER, ROWS, width=20, colour=False, spare=["CA"]))
    assert shown[:3] == ["NAME", "example.com/web-ec", "    settled: all is"]


def test_long_names_are_never_cut() -> None:
    long = Row([("very-long.example.com/mail-ec", ""), ("le", "")], [("settled", "")])
    assert list(table(HEADER, [*ROWS, long], width=30, colour=False)) == [
        "NAME                CA",
        "example.com/web-ec  le",
        "    settled: all is well",
        "a.de/x              my-ca",
        "    issued: waits",
        "    failed twice: no",
        "very-long.example.com/mail-ec",
        "                    le",
        "    settled",
    ]


def test_where_nothing_fits_each_cell_has_a_line() -> None:
    row = Row([("example.com/x", ""), ("a-long-name", "")], [("settled", "")])
    assert list(table(HEADER, [row], width=16, colour=False)) == [
        "example.com/x",
        "    CA",
        "    a-long-name",
        "    settled",
    ]


@given(st.integers(30, 200), st.lists(st.tuples(st.text("ab -", max_size=80), st.text("c "))))
def test_no_line_is_wider_than_the_terminal(width: int, texts: list[tuple[str, str]]) -> None:
    rows = [Row([(name, ""), ("le", "")], [(remark, "")]) for name, remark in texts]
    assert all(len(line) <= width for line in table(HEADER, rows, width=width, colour=False))
