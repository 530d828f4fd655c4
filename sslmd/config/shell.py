"""What in a command line is meant for a shell, where no shell runs.

Commands are split into words as a shell does it, and run without one. An operator of a shell
(`&&`, `>`, …) would reach the program as a word: one that ignores it counts as restarted though
half of the command was never run. What a shell would expand (`$HOME`, `*`) stays as it is.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_OPERATOR = re.compile(
    r"(?:[0-9]*(?:>>|>&|>\||<<<|<<|<>|<&|>|<)|&>>|&>|&&|\|\||\|&|;;|[&|;])&?[0-9-]*"
)
_VARIABLE = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[^}]*\}?|[0-9@*#?$!-])")
_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")
# Operators between two commands.
SEPARATORS = ("&&", ";", "||", "&")


class Quotes(Enum):
    """What stands around a sign."""

    NONE = auto()
    DOUBLE = auto()
    SINGLE = auto()  # or a backslash before it


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign of a line, at `at`; `first`: a word begins with it."""

    at: int
    quotes: Quotes
    first: bool


def operator(line: str) -> str:
    """Return the first operator of a shell in a command line, "" if there is none.

    `line` can be split by `shlex`. A `&` or `;` inside a URL is none.
    """
    for sign in _signs(line):
        if sign.quotes is Quotes.SINGLE:
            continue
        rest = line[sign.at :]
        inner = sign.quotes is Quotes.DOUBLE
        if rest.startswith("$(") or rest[0] == "`":
            if not (inner and runs_a_shell(line)):
                return "$(" if rest[0] == "$" else "`"
        elif not inner and rest[0] in "&|;<>" and not _in_url(line, sign.at):
            begin = sign.at
            while begin and line[begin - 1].isdigit() and rest[0] in "<>":
                begin -= 1
            found = _OPERATOR.match(line, begin)
            return found.group() if found else rest[0]
    return ""


def expansions(line: str) -> list[str]:
    """Return what a shell would expand in a command line, each once, in its order.

    Variables, `~` at the start of a word, `*`, and a `#` that would begin a comment. What is in
    double quotes is left to the shell that a line such as `sh -c "…"` runs itself. Nothing for a
    line whose quotes are not closed.
    """
    found: dict[str, None] = {}
    try:
        own_shell = runs_a_shell(line)
    except ValueError:
        return []
    for sign in _signs(line):
        inner = sign.quotes is Quotes.DOUBLE
        if sign.quotes is Quotes.SINGLE or (inner and own_shell):
            continue
        here = line[sign.at]
        if here == "$" and (variable := _VARIABLE.match(line, sign.at)):
            found[variable.group()] = None
        elif not inner and (
            (sign.first and here in "~#")
            or (here == "*" and "://" not in line[_begin(line, sign.at) :].split(None, 1)[0])
        ):
            found[here] = None
    return list(found)


def runs_a_shell(line: str) -> bool:
    """Whether a command line is one of a shell that gets a text to run: `sh -c …`."""
    words = shlex.split(line)
    for word, after in itertools.pairwise(words):
        if os.path.basename(word) in _SHELLS and re.fullmatch(r"-[a-z]*c[a-z]*", after):
            return True
    return False


def _signs(line: str) -> Iterator[Sign]:
    """Yield the signs of a line that are no quotes, with what quotes stand around them."""
    quote, at, first = "", 0, True
    while at < len(line):
        sign = line[at]
        if quote == "'":
            if sign == "'":
                quote = ""
            else:
                yield Sign(at, Quotes.SINGLE, first=False)
        elif sign == "\\" and at + 1 < len(line):
            at += 1  # the next sign is itself
        elif quote == '"':
            if sign == '"':
                quote = ""
            else:
                yield Sign(at, Quotes.DOUBLE, first=False)
        elif sign in "'\"":
            quote = sign
        elif not sign.isspace():
            yield Sign(at, Quotes.NONE, first)
        first = sign.isspace() and not quote
        at += 1


def _begin(line: str, at: int) -> int:
    while at and not line[at - 1].isspace():
        at -= 1
    return at


def _in_url(line: str, at: int) -> bool:
    """Whether a sign is a `&` or `;` inside a URL, with more of the URL around it."""
    after = line[at + 1 : at + 2]
    return (
        line[at] in "&;"
        and "://" in line[_begin(line, at) : at]
        and line[at - 1] not in "&;|<>"
        and bool(after)
        and not after.isspace()
        and after not in "&;|<>"
    )
