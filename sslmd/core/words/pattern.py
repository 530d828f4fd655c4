"""Patterns, which words are written as.

`{fact}` stands for a fact, `[…]` is left out when one of the facts in it is missing or empty, and
of `[…|…]` the second part stands then. `[[` and `]]` are brackets. `{fact:style}` writes a fact in
that style.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Compiled when it is needed: a status without trouble has no use for it.
_TOKENS = r"(\[\[|\]\]|\[|\])|\{(\w+)(?::(\w+))?\}|([^\[\]{}]+)"

# A fact as it is, and one that is only asked for: whether it is there.
PLAIN: Mapping[str, Callable[[Any], str]] = {"": str, "if": lambda _: ""}


def fill(
    pattern: str, facts: Mapping[str, Any], styles: Mapping[str, Callable[[Any], str]] = PLAIN
) -> str:
    """Return a pattern with its facts; raises KeyError where one is missing outside brackets."""
    text = []
    for optional, pieces, otherwise in _parts(pattern):
        if optional and any(not facts.get(piece[0]) for piece in pieces if piece[0]):
            pieces = otherwise
        for name, rest in pieces:
            text.append(styles[rest](facts[name]) if name else rest)
    return "".join(text)


def tell(what: StrEnum, /, **facts: Any) -> str:
    """Return the sentence of an enumeration that has patterns for values."""
    return fill(what, facts)


@lru_cache(maxsize=2048)
def _parts(pattern: str) -> list[tuple[bool, list[tuple[str, str]], list[tuple[str, str]]]]:
    """Cut a pattern into parts: whether one is optional, its pieces, and those that stand else.

    A piece is a fact with its style, or "" with a text.
    """
    pieces: list[tuple[str, str]] = []
    parts: list[tuple[bool, list[tuple[str, str]], list[tuple[str, str]]]] = [(False, pieces, [])]
    for mark, name, style, text in re.findall(_TOKENS, pattern):
        if mark in ("[", "]"):
            pieces = []
            parts.append((mark == "[", pieces, []))
        elif name:
            pieces.append((name, style))
        else:
            optional, _, otherwise = parts[-1]
            here, bar, other = text.partition("|") if optional else (text, "", "")
            pieces.append(("", mark[:1] or here))
            if bar:
                pieces = otherwise
                pieces.append(("", other))
    return parts


def fields(pattern: str) -> Iterator[str]:
    """Yield the names of the facts in a pattern."""
    return (name for _, name, _, _ in re.findall(_TOKENS, pattern) if name)
