"""What the network process tells of a CA (`AcmeProblem`), as an error to raise."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from sslmd.acme.certbot_log import CaAnswer, RunLog
from sslmd.acme.problems import to_error
from sslmd.acme.refusals import Problem, ProblemKind, http_error, judged
from sslmd.core.errors import SslmError
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.net.acme_messages import AcmeProblem


def error_of(problem: AcmeProblem, server: str, now: datetime) -> SslmError:
    """Return the error to raise; `server`: the CA's directory."""
    return to_error(problem_of(problem, server, now), now)


def problem_of(problem: AcmeProblem, server: str, now: datetime) -> Problem:
    """Return what it means."""
    where = problem.url or server
    if problem.kind in ("unreachable", "late", "nonsense"):
        said = Said(problem.detail or problem.type) or None
        try:
            why: Reason | Said | None = Reason(Failed(problem.type), said=said)
        except ValueError:
            why = said
        return Problem(ProblemKind.UNREACHABLE, Reason(Failed.CA_UNREACHABLE, url=where, why=why))
    headers = {"retry-after": problem.retry_after} if problem.retry_after else {}
    if problem.terms:
        headers["link"] = ", ".join(f'<{one}>;rel="terms-of-service"' for one in problem.terms)
    document = {
        "type": problem.type,
        "title": problem.title,
        "detail": problem.detail,
        "instance": problem.instance,
        "subproblems": [
            {"type": one.type, "detail": one.detail, "identifier": {"value": one.name}}
            for one in problem.subproblems
        ],
    }
    answer = CaAnswer(where, problem.status, headers, document)
    if problem.kind == "http":
        return http_error(answer, server, now)
    directory = {"newAccount": where} if problem.new_account else {}
    run = RunLog(answers=(CaAnswer(server, 200, {}, directory),))
    return judged(run, answer, document, urlsplit(server).netloc or server, now)
