"""Sentences are for people: no code of the program compares, splits or strips one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.reasons import KINDS, patterns

PROGRAM = Path(__file__).parents[2] / "sslmd"
FILES = [one for one in sorted(PROGRAM.rglob("*.py")) if one.parent.name != "words"]

# What looks into a text, or takes it apart.
READING = {
    *("startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition"),
    *("split", "rsplit", "index", "find", "rfind", "replace", "lstrip", "rstrip", "strip"),
}
# Fields of an answer that hold sentences.
SENTENCES = {"reason", "text", "error", "last_error", "unseen", "problem"}
# Attributes that hold sentences of ours, or reasons that become one.
ATTRIBUTES = {"reason", "alarm", "overrode", "rolls_when", "why", "last_error"}
# Texts of others, in fields that have the same names.
OF_OTHERS = {"sslmd/doctor/http.py"}


def is_sentence(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression is a sentence that `words` made, or a local name of one."""
    match node:
        case ast.Call(func=ast.Name(id="say" | "written" | "told")):
            return True
        case ast.Call(func=ast.Name(id="str"), args=[ast.Name(id="err" | "error")]):
            return True
        case ast.Call(func=ast.Attribute(attr="text_beside")):
            return True
        case ast.Call(func=ast.Attribute(attr="text"), args=[ast.Constant(value=str(field))]):
            return field in SENTENCES
        case ast.Attribute(attr=attr):
            return attr in ATTRIBUTES
        case ast.Name(id=name):
            return name in names
        case ast.NamedExpr(value=value):
            return is_sentence(value, names)
    return False


def readings(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield where a sentence is read."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and is_sentence(node.value, set()):
                names |= {one.id for one in node.targets if isinstance(one, ast.Name)}
            if isinstance(node, ast.NamedExpr) and is_sentence(node.value, set()):
                names.add(node.target.id)
        for node in ast.walk(function):
            match node:
                case ast.Call(func=ast.Attribute(attr="split"), args=[]):
                    pass  # white space in words of others
                case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in READING:
                    if is_sentence(value, names):
                        yield node
                case ast.Compare(left=left, ops=[op], comparators=[right]):
                    if isinstance(op, ast.Eq | ast.NotEq):
                        text, other = (left, right) if is_sentence(left, names) else (right, left)
                        if is_sentence(text, names) and _has_words(other):
                            yield node
                    if isinstance(op, ast.In | ast.NotIn) and is_sentence(right, names):
                        yield node


def _has_words(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr):
        return True
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def test_no_sentence_is_compared_split_or_stripped() -> None:
    found = []
    for path in FILES:
        place = str(path.relative_to(PROGRAM.parent))
        if place in OF_OTHERS:
            continue
        for node in readings(ast.parse(path.read_text())):
            found += [f"{place}:{node.lineno}: {ast.unparse(node)}"]
    assert not found, "\n".join(found)


def test_no_text_of_words_is_looked_for() -> None:
    """A piece of a sentence in a comparison, or given to what looks into a text."""
    pieces = " ¦ ".join(one for kind in KINDS for code in kind for one in patterns(kind, code))
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            texts: list[ast.expr] = []
            match node:
                case ast.Call(func=ast.Attribute(attr=attr), args=args) if attr in READING:
                    texts = args
                case ast.Compare(left=left, comparators=comparators):
                    texts = [left, *comparators]
            for one in texts:
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    text = one.value.strip()
                    if len(text) > 8 and " " in text and text in pieces:
                        found.append(f"{path}: {text!r}")
    assert not found, "\n".join(found)


def test_the_rule_finds_what_it_is_there_for() -> None:
    bad = """
def one(decision, err, fields):
    text = say(decision.reason)
    if text.startswith("on deck"):
        return text.partition("; ")[0]
    if decision.reason == "not planned":
        return str(err).removeprefix("zone ")
    return "waits" in fields.text("reason")

def good(decision):
    return decision.reason.code is Why.VALID and say(decision.reason)
"""
    assert len(list(readings(ast.parse(bad)))) == 5
