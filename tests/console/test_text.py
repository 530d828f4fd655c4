"""Other people's words cannot steer a terminal; times and lengths read well."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.console.answers import Fields
from sslmd.console.text import clock, count, printable, printable_json
from sslmd.core.plain import is_plain, local, span

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@given(st.text())
def test_printable_is_one_line_that_a_terminal_can_show(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text().filter(is_plain))
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_escapes_are_shown_and_lines_joined() -> None:
    assert printable("a\n  b\tc") == "a b c"
    assert printable("\x1b[31mred\x07") == r"\x1b[31mred\x07"
    assert printable("right\u202eleft") == r"right\u202eleft"
    assert printable("\x9b2J") == r"\x9b2J"


def test_values_that_are_no_texts() -> None:
    assert printable(None) == ""
    assert printable(["a", 1, "\x1b"]) == r"a, 1, \x1b"


@given(st.text(st.characters(codec="utf-8")))
def test_printable_json_means_the_same(text: str) -> None:
    line = json.dumps({"a": text}, ensure_ascii=False, separators=(",", ":"))
    safe = printable_json(line)
    assert safe.isprintable()
    assert json.loads(safe) == {"a": text}


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(days=41.9), "41 d"),
        (timedelta(days=2), "2 d"),
        (timedelta(hours=47.9), "47 h"),
        (timedelta(minutes=119), "119 min"),
        (timedelta(0), "0 min"),
        (-timedelta(days=3), "3 d"),
    ],
)
def test_span(length: timedelta, text: str) -> None:
    assert span(length) == text


def test_far_times_are_dates() -> None:
    near = NOW + timedelta(days=1)
    assert local(near, NOW) == f"{near.astimezone():%Y-%m-%d %H:%M} UTC"
    assert local(NOW + timedelta(days=10), NOW) == "2026-12-03"
    assert local(None, NOW) == clock(None) == "-"


def test_the_end_of_all_times_can_be_shown() -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(-timedelta(hours=12)))
    assert local(end, NOW).startswith("9999-12-31")
    assert clock(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12)))).startswith(
        "1-01-01 00:00:00"
    )


def test_count() -> None:
    assert [count(n, "certificate") for n in (0, 1, 2)] == [
        "0 certificates",
        "1 certificate",
        "2 certificates",
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("a"), inner),
    )
)
def test_fields_of_any_kind_can_be_read(value: Any) -> None:
    fields = Fields({"a": value})
    assert fields.text("a").isprintable()
    assert isinstance(fields.number("a"), int)
    assert all(text.isprintable() for text in fields.texts("a"))
    assert fields.time("a") is None
    assert isinstance(fields.sub("a"), Fields)
    assert all(isinstance(one, Fields) for one in fields.subs("a"))


def test_times() -> None:
    fields = Fields({"z": "2026-11-23T12:00:00Z", "naive": "2026-11-23T12:00:00"})
    assert fields.time("z") == fields.time("naive") == NOW
