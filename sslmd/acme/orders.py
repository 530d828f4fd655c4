"""Orders under way: certbot's hooks hand their challenges in, and wait here (I8).

certbot calls its hook once per challenge, one after another, and tells the CA to look when the
last one returns, whatever that hook answers. So every hook but the last is answered at once,
and the last one is kept waiting until everything is proven visible; if that fails, certbot's
whole process group is ended while the hook still waits.

Nobody else can hand in a challenge: an order is known by a random number that only certbot's
environment has, and the hook has to be a process of that certbot's group.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sslmd.core.errors import Refused
from sslmd.core.failed import Failed
from sslmd.core.names import CertId, shown
from sslmd.core.reason import Reason, Said

# RFC 8555 §8.1: a token is base64url of 128 bits or more; §8.3: the key authorization is the
# token, a dot, and the base64url of a SHA-256; §8.4: the TXT value is such a hash alone.
TOKEN = re.compile(r"[A-Za-z0-9_-]{22,256}\Z")
_HASH = re.compile(r"[A-Za-z0-9_-]{43}\Z")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: the name as the CA asks for it (without `*.`), and what is to be shown.

    `token` is "" for dns-01, whose `value` is the content of a TXT record; for http-01 `value`
    is the content of the file.
    """

    name: str
    value: str
    token: str = ""


class CertbotOrder:
    """One run of certbot, from its start to its end.

    `group` is its process group, which `end` ends; `begun`: the first challenge is there;
    `complete`: every challenge is, or `problem` tells why there is nothing to go on with.
    """

    def __init__(self, cert: CertId, names: Iterable[str], *, http: bool) -> None:
        self.cert = cert
        self.ident = secrets.token_hex(16)
        self.challenges: list[Challenge] = []
        self.group: int | None = None
        self.problem: Reason | None = None
        self.end: Callable[[], None] = lambda: None
        self.begun = asyncio.Event()
        self.complete = asyncio.Event()
        self._names = frozenset(name.removeprefix("*.") for name in names)
        self._http = http
        self._shown = asyncio.Event()
        self._remaining: int | None = None

    def lose(self) -> None:
        """A hook that waited is gone: certbot goes on, and would offer what nobody has seen."""
        if not self._shown.is_set():
            self.problem = Reason(Failed.HOOK_LOST)
            self.end()
            self.complete.set()

    def go_ahead(self) -> None:
        """Everything is visible: let the last hook return, and so the CA look."""
        self._shown.set()

    def check(self, challenge: Challenge, remaining: int, pid: int) -> None:
        """Raise `Refused` for a challenge that is none of this order's.

        One that certbot itself hands in ends the order: it would offer it all the same.
        """
        try:
            group = os.getpgid(pid)
        except OSError:
            group = -1
        if self.group is None or group != self.group:
            raise Refused(Reason(Failed.HOOK_OF_OTHERS))
        problem = self._problem(challenge, remaining)
        if problem is not None:
            self.problem = problem
            self.complete.set()
            raise Refused(problem)

    def _problem(self, challenge: Challenge, remaining: int) -> Reason | None:
        if challenge.name.lower() not in self._names:
            name = Said(shown(challenge.name))
            return Reason(Failed.CHALLENGE_OF_OTHERS, name=name, cert=self.cert)
        token, dot, digest = challenge.value.rpartition(".")
        if self._http:
            right = dot == "." and token == challenge.token and bool(TOKEN.match(token))
        else:
            right = not dot and not challenge.token
        if not right or not _HASH.match(digest):
            return Reason(Failed.CHALLENGE_ODD, type="http-01" if self._http else "dns-01")
        if self.complete.is_set():
            return Reason(Failed.CHALLENGES_COMPLETE, cert=self.cert)
        if self._remaining not in (None, remaining + 1):
            return Reason(Failed.CHALLENGE_LOST, cert=self.cert)
        return None

    async def offer(self, challenge: Challenge, remaining: int) -> None:
        """Take a challenge in; return when the hook may, which for the last one takes long."""
        self.challenges.append(challenge)
        self.begun.set()
        self._remaining = remaining
        if remaining == 0:
            self.complete.set()
            await self._shown.wait()


class Orders:
    """The orders under way, by their secret names."""

    def __init__(self) -> None:
        self._orders: dict[str, CertbotOrder] = {}

    def begin(self, order: CertbotOrder) -> None:
        """Let hooks find an order."""
        self._orders[order.ident] = order

    def end(self, order: CertbotOrder) -> None:
        """Take no more challenges for it."""
        self._orders.pop(order.ident, None)

    def find(self, ident: str) -> CertbotOrder:
        """Return the order of that name; raise `Refused` for any other."""
        order = self._orders.get(ident)
        if order is None:
            raise Refused(Reason(Failed.HOOK_NO_ORDER))
        return order
