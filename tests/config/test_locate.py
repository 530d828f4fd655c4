"""Lines of keys, checked against TOML texts of known shape and against the parser itself."""

from __future__ import annotations

from typing import Any

import tomli
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from sslmd.config.locate import KeyPath, find_line, key_lines

TEXT = '''\
# a comment with [brackets] and key = value
top = 1
"quoted key" = "a # no comment"

[globals]
    a.b = 'literal \\'
    long = """
[not.a.table]
x = 1 """"
    lit = \'\'\'
y = \'[\'
\'\'\'
    list = [
        'one', # ] comment
        [2, 3],
        { k = 4, m.n = [5] },
    ]
    date = 1979-05-27 07:32:00Z

[[groups]]
domain = 'a'

  [[groups]]
  domain = 'b'
  [[groups.inner]]
  x = 1
[groups.table]
y = 2
["a.b".'c d']
z = 3
'''
LINES: dict[KeyPath, int] = {
    ("top",): 2,
    ("quoted key",): 3,
    ("globals",): 5,
    ("globals", "a"): 6,
    ("globals", "a", "b"): 6,
    ("globals", "long"): 7,
    ("globals", "lit"): 10,
    ("globals", "list"): 13,
    ("globals", "list", 0): 14,
    ("globals", "list", 1): 15,
    ("globals", "list", 1, 1): 15,
    ("globals", "list", 2, "k"): 16,
    ("globals", "list", 2, "m", "n", 0): 16,
    ("globals", "date"): 18,
    ("groups",): 20,
    ("groups", 0): 20,
    ("groups", 0, "domain"): 21,
    ("groups", 1): 23,
    ("groups", 1, "domain"): 24,
    ("groups", 1, "inner", 0): 25,
    ("groups", 1, "inner", 0, "x"): 26,
    ("groups", 1, "table"): 27,
    ("groups", 1, "table", "y"): 28,
    ("a.b", "c d", "z"): 30,
}


def test_every_kind_of_key() -> None:
    lines = key_lines(TEXT)
    tomli.loads(TEXT)
    assert {path: lines.get(path) for path in LINES} == LINES


def test_windows_line_ends() -> None:
    assert key_lines(TEXT.replace("\n", "\r\n")) == key_lines(TEXT)


def test_the_nearest_place_around_a_key() -> None:
    lines = key_lines(TEXT)
    assert find_line(lines, ("globals", "missing", "x")) == 5
    assert find_line(lines, ("groups", 1, "missing")) == 23
    assert find_line(lines, ("missing",)) == 0


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every path in a parsed document."""
    found = {path} if path else set()
    if isinstance(value, dict):
        pairs: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return found
    return found.union(*(paths_of(inner, (*path, key)) for key, inner in pairs))


KEYS = st.text(max_size=4)
SCALARS = (
    st.integers(-(2**40), 2**40)
    | st.booleans()
    | st.text(max_size=12)
    | st.text("'\"\\\n#[]{}=,. ab", max_size=12)
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_finds_just_the_keys_that_the_parser_finds(document: dict[str, Any], long: bool) -> None:
    text = tomli_w.dumps(document, multiline_strings=long)
    assert set(key_lines(text)) == paths_of(tomli.loads(text))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), max_size=8))
def test_lines_count_comments_and_empty_lines(items: list[tuple[int, int]]) -> None:
    text, expected = "", {}
    for number, (blank, value) in enumerate(items):
        text += "# k = 1\n\n" * blank + f"k{number} = [{value},\n {value}]\n"
        expected[f"k{number}", 1] = text.count("\n")
    lines = key_lines(text)
    assert {path: lines[path] for path in expected} == expected


@given(st.text() | st.text("[]{}='\"\\#., \nab1", max_size=60))
def test_ends_on_any_text(text: str) -> None:
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in key_lines(text).values())
