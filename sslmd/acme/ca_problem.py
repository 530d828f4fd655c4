"""What the network process tells of a CA's trouble, as the error that the daemon raises.

The only place where the kinds of `AcmeProblem` are told apart; what a CA's refusal means is judged
as it is for certbot (`refusals`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from sslmd.acme.certbot_log import MOST_DETAIL, MOST_NAME, Unvalidated, one_line
from sslmd.acme.problems import to_error
from sslmd.acme.refusals import (
    Problem,
    ProblemKind,
    answers,
    http_error,
    judged,
    not_validated,
    retry_at,
)
from sslmd.core.errors import SslmError
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.net.acme_messages import AcmeProblem, Authorization

# Why there was no answer, as the process names it; and what has no words of the system's.
_UNREACHED = {
    "no-answer": Failed.NO_ANSWER,
    "not-trusted": Failed.NOT_TRUSTED,
    "tls-failed": Failed.TLS_FAILED,
    "unresolved": Failed.UNRESOLVED,
    "cut-short": Failed.CUT_SHORT,
    "not-http": Failed.NOT_HTTP,
}
_WITHOUT_WORDS = (Failed.CUT_SHORT, Failed.NOT_HTTP)

# Statuses of a directory that say that it is somewhere else (RFC 9110 §15.5).
_NOWHERE = (404, 410)


def ca_name(url: str) -> str:
    """Return how a CA is called: its host, and the port if it has one of its own."""
    return one_line(urlsplit(url).netloc or url, MOST_NAME)


def ca_error(problem: AcmeProblem, url: str, now: datetime, *, binds: bool = False) -> SslmError:
    """Return the error to raise; `url`: the CA's directory, `binds` as for `refusals.judged`."""
    return to_error(problem_of(problem, url, now, binds=binds), now)


def directory_error(problem: AcmeProblem, url: str, now: datetime) -> SslmError:
    """Return the error to raise where the directory itself could not be had."""
    if problem.kind in ("acme", "http") and problem.url == url:
        if 300 <= problem.status < 400:
            why = answers(Failed.CA_REDIRECTS, url, problem.status)
            return to_error(Problem(ProblemKind.CA_TROUBLE, why), now)
        if problem.status in _NOWHERE:
            why = answers(Failed.CA_NO_SUCH_PLACE, url, problem.status)
            return to_error(_refused(why), now)
        problem = replace(problem, kind="http")
    if problem.type == "too-long":
        most = int(problem.detail) if problem.detail.isdecimal() else None
        return to_error(_refused(Reason(Failed.NO_DIRECTORY, url=url, most=most)), now)
    if (problem.kind, problem.type) == ("nonsense", "other-host"):
        return to_error(_foreign(problem, url), now)
    return ca_error(problem, url, now)


def _foreign(problem: AcmeProblem, url: str) -> Problem:
    said = Said(one_line(problem.detail, MOST_NAME))
    return _refused(Reason(Failed.FOREIGN_DIRECTORY, url=url, said=said))


def _refused(why: Reason) -> Problem:
    return Problem(ProblemKind.REFUSED, why)


def problem_of(problem: AcmeProblem, url: str, now: datetime, *, binds: bool = False) -> Problem:
    """Return what went wrong; see `ca_error`."""
    if problem.kind == "acme":
        return judged(problem, ca_name(url), now, binds=binds)
    if problem.kind == "http":
        return http_error(problem, url, now)
    where = one_line(problem.url or url, MOST_NAME)
    said = Said(one_line(problem.detail, MOST_DETAIL)) or None
    if problem.kind == "unreachable":
        return _unreachable(problem, where, said)
    if problem.kind == "late":
        why = Reason(Failed.NOT_LOOKED_IN_TIME, ca=ca_name(url))
        return Problem(ProblemKind.CA_TROUBLE, why, retry_at(problem.retry_after, now))
    if problem.type == "no-directory":
        return _refused(Reason(Failed.NO_DIRECTORY, url=where))
    if problem.type == "foreign":
        return _foreign(problem, url)
    what = Said(one_line(problem.type, MOST_NAME))
    why = Reason(Failed.CA_ODD, url=where, what=what, said=said)
    return Problem(ProblemKind.CA_TROUBLE, why)


def _unreachable(problem: AcmeProblem, where: str, said: Said | None) -> Problem:
    if problem.type == Failed.CA_ROOT_UNUSABLE:
        return _refused(Reason(Failed.CA_ROOT_BAD, url=where, said=said))
    if problem.type == "too-long":
        why = Reason(Failed.CA_ODD, url=where, what=Said(problem.type), said=said)
        return Problem(ProblemKind.TOO_MUCH, why)
    reason: Reason | Said = said or Said(one_line(problem.type, MOST_NAME))
    code = _UNREACHED.get(problem.type)
    if code in _WITHOUT_WORDS:
        reason = Reason(code)
    elif code is Failed.NO_ANSWER and said:
        reason = Reason(code, seconds=said)
    elif code is not None and said:
        reason = Reason(code, said=said, unknown_root=problem.unknown_root or None)
    return Problem(ProblemKind.UNREACHABLE, Reason(Failed.CA_UNREACHABLE, url=where, why=reason))


def unvalidated(found: tuple[Authorization, ...], url: str) -> Problem:
    """Return what tells of the authorizations that became invalid (RFC 8555 §7.1.6).

    A CA may also leave one pending that it could not validate, with its reason.
    """
    failed = [
        Unvalidated(
            one_line(f"*.{one.name}" if one.wildcard else one.name, MOST_NAME),
            one_line(one.problem.type, MOST_NAME) if one.problem else "",
            one_line(one.problem.detail or one.problem.title, MOST_DETAIL) if one.problem else "",
        )
        for one in found
        if one.status == "invalid" or (one.status != "valid" and one.problem is not None)
    ]
    why = not_validated(failed, ca_name(url))
    return Problem(ProblemKind.NOT_VALIDATED, why, failed=tuple(one.name for one in failed))
