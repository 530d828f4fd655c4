"""Tables in other places and other spellings than ours, as ssl-mgr's files have them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum, auto

from sslmd.config.reader import Tables
from sslmd.config.report import Source


class Capitals(Enum):
    """What ssl-mgr makes of a table whose name is written with other capitals."""

    READ = auto()
    OVERLOOKED = auto()


def with_names(source: Source, data: Tables, names: Iterable[str], case: Capitals) -> Tables:
    """Return a file's content with its tables named as in `names`, whatever their capitals were.

    Two tables of one name are a mistake. Where ssl-mgr overlooks such a table, that is said: it
    may be a surprise that it counts now.
    """
    known = {name.lower(): name for name in names}
    found: Tables = {}
    for key, value in data.items():
        name = known.get(key.lower(), key) if _is_table(value) else key
        if name == key:
            found[key] = value
            continue
        there = name if name in data else source.written.get((name,), ("",))[0]
        if there:
            source.mistake(
                (key,),
                f"[{there}] and [{key}] are two names of one table",
                f"put everything below one [{name}]",
            )
            continue
        found[name] = value
        source.written[name,] = (key,)
        if case is Capitals.OVERLOOKED:
            source.warn(
                (name,),
                f"ssl-mgr does not read [{key}]; here it counts as [{name}]",
                f"write [{name}], or remove it if it should not count",
            )
    return found


def _is_table(value: object) -> bool:
    """Whether a value is a table, or an array of them."""
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
    )


def with_globals(source: Source, data: Tables, table: str, keys: Collection[str]) -> Tables:
    """Return a file's content with `keys` that stand above its first table put into `table`.

    ssl-mgr reads them there as well; what `table` says itself counts more.
    """
    loose = [key for key in data if key in keys]
    inner = data.get(table, {})
    if not loose or not isinstance(inner, dict):
        return data
    merged = dict(inner)
    for key in loose:
        if key in inner:
            problem, remedy = f"it has no effect: [{table}] has it as well", "remove it here"
        else:
            merged[key] = data[key]
            source.written[table, key] = (key,)
            problem = f"it stands outside of every table and is taken for one of [{table}]"
            remedy = f"move it below [{table}]"
        source.warn((key,), problem, remedy)
    kept = {key: value for key, value in data.items() if key not in loose}
    return {table: merged} | kept | {table: merged}
