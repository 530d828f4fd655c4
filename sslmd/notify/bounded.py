"""What servers answer to Apprise, within bounds, and what of it is worth an error.

Apprise tells what went wrong in log lines, in which addresses may stand. So what the program
reports is seen here, where `requests` and `smtplib` read: a status, a code, a kind of failure.
Install it (`install`) before Apprise is imported.
"""

from __future__ import annotations

import http.client
import os
import smtplib
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import requests.adapters
import requests.sessions
import urllib3.exceptions

from sslmd.core.failed import Failed
from sslmd.core.plain import plain
from sslmd.wire.sending import MOST_SAID, SendAnswer, SendFailure

# Bytes of one answer; those of chat services have a few hundred. What comes after them is not read.
MOST_BYTES = 1 << 20
_PIECE = 1 << 16

# Characters of a header that anybody looks at.
_MOST_HEADER = 100

_OK = range(200, 300)


@dataclass(slots=True)
class Seen:
    """What was seen last; there is one message in a process, so there is one of these."""

    answer: SendAnswer | None = None

    def http(self, response: requests.Response, *, redirects: bool) -> None:
        """Note an answer of HTTP."""
        status = response.status_code
        if status in _OK:
            self.answer = None
        elif redirects:
            self.answer = SendAnswer(SendFailure.REDIRECTED, number=_status(status))
        else:
            after = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
            self.answer = SendAnswer(SendFailure.STATUS, number=_status(status), retry_after=after)

    def smtp(self, code: int) -> None:
        """Note a reply of SMTP (RFC 5321 §4.2.1): 4yz and 5yz are refusals."""
        if code >= 400:
            self.answer = SendAnswer(SendFailure.REPLY, number=_status(code))

    def failed(self, err: BaseException) -> None:
        """Note that there was no answer."""
        code, said = why_not(err)
        self.answer = SendAnswer(SendFailure.UNREACHED, why=code, said=plain(said, MOST_SAID))


SEEN = Seen()


def _status(number: int) -> int:
    return min(max(number, 0), 9999)


class _OneAnswer(requests.adapters.HTTPAdapter):
    """One answer of at most `MOST_BYTES`, and no redirect: who is named gets it, nobody else."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            # Whatever is read below, `requests` reads no more.
            response = super().send(*args, **{**kwargs, "stream": True})
            kept = bytearray()
            for piece in response.iter_content(_PIECE):
                kept += piece
                if len(kept) >= MOST_BYTES:
                    break
            response.close()
        except (requests.RequestException, OSError) as err:
            SEEN.failed(err)
            raise
        # Where `requests` keeps what was read (`Response.content`).
        response._content = bytes(kept[:MOST_BYTES])
        response._content_consumed = True
        SEEN.http(response, redirects=response.is_redirect)
        # RFC 9110 §15.4: it names the other place.
        response.headers.pop("location", None)
        return response


def _noting(smtp: type[smtplib.SMTP]) -> type[smtplib.SMTP]:
    class Noting(smtp):  # type: ignore[misc, valid-type]
        def connect(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().connect(*args, **kwargs)
            except OSError as err:
                SEEN.failed(err)
                raise

        def starttls(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().starttls(*args, **kwargs)
            except OSError as err:
                SEEN.failed(err)
                raise

        def getreply(self) -> Any:
            try:
                code, said = super().getreply()
            except (OSError, smtplib.SMTPServerDisconnected) as err:
                SEEN.failed(err)
                raise
            SEEN.smtp(code)
            return code, said

    return Noting


def install() -> None:
    """Have every request and every SMTP session of this process go through here."""
    for module in (requests.adapters, requests.sessions):
        vars(module)["HTTPAdapter"] = _OneAnswer
    for smtp in (smtplib.SMTP, smtplib.SMTP_SSL):
        vars(smtplib)[smtp.__name__] = _noting(smtp)


def retry_after(value: str | None, now: datetime) -> int:
    """Return the seconds that a Retry-After asks for (RFC 9110 §10.2.3), 0 for none."""
    text = (value or "").strip()[:_MOST_HEADER]
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return 0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(round((when - now).total_seconds()), 0)


def why_not(err: BaseException) -> tuple[str, str]:
    """Return a code of `Failed` for what kept an answer away, and what TLS or the system said."""
    cause = _innermost(err)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Failed.NOT_TRUSTED, cause.verify_message
    if isinstance(cause, ssl.SSLError):
        return Failed.TLS_FAILED, str(getattr(cause, "reason", None) or "TLS failed")
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return Failed.NOT_IN_TIME, ""
    if isinstance(cause, socket.gaierror):
        return Failed.UNRESOLVED, cause.strerror or ""
    cut = http.client.RemoteDisconnected | http.client.IncompleteRead
    if isinstance(cause, cut | smtplib.SMTPServerDisconnected):
        return Failed.NOT_ANSWERED, ""
    if isinstance(cause, OSError) and cause.errno:
        return Failed.NOT_CONNECTED, os.strerror(cause.errno)
    if isinstance(cause, http.client.HTTPException | ValueError):
        return Failed.NOT_HTTP, ""
    return Failed.NOT_ANSWERED, ""


def _innermost(err: BaseException) -> BaseException:
    """Return what requests and urllib3 have wrapped up."""
    for _ in range(10):
        if isinstance(err, ssl.SSLError | socket.gaierror):
            return err
        inner = getattr(err, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((one for one in err.args if isinstance(one, BaseException)), None)
        inner = inner or err.__cause__
        if inner is None:
            return err
        err = inner
    return err
