"""The codec of all notes on disk: dataclasses become TOML and come back, by their type hints.

A note says what the files beside it do not say, and is not the truth. What a class looks like on
disk is as its fields are named, in the order of the class; a `Shape` says where it differs. A
field that has its default is left out, and a key that is not known is passed over: so fields can
be added within a version. Everything read is checked; what we cannot have written is nonsense, and
each kind of note declares what becomes of it.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import cached_property
from sys import intern
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli
import tomli_w

from sslmd.core.errors import SslmError
from sslmd.store import files

T = TypeVar("T")

_NOTHING: Mapping[Any, Any] = types.MappingProxyType({})

# What reading raises for nonsense. A number of thousands of digits, or what is no TOML, is a
# ValueError; a time at the edge of the calendar overflows.
NO_SENSE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


class BadNoteError(SslmError):
    """A note that cannot be understood."""


class LaterVersionError(SslmError):
    """A note that a later sslmd wrote: not ours to touch."""


class Nonsense(Enum):
    """What becomes of a note that makes no sense, or is of another version.

    `ANEW`: it counts as if it were not there. `SET_ASIDE`: its reader gives it another name, says
    so and starts again; one of a later version is held as it is.
    """

    ANEW = auto()
    SET_ASIDE = auto()


@dataclass(frozen=True, slots=True)
class Codec:
    """How one type is written and read; `load` raises ValueError for nonsense.

    `empty` makes what a field without a default is where the note does not name it; None: it has
    to be there. `keys`: those of a class.
    """

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    empty: Callable[[], Any] | None = None
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the fields of a class stand on disk otherwise than by their names and types.

    `names`: their keys; `codecs`: those with a codec of their own. `flat`: dataclasses whose fields
    stand among those of this class. `always`: written though it is the default; `never`: not noted.
    `kind`: the name of the class in a union. `upgrade` is given what an older version wrote, as
    read, and returns what it means.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    codecs: Mapping[str, Codec] = field(default_factory=dict)
    flat: frozenset[str] = frozenset()
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()
    kind: str = ""
    upgrade: Callable[[Any], Any] | None = None


Shapes = Mapping[type, Shape]


@dataclass(frozen=True)
class NoteKind(Generic[T]):
    """One kind of note: its class, its shape, its version, and what becomes of nonsense.

    `most`: bytes of the longest that is read. For `Nonsense.ANEW` the class has to have defaults.
    """

    note: type[T]
    nonsense: Nonsense
    shapes: Shapes = field(default_factory=dict)
    version: int = 1
    most: int = files.MAX_FILE

    @cached_property
    def _codec(self) -> Codec:
        return codec_of(self.note, self.shapes)

    def encode(self, note: T, beside: Mapping[str, Any] = _NOTHING) -> bytes:
        """Return the text of a note. `beside`: values for people, which are not read back."""
        table = {"version": self.version, **beside, **self._codec.dump(note)}
        return tomli_w.dumps(table).encode("utf-8", "replace")

    def decode(self, data: bytes | str) -> T:
        """Read a note; bad UTF-8 is replaced. Raises `LaterVersionError` or `BadNoteError`."""
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        try:
            table = tomli.loads(text)
        except (ValueError, RecursionError) as err:
            raise BadNoteError(f"it is not TOML: {err}") from None
        version = table.get("version")
        if type(version) is int and version > self.version:
            raise LaterVersionError(f"it is of version {version}, this sslmd knows {self.version}")
        if type(version) is not int or version != self.version:
            raise BadNoteError(f"version must be {self.version}, not {version!r:.60}")
        try:
            note: T = self._codec.load(table)
        except NO_SENSE as err:
            raise BadNoteError(f"it makes no sense: {err}") from None
        return note

    def read(self, path: str) -> T:
        """Return what is noted; blocks. Nothing counts as an empty note, and for `ANEW` nonsense.

        Raises what `files.read_file` raises for a file that is not ours to read, and otherwise what
        `decode` raises.
        """
        try:
            return self.decode(files.read_file(path, self.most))
        except FileNotFoundError:
            return self.note()
        except (BadNoteError, LaterVersionError):
            if self.nonsense is Nonsense.ANEW:
                return self.note()
            raise

    def write(self, path: str, note: T) -> None:
        """Note it; blocks. Raises as `files.write_file` does."""
        files.make_dirs(os.path.dirname(path))
        files.write_file(path, self.encode(note))


def read_lines(path: str) -> list[str]:
    """Return the lines of a note that has one for each thing that is to be taken away again.

    Blocks. Raises as `files.read_file` does; one that is not there has none.
    """
    try:
        return files.read_file(path).decode("ascii", "replace").splitlines()
    except FileNotFoundError:
        return []


def write_lines(path: str, lines: Iterable[str]) -> None:
    """Note these, or remove the note if there are none; blocks. Raises as `files` does."""
    if data := "".join(f"{one}\n" for one in sorted(lines)).encode("ascii", "replace"):
        files.write_file(path, data)
    else:
        files.remove_file(path)


# --- what one value looks like -----------------------------------------------------------------


def _same(value: Any) -> Any:
    return value


def _checked(kind: type, what: str) -> Callable[[Any], Any]:
    def load(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{what} is expected, not {value!r:.60}")
        return value

    return load


def _time(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"a time with its zone is expected, not {value!r:.60}")
    return value.astimezone(UTC)


def number(least: float, most: float, digits: int | None = None) -> Codec:
    """Return the codec of a float within bounds, written with so many digits after the point."""

    def dump(value: float) -> float:
        return value if digits is None else round(value, digits)

    def load(value: Any) -> float:
        if type(value) not in (int, float) or not least <= value <= most:
            raise ValueError(f"a number from {least:g} to {most:g} is expected, not {value!r:.60}")
        return float(value)

    return Codec(dump, load)


def whole(least: int, most: int) -> Codec:
    """Return the codec of a whole number, where what is out of bounds counts as the bound."""
    exact = _BASIC[int].load
    return Codec(_same, lambda value: min(max(exact(value), least), most))


def minutes(most: timedelta) -> Codec:
    """Return the codec of a span of time, which is noted in minutes."""
    minute = timedelta(minutes=1)
    exact = number(0, most / minute).load
    return Codec(lambda span: span / minute, lambda value: timedelta(minutes=exact(value)))


def parsed(parse: Callable[[str], Any]) -> Codec:
    """Return the codec of a name, which is written as `str` gives it."""
    text = _BASIC[str].load
    return Codec(str, lambda value: parse(text(value)))


def line(first: Codec, second: Codec) -> Codec:
    """Return the codec of a pair as one line; where the second is empty, of the first alone."""
    text = _BASIC[str].load

    def load(value: Any) -> tuple[Any, Any]:
        one, other = [*text(value).split(None, 1), "", ""][:2]
        return first.load(one), second.load(other)

    return Codec(lambda pair: f"{first.dump(pair[0])} {second.dump(pair[1])}".rstrip(), load)


def lines(first: Codec, second: Codec) -> Codec:
    """Return the codec of a mapping that is noted as a list of lines, each with key and value."""
    pair, items = line(first, second), _checked(list, "a list")
    return Codec(
        lambda mapping: [pair.dump(one) for one in sorted(mapping.items())],
        lambda value: dict(map(pair.load, items(value))),
        dict,
    )


_text = _checked(str, "a string")
_BASIC = {
    # Thousands of certificates name the same CA and the same words.
    str: Codec(_same, lambda value: intern(_text(value)), str),
    bool: Codec(_same, _checked(bool, "true or false"), bool),
    int: Codec(_same, _checked(int, "a whole number")),
    float: number(float("-inf"), float("inf")),
    datetime: Codec(_same, _time),
    # Any bytes, there and back.
    bytes: Codec(
        lambda data: data.decode("latin-1"),
        lambda value: _text(value).encode("latin-1"),
    ),
}


def codec_of(hint: Any, shapes: Shapes = _NOTHING) -> Codec:
    """Return the codec of a type, by its hint."""
    if (basic := _BASIC.get(hint)) is not None:
        return basic
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(inner, shapes)
    if origin is tuple and inner[-1] is not Ellipsis:
        return line(*(codec_of(one, shapes) for one in inner))
    if origin in (tuple, frozenset):
        return listed(codec_of(inner[0], shapes), origin)
    if origin in (dict, Mapping):
        return _table(*(codec_of(one, shapes) for one in inner))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Codec(lambda value: value.value, hint)
    if hasattr(hint, "parse"):
        return parsed(hint.parse)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass(hint, shapes)
    raise TypeError(f"{hint} cannot be noted")


def rows(key: str, one: Codec) -> Codec:
    """Return the codec of a mapping of texts that is noted as tables, each with its `key`."""
    is_text, is_table, items = _BASIC[str].load, _checked(dict, "a table"), _checked(list, "a list")
    return Codec(
        lambda mapping: [{key: name, **one.dump(mapping[name])} for name in sorted(mapping)],
        lambda value: {is_text(is_table(row)[key]): one.load(row) for row in items(value)},
        dict,
    )


def listed(one: Codec, kind: type) -> Codec:
    """Return the codec of a tuple, or of a set, which is written in order."""
    items = _checked(list, "a list")

    def dump(values: Any) -> list[Any]:
        dumped = [one.dump(value) for value in values]
        return dumped if kind is tuple else sorted(dumped)

    return Codec(dump, lambda value: kind([one.load(item) for item in items(value)]), kind)


def _union(inner: tuple[Any, ...], shapes: Shapes) -> Codec:
    """A type or None; or one of several classes, which `kind` tells."""
    some = [one for one in inner if one is not types.NoneType]
    empty = (lambda: None) if len(some) < len(inner) else None
    if len(some) == 1:
        only = codec_of(some[0], shapes)
        return replace(only, empty=empty)
    kinds = {one: shapes[one].kind for one in some}
    codecs = {one: codec_of(one, shapes) for one in some}
    classes = {kind: one for one, kind in kinds.items()}

    def load(value: Any) -> Any:
        kind = _checked(dict, "a table")(value).get("kind")
        if kind not in classes:
            raise ValueError(f"kind: one of {', '.join(classes)} is expected, not {kind!r:.60}")
        return codecs[classes[kind]].load(value)

    def dump(value: Any) -> Any:
        return {"kind": kinds[type(value)], **codecs[type(value)].dump(value)}

    return Codec(dump, load, empty)


def _table(key: Codec, value: Codec) -> Codec:
    table = _checked(dict, "a table")
    return Codec(
        lambda values: {key.dump(name): value.dump(one) for name, one in values.items()},
        lambda found: {key.load(name): value.load(one) for name, one in table(found).items()},
        dict,
    )


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    key: str
    codec: Codec
    left_out: Any  # the value that is not written

    def load(self, value: Any) -> Any:
        try:
            return self.codec.load(value)
        except NO_SENSE as err:
            raise ValueError(f"{self.key}: {err}") from None


def _dataclass(cls: type, shapes: Shapes) -> Codec:
    shape, hints = shapes.get(cls, Shape()), get_type_hints(cls)
    every: list[_Field] = []
    empties: dict[str, Any] = {}
    required: set[str] = set()
    for one in fields(cls):
        if one.name in shape.never:
            continue
        codec = shape.codecs.get(one.name) or codec_of(hints[one.name], shapes)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if default is MISSING and codec.empty is not None:
            empties[one.name] = codec.empty()
        elif default is MISSING:
            required.add(one.name)
        left_out = MISSING if one.name in shape.always else default
        every.append(_Field(one.name, shape.names.get(one.name, one.name), codec, left_out))
    by_key = {one.key: one for one in every if one.name not in shape.flat}
    flat = [one for one in every if one.name in shape.flat]
    is_table = _checked(dict, "a table")

    def dump(value: Any) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for one in every:
            this = getattr(value, one.name)
            if this is None or this == one.left_out:
                continue
            table |= one.codec.dump(this) if one in flat else {one.key: one.codec.dump(this)}
        return table

    def load(value: Any) -> Any:
        table, values = is_table(value), dict(empties)
        for key, item in table.items():
            if (one := by_key.get(key)) is not None:
                values[one.name] = one.load(item)
        for one in flat:
            if one.name in required or not one.codec.keys.isdisjoint(table):
                values[one.name] = one.codec.load(table)
        if missing := required - values.keys():
            raise ValueError(f"{', '.join(sorted(missing))} is missing")
        note = cls(**values)
        return note if shape.upgrade is None else shape.upgrade(note)

    keys = frozenset().union(by_key, *(one.codec.keys for one in flat))
    return Codec(dump, load, keys=keys)
