"""Patterns, which words are written as.

`{fact}` stands for a fact, `[…]` is left out when one of the facts in it is missing or empty, `[[`
and `]]` are brackets. `{fact:style}` writes a fact in that style.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TOKENS = re.compile(r"(\[\[|\]\]|\[|\])|\{(\w+)(?::(\w+))?\}|([^\[\]{}]+)")

# A fact as it is, and one that is only asked for: whether it is there.
PLAIN: Mapping[str, Callable[[Any], str]] = {"": str, "if": lambda _: ""}


def fill(
    pattern: str, facts: Mapping[str, Any], styles: Mapping[str, Callable[[Any], str]] = PLAIN
) -> str:
    """Return a pattern with its facts; raises KeyError where one is missing outside brackets."""
    text = []
    for optional, pieces in _pieces(pattern):
        if optional and any(not facts.get(piece[0]) for piece in pieces if piece[0]):
            continue
        for name, rest in pieces:
            text.append(styles[rest](facts[name]) if name else rest)
    return "".join(text)


@lru_cache(maxsize=2048)
def _pieces(pattern: str) -> tuple[tuple[bool, tuple[tuple[str, str], ...]], ...]:
    """Cut a pattern into parts, each optional or not: facts with their styles, "" with a text."""
    parts: list[tuple[bool, tuple[tuple[str, str], ...]]] = []
    pieces: list[tuple[str, str]] = []
    optional = False
    for mark, name, style, text in _TOKENS.findall(pattern):
        if mark in ("[", "]"):
            parts.append((optional, tuple(pieces)))
            pieces, optional = [], mark == "["
        else:
            pieces.append((name, style) if name else ("", mark[:1] or text))
    parts.append((optional, tuple(pieces)))
    return tuple(parts)


def fields(pattern: str) -> Iterator[str]:
    """Yield the names of the facts in a pattern."""
    return (name for _, name, _, _ in _TOKENS.findall(pattern) if name)
