"""Words for `Why`: what comes next for a certificate, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.reason import Why

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]


def _roll_waits(facts: Facts) -> str:
    here = "going back to set {back}, as an admin asked" if "back" in facts else "on deck"
    return here + "; rolls at {at}[, {windows}]"


def _dns_waits(facts: Facts) -> str:
    here = "going back to set {back}, as an admin asked" if "back" in facts else "on deck"
    return here + "; {gate}[; rolls at {at}][, {windows}]"


def _curr_ends(facts: Facts) -> str:
    tense = "expired" if facts["over"] else "expires"
    silent = (
        ", and all name servers that answer have shown the TLSA records for long enough "
        "(no answer from {silent})"
    )
    return f"the certificate in use {tense} at {{end}}" + (silent if "silent" in facts else "")


def _window(facts: Facts) -> str:
    if facts["several"]:
        return "when its roll_windows are open together ({windows})"
    return "when its roll_window opens ({windows})"


def _window_at(facts: Facts) -> str:
    if facts["several"]:
        return "its roll_windows ({windows}) are open together at {at}"
    return "its roll_window ({windows}) opens at {at}"


def _never_meet(facts: Facts) -> str:
    names = "its roll_windows" if facts["several"] else "its roll_window"
    return f"without waiting for {names} ({{windows}}), which never meet"


def _too_late(facts: Facts) -> str:
    names = "its roll_windows" if facts["several"] else "its roll_window"
    return (
        f"without waiting for {names} ({{windows}}): {{at}} is too late for curr, which "
        "expires at {end}"
    )


def _harm_unseen(facts: Facts) -> str:
    clients = _refused(facts) + " until every name server shows the new records[ ({missing})], "
    after = (
        "and after that as long" if "ttl" not in facts else "and for {ttl:span} after that, as long"
    )
    return clients + after + " as caches may keep the old ones"


def _refused(facts: Facts) -> str:
    ports = "{ports}" if facts["ports"] else "it"
    more = " and {more} more" if "more" in facts else ""
    return f"clients that check DANE may refuse {ports}{more}"


def _another_ca(facts: Facts) -> str:
    learn = ", and every client would have to learn it" if facts["root"] else ""
    return (
        "set {set} on deck has another key or name than the CA that was in use"
        f"{learn}; it is not rolled automatically: {_WAYS}"
    )


def _ca_ends(facts: Facts) -> str:
    what = "a CA above it" if facts["above"] else "it"
    return what + (" expired at {at}" if facts["over"] else " expires at {at}")


def _paced(facts: Facts) -> str:
    what = {
        "accounts": "new accounts",
        "names": "certificates for exactly the same names",
        "domain": "certificates of {zone}",
    }.get(facts["limit"], "orders")
    allowed = f"{{ca}} allows {{most}} {what} in {{every:span}}"
    ahead = "[, and {ahead} more urgent go first]"
    if facts.get("ahead") == 1:
        ahead = ", and one that is more urgent goes first"
    return f"waits until {{until}}: {allowed}{ahead}"


def _ca_changes(facts: Facts) -> str:
    learn = "certificates with {name} in their chain get the new one at their next renewal"
    if facts["root"]:
        learn = (
            "every client that trusts {name} has to get the new root, certs/{cert}/curr/cert.pem"
        )
    return (
        f"this makes another CA of {{cert}}: {learn}. Certificates that it signed before stay "
        "valid under the old one, and are not renewed because of this. Clients that have only the "
        "old one refuse what it signs from now on. TLSA records with usage 0 or 2 change with it"
    )


def _server(facts: Facts) -> str:
    match facts["phase"]:
        case "failed" | "pending" if "next_try" in facts:
            standing = (
                "{error}; next try at {next_try}"
                if "error" in facts
                else ("failed; next try at {next_try}")
            )
        case "failed":
            standing = "{error}" if "error" in facts else "failed"
        case "pending":
            standing = "{error}" if "error" in facts else "to be copied to"
        case "restarted":
            standing = "restarted; {unseen}" if "unseen" in facts else "restarted with set {set}"
        case "proven":
            standing = "proven on set {set}"
        case _:
            standing = "to be restarted"
    return f"{{kind}} on {{host}} ({standing})"


_WAYS = "sslmctl roll --force {arg} rolls it, sslmctl force-renew {arg} replaces it"
_SEEN = "its TLSA records have been on every name server since {since}"

DECISIONS: Mapping[Why, str | Callable[[Facts], str]] = {
    Why.NOT_PLANNED: "not planned",
    Why.UNMANAGED: "not in an active group of ssl-mgr.conf: used to sign, never renewed",
    Why.VALID: "valid",
    Why.LEFT: "left as it is: {why}",
    # --- why it is renewed
    Why.NO_CURR: "there is no certificate yet",
    Why.UNUSABLE: "set {set} cannot be used: {problem}",
    Why.NO_CERTIFICATE: "set {set} has no certificate",
    Why.EXPIRED: "it expired on {at:minute}",
    Why.NOT_YET_VALID: (
        "it is valid only from {at:minute} on: it was made while the clock was ahead"
    ),
    Why.NAMES: "the service file asks for other names: {changes:words}",
    Why.KEY: "the service file asks for a key {asked}, it has {has}",
    Why.CA: "the service file asks for the CA {asked}, it is from {has}",
    Why.DUE: "{left:days} left, it renews at {lead:days}[; a CA in its chain ends on {end:minute}]",
    Why.CA_WINDOW: (
        "{left:days} left, and its CA suggests to renew it at {at:minute}"
        "[ ({begin:minute} to {end:minute})]"
    ),
    Why.CA_WANTS: (
        "the CA {ca} wants set {set} replaced now, since {since:minute}[: {url}]"
        "[; what was issued for that reason is left until {again}]"
    ),
    Why.FORCED: "an admin asked for it",
    Why.ANOTHER: "an admin asked for another one",
    # --- its key
    Why.AHEAD: (
        "the next key is made ahead, so that its TLSA records have been in DNS for long enough "
        "when it is needed"
    ),
    Why.KEEPS_CURR_KEY: (
        "with the key of curr: TLSA records with selector 1 stay, so there is no wait"
    ),
    Why.KEEPS_AHEAD_KEY: (
        "with the key that was made ahead: TLSA records with selector 1 stay, so there is no wait"
    ),
    Why.CA_KEEPS_KEY: "its key and its name stay",
    Why.CA_NEW_KEY: "it gets another key",
    Why.UNFINISHED_NEXT: "an unfinished next waits for the renewal",
    Why.AHEAD_PUBLISHING: "the next key is made, its TLSA records are being published",
    Why.AHEAD_SEEN: "the next key is made, its TLSA records have been seen for long enough",
    Why.AHEAD_MISSING: "the next key is made, its TLSA records are not everywhere: {missing}",
    Why.AHEAD_SINCE: "the next key is made, its TLSA records are everywhere since {since}",
    # --- what is on deck
    Why.ON_DECK: "on deck",
    Why.GOES_BACK: "going back to set {set}, as an admin asked",
    Why.OFF_DECK: "set {set} is no longer on deck: going back to it was cancelled",
    Why.NEXT_USELESS: "the next on deck cannot be used: {why}",
    Why.ANOTHER_CA_ON_DECK: _another_ca,
    Why.OLDER_ON_DECK: (
        "set {set} on deck is older than set {curr}, which is in use; it is not rolled "
        f"automatically: {_WAYS}"
    ),
    # --- a roll
    Why.ROLL_WAITS: _roll_waits,
    Why.DNS_WAITS: _dns_waits,
    Why.READY: "next is issued, proven, and min_roll_mins is over",
    Why.ASKED_WAIT: "an admin asked to roll it {wait} after it was issued",
    Why.ROLL_FORCED: "an admin forced it",
    Why.SAME_RECORDS: "its TLSA records are those of the key in use: no wait for DNS",
    Why.CURR_ENDS: _curr_ends,
    Why.SET_ASIDE: "{how}, {waits:and}",
    Why.FORCE: "forced",
    Why.MIN_ROLL: "min_roll_mins lasts until {until}",
    Why.WINDOW: _window,
    Why.WINDOW_AT: _window_at,
    Why.ROLLED_ANYWAY: "rolled {why}",
    Why.CA_PASSES_WINDOWS: (
        "without waiting for windows ({windows}): its CA wants the certificate in use replaced now"
        "[: {url}]"
    ),
    Why.WINDOWS_NEVER_MEET: _never_meet,
    Why.WINDOW_TOO_LATE: _too_late,
    # --- DANE: the gate
    Why.NO_RECORDS_WANTED: "no TLSA records are wanted",
    Why.PUBLISHING: "its TLSA records are being published[: {why}]",
    Why.NOBODY_CHECKS: "there are no TLSA records at its ports yet, so nobody checks them",
    Why.SAME_RECORDS_IN_DNS: "its TLSA records are those of the key in use, which are in DNS",
    Why.RECORDS_MISSING: "waits for its TLSA records in DNS: {why:lines}",
    Why.LOOKING: "they are being looked for",
    Why.SEEN: f"{_SEEN}; caches may hold older ones for two TTLs of {{ttl}} s",
    Why.SEEN_LONG_ENOUGH: f"{_SEEN}, for longer than caches keep older ones",
    Why.SEEN_BUT_SILENT: f"{_SEEN}, but {{missing}}",
    Why.WITHDRAWN: "caches may hold TLSA records that were withdrawn ({which})",
    Why.LOST: "its TLSA records are no longer everywhere, so the wait begins again: {why}",
    Why.OTHERS_WANTED: "others are wanted now",
    Why.LAST_LOOK: "not rolled: {why}",
    Why.ANOTHER_SET: "another set is on deck now",
    # --- what a roll would break
    Why.HARM_WITHDRAWN: ("clients that check DANE may refuse it as long as caches hold {which}"),
    Why.HARM_UNKNOWN: (
        "it is not known which records its ports have, so clients that check DANE may refuse it"
    ),
    Why.HARM_UNSEEN: _harm_unseen,
    Why.HARM_LONG_CACHES: lambda facts: (
        _refused(facts) + " only where a cache keeps records for longer than their TTL, {ttl:span}"
    ),
    Why.HARM_UNTIL: lambda facts: (
        _refused(facts)
        + " for up to {left:span}, until {until}, where they hold older TLSA records"
    ),
    # --- its CA
    Why.CA_WAITS: "waits for its CA {ca}: {why}",
    Why.CA_ENDS: _ca_ends,
    Why.CA_STUCK: "{why}; its next try is at {at}",
    Why.CA_RENEWED_NOW: "waits for its CA {ca}, which is being renewed[, until {until}]",
    Why.CA_RENEWED_FIRST: "waits for its CA {ca}, which is renewed first, at {at}, until {until}",
    Why.CA_LIMIT: (
        "waits until {until}: {ca} could not validate {name} {times} times within {every:span}, "
        "and would refuse it after one more"
    ),
    Why.CA_PACED: _paced,
    Why.CA_HOLD: (
        "the CA {ca} wants to be left alone until {until}[ ({limit})]"
        "[; it has told so already: {why}]"
    ),
    Why.CA_RENEWAL: (
        "its key and its name stay; {lead} d before its end, because what it signs lives for up to "
        "{life} d[; after its CA {after}]"
    ),
    Why.CA_CHANGES: _ca_changes,
    # --- failures that are waited out
    Why.STUCK: "{why}; attempt {attempts} failed, the next is at {at}",
    Why.RESTS: "{why}; nothing is tried until {at}",
    # --- delivery
    Why.TO_PRODUCTION: "set {set} has to be brought to production",
    Why.SHOWS_NEXT: "production has to show what is on deck",
    Why.OTHER_SERVERS: "other servers depend on it now",
    Why.LIVE_NOT_EVERYWHERE: "live, but not everywhere: {servers}",
    Why.LIVE_PUBLISHING: "live; its TLSA records are being published",
    Why.PROVE_PORTS: (
        "the ports with TLSA records have to serve it before older records are removed"
    ),
    Why.NO_SERVER_LEFT: "no server is left to restart",
    Why.SERVERS_WAIT: "waits for its servers: {servers}",
    Why.OLD_RECORDS_GO: "live; TLSA records of older keys are to be removed: {why}",
    Why.BEING_GIVEN: "they are being sent to its name servers",
    Why.OLD_SETS_GO: "live; old records and sets can be removed",
    Why.DEPLOYED: "it is deployed",
    Why.SERVER: _server,
    # --- jobs of hosts, zones, groups and trials
    Why.ASKS_CA: "when the CA {ca} wants certificates renewed",
    Why.HOST_WITHOUT: "it does not have {certs}",
    Why.HOST_SURPLUS: "it has certificates that no longer belong there",
    Why.RESTARTS_FOR: "for {certs}",
    Why.NOBODY_SAW: "nobody has seen what it serves",
    Why.RECORDS_CHANGED: "TLSA records of {zone} changed",
    Why.ZONE_MAY_DIFFER: "it may have to serve other records now",
    Why.ZONE_COMPARED: "the records in DNS are compared with those that should be there",
    Why.ZONE_MX: "its MX hosts are looked up every day",
    Why.ZONE_OWNERS: "its owners are looked up again",
    Why.ZONE_BY_HAND: "an include file was changed or removed by hand",
    Why.ZONE_LOOK: "to see what its name servers show",
    Why.ZONE_WATCH: "the daily comparison of DNS, ports and keys",
    Why.CHALLENGES_DIFFER: "its orders want other challenges than are served",
    Why.DH_RELOADED: "the configuration was loaded again",
    Why.DH_DAILY: "the daily look",
    Why.DH_START: "groups that are missing at the start",
    Why.HELD_AGAIN: "its files may be right by now",
    Why.ALARMS_LOOK: "every minute",
    Why.NOTICE_DUE: "there is something to report",
    Why.ALIVE_DUE: "every hour",
    Why.NOTES_AGAIN: "they could not be written before",
    Why.TRIAL: "an admin asked for a {kind}",
    Why.AFTER_ROLL: "after the roll",
    Why.AFTER_COPY: "after the copy[ to {host}]",
    Why.RECORDS_CHANGE: "when TLSA records change",
    Why.USES_SET: "it has to use set {set}",
}
