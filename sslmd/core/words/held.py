"""Words for `Held`: what is in trouble, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.reason import Held

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

# What an admin need not do: `daemon.held`.
_LOOKED_AT = "it is looked at again within a minute"
_NEW_KEY = "For a new CA, which every client has to learn: sslmctl renew --force --new-key {arg}"
_AGAIN = "sslmctl renew --force {arg} (its key and its name stay)"
_UNCHANGED = (
    "A CA keeps its key and its name, so it stays as it is. Write into the service file what it "
    f"has. {_NEW_KEY}"
)


def _ca_unusable(facts: Facts) -> str:
    text = (
        "{why}. It signs nothing until its files are right: put them back from a copy "
        f"(certs/{{cert}}/db/{{set}}); {_LOOKED_AT}. "
    )
    has_key = f"To have its certificate made again: {_AGAIN}"
    return text + (has_key if facts["has_key"] else _NEW_KEY)


def _roll_blocked(facts: Facts) -> str:
    tense = "expired" if facts["over"] else "expires"
    usage_3 = (
        ". The certificate in use stays until then: clients that check DANE by usage 3 accept it "
        "even when it has expired, others do not"
    )
    return (
        f"the certificate in use {tense} at {{end}}, and the set on deck cannot be rolled: {{why}}"
        f"{usage_3 if facts['usage_3'] else ''}. Correct that, or: sslmctl roll --force {{arg}}"
        "[ ({harm})]"
    )


HELD: Mapping[Held, str | Callable[[Facts], str]] = {
    Held.NOTED: "{text}",
    Held.LATER_STATE: "{path} is left alone, and its certificate too: {why}",
    Held.LEFT_ALONE: "left alone: {why}",
    Held.BROKEN: "left alone after an error of sslmd's own: {error}; see the journal",
    Held.CA_NO_CURR: (
        "it has no curr, but it was in use before: there is {remains}. Put the link curr back (it "
        f"leads to db/<set>); {_LOOKED_AT}. {_NEW_KEY}"
    ),
    Held.CA_CLOCK: f"{{why}}. If the clock of this machine is right: {_AGAIN}",
    Held.CA_UNUSABLE: _ca_unusable,
    Held.CA_OTHER_NAME: (
        "the service file asks for the name {asked}, its certificate has {has}. " + _UNCHANGED
    ),
    Held.CA_OTHER_KEY: "the service file asks for a key {asked}, it has {has}. " + _UNCHANGED,
    Held.CA_OTHER_SIGNER: (
        "the service file asks for the CA {asked}, its certificate is from another one. Correct "
        f"signing_ca in its service file. If you want the change: {_AGAIN}"
    ),
    Held.CA_NOT_SELF_SIGNED: (
        "the service file says that it signs itself; its certificate is from another CA. Correct "
        f"signing_ca in its service file. If you want the change: {_AGAIN}"
    ),
    Held.ROLL_BLOCKED_FIRST: (
        "no certificate is in use yet, and the set on deck cannot be rolled: {why}; or: sslmctl "
        "roll --force {arg}[ ({harm})]"
    ),
    Held.ROLL_BLOCKED: _roll_blocked,
    Held.OWN_ERROR: "an error of sslmd's own: {error}",
}
