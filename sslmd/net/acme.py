"""The steps of ACME (RFC 8555), many orders at a time, each step repeatable.

The daemon leads: it notes an order's URL, publishes, proves, and says go. Here requests are made,
answers read, and what is to be waited for is waited for, as long as the daemon says and no longer.
Account keys stay with the daemon, which is asked for each signature (§6.2).

Objects are those of certbot's `acme` library; what it does not do is done here: problem documents
are passed on whole, Retry-After counts for every poll, and `replaces` (RFC 9773 §5) is sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar

from acme import messages as acme
from josepy.json_util import field

from sslmd.net import acme_messages as messages
from sslmd.net.acme_ca import Ca, Signing
from sslmd.net.acme_messages import (
    Account,
    AcmeAccount,
    AcmeDirectory,
    AcmeOrder,
    AcmeProblem,
    Authorization,
    CaAddress,
    Chains,
    RenewalInfo,
)
from sslmd.net.acme_read import (
    ProblemError,
    account_of,
    alternates_of,
    b64,
    directory_of,
    identifier_of,
    json_of,
    nonsense,
    pem_of,
    seconds_of,
    time_of,
    unreached,
    url_in,
)
from sslmd.net.web import Reply, UnreachedError

T = TypeVar("T")

PublicKey = Callable[[str], Awaitable[str]]

# Seconds between polls where the CA names none: at first, the factor, at most; and what its
# Retry-After is held to.
FIRST_POLL, SLOWER, LONGEST_POLL = 0.3, 1.5, 10.0
MOST_RETRY_AFTER = 60.0

# Seconds for which a CA that fails is asked on: later it is the daemon that comes again.
PATIENCE = 20.0

# CAs that are known at one time: each has its connections.
MOST_CAS = 32

# Other chains that are fetched.
MOST_CHAINS = 5

# While the CA has to judge.
_OPEN = frozenset({"pending", "processing"})


class OrderBody(acme.NewOrder):
    """With `replaces` (RFC 9773 §5), which the library does not have."""

    replaces: str | None = field("replaces", omitempty=True)


class AcmeSteps:
    """All CAs. `sign` and `public_key` ask the daemon."""

    def __init__(self, sign: Signing, public_key: PublicKey) -> None:
        self._sign = sign
        self._public_key = public_key
        self._cas: dict[CaAddress, Ca] = {}

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

    def close(self) -> None:
        """Let go of all connections."""
        for ca in self._cas.values():
            ca.close()

    @staticmethod
    def _told(step: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T | AcmeProblem]]:
        """Return a step whose problems are answers."""

        async def done(asked: Any) -> T | AcmeProblem:
            try:
                return await step(asked)
            except ProblemError as err:
                return err.problem

        return done

    def _ca(self, server: CaAddress) -> Ca:
        ca = self._cas.pop(server, None)
        if ca is None:
            try:
                ca = Ca(server, self._sign)
            except UnreachedError as err:
                raise unreached(server.url, err) from None
            if len(self._cas) >= MOST_CAS:
                self._cas.pop(next(iter(self._cas))).close()
        self._cas[server] = ca  # used last
        return ca

    async def _directory(self, asked: messages.OfServer) -> AcmeDirectory:
        ca = self._ca(asked.server)
        ca.forget_directory()
        try:
            async with asyncio.timeout(asked.seconds):
                found = await ca.directory()
        except TimeoutError:
            err = UnreachedError("no-answer", f"{asked.seconds:g}")
            raise unreached(asked.server.url, err) from None
        return directory_of(found)

    # --- accounts (§7.3) ---

    async def _register(self, asked: messages.AskAccount) -> Account:
        ca = self._ca(asked.server)
        directory = await ca.directory()
        url = url_in(directory, "newAccount")
        fields: dict[str, Any] = {"terms_of_service_agreed": True, "contact": asked.contact}
        if asked.only_existing:
            fields = {"only_return_existing": True}
        elif asked.binding_kid:
            key = await self._key(asked.account)
            fields["external_account_binding"] = await ca.signed(
                messages.AskSignature(
                    server=asked.server.url,
                    key=asked.account.key,
                    url=url,
                    payload=b64(key.encode()),
                    binding_kid=asked.binding_kid,
                )
            )
        body = acme.NewRegistration(**fields).to_json()
        reply = await ca.post(AcmeAccount(asked.account.key), url, body)
        return account_of(reply, ca.location(reply))

    async def _account(self, asked: messages.ChangeAccount) -> Account:
        change: dict[str, Any] = {}
        if asked.contact is not None:
            change["contact"] = list(asked.contact)
        if asked.deactivate:
            change["status"] = "deactivated"
        ca = self._ca(asked.server)
        reply = await ca.post(asked.account, asked.account.uri, change or None)
        return account_of(reply, asked.account.uri)

    async def _change_key(self, asked: messages.ChangeKey) -> Account:
        ca = self._ca(asked.server)
        url = url_in(await ca.directory(), "keyChange")
        if not url:
            raise ProblemError(AcmeProblem("nonsense", asked.server.url, type="no-key-change"))
        old = json.loads(await self._key(asked.account))
        inner = await ca.signed(
            messages.AskSignature(
                server=asked.server.url,
                key=asked.new_key,
                url=url,
                payload=b64(json.dumps({"account": asked.account.uri, "oldKey": old}).encode()),
            )
        )
        await ca.post(asked.account, url, inner)
        return Account(asked.account.uri, "valid")

    async def _key(self, account: AcmeAccount) -> str:
        """Return an account's public key, as JSON."""
        if not (key := await self._public_key(account.key)):
            raise ProblemError(AcmeProblem("nonsense", type="not-signed"))
        return key

    # --- orders (§7.4) ---

    async def _new_order(self, asked: messages.AskOrder) -> AcmeOrder:
        ca = self._ca(asked.server)
        directory = await ca.directory()
        order = OrderBody(
            identifiers=[identifier_of(name) for name in asked.names],
            profile=asked.profile or None,
            replaces=asked.replaces or None,
        )
        reply = await ca.post(asked.account, url_in(directory, "newOrder"), order.to_json())
        return ca.order(reply, ca.location(reply))

    async def _order(self, asked: messages.OfOrder) -> AcmeOrder:
        ca = self._ca(asked.server)
        return ca.order(await ca.post(asked.account, asked.url), asked.url)

    async def _authorizations(self, asked: messages.OfAuthorizations) -> tuple[Authorization, ...]:
        ca = self._ca(asked.server)
        return tuple([await ca.authorization(asked.account, url) for url in asked.urls])

    async def _offer(self, asked: messages.Offer) -> tuple[Authorization, ...]:
        ca = self._ca(asked.server)
        end = asyncio.get_running_loop().time() + asked.seconds
        for url in asked.challenges:
            await self._offered(ca, asked.account, url, end)
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

    async def _offered(self, ca: Ca, account: AcmeAccount, url: str, end: float) -> None:
        """Say that a challenge is ready, until it is certain that it came there."""
        poll = _Poll()
        while True:
            await poll.sleep(end, url)
            try:
                await ca.post(account, url, {})
            except ProblemError as err:
                # Said before, which a CA may refuse: its authorization is decided, or nearly so.
                if err.problem.type == "malformed":
                    found = json_of(await ca.post(account, url))
                    if found.get("status") != "pending":
                        return
                poll.failed(err, end)
            else:
                return

    async def _finalize(self, asked: messages.Finalize) -> AcmeOrder:
        ca = self._ca(asked.server)
        end = asyncio.get_running_loop().time() + asked.seconds
        reply = await ca.post(asked.account, asked.order)
        order = ca.order(reply, asked.order)
        poll = _Poll()
        if order.status == "ready":
            try:
                reply = await ca.post(asked.account, order.finalize, {"csr": b64(asked.csr)})
                order = ca.order(reply, asked.order)
                poll.next(reply)
            except ProblemError as err:
                # Whether it came there is seen by asking; what the CA refused stays refused.
                if err.problem.kind == "acme":
                    raise
                poll.failed(err, end)
                order = ca.order(await ca.post(asked.account, asked.order), asked.order)
        # An order may lag behind its authorizations.
        while order.status in ("pending", "processing", "ready"):
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
            if order.status == "ready":  # it did not come there, or is so only now
                reply = await ca.post(asked.account, order.finalize, {"csr": b64(asked.csr)})
                order = ca.order(reply, asked.order)
            poll.next(reply)
        return order

    async def _certificate(self, asked: messages.Fetch) -> Chains:
        ca = self._ca(asked.server)
        reply = await ca.post(asked.account, asked.url)
        chains = [pem_of(reply)]
        if asked.alternates:
            others = alternates_of(reply)[:MOST_CHAINS]
            for url in others:
                with suppress(ProblemError):  # a wish; the certificate itself is there
                    chains.append(pem_of(await ca.post(asked.account, url)))
        return Chains(tuple(chains))

    # --- renewal information (RFC 9773) ---

    async def _renewal_info(self, asked: messages.OfCertificate) -> RenewalInfo:
        ca = self._ca(asked.server)
        where = url_in(await ca.directory(), "renewalInfo")
        if not where:
            raise ProblemError(AcmeProblem("nonsense", asked.server.url, type="no-renewal-info"))
        reply = await ca.get(f"{where.rstrip('/')}/{asked.ident}")
        found = json_of(reply)
        window = found.get("suggestedWindow")
        try:
            assert isinstance(window, dict)
            start, end = (time_of(window[name]) for name in ("start", "end"))
        except (AssertionError, KeyError, ValueError, TypeError, OverflowError):
            raise nonsense(reply, "no-window") from None
        if end <= start:
            raise nonsense(reply, "window-ends-before-it-starts")
        retry_after = reply.headers.get("retry-after", "")[:100]
        return RenewalInfo(start, end, url_in(found, "explanationURL"), retry_after)


class _Poll:
    """When to look again, as long as nobody says: RFC 8555 §7.5.1, §8.2."""

    def __init__(self) -> None:
        self._pause = FIRST_POLL
        self._at = asyncio.get_running_loop().time()
        self._failing: float | None = None  # since when

    async def sleep(self, end: float, url: str) -> None:
        """Wait; raises `ProblemError` (late) where that would be too long."""
        now = asyncio.get_running_loop().time()
        if max(self._at, now) >= end:
            raise ProblemError(AcmeProblem("late", url))
        await asyncio.sleep(max(0.0, self._at - now))

    def next(self, reply: Reply) -> None:
        """Take what the CA says about it."""
        self._failing = None
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
        now = asyncio.get_running_loop().time()
        said = seconds_of(problem.retry_after)
        self._pause = min(max(self._pause * SLOWER, 1.0), LONGEST_POLL)
        self._at = now + max(said or 0.0, self._pause)
        self._failing = now if self._failing is None else self._failing
        if not again or self._at >= min(end, self._failing + PATIENCE):
            raise err
