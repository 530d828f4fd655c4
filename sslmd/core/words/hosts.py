"""Words for `Held` and `Failed`: hosts, what lies there, and what is run there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.reason import Held

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]


def _surplus(facts: Facts) -> str:
    ways = "prune = true in {prune:and} removes it" if facts["prune"] else "remove it by hand"
    if facts["deliver"] and not facts["prune"]:
        ways = f"sslmctl deliver ca:NAME removes keys of a CA; {ways}"
    return (
        "in {prod}, found certificates or keys that do not belong there: {things}[ and {more} "
        f"more]; {ways}; if it is meant, name it in keep of [[globals]]"
    )


def _left_host(facts: Facts) -> str:
    some = "{things}" if facts["things"] else "older ones"
    return (
        f"{{host}} is no longer in a server class, but has what was copied there, with keys: {some}"
        "; remove it from {places:and} there, then run: sslmctl forget {host} --yes"
    )


def _keys_closed(facts: Facts) -> str:
    verb = "does not let" if len(facts["folders"]) == 1 else "do not let"
    group = "group {group}" if facts.get("group") else ""
    owner = "user {owner}" if facts.get("owner") else ""
    who = " or ".join(filter(None, (group, owner))) or "others"
    return f"{{folders}} {verb} {who} through to the keys; run: {{command}}"


HELD_HOSTS: Mapping[Held, str | Callable[[Facts], str]] = {
    Held.SURPLUS: _surplus,
    Held.OLDER_PRODUCTION: (
        "{folders:and} is not used any more (prod_cert_dir), but still has keys; remove what lies "
        "there when no server reads it, or name what is meant to stay in keep of [[globals]]"
    ),
    Held.LEFT_HOST: _left_host,
    Held.KEYS_CLOSED: _keys_closed,
}
