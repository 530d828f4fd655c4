"""Every regular expression of the program, how it is used, and texts that are hard for it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from itertools import product
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import ModuleType
from typing import Any

TOP = Path(__file__).parent.parent
METHODS = frozenset({"match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split"})

# Programs beside the package, and those whose name is no module's.
SCRIPTS = ("sslmd/config/tools/bind-reload", "packaging/files.py")

# Characters that a text is made of, as far as a class of characters takes them.
LIKELY = 'a0 .-\\"\n;/:'

# Repetitions of no more than this are looked at as a part of others.
NARROW = 50
REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


@dataclass(frozen=True)
class Pattern:
    """A pattern, where it stands, and the methods that it is used with."""

    where: str
    regex: re.Pattern[Any]
    methods: frozenset[str]


def sources() -> Iterator[Path]:
    """Yield every file of Python of the program."""
    yield from sorted((TOP / "sslmd").rglob("*.py"))
    yield from (TOP / name for name in SCRIPTS)


def module_of(path: Path) -> ModuleType:
    """Return a file as a module."""
    relative = path.relative_to(TOP)
    if relative.parts[0] == "sslmd" and path.suffix == ".py":
        return importlib.import_module(".".join(relative.with_suffix("").parts))
    name = f"script_{path.stem.replace('-', '_')}"
    if name not in sys.modules:
        loader = SourceFileLoader(name, str(path))
        spec = importlib.util.spec_from_loader(name, loader)
        assert spec is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        loader.exec_module(sys.modules[name])
    return sys.modules[name]


def every_pattern(tables: Mapping[str, Iterable[str]]) -> list[Pattern]:
    """Return all patterns; `tables`: the texts behind variables that stand for one, by name."""
    texts = {path: path.read_text(encoding="utf-8") for path in sources()}
    trees = {path: ast.parse(text) for path, text in texts.items() if re.search(r"\bre\.", text)}
    calls: list[tuple[Path, ast.Call]] = []
    names: dict[ast.expr, str] = {}  # what is assigned -> to whom; patterns alone
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_of_re(node.func):
                calls.append((path, node))
            elif (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Call)
                and _is_of_re(node.value.func)
            ):
                names[node.value] = ast.unparse(node.targets[0])
    methods: dict[str, set[str]] = {name: set() for name in names.values()}
    for path, text in texts.items():
        if not any(f"{name}." in text for name in methods):
            continue
        for node in ast.walk(trees[path] if path in trees else ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                methods.get(ast.unparse(node.value), set()).add(node.attr)
    found = []
    for path, node in calls:
        assert isinstance(node.func, ast.Attribute)
        where = f"{path.relative_to(TOP)}:{node.lineno}"
        if node.func.attr == "compile":
            used = frozenset(methods.get(names.get(node, ""), ())) or frozenset({"search"})
        else:
            used = frozenset({node.func.attr})
        found += [Pattern(where, one, used) for one in _compiled(node, path, tables)]
    return found


def _is_of_re(func: ast.expr) -> bool:
    return (
        isinstance(func, ast.Attribute)
        and isinstance(func.value, ast.Name)
        and func.value.id == "re"
        and func.attr in METHODS | {"compile"}
    )


def _compiled(
    node: ast.Call, path: Path, tables: Mapping[str, Iterable[str]]
) -> list[re.Pattern[Any]]:
    text = ast.unparse(node.args[0])
    if text in tables:
        return [re.compile(one) for one in tables[text]]
    names = vars(module_of(path))
    flags = [one for one in (*node.args[1:], *node.keywords) if "re." in ast.unparse(one)]
    value = 0
    for one in flags:
        value |= eval(ast.unparse(one), {"re": re})
    return [re.compile(eval(text, dict(names)), value)]


# --- texts that are hard --------------------------------------------------------------------


def hard_texts(regex: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield beginning, part and end: with the part repeated, matching has the most to try.

    For every repetition in the pattern: what leads to it, what it takes, and an end that fits to
    nothing; and for searches, all from the beginning on repeated.
    """
    pattern = regex.pattern
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    tree = _parser.parse(
        text, regex.flags & ~re.UNICODE if isinstance(pattern, bytes) else regex.flags
    )
    seen = set()
    for char, least in product(LIKELY, (False, True)):
        for before, part in _repeats(tree, "", _Sampler(char, least)):
            for begin, pump in (
                (before, part),
                ("", before + part),
                ("", before),
                (before, part * 2),
            ):
                for end in ("\0", "\n\0", "", "!"):
                    if pump and (begin, pump, end) not in seen:
                        seen.add((begin, pump, end))
                        yield begin, pump, end


@dataclass(frozen=True)
class _Sampler:
    """Makes texts that fit, of `char` wherever that is taken; `least`: without what is optional."""

    char: str
    least: bool

    def sample(self, nodes: Any) -> str:
        return "".join(self._of(op, arg) for op, arg in nodes)

    def _of(self, op: Any, arg: Any) -> str:
        if op is sre.LITERAL:
            return chr(arg)
        if op is sre.NOT_LITERAL:
            return self.char if ord(self.char) != arg else "a"
        if op is sre.ANY:
            return self.char
        if op is sre.IN:
            return _of_class(arg, self.char)
        if op in REPEATS:
            least, most, body = arg
            times: int = max(least, 0 if self.least else min(1, most))
            return self.sample(body) * times
        if op is sre.SUBPATTERN:
            return self.sample(arg[-1])
        if op is sre.ATOMIC_GROUP:
            return self.sample(arg)
        return self.sample(arg[1][0]) if op is sre.BRANCH else ""


def _repeats(nodes: Any, before: str, sampler: _Sampler) -> Iterator[tuple[str, str]]:
    """Yield what leads to each repetition without a narrow bound, and what it takes."""
    for op, arg in nodes:
        for one in _inside(op, arg):
            if op in REPEATS and arg[1] > NARROW:
                yield before, sampler.sample(one) or sampler.char
            yield from _repeats(one, before, sampler)
        before += sampler.sample([(op, arg)])


def _inside(op: Any, arg: Any) -> list[Any]:
    if op in REPEATS:
        return [arg[2]]
    if op is sre.SUBPATTERN:
        return [arg[-1]]
    if op is sre.ATOMIC_GROUP:
        return [arg]
    if op is sre.BRANCH:
        return list(arg[1])
    return [arg[1]] if op in (sre.ASSERT, sre.ASSERT_NOT) else []


def _of_class(items: Sequence[Any], char: str) -> str:
    negated = bool(items) and items[0][0] is sre.NEGATE
    one: str
    for one in (char, *LIKELY, *map(chr, range(33, 127))):
        if _is_in(items, one) is not negated:
            return one
    raise AssertionError(items)


def _is_in(items: Any, char: str) -> bool:
    kinds = {
        sre.CATEGORY_DIGIT: r"\d",
        sre.CATEGORY_NOT_DIGIT: r"\D",
        sre.CATEGORY_SPACE: r"\s",
        sre.CATEGORY_NOT_SPACE: r"\S",
        sre.CATEGORY_WORD: r"\w",
        sre.CATEGORY_NOT_WORD: r"\W",
    }
    for op, arg in items:
        if op is sre.LITERAL and ord(char) == arg:
            return True
        if op is sre.RANGE and arg[0] <= ord(char) <= arg[1]:
            return True
        if op is sre.CATEGORY and re.fullmatch(kinds[arg], char):
            return True
    return False
