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
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from acme import messages as acme
from josepy.json_util import field

from sslmd.net import acme_messages as messages
from sslmd.net.acme_ca import Ca, Signing, WebOf
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
from sslmd.net.acme_poll import Poll
from sslmd.net.acme_read import (
    ProblemError,
    account_of,
    b64,
    directory_of,
    identifier_of,
    json_of,
    links_of,
    nonsense,
    orders_of,
    pem_of,
    time_of,
    unreached,
    url_in,
)
from sslmd.net.sign_messages import AskSignature
from sslmd.net.web import UnreachedError, Web

T = TypeVar("T")

PublicKey = Callable[[str], Awaitable[str]]

# CAs that are known although nothing is asked of them: each has its connections.
MOST_CAS = 32

# Seconds before a challenge is offered once more that the CA could not validate and left pending
# (step-ca, Caddy): RFC 8555 §8.2 has the client ask for it. After the last it is what it is.
OFFERED_AGAIN = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0)

# Pages of an account's list of orders that are read, and orders of it that are looked at.
MOST_PAGES, MOST_LOOKED_AT = 200, 20

# Other chains that are fetched.
MOST_CHAINS = 5

# While the CA has to judge.
_OPEN = frozenset({"pending", "processing"})


class OrderBody(acme.NewOrder):
    """With `replaces` (RFC 9773 §5), which the library does not have."""

    replaces: str | None = field("replaces", omitempty=True)


class AcmeSteps:
    """All CAs. `sign` and `public_key` ask the daemon; `web` makes requests."""

    def __init__(self, sign: Signing, public_key: PublicKey, web: WebOf = Web) -> None:
        self._sign = sign
        self._public_key = public_key
        self._web = web
        self._cas: dict[CaAddress, Ca] = {}

    def handlers(self) -> Mapping[Any, Callable[[Any], Awaitable[Any]]]:
        """Return what does each operation."""
        return {
            messages.DIRECTORY: self._told(self._directory),
            messages.REGISTER: self._told(self._register),
            messages.ACCOUNT: self._told(self._account),
            messages.KEY_CHANGE: self._told(self._change_key),
            messages.NEW_ORDER: self._told(self._new_order),
            messages.FIND_ORDER: self._told(self._find_order),
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

    def _told(
        self, step: Callable[[Ca, Any], Awaitable[T]]
    ) -> Callable[[Any], Awaitable[T | AcmeProblem]]:
        """Return a step whose problems are answers."""

        async def done(asked: Any) -> T | AcmeProblem:
            try:
                with self._using(asked.server) as ca:
                    return await step(ca, asked)
            except ProblemError as err:
                return err.problem

        return done

    @contextmanager
    def _using(self, server: CaAddress) -> Iterator[Ca]:
        """Yield a CA: kept as long as it is used, and beyond that if it is one of few."""
        ca = self._cas.pop(server, None)
        if ca is None:
            try:
                ca = Ca(server, self._sign, self._web)
            except UnreachedError as err:
                raise unreached(server.url, err) from None
        self._cas[server] = ca  # used last
        ca.users += 1
        try:
            yield ca
        finally:
            ca.users -= 1
            idle = [each for each, one in self._cas.items() if not one.users]
            for each in idle[: max(len(self._cas) - MOST_CAS, 0)]:
                self._cas.pop(each).close()

    async def _directory(self, ca: Ca, asked: messages.OfServer) -> AcmeDirectory:
        ca.forget_directory(asked.age)
        try:
            async with asyncio.timeout(asked.seconds):
                found = await ca.directory()
        except TimeoutError:
            err = UnreachedError("no-answer", f"{asked.seconds:g}")
            raise unreached(asked.server.url, err) from None
        return directory_of(found)

    # --- accounts (§7.3) ---

    async def _register(self, ca: Ca, asked: messages.AskAccount) -> Account:
        directory = await ca.directory()
        url = url_in(directory, "newAccount")
        fields: dict[str, Any] = {"terms_of_service_agreed": True, "contact": asked.contact}
        if asked.only_existing:
            fields = {"only_return_existing": True}
        elif asked.binding_kid:
            key = await self._key(asked.account)
            fields["external_account_binding"] = await ca.signed(
                AskSignature(
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

    async def _account(self, ca: Ca, asked: messages.ChangeAccount) -> Account:
        change: dict[str, Any] = {}
        if asked.contact is not None:
            change["contact"] = list(asked.contact)
        if asked.deactivate:
            change["status"] = "deactivated"
        reply = await ca.post(asked.account, asked.account.uri, change or None)
        return account_of(reply, asked.account.uri)

    async def _change_key(self, ca: Ca, asked: messages.ChangeKey) -> Account:
        url = url_in(await ca.directory(), "keyChange")
        if not url:
            raise ProblemError(AcmeProblem("nonsense", asked.server.url, type="no-key-change"))
        old = json.loads(await self._key(asked.account))
        inner = await ca.signed(
            AskSignature(
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

    async def _new_order(self, ca: Ca, asked: messages.AskOrder) -> AcmeOrder:
        directory = await ca.directory()
        order = OrderBody(
            identifiers=[identifier_of(name) for name in asked.names],
            profile=asked.profile or None,
            replaces=asked.replaces or None,
        )
        reply = await ca.post(asked.account, url_in(directory, "newOrder"), order.to_json())
        return ca.order(reply, ca.location(reply))

    async def _order(self, ca: Ca, asked: messages.OfOrder) -> AcmeOrder:
        return ca.order(await ca.post(asked.account, asked.url), asked.url)

    async def _find_order(self, ca: Ca, asked: messages.FindOrder) -> tuple[AcmeOrder, ...]:
        """Look through the account's list of orders, the last ones first (§7.1.2.1)."""
        loop = asyncio.get_running_loop()
        end, names = loop.time() + asked.seconds, {name.lower() for name in asked.names}
        where = url_in(json_of(await ca.post(asked.account, asked.account.uri)), "orders")
        listed: list[str] = []
        for _ in range(MOST_PAGES):
            if not where or loop.time() >= end:
                break
            reply = await ca.post(asked.account, where)
            listed += orders_of(reply)
            where = next(iter(links_of(reply, "next")), "")
        for url in reversed(listed[-MOST_LOOKED_AT:]):
            if loop.time() >= end:
                break
            with suppress(ProblemError):  # one that is no more
                order = ca.order(await ca.post(asked.account, url), url)
                waits = order.status in ("pending", "ready")
                as_asked = asked.profile in ("", order.profile)
                if waits and as_asked and {name.lower() for name in order.names} == names:
                    return (order,)
        return ()

    async def _authorizations(
        self, ca: Ca, asked: messages.OfAuthorizations
    ) -> tuple[Authorization, ...]:
        return tuple([await ca.authorization(asked.account, url) for url in asked.urls])

    async def _offer(self, ca: Ca, asked: messages.Offer) -> tuple[Authorization, ...]:
        end = asyncio.get_running_loop().time() + asked.seconds
        for url in asked.challenges:
            await self._offered(ca, asked.account, url, end)
        waits = {url: Poll() for url in asked.authorizations}
        pauses = {url: iter(OFFERED_AGAIN) for url in asked.authorizations}
        found: dict[str, Authorization] = {}
        again: dict[str, str] = {}
        while waits:
            for url, poll in list(waits.items()):
                await poll.sleep(end, url)
                if url in again:
                    await self._offered(ca, asked.account, again.pop(url), end)
                try:
                    reply = await ca.post(asked.account, url)
                except ProblemError as err:
                    poll.failed(err, end)
                    continue
                found[url] = one = ca.authorization_in(reply, url)
                poll.next(reply)
                failed = _left_pending(one, asked.challenges)
                pause = next(pauses[url], None) if failed else 0.0
                if one.status not in _OPEN or pause is None:
                    del waits[url]
                elif failed:
                    again[url] = failed
                    poll.wait(pause)
        return tuple(found[url] for url in asked.authorizations)

    async def _offered(self, ca: Ca, account: AcmeAccount, url: str, end: float) -> None:
        """Say that a challenge is ready, until it is certain that it came there."""
        poll = Poll()
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

    async def _finalize(self, ca: Ca, asked: messages.Finalize) -> AcmeOrder:
        end = asyncio.get_running_loop().time() + asked.seconds
        reply = await ca.post(asked.account, asked.order)
        order = ca.order(reply, asked.order)
        poll = Poll()
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

    async def _certificate(self, ca: Ca, asked: messages.Fetch) -> Chains:
        reply = await ca.post(asked.account, asked.url)
        chains = [pem_of(reply)]
        if asked.alternates:
            for url in links_of(reply, "alternate")[:MOST_CHAINS]:
                with suppress(ProblemError):  # a wish; the certificate itself is there
                    chains.append(pem_of(await ca.post(asked.account, url)))
        return Chains(tuple(chains))

    # --- renewal information (RFC 9773) ---

    async def _renewal_info(self, ca: Ca, asked: messages.OfCertificate) -> RenewalInfo:
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


def _left_pending(found: Authorization, offered: tuple[str, ...]) -> str:
    """Return the challenge of ours that the CA could not validate and waits for again, or ""."""
    if found.status != "pending" or found.problem is None:
        return ""
    ours = (one.url for one in found.challenges if one.status == "pending" and one.url in offered)
    return next(ours, "")
