"""One CA as the network process knows it: its connections, its directory, nonces that it gave.

Nonces that are lost (`badNonce`) are asked for again up to eight times. Nothing is asked of another
host than that of the directory, nor signed for it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit

from sslmd.net.acme_messages import (
    AcmeAccount,
    AcmeChallenge,
    AcmeOrder,
    AcmeProblem,
    Authorization,
    CaAddress,
)
from sslmd.net.acme_read import (
    MOST_ENTRIES,
    ProblemError,
    b64,
    directory_in,
    good,
    joined,
    location_of,
    nonsense,
    object_of,
    origin_of,
    problem_of,
    text_of,
    unreached,
    url_in,
)
from sslmd.net.sign_messages import AskSignature, Signature
from sslmd.net.web import Reply, UnreachedError, Web

Signing = Callable[[AskSignature], Awaitable[Signature]]


class Requester(Protocol):
    """Who makes requests, see `net.web.Web`."""

    async def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Return the answer, whatever its status; raises `UnreachedError`."""

    def close(self) -> None:
        """Let go of all connections."""


# Makes one, of the roots to trust and how many requests may be under way.
WebOf = Callable[[str, int], Requester]

# How often one request is made with another nonce; nonces that are kept.
MOST_NONCES = 8
KEPT_NONCES = 100

# Seconds for which a directory counts; redirects that are followed on the way to it.
DIRECTORY_AGE = 600.0
MOST_REDIRECTS = 5

# Challenges of one name that are looked at: RFC 8555 has two, and there are four others.
MOST_CHALLENGES = 8

_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
# RFC 8555 §7.1.6. Only the fields that are used are read: CAs leave others out, or empty.
_ORDER_STATUSES = frozenset({"pending", "ready", "processing", "valid", "invalid"})
_AUTHORIZATION_STATUSES = frozenset(
    {"pending", "processing", "valid", "invalid", "deactivated", "expired", "revoked"}
)
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,500}")
_JOSE = {"Content-Type": "application/jose+json"}


class Ca:
    """One CA: its connections, its directory, nonces that it gave. `users`: who asks it now."""

    def __init__(self, server: CaAddress, sign: Signing, web: WebOf = Web) -> None:
        self._server = server
        self._sign = sign
        self._web = web(server.roots, max(1, min(server.most, 32)))
        self._directory: tuple[float, dict[str, Any]] | None = None
        self._fetching = asyncio.Lock()
        self._nonces: list[str] = []
        self.users = 0

    def close(self) -> None:
        """Let go of its connections."""
        self._web.close()

    def forget_directory(self, age: float) -> None:
        """Have it fetched again, unless it is younger than so many seconds."""
        now = asyncio.get_running_loop().time()
        if self._directory is not None and now - self._directory[0] >= age:
            self._directory = None

    async def directory(self) -> dict[str, Any]:
        """Return the directory; raises `ProblemError` for what is none."""
        async with self._fetching:
            now = asyncio.get_running_loop().time()
            if self._directory is not None and now - self._directory[0] < DIRECTORY_AGE:
                return self._directory[1]
            reply = await self._found(self._server.url)
            self._directory = now, directory_in(reply, self._server.url)
            return self._directory[1]

    async def _found(self, url: str) -> Reply:
        """Return what is there, or where that redirects to.

        RFC 8555 says nothing of it, so HTTP counts (RFC 9110 §15.4). Nothing leads away from HTTPS,
        to where nobody proves who he is.
        """
        for left in reversed(range(MOST_REDIRECTS + 1)):
            reply = await self._request("GET", url)
            location = reply.headers.get("location", "")
            if reply.status not in _REDIRECTS or not location or not left:
                break
            before, url = urlsplit(url).scheme, joined(url, location)
            if origin_of(url) is None or before not in ("http", urlsplit(url).scheme):
                there = text_of(url.partition(":")[0])[:20] or "what is no URL"
                said = f"it redirects from {before} to {there}"
                raise unreached(self._server.url, UnreachedError("system", said))
        if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            reply = replace(reply, url=self._server.url)
        return good(reply)

    def _is_ours(self, url: str) -> bool:
        """Whether a URL is the CA's: what another host names is not signed for."""
        return origin_of(url) == origin_of(self._server.url)

    def _of_others(self, url: str) -> AcmeProblem:
        """Return why nothing is asked there: the directory was redirected to that host, perhaps."""
        known = self._directory[1].values() if self._directory is not None else ()
        if url in known:
            return AcmeProblem("nonsense", self._server.url, type="foreign", detail=text_of(url))
        return AcmeProblem("nonsense", text_of(url), type="other-host")

    def location(self, reply: Reply) -> str:
        """Return the URL of what was made; raises `ProblemError` where another host is named."""
        url = location_of(reply)
        if not self._is_ours(url):
            raise nonsense(reply, "other-host", url)
        return url

    async def get(self, url: str) -> Reply:
        """Return what is there; raises `ProblemError` for anything but 2xx."""
        return good(await self._request("GET", url))

    async def post(
        self, account: AcmeAccount, url: str, body: Mapping[str, Any] | None = None
    ) -> Reply:
        """Make a request of an account (§6.2, §6.3); None asks for what is there.

        `account` without a URL is one that is being made. Raises `ProblemError`.
        """
        if not self._is_ours(url):
            raise ProblemError(self._of_others(url))
        payload = "" if body is None else b64(json.dumps(body).encode())
        for left in reversed(range(MOST_NONCES + 1)):
            signed = await self.signed(
                AskSignature(
                    server=self._server.url,
                    key=account.key,
                    url=url,
                    payload=payload,
                    nonce=await self._nonce(),
                    uri=account.uri,
                )
            )
            reply = await self._request("POST", url, json.dumps(signed).encode(), _JOSE)
            try:
                return good(reply, new_account=not account.uri)
            except ProblemError as err:
                if err.problem.type != "badNonce" or not left:
                    raise
        raise AssertionError

    async def signed(self, asked: AskSignature) -> dict[str, str]:
        """Return a JWS in its flattened form (RFC 7515 §7.2.2)."""
        answer = await self._sign(asked)
        if not answer.signature:
            raise ProblemError(AcmeProblem("nonsense", text_of(asked.url), type="not-signed"))
        return {
            "protected": answer.protected,
            "payload": asked.payload,
            "signature": answer.signature,
        }

    async def _nonce(self) -> str:
        if self._nonces:
            return self._nonces.pop()
        url = url_in(await self.directory(), "newNonce")
        reply = good(await self._request("HEAD", url))
        if not self._nonces:
            raise nonsense(reply, "no-nonce")
        return self._nonces.pop()

    async def _request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        try:
            reply = await self._web.request(method, url, body, headers)
        except UnreachedError as err:
            raise unreached(url, err) from None
        nonce = reply.headers.get("replay-nonce", "")
        if _NONCE.fullmatch(nonce) and len(self._nonces) < KEPT_NONCES:
            self._nonces.append(nonce)
        return reply

    def order(self, reply: Reply, url: str) -> AcmeOrder:
        """Read an order (§7.1.3)."""

        def read(document: dict[str, Any]) -> AcmeOrder:
            status, finalize = document["status"], document.get("finalize") or ""
            urls = document.get("authorizations") or []
            names = [one["value"] for one in document.get("identifiers") or ()]
            if status not in _ORDER_STATUSES or not urls:
                raise nonsense(reply, "not-acme")
            if not all(map(self._is_ours, (url, finalize, *urls))):
                raise nonsense(reply, "other-host")
            if len(urls) > MOST_ENTRIES:
                raise nonsense(reply, "too-many-authorizations")
            error = document.get("error")
            return AcmeOrder(
                url=url,
                status=status,
                names=tuple(map(text_of, names[:MOST_ENTRIES])),
                authorizations=tuple(urls),
                finalize=finalize,
                certificate=url_in(document, "certificate"),
                problem=problem_of(reply, error) if isinstance(error, dict) else None,
                replaces=text_of(document.get("replaces")),
                retry_after=reply.headers.get("retry-after", "")[:100],
                profile=text_of(document.get("profile")),
            )

        return object_of(reply, read)

    async def authorization(self, account: AcmeAccount, url: str) -> Authorization:
        """Ask for an authorization."""
        return self.authorization_in(await self.post(account, url), url)

    def authorization_in(self, reply: Reply, url: str) -> Authorization:
        """Read an authorization (§7.1.4)."""

        def read(document: dict[str, Any]) -> Authorization:
            status, identifier = document["status"], document.get("identifier") or {}
            if status not in _AUTHORIZATION_STATUSES:
                raise nonsense(reply, "not-acme")
            offered = [one for one in document.get("challenges") or () if isinstance(one, dict)]
            keys = ("type", "url", "token", "status")
            errors = [one["error"] for one in offered if isinstance(one.get("error"), dict)]
            return Authorization(
                url=url,
                name=text_of(identifier.get("value")),
                status=status,
                wildcard=document.get("wildcard") is True,
                challenges=tuple(
                    AcmeChallenge(*(text_of(one.get(key)) for key in keys))
                    for one in offered[:MOST_CHALLENGES]
                ),
                problem=problem_of(reply, errors[0]) if errors else None,
            )

        return object_of(reply, read)
