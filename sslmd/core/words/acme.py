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


def _says(facts: Facts) -> str:
    detail = (
        "the CA {ca} says: {detail}"
        if facts.get("detail")
        else "the CA {ca} says: it gives no reason"
    )
    return detail + "[: {parts:lines}][; and {more} more][ ({problem})][; {remedy}]"


def _usage(facts: Facts) -> str:
    said = "{said}" if facts.get("said") else "it said nothing"
    return f"certbot does not take what it is told: {said}"


def _exited(facts: Facts) -> str:
    said = "{said}" if facts.get("said") else "it said nothing"
    return f"certbot exited with {{status}}: {said}"


def _died(facts: Facts) -> str:
    killed = " (SIGKILL; the kernel sends it where memory is short, see journalctl -k)"
    said = "{said}" if facts.get("said") else "it said nothing"
    return f"certbot died of signal {{signal}}{killed * (facts['signal'] == _SIGKILL)}: {said}"


_SIGKILL = 9

ACME: Mapping[Failed, str | Callable[[Facts], str]] = {
    Failed.CA_SAYS: _says,
    Failed.CA_ANSWERS: "the CA at {url} answers {status}[ {phrase}]",
    Failed.CA_REDIRECTS: (
        "the CA at {url} answers {status}[ {phrase}] again and again, or leads nowhere"
    ),
    Failed.CA_NO_SUCH_PLACE: (
        "the CA at {url} answers {status}[ {phrase}]: that is not where its directory is; correct "
        "ca_server"
    ),
    Failed.CA_UNREACHABLE: "the CA at {url} cannot be reached: {why}",
    Failed.NET_GONE: "the process that speaks to the network ended before it had an answer; the "
    "journal says why, and another one is running",
    Failed.NO_DIRECTORY: (
        "{url} is no ACME directory[: it has more than {most} bytes]; correct ca_server (or "
        "ca_test_server)"
    ),
    Failed.CA_ROOT_UNUSABLE: (
        "{file} cannot be used to trust the CA at {url}: {said}; correct ca_server_root (or "
        "ca_test_server_root)"
    ),
    Failed.NOT_VALIDATED: "the CA {ca} could not validate {names:lines}[; and {more} more]",
    Failed.NAMES_NOT_VALIDATED: "{names}[, and {more} more]: {said}[ ({problem})]",
    Failed.STILL_PROCESSING: (
        "the CA {ca} did not issue the certificate in time and is still at work on it; its order "
        "is kept and taken up again"
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
    Failed.CERTBOT_USAGE: _usage,
    Failed.CERTBOT_ANOTHER: (
        "another certbot is at work in this certificate's folder; this one ended at once"
    ),
    Failed.CERTBOT_TOO_MUCH: (
        "certbot {limit}, and was ended: the CA {ca} may send more than a CA should; see "
        "cb/logs/letsencrypt.log in its folder of certs_dir"
    ),
    Failed.CERTBOT_EXITED: _exited,
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
        "another is made if its folder is moved out of cb/accounts, should the CA agree"
    ),
    Failed.FIX_EAB: _EAB,
    Failed.FIX_EMAIL: "correct or remove email in [[X509]] of the service",
    Failed.FIX_KEY: "choose another key in [[KeyOpts]] of the service",
    Failed.FIX_NAMES: _NAMES,
    Failed.FIX_NAMES_ONION: f"{_NAMES}: it wants the CAA of an onion service in the order",
    Failed.FIX_NAMES_PROFILE: f"{_NAMES} or ca_preferred_acme_profile",
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
