"""The way out of an error of an ACME CA that would come again (RFC 8555 §6.7, and later RFCs)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from sslmd.acme.certbot_log import (
    MOST_DETAIL,
    MOST_NAME,
    Answer,
    RunLog,
    code_of,
    one_line,
    text_of,
)

_EAB = "correct ca_eab_kid and ca_eab_hmac_key_file in ca-info.conf"
_EMAIL = "correct or remove email in [X509] of the service"
_KEY = "choose another key in [KeyOpts] of the service"
_NAMES = "take it out of the service's names, or choose another signing_ca"
_ASKED = (
    "the request would be refused again as it is: change the names in [X509] of the service "
    "(no name that a wildcard among them covers), or choose another signing_ca"
)
_DELEGATED = "this CA expects a delegated or short-term order, which sslmd does not make"
# The errors that come again until somebody changes something, and the way out: of RFC 8555 §6.7,
# RFC 8739 §5 (autoRenewal…), RFC 9115 §5.1 (unknownDelegation), RFC 9799 §7 (onionCAARequired),
# and of ACME profiles. What may pass is not here: badNonce, compound (its parts count),
# connection, dns, incorrectResponse, orderNotReady, rateLimited, serverInternal, tls,
# unauthorized, alreadyReplaced (RFC 9773 §7.4). accountDoesNotExist and malformed are judged
# by where they come.
_REMEDY = {
    "alreadyRevoked": "there is nothing left to revoke",
    "autoRenewalCancellationInvalid": _DELEGATED,
    "autoRenewalCanceled": _DELEGATED,
    "autoRenewalExpired": _DELEGATED,
    "autoRenewalRevocationNotSupported": _DELEGATED,
    "badCSR": "change [KeyOpts] or [X509] of the service to what this CA takes",
    "badPublicKey": _KEY,
    "badRevocationReason": "revoke it for another reason",
    "badSignatureAlgorithm": _KEY,
    "caa": "let the CAA record name this CA, or choose another signing_ca",
    "externalAccountRequired": _EAB,
    "invalidContact": _EMAIL,
    "invalidEmail": _EMAIL,
    "invalidProfile": "correct ca_preferred_acme_profile in ca-info.conf",
    "onionCAARequired": f"{_NAMES}: it wants the CAA of an onion service in the order",
    "rejectedIdentifier": _NAMES,
    "unknownDelegation": _DELEGATED,
    "unsupportedContact": _EMAIL,
    "unsupportedIdentifier": f"{_NAMES} or ca_preferred_acme_profile",
    "userActionRequired": "do what it asks for",
}
# RFC 8555 §7.3.4: many a CA lets one account be made with an EAB key, and here each certificate
# has an account of its own.
_ONE_ACCOUNT = (
    "if another certificate's account was made with this key, the CA binds the key to that one "
    "account: ask the CA for one key per certificate (each in a table of its own in ca-info.conf), "
    "or copy cb/accounts of the certificate that has the account into this one's cb folder"
)
MANY_ACCOUNTS = (
    "each certificate makes an account of its own, and the CA allows only so many per address and "
    "time: the next ones are made when it allows them"
)
# A CAA record that could not be looked up forbids nothing: next time it may be seen.
_NOT_SEEN = re.compile(r"DNS problem|SERVFAIL|tim(?:ed |e)out", re.IGNORECASE)
_DEAD_ACCOUNT = re.compile(r"\b(?:deactivated|revoked|suspended)\b", re.IGNORECASE)


def remedy(
    run: RunLog, answer: Answer, document: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> str:
    """Return the way out of an error that would come again, "" for one that may pass."""
    code, new_account = code_of(document), is_new_account(run, answer)
    if code == "userActionRequired":
        return " ".join([_REMEDY[code], *_where_to_agree(answer, document)])
    if code in ("unauthorized", "malformed", "externalAccountRequired") and new_account:
        meta = run.directory.get("meta")
        bound = isinstance(meta, dict) and meta.get("externalAccountRequired") is True
        return f"{_EAB}; {_ONE_ACCOUNT}" if bound else "see what it asks of new accounts"
    # Where there are subproblems, the whole says no more than that there are.
    for one in parts or [document]:
        if code_of(one) in _REMEDY and not (code_of(one) == "caa" and _was_not_seen(one)):
            return _REMEDY[code_of(one)]
    if code in _REMEDY and code != "caa":
        return _REMEDY[code]
    if code == "unauthorized" and _says_account_is_dead(_detail(document)):
        return "another is made if its folder is moved out of cb/accounts, should the CA agree"
    if any(code_of(one) == "malformed" for one in parts or [document]) and _would_refuse(answer):
        return _ASKED
    return ""


def is_new_account(run: RunLog, answer: Answer) -> bool:
    """Whether it is an answer to a request for an account."""
    return bool(answer.url) and answer.url == run.directory.get("newAccount")


def _would_refuse(answer: Answer) -> bool:
    """Whether a malformed request would be refused again.

    CAs also use the word, with 404, for an order or a challenge that they do not have any more.
    A later order has others. With 5xx the trouble is the CA's own.
    """
    gone = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
    return answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status not in gone


def _says_account_is_dead(detail: str) -> bool:
    _, about, rest = detail.lower().partition("account")
    return bool(about) and _DEAD_ACCOUNT.search(rest) is not None


def _was_not_seen(error: Mapping[str, Any]) -> bool:
    return _NOT_SEEN.search(_detail(error)) is not None


def _detail(error: Mapping[str, Any]) -> str:
    return one_line(text_of(error, "detail"), MOST_DETAIL)


def _where_to_agree(answer: Answer, document: Mapping[str, Any]) -> list[str]:
    """Return where new terms are to be agreed to, and what they are (RFC 8555 §7.3.3)."""
    link = answer.headers.get("link", "")
    terms = re.findall(r'<([^<>]*)>\s*;\s*rel="terms-of-service"', link)
    found = [one for one in (text_of(document, "instance"), *terms) if one]
    return [f"({one_line(one, MOST_NAME)})" for one in found[:2]]
