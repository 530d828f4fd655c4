"""Words for `Failed`: what an ACME CA refuses, why it cannot be asked, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.failed import Failed

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

_EAB = "correct ca_eab_kid and ca_eab_hmac_key_file in ca-info.conf"
_NAMES = "take it out of the service's names, or choose another signing_ca"


def _died(facts: Facts) -> str:
    killed = " (SIGKILL; the kernel sends it where memory is short, see journalctl -k)"
    killed *= facts["signal"] == _SIGKILL
    return f"certbot died of signal {{signal}}{killed}: [{{said}}|it said nothing]"


_SIGKILL = 9

ACME: Mapping[Failed, str | Callable[[Facts], str]] = {
    Failed.SEVERAL: "{parts:lines}[; and {more} more]",
    Failed.CA_SAYS: (
        "the CA {ca} says: [{detail}|it gives no reason][: {parts:lines}][; and {more} more]"
        "[ ({problem})][; {remedy}]"
    ),
    Failed.CA_ANSWERS: "the CA at {url} answers {status}[ {phrase}]",
    Failed.CA_REDIRECTS: (
        "the CA at {url} answers {status}[ {phrase}] again and again, or leads nowhere"
    ),
    Failed.CA_NO_SUCH_PLACE: (
        "the CA at {url} answers {status}[ {phrase}]: that is not where its directory is; correct "
        "ca_server"
    ),
    Failed.ACCOUNT_KEY_CHANGED: "the account {account} got another key while challenges made "
    "with the former one were shown; they are shown anew",
    Failed.CA_UNREACHABLE: "the CA at {url} cannot be reached: {why}",
    Failed.NO_DIRECTORY: (
        "{url} is no ACME directory[: it has more than {most} bytes]; correct ca_server (or "
        "ca_test_server)"
    ),
    Failed.FOREIGN_DIRECTORY: (
        "the ACME directory {url} leads to another host: {said}; correct ca_server (or "
        "ca_test_server) to the address that the CA itself uses"
    ),
    Failed.CA_ROOT_UNUSABLE: (
        "{file} cannot be used to trust the CA at {url}: {said}; correct ca_server_root (or "
        "ca_test_server_root)"
    ),
    Failed.CA_ROOT_BAD: (
        "the file of ca_server_root (or ca_test_server_root) cannot be used to trust the CA at "
        "{url}[: {said}]; correct it"
    ),
    Failed.CA_ODD: (
        "the CA at {url} sent an answer that cannot be used ({what}[: {said}]); if it stays so, "
        "ask the CA"
    ),
    Failed.REPLACES_REFUSED: (
        "the CA does not take the order as a replacement ({why}); ordered without that, so the "
        "CA's limits count"
    ),
    Failed.NOT_VALIDATED: "the CA {ca} could not validate {names:lines}[; and {more} more]",
    Failed.NAMES_NOT_VALIDATED: (
        "{names}[, and {more} more]: [{said}|it gives no reason][ ({problem})]"
    ),
    Failed.STILL_PROCESSING: (
        "the CA {ca} did not issue the certificate in time and is still working on it; its order "
        "is kept and continued later"
    ),
    Failed.NOT_ISSUED_IN_TIME: "the CA {ca} did not issue the certificate in time",
    Failed.NOT_LOOKED_IN_TIME: "the CA {ca} did not look for all challenges in time",
    Failed.EAB_WANTED: (
        "the CA {ca} takes only accounts that are bound to one at its own site (EAB); set "
        "ca_eab_kid and ca_eab_hmac_key_file in ca-info.conf"
    ),
    Failed.VALIDATION_NOT_OFFERED: (
        "the CA {ca} does not offer for every name what ca_validation asks for; change it in "
        "ca-info.conf (a wildcard needs dns-01)"
    ),
    Failed.CA_ROOT_MISSING: (
        "the CA {ca} cannot be asked: the file of ca_server_root is not there; correct that in "
        "ca-info.conf"
    ),
    Failed.CA_SENT_TOO_MUCH: (
        "the CA at {url} sent a {file} of more than {most} bytes, which nobody needs; ask the CA"
    ),
    Failed.ACCOUNT_LOST: (
        "the CA does not know our account any more: set aside as {aside}; another is made"
    ),
    Failed.ACCOUNT_LOST_AGAIN: "the CA does not know the account that it has just made: {why}",
    Failed.MANY_ACCOUNTS_HELD: (
        "no account is made at {url} now, because the CA wants to be left alone with that[ until "
        "{until}]; it said: {why}"
    ),
    Failed.NO_ACCOUNT: "there is no account at {url} yet: the first order makes it",
    Failed.KEY_NOT_CHANGED: (
        "the CA at {url} has not taken the new key; the account goes on with the one that it had"
    ),
    Failed.ACCOUNTS_LOST: (
        "the CA at {url} has lost {number} accounts within {within}: none is made for it now; ask "
        "the CA what became of them"
    ),
    Failed.ACCOUNT_MADE: "made an account at the CA before the order: {account}",
    Failed.EAB_FILE_MISSING: "{file} is not there; correct ca_eab_hmac_key_file",
    Failed.EAB_FILE_BAD: "{file} holds no EAB key: it has to be bare base64url, nothing else",
    Failed.EAB_FILE_UNREAD: "the EAB key of ca_eab_hmac_key_file cannot be used: {why}",
    Failed.ACCOUNT_KEY_BAD: "the account's key {file} cannot be used: {why}",
    Failed.ACCOUNT_KEY_GONE: (
        "the account's key {file} is gone; restore it, or move the account's folder away to have "
        "another account made"
    ),
    Failed.NO_PROFILE: (
        "the CA does not have the profile {wish} (ca_preferred_acme_profile), and issued the "
        "certificate with its own choice: it has [the profiles {has:some}; write one of them, or "
        "nothing|no profiles; leave it out]"
    ),
    Failed.NO_CHAIN: (
        "the CA has no chain to {wish} (ca_preferred_chain), and gave the one to [{leads}|another "
        "root]; write the common name of a root that it has a chain to, or nothing"
    ),
    Failed.TRIAL_NO_ACME: "{cert} is not from an ACME CA: there is no test server to ask",
    Failed.TRIAL_NO_SERVER: (
        "CA {ca} is not Let's Encrypt and has no test server; write ca_test_server in its table of "
        "ca-info.conf"
    ),
    Failed.NO_CHALLENGE: (
        "the CA at {url} asked for no challenge within {seconds} s, and certbot was ended; it is "
        "asked again"
    ),
    Failed.CHALLENGES_SHORT: (
        "certbot handed in {number} challenges and no more within {limit}: {said}"
    ),
    Failed.OVERSHADOWED: (
        "{names:some}: all records come from {wildcards}, and are gone while a challenge is in DNS "
        "below the name; give it records of its own, or order the wildcard"
    ),
    Failed.GAVE_PLACE: "gave its place to other orders, after waiting too long[: {said}]",
    Failed.ORDERS_CUT_SHORT: (
        "orders with {name} were cut short too often while the CA validated it"
    ),
    Failed.ORDER_UNTOLD: "the CA does not tell how the order {order} went; it is asked again",
    Failed.ORDER_OPEN: (
        "the CA is still at work on the order {order}; it is kept and asked for again"
    ),
    Failed.ORDER_ASKED: (
        "the CA at {url} was asked for an order at {at}, and its answer never came: it counts, and "
        "the CA is asked again; where it has that order, it may give the same one"
    ),
    Failed.ORDER_LEFT: (
        "the order {order}, made before ca_engine was changed, still waits for its challenges: "
        "certbot cannot continue it and asks for another; a CA that has it may give the same one"
    ),
    Failed.ORDER_OF_OTHERS: (
        "the certificate of the order {order} is for another key: somebody else with this account "
        "asked for the same names; another certificate is ordered"
    ),
    Failed.ORDER_NOT_TAKEN_UP: "the order {order} cannot be taken up now: {why}",
    Failed.NO_WEB: (
        "http-01 challenges cannot be put anywhere; write servers and server_dir in [[web]], or "
        "take a CA with ca_validation = 'dns-01'"
    ),
    Failed.NO_WEB_TEST: "[[web]] has no servers or no server_dir, so nothing can be put there",
    Failed.HTTP_NOT_SHOWN: (
        "{problems:lines}; see to the web server (docs/operations.md), or write http_check = false "
        "in [[web]] if the CA can see what we cannot"
    ),
    Failed.HTTP_NO_ADDRESS: "{name} has no address: the CA finds no server to ask",
    Failed.HTTP_WRONG: "{name}: {said}",
    Failed.HTTP_UNSEEN: ("{name}: {unseen}; nor does {host} show it: [{why}|it has no address]"),
    Failed.HTTP_UNTRIED: "{name}: nobody could look whether it is shown: {why}",
    Failed.HTTP_NOBODY_LOOKED: (
        "{problems:lines}; the CA was not asked to look, and the challenges are looked at again by "
        "the next try"
    ),
    Failed.HTTP_LEFT: "{why}; it is tried again with the next order",
    Failed.HOOK_OF_OTHERS: "only the certbot of an order can hand in its challenges",
    Failed.HOOK_NO_ORDER: (
        "there is no such order; the hook is only for the certbot that sslmd runs"
    ),
    Failed.HOOK_LOST: "a hook of certbot's ended before its time; somebody, or something, ended it",
    Failed.CHALLENGE_OF_OTHERS: "{name} is not among the names of {cert}",
    Failed.CHALLENGE_ODD: "what the CA sent is no {type} challenge (RFC 8555, section 8)",
    Failed.CHALLENGE_LOST: (
        "a challenge of {cert} was lost on the way: its hook ended before its time"
    ),
    Failed.CHALLENGES_COMPLETE: "all challenges of {cert} were handed in already",
    Failed.NO_CERTBOT: "there is no program certbot; install it (pip install certbot)",
    Failed.NO_HOOK: "there is no program {file}; it comes with sslmd: install sslmd again",
    Failed.NO_OWN_HOOK: (
        "there is no program {file}; correct sslm_auth_hook in [[globals]], or remove it"
    ),
    Failed.CERTBOT_HANGS: "certbot did not end within {limit}: {said}",
    Failed.NO_CERTIFICATE_LEFT: "certbot ended well, but left no certificate: {said}",
    Failed.NO_ACCOUNT_MADE: (
        "the CA at {url} made no account within {seconds} s, and certbot was ended; it is asked "
        "again"
    ),
    Failed.NO_ACCOUNT_LEFT: "certbot made an account at {url}, and left none: {said}",
    Failed.CERTBOT_USAGE: "certbot does not accept its arguments: [{said}|it said nothing]",
    Failed.CERTBOT_NONCE: (
        "certbot repeats such a request only once, the engine up to eight times: if it stays so, "
        "take ca_engine = 'certbot' out of the CA's table"
    ),
    Failed.CERTBOT_ANOTHER: (
        "another certbot is running in this certificate's folder; this one ended at once"
    ),
    Failed.CERTBOT_TOO_MUCH: (
        "certbot {limit}, and was ended: the CA {ca} may send more than a CA should; see "
        "cb/logs/letsencrypt.log in its folder of certs_dir"
    ),
    Failed.CERTBOT_EXITED: "certbot exited with {status}: [{said}|it said nothing]",
    Failed.CERTBOT_DIED: _died,
    Failed.LIMIT_CPU: "used more than {seconds} s of processor time",
    Failed.LIMIT_FILE_SIZE: "wrote more than {mib} MiB into a file",
    Failed.LIMIT_MEMORY: "needed more than {mib} MiB of memory",
    Failed.LIMIT_FILES: "opened more than {most} files",
    Failed.LIMIT_PROCESSES: "started a process when its user had {most}",
    Failed.NOT_TRUSTED: (
        "its certificate is not trusted ({said})"
        "[; {unknown_root:if}name the root of a private CA with ca_server_root]"
    ),
    Failed.TLS_FAILED: "TLS failed ({said})",
    Failed.NO_ANSWER: "no answer within {seconds} s",
    Failed.UNRESOLVED: "its name cannot be resolved[ ({said})]",
    Failed.CUT_SHORT: "it closed the connection before its answer was whole",
    Failed.NOT_ANSWERED: "it closed the connection without an answer",
    Failed.NOT_HTTP: "it does not answer in HTTP",
    Failed.BY_PROXY: "by its proxy, {why}",
    # RFC 8555 §7.3.4: many a CA lets one account be made with an EAB key, and here each certificate
    # has an account of its own.
    Failed.FIX_EAB_ACCOUNT: (
        f"{_EAB}; if another certificate's account was made with this key, the CA binds the key to "
        "that one account: ask the CA for one key per certificate (each in a table of its own in "
        "ca-info.conf), or copy cb/accounts of the certificate that has the account into this "
        "one's cb folder"
    ),
    Failed.FIX_ACCOUNT: "see what it asks of new accounts",
    Failed.FIX_AGREE: "do what it asks for[ ({first})][ ({second})]",
    Failed.FIX_CAA: "let the CAA record name this CA, or choose another signing_ca",
    Failed.FIX_CSR: "change [[KeyOpts]] or [[X509]] of the service to what this CA takes",
    Failed.FIX_DEAD_ACCOUNT: (
        "sslmctl account deactivate, for the CA or the certificate, puts it away, and the next "
        "order makes another one if the CA allows it"
    ),
    Failed.FIX_EAB: _EAB,
    Failed.FIX_EMAIL: "correct or remove email in [[X509]] of the service",
    Failed.FIX_KEY: "choose another key in [[KeyOpts]] of the service",
    Failed.FIX_NAMES: _NAMES,
    Failed.FIX_NAMES_ONION: f"{_NAMES}: it wants the CAA of an onion service in the order",
    Failed.FIX_NAMES_PROFILE: f"{_NAMES} or ca_preferred_acme_profile",
    Failed.FIX_NOT_OFFERED: "this CA does not offer that",
    Failed.FIX_NO_DELEGATION: (
        "this CA expects a delegated or short-term order, which sslmd does not make"
    ),
    Failed.FIX_PROFILE: "correct ca_preferred_acme_profile in ca-info.conf",
    Failed.FIX_REQUEST: (
        "the request would be refused again as it is: change the names in [[X509]] of the service "
        "(no name that a wildcard among them covers), or choose another signing_ca"
    ),
    Failed.FIX_REVOKED: "there is nothing left to revoke",
    Failed.FIX_REVOCATION: "revoke it for another reason",
    Failed.MANY_ACCOUNTS: (
        "each certificate makes an account of its own, and the CA allows only so many per address "
        "and time: the next ones are made when it allows them"
    ),
}
