"""What a refusal by an ACME CA means: its code, when it is asked again, the way out.

A CA's error is a problem document (RFC 8555 §6.7). Its code says whether it comes again until a
person changes something (`_REMEDY`), and Retry-After when to come back. Pure functions.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

from sslmd.acme.certbot_log import MOST_DETAIL, MOST_NAME, Unvalidated, one_line
from sslmd.core.buckets import CaLimit
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.core.words.sentence import say
from sslmd.net.acme_messages import AcmeProblem, Subproblem

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
    could not validate, those of wildcards with their star; `order`: the URL of the order that it
    is at work on; `limit`, `whose`: see `core.errors.RateLimited`.
    """

    kind: ProblemKind
    why: Reason
    retry_at: datetime | None = None
    failed: tuple[str, ...] = ()
    order: str = ""
    limit: str = ""
    whose: str = ""

    @property
    def text(self) -> str:
        """The sentence."""
        return one_line(say(self.why), MOST_TEXT)


# --- errors of the CA (RFC 8555 §6.7) -------------------------------------------------------


def judged(
    problem: AcmeProblem,
    ca: str,
    now: datetime,
    *,
    binds: bool = False,
    hint: Reason | None = None,
) -> Problem:
    """Return what a problem document of the CA means; `ca`: how it is called.

    `binds`: its directory says that it takes only accounts that are bound to others (§7.3.4).
    `hint`: what helps where the trouble may pass.
    """
    code, detail = problem.type, problem.detail or problem.title
    parts = problem.subproblems

    def says(way_out: Reason | None = None) -> Reason:
        return Reason(
            Failed.CA_SAYS,
            ca=ca,
            detail=Said(one_line(detail, MOST_DETAIL)) or None,
            parts=tuple(map(_part, parts[:MOST_SHOWN])) or None,
            more=len(parts[MOST_SHOWN:]) or None,
            problem=one_line(code, MOST_NAME) or None,
            remedy=way_out,
        )

    if code == "accountDoesNotExist":
        return Problem(ProblemKind.ACCOUNT_LOST, says())
    # With 5xx a CA says that it has too much to do, whoever asks; often without saying until when.
    busy = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not problem.retry_after
    limits = code == "rateLimited" or problem.status == HTTPStatus.TOO_MANY_REQUESTS
    if limits and not busy:
        if _PAUSED.search(detail):
            return Problem(ProblemKind.REFUSED, says())
        when = retry_at(problem.retry_after, now, detail) or now + UNTOLD
        many = Reason(Failed.MANY_ACCOUNTS) if problem.new_account else None
        limit, whose = limited(problem, detail)
        return Problem(ProblemKind.LIMITED, says(many), when, limit=limit, whose=whose)
    if way_out := remedy(problem, binds=binds):
        return Problem(ProblemKind.REFUSED, says(way_out))
    return Problem(ProblemKind.CA_TROUBLE, says(hint), retry_at(problem.retry_after, now))


# How Let's Encrypt says what there was too much of
# (https://github.com/letsencrypt/boulder, ratelimits/transaction.go and limiter.go), and
# what of it names a domain.
_TOO_MUCH = (
    (CaLimit.ORDERS, re.compile(r"from this account|new-orders-per-account")),
    (CaLimit.NAMES, re.compile(r"this exact set of|per-exact-set")),
    (CaLimit.DOMAIN, re.compile(r'already issued for "([a-z0-9.:/-]{1,253})"')),
    (CaLimit.FAILED, re.compile(r'failed authorizations \(\d+\) for "([a-z0-9.*:-]{1,253})"')),
    (CaLimit.ACCOUNTS, re.compile(r"too many (?:new )?registrations")),
)


def limited(problem: AcmeProblem, detail: str) -> tuple[str, str]:
    """Return which limit an answer speaks of, and of whose; "" where that is not known."""
    if problem.new_account:
        return CaLimit.ACCOUNTS, ""
    for limit, pattern in _TOO_MUCH:
        if found := pattern.search(detail):
            return limit, found[1] if found.groups() else ""
    return "", ""


def _part(one: Subproblem) -> Said:
    """Return what a subproblem says (RFC 8555 §6.7.1)."""
    detail = one_line(one.detail or one.type, MOST_DETAIL)
    return Said(f"{one_line(one.name, MOST_NAME)}: {detail}" if one.name else detail)


def http_error(problem: AcmeProblem, url: str, now: datetime) -> Problem:
    """Tell an error that carries no problem document: the page of a proxy, say."""
    why = answers(Failed.CA_ANSWERS, one_line(problem.url or url, MOST_NAME), problem.status)
    when = retry_at(problem.retry_after, now)
    if problem.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Problem(ProblemKind.LIMITED, why, when or now + UNTOLD)
    return Problem(ProblemKind.CA_TROUBLE, why, when)


def not_validated(failed: Sequence[Unvalidated], ca: str) -> Reason:
    """Tell which names the CA could not validate, those of one reason together."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in failed:
        groups[one.detail, one.code].append(one.name)
    some = [
        Reason(
            Failed.NAMES_NOT_VALIDATED,
            names=tuple(names[:MOST_SHOWN]),
            more=len(names[MOST_SHOWN:]) or None,
            said=Said(detail) or None,
            problem=code or None,
        )
        for (detail, code), names in groups.items()
    ]
    more = len(some[MOST_SHOWN:]) or None
    return Reason(Failed.NOT_VALIDATED, ca=ca, names=tuple(some[:MOST_SHOWN]), more=more)


def answers(code: Failed, url: str, status: int) -> Reason:
    """Return a reason for an HTTP status (RFC 9110 §15)."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = None
    return Reason(code, url=url, status=status, phrase=phrase)


# --- the way out ----------------------------------------------------------------------------

# Let's Encrypt pauses accounts that fail for months, until somebody follows its link.
_PAUSED = re.compile(r"\bunpause\b")


# The errors that come again until somebody changes something, and the way out: of RFC 8555 §6.7,
# RFC 8739 §5 (autoRenewal…), RFC 9115 §5.1 (unknownDelegation), RFC 9799 §7 (onionCAARequired),
# and of ACME profiles. What may pass is not here: badNonce, compound (its parts count),
# connection, dns, incorrectResponse, orderNotReady, rateLimited, serverInternal, tls,
# unauthorized, alreadyReplaced (RFC 9773 §7.4). accountDoesNotExist and malformed are judged
# by where they come.
_REMEDY = {
    "alreadyRevoked": Failed.FIX_REVOKED,
    "autoRenewalCancellationInvalid": Failed.FIX_NO_DELEGATION,
    "autoRenewalCanceled": Failed.FIX_NO_DELEGATION,
    "autoRenewalExpired": Failed.FIX_NO_DELEGATION,
    "autoRenewalRevocationNotSupported": Failed.FIX_NO_DELEGATION,
    "badCSR": Failed.FIX_CSR,
    "badPublicKey": Failed.FIX_KEY,
    "badRevocationReason": Failed.FIX_REVOCATION,
    "badSignatureAlgorithm": Failed.FIX_KEY,
    "caa": Failed.FIX_CAA,
    "externalAccountRequired": Failed.FIX_EAB,
    "invalidContact": Failed.FIX_EMAIL,
    "invalidEmail": Failed.FIX_EMAIL,
    "invalidProfile": Failed.FIX_PROFILE,
    "onionCAARequired": Failed.FIX_NAMES_ONION,
    "rejectedIdentifier": Failed.FIX_NAMES,
    "unknownDelegation": Failed.FIX_NO_DELEGATION,
    "unsupportedContact": Failed.FIX_EMAIL,
    "unsupportedIdentifier": Failed.FIX_NAMES_PROFILE,
    "userActionRequired": Failed.FIX_AGREE,
}
# A CAA record that could not be looked up forbids nothing: next time it may be seen.
_NOT_SEEN = re.compile(r"DNS problem|SERVFAIL|tim(?:ed |e)out", re.IGNORECASE)
_DEAD_ACCOUNT = re.compile(r"\b(?:deactivated|revoked|suspended)\b", re.IGNORECASE)


def remedy(problem: AcmeProblem, *, binds: bool) -> Reason | None:
    """Return the way out of an error that would come again, None for one that may pass."""
    code, detail = problem.type, one_line(problem.detail, MOST_DETAIL)
    if problem.status == HTTPStatus.NOT_IMPLEMENTED:  # whatever type it is given (RFC 9110 §15.6.2)
        return Reason(Failed.FIX_NOT_OFFERED)
    if code == "userActionRequired":
        # Where new terms are to be agreed to, and what they are (RFC 8555 §7.3.3).
        found = [one for one in (problem.instance, *problem.terms) if one]
        first, second, *_ = (*(Said(one_line(one, MOST_NAME)) for one in found), None, None)
        return Reason(Failed.FIX_AGREE, first=first, second=second)
    if code in ("unauthorized", "malformed", "externalAccountRequired") and problem.new_account:
        return Reason(Failed.FIX_EAB_ACCOUNT if binds else Failed.FIX_ACCOUNT)
    # Where there are subproblems, the whole says no more than that there are.
    parts = [(one.type, one_line(one.detail, MOST_DETAIL)) for one in problem.subproblems]
    parts = parts or [(code, detail)]
    for one, said in parts:
        if one in _REMEDY and not (one == "caa" and _NOT_SEEN.search(said)):
            return Reason(_REMEDY[one])
    if code in _REMEDY and code != "caa":
        return Reason(_REMEDY[code])
    _, about, rest = detail.lower().partition("account")
    if code == "unauthorized" and about and _DEAD_ACCOUNT.search(rest):
        return Reason(Failed.FIX_DEAD_ACCOUNT)
    # A malformed request would be refused again; but CAs also use the word, with these, for an
    # order or a challenge that they do not have any more. A later order has others. With 5xx the
    # trouble is the CA's own.
    gone = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
    is_ours = problem.status < HTTPStatus.INTERNAL_SERVER_ERROR and problem.status not in gone
    if is_ours and any(one == "malformed" for one, _ in parts):
        return Reason(Failed.FIX_REQUEST)
    return None


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
    when = _of_header((header or "").strip(), now)
    if when is None and (match := _IN_WORDS.search(words)):
        with suppress(ValueError):
            when = datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC)
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
