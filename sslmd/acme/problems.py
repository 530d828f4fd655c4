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
from collections import defaultdict
from collections.abc import Mapping
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
    problem_with,
    retry_after,
    retry_at,
    some,
)
from sslmd.core.errors import Permanent, SslmError, Transient, ValidationFailed

_USAGE = 2  # certbot's exit status for a command line or a configuration that it does not take

_SIGKILL = 9

_LOG = "cb/logs/letsencrypt.log in its folder of certs_dir"


class StillProcessing(Transient):
    """The CA has accepted an order and makes its certificate; `order` is its URL."""

    def __init__(self, text: str, order: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(text, retry_at=retry_at)
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
        names = [name for name, _ in problem.failed]
        return ValidationFailed(problem.text, names, retry_at=when)
    if problem.kind in _PERMANENT:
        return Permanent(problem.text)
    if problem.kind is ProblemKind.PROCESSING:
        return StillProcessing(problem.text, problem.order, retry_at=when)
    return Transient(problem.text, retry_at=when)


def read_problem(status: int, output: str, log: str, now: datetime, url: str) -> Problem:
    """Return what went wrong in a run of certbot that ended with `status`.

    `output` is the end of what it said, `log` its debug log of just this run, "" without one;
    `url` is the CA's directory. A negative status is a signal.
    """
    output = output[-MOST:]
    run = read_log(log)
    case = _Case(status, output, run, now, url, run.unvalidated or unvalidated_in_output(output))
    checks = (
        *(_usage, _another_run, _too_much, _unreachable),
        *(_refused, _invalid, _processing, _known_words),
    )
    for check in checks:
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
        return f"the CA {one_line(urlsplit(self.url).netloc or self.url, MOST_NAME)}"

    @property
    def words(self) -> str:
        """What certbot said at its end, in the log and on the console."""
        return f"{self.run.ending}\n{self.output}"

    def problem(self, kind: ProblemKind, text: str, retry_at: datetime | None = None) -> Problem:
        return self.with_names(problem_with(kind, text, retry_at))

    def judged(self, answer: CaAnswer, document: Mapping[str, Any]) -> Problem:
        return self.with_names(judged(self.run, answer, document, self.ca, self.now))

    def with_names(self, problem: Problem) -> Problem:
        return replace(problem, failed=tuple((one.name, one.detail) for one in self.failed))


# --- the checks, in order -------------------------------------------------------------------


def _usage(case: _Case) -> Problem | None:
    if case.status != _USAGE:
        return None
    _, _, said = case.output.rpartition("certbot: error: ")
    text = _without_secrets(said) or "it said nothing"
    return case.problem(ProblemKind.USAGE, f"certbot does not take what it is told: {text}")


def _another_run(case: _Case) -> Problem | None:
    if "Another instance of Certbot is already running" not in case.output:
        return None
    text = "another certbot is at work in this certificate's folder; this one ended at once"
    return case.problem(ProblemKind.ANOTHER_RUN, text)


def _too_much(case: _Case) -> Problem | None:
    what = limit_met(case.status, case.words)
    if not what:
        return None
    text = f"certbot {what}, and was ended: {case.ca} may send more than a CA should"
    return case.problem(ProblemKind.TOO_MUCH, f"{text}; see {_LOG}")


_NETWORK = re.compile(r"^(?:\S+:)?requests\.exceptions\.(\w+):? ?(.*)$", re.MULTILINE)
_REASONS = (
    (
        r"certificate verify failed: ((?:self|unable).*?)(?: \(_ssl|['\")]|$)",
        r"its certificate is not trusted (\1); name the root of a private CA with ca_server_root",
    ),
    (
        r"certificate verify failed: (.*?)\.?(?: \(_ssl|\"|$)",
        r"its certificate is not trusted (\1)",
    ),
    (r"\[SSL: \w+\] (.*?)(?: \(_ssl|['\")]|$)", r"TLS failed (\1)"),
    (r"NameResolutionError|Failed to resolve", "its name cannot be resolved"),
    (r"\[Errno -?\d+\] ([^'\")]+)", r"\1"),
    (r"Connection(?:Reset|Aborted)Error\(\d+, '([^']*)", r"\1"),
    (r"timed out\.? \(\w+ timeout=(\d+)", r"no answer within \1 s"),
    (r"RemoteDisconnected|EOF occurred", "it closed the connection without an answer"),
)


def _unreachable(case: _Case) -> Problem | None:
    """Tell which URL could not be reached, and why: requests' exceptions, and what is in them."""
    found = _NETWORK.findall(case.words)
    if not found:
        return None
    kind, said = found[-1]
    reason = _without_secrets(said) or kind
    for pattern, words in _REASONS:
        if match := re.search(pattern, one_line(said, MOST_DETAIL)):
            reason = match.expand(words)
            break
    if kind == "ProxyError":
        reason = f"by its proxy, {reason}"
    where = one_line(case.run.asked or case.url, MOST_NAME)
    text = f"the CA at {where} cannot be reached: {reason}"
    return case.problem(ProblemKind.UNREACHABLE, text)


def _refused(case: _Case) -> Problem | None:
    """Take the last answer if it is an error; what came earlier was got over (a bad nonce)."""
    answer = case.run.answers[-1] if case.run.answers else None
    if answer is None or answer.status < HTTPStatus.BAD_REQUEST:
        return None
    if code_of(answer.document) or text_of(answer.document, "detail"):
        return case.judged(answer, answer.document)
    return case.with_names(http_error(answer, case.url, case.now))


def _invalid(case: _Case) -> Problem | None:
    """Take an order that the CA gave up (RFC 8555 §7.1.6), and names that it did not validate."""
    answer = case.run.answers[-1] if case.run.answers else None
    if answer is not None and answer.document.get("status") == "invalid":
        error = answer.document.get("error")
        if "finalize" in answer.document and isinstance(error, dict):
            return case.judged(answer, error)
    if not case.failed:
        return None
    groups: dict[str, list[str]] = defaultdict(list)
    for one in case.failed:
        groups[f"{one.detail} ({one.code})" if one.code else one.detail].append(one.name)
    told = some([f"{some(names, ', ')}: {why}" for why, names in groups.items()])
    return case.problem(ProblemKind.NOT_VALIDATED, f"{case.ca} could not validate {told}")


def _processing(case: _Case) -> Problem | None:
    """Take an order that the CA was at work on when certbot's patience ended (RFC 8555 §7.1.6)."""
    answer = case.run.answers[-1] if case.run.answers else None
    if "acme.errors.TimeoutError" not in case.words or answer is None:
        return None
    found = answer.document
    if found.get("status") != "processing" or "finalize" not in found or not answer.url:
        return None
    text = (
        f"{case.ca} did not issue the certificate in time and is still at work on it; its order "
        "is kept and taken up again"
    )
    when = retry_at(retry_after(answer), case.now)
    return replace(case.problem(ProblemKind.PROCESSING, text, when), order=answer.url)


_KNOWN = (
    (
        "Server requires external account binding",
        ProblemKind.REFUSED,
        "takes only accounts that are bound to one at its own site (EAB); set ca_eab_kid and "
        "ca_eab_hmac_key_file in ca-info.conf",
    ),
    (
        "any combination of challenges",
        ProblemKind.REFUSED,
        "does not offer for every name what ca_validation asks for; change it in ca-info.conf "
        "(a wildcard needs dns-01)",
    ),
    (
        "Could not find a suitable TLS CA certificate bundle",
        ProblemKind.REFUSED,
        "cannot be asked: the file of ca_server_root is not there; correct that in ca-info.conf",
    ),
    ("acme.errors.TimeoutError", ProblemKind.CA_TROUBLE, "did not issue the certificate in time"),
    (
        "All authorizations were not finalized by the CA",
        ProblemKind.CA_TROUBLE,
        "did not look for all challenges in time",
    ),
)


def _known_words(case: _Case) -> Problem | None:
    for said, kind, words in _KNOWN:
        if said in case.words:
            return case.problem(kind, f"{case.ca} {words}")
    if (when := retry_at(None, case.now, case.words)) is not None:
        return case.problem(ProblemKind.LIMITED, f"{case.ca} says: {_last_lines(case)}", when)
    return None


_NOISE = re.compile(
    r"Saving debug log to|Account registered|Requesting a certificate|Simulating a certificate"
    r"|An unexpected error occurred|Exiting abnormally|Ask for help or search|Hint: "
)


def _anything(case: _Case) -> Problem:
    how = f"exited with {case.status}" if case.status >= 0 else f"died of signal {-case.status}"
    if case.status == -_SIGKILL:
        how += " (SIGKILL; the kernel sends it where memory is short, see journalctl -k)"
    return case.problem(ProblemKind.OTHER, f"certbot {how}: {_last_lines(case)}")


def _last_lines(case: _Case) -> str:
    """Return what certbot said last, on the console or else in the log."""
    said = case.output if case.output.strip() else "\n".join(case.run.errors)
    lines = [line.strip() for line in said[-MOST_TEXT:].splitlines()]
    told = [line for line in lines if line and not _NOISE.match(line)]
    return " / ".join(map(_without_secrets, told[-MOST_SHOWN:])) or "it said nothing"


# --- the limits of `launch` ------------------------------------------------------------------

# The kernel ends who uses too much of the processor; who wants more memory, files or processes
# than it may have gets an error, and ends by it (setrlimit(2)).
_BY_SIGNAL: dict[int, str] = {
    signal.SIGXCPU: f"used more than {CPU_TIME} s of processor time",
    signal.SIGXFSZ: f"wrote more than {FILE_SIZE >> 20} MiB into a file",
}
# As Python says it, with the numbers of errno(3): at the beginning of a line, where no CA's words
# stand.
_LIMITS_SAID = (
    (
        # The last is what `logging` says that has no room for a message.
        r"MemoryError\b|(?:\S+: )?\[Errno 12\] |(?:\S+: )?\[SSL\] malloc failure"
        r"|Unable to print the message and arguments",
        f"needed more than {MEMORY >> 20} MiB of memory",
    ),
    (r"(?:\S+: )?\[Errno 27\] ", _BY_SIGNAL[signal.SIGXFSZ]),
    (r"(?:\S+: )?\[Errno 24\] ", f"opened more than {OPEN_FILES} files"),
    (
        r"(?:\S+: )?\[Errno 11\] |(?:\S+: )?can't start new thread",
        f"started a process when its user had {PROCESSES}",
    ),
)
_LIMITS = tuple((re.compile(rf"^(?:{said})", re.MULTILINE), what) for said, what in _LIMITS_SAID)


def limit_met(status: int, words: str) -> str:
    """Return what a program did to meet its limit, "" if it met none.

    `status`: its exit status, negative for a signal; `words`: the end of what it said.
    """
    if what := _BY_SIGNAL.get(-status):
        return what
    return next((what for pattern, what in _LIMITS if pattern.search(words)), "")


# --- texts ----------------------------------------------------------------------------------


# Keys, signatures and payloads are long runs of base64url; what a person reads is not.
_BASE64 = re.compile(r"[A-Za-z0-9+_-]{32,}={0,2}")


def _without_secrets(text: str) -> str:
    """Return certbot's words for a message. (A CA's own words never hold a secret of ours.)"""
    return _BASE64.sub("…", one_line(text, MOST_DETAIL))
