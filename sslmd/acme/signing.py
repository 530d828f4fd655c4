"""Signatures for the network process: it asks, and never has a key (I13).

An account's key signs for its own CA alone: the header is made here, its URL has to be of that CA's
origin, and what is signed is a request of ACME by its shape, and nothing else: for orders. Who has
taken over the network process can change no account by it, nor revoke a certificate: that is signed
only by a key that was entered for it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from sslmd.acme.account_key import AccountKey, b64
from sslmd.net.link import Handlers
from sslmd.net.sign_messages import PUBLIC_KEY, SIGN, AskSignature, OfKey, PublicKey, Signature

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_MOST_PAYLOAD = 1 << 20
_PORTS = {"https": 443, "http": 80}

# What a request may have in it: with the account's URL an order (RFC 8555 §7.4, RFC 9773 §5), or
# nothing, and with its key in place of it (§6.2) a new account (§7.3).
_ORDERING = frozenset({"identifiers", "notBefore", "notAfter", "profile", "replaces", "csr"})
_REGISTERING = frozenset(
    {"termsOfServiceAgreed", "contact", "onlyReturnExisting", "externalAccountBinding"}
)

_REFUSED = Signature()


@dataclass(frozen=True, slots=True)
class Binding:
    """The key of an external account (RFC 8555 §7.3.4)."""

    kid: str
    key: bytes


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key by which the network process may have signed. `server`: the CA's directory.

    `may_change`: the account as well (RFC 8555 §7.3.2, §7.3.5, §7.3.6), while that is asked for.
    """

    server: str
    key: AccountKey
    binding: Binding | None = None
    may_change: bool = False


class Signer:
    """All keys that are in use, by the name under which the network process knows them."""

    def __init__(self) -> None:
        self._keys: dict[str, KnownKey] = {}
        self._paused: dict[str, asyncio.Event] = {}
        self._requests: Counter[tuple[str, str]] = Counter()

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
    def finalizing(self, name: str, csr: bytes) -> Iterator[None]:
        """Have a key sign for this certificate request, and for no other."""
        request = name, b64(csr)
        self._requests[request] += 1
        try:
            yield
        finally:
            self._requests -= Counter([request])

    def enter(self, name: str, key: KnownKey) -> None:
        """Have it sign from now on."""
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
        known = self._keys.get(asked.key)
        if known is None or known.server != asked.server or not _is_of(asked.url, known.server):
            return _REFUSED
        if len(asked.payload) > _MOST_PAYLOAD or not _BASE64URL.fullmatch(asked.payload):
            return _REFUSED
        if asked.binding_kid:
            return _bound(asked, known)
        if asked.uri and not _is_of(asked.uri, known.server):
            return _REFUSED
        if not (known.may_change or self._is_usual(asked)):
            return _REFUSED
        head: dict[str, object] = {"alg": known.key.alg, "url": asked.url}
        if asked.nonce:
            head["nonce"] = asked.nonce
        if asked.uri:
            head["kid"] = asked.uri
        else:
            head["jwk"] = known.key.public
        protected = b64(json.dumps(head).encode())
        return Signature(protected, known.key.sign(protected, asked.payload))

    def _is_usual(self, asked: AskSignature) -> bool:
        """Whether it is for an order of ours, or a new account, and changes none."""
        if not asked.payload:
            return True
        try:
            text = base64.urlsafe_b64decode(asked.payload + "=" * (-len(asked.payload) % 4))
            found = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            return False
        if not isinstance(found, dict):
            return False
        if "csr" in found:
            known = isinstance(found["csr"], str) and (asked.key, found["csr"]) in self._requests
            return known and len(found) == 1
        return found.keys() <= (_ORDERING if asked.uri else _REGISTERING)

    async def _public_key(self, asked: OfKey) -> PublicKey:
        known = self._keys.get(asked.key)
        return PublicKey(json.dumps(known.key.public) if known is not None else "")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _bound(asked: AskSignature, known: KnownKey) -> Signature:
    """AskSignature with the key of the external account, and only our own public key."""
    binding = known.binding
    ours = b64(json.dumps(known.key.public).encode())
    if binding is None or binding.kid != asked.binding_kid or asked.payload != ours:
        return _REFUSED
    head = {"alg": "HS256", "kid": binding.kid, "url": asked.url}
    protected = b64(json.dumps(head).encode())
    text = f"{protected}.{asked.payload}".encode("ascii")
    return Signature(protected, b64(hmac.new(binding.key, text, hashlib.sha256).digest()))


def _is_of(url: str, server: str) -> bool:
    """Whether a URL has the scheme, host and port of a CA's directory."""
    try:
        same = _origin(url) == _origin(server)
    except ValueError:
        return False
    return same and url.isascii() and url.isprintable() and " " not in url


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
