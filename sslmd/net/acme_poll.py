"""When a CA is asked again how something stands, as long as nobody says."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from math import ceil

from sslmd.net.acme_messages import AcmeProblem
from sslmd.net.acme_read import ProblemError, seconds_of
from sslmd.net.web import Reply

# Seconds between polls where the CA names none: at first, the factor, at most.
FIRST_POLL, SLOWER, LONGEST_POLL = 0.3, 1.5, 10.0

# Seconds for which a CA that fails is asked on: later it is the daemon that comes again.
PATIENCE = 20.0


class Poll:
    """When to look again: RFC 8555 §7.5.1, §8.2."""

    def __init__(self) -> None:
        self._pause = FIRST_POLL
        self._at = asyncio.get_running_loop().time()
        self._failing: float | None = None  # since when
        self._is_told = False  # by the CA

    async def sleep(self, end: float, url: str) -> None:
        """Wait; raises `ProblemError` (late) where that would be too long.

        Nobody is asked before the time that he named: what is waited for is left to the daemon.
        """
        now = asyncio.get_running_loop().time()
        if max(self._at, now) >= end:
            later = f"{ceil(self._at - now)}" if self._is_told and self._at > now else ""
            raise ProblemError(AcmeProblem("late", url, retry_after=later))
        await asyncio.sleep(max(0.0, self._at - now))

    def next(self, reply: Reply) -> None:
        """Take what the CA says about it."""
        self._failing = None
        said = seconds_of(reply.headers.get("retry-after", ""))
        pause, self._pause = self._pause, min(self._pause * SLOWER, LONGEST_POLL)
        self._is_told = said is not None
        if said is not None:
            pause = max(said, FIRST_POLL)
        self._at = asyncio.get_running_loop().time() + pause

    def wait(self, seconds: float) -> None:
        """Look after so many seconds at the earliest."""
        self._at = max(self._at, asyncio.get_running_loop().time() + seconds)

    def failed(self, err: ProblemError, end: float) -> None:
        """Go on after an answer that did not come, or was an error of the CA; else raise it."""
        problem = err.problem
        again = problem.kind == "unreachable" or problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        again = again or problem.status == HTTPStatus.TOO_MANY_REQUESTS
        again = again or problem.type == "badNonce"
        now = asyncio.get_running_loop().time()
        said = seconds_of(problem.retry_after)
        self._pause = min(max(self._pause * SLOWER, 1.0), LONGEST_POLL)
        self._at = now + max(said or 0.0, self._pause)
        self._failing = now if self._failing is None else self._failing
        if not again or self._at >= min(end, self._failing + PATIENCE):
            raise err
