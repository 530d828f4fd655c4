"""Words for `Denied`: why the socket refuses a request, or does nothing for a certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.told import Denied

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

_LATER = "try again later"
_SOME = "{there}[ and {more} more]"
_MAKES = "sslmctl force-renew {arg} makes"


def _no_cert(facts: Facts) -> str:
    return "there is no {named}; {group} has " + (_SOME if facts["there"] else "nothing")


def _no_group(facts: Facts) -> str:
    return "there is no group {named}; there are " + (_SOME if facts["there"] else "none")


def _nothing_of_ca(facts: Facts) -> str:
    what = "no CA called {named}" if "named" in facts else "no ACME CA"
    there = "{there:and}" if facts["there"] else "no CA at all"
    return f"{what} signs certificates here; there is {there}"


def _no_host(facts: Facts) -> str:
    there = _SOME if facts["there"] else "none"
    return f"no server class has a host {{named}}; there are: {there}"


def _no_class(facts: Facts) -> str:
    return "there is no server class {named}; there are: " + (_SOME if facts["there"] else "none")


def _mistakes(facts: Facts) -> str:
    some = "1 mistake" if facts["count"] == 1 else "{count} mistakes"
    return f"{some}; the old configuration stays in force[; {{then}}]"


def _asked_before(facts: Facts) -> str:
    doing = "renewed" if facts["what"] == "renew" else "rolled"
    return (
        f"{{cert}} is being {doing} as an admin asked; go back when that is done, or stop it "
        "first: sslmctl cancel {arg}"
    )


DENIED: Mapping[Denied, str | Callable[[Facts], str]] = {
    Denied.HOST_IN_CLASS: (
        "{host} is in {classes:and}: take it out of ssl-mgr.conf first, then reload"
    ),
    Denied.HOST_IS_THIS: "{host} is this machine: there is nothing to forget",
    Denied.HOST_NOT_KNOWN: "nothing is known of {host}; known and in no class: {known}",
    Denied.BAD_MESSAGE: "{said}",
    Denied.NOT_PERMITTED: "{method} is for root and the daemon's own user; uid {uid} may read",
    Denied.NOW_NOT_PERMITTED: (
        "now is for root and the daemon's own user; uid {uid} gets what was found in the last "
        "{seconds} s"
    ),
    Denied.CONFIG_MISTAKES: _mistakes,
    Denied.INTERNAL: "an error of sslmd's own; its journal has the traceback",
    Denied.TOO_MANY_NAMES: (
        "{number} names are more than the {most} certificates there are; name each once, or none "
        "for all"
    ),
    Denied.BAD_NAME: "{named} is not group:service: {why}",
    Denied.NOT_ACTIVE: "{named}: {why}",
    Denied.NO_CERT: _no_cert,
    Denied.NO_GROUP: _no_group,
    Denied.NO_HOST: _no_host,
    Denied.NO_CLASS: _no_class,
    Denied.NO_CA: (
        "{named} is no certificate, and no ACME CA of ca-info.conf[; there: {known}|: there is "
        "none]"
    ),
    Denied.NO_ACCOUNT_THERE: (
        "there is no account of {named} yet that certificates share: the first order makes it, or "
        "sslmctl account share; where a certificate has its own, name the certificate"
    ),
    Denied.OWN_ACCOUNTS: (
        "the table of {ca} in ca-info.conf says ca_account = 'own': take that out first"
    ),
    Denied.ACCOUNT_OF_WHAT: "name a CA of ca-info.conf or a certificate[, or say {all} = true]",
    Denied.NOT_SURE: (
        "nothing brings a deactivated account back, and it can revoke nothing any more. "
        "Certificates that use {url}: {number}; they stay valid, the next order makes another "
        "account, and CAA records with accounturi have to name that one. If that is meant, add "
        "--yes"
    ),
    Denied.ONE_CERT: "show takes one certificate: group:service",
    Denied.ALL_WANTED: "a forced renewal of everything needs all = true",
    Denied.NEW_KEY_WANTS: "new_key needs force and certs, and cannot be combined with reuse",
    Denied.BACK_WANTS: "going back needs certs: name them",
    Denied.TWO_TRIALS: "test and dry_run exclude each other; ask for one of them",
    Denied.TRIAL_REUSE: "a trial makes a key of its own; leave reuse out",
    Denied.MIN_ROLL_WITH: "{flag} does not wait for min_roll_mins; leave one of them out",
    Denied.MIN_ROLL_MOST: "min_roll_mins can be {most} at most (a year), not {minutes}",
    Denied.SILENCE_LENGTH: "a silence has an end, {most} days from now at most: --for 2d",
    Denied.SILENCE_WHAT: (
        "{what}: there is no such certificate, group, host, zone, CA or kind of alarm; kinds are "
        "{kinds}"
    ),
    Denied.NO_SILENCE: "there is no silence about {what}; to see them: sslmctl silence --list",
    Denied.NO_NOTIFIER: "there is no [[[[notify]]]][ of the name {named}][; there are {known}]",
    Denied.SILENCE_WHY: "say why {what} is to be silent, for those who wonder: --why TEXT",
    Denied.ACTION: "action is auth or cleanup, not {named}",
    Denied.WEEK_USED: (
        "{used} of {most} used: Let's Encrypt issues {most} certificates a week for exactly the "
        "same names, over all accounts, and would refuse this one; it allows the next at {at}"
    ),
    Denied.GOING_BACK: (
        "{cert} is going back to set {set}, as an admin asked. To cancel: sslmctl cancel {arg}"
    ),
    Denied.NOT_A_CA: (
        "{cert} is not a CA: every renewal makes a new key for it; leave new_key out"
    ),
    Denied.CA_KEY_LOST: "{cert} cannot be renewed with its key: {why}",
    Denied.TRIAL_RUNS: "{cert}: a {kind} is under way; ask again when it has ended",
    Denied.TRIAL_LATER: "{cert}: its CA's test server asks to wait until {at}",
    Denied.NO_TEST_SERVER: "{cert} is not from an ACME CA: there is no test server to ask",
    Denied.CA_OR_ALL: "give ca (the name of a CA), or all = true",
    Denied.NOTHING_OF_CA: _nothing_of_ca,
    Denied.DRILL_REVOKED: "a drill replaces nothing: leave revoked out",
    Denied.NOTHING_ON_DECK: f"{{cert}} has nothing on deck to roll; {_MAKES} it",
    Denied.TOO_YOUNG: (
        "{cert} is to be rolled {wait} after it was issued, which is at {at}: ask again "
        "then[; without being asked it rolls at {by_rule}]"
    ),
    Denied.NO_PREV: f"{{cert}} has no set before the one in use; {_MAKES} another",
    Denied.JUST_ROLLED: "{cert} was rolled just now; look at it, and ask again",
    Denied.CANNOT_GO_BACK: f"{{cert}}: {{why}}; {_MAKES} another",
    Denied.ASKED_BEFORE: _asked_before,
    Denied.RENEWED_FIRST: "{cert} is being renewed as an admin asked; roll it when that is done",
    Denied.RENEWED_NOW: (
        "{cert} is being renewed just now; go back when that is done, or stop it first: sslmctl "
        "cancel {arg}"
    ),
    Denied.ROLLED_NOW: "{cert} is being rolled just now; ask again when that is done",
    Denied.NOTHING_TO_DELIVER: "{cert} has nothing to deliver: {why}",
    Denied.NOT_FOR_HOST: "{cert} is not for {host}",
    Denied.CLIENTS: "too many clients at once; try again in a moment",
    Denied.CONNECTIONS: "uid {uid} has {number} connections already; close some of them",
    Denied.FOLLOWERS: "uid {uid} follows events {number} times already; end one of these",
    Denied.INCOMING: (
        "too much of what uid {uid} sends is not complete; end other connections, or try again in "
        "a minute"
    ),
    Denied.INCOMING_OF_OTHERS: f"requests of others take all the room; {_LATER}",
    Denied.UNREAD: (
        "answers for uid {uid} wait to be read on other connections; read them or close these, or "
        "try again in a minute"
    ),
    Denied.UNREAD_OF_OTHERS: f"answers that others do not read take all the room; {_LATER}",
    Denied.TOO_SLOW: "too slow to follow: events were lost; start again",
    Denied.UNFINISHED: "a request was not complete within {seconds} s",
}
