"""certbot's debug log: what it asked the CA, what the CA answered, how certbot ended.

certbot 5 logs records of `date time,ms:LEVEL:logger:text`, whose text may have many lines. The
requests hold signed and private things: of them nothing but the URL is ever looked at (I2).
Pure functions on text; whatever the text is, they end quickly and raise nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sslmd.core.plain import plain

# Characters of the log and of the output that are looked at: the end of it, where it failed.
MOST = 1 << 20

# Characters of one explanation of the CA. Some of Let's Encrypt's hold a long link.
MOST_DETAIL = 1000
MOST_NAME = 253

_VALIDATED = ("ready", "processing", "valid")
_NAMESPACE = "urn:ietf:params:acme:error:"

_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}:([A-Z]+):([\w.]+):", re.MULTILINE)
_ASKED = re.compile(r"Sending [A-Z]+ request to (\S+?)[.:]?$", re.MULTILINE)
_STATUS = re.compile(r"Received response:\nHTTP (\d{3})$", re.MULTILINE)

# Where certbot begins to print the CA's words as they are. The CA is not asked any more after
# that, and what looks like a record may be one of these words.
_LAST_WORDS = (
    ("certbot._internal.display.obj", "Notifying user: \nCertbot failed to authenticate"),
    ("certbot._internal.error_handler", "Encountered exception"),
    ("certbot._internal.log", "Exiting abnormally"),
)
_IN_OUTPUT = re.compile(
    r"^ *(?:Identifier|Domain): (.+)\n *Type: +(\S.*)\n *Detail: (.+)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class CaAnswer:
    """One answer of the CA. Names of `headers` are in lower case.

    `url` is what was asked for, "" if the log does not tell; `document` is the body, empty if it
    is no JSON object.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any]

    @property
    def retry_after(self) -> str | None:
        """The Retry-After header (RFC 9110 §10.2.3)."""
        return self.headers.get("retry-after")


@dataclass(frozen=True, slots=True)
class Unvalidated:
    """A name that the CA could not validate, with its star; the error's code, and its words."""

    name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunLog:
    """What the log of one run tells.

    `asked`: the last URL that was asked; `ending`: what certbot logged when it gave up, with the
    traceback; `errors`: what it logged as errors.
    """

    answers: tuple[CaAnswer, ...] = ()
    asked: str = ""
    ending: str = ""
    errors: tuple[str, ...] = ()

    @property
    def directory(self) -> Mapping[str, Any]:
        """The CA's directory (RFC 8555 §7.1.1), empty if it was not had."""
        found = (one.document for one in self.answers if "newAccount" in one.document)
        return next(found, {})

    @property
    def is_validated(self) -> bool:
        """Whether the CA has told that an order wants nothing more of us (RFC 8555 §7.1.6)."""
        return any(
            "finalize" in one.document and one.document.get("status") in _VALIDATED
            for one in self.answers
        )

    @property
    def unvalidated(self) -> tuple[Unvalidated, ...]:
        """The authorizations that became invalid (RFC 8555 §7.1.4, §7.1.6)."""
        found: dict[tuple[str, bool], Unvalidated | None] = {}
        for answer in self.answers:
            identifier = answer.document.get("identifier")
            challenges = answer.document.get("challenges")
            if isinstance(identifier, dict) and isinstance(challenges, list):
                name = one_line(text_of(identifier, "value"), MOST_NAME)
                star = answer.document.get("wildcard") is True
                is_invalid = answer.document.get("status") == "invalid" and bool(name)
                shown = f"*.{name}" if star else name
                found[name, star] = _unvalidated(shown, challenges) if is_invalid else None
        return tuple(one for one in found.values() if one is not None)


def read_log(text: str) -> RunLog:
    """Read the end of certbot's log."""
    text = text[-MOST:]
    answers, errors = [], []
    asked = ending = ""
    found = list(_RECORD.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    for record, end in zip(found, ends, strict=False):
        level, logger, words = record[1], record[2], text[record.end() : end]
        if ending or any(logger == name and words.startswith(w) for name, w in _LAST_WORDS):
            ending += words
        elif logger == "acme.client":
            if match := _ASKED.match(words):
                asked = match[1]
            elif match := _STATUS.match(words):
                answers.append(_answer(asked, int(match[1]), words[match.end() + 1 :]))
        if level in ("ERROR", "CRITICAL"):
            errors.append(words)
    return RunLog(tuple(answers), asked, ending, tuple(errors))


def _answer(url: str, status: int, rest: str) -> CaAnswer:
    head, _, body = rest.partition("\n\n")
    lines = (line.partition(":") for line in head.splitlines())
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    found = None
    if body.startswith("{"):
        with suppress(ValueError, RecursionError):
            found = json.loads(body)
    return CaAnswer(url, status, headers, found if isinstance(found, dict) else {})


def unvalidated_in_output(output: str) -> tuple[Unvalidated, ...]:
    """Return the same as `RunLog.unvalidated`, from what certbot says on the console."""
    found = dict.fromkeys(_IN_OUTPUT.findall(output))
    return tuple(
        Unvalidated(
            one_line(name, MOST_NAME), one_line(code, MOST_NAME), one_line(detail, MOST_DETAIL)
        )
        for name, code, detail in found
    )


def _unvalidated(name: str, challenges: list[Any]) -> Unvalidated:
    """Return why a name is not validated; the words are "" where the CA gives none."""
    errors = (one.get("error") for one in challenges if isinstance(one, dict))
    error = next((one for one in errors if isinstance(one, dict)), {})
    detail = one_line(text_of(error, "detail") or text_of(error, "title"), MOST_DETAIL)
    return Unvalidated(name, one_line(code_of(error), MOST_NAME), detail)


# --- problem documents (RFC 7807), and texts ------------------------------------------------


def code_of(document: Mapping[str, Any]) -> str:
    """Return which of the errors of RFC 8555 §6.7 a document is, "" for any other."""
    kind = text_of(document, "type")
    return kind.removeprefix(_NAMESPACE) if kind.startswith(_NAMESPACE) else ""


def text_of(document: Mapping[str, Any], key: str) -> str:
    """Return a member of a document, "" if it is not there or no text."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def one_line(text: str, limit: int) -> str:
    """Return `text` in one plain line that is not endless."""
    return plain(" ".join(text[: 4 * limit].split()), limit)
