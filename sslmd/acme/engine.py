"""Orders by the network process, from the request to the certificate (RFC 8555 §7.4).

The daemon leads: each step is a question that can be asked again, and an order's URL, noted as soon
as it is known, is all that has to be kept. So an order outlives whoever is killed meanwhile, and is
gone on with: with challenges that are still to be shown, finalized, waited for, or fetched (I5).
Nothing is offered to the CA before `prove` has returned (I8).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sslmd.acme import certbot, order_note
from sslmd.acme.account_folders import newest
from sslmd.acme.accounts import Accounts, UsedAccount, address_of
from sslmd.acme.attempt import AccountLostError, Attempt, Prove
from sslmd.acme.ca_problem import ca_name, problem_of, unvalidated
from sslmd.acme.certbot_log import MOST_NAME, one_line
from sslmd.acme.directory import Directory
from sslmd.acme.order_note import NotedOrder
from sslmd.acme.orders import TOKEN, Challenge
from sslmd.acme.permits import Question
from sslmd.acme.problems import StillProcessing, to_error
from sslmd.acme.refusals import ProblemKind, retry_at
from sslmd.acme.signing import is_of
from sslmd.acme.wishes import chain_for
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.core.told import Doing
from sslmd.net import acme_messages as messages
from sslmd.net.acme_messages import AcmeOrder, AcmeProblem, Authorization, CaAddress
from sslmd.net.link import Asker, Operation
from sslmd.pki.local_ca import Issued
from sslmd.processes import InThread
from sslmd.store import files
from sslmd.store.layout import CERT, CHAIN, FULLCHAIN

Q = TypeVar("Q", bound=Question)
A = TypeVar("A")

# Seconds for the CA to validate, to make the certificate, and to do either for an order that is
# taken up: what it is still at work on then is asked for again later.
VALIDATING = 1800.0
ISSUING = 300.0
TAKING_UP = 20.0

# Seconds beside these for requests, their repetitions, and another process if one dies.
ASKING = 300.0

_END = "-----END CERTIFICATE-----"

# What a CA says of an order or an account that it does not know (RFC 8555 §6.7).
_UNKNOWN = frozenset({"malformed", "unauthorized", "accountDoesNotExist", "notFound"})
_UNKNOWN_STATUS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

# What it says of an order that is to replace what it cannot (RFC 9773 §5).
_NO_REPLACEMENT = frozenset({"alreadyReplaced", "malformed", "unauthorized", "conflict"})


@dataclass(slots=True)
class Engine:
    """Gets the certificate of one attempt; see `attempt.CaEngine`.

    `net` asks the CA; `progress` hears what is done, `tell` event and line.
    """

    attempt: Attempt
    net: Asker
    accounts: Accounts
    in_thread: InThread
    now: Callable[[], datetime]
    progress: Callable[[Reason | None], None]
    tell: Callable[[str, Reason], None]
    _account: UsedAccount | None = None
    _open: AcmeOrder | None = None  # found by `take_up`, and waits for its challenges
    _address: CaAddress = field(default_factory=lambda: CaAddress(""))
    _binds: bool = False
    _replaces: str = ""

    @property
    def takes_place(self) -> bool:
        """A thousand orders may wait at one time."""
        return False

    # --- accounts ---

    async def account_uri(self) -> str:
        """Return the URL of the account, "" without one."""
        server, home = self.attempt.server, self.attempt.place.home
        account = await self.accounts.known(server, home)
        return account.uri if account is not None else ""

    async def make_account(self) -> str:
        """Make it; return its URL."""
        server = self.attempt.server
        self.progress(Reason(Doing.MAKES_ACCOUNT, url=server.url))
        try:
            account = await self.accounts.account_for(server, self.attempt.place.home)
        finally:
            self.progress(None)
        return account.uri

    async def lose_account(self) -> None:
        """Set it aside: another is made by the next attempt."""
        if self._account is not None:
            await self.accounts.lost(self._account)
        self._account = self._open = None

    # --- orders ---

    async def take_up(self, served: Directory) -> Issued | None:
        """Go on with an order that was cut short, as far as it goes without challenges."""
        attempt, place = self.attempt, self.attempt.place
        profile = await self._begin(served)
        noted = await self.in_thread(
            order_note.noted, place, attempt.csr, attempt.server, profile, self.now()
        )
        if noted is None:
            noted = await self.in_thread(self._of_certbot, served, profile)
        if noted is None:
            return None
        account = await self.accounts.of_uri(attempt.server, place.home, noted.account)
        if account is None:
            return None
        self._account = account
        self.progress(Reason(Doing.TAKES_UP, order=noted.url))
        try:
            return await self._take_up(noted)
        finally:
            self.progress(None)

    def _of_certbot(self, served: Directory, profile: str) -> NotedOrder | None:
        """Return the order that a certbot was cut short at, before there was an engine; blocks."""
        attempt, now = self.attempt, self.now()
        url = certbot.interrupted(attempt.place, attempt.csr, attempt.server, served.new_order, now)
        account = newest(attempt.place.home, attempt.server.url)
        if not url or account is None:
            return None
        return NotedOrder(url, account.uri, now.isoformat(), profile)

    async def _take_up(self, noted: NotedOrder) -> Issued | None:
        place = self.attempt.place
        offered = await self.in_thread(certbot.offered, place)
        order = await self._look(noted)
        if order is not None and order.status == "pending" and offered:
            # The CA may be looking, or was never told to.
            await self._asked(
                messages.OFFER,
                messages.Offer(*self._of, (), order.authorizations, TAKING_UP),
                TAKING_UP,
            )
            order = await self._look(noted)
        if order is None or order.status == "invalid":
            await self.in_thread(certbot.clear, place)
            return None
        if order.status == "pending":
            # It is known how it went: nothing has failed yet.
            await self.in_thread(certbot.forget_offered, place)
            self._open = order
            return None
        return await self._finish(order, TAKING_UP if order.status == "processing" else ISSUING)

    async def _look(self, noted: NotedOrder) -> AcmeOrder | None:
        """Return how an order stands, None for one that the CA does not know."""
        found = await self._asked(messages.ORDER, messages.OfOrder(*self._of, noted.url))
        if not isinstance(found, AcmeProblem):
            return found
        if found.kind in ("acme", "http") and (
            found.type in _UNKNOWN or found.status in _UNKNOWN_STATUS
        ):
            return None
        # It may be there all the same: another order would be one too many.
        problem = problem_of(found, self.attempt.server.url, self.now())
        why = Reason(
            Failed.ORDER_NOT_TAKEN_UP, order=one_line(noted.url, MOST_NAME), why=problem.why
        )
        raise Transient(why, retry_at=problem.retry_at)

    async def issue(self, served: Directory, prove: Prove) -> Issued:
        """Order the certificate, or go on with the order that waits for its challenges."""
        server, place = self.attempt.server, self.attempt.place
        profile = await self._begin(served)
        order, self._open = self._open, None
        self.progress(Reason(Doing.ORDER_AT, url=server.url))
        if order is None:
            self._account = await self.accounts.account_for(server, place.home)
            order = await self._new_order(profile)
        found = await self._done(
            messages.AUTHORIZATIONS, messages.OfAuthorizations(*self._of, order.authorizations)
        )
        await self._check(found, ("pending", "valid"))
        if challenges := self._challenges(found):
            await prove([challenge for challenge, _ in challenges])
            await self._same_key()
            names = sorted({challenge.name for challenge, _ in challenges})
            await self.in_thread(certbot.note_offered, place, names)
            urls = tuple(url for _, url in challenges)
            pending = tuple(one.url for one in found if one.status == "pending")
            offer = messages.Offer(*self._of, urls, pending, VALIDATING)
            judged = await self._done(messages.OFFER, offer, VALIDATING)
            await self._check(judged, ("valid",))
            await self.in_thread(certbot.forget_offered, place)
        return await self._finish(order, ISSUING)

    async def _same_key(self) -> None:
        """Raise `Transient` where the account has another key than what is shown was made with.

        A CA compares with the key that the account has when it looks (RFC 8555 §8.1).
        """
        used = self._account
        assert used is not None
        place, server = self.attempt.place, self.attempt.server
        now_has = await self.accounts.of_uri(server, place.home, used.uri)
        if now_has is None or now_has.key.thumbprint != used.key.thumbprint:
            raise Transient(Reason(Failed.ACCOUNT_KEY_CHANGED, account=used.uri))

    async def _new_order(self, profile: str) -> AcmeOrder:
        attempt, replaces = self.attempt, self._replaces
        names = tuple(str(name) for name in attempt.service.spec.all_names())
        asked = messages.AskOrder(*self._of, names, profile, replaces)
        order = await self._asked(messages.NEW_ORDER, asked)
        if replaces and isinstance(order, AcmeProblem) and _refuses_replacement(order):
            why = problem_of(order, attempt.server.url, self.now()).why
            self.tell("order-trouble", Reason(Failed.REPLACES_REFUSED, why=why))
            order = await self._asked(messages.NEW_ORDER, replace(asked, replaces=""))
        if isinstance(order, AcmeProblem):
            raise self._error(order)
        if not is_of(order.url, attempt.server.url):
            raise self._odd(order.url, "other-host")
        assert self._account is not None
        made = NotedOrder(order.url, self._account.uri, self.now().isoformat(), profile)
        await self.in_thread(order_note.begin, attempt.place, attempt.csr, attempt.server, made)
        return order

    def _challenges(self, found: Sequence[Authorization]) -> list[tuple[Challenge, str]]:
        """Return what is to be shown, and the URL of each challenge; raises for what is odd."""
        server, account = self.attempt.server, self._account
        assert account is not None
        names = {str(name).removeprefix("*.") for name in self.attempt.service.spec.all_names()}
        challenges = []
        for one in found:
            if one.status != "pending":
                continue
            if one.name.lower() not in names:
                raise self._odd(one.url, "name", one.name)
            offered = (each for each in one.challenges if each.type == server.validation.value)
            challenge = next(offered, None)
            if challenge is None:
                why = Reason(Failed.VALIDATION_NOT_OFFERED, ca=ca_name(server.url))
                raise Permanent(why)
            if not TOKEN.match(challenge.token):
                raise self._odd(one.url, "token")
            text = f"{challenge.token}.{account.key.thumbprint}"
            shows = Challenge(one.name, text, challenge.token)
            if not self.attempt.is_http:
                digest = hashlib.sha256(text.encode()).digest()
                value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                shows = Challenge(one.name, value)
            challenges.append((shows, challenge.url))
        return challenges

    async def _check(self, found: Sequence[Authorization], right: tuple[str, ...]) -> None:
        """Raise for authorizations that stand otherwise; their order has come to its end."""
        wrong = [one for one in found if one.status not in right]
        if not wrong:
            return
        place = self.attempt.place
        await self.in_thread(certbot.forget_offered, place)
        await self.in_thread(certbot.clear, place)
        if any(one.status == "invalid" for one in wrong):
            raise to_error(unvalidated(tuple(found), self.attempt.server.url), self.now())
        raise self._odd(wrong[0].url, wrong[0].status)

    async def _finish(self, order: AcmeOrder, seconds: float) -> Issued:
        """Return the certificate of an order of which all names are validated."""
        attempt, place, url = self.attempt, self.attempt.place, self.attempt.server.url
        if order.status != "valid":
            csr = await self.in_thread(_der, attempt.csr)
            asked = messages.Finalize(*self._of, order.url, csr, seconds)
            order = await self._done(messages.FINALIZE, asked, seconds)
        if order.status == "processing":
            when = retry_at(order.retry_after, self.now())
            order_url = one_line(order.url, MOST_NAME)
            why = Reason(Failed.ORDER_OPEN, order=order_url)
            raise StillProcessing(why, order_url, retry_at=when)
        if order.status != "valid":
            await self.in_thread(certbot.clear, place)
            if order.problem is not None:
                raise self._error(order.problem)
            raise self._odd(order.url, order.status)
        wish = attempt.server.preferred_chain
        fetch = messages.Fetch(*self._of, order.certificate, bool(wish))
        found = await self._asked(messages.CERTIFICATE, fetch)
        if isinstance(found, AcmeProblem):
            raise self._error(found)  # it is issued: the order is kept, and asked for it again
        if not found.chains:
            raise self._odd(order.certificate, "no-certificate")
        await self.in_thread(_write, place.order, found.chains, wish)
        issued = await self.in_thread(certbot.collect, place, attempt.csr, attempt.server)
        if issued is None:
            raise Transient(Reason(Failed.CA_ODD, url=url, what=Said("no-certificate")))
        return issued

    # --- asking ---

    async def _begin(self, served: Directory) -> str:
        """Take what the CA says of itself; return the profile to ask for: a wish that it knows."""
        self._binds = served.external_account_required
        self._replaces = self.attempt.replaces if served.renewal_info else ""
        self._address = await self.in_thread(address_of, self.attempt.server)
        wish = self.attempt.server.profile
        return wish if wish in served.profiles else ""

    @property
    def _of(self) -> tuple[CaAddress, messages.AcmeAccount]:
        assert self._account is not None
        return self._address, self._account.asked

    async def _asked(
        self, operation: Operation[Q, A | AcmeProblem], asked: Q, seconds: float = 0.0
    ) -> A | AcmeProblem:
        """Ask; a time that is over is a problem like others."""
        try:
            with self.accounts.signer.asking(asked):
                async with asyncio.timeout(seconds + ASKING):
                    return await self.net.call(operation, asked)
        except TimeoutError:
            return AcmeProblem("late", self.attempt.server.url)

    async def _done(
        self, operation: Operation[Q, A | AcmeProblem], asked: Q, seconds: float = 0.0
    ) -> A:
        """Ask something about an order; raises what the CA says to it, and then forgets it.

        What may pass is asked of the same order again, by a later try.
        """
        found = await self._asked(operation, asked, seconds)
        if not isinstance(found, AcmeProblem):
            return found
        if found.kind == "acme" and _is_final(found):
            await self.in_thread(certbot.clear, self.attempt.place)
        raise self._error(found)

    def _error(self, found: AcmeProblem) -> Exception:
        url, now = self.attempt.server.url, self.now()
        problem = problem_of(found, url, now, binds=self._binds)
        if problem.kind is ProblemKind.ACCOUNT_LOST:
            return AccountLostError(problem.why)
        return to_error(problem, now)

    def _odd(self, url: str, what: str, said: str = "") -> Transient:
        words = Said(one_line(said, MOST_NAME)) if said else None
        url, what = one_line(url, MOST_NAME), one_line(what, MOST_NAME)
        return Transient(Reason(Failed.CA_ODD, url=url, what=Said(what), said=words))


def _is_final(found: AcmeProblem) -> bool:
    """Whether the same request would be refused again, for this order."""
    passing = ("rateLimited", "badNonce", "orderNotReady", "serverInternal")
    is_ours = HTTPStatus.BAD_REQUEST <= found.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_ours and found.status != HTTPStatus.TOO_MANY_REQUESTS and found.type not in passing


def _refuses_replacement(found: AcmeProblem) -> bool:
    is_meant = found.type in _NO_REPLACEMENT or found.status == HTTPStatus.CONFLICT
    return found.kind in ("acme", "http") and (is_meant or found.status == HTTPStatus.NOT_FOUND)


def _der(csr: bytes) -> bytes:
    return x509.load_pem_x509_csr(csr).public_bytes(Encoding.DER)


def _write(folder: str, chains: Sequence[str], wish: str) -> None:
    """Leave the files that certbot would leave, `fullchain.pem` last: then the others are whole."""
    whole = chain_for(chains, wish)
    end = whole.find(_END)
    cert, chain = whole[: end + len(_END)] + "\n", whole[end + len(_END) :].lstrip()
    for name, text in ((CERT, cert), (CHAIN, chain), (FULLCHAIN, whole)):
        files.write_file(f"{folder}/{name}", text.encode())
