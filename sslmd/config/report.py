"""Collecting mistakes and warnings, each with its place in its file and the way out."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from sslmd.config.locate import KeyPath, find_line, key_lines
from sslmd.config.table import Table
from sslmd.config.values import seen
from sslmd.core.errors import Mistake
from sslmd.core.names import shown
from sslmd.core.plain import some_of

AnyTable = TypeVar("AnyTable", bound=Table)

# Messages for what pydantic finds by itself; the remedy is the type of the key.
_PROBLEMS = {
    "bool_type": "{value} is neither true nor false",
    "int_type": "{value} is not a whole number",
    "float_type": "{value} is not a number",
    "finite_number": "{value} is not a number that can be used",
    "string_type": "{value} is not a text",
    "list_type": "{value} is not a list",
    "model_type": "{value} is not a table",
    "greater_than_equal": "{value} is too small",
    "less_than_equal": "{value} is too large",
    "missing": "it is missing",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What is wrong (`mistakes`) or odd (`warnings`) in the files read so far."""

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)


class Source:
    """One file: its path as messages name it, its text to find lines in, and what is said of it.

    `written`: how the file has keys that are taken for others, such as `[DNS]` for `[dns]`.
    """

    __slots__ = ("_lines", "path", "report", "text", "written")

    def __init__(self, path: str, report: Report, text: str = "") -> None:
        self.path = path
        self.report = report
        self.text = text
        self.written: dict[KeyPath, KeyPath] = {}
        self._lines: dict[KeyPath, int] | None = None

    def _note(self, key: KeyPath, problem: str, remedy: str) -> Mistake:
        # Places in arrays are left out: the line and the value say more than a number.
        parts = (part for part in key if isinstance(part, str))
        name = ".".join(part if part.isprintable() else shown(part) for part in parts)
        if self._lines is None and key:
            self._lines = key_lines(self.text)
        for end in range(len(key), 0, -1):
            if key[:end] in self.written:
                key = self.written[key[:end]] + key[end:]
                break
        return Mistake(self.path, find_line(self._lines or {}, key), name, problem, remedy)

    def mistake(self, key: KeyPath, problem: str, remedy: str) -> None:
        """Note something that refuses the configuration; `key` () is the whole file."""
        self.report.mistakes.append(self._note(key, problem, remedy))

    def mistake_at(self, line: int, problem: str, remedy: str) -> None:
        """Note a mistake at a line rather than a key."""
        self.report.mistakes.append(Mistake(self.path, line, "", problem, remedy))

    def warn(self, key: KeyPath, problem: str, remedy: str) -> None:
        """Note something that the admin should know."""
        self.report.warnings.append(self._note(key, problem, remedy))

    def check(self, prefix: KeyPath, data: object, table: type[AnyTable]) -> AnyTable | None:
        """Check the table at `prefix`; note its mistakes and unknown keys; None if it is wrong."""
        if isinstance(data, dict):
            self._unknown_keys(prefix, data, table)
        try:
            return table.model_validate(data)
        except ValidationError as err:
            for error in err.errors(include_url=False):
                self.mistake((*prefix, *error["loc"]), *_explain(table, dict(error)))
            return None

    def _unknown_keys(
        self, prefix: KeyPath, data: Mapping[str, object], table: type[Table]
    ) -> None:
        """Warn about keys that mean nothing, with the nearest one that does."""
        known = known_keys(table)
        for key in data.keys() - known.keys():
            if key in table.without_effect:
                self.warn((*prefix, key), *table.without_effect[key])
            elif key not in table.also_known:
                self.unknown((*prefix, key), known, table.homes)
        for key, inner in inner_tables(table):
            value = data.get(key)
            if isinstance(value, dict):
                self._unknown_keys((*prefix, key), value, inner)

    def unknown(self, key: KeyPath, known: Collection[str], homes: Mapping[str, str]) -> None:
        """Warn about one unknown key; `homes`: where keys belong that are known elsewhere."""
        word = str(key[-1])
        remedy = f"it belongs {homes[word]}" if word in homes else nearest(word, known)
        self.warn(key, "this key is not known here and has no effect", remedy)


def nearest(word: str, known: Iterable[str], lead: str = "known here: ") -> str:
    """Suggest the known words nearest to `word`, or list them all after `lead`."""
    words = {name.lower(): name for name in known}
    near = sorted((_distance(word.lower(), name), name) for name in words)
    if near and near[0][0] <= _slips(word):
        return f"did you mean {shown(words[near[0][1]])}?"
    return f"{lead}{some_of(sorted(words.values()), 20) or 'nothing'}"


# Slips of the pen that a word may have to be taken for another: one, or two in a long word. More
# would make another word of it, and a hint that is wrong is worse than none.
_LONG, _SHORT = 9, 3
_FAR = 99


def _slips(word: str) -> int:
    return 0 if len(word) < _SHORT else 1 + (len(word) >= _LONG)


def _distance(word: str, other: str) -> int:
    """Return how many letters were added, left out, changed or swapped (restricted Damerau).

    Words with other numbers in them are never near: `mail1` is not meant for `mail2`.
    """
    if abs(len(word) - len(other)) > _slips(word) or _numbers(word) != _numbers(other):
        return _FAR
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(word):
        older, before, row = before, row, [at + 1]
        for to, there in enumerate(other):
            least = min(before[to + 1] + 1, row[to] + 1, before[to] + (letter != there))
            if at and to and letter == other[to - 1] and there == word[at - 1]:
                least = min(least, older[to - 1] + 1)
            row.append(least)
    return row[-1]


def _numbers(word: str) -> list[str]:
    return re.findall("[0-9]+", word)


@cache
def known_keys(table: type[Table]) -> dict[str, type[Table] | None]:
    """Return the keys of a table, with the schema of those that are tables themselves."""
    return {name: _inner_table(field) for name, field in table.model_fields.items()}


@cache
def inner_tables(table: type[Table]) -> tuple[tuple[str, type[Table]], ...]:
    """Return those of the keys of a table that are tables themselves."""
    return tuple((key, inner) for key, inner in known_keys(table).items() if inner)


def _inner_table(field: FieldInfo) -> type[Table] | None:
    kinds = (field.annotation, *typing.get_args(field.annotation))
    if isinstance(field.annotation, types.GenericAlias):
        return None
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Table):
            return kind
    return None


def _explain(table: type[Table], error: dict[str, Any]) -> tuple[str, str]:
    """Return problem and remedy for an error of pydantic's."""
    context = error.get("ctx", {})
    if error["type"] == "sslmd":
        return context["problem"], context["remedy"]
    described: FieldInfo | None = None  # of the key that is wrong, or of the one around it
    inner: type[Table] | None = table
    for part in error["loc"]:
        if inner is None or part not in inner.model_fields:
            break
        described = inner.model_fields[part]
        inner = _inner_table(described)
    extra = described.json_schema_extra if described else None
    kind = str(extra["kind"]).replace("`", "") if isinstance(extra, dict) else "a table"
    problem = _PROBLEMS.get(error["type"], "{value} cannot be used")
    if error["type"] == "missing":
        return problem, f"add {error['loc'][-1]} = … ({kind})"
    return problem.format(value=seen(error["input"])), f"expected: {kind}"
