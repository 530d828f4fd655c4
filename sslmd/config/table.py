"""What the tables of the schema are made of: keys with a meaning, and the types of values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from sslmd.config import values
from sslmd.config.model import Argv, Endpoint, NextKey, Trigger
from sslmd.core.windows import Window

T = TypeVar("T", bound=str)


class Table(BaseModel):
    """One table of a file. Unknown keys are left to `report.unknown_keys`."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    # Keys that ssl-mgr has and that need nothing here: neither used nor complained about.
    also_known: ClassVar[frozenset[str]] = frozenset()
    # Keys that ssl-mgr has and that do nothing here: why, and what to do about it.
    without_effect: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType({})
    # Where in the same file keys belong that are easily put here.
    homes: ClassVar[Mapping[str, str]] = MappingProxyType({})


def key(
    kind: str, meaning: str, *, default: Any = ..., shown: str | None = None, **limits: float
) -> Any:
    """Describe a key: its type, its meaning, and its default (without one it must be there).

    `shown` is the default as the manual has it, where that is not the value itself.
    """
    if "ge" in limits:
        kind = f"{kind}, {limits['ge']:g} to {limits['le']:.10g}"
        limits["allow_inf_nan"] = False
    extra: dict[str, Any] = {"kind": kind, "shown": shown}
    constraints: dict[str, Any] = dict(limits)
    return Field(default, description=meaning, json_schema_extra=extra, **constraints)


def word_of(words: type[T]) -> PlainValidator:
    """Accept the values of a `StrEnum`, in any case."""
    known = {str(word): word for word in words}  # type: ignore[attr-defined]

    def parse(value: Any) -> T:
        word = known.get(value.lower()) if isinstance(value, str) else None
        if word is None:
            raise values.wrong(f"{values.seen(value)} is not known here", values.one_of([*known]))
        return word  # type: ignore[no-any-return]

    return PlainValidator(parse)


def choice(*words: str) -> PlainValidator:
    """Accept one of a few words, in any case."""
    known = {word.lower(): word for word in words}

    def parse(value: Any) -> str:
        word = known.get(value.lower()) if isinstance(value, str) else None
        if word is None:
            raise values.wrong(f"{values.seen(value)} is not known here", values.one_of(words))
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
Triggers = Annotated[list[Annotated[Trigger, word_of(Trigger)]], SINGLE]
NameServer = Annotated[Endpoint, PlainValidator(values.endpoint)]
NameServers = Annotated[list[NameServer], SINGLE]
NextKeyWord = Annotated[NextKey, word_of(NextKey)]

RENEW_DAYS = (
    "Renew this many days before the certificate expires. At most a third of the certificate's "
    "life counts (half of it, for a life under 10 days), so that 30 also suits short lives."
)
SPREAD_DAYS = (
    "Move the day of renewal by up to this many days, either way, drawn once per certificate: "
    "many certificates are then not renewed all at once. At most `renew_expire_days`."
)
NEXT_KEY = (
    "For services with `dane_tls`: when the next key is made. `at-renew`: with the renewal, "
    "whose certificate then waits on deck for its TLSA records. `at-roll`: as soon as a roll is "
    "settled, so that the records of the next key are in DNS long before it is needed, and a "
    "renewal waits for `min_roll_mins` alone. Records of usage 1 or 3 with selector 1 are made of "
    "the key; others wait for the certificate all the same."
)
