"""What it means that a CA could not be asked, or that its answer is none: a failure, and how long.

Problem documents of orders are judged in `refusals`.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

from sslmd.acme.certbot_log import one_line
from sslmd.acme.refusals import answers, retry_at
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.net.acme_messages import AcmeProblem

MOST_SHOWN = 300

# Why there was no answer; others are words of the system.
_UNREACHED = frozenset(
    {
        Failed.NOT_TRUSTED,
        Failed.TLS_FAILED,
        Failed.NO_ANSWER,
        Failed.UNRESOLVED,
        Failed.CUT_SHORT,
        Failed.NOT_HTTP,
    }
)


def unreached(problem: AcmeProblem, url: str, root: str) -> Transient | Permanent:
    """Return the failure of a CA that cannot be reached (`kind` is `unreachable`).

    `url`: of its directory. `root`: the file of what is trusted for it, "" for the system's.
    """
    said = Said(one_line(problem.detail, MOST_SHOWN)) if problem.detail else None
    if problem.type == Failed.CA_ROOT_UNUSABLE:
        return Permanent(Reason(Failed.CA_ROOT_UNUSABLE, file=root, url=url, said=said))
    if problem.type == "too-long":
        most = int(problem.detail) if problem.detail.isdecimal() else None
        return Permanent(Reason(Failed.NO_DIRECTORY, url=url, most=most))
    why: Reason | Said = said or Said("")
    if problem.type in _UNREACHED:
        code = Failed(problem.type)
        seconds = said if code is Failed.NO_ANSWER else None
        unknown = problem.unknown_root or None
        told = {"said": said, "seconds": seconds, "unknown_root": unknown}
        names = {Failed.NOT_TRUSTED: ("said", "unknown_root"), Failed.NO_ANSWER: ("seconds",)}
        wanted = names.get(code, () if code in (Failed.CUT_SHORT, Failed.NOT_HTTP) else ("said",))
        why = Reason(code, **{name: told[name] for name in wanted})
    return Transient(Reason(Failed.CA_UNREACHABLE, url=url, why=why))


def no_directory(problem: AcmeProblem, url: str, root: str, now: datetime) -> Transient | Permanent:
    """Return the failure of a CA whose directory cannot be had, whatever was answered."""
    if problem.kind == "unreachable":
        return unreached(problem, url, root)
    if problem.kind == "nonsense":
        if problem.type == "other-host":
            said = Said(one_line(problem.detail, MOST_SHOWN))
            return Permanent(Reason(Failed.FOREIGN_DIRECTORY, url=url, said=said))
        return Permanent(Reason(Failed.NO_DIRECTORY, url=url, most=None))
    status = problem.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Transient(answers(Failed.CA_REDIRECTS, url, status))
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return Permanent(answers(Failed.CA_NO_SUCH_PLACE, url, status))
    return Transient(
        answers(Failed.CA_ANSWERS, url, status), retry_at=retry_at(problem.retry_after, now)
    )
