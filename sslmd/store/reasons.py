"""Reasons in notes: what people read, and beside it the code and the facts.

A note has `missing = "…"`, `missing_code = "…"` and, where there are facts, `missing_facts` with a
name and a value for each, in their order. A code that is not known, or facts that do not fit it,
leave the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sslmd.core.plain import plain
from sslmd.core.reason import Code, Held, Reason, noted
from sslmd.core.words.sentence import TABLES, say
from sslmd.store.notes import NO_SENSE, Codec, Shape, codec_of

_CODE, _FACTS, _SECONDS = "code", "facts", "seconds"
_TEXT, _TIME = codec_of(str).load, codec_of(datetime).load


@lru_cache(maxsize=1)
def _codes() -> Mapping[str, Code]:
    return {str(code): code for kind in TABLES for code in kind}


def reason_as(key: str, *, optional: bool = True) -> Codec:
    """Return the codec of a reason that stands among the fields of its class (`Shape.flat`).

    `key`: that of the text. `optional`: the field may be None, which an empty text stands for.
    """
    beside = reason_beside(key)

    def dump(reason: Reason) -> dict[str, Any]:
        is_text = reason == noted(str(reason.get("text")))
        return {key: str(reason["text"]) if is_text else plain(say(reason)), **beside.dump(reason)}

    def load(table: Mapping[str, Any]) -> Reason | None:
        text, reason = _TEXT(table.get(key, "")), beside.load(table)
        return reason or (noted(text) if text or not optional else None)

    empty = (lambda: None) if optional else None
    return Codec(dump, load, empty, beside.keys | {key})


def reason_beside(key: str) -> Codec:
    """Return the codec of a reason that may be None, beside a field that is its text.

    It is left out where it says no more than the text, and nonsense counts as none.
    """
    code_key, facts_key = f"{key}_{_CODE}", f"{key}_{_FACTS}"

    def dump(reason: Reason) -> dict[str, Any]:
        if reason.code is Held.NOTED:
            return {}
        facts = _dumped(reason)
        return {code_key: str(reason.code), **({facts_key: facts} if facts else {})}

    def load(table: Mapping[str, Any]) -> Reason | None:
        try:
            reason = _loaded(table[code_key], table.get(facts_key, []))
            say(reason)
        except (*NO_SENSE, AssertionError, AttributeError):
            return None
        return reason

    return Codec(dump, load, lambda: None, frozenset({code_key, facts_key}))


def _dumped(reason: Reason) -> list[list[Any]]:
    return [[name, _as_toml(value)] for name, value in reason.facts]


def _as_toml(value: Any) -> Any:
    if isinstance(value, Reason):
        return {_CODE: str(value.code), _FACTS: _dumped(value)}
    if isinstance(value, timedelta):
        return {_SECONDS: value.total_seconds()}
    if isinstance(value, tuple):
        return [_as_toml(one) for one in value]
    return str(value) if isinstance(value, str) else value


def _loaded(code: Any, facts: Any) -> Reason:
    """Read a reason; raises one of `NO_SENSE` for nonsense."""
    return Reason(_codes()[_TEXT(code)], **{_TEXT(name): _fact(value) for name, value in facts})


def _fact(value: Any) -> Any:
    match value:
        case {"code": code, "facts": facts}:
            return _loaded(code, facts)
        case {"seconds": seconds}:
            return timedelta(seconds=seconds)
        case list():
            return tuple(map(_fact, value))
        case datetime():
            return _TIME(value)
        case str() | int() | float():
            return value
    raise ValueError(f"a fact is expected, not {value!r:.60}")


# Failures keep what they say, and the reason of it.
TROUBLE = Shape(codecs={"reason": reason_beside("text")}, flat=frozenset({"reason"}))
