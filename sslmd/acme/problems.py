"""What went wrong in a run of certbot, in the CA's own words, and what to do about it.

certbot tells a CA's errors without their types, and its words are no stable interface. So the
first thing looked at is the CA's own answer in certbot's debug log: a problem document
(RFC 8555 §6.7), an authorization or an order that became invalid (§7.1.6). Only where there is
none, certbot's own words count. An ordered chain of checks; the first that finds something
tells it. Pure functions on text; whatever stands there, they raise nothing.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from sslmd.acme.certbot_log import (
    MOST,
    MOST_DETAIL,
    MOST_NAME,
    CaAnswer,
    RunLog,
    Unvalidated,
    code_of,
    one_line,
    read_log,
    text_of,
    unvalidated_in_output,
)
from sslmd.acme.launch import CPU_TIME, FILE_SIZE, MEMORY, OPEN_FILES, PROCESSES
from sslmd.acme.refusals import (
    MOST_SHOWN,
    MOST_TEXT,
    Problem,
    ProblemKind,
    http_error,
    judged,
    not_validated,
    retry_at,
)
from sslmd.core.errors import Permanent, RateLimited, SslmError, Transient, ValidationFailed
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.net.acme_messages import AcmeProblem, Subproblem

_USAGE = 2  # certbot's exit status for a command line or a configuration that it does not take


class StillProcessing(Transient):
    """The CA has accepted an order and makes its certificate; `order` is its URL."""

    def __init__(self, what: Reason, order: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(what, retry_at=retry_at)
        self.order = order


_PERMANENT = frozenset({ProblemKind.REFUSED, ProblemKind.USAGE})


def to_error(problem: Problem, now: datetime) -> SslmError:
    """Return the error to raise for it.

    `ValidationFailed` where the CA counted failed validations, `Permanent` where a person has
    to do something, else `Transient`. A time to come again that is over is left out.
    """
    when = problem.retry_at
    if when is not None and when <= now:
        when = None
    if problem.failed:
        return ValidationFailed(problem.why, problem.failed, retry_at=when)
    if problem.kind in _PERMANENT:
        return Permanent(problem.why)
    if problem.kind is ProblemKind.PROCESSING:
        return StillProcessing(problem.why, problem.order, retry_at=when)
    if problem.kind is ProblemKind.LIMITED:
        return RateLimited(problem.why, problem.limit, problem.whose, retry_at=when)
    return Transient(problem.why, retry_at=when)


def read_problem(status: int, output: str, log: str, now: datetime, url: str) -> Problem:
    """Return what went wrong in a run of certbot that ended with `status`.

    `output` is the end of what it said, `log` its debug log of just this run, "" without one;
    `url` is the CA's directory. A negative status is a signal.
    """
    output = output[-MOST:]
    run = read_log(log)
    case = _Case(status, output, run, now, url, run.unvalidated or unvalidated_in_output(output))
    for check in (_not_even_begun, _unreachable, _refused, _invalid, _processing, _known_words):
        if problem := check(case):
            return problem
    return _anything(case)


@dataclass(frozen=True, slots=True)
class _Case:
    """All there is to go by."""

    status: int
    output: str
    run: RunLog
    now: datetime
    url: str
    failed: tuple[Unvalidated, ...]

    @property
    def ca(self) -> str:
        """How the CA is called: its host, and the port if it has one of its own."""
        return one_line(urlsplit(self.url).netloc or self.url, MOST_NAME)

    @property
    def words(self) -> str:
        """What certbot said at its end, in the log and on the console."""
        return f"{self.run.ending}\n{self.output}"

    @property
    def answer(self) -> CaAnswer | None:
        """The CA's last answer."""
        return self.run.answers[-1] if self.run.answers else None

    def problem(self, kind: ProblemKind, why: Reason, retry_at: datetime | None = None) -> Problem:
        return self.with_names(Problem(kind, why, retry_at))

    def judged(self, answer: CaAnswer, document: Mapping[str, Any]) -> Problem:
        meta = self.run.directory.get("meta")
        binds = isinstance(meta, dict) and meta.get("externalAccountRequired") is True
        problem = problem_in(self.run, answer, document)
        hint = Reason(Failed.CERTBOT_NONCE) if problem.type == "badNonce" else None
        return self.with_names(judged(problem, self.ca, self.now, binds=binds, hint=hint))

    def with_names(self, problem: Problem) -> Problem:
        return replace(problem, failed=tuple(one.name for one in self.failed))


_TERMS = re.compile(r'<([^<>]*)>\s*;\s*rel="terms-of-service"')


def problem_in(run: RunLog, answer: CaAnswer, document: Mapping[str, Any]) -> AcmeProblem:
    """Return a problem document (RFC 7807) that stands in an answer."""
    parts = document.get("subproblems")
    parts = [one for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []
    names = (one.get("identifier") for one in parts)
    return AcmeProblem(
        kind="acme",
        url=answer.url,
        status=answer.status,
        type=code_of(document),
        title=text_of(document, "title"),
        detail=text_of(document, "detail"),
        instance=text_of(document, "instance"),
        terms=tuple(_TERMS.findall(answer.headers.get("link", ""))),
        subproblems=tuple(
            Subproblem(
                code_of(one),
                text_of(one, "detail"),
                text_of(name, "value") if isinstance(name, dict) else "",
            )
            for one, name in zip(parts, names, strict=True)
        ),
        retry_after=answer.retry_after or "",
        new_account=bool(answer.url) and answer.url == run.directory.get("newAccount"),
    )


# --- the checks, in order -------------------------------------------------------------------


def _not_even_begun(case: _Case) -> Problem | None:
    """Take what keeps certbot from asking the CA, and what ended it: its limits."""
    if case.status == _USAGE:
        _, _, said = case.output.rpartition("certbot: error: ")
        why = Reason(Failed.CERTBOT_USAGE, said=_without_secrets(said) or None)
        return case.problem(ProblemKind.USAGE, why)
    if "Another instance of Certbot is already running" in case.output:
        return case.problem(ProblemKind.ANOTHER_RUN, Reason(Failed.CERTBOT_ANOTHER))
    if (limit := limit_met(case.status, case.words)) is not None:
        why = Reason(Failed.CERTBOT_TOO_MUCH, limit=limit, ca=case.ca)
        return case.problem(ProblemKind.TOO_MUCH, why)
    return None


_NETWORK = re.compile(r"^(?:\S+:)?requests\.exceptions\.(\w+):? ?(.*)$", re.MULTILINE)
# What stands in the group is words of theirs, or seconds.
_REASONS: tuple[tuple[str, Callable[[str], Reason | Said]], ...] = (
    (
        r"certificate verify failed: ((?:self|unable).*?)(?: \(_ssl|['\")]|$)",
        lambda said: Reason(Failed.NOT_TRUSTED, said=Said(said), unknown_root=True),
    ),
    (
        r"certificate verify failed: (.*?)\.?(?: \(_ssl|\"|$)",
        lambda said: Reason(Failed.NOT_TRUSTED, said=Said(said)),
    ),
    (
        r"\[SSL: \w+\] (.*?)(?: \(_ssl|['\")]|$)",
        lambda said: Reason(Failed.TLS_FAILED, said=Said(said)),
    ),
    (r"(NameResolutionError|Failed to resolve)", lambda _: Reason(Failed.UNRESOLVED)),
    (r"\[Errno -?\d+\] ([^'\")]+)", Said),
    (r"Connection(?:Reset|Aborted)Error\(\d+, '([^']*)", Said),
    (
        r"timed out\.? \(\w+ timeout=(\d+)",
        lambda seconds: Reason(Failed.NO_ANSWER, seconds=Said(seconds)),
    ),
    (r"(RemoteDisconnected|EOF occurred)", lambda _: Reason(Failed.NOT_ANSWERED)),
)


def _unreachable(case: _Case) -> Problem | None:
    """Tell which URL could not be reached, and why: requests' exceptions, and what is in them."""
    found = _NETWORK.findall(case.words)
    if not found:
        return None
    kind, said = found[-1]
    why: Reason | Said = _without_secrets(said) or Said(kind)
    for pattern, made in _REASONS:
        if match := re.search(pattern, one_line(said, MOST_DETAIL)):
            why = made(match[1])
            break
    if kind == "ProxyError":
        why = Reason(Failed.BY_PROXY, why=why)
    where = one_line(case.run.asked or case.url, MOST_NAME)
    return case.problem(ProblemKind.UNREACHABLE, Reason(Failed.CA_UNREACHABLE, url=where, why=why))


def _refused(case: _Case) -> Problem | None:
    """Take the last answer if it is an error; what came earlier was got over (a bad nonce)."""
    answer = case.answer
    if answer is None or answer.status < HTTPStatus.BAD_REQUEST:
        return None
    if code_of(answer.document) or text_of(answer.document, "detail"):
        return case.judged(answer, answer.document)
    return case.with_names(http_error(problem_in(case.run, answer, {}), case.url, case.now))


def _invalid(case: _Case) -> Problem | None:
    """Take an order that the CA gave up (RFC 8555 §7.1.6), and names that it did not validate."""
    answer = case.answer
    if answer is not None and answer.document.get("status") == "invalid":
        error = answer.document.get("error")
        if "finalize" in answer.document and isinstance(error, dict):
            return case.judged(answer, error)
    if not case.failed:
        return None
    why = not_validated(case.failed, case.ca)
    return case.problem(ProblemKind.NOT_VALIDATED, why)


def _processing(case: _Case) -> Problem | None:
    """Take an order that the CA was at work on when certbot's patience ended (RFC 8555 §7.1.6)."""
    answer = case.answer
    if "acme.errors.TimeoutError" not in case.words or answer is None:
        return None
    found = answer.document
    if found.get("status") != "processing" or "finalize" not in found or not answer.url:
        return None
    why = Reason(Failed.STILL_PROCESSING, ca=case.ca)
    when = retry_at(answer.retry_after, case.now)
    return replace(case.problem(ProblemKind.PROCESSING, why, when), order=answer.url)


_KNOWN = (
    ("Server requires external account binding", ProblemKind.REFUSED, Failed.EAB_WANTED),
    ("any combination of challenges", ProblemKind.REFUSED, Failed.VALIDATION_NOT_OFFERED),
    (
        "Could not find a suitable TLS CA certificate bundle",
        ProblemKind.REFUSED,
        Failed.CA_ROOT_MISSING,
    ),
    ("acme.errors.TimeoutError", ProblemKind.CA_TROUBLE, Failed.NOT_ISSUED_IN_TIME),
    (
        "All authorizations were not finalized by the CA",
        ProblemKind.CA_TROUBLE,
        Failed.NOT_LOOKED_IN_TIME,
    ),
)


def _known_words(case: _Case) -> Problem | None:
    for said, kind, code in _KNOWN:
        if said in case.words:
            return case.problem(kind, Reason(code, ca=case.ca))
    if (when := retry_at(None, case.now, case.words)) is not None:
        why = Reason(Failed.CA_SAYS, ca=case.ca, detail=_last_lines(case))
        return case.problem(ProblemKind.LIMITED, why, when)
    return None


_NOISE = re.compile(
    r"Saving debug log to|Account registered|Requesting a certificate|Simulating a certificate"
    r"|An unexpected error occurred|Exiting abnormally|Ask for help or search|Hint: "
)


def _anything(case: _Case) -> Problem:
    said = _last_lines(case)
    if case.status < 0:
        why = Reason(Failed.CERTBOT_DIED, signal=-case.status, said=said)
    else:
        why = Reason(Failed.CERTBOT_EXITED, status=case.status, said=said)
    return case.problem(ProblemKind.OTHER, why)


def _last_lines(case: _Case) -> Said | None:
    """Return what certbot said last, on the console or else in the log."""
    said = case.output if case.output.strip() else "\n".join(case.run.errors)
    lines = [line.strip() for line in said[-MOST_TEXT:].splitlines()]
    told = [line for line in lines if line and not _NOISE.match(line)]
    return Said(" / ".join(map(_without_secrets, told[-MOST_SHOWN:]))) or None


# --- the limits of `launch` ------------------------------------------------------------------

# The kernel ends who uses too much of the processor; who wants more memory, files or processes
# than it may have gets an error, and ends by it (setrlimit(2)).
_BY_SIGNAL: dict[int, Reason] = {
    signal.SIGXCPU: Reason(Failed.LIMIT_CPU, seconds=CPU_TIME),
    signal.SIGXFSZ: Reason(Failed.LIMIT_FILE_SIZE, mib=FILE_SIZE >> 20),
}
# As Python says it, with the numbers of errno(3): at the beginning of a line, where no CA's words
# stand.
_LIMITS_SAID = (
    (
        # The last is what `logging` says that has no room for a message.
        r"MemoryError\b|(?:\S+: )?\[Errno 12\] |(?:\S+: )?\[SSL\] malloc failure"
        r"|Unable to print the message and arguments",
        Reason(Failed.LIMIT_MEMORY, mib=MEMORY >> 20),
    ),
    (r"(?:\S+: )?\[Errno 27\] ", _BY_SIGNAL[signal.SIGXFSZ]),
    (r"(?:\S+: )?\[Errno 24\] ", Reason(Failed.LIMIT_FILES, most=OPEN_FILES)),
    (
        r"(?:\S+: )?\[Errno 11\] |(?:\S+: )?can't start new thread",
        Reason(Failed.LIMIT_PROCESSES, most=PROCESSES),
    ),
)
_LIMITS = tuple((re.compile(rf"^(?:{said})", re.MULTILINE), what) for said, what in _LIMITS_SAID)


def limit_met(status: int, words: str) -> Reason | None:
    """Return what a program did to meet its limit, None if it met none.

    `status`: its exit status, negative for a signal; `words`: the end of what it said.
    """
    if what := _BY_SIGNAL.get(-status):
        return what
    return next((what for pattern, what in _LIMITS if pattern.search(words)), None)


# --- texts ----------------------------------------------------------------------------------


# Keys, signatures and payloads are long runs of base64url; what a person reads is not.
_BASE64 = re.compile(r"[A-Za-z0-9+_-]{32,}={0,2}")


def _without_secrets(text: str) -> Said:
    """Return certbot's words for a message. (A CA's own words never hold a secret of ours.)"""
    return Said(_BASE64.sub("…", one_line(text, MOST_DETAIL)))
