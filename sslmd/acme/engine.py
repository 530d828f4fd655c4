"""Orders by the network process, from the request to the certificate (RFC 8555 §7.4).

The daemon leads: each step is a question that can be asked again. That an order is asked for is
noted before the CA hears of it, and its URL as soon as it is known; that is all that has to be
kept. So an order outlives whoever is killed meanwhile, and is gone on with: with challenges that
are still to be shown, finalized, waited for, or fetched (I5). Nothing is offered to the CA before
`prove` has returned (I8).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sslmd.acme import certbot, order_note
from sslmd.acme.account_folders import newest
from sslmd.acme.attempt import Prove
from sslmd.acme.ca_problem import ca_name, problem_of, unvalidated
from sslmd.acme.certbot_log import MOST_NAME, one_line
from sslmd.acme.directory import Directory
from sslmd.acme.engine_steps import EngineSteps, was_refused
from sslmd.acme.order_note import NotedOrder
from sslmd.acme.orders import TOKEN, Challenge
from sslmd.acme.problems import StillProcessing, to_error
from sslmd.acme.refusals import retry_at
from sslmd.acme.signing import is_of
from sslmd.acme.wishes import chain_for
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason, Said
from sslmd.core.told import Doing
from sslmd.net import acme_messages as messages
from sslmd.net.acme_messages import AcmeOrder, AcmeProblem, Authorization
from sslmd.pki.local_ca import Issued
from sslmd.store import files
from sslmd.store.layout import CERT, CHAIN, FULLCHAIN

# Seconds for the CA to validate, to make the certificate, and to do either for an order that is
# taken up: what it is still at work on then is asked for again later.
VALIDATING = 1800.0
ISSUING = 300.0
TAKING_UP = 20.0

_END = "-----END CERTIFICATE-----"

# What a CA says of an order or an account that it does not know (RFC 8555 §6.7).
_UNKNOWN = frozenset({"malformed", "unauthorized", "accountDoesNotExist", "notFound"})
_UNKNOWN_STATUS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

# What it says of an order that is to replace what it cannot (RFC 9773 §5).
_NO_REPLACEMENT = frozenset({"alreadyReplaced", "malformed", "unauthorized", "conflict"})


@dataclass(slots=True)
class Engine(EngineSteps):
    """Gets the certificate of one attempt; see `attempt.CaEngine`."""

    _open: AcmeOrder | None = None  # found by `take_up`, and waits for its challenges

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
        try:
            return await self._taken_up(await self._begin(served), served)
        finally:
            self.progress(None)

    async def _taken_up(self, profile: str, served: Directory) -> Issued | None:
        attempt, place = self.attempt, self.attempt.place
        noted = await self.in_thread(
            order_note.noted, place, attempt.csr, attempt.server, self.now()
        )
        if noted is None or not noted.url:
            noted = await self.in_thread(self._of_certbot, served, profile) or noted
        if noted is None:
            return None
        account = await self.accounts.of_uri(attempt.server, place.home, noted.account)
        self._account = account
        if not noted.url:
            noted = await self._asked_for(noted)
        if noted is None or account is None or noted.profile != profile:
            return None
        self.progress(Reason(Doing.TAKES_UP, order=noted.url))
        return await self._take_up(noted)

    async def _asked_for(self, noted: NotedOrder) -> NotedOrder | None:
        """Return the order that was asked for, and of which no answer came; None without one.

        A CA that lists the orders of an account (RFC 8555 §7.1.2.1) tells whether it has it. Others
        give the same one to who asks for the same names again, as Let's Encrypt does, or another.
        """
        url, place = self.attempt.server.url, self.attempt.place
        self.permit.was_sent(noted.at)
        found: tuple[AcmeOrder, ...] | AcmeProblem = ()
        if self._account is not None:
            self.progress(Reason(Doing.FINDS_ORDER, url=url))
            asked = messages.FindOrder(*self._of, self._names, noted.profile)
            found = await self._asked(messages.FIND_ORDER, asked)
        if isinstance(found, AcmeProblem) and found.kind in ("unreachable", "late"):
            raise self._error(found)
        ours = () if isinstance(found, AcmeProblem) else found[:1]
        if not all(is_of(order.url, url) for order in ours) or not ours:
            self.tell("order-trouble", Reason(Failed.ORDER_ASKED, url=url, at=noted.at))
            await self.in_thread(certbot.clear, place)
            return None
        found_again = replace(noted, url=ours[0].url)
        await self.in_thread(order_note.note, place, found_again)
        return found_again

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
        issued = await self._finish(order, TAKING_UP if order.status == "processing" else ISSUING)
        if order.status != "ready" and not await self.in_thread(_is_for, issued, self.attempt.csr):
            self.tell("order-trouble", Reason(Failed.ORDER_OF_OTHERS, order=order.url))
            await self.in_thread(certbot.clear, place)
            return None
        return issued

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

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.attempt.service.spec.all_names())

    async def _new_order(self, profile: str) -> AcmeOrder:
        attempt, replaces = self.attempt, self._replaces
        asked = messages.AskOrder(*self._of, self._names, profile, replaces)
        order = await self._sent(asked)
        if replaces and isinstance(order, AcmeProblem) and _refuses_replacement(order):
            why = problem_of(order, attempt.server.url, self.now()).why
            self.tell("order-trouble", Reason(Failed.REPLACES_REFUSED, why=why))
            order = await self._sent(replace(asked, replaces=""))
        if isinstance(order, AcmeProblem):
            raise self._error(order)
        return order

    async def _sent(self, asked: messages.AskOrder) -> AcmeOrder | AcmeProblem:
        """Ask for an order; noted before and after, so that nobody asks for a second one."""
        attempt, place = self.attempt, self.attempt.place
        assert self._account is not None
        at = self.permit.sends(asked.replaces)
        noted = NotedOrder("", self._account.uri, at.isoformat(), asked.profile)
        await self.in_thread(order_note.begin, place, attempt.csr, attempt.server, noted)
        order = await self._asked(messages.NEW_ORDER, asked)
        if isinstance(order, AcmeOrder) and not is_of(order.url, attempt.server.url):
            raise self._odd(order.url, "other-host")
        if isinstance(order, AcmeOrder):
            await self.in_thread(order_note.note, place, replace(noted, url=order.url))
        elif was_refused(order):
            await self.in_thread(certbot.clear, place)
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
        if any(one.status == "invalid" or one.problem is not None for one in wrong):
            raise to_error(unvalidated(tuple(found), self.attempt.server.url), self.now())
        raise self._odd(wrong[0].url, wrong[0].status)

    async def _finish(self, order: AcmeOrder, seconds: float) -> Issued:
        """Return the certificate of an order of which all names are validated."""
        attempt, place, url = self.attempt, self.attempt.place, self.attempt.server.url
        if order.status != "valid":
            csr = await self.in_thread(_der, attempt.csr)
            asked = messages.Finalize(*self._of, order.url, csr, seconds)
            order = await self._done(messages.FINALIZE, asked, seconds)
        lags = order.status in ("pending", "ready") and bool(order.retry_after)
        if order.status == "processing" or lags:
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


def _refuses_replacement(found: AcmeProblem) -> bool:
    is_meant = found.type in _NO_REPLACEMENT or found.status == HTTPStatus.CONFLICT
    return found.kind in ("acme", "http") and (is_meant or found.status == HTTPStatus.NOT_FOUND)


def _der(csr: bytes) -> bytes:
    return x509.load_pem_x509_csr(csr).public_bytes(Encoding.DER)


def _is_for(issued: Issued, csr: bytes) -> bool:
    """Whether a certificate is for a request's key; one that cannot be read is judged later."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    wanted = x509.load_pem_x509_csr(csr).public_key().public_bytes(*form)
    try:
        key = x509.load_pem_x509_certificate(issued.cert_pem).public_key()
        return key.public_bytes(*form) == wanted
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return True


def _write(folder: str, chains: Sequence[str], wish: str) -> None:
    """Leave the files that certbot would leave, `fullchain.pem` last: then the others are whole."""
    whole = chain_for(chains, wish)
    end = whole.find(_END)
    cert, chain = whole[: end + len(_END)] + "\n", whole[end + len(_END) :].lstrip()
    for name, text in ((CERT, cert), (CHAIN, chain), (FULLCHAIN, whole)):
        files.write_file(f"{folder}/{name}", text.encode())
