"""Words for `Happened`: what happened to a certificate, for journal and history."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.told import Happened

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STAYS = "it stays in db/ until it is cleaned up"


def _again(facts: Mapping[str, Any]) -> str:
    return "; next try at " + ("{at}" if "at" in facts else "the next roll")


def _restart_failed(facts: Mapping[str, Any]) -> str:
    return "{server}: {error}" + _again(facts)


def _not_proven(facts: Mapping[str, Any]) -> str:
    return "{server} is not proven: {error}" + _again(facts)


def _not_copied(facts: Mapping[str, Any]) -> str:
    return "not copied to {server}: {error}" + _again(facts)


def _roll_asked(facts: Mapping[str, Any]) -> str:
    wait = " {wait} after it was issued" if "wait" in facts else ""
    return f"an admin asks to roll it{wait}[, {{forced:if}}forced]"


HAPPENED: Mapping[Happened, str | Callable[[Mapping[str, Any]], str]] = {
    Happened.KEY_MADE: "key made ({key}): {why}[; {learns}]",
    Happened.KEY_KEPT: "renewal started with its key ({key}): {why}[; {learns}]",
    Happened.NEW_ROOT: "this makes another root, which every client has to learn",
    Happened.NEW_CHAIN: "what it signs from now on has another certificate in its chain",
    Happened.CERT_ISSUED: "certificate issued by {ca}, serial {serial}, valid until {until}",
    Happened.CA_WANTS: (
        "the CA wants set {set} replaced now: its window for that was {begin} to {end}[; {url}]"
    ),
    Happened.CA_WITHDRAWS: (
        "the CA no longer wants set {set} replaced now; its window is {begin} to {end}[; {url}]"
    ),
    Happened.CA_SUGGESTS: "the CA suggests to renew set {set} from {begin} to {end}[; {url}]",
    Happened.CA_SILENT: (
        "the CA has not answered since {since} when to renew set {set}: it is renewed by days"
    ),
    Happened.TLSA_SEEN: (
        "its TLSA records are on every name server[, the wait lasts until {until}]"
    ),
    Happened.TLSA_GONE: "its TLSA records are no longer everywhere: {missing}",
    Happened.TLSA_WAITS: "waits for its TLSA records in DNS: {missing}",
    Happened.ROLLED: "set {set} is live[ in place of {old}][; {why}]",
    Happened.PUT_BACK: (
        f"set {{set}} is on deck again: {{why}}[; set {{other}} is no longer on deck; {_STAYS}]"
    ),
    Happened.TAKEN_OFF: f"set {{set}} is no longer on deck; {_STAYS}",
    Happened.PLACE: "{kind} on {hosts}",
    Happened.DELIVERED: "in production[; to be restarted: {servers}]",
    Happened.RESTARTED: "{server} was restarted[; {unseen}]",
    Happened.RESTART_FAILED: _restart_failed,
    Happened.NOT_PROVEN: _not_proven,
    Happened.SERVER_SEEN: "{server} was seen serving it",
    Happened.COPIED: "copied to {server}",
    Happened.COPIED_USED: "{server} has it, and uses it already[; {unseen}]",
    Happened.COPY_FAILED: _not_copied,
    Happened.RESTART_DUE: "{server} is to be restarted: {why}",
    Happened.NO_SERVER_LEFT: "live; no server is left to restart",
    Happened.NO_SERVER: "live; no server depends on it",
    Happened.SETTLED: "settled",
    Happened.RENEW_ASKED: "an admin asks to renew it[, {forced:if}forced]",
    Happened.ROLL_ASKED: _roll_asked,
    Happened.BACK_ASKED: "an admin asks to go back to set {set}[, {forced:if}forced]",
    Happened.DELIVERY_ASKED: "an admin asks to deliver it again to {hosts}",
    Happened.RESTART_ASKED: "an admin asks to restart {server}",
    Happened.TRIAL_ASKED: "an admin asks for a {kind}",
    Happened.DROPPED: "the request is dropped: {why}",
    Happened.TRIAL_CANCELLED: "the {kind} was cancelled[{why:if}]",
    Happened.TRIAL_FAILED: "the {kind} failed: {why}",
    Happened.TRIAL_ENDED: "{kind}: {why}",
    Happened.COUNTED: "an order was cut short while the CA validated {names}: counted as failed",
    Happened.UNSAVED: "{said}; it is tried again",
    Happened.RELEASED: "no longer: {why}",
    Happened.DANE_MISMATCH: "{where} {said}",
    Happened.DANE_WELL: "DNS, ports and keys agree again",
}
