"""What the tables of the schema are made of: keys with a meaning, and the types of values."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    ClassVar,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    create_model,
)
from pydantic.fields import FieldInfo

from sslmd.config import addresses, values
from sslmd.config.kinds import Argv, Endpoint, NextKey, RenewBy, Trigger
from sslmd.core.windows import Window

T = TypeVar("T")
Word = TypeVar("Word", bound=str)


class Table(BaseModel):
    """One table of a file, as the file has it. Unknown keys are left to `Source.check`."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    # Keys that ssl-mgr has and that need nothing here: neither used nor complained about.
    also_known: ClassVar[frozenset[str]] = frozenset()
    # Keys that ssl-mgr has and that do nothing here: why, and what to do about it.
    without_effect: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType({})
    # Where in the same file keys belong that are easily put here.
    homes: ClassVar[Mapping[str, str]] = MappingProxyType({})


def path(text: str, top: str) -> Path:
    """Return the absolute path of `text`, which begins at `top`; links are not resolved."""
    return Path(os.path.abspath(os.path.join(top, text)))


def maybe(text: str, top: str) -> Path | None:
    """Return the absolute path of `text`, None for an empty one."""
    return path(text, top) if text else None


def folders(texts: Iterable[str], top: str) -> tuple[Path, ...]:
    """Return the absolute paths of folders, each once; empty texts are left out."""
    return tuple(dict.fromkeys(path(text, top) for text in texts if text))


def argv(words: Argv, top: str) -> Argv:
    """Return a command whose program, if it is a relative path, starts at `top`."""
    if words and "/" in words[0] and not words[0].startswith("/"):
        return (str(path(words[0], top)), *words[1:])
    return words


def one_command(words: Iterable[str], top: str) -> Argv:
    """Return the command of `argv`, () where there is none."""
    return argv(tuple(words), top)


def commands(lines: Iterable[Argv], top: str) -> tuple[Argv, ...]:
    """Return the commands that are not empty."""
    return tuple(argv(words, top) for words in lines if words)


def each_once(elements: Iterable[T], _: str = "") -> tuple[T, ...]:
    """Return the elements of a list, each once."""
    return tuple(dict.fromkeys(elements))


def trigger_set(words: list[Trigger], _: str = "") -> frozenset[Trigger]:
    """Return what restarts a class beside its own certificates."""
    return frozenset(words)


def _as_it_is(value: Any, _: str) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    """A key of a file: its name and type there, and how its value gets into the configuration."""

    name: str
    read: Any
    field: FieldInfo
    to: Callable[[Any, str], Any]


# Where a declaration has its keys, by the names of attributes, and what `Table` says beside them.
_KEY, _KEYS, _ABOUT = "key", "_keys", "_about"


def described(
    kind: str, meaning: str, *, default: Any = ..., shown: str | None = None, **limits: float
) -> Any:
    """Describe a key of a `Table`: its type, its meaning, and its default (`...`: there is none).

    `shown` is the default as the manual has it, where that is not the value itself.
    """
    if "ge" in limits:
        kind = f"{kind}, {limits['ge']:g} to {limits['le']:.10g}"
        limits["allow_inf_nan"] = False
    extra: dict[str, Any] = {"kind": kind, "shown": shown}
    constraints: dict[str, Any] = dict(limits)
    return Field(default, description=meaning, json_schema_extra=extra, **constraints)


def key(
    kind: str,
    meaning: str,
    *,
    name: str = "",
    read: Any = None,
    to: Callable[[Any, str], Any] = _as_it_is,
    default: Any = ...,
    **more: Any,
) -> Any:
    """Declare a key of a `table`: as `described`, and how its value gets into the configuration.

    `name` and `read` are its name and type in the file, where they are not those of the attribute;
    `to` makes the attribute of the value there and the top directory. An attribute that is a
    `ClassVar` is a key of the file that others are made of.
    """
    field = described(kind, meaning, default=default, **more)
    # A path begins at the top directory, which is not known yet.
    made = {} if default is ... or to is path else {"default": to(default, "")}
    return dataclasses.field(metadata={_KEY: _Key(name, read, field, to)}, **made)


@dataclass_transform(frozen_default=True, field_specifiers=(key, dataclasses.field))
def table(
    *,
    also_known: Collection[str] = (),
    without_effect: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    homes: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[type[T]], type[T]]:
    """Make a frozen dataclass of a declaration, and the `Table` that its file is checked with."""

    about = {"also_known": also_known, "without_effect": without_effect, "homes": homes}

    def made(cls: type[T]) -> type[T]:
        own = ((name, cls.__dict__.get(name)) for name in cls.__annotations__)
        keys = {
            name: one.metadata[_KEY]
            for name, one in own
            if isinstance(one, dataclasses.Field) and one.metadata
        }
        done = dataclasses.dataclass(frozen=True, slots=True)(cls)
        setattr(done, _KEYS, keys)
        setattr(done, _ABOUT, about)
        return done

    return made


@cache
def table_of(declared: type, without: tuple[str, ...] = ()) -> Any:
    """Return the `Table` that a file is checked with; `without`: keys that it has not there."""
    keys: Mapping[str, _Key] = getattr(declared, _KEYS)
    hints = get_type_hints(declared, include_extras=True)
    fields: dict[str, Any] = {}
    for name, one in keys.items():
        hint = hints[name]
        read = one.read or (get_args(hint)[0] if get_origin(hint) is ClassVar else hint)
        if (one.name or name) not in without:
            fields[one.name or name] = (read, one.field)
    made: Any = create_model(declared.__name__, __base__=Table, **fields)
    for name, value in getattr(declared, _ABOUT).items():
        setattr(made, name, value)
    return made


def made_of(declared: type[T], file: Table, top: str, **derived: Any) -> T:
    """Return what a checked table of a file asks for; `derived`: what several keys say together."""
    keys: Mapping[str, _Key] = getattr(declared, _KEYS)
    attributes: Any = declared
    made = {field.name for field in dataclasses.fields(attributes)} - derived.keys()
    kept = {
        name: one.to(getattr(file, one.name or name), top)
        for name, one in keys.items()
        if name in made and hasattr(file, one.name or name)
    }
    return declared(**kept | derived)


def words(
    known: Iterable[Word], also: Mapping[str, Word] = MappingProxyType({}), hint: str = ""
) -> PlainValidator:
    """Accept one of a few words, in any case.

    `also`: other spellings, which no message offers. `hint`: what else could be right.
    """
    offered = list(known)
    by_text = {str(word).lower(): word for word in offered} | dict(also)

    def parse(value: Any) -> Word:
        word = by_text.get(value.lower()) if isinstance(value, str) else None
        if word is None:
            remedy = values.one_of(offered) + hint
            raise values.wrong(f"{values.seen(value)} is not known here", remedy)
        return word

    return PlainValidator(parse)


SINGLE = BeforeValidator(values.listed)
"""One text stands for a list of one."""

NUMBER = BeforeValidator(values.quantity)
"""A number, which may stand in quotes."""

NESTED = BeforeValidator(values.nested)
"""A list of lists."""

Text = Annotated[str, AfterValidator(values.text)]
Label = Annotated[str, PlainValidator(values.label)]
PathText = Annotated[str, PlainValidator(values.text)]
PathTexts = Annotated[list[PathText], SINGLE]
Commands = Annotated[list[Annotated[Argv, PlainValidator(values.command)]], SINGLE]
Windows = Annotated[list[Annotated[Window, PlainValidator(values.window)]], SINGLE]
Triggers = Annotated[list[Annotated[Trigger, words(Trigger)]], SINGLE]
NameServer = Annotated[Endpoint, PlainValidator(addresses.endpoint)]
NameServers = Annotated[list[NameServer], SINGLE]
NextKeyWord = Annotated[NextKey, words(NextKey)]
RenewByWord = Annotated[RenewBy, words(RenewBy)]


def path_key(meaning: str, *, shown: str, name: str = "") -> Any:
    """Declare a `key` that is a path, or left out."""
    return key("path", meaning, default="", shown=shown, name=name, read=PathText, to=maybe)


def flag(meaning: str, *, default: bool, name: str = "") -> Any:
    """Declare a `key` that is true or false."""
    return key("true or false", meaning, default=default, name=name)


def time_key(unit: str, meaning: str, *, default: float, ge: float, le: float) -> Any:
    """Declare a `key` that is a number of `unit` ("seconds", "days"), and becomes a timedelta."""

    def to(number: float, _: str) -> timedelta:
        return timedelta(**{unit: number})

    return key(unit, meaning, default=default, ge=ge, le=le, read=float, to=to)


def windows_key(meaning: str) -> Any:
    """Declare a `key` that is a list of windows."""
    return key("list of windows", meaning, default=[], shown="at any time", read=Windows)


RENEW_DAYS = (
    "Renew this many days before the certificate expires. At most a third of the certificate's "
    "life counts (half of it, for a life under 10 days), so that 30 also suits short lives."
)
SPREAD_DAYS = (
    "Move the day of renewal by up to this many days, either way, drawn once per certificate: "
    "many certificates are then not renewed all at once. At most `renew_expire_days`."
)
RENEW_BY = (
    "What says when a certificate of an ACME CA is renewed. `ca`: the CA does, where it offers "
    "that (ARI, RFC 9773): in the window that it suggests, at a place that is drawn once per "
    "certificate, no later than when a sixth of the certificate's life is left. "
    "`renew_expire_days` counts where the CA has not answered for two days, or suggests nothing. "
    "A window that the CA moves to the past means that it will revoke the certificate: it is "
    "replaced at once, and rolls and restarts do not wait for their windows. `days`: "
    "`renew_expire_days` alone; the CA is not asked."
)
NEXT_KEY = (
    "For services with `dane_tls`: when the next key is made. `at-renew`: with the renewal, "
    "whose certificate then waits on deck for its TLSA records. `at-roll`: as soon as a roll is "
    "settled, so that the records of the next key are in DNS long before it is needed, and a "
    "renewal waits for `min_roll_mins` alone. Records of usage 1 or 3 with selector 1 are made of "
    "the key; others wait for the certificate all the same."
)
