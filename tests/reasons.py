"""Reasons: for tests that do not look at them, and the list of codes in docs/socket-api.md.

`python -m tests.reasons docs/socket-api.md` writes that list there again.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sslmd.core.reason import Code, Held, Reason, Said
from sslmd.core.words.pattern import fields
from sslmd.core.words.sentence import TABLES, say

_ORDER = list(TABLES)
KINDS = sorted(
    (kind for kind in Code.__subclasses__() if kind.__module__.startswith("sslmd.core.")),
    key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER),
)
_PLACE = re.compile(r"(<!-- codes: begin -->\n).*(<!-- codes: end -->)", re.DOTALL)


def because(text: str) -> Reason:
    """Return a reason that says `text`."""
    return Reason(Held.NOTED, text=Said(text))


def text(line: Reason | str | None) -> str:
    """Return what people read of a line, "" for None."""
    return line if isinstance(line, str) else say(line)


@cache
def patterns(kind: type[Code], code: Code) -> tuple[str, ...]:
    """Every text that the words of a code can be made of."""
    words = TABLES[kind][code]
    if isinstance(words, str):
        return (words,)
    tree = _tree(inspect.getmodule(words) or words)
    return tuple(_constants(_function(tree, words), tree))


@cache
def _tree(module: Any) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(module)))


def _function(tree: ast.Module, words: Any) -> ast.AST:
    first = words.__code__.co_firstlineno
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda) and node.lineno == first:
            return node
    raise LookupError(words)


def _constants(node: ast.AST, tree: ast.Module) -> Iterator[str]:
    """The strings in a function, and in what it uses of its module."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value
    for other in tree.body:
        if isinstance(other, ast.FunctionDef) and other.name in names and other is not node:
            yield from _constants(other, tree)
        if isinstance(other, ast.Assign):
            (target,) = other.targets
            if isinstance(target, ast.Name) and target.id in names:
                yield from _constants(other.value, tree)


def used(code: Code) -> set[str]:
    found = {name for one in patterns(type(code), code) for name in fields(one)}
    words = TABLES[type(code)][code]
    if not isinstance(words, str):
        found |= set(patterns(type(code), code))  # facts["name"], "name" in facts
    return found


def facts_of(code: Code) -> list[str]:
    """Return the facts that a code can have, in the order of its words."""
    words = TABLES[type(code)][code]
    names = [name for one in patterns(type(code), code) for name in fields(one)]
    if not isinstance(words, str):
        names += [one for one in patterns(type(code), code) if re.fullmatch("[a-z_0-9]+", one)]
    known = used_facts()
    return list(dict.fromkeys(name for name in names if name in known))


@cache
def used_facts() -> set[str]:
    """Return every name that a pattern has for a fact."""
    every = (pattern for kind in KINDS for code in kind for pattern in patterns(kind, code))
    return {name for pattern in every for name in fields(pattern)} | {"several", "over", "root"}


def table() -> str:
    """Return the codes, one table for each enumeration."""
    lines = []
    for kind in KINDS:
        doc = (kind.__doc__ or "").strip()
        lines += [f"`{kind.__name__}`: {doc[0].lower()}{doc[1:]}", ""]
        lines += ["| code | facts | text |", "| --- | --- | --- |"]
        for code in kind:
            words = TABLES[kind][code]
            text = re.sub(r"\{(\w+):\w+\}", r"{\1}", words) if isinstance(words, str) else "…"
            facts = ", ".join(f"`{name}`" for name in facts_of(code))
            lines.append(f"| `{code}` | {facts} | {text.replace('|', chr(92) + '|')} |")
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Write the tables into the file that is named."""
    path = Path(sys.argv[1])
    path.write_text(_PLACE.sub(lambda found: found[1] + table() + found[2], path.read_text()))


if __name__ == "__main__":
    main()
