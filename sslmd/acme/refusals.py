"""What a refusal by an ACME CA means: its code, when it is asked again, the way out.

A CA's error is a problem document (RFC 8555 §6.7). Its code says whether it comes again until a
person changes something (`_REMEDY`), and Retry-After when to come back. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from sslmd.acme.certbot_log import (
    MOST_DETAIL,
    MOST_NAME,
    CaAnswer,
    RunLog,
    code_of,
    one_line,
    text_of,
)

# A CA that limits us without saying until when is left alone for so long.
UNTOLD = timedelta(hours=1)

# Characters of a whole text; and how many explanations are in it, or lines of certbot's.
MOST_TEXT = 2000
MOST_SHOWN = 5


class ProblemKind(StrEnum):
    """What kind of problem it was."""

    ACCOUNT_LOST = "account-lost"  # the CA does not know the account: another is to be made
    NOT_VALIDATED = "not-validated"  # the CA looked for challenges, and they were not right
    LIMITED = "limited"  # too much was asked of it
    REFUSED = "refused"  # it will not do it until something is changed
    CA_TROUBLE = "ca-trouble"  # it could not do it
    PROCESSING = "processing"  # it was still at work on the order
    UNREACHABLE = "unreachable"
    TOO_MUCH = "too-much"  # it, or certbot, went beyond the limits that certbot has
    ANOTHER_RUN = "another-run"  # a certbot is at work in this folder already
    USAGE = "usage"  # certbot does not take its command line
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong. `text` is one line without control characters, and holds no secrets.

    `retry_at`: when the CA wants to be asked again, within limits; `failed`: the names that it
    could not validate, those of wildcards with their star, each with the reason; `order`: the
    URL of the order that it is at work on.
    """

    kind: ProblemKind
    text: str
    retry_at: datetime | None = None
    failed: tuple[tuple[str, str], ...] = ()
    order: str = ""


def problem_with(kind: ProblemKind, text: str, retry_at: datetime | None = None) -> Problem:
    """Return a problem with its text in one line."""
    return Problem(kind, one_line(text, MOST_TEXT), retry_at)


# --- errors of the CA (RFC 8555 §6.7) -------------------------------------------------------


def judged(
    run: RunLog, answer: CaAnswer, document: Mapping[str, Any], ca: str, now: datetime
) -> Problem:
    """Return what a problem document of the CA means; `ca`: how it is called."""
    code = code_of(document)
    detail = text_of(document, "detail") or text_of(document, "title") or "it gives no reason"
    parts = document.get("subproblems")
    parts = [one for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []
    said = f"{ca} says: {one_line(detail, MOST_DETAIL)}"
    if parts:
        said += f": {some([_part(one) for one in parts])}"
    if code:
        said += f" ({one_line(code, MOST_NAME)})"

    if code == "accountDoesNotExist":
        return problem_with(ProblemKind.ACCOUNT_LOST, said)
    if code == "rateLimited" or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        if _PAUSED.search(detail):
            return problem_with(ProblemKind.REFUSED, said)
        when = retry_at(retry_after(answer), now, detail) or now + UNTOLD
        if is_new_account(run, answer):
            said = f"{said}; {MANY_ACCOUNTS}"
        return problem_with(ProblemKind.LIMITED, said, when)
    if way_out := remedy(run, answer, document, parts):
        return problem_with(ProblemKind.REFUSED, f"{said}; {way_out}")
    return problem_with(ProblemKind.CA_TROUBLE, said, retry_at(retry_after(answer), now))


def _part(subproblem: Mapping[str, Any]) -> str:
    """Tell a subproblem (RFC 8555 §6.7.1)."""
    detail = one_line(text_of(subproblem, "detail") or code_of(subproblem), MOST_DETAIL)
    identifier = subproblem.get("identifier")
    name = text_of(identifier, "value") if isinstance(identifier, dict) else ""
    return f"{one_line(name, MOST_NAME)}: {detail}" if name else detail


def http_error(answer: CaAnswer, url: str, now: datetime) -> Problem:
    """Tell an error that carries no problem document: the page of a proxy, say."""
    try:
        phrase = f" {HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = ""
    where = one_line(answer.url or url, MOST_NAME)
    text = f"the CA at {where} answers {answer.status}{phrase}"
    when = retry_at(retry_after(answer), now)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return problem_with(ProblemKind.LIMITED, text, when or now + UNTOLD)
    return problem_with(ProblemKind.CA_TROUBLE, text, when)


def some(parts: Sequence[str], between: str = "; ") -> str:
    """Return the first few, and how many more there are."""
    more = [f"and {len(parts) - MOST_SHOWN} more"] if len(parts) > MOST_SHOWN else []
    return between.join([*parts[:MOST_SHOWN], *more])


# --- the way out ----------------------------------------------------------------------------

# Let's Encrypt pauses accounts that fail for months, until somebody follows its link.
_PAUSED = re.compile(r"\bunpause\b")


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
    run: RunLog, answer: CaAnswer, document: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
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


def is_new_account(run: RunLog, answer: CaAnswer) -> bool:
    """Whether it is an answer to a request for an account."""
    return bool(answer.url) and answer.url == run.directory.get("newAccount")


def _would_refuse(answer: CaAnswer) -> bool:
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


def _where_to_agree(answer: CaAnswer, document: Mapping[str, Any]) -> list[str]:
    """Return where new terms are to be agreed to, and what they are (RFC 8555 §7.3.3)."""
    link = answer.headers.get("link", "")
    terms = re.findall(r'<([^<>]*)>\s*;\s*rel="terms-of-service"', link)
    found = [one for one in (text_of(document, "instance"), *terms) if one]
    return [f"({one_line(one, MOST_NAME)})" for one in found[:2]]


# --- when to ask again (RFC 9110 §10.2.3, and what Let's Encrypt says) -----------------------

SHORTEST = timedelta(minutes=1)
# The longest of Let's Encrypt's limits: certificates per registered domain.
LONGEST = timedelta(days=7)

_SECONDS = re.compile(r"\d+", re.ASCII)
_IN_WORDS = re.compile(
    r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(?:UTC|Z)\b", re.ASCII
)


def retry_at(header: str | None, now: datetime, words: str = "") -> datetime | None:
    """Return the time that a Retry-After header names, else one in `words`; None without any.

    It is from 1 minute to 7 days after `now`. A header is seconds or an HTTP date.
    """
    when = _of_header((header or "").strip(), now) or _of_words(words)
    return None if when is None else min(max(when, now + SHORTEST), now + LONGEST)


def _of_header(value: str, now: datetime) -> datetime | None:
    if _SECONDS.fullmatch(value):
        # What has more digits is more than a `datetime` can bear.
        return now + min(timedelta(seconds=int(value[:9])), LONGEST)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _of_words(words: str) -> datetime | None:
    match = _IN_WORDS.search(words)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC)
    except ValueError:
        return None


def retry_after(answer: CaAnswer) -> str | None:
    """Return the Retry-After header of an answer."""
    return answer.headers.get("retry-after")
