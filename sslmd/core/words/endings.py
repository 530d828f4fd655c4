"""Words for `Ended` and `Answered`: what became of an admin's request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.reason import Ended
from sslmd.core.told import Answered

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _too_early(facts: Mapping[str, Any]) -> str:
    why = []
    if "gate" in facts:
        here = "going back to set {back}, as an admin asked" if "back" in facts else "on deck"
        why.append(f"({here}; {{gate}})")
    if "windows" in facts:
        why.append("{windows}")
    rule = " and ".join(why) or "when min_roll_mins is over"
    return f"{{cert}} rolls by itself at {{at}}, {rule}; --force rolls it now"


def _trial_well(facts: Mapping[str, Any]) -> str:
    kept = "it is in {folder}" if "folder" in facts else "nothing was kept"
    return (
        f"{{server}} issues it: serial {{serial}}, valid until {{until}}[; {{unmet:lines}}]; {kept}"
    )


def _account_seen(facts: Mapping[str, Any]) -> str:
    standing = {
        "valid": "valid",
        "deactivated": "deactivated, for good: sslmctl account deactivate puts it away here too",
        "revoked": "revoked by the CA, for good: ask it why",
    }.get(facts["status"], "{status}")
    return f"{standing}; it writes to [{{contact}}|nobody]"


def _forecast(facts: Mapping[str, Any]) -> str:
    limits = {
        "accounts": "new accounts",
        "names": "certificates for exactly the same names",
        "domain": "certificates of one zone",
    }
    bound = ""
    if "limit" in facts:
        what = limits.get(facts["limit"], "orders")
        bound = f", bounded by {{most}} {what} in {{every:span}}"
    elif "places" in facts:
        bound = ", bounded by {places} orders at a time"
    elif "requests" in facts:
        bound = ", bounded by {requests} requests at a time"
    number = "1 certificate" if facts["number"] == 1 else "{number} certificates"
    span, last = ("{least:span} to {span:span}", "at the latest at")
    if "least" not in facts:
        span, last = "{span:span}", "at"
    return f"{number} of {{ca}}: about {span}{bound}: the last {last} {{at}}"


ENDINGS: Mapping[Ended, str | Callable[[Mapping[str, Any]], str]] = {
    Ended.CANCELLED: "cancelled by an admin",
    Ended.NOT_NOTED: "it could not be noted: {why}",
    Ended.NOTHING_ON_DECK: "there is nothing on deck to roll",
    Ended.NOT_DUE: "not due[ until {until:day}]; sslmctl force-renew renews it now",
    Ended.NO_KEY_TO_REUSE: "there is no key {key} to use again; renew it without --reuse",
    Ended.ALREADY_ON_DECK: "set {set} is already on deck",
    Ended.IN_USE: "set {set} is in use",
    Ended.NOT_BACK: "set {set} cannot be rolled back to: {why}",
    Ended.TOO_EARLY: _too_early,
    Ended.TO_COME: "it will be done",
    Ended.NOT_CONFIGURED: "it is no longer in the configuration",
    Ended.REPLACED: "it was replaced by another one",
    Ended.ISSUED: "{what}[; {on_deck:if}it is on deck]",
    Ended.ROLLED: "rolled and deployed",
    Ended.ROLLED_BUT: "rolled, but {why}",
    Ended.ROLLED_WAITS: "rolled; {why}",
    Ended.TRIAL_WELL: _trial_well,
    Ended.MADE_SINCE: "set {set} was issued since that was asked for, at {at}",
}

ANSWERS: Mapping[Answered, str | Callable[[Mapping[str, Any]], str]] = {
    Answered.PLACES: (
        "{kind} on {host}[ ({some} of {all} certificates {why:lines})][ ({every:lines})]"
    ),
    Answered.SERVERS_FAILED: "{errors:lines}",
    Answered.SERVER_FAILED: "{kind} on {host}: {error}",
    Answered.WINDOW_OF: "waits for the restart_window of {servers}",
    Answered.DELIVERED: "delivered: {servers}",
    Answered.RESTARTED: "restarted: {servers}",
    Answered.NO_SERVER_HAS: "in production; no server has it",
    Answered.CONTACT_SET: "the CA writes to [{emails}|nobody]",
    Answered.ACCOUNT_SEEN: _account_seen,
    Answered.ACCOUNT_UNSEEN: "it could not be asked now: {why}",
    Answered.ACCOUNT_NOT_ASKED: "not asked about more than {most} accounts: name a certificate",
    Answered.ACCOUNT_CHANGING: (
        "not asked: another key was asked for, and which one it has is found out at the next use"
    ),
    Answered.KEY_CHANGED: "the account {url} has another key: {folder}",
    Answered.DEACTIVATED: (
        "the account has ended; its key and its URL are kept in {aside}, and the next order makes "
        "another account"
    ),
    Answered.SHARED: (
        "one account for all certificates: {url}[; {number} had one of their own, which is kept in "
        "their folders and not used any more]"
    ),
    Answered.REFRESHED: "{texts:lines}",
    Answered.NOTHING_TO_REFRESH: (
        "nothing to do: [[dns]] has neither acme_dir nor tlsa_dirs nor restart_cmd"
    ),
    Answered.OFF_DECK: "set {set} is taken off the deck; it stays in db/ until it is cleaned up",
    Answered.RENEWED_AGAIN: (
        "set {set} is renewed as soon as it is in use again ({why}), and what is new then is "
        "rolled {wait} later at the earliest[; {kept:if}to keep it, have the service file ask for "
        "what it is, and reload]"
    ),
    Answered.TOO_EARLY: "before the wait for its TLSA records is over: {harm}",
    Answered.ISSUED_BEFORE: (
        "{used} of {most} used[{known:if} at Let's Encrypt|, if this CA has the limit of Let's "
        "Encrypt]: certificates that were issued for exactly these names, in 7 days"
    ),
    Answered.FORECAST: _forecast,
    Answered.REPLACING: (
        "replacing certificates of {ca}: {done} of {number} done[, {failed} failed and are tried "
        "again][, {refused} refused or cancelled], {waiting} wait[, the last until about {at}]"
    ),
    Answered.DRILLING: "the drill: {done} of {number} tried",
    Answered.COMMAND_RUN: "restart_cmd was run",
    Answered.TRIAL_STOPPED: "the {kind} was stopped",
    Answered.ROLL_DROPPED: "the request to roll it is dropped",
    Answered.RENEW_DROPPED: "the request to renew it is dropped",
    Answered.BACK_DROPPED: "the request to go back to set {set} is dropped",
    Answered.RESTS_UNTIL: (
        "its renewal is stopped: it rests until {until}. To go on now: sslmctl renew {arg}"
    ),
    Answered.GONE: "it is stopped",
    Answered.STOPPED: "what was under way is stopped",
    Answered.TAKEN_BACK: "{what}",
}
