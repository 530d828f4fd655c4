"""What the files say, key by key, so that a reload can tell what changed in them.

Values are kept to be compared, and never shown: a command may hold a password.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from sslmd.config.files import CA_FILE, MAIN_FILE

Keys = Mapping[str, str]
Written = Mapping[str, Keys]

# Their keys say by themselves whose table of the array it is.
_ARRAYS = {"groups": "domain", "dns_primary": "domain"}


def written(main: Mapping[str, object], cas: Mapping[str, object]) -> Written:
    """Return the tables of `ssl-mgr.conf` and `ca-info.conf` by name, each as text by key."""
    tables: dict[str, Keys] = {}
    for name, value in main.items():
        if name in _ARRAYS:
            tables.update(_of_array(name, value))
        else:
            tables[f"[{name}] of {MAIN_FILE}"] = _keys(value)
    tables.update({f"[{name}] of {CA_FILE}": _keys(value) for name, value in cas.items()})
    return MappingProxyType(tables)


def differences(old: Written, new: Written) -> tuple[str, ...]:
    """Return a text for each table that changed: its name, and which of its keys."""
    return tuple(_differences(old, new))


def _differences(old: Written, new: Written) -> Iterator[str]:
    for name in dict.fromkeys((*new, *old)):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield f"{name} is {'new' if before is None else 'gone'}"
        elif before != after:
            keys = (key for key in dict.fromkeys((*after, *before)) if _differ(before, after, key))
            yield f"{name}: {', '.join(keys)}"
    some = [name for name in old if name in new]
    if some != [name for name in new if name in old]:
        yield f"the order of the tables of {MAIN_FILE}"


def _differ(before: Keys, after: Keys, key: str) -> bool:
    return before.get(key) != after.get(key)


def _of_array(name: str, value: object) -> Iterator[tuple[str, Keys]]:
    for one in value if isinstance(value, list) else []:
        which = one.get(_ARRAYS[name]) if isinstance(one, dict) else ""
        yield f"[[{name}]] {which} of {MAIN_FILE}", _keys(one)


def _keys(table: object) -> Keys:
    return (
        {str(key): repr(value) for key, value in table.items()} if isinstance(table, dict) else {}
    )
