"""Words for `Doing`, `Odd` and `Would`: what is done, what is odd, what a start would do.

Of the last only `sslmctl import --check` tells, which does everything but the deeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.told import Doing, Odd, Would

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

DOING: Mapping[Doing, str] = {
    Doing.MAKES_KEY: "its key is being made",
    Doing.MAKES_CERT: "its certificate is being made",
    Doing.ORDERS: "its certificate is being ordered",
    Doing.ROLLS: "it is being rolled",
    Doing.PUTS_BACK: "it is being put on deck",
    Doing.TAKES_OFF: "it is being taken off the deck",
    Doing.DELIVERS: "it goes to production",
    Doing.PROVES: "its ports are looked at",
    Doing.CLEANS: "old sets are cleaned up",
    Doing.CA_IS_MADE: "its CA is being made",
    Doing.WAITS_FOR_PLACE: "waits for a place: others are ordered",
    Doing.MAKES_ACCOUNT: "makes an account at {url}",
    Doing.ORDER_AT: "order at {url}",
    Doing.TAKES_UP: "takes up the order {order}",
    Doing.FINDS_ORDER: "looks whether the CA at {url} has the order that it was asked for",
    Doing.SAME_NAMES: "waits for the order of {cert}, which is for the same names",
    Doing.PUTS_CHALLENGES: "puts challenges on {hosts}",
    Doing.NOT_SHOWN_YET: "{problems:lines}",
    Doing.ALL_SHOW_IT: "every name server shows it; the CA may look at {at:hour}",
    Doing.CA_VALIDATES: "every challenge is in place; the CA validates",
    Doing.OF_TRIAL: "{kind}: {what}",
    Doing.TRIAL_WAITS: "a {kind} {why}",
    Doing.TRIAL_RUNS: "a {kind} is under way",
}

ODD: Mapping[Odd, str] = {
    Odd.LINK_ELSEWHERE: "{path} points to {target}, which is not a set of its own",
    Odd.LINK_ASTRAY: "{path} points to set {set}, which is not there",
    Odd.STATE_ASIDE: "{path}: {why}; it was set aside as {aside} and is made again",
    Odd.ALARMS_ASIDE: (
        "{path}: {why}; it was set aside as {aside}: silences have ended, and what is wrong is "
        "reported again"
    ),
    Odd.KEY_WAS_WIDE: "{path} could be read by others; it is 0600 now, consider a new key",
    Odd.CA_KEYS_IN_PRODUCTION: (
        "keys of the CA are in production: {keys:three}. No server needs them. [To remove them: "
        "sslmctl deliver {arg}|Its group is not active: remove these files yourself]. Other "
        "servers may have copies: ssl-mgr copied the whole tree"
    ),
}


def _renewed(facts: Facts) -> str:
    what = "NEW ROOT" if facts.get("root") else "is RENEWED AT ONCE"
    return what + ": {why}[, or until {until:day}: the day is drawn]"


def _not_yet(facts: Facts) -> str:
    what = "NEW ROOT" if facts.get("root") else "is RENEWED AT ONCE"
    return what + ", but {why}"


def _renews(facts: Facts) -> str:
    alone = facts["first"].date() == facts["last"].date()
    return "stays; renews {first:day}" + ("" if alone else " to {last:day}")


def _not_renewed(facts: Facts) -> str:
    managed = "" if facts.get("managed") else " No active group lists it, so nobody renews it."
    sets = " There is no curr, but there are sets: {sets}" if facts.get("sets") else ""
    return "it cannot be used, and is not renewed: {why}." + managed + sets


def _take_back(facts: Facts) -> str:
    several = "" if facts["number"] == 1 else "s"
    return f"zone {{zone}}: {{number}} challenge{several} of an old order: taken out of DNS"


WOULD: Mapping[Would, str | Callable[[Facts], str]] = {
    Would.RENEWED: _renewed,
    Would.NEW_ROOT: (
        "NEW ROOT: {cert} would get another [{reuse:if}certificate, with its key|key and "
        "certificate]. Every client that trusts it has to learn the new one"
    ),
    Would.NOT_YET: _not_yet,
    Would.ROLLED: "is ROLLED AT ONCE: {why}",
    Would.ROLLS_AT: "rolls at {at}[, {windows}]",
    Would.STAYS_FOR_NOW: "stays for now; {why}",
    Would.RENEWS: _renews,
    Would.SIGNS_ONLY: "is used to sign, and never renewed: no active group lists it",
    Would.DROPS_ASK: "what an admin asked for is dropped: {why}",
    Would.REMOVE_NEXT: "{path} leads to the same set as curr: removed",
    Would.SET_ASIDE: "{path}: {why}: set aside, and made again",
    Would.CLOSE_KEY: "{path} can be read by others: it becomes 0600",
    Would.CLEAN: "old sets are removed (clean_keep = {keep}): {sets}",
    Would.PUT_CURR: "{path} is another set, or none: set {set} is put there",
    Would.LINK_CURR: "{path} has the right files, and becomes a link to set {set}",
    Would.WRITE_CURR: "{path} has other files, or other permissions: written again",
    Would.REMOVE_PROD_NEXT: "{path} is removed: nothing is on deck",
    Would.LINK_NEXT: "{path} becomes a link to set {set}, which is on deck",
    Would.REMOVE_SURPLUS: "{what} is taken out of production",
    Would.LEAVE_SURPLUS: "{what} is in production, but not in the configuration: left alone",
    Would.WRITE_DH: "{path} is written ([[dh]])",
    Would.VISIT: (
        "{host} is visited by ssh: what it has is not known here, and it gets {certs} where that "
        "differs"
    ),
    Would.POST_COPY: "post_copy_cmd is run for {host}: {command}",
    Would.RESTART: (
        "[[{kind}]] on {host} is restarted for {certs}: [{commands:lines}|no restart_cmd]"
    ),
    Would.RELOAD_DNS: "[[dns]] restart_cmd is run for {zones}: {command}",
    Would.OF_ZONE: "zone {zone}: {what}",
    Would.TAKE_BACK: _take_back,
    Would.WRITE_FILE: "{path} is not there: it is written",
    Would.WRITE_EMPTY: "{path} is not there: it is written, without records",
    Would.ADD_RECORD: "zone {zone}: {owner} TLSA {record} is added",
    Would.REMOVE_RECORD: "zone {zone}: {owner} TLSA {record} is removed",
    Would.MORE_RECORDS: "and {number} records more",
    Would.NOT_PUBLISH: "not published: {what}",
    Would.NOTHING_YET: "{why}; nothing is given to DNS before that is fixed",
    Would.ZONE_SLOW: (
        "zone {zone}: its name servers took longer than {seconds} s; see whether they can be "
        "reached from here"
    ),
    Would.MX_OF_FILE: (
        "{why}; so its MX hosts are taken from the include file, and nothing is given to DNS "
        "before they can be asked"
    ),
    Would.WAS_HERE: (
        "it has a state.toml: sslmd was here before, and what is noted there counts too"
    ),
    Would.NEXT_UNFINISHED: (
        "next is not finished[ ({problem})]: finished or replaced when a renewal is due"
    ),
    Would.NEXT_OLDER: "next, set {set}, is older than curr; to keep curr, remove the link next",
    Would.FAILED_BEFORE: "it failed before: {why}",
    Would.ADMIN_DECIDES: "HELD, until an admin decides: {why}",
    Would.NOT_RENEWED: _not_renewed,
    Would.PRODUCTION_HAS_MORE: (
        "production has {certs}, and the working tree does not: look at certs_dir before the "
        "daemon makes others in place of what is in use"
    ),
    Would.SSL_MGR_WORKS: (
        "ssl-mgr works on this tree at this moment (process {pid}: {what}): what is said here may "
        "be wrong in a minute, and the daemon does not start; wait until it has ended"
    ),
    Would.READ_ONLY: "{key}: {folder} is on a file system that is read-only; mount it for writing",
    Would.OF_CERT: "{cert}: {what}",
}
