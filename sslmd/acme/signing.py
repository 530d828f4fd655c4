"""Signatures for the network process: it asks, and never has a key (I13).

An account's key signs for its own CA alone: the header is made here, its URL has to be of that CA's
origin, and what is signed follows from a question that the daemon asks at this moment (`permits`).
Who has taken over the network process can order nothing by it, change no account, and revoke
nothing. What is refused is reported: it is asked for by nobody but such a one, or by a fault.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sslmd.acme.account_key import AccountKey, b64
from sslmd.acme.permits import (
    MOST_ORDERS,
    PUBLIC,
    Permit,
    Question,
    acts_of,
    follows,
    permit_for,
    read,
)
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.net.acme_messages import PUBLIC_KEY, SIGN, AskSignature, OfKey, PublicKey, Signature
from sslmd.net.link import Handlers
from sslmd.net.telling import Seldom

_PORTS = {"https": 443, "http": 80}
_REFUSED = Signature()

# Seconds for which a question that is over may still be on its way: refused, and not reported.
LATE = 10.0

# Questions that are over, of which that is known.
_MOST_LATE = 10_000

# Seconds for which a signature that was refused is trouble.
WITHIN = 86400.0


@dataclass(frozen=True, slots=True)
class Binding:
    """The key of an external account (RFC 8555 §7.3.4)."""

    kid: str
    key: bytes


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key by which the network process may have signed. `server`: the CA's directory."""

    server: str
    key: AccountKey
    binding: Binding | None = None


@dataclass(slots=True, eq=False)
class _Open:
    """A question that is asked now: what may be signed for it, and how many orders still."""

    question: Question
    permits: set[Permit]
    orders: int = field(default=MOST_ORDERS)


class Signer:
    """All keys that are in use, by the name under which the network process knows them.

    `tell` reports what was refused.
    """

    def __init__(self, tell: Callable[[str], object] = lambda _: None) -> None:
        self._keys: dict[str, KnownKey] = {}
        self._paused: dict[str, asyncio.Event] = {}
        # Who permits it, in the order in which they asked.
        self._open: dict[Permit, dict[_Open, None]] = {}
        self._over: dict[Permit, float] = {}
        self._refused: deque[tuple[float, str]] = deque(maxlen=1000)
        self._told = Seldom(tell)

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Have whoever asks for its signature wait."""
        over = self._paused[name] = asyncio.Event()
        try:
            yield
        finally:
            self._paused.pop(name, None)
            over.set()

    @contextmanager
    def asking(self, question: Question) -> Iterator[None]:
        """Have signed what a question needs, while it is asked."""
        known = self._keys.get(question.account.key)
        one = _Open(question, set())
        for permit in acts_of(question, known.key.public if known is not None else {}):
            self._permit(one, permit)
        try:
            yield
        finally:
            until = asyncio.get_running_loop().time() + LATE
            for permit in one.permits:
                others = self._open[permit]
                del others[one]
                if not others:
                    del self._open[permit]
                self._over.pop(permit, None)
                self._over[permit] = until
            while len(self._over) > _MOST_LATE:
                del self._over[next(iter(self._over))]

    def _permit(self, one: _Open, permit: Permit) -> None:
        one.permits.add(permit)
        self._open.setdefault(permit, {})[one] = None

    @property
    def trouble(self) -> Reason | None:
        """That signatures were refused of late; None where all is well."""
        recent = asyncio.get_running_loop().time() - WITHIN
        refused = [what for when, what in self._refused if when > recent]
        if not refused:
            return None
        return Reason(Failed.NET_FORGES, times=len(refused), what=refused[-1])

    def enter(self, name: str, key: KnownKey) -> None:
        """Have it sign from now on what is asked for."""
        self._keys[name] = key

    def leave(self, name: str) -> None:
        """Have it sign no more."""
        self._keys.pop(name, None)

    def handlers(self) -> Handlers:
        """Return what answers the network process."""
        return {SIGN: self._sign, PUBLIC_KEY: self._public_key}

    async def _sign(self, asked: AskSignature) -> Signature:
        if (paused := self._paused.get(asked.key)) is not None:
            await paused.wait()
        request, known = read(asked), self._keys.get(asked.key)
        permit = permit_for(request) if request is not None else None
        one = self._opened(permit) if permit is not None else None
        is_theirs = known is not None and known.server == asked.server
        if one is None or request is None or known is None or not is_theirs:
            return self._refuse(permit)
        if not is_of(asked.url, known.server):
            return self._refuse(permit)
        if asked.uri and not is_of(asked.uri, known.server):
            return self._refuse(permit)
        signature = _bound(asked, known) if asked.binding_kid else _signed(asked, known)
        if not signature.signature:
            return self._refuse(permit)
        if (more := follows(one.question, request, _jws(asked, signature))) is not None:
            self._permit(one, more)
        return signature

    def _opened(self, permit: Permit) -> _Open | None:
        """Return the question that a request follows from, None for none."""
        found = self._open.get(permit, {})
        if permit.act[0] != "newOrder":
            return next(iter(found), None)
        one = next((each for each in found if each.orders), None)
        if one is not None:
            one.orders -= 1
        return one

    def _refuse(self, permit: Permit | None) -> Signature:
        now = asyncio.get_running_loop().time()
        if permit is None or self._over.get(permit, -1.0) < now:
            what = str(permit.act[0]) if permit is not None else "unknown"
            self._refused.append((now, what))
            self._told.tell(now, lambda more: Reason(Failed.NET_FORGED, what=what, more=more))
        return _REFUSED

    async def _public_key(self, asked: OfKey) -> PublicKey:
        known, permit = self._keys.get(asked.key), Permit(asked.key, "", PUBLIC)
        if known is None or permit not in self._open:
            self._refuse(permit)
            return PublicKey("")
        return PublicKey(json.dumps(known.key.public))


def _signed(asked: AskSignature, known: KnownKey) -> Signature:
    head: dict[str, object] = {"alg": known.key.alg, "url": asked.url}
    if asked.nonce:
        head["nonce"] = asked.nonce
    if asked.uri:
        head["kid"] = asked.uri
    else:
        head["jwk"] = known.key.public
    protected = b64(json.dumps(head).encode())
    return Signature(protected, known.key.sign(protected, asked.payload))


def _bound(asked: AskSignature, known: KnownKey) -> Signature:
    """Sign with the key of the external account: only our own public key (RFC 8555 §7.3.4)."""
    binding = known.binding
    ours = b64(json.dumps(known.key.public).encode())
    if binding is None or binding.kid != asked.binding_kid or asked.payload != ours:
        return _REFUSED
    head = {"alg": "HS256", "kid": binding.kid, "url": asked.url}
    protected = b64(json.dumps(head).encode())
    text = f"{protected}.{asked.payload}".encode("ascii")
    return Signature(protected, b64(hmac.new(binding.key, text, hashlib.sha256).digest()))


def _jws(asked: AskSignature, signature: Signature) -> tuple[str, str, str]:
    return signature.protected, asked.payload, signature.signature


def is_of(url: str, server: str) -> bool:
    """Whether a URL has the scheme, host and port of a CA's directory."""
    try:
        same = _origin(url) == _origin(server)
    except ValueError:
        return False
    return same and url.isascii() and url.isprintable() and " " not in url


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
