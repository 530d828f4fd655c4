"""The steps of ACME (RFC 8555), many orders at a time, each step repeatable.

The daemon leads: it notes an order's URL, publishes, proves, and says go. Here requests are made,
answers read, nonces kept, and what is to be waited for is waited for, as long as the daemon says
and no longer. Account keys stay with the daemon, which is asked for each signature (§6.2).

Objects are those of certbot's `acme` library; what it does not do is done here: nonces that are
lost (`badNonce`) are asked for again up to eight times, problem documents are passed on whole,
Retry-After counts for every poll, and `replaces` (RFC 9773 §5) is sent.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from acme import messages as acme
from josepy.json_util import field

from sslmd.net import messages
from sslmd.net.messages import (
    Account,
    AcmeAccount,
    AcmeDirectory,
    AcmeProblem,
    AcmeServer,
    Authorization,
    Chains,
    Challenge,
    Order,
    RenewalInfo,
    Signature,
    Subproblem,
)
from sslmd.net.web import Reply, UnreachedError, Web

T = TypeVar("T")

Sign = Callable[[messages.Sign], Awaitable[Signature]]
PublicKey = Callable[[str], Awaitable[str]]

# How often one request is made with another nonce.
MOST_NONCES = 8
KEPT_NONCES = 100

# Seconds for which a directory counts.
DIRECTORY_AGE = 600.0

# Seconds between polls where the CA names none: at first, the factor, at most; and what its
# Retry-After is held to.
FIRST_POLL, SLOWER, LONGEST_POLL = 0.3, 1.5, 10.0
MOST_RETRY_AFTER = 60.0

# CAs that are known at one time: each has its connections.
MOST_CAS = 32

# What others say, in characters; entries of a list.
MOST_TEXT = 1000
MOST_ENTRIES = 100
MOST_URL = 2000

# Other chains that are fetched.
MOST_CHAINS = 5

_NEEDED = ("newNonce", "newAccount", "newOrder")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,500}")
_JOSE = {"Content-Type": "application/jose+json"}
_ERROR = "urn:ietf:params:acme:error:"
# What is judged, and by whom it is not the CA's turn any more.
_OPEN = frozenset({"pending", "processing"})


class ProblemError(Exception):
    """A step ends here."""

    def __init__(self, problem: AcmeProblem) -> None:
        super().__init__(problem.type)
        self.problem = problem


class NewOrder(acme.NewOrder):
    """With `replaces` (RFC 9773 §5), which the library does not have."""

    replaces: str | None = field("replaces", omitempty=True)


class Engine:
    """All CAs. `sign` and `public_key` ask the daemon."""

    def __init__(self, sign: Sign, public_key: PublicKey) -> None:
        self._sign = sign
        self._public_key = public_key
        self._cas: dict[AcmeServer, _Ca] = {}

    def handlers(self) -> Mapping[Any, Callable[[Any], Awaitable[Any]]]:
        """Return what does each operation."""
        return {
            messages.DIRECTORY: self._told(self._directory),
            messages.REGISTER: self._told(self._register),
            messages.ACCOUNT: self._told(self._account),
            messages.KEY_CHANGE: self._told(self._change_key),
            messages.NEW_ORDER: self._told(self._new_order),
            messages.ORDER: self._told(self._order),
            messages.AUTHORIZATIONS: self._told(self._authorizations),
            messages.OFFER: self._told(self._offer),
            messages.FINALIZE: self._told(self._finalize),
            messages.CERTIFICATE: self._told(self._certificate),
            messages.RENEWAL_INFO: self._told(self._renewal_info),
        }

    @staticmethod
    def _told(step: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T | AcmeProblem]]:
        """Return a step whose problems are answers."""

        async def done(asked: Any) -> T | AcmeProblem:
            try:
                return await step(asked)
            except ProblemError as err:
                return err.problem

        return done

    def _ca(self, server: AcmeServer) -> _Ca:
        ca = self._cas.pop(server, None)
        if ca is None:
            try:
                ca = _Ca(server, self._sign)
            except UnreachedError as err:
                raise _unreached(server.url, err) from None
            if len(self._cas) >= MOST_CAS:
                self._cas.pop(next(iter(self._cas))).close()
        self._cas[server] = ca  # used last
        return ca

    async def _directory(self, asked: messages.OfServer) -> AcmeDirectory:
        ca = self._ca(asked.server)
        ca.forget_directory()
        found = await ca.directory()
        meta = found.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        profiles = meta.get("profiles")
        return AcmeDirectory(
            new_order=_url(found, "newOrder"),
            renewal_info=_url(found, "renewalInfo"),
            key_change=_url(found, "keyChange"),
            terms=_url(meta, "termsOfService"),
            caa_identities=_texts(meta.get("caaIdentities")),
            profiles=_texts(list(profiles)) if isinstance(profiles, dict) else (),
            wants_binding=meta.get("externalAccountRequired") is True,
        )

    # --- accounts (§7.3) ---

    async def _register(self, asked: messages.Register) -> Account:
        ca = self._ca(asked.server)
        directory = await ca.directory()
        url = _url(directory, "newAccount")
        fields: dict[str, Any] = {"terms_of_service_agreed": True, "contact": asked.contact}
        if asked.only_existing:
            fields = {"only_return_existing": True}
        elif asked.binding_kid:
            key = await self._public_key(asked.account.key)
            fields["external_account_binding"] = await ca.signed(
                messages.Sign(
                    server=asked.server.url,
                    key=asked.account.key,
                    url=url,
                    payload=_b64(key.encode()),
                    binding_kid=asked.binding_kid,
                )
            )
        body = acme.NewRegistration(**fields).to_json()
        reply = await ca.post(AcmeAccount(asked.account.key), url, body)
        uri = _location(reply)
        return _account(reply, uri)

    async def _account(self, asked: messages.ChangeAccount) -> Account:
        change: dict[str, Any] = {}
        if asked.contact is not None:
            change["contact"] = list(asked.contact)
        if asked.deactivate:
            change["status"] = "deactivated"
        ca = self._ca(asked.server)
        reply = await ca.post(asked.account, asked.account.uri, change or None)
        return _account(reply, asked.account.uri)

    async def _change_key(self, asked: messages.ChangeKey) -> Account:
        ca = self._ca(asked.server)
        url = _url(await ca.directory(), "keyChange")
        if not url:
            raise ProblemError(AcmeProblem("nonsense", asked.server.url, type="no-key-change"))
        old = json.loads(await self._public_key(asked.account.key))
        inner = await ca.signed(
            messages.Sign(
                server=asked.server.url,
                key=asked.new_key,
                url=url,
                payload=_b64(json.dumps({"account": asked.account.uri, "oldKey": old}).encode()),
            )
        )
        await ca.post(asked.account, url, inner)
        return Account(asked.account.uri, "valid")

    # --- orders (§7.4) ---

    async def _new_order(self, asked: messages.NewOrder) -> Order:
        ca = self._ca(asked.server)
        directory = await ca.directory()
        order = NewOrder(
            identifiers=[_identifier(name) for name in asked.names],
            profile=asked.profile or None,
            replaces=(asked.replaces or None) if _url(directory, "renewalInfo") else None,
        )
        reply = await ca.post(asked.account, _url(directory, "newOrder"), order.to_json())
        return ca.order(reply, _location(reply))

    async def _order(self, asked: messages.OfOrder) -> Order:
        ca = self._ca(asked.server)
        return ca.order(await ca.post(asked.account, asked.url), asked.url)

    async def _authorizations(self, asked: messages.OfAuthorizations) -> tuple[Authorization, ...]:
        ca = self._ca(asked.server)
        return tuple([await ca.authorization(asked.account, url) for url in asked.urls])

    async def _offer(self, asked: messages.Offer) -> tuple[Authorization, ...]:
        ca = self._ca(asked.server)
        end = asyncio.get_running_loop().time() + asked.seconds
        for url in asked.challenges:
            await ca.post(asked.account, url, {})
        waits = {url: _Poll() for url in asked.authorizations}
        found: dict[str, Authorization] = {}
        while waits:
            for url, poll in list(waits.items()):
                await poll.sleep(end, url)
                try:
                    reply = await ca.post(asked.account, url)
                except ProblemError as err:
                    poll.failed(err, end)
                    continue
                found[url] = one = ca.authorization_in(reply, url)
                poll.next(reply)
                if one.status not in _OPEN:
                    del waits[url]
        return tuple(found[url] for url in asked.authorizations)

    async def _finalize(self, asked: messages.Finalize) -> Order:
        ca = self._ca(asked.server)
        end = asyncio.get_running_loop().time() + asked.seconds
        reply = await ca.post(asked.account, asked.order)
        order = ca.order(reply, asked.order)
        poll = _Poll()
        if order.status == "ready":
            try:
                reply = await ca.post(asked.account, order.finalize, {"csr": _b64(asked.csr)})
                order = ca.order(reply, asked.order)
                poll.next(reply)
            except ProblemError as err:
                # Whether it came there is seen by asking; what the CA refused stays refused.
                if err.problem.kind == "acme":
                    raise
                poll.failed(err, end)
                order = ca.order(await ca.post(asked.account, asked.order), asked.order)
        while order.status in ("processing", "ready"):
            try:
                await poll.sleep(end, asked.order)
            except ProblemError:
                return order
            try:
                reply = await ca.post(asked.account, asked.order)
            except ProblemError as err:
                poll.failed(err, end)
                continue
            order = ca.order(reply, asked.order)
            if order.status == "ready":  # it did not come there
                reply = await ca.post(asked.account, order.finalize, {"csr": _b64(asked.csr)})
                order = ca.order(reply, asked.order)
            poll.next(reply)
        return order

    async def _certificate(self, asked: messages.Fetch) -> Chains:
        ca = self._ca(asked.server)
        reply = await ca.post(asked.account, asked.url)
        chains = [_pem(reply)]
        if asked.alternates:
            others = _alternates(reply)[:MOST_CHAINS]
            chains += [_pem(await ca.post(asked.account, url)) for url in others]
        return Chains(tuple(chains))

    # --- renewal information (RFC 9773) ---

    async def _renewal_info(self, asked: messages.OfCertificate) -> RenewalInfo:
        ca = self._ca(asked.server)
        where = _url(await ca.directory(), "renewalInfo")
        if not where:
            raise ProblemError(AcmeProblem("nonsense", asked.server.url, type="no-renewal-info"))
        reply = await ca.get(f"{where.rstrip('/')}/{asked.ident}")
        found = _json(reply)
        window = found.get("suggestedWindow")
        try:
            assert isinstance(window, dict)
            start, end = (_time(window[name]) for name in ("start", "end"))
        except (AssertionError, KeyError, ValueError, TypeError, OverflowError):
            raise _nonsense(reply, "no-window") from None
        if end <= start:
            raise _nonsense(reply, "window-ends-before-it-starts")
        retry_after = reply.headers.get("retry-after", "")[:100]
        return RenewalInfo(start, end, _url(found, "explanationURL"), retry_after)


class _Poll:
    """When to look again, as long as nobody says: RFC 8555 §7.5.1, §8.2."""

    def __init__(self) -> None:
        self._pause = FIRST_POLL
        self._at = asyncio.get_running_loop().time()

    async def sleep(self, end: float, url: str) -> None:
        """Wait; raises `ProblemError` (late) where that would be too long."""
        now = asyncio.get_running_loop().time()
        if max(self._at, now) >= end:
            raise ProblemError(AcmeProblem("late", url))
        await asyncio.sleep(max(0.0, self._at - now))

    def next(self, reply: Reply) -> None:
        """Take what the CA says about it."""
        said = seconds_of(reply.headers.get("retry-after", ""))
        pause, self._pause = self._pause, min(self._pause * SLOWER, LONGEST_POLL)
        if said is not None:
            pause = min(max(said, FIRST_POLL), MOST_RETRY_AFTER)
        self._at = asyncio.get_running_loop().time() + pause

    def failed(self, err: ProblemError, end: float) -> None:
        """Go on after an answer that did not come, or was an error of the CA; else raise it."""
        problem = err.problem
        again = problem.kind == "unreachable" or problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        again = again or problem.status == HTTPStatus.TOO_MANY_REQUESTS
        again = again or problem.type == "badNonce"
        loop = asyncio.get_running_loop()
        said = seconds_of(problem.retry_after)
        self._pause = min(max(self._pause * SLOWER, 1.0), LONGEST_POLL)
        self._at = loop.time() + max(said or 0.0, self._pause)
        if not again or self._at >= end:
            raise err


class _Ca:
    """One CA: its connections, its directory, nonces that it gave."""

    def __init__(self, server: AcmeServer, sign: Sign) -> None:
        self._server = server
        self._sign = sign
        self._web = Web(server.roots, max(1, min(server.most, 32)))
        self._directory: tuple[float, dict[str, Any]] | None = None
        self._fetching = asyncio.Lock()
        self._nonces: list[str] = []

    def close(self) -> None:
        self._web.close()

    def forget_directory(self) -> None:
        """Have it fetched again."""
        self._directory = None

    async def directory(self) -> dict[str, Any]:
        """Return the directory; raises `ProblemError` for what is none."""
        async with self._fetching:
            now = asyncio.get_running_loop().time()
            if self._directory is not None and now - self._directory[0] < DIRECTORY_AGE:
                return self._directory[1]
            reply = await self.get(self._server.url)
            found = _json(reply, "no-directory")
            for name in _NEEDED:
                if not _url(found, name):
                    raise _nonsense(reply, "no-directory")
            for name in (*_NEEDED, "keyChange", "renewalInfo", "revokeCert"):
                if found.get(name) is not None and not self._is_ours(_url(found, name)):
                    raise _nonsense(reply, "other-host", str(found[name]))
            self._directory = now, found
            return found

    def _is_ours(self, url: str) -> bool:
        """Whether a URL is the CA's: what another host names is not signed for."""
        return _origin(url) == _origin(self._server.url)

    async def get(self, url: str) -> Reply:
        """Return what is there; raises `ProblemError` for anything but 2xx."""
        return _good(await self._request("GET", url))

    async def post(
        self, account: AcmeAccount, url: str, body: Mapping[str, Any] | None = None
    ) -> Reply:
        """Make a request of an account (§6.2, §6.3); None asks for what is there.

        `account` without a URL is one that is being made. Raises `ProblemError`.
        """
        if not self._is_ours(url):
            raise ProblemError(AcmeProblem("nonsense", _text(url), type="other-host"))
        payload = "" if body is None else _b64(json.dumps(body).encode())
        for left in reversed(range(MOST_NONCES + 1)):
            signed = await self.signed(
                messages.Sign(
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
                return _good(reply, new_account=not account.uri)
            except ProblemError as err:
                if err.problem.type != "badNonce" or not left:
                    raise
        raise AssertionError

    async def signed(self, asked: messages.Sign) -> dict[str, str]:
        """Return a JWS in its flattened form (RFC 7515 §7.2.2)."""
        answer = await self._sign(asked)
        if not answer.signature:
            raise ProblemError(AcmeProblem("nonsense", _text(asked.url), type="not-signed"))
        return {
            "protected": answer.protected,
            "payload": asked.payload,
            "signature": answer.signature,
        }

    async def _nonce(self) -> str:
        if self._nonces:
            return self._nonces.pop()
        url = _url(await self.directory(), "newNonce")
        reply = _good(await self._request("HEAD", url))
        if not self._nonces:
            raise _nonsense(reply, "no-nonce")
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
            raise _unreached(url, err) from None
        nonce = reply.headers.get("replay-nonce", "")
        if _NONCE.fullmatch(nonce) and len(self._nonces) < KEPT_NONCES:
            self._nonces.append(nonce)
        return reply

    def order(self, reply: Reply, url: str) -> Order:
        """Read an order (§7.1.3)."""
        found = _read(reply, acme.Order.from_json)
        urls = list(found.authorizations or ())
        if not urls or not all(map(self._is_ours, (url, found.finalize or "", *urls))):
            raise _nonsense(reply, "other-host")
        if len(urls) > MOST_ENTRIES:
            raise _nonsense(reply, "too-many-authorizations")
        document = _json(reply)
        error = document.get("error")
        return Order(
            url=url,
            status=found.status.name,
            names=tuple(_text(one.value) for one in found.identifiers or ()),
            authorizations=tuple(urls),
            finalize=found.finalize,
            certificate=found.certificate or "",
            problem=_problem(reply, error) if isinstance(error, dict) else None,
            replaces=_text(document.get("replaces")),
            retry_after=reply.headers.get("retry-after", "")[:100],
        )

    async def authorization(self, account: AcmeAccount, url: str) -> Authorization:
        return self.authorization_in(await self.post(account, url), url)

    def authorization_in(self, reply: Reply, url: str) -> Authorization:
        """Read an authorization (§7.1.4)."""
        found = _read(reply, acme.Authorization.from_json)
        document = _json(reply)
        offered = [one for one in document.get("challenges") or () if isinstance(one, dict)]
        challenges = tuple(
            Challenge(*(_text(one.get(key)) for key in ("type", "url", "token", "status")))
            for one in offered[:MOST_ENTRIES]
        )
        errors = [one["error"] for one in offered if isinstance(one.get("error"), dict)]
        return Authorization(
            url=url,
            name=_text(found.identifier.value if found.identifier else ""),
            status=found.status.name if found.status else "",
            wildcard=document.get("wildcard") is True,
            challenges=challenges,
            problem=_problem(reply, errors[0]) if errors else None,
        )


# --- reading ----------------------------------------------------------------------------------


def _good(reply: Reply, *, new_account: bool = False) -> Reply:
    """Return an answer of 2xx; raises `ProblemError` for others."""
    if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return reply
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and (document.get("type") or document.get("detail")):
        raise ProblemError(_problem(reply, document, new_account=new_account))
    raise ProblemError(
        AcmeProblem(
            "http",
            _text(reply.url),
            reply.status,
            retry_after=reply.headers.get("retry-after", "")[:100],
            new_account=new_account,
        )
    )


def _problem(
    reply: Reply, document: Mapping[str, Any], *, new_account: bool = False
) -> AcmeProblem:
    """Return a problem document (RFC 8555 §6.7)."""
    parts = document.get("subproblems")
    parts = [one for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []
    terms = re.findall(r'<([^<>]*)>\s*;\s*rel="terms-of-service"', reply.headers.get("link", ""))
    return AcmeProblem(
        kind="acme",
        url=_text(reply.url),
        status=reply.status,
        type=_code(document),
        title=_text(document.get("title")),
        detail=_text(document.get("detail")),
        instance=_text(document.get("instance")),
        terms=tuple(map(_text, terms[:2])),
        subproblems=tuple(
            Subproblem(_code(one), _text(one.get("detail")), _name_in(one))
            for one in parts[:MOST_ENTRIES]
        ),
        retry_after=reply.headers.get("retry-after", "")[:100],
        new_account=new_account,
    )


def _code(document: Mapping[str, Any]) -> str:
    return _text(document.get("type")).removeprefix(_ERROR)


def _name_in(document: Mapping[str, Any]) -> str:
    identifier = document.get("identifier")
    return _text(identifier.get("value")) if isinstance(identifier, dict) else ""


def _unreached(url: str, err: UnreachedError) -> ProblemError:
    return ProblemError(
        AcmeProblem(
            kind="unreachable",
            url=_text(url),
            type=err.code,
            detail=_text(err.said),
            unknown_root=err.unknown_root,
        )
    )


def _nonsense(reply: Reply, what: str, detail: str = "") -> ProblemError:
    problem = AcmeProblem("nonsense", _text(reply.url), reply.status, what, detail=_text(detail))
    return ProblemError(problem)


def _json(reply: Reply, what: str = "not-json") -> dict[str, Any]:
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _nonsense(reply, what)
    return found


def _read(reply: Reply, read: Callable[[Any], T]) -> T:
    """Return an object of the library."""
    try:
        return read(_json(reply))
    except ProblemError:
        raise
    except Exception:  # whatever it says of whatever was sent
        raise _nonsense(reply, "not-acme") from None


def _account(reply: Reply, uri: str) -> Account:
    found = _json(reply)
    contact = found.get("contact")
    texts = _texts(contact) if isinstance(contact, list) else ()
    return Account(uri, _text(found.get("status")) or "valid", texts)


def _location(reply: Reply) -> str:
    url = urljoin(reply.url, reply.headers.get("location", ""))
    if not reply.headers.get("location") or not _is_url(url):
        raise _nonsense(reply, "no-location")
    return url


def _alternates(reply: Reply) -> list[str]:
    """Return where other chains are (§7.4.2), of the CA's own places alone."""
    found = re.findall(r'<([^<>]*)>\s*;\s*rel="?alternate"?', reply.headers.get("link", ""))
    urls = [urljoin(reply.url, one) for one in found]
    return [url for url in urls if _origin(url) == _origin(reply.url)]


def _pem(reply: Reply) -> str:
    try:
        text = reply.body.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise _nonsense(reply, "no-certificate")
    return text


def _identifier(name: str) -> acme.Identifier:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return acme.Identifier(typ=acme.IDENTIFIER_FQDN, value=name)
    return acme.Identifier(typ=acme.IDENTIFIER_IP, value=name)


def _url(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) and _is_url(value) else ""


def _is_url(value: str) -> bool:
    if not value.isascii() or not value.isprintable() or " " in value or len(value) > MOST_URL:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port (RFC 6454 §4), None for what is no URL."""
    if not _is_url(url):
        return None
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    found = (one for one in value if isinstance(one, str) and one and one.isprintable())
    return tuple(one for one in list(found)[:MOST_ENTRIES] if len(one) <= MOST_TEXT)


def _text(value: Any) -> str:
    """Return words of others for a message: bounded, one line, nothing that moves a cursor."""
    if not isinstance(value, str):
        return ""
    text = value[:MOST_TEXT]
    return "".join(char if char.isprintable() else " " for char in text)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _time(value: Any) -> float:
    """Return seconds since 1970 of a time of RFC 3339."""
    when = datetime.fromisoformat(value)
    if when.tzinfo is None:
        raise ValueError
    return when.timestamp()


def seconds_of(value: str) -> float | None:
    """Return the seconds that a Retry-After names (RFC 9110 §10.2.3), None without one."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(min(int(value[:9]), 10**7))
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
