"""The steps of ACME against a CA that answers what it is told to, on virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest

from sslmd.acme.ca_problem import ca_error, unvalidated
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.net.acme import OFFERED_AGAIN, AcmeSteps
from sslmd.net.acme_ca import MOST_NONCES
from sslmd.net.acme_messages import (
    CERTIFICATE,
    DIRECTORY,
    FINALIZE,
    FIND_ORDER,
    NEW_ORDER,
    OFFER,
    ORDER,
    AcmeAccount,
    AcmeOrder,
    AcmeProblem,
    AskOrder,
    CaAddress,
    Fetch,
    Finalize,
    FindOrder,
    Offer,
    OfOrder,
    OfServer,
)
from sslmd.net.acme_poll import PATIENCE
from sslmd.net.sign_messages import AskSignature, Signature
from sslmd.net.web import Reply, UnreachedError
from tests.stand import virtual_time

HERE = "https://ca.test"
SERVER = CaAddress(f"{HERE}/dir")
ACCOUNT = AcmeAccount("key", f"{HERE}/acct/1")
OF = (SERVER, ACCOUNT)
SAID = {
    "newNonce": f"{HERE}/nonce",
    "newAccount": f"{HERE}/account",
    "newOrder": f"{HERE}/order",
    "renewalInfo": f"{HERE}/ari",
}
ORDER_URL, AUTHZ, CHALLENGE = f"{HERE}/order/1", f"{HERE}/authz/1", f"{HERE}/chal/1"


def problem(status: int, kind: str, **more: Any) -> Reply:
    document = {"type": f"urn:ietf:params:acme:error:{kind}", "status": status, **more}
    return reply(document, status)


def reply(document: Any, status: int = 200, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply("", status, {"replay-nonce": "abc", **names}, json.dumps(document).encode())


def order(status: str, **more: Any) -> dict[str, Any]:
    return {
        "status": status,
        "identifiers": [{"type": "dns", "value": "example.test"}],
        "authorizations": [AUTHZ],
        "finalize": f"{ORDER_URL}/finalize",
        **more,
    }


def authz(status: str, **more: Any) -> dict[str, Any]:
    about = {"type": "dns", "value": "example.test"}
    return {"status": status, "identifier": about, "challenges": [], **more}


class Ca:
    """`answers` by path: one after the other, the last for ever. `asked`: when for what."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "/dir": [reply(SAID)],
            "/nonce": [reply(None)],
            **{f"/{path.replace('__', '/')}": found for path, found in answers.items()},
        }
        self.asked: list[tuple[float, str, Any]] = []

    async def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        path = url.removeprefix(HERE)
        now = asyncio.get_running_loop().time()
        sent = json.loads(body)["payload"] if body else None
        self.asked.append((now, path, sent))
        left = self.answers[path]
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return Reply(url, found.status, found.headers, found.body)

    def close(self) -> None:
        """Nothing is open."""

    def times(self, path: str) -> list[float]:
        """Return the seconds between questions for a path."""
        at = [when for when, asked, _ in self.asked if asked == path]
        return [round(later - before, 1) for before, later in pairwise(at)]

    def count(self, path: str) -> int:
        return sum(asked == path for _, asked, _ in self.asked)


async def _signed(asked: AskSignature) -> Signature:
    return Signature(asked.nonce or "none", "signature")


async def _key(_: str) -> str:
    return "{}"


def ask(ca: Ca, operation: Any, asked: Any) -> Any:
    async def done() -> Any:
        steps = AcmeSteps(_signed, _key, lambda *_: ca)
        return await steps.handlers()[operation](asked)

    run: Callable[[Coroutine[Any, Any, Any]], Any] = virtual_time.run
    return run(done())


# --- nonces (RFC 8555 §6.5) -----------------------------------------------------------------


def test_a_nonce_is_asked_for_eight_times_more() -> None:
    bad = problem(400, "badNonce")
    ca = Ca(order__1=[*[bad] * MOST_NONCES, reply(order("ready"))])
    assert MOST_NONCES == 8
    assert ask(ca, ORDER, OfOrder(*OF, ORDER_URL)).status == "ready"
    assert ca.count("/order/1") == 9
    ca = Ca(order__1=[bad])
    found = ask(ca, ORDER, OfOrder(*OF, ORDER_URL))
    assert isinstance(found, AcmeProblem)
    assert found.type == "badNonce"
    assert ca.count("/order/1") == 9


def test_the_nonce_of_an_answer_is_used_by_the_next_request() -> None:
    ca = Ca(
        authz__1=[reply(authz("pending")), reply(authz("valid"))],
        chal__1=[reply({"status": "pending"})],
    )
    ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 60.0))
    assert ca.count("/nonce") == 1


# --- the directory ----------------------------------------------------------------------------


def test_a_directory_is_fetched_once_for_many() -> None:
    ca = Ca()

    async def many() -> list[int]:
        steps = AcmeSteps(_signed, _key, lambda *_: ca)
        fetch, counts = steps.handlers()[DIRECTORY], list[int]()
        for age, pause in ((60.0, 30.0), (60.0, 31.0), (60.0, 0.0), (0.0, 0.0)):
            await asyncio.gather(*(fetch(OfServer(SERVER, age=age)) for _ in range(100)))
            counts.append(ca.count("/dir"))
            await asyncio.sleep(pause)
        return counts

    assert virtual_time.run(many())[:3] == [1, 1, 2]
    assert ca.count("/dir") > 2


# --- polls (RFC 8555 §7.5.1, RFC 9110 §10.2.3) ------------------------------------------------


def test_a_ca_that_says_when_is_asked_then() -> None:
    late = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    ca = Ca(
        chal__1=[reply({"status": "pending"})],
        authz__1=[
            reply(authz("pending"), retry_after="75"),
            reply(authz("pending"), retry_after="0"),
            reply(authz("pending"), retry_after="nonsense"),
            reply(authz("pending"), retry_after=late),
            reply(authz("valid")),
        ],
    )
    (found,) = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 1800.0))
    assert found.status == "valid"
    first, second, third, fourth = ca.times("/authz/1")
    assert (first, second) == (75.0, 0.3)
    assert third < 2
    assert 85 < fourth < 92


def test_a_ca_that_wants_more_time_than_there_is_is_left_alone() -> None:
    ca = Ca(
        chal__1=[reply({"status": "pending"})],
        authz__1=[reply(authz("pending"), retry_after="3600")],
    )
    found = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 1800.0))
    assert (found.kind, found.retry_after) == ("late", "3600")
    assert ca.count("/authz/1") == 1


def test_a_validation_without_end_has_one_all_the_same() -> None:
    ca = Ca(chal__1=[reply({"status": "pending"})], authz__1=[reply(authz("pending"))])
    found = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 300.0))
    assert (found.kind, found.retry_after) == ("late", "")
    assert 20 < ca.count("/authz/1") < 60
    assert max(ca.times("/authz/1")) <= 10.0


def test_a_ca_that_fails_meanwhile_is_asked_on_for_a_while() -> None:
    busy = problem(503, "serverInternal")
    ca = Ca(
        chal__1=[busy, UnreachedError("cut-short"), reply({"status": "pending"})],
        authz__1=[busy, busy, reply(authz("valid"))],
    )
    (found,) = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 1800.0))
    assert found.status == "valid"
    ca = Ca(chal__1=[reply({})], authz__1=[busy])
    found = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 1800.0))
    assert found.type == "serverInternal"
    assert sum(ca.times("/authz/1")) <= PATIENCE
    ca = Ca(chal__1=[problem(503, "serverInternal")], authz__1=[reply(authz("valid"))])
    limited = problem(429, "rateLimited")
    limited = Reply("", 429, {**limited.headers, "retry-after": "600"}, limited.body)
    ca.answers["/chal/1"] = [limited]
    found = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 1800.0))
    assert (found.type, found.retry_after) == ("rateLimited", "600")
    assert ca.count("/chal/1") == 1


def test_a_challenge_that_was_offered_before() -> None:
    ca = Ca(
        chal__1=[problem(400, "malformed"), reply({"status": "valid"})],
        authz__1=[reply(authz("valid"))],
    )
    (found,) = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 60.0))
    assert found.status == "valid"


def left_pending(detail: str) -> dict[str, Any]:
    """What smallstep's CAs and Caddy say of a challenge that they could not validate."""
    error = {"type": "urn:ietf:params:acme:error:dns", "detail": detail}
    challenge = {"type": "dns-01", "status": "pending", "url": CHALLENGE, "token": "t" * 32}
    return authz("pending", challenges=[{**challenge, "error": error}])


def test_a_challenge_that_failed_and_is_still_pending_is_offered_again() -> None:
    ca = Ca(
        chal__1=[reply({"status": "pending"})],
        authz__1=[*(reply(left_pending("no TXT record")) for _ in range(3)), reply(authz("valid"))],
    )
    (found,) = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 1800.0))
    assert found.status == "valid"
    assert ca.count("/chal/1") == 4
    assert ca.times("/chal/1") == list(OFFERED_AGAIN[:3])


def test_one_that_fails_for_ever_is_told_with_the_words_of_the_ca() -> None:
    ca = Ca(chal__1=[reply({"status": "pending"})], authz__1=[reply(left_pending("no TXT"))])
    (found,) = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 1800.0))
    assert (found.status, found.problem.detail) == ("pending", "no TXT")
    assert ca.count("/chal/1") == 1 + len(OFFERED_AGAIN)
    assert "no TXT" in unvalidated((found,), HERE).text


def test_one_of_others_is_not_offered() -> None:
    """Nothing is offered that the daemon has not said go for (I8)."""
    ca = Ca(authz__1=[reply(left_pending("no TXT")), reply(authz("invalid"))])
    (found,) = ask(ca, OFFER, Offer(*OF, (), (AUTHZ,), 1800.0))
    assert found.status == "invalid"
    assert ca.count("/chal/1") == 0


@pytest.mark.parametrize("empty", [None, ""])
def test_what_is_empty_is_not_there(empty: Any) -> None:
    """RFC 8555 has most fields optional; some CAs send them all, empty."""
    odd = {"type": "dns-01", "status": "pending", "url": CHALLENGE, "token": "x"}
    more = {"expires": empty, "error": empty, "challenges": [{**odd, "validated": empty}]}
    ca = Ca(
        chal__1=[reply({"status": "pending"})],
        authz__1=[reply(authz("valid", **more))],
        order__1=[reply(order("ready", expires=empty, notBefore=empty, error=empty))],
    )
    (found,) = ask(ca, OFFER, Offer(*OF, (CHALLENGE,), (AUTHZ,), 60.0))
    assert (found.status, found.challenges[0].token) == ("valid", "x")
    assert ask(ca, ORDER, OfOrder(*OF, ORDER_URL)).status == "ready"


def test_an_authorization_that_has_expired_is_told_as_that() -> None:
    ca = Ca(authz__1=[reply(authz("expired", challenges=None))])
    (found,) = ask(ca, OFFER, Offer(*OF, (), (AUTHZ,), 60.0))
    assert found.status == "expired"


def test_subproblems_about_other_kinds_of_names() -> None:
    about = {"type": "permanent-identifier", "value": "a"}
    sub = {"type": "urn:ietf:params:acme:error:caa", "detail": "no", "identifier": about}
    error = {"type": "urn:ietf:params:acme:error:compound", "subproblems": [sub]}
    ca = Ca(order__1=[reply(order("invalid", error=error))])
    found = ask(ca, ORDER, OfOrder(*OF, ORDER_URL))
    assert [one.type for one in found.problem.subproblems] == ["caa"]


def test_finalizing_waits_as_the_ca_says() -> None:
    ca = Ca(
        order__1=[
            reply(order("ready")),
            reply(order("processing"), retry_after="20"),
            reply(order("valid", certificate=f"{HERE}/cert/1")),
        ],
        order__1__finalize=[reply(order("processing"), retry_after="5")],
    )
    found = ask(ca, FINALIZE, Finalize(*OF, ORDER_URL, b"csr", 300.0))
    assert (found.status, found.certificate) == ("valid", f"{HERE}/cert/1")
    assert ca.times("/order/1") == [5.0, 20.0]
    assert ca.count("/order/1/finalize") == 1


def test_a_ca_that_takes_long_for_a_certificate_is_asked_later() -> None:
    ca = Ca(
        order__1=[reply(order("ready"))],
        order__1__finalize=[reply(order("processing"), retry_after="7200")],
    )
    found = ask(ca, FINALIZE, Finalize(*OF, ORDER_URL, b"csr", 300.0))
    assert (found.status, found.retry_after) == ("processing", "7200")
    assert ca.count("/order/1") == 1


def test_an_answer_that_is_lost_is_no_reason_to_finalize_again() -> None:
    ca = Ca(
        order__1=[
            reply(order("ready")),
            reply(order("processing")),
            reply(order("valid", certificate=f"{HERE}/cert/1")),
        ],
        order__1__finalize=[UnreachedError("cut-short")],
    )
    assert ask(ca, FINALIZE, Finalize(*OF, ORDER_URL, b"csr", 300.0)).status == "valid"
    assert ca.count("/order/1/finalize") == 1


def test_what_is_at_work_or_done_is_not_finalized_again() -> None:
    done = reply(order("valid", certificate=f"{HERE}/cert/1"))
    for first in (reply(order("processing")), done):
        ca = Ca(order__1=[first, done])
        assert ask(ca, FINALIZE, Finalize(*OF, ORDER_URL, b"csr", 300.0)).status == "valid"
        assert ca.count("/order/1/finalize") == 0


# --- problems (RFC 8555 §6.7, RFC 9773 §7.4) ----------------------------------------------------


def test_a_refusal_is_passed_on_whole() -> None:
    parts = [
        {
            "type": "urn:ietf:params:acme:error:caa",
            "detail": "no",
            "identifier": {"value": "a.test"},
        },
        "nonsense",
    ]
    for status, kind in ((409, "alreadyReplaced"), (400, "invalidProfile"), (403, "compound")):
        said = problem(status, kind, detail="why", instance=f"{HERE}/doc", subproblems=parts)
        found = ask(Ca(order=[said]), NEW_ORDER, AskOrder(*OF, ("example.test",)))
        assert (found.kind, found.status, found.type) == ("acme", status, kind)
        assert (found.detail, found.instance) == ("why", f"{HERE}/doc")
        (part,) = found.subproblems
        assert (part.type, part.detail, part.name) == ("caa", "no", "a.test")


@pytest.mark.parametrize(
    "wrong",
    [
        order("pending", finalize="https://evil.test/f"),
        order("pending", authorizations=["https://evil.test/a"]),
        order("pending", authorizations=[]),
        order("pending", authorizations=[AUTHZ] * 101),
        order("no-such-status"),
        [],
        "x",
    ],
    ids=range(7),
)
def test_an_order_that_is_none(wrong: Any) -> None:
    ca = Ca(order=[reply(wrong, 201, location=ORDER_URL)])
    found = ask(ca, NEW_ORDER, AskOrder(*OF, ("example.test",)))
    assert isinstance(found, AcmeProblem)
    assert found.kind == "nonsense"


@pytest.mark.parametrize(
    "where", ["", "https://evil.test/order/1", "ftp://ca.test/o", "/order/\x00"]
)
def test_an_order_that_is_nowhere(where: str) -> None:
    ca = Ca(order=[reply(order("pending"), 201, location=where)])
    found = ask(ca, NEW_ORDER, AskOrder(*OF, ("example.test",)))
    assert (found.kind, ca.count("/order")) == ("nonsense", 1)


def test_a_directory_that_was_redirected_to_another_host_is_not_ordered_from() -> None:
    """Accounts and signatures are for the host of ca_server alone."""
    there = "https://moved.test/order"
    ca = Ca(moved=[reply({**SAID, "newOrder": there}, location="")])
    ca.answers["/dir"] = [reply(None, 302, location="https://moved.test/dir")]
    ca.answers["https://moved.test/dir"] = ca.answers["/moved"]
    found = ask(ca, NEW_ORDER, AskOrder(*OF, ("example.test",)))
    assert (found.type, found.detail) == ("foreign", there)
    error = ca_error(found, SERVER.url, datetime.now(UTC))
    assert (type(error), error.reason.code) == (Permanent, Failed.FOREIGN_DIRECTORY)


def test_what_it_replaces_is_said() -> None:
    for replaces in ("aki.serial", ""):
        ca = Ca(order=[reply(order("pending"), 201, location=ORDER_URL)])
        ask(ca, NEW_ORDER, AskOrder(*OF, ("example.test",), replaces=replaces))
        (sent,) = [body for _, path, body in ca.asked if path == "/order"]
        assert _decoded(sent).get("replaces", "") == replaces


def _decoded(payload: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


# --- chains, and lists of orders ----------------------------------------------------------------


def test_other_chains_are_fetched_from_the_ca_alone() -> None:
    pem = "-----BEGIN CERTIFICATE-----\n{}\n"
    links = (
        f'<{HERE}/dir>;rel="index", <{HERE}/cert/2>;rel="alternate", </cert/3>; rel=alternate, '
        '<https://evil.test/cert>;rel="alternate"'
    )
    ca = Ca(cert__2=[problem(500, "serverInternal")])
    ca.answers["/cert/1"] = [Reply("", 200, {"link": links}, pem.format(1).encode())]
    ca.answers["/cert/3"] = [Reply("", 200, {}, pem.format(3).encode())]
    found = ask(ca, CERTIFICATE, Fetch(*OF, f"{HERE}/cert/1", alternates=True))
    assert found.chains == (pem.format(1), pem.format(3))


def listed(*orders: tuple[str, dict[str, Any]], pages: int = 1) -> Ca:
    ca = Ca(acct__1=[reply({"status": "valid", "orders": f"{HERE}/list/0"})])
    urls = [f"{HERE}/order/{name}" for name, _ in orders]
    size = -(-len(urls) // pages)
    for page in range(pages):
        some = urls[page * size : (page + 1) * size]
        more = f'<{HERE}/dir>;rel="index"'
        if page + 1 < pages:
            more += f', <{HERE}/list/{page + 1}>;rel="next"'
        ca.answers[f"/list/{page}"] = [reply({"orders": some}, link=more)]
    for name, one in orders:
        ca.answers[f"/order/{name}"] = [reply(one)]
    return ca


def find(ca: Ca, *names: str, profile: str = "") -> Any:
    return ask(ca, FIND_ORDER, FindOrder(*OF, names or ("example.test",), profile))


def test_the_last_order_that_waits_for_these_names_is_found() -> None:
    other = order("pending", identifiers=[{"type": "dns", "value": "other.test"}])
    ca = listed(
        ("a", order("pending")),
        ("b", order("ready")),
        ("c", order("valid", certificate=f"{HERE}/c")),
        ("d", other),
        ("e", order("processing")),
        pages=3,
    )
    (found,) = find(ca, "Example.test")
    assert isinstance(found, AcmeOrder)
    assert (found.url, found.status) == (f"{HERE}/order/b", "ready")
    assert ca.count("/order/a") == 0


def test_an_order_of_another_profile_is_another() -> None:
    ca = listed(("a", order("pending", profile="short")))
    assert find(ca, profile="long") == ()
    assert len(find(ca, profile="short")) == 1
    assert len(find(ca)) == 1


@pytest.mark.parametrize(
    "account",
    [
        {"status": "valid"},
        {"status": "valid", "orders": 5},
        {"status": "valid", "orders": "not a URL"},
    ],
)
def test_a_ca_that_lists_no_orders(account: Any) -> None:
    ca = Ca(acct__1=[reply(account)])
    assert find(ca) == ()


def test_a_list_without_an_object_around_it() -> None:
    """As step-ca sends it, with more than anybody needs."""
    ca = Ca(acct__1=[reply({"orders": f"{HERE}/list"})])
    ca.answers["/list"] = [reply([*[f"{HERE}/order/x"] * 300, f"{HERE}/order/1"])]
    ca.answers["/order/1"] = [reply(order("pending"))]
    assert len(find(ca)) == 1


def test_a_list_that_leads_elsewhere_or_nowhere() -> None:
    ca = Ca(acct__1=[reply({"orders": "https://evil.test/list"})])
    assert find(ca).kind == "nonsense"
    pages: list[Any] = [[], {"orders": 5}, {"orders": [5, None, "https://evil.test/o"]}]
    for page in pages:
        ca = Ca(acct__1=[reply({"orders": f"{HERE}/list"})], list=[reply(page)])
        assert find(ca) == () or find(ca).kind == "nonsense"


def test_a_list_without_end_ends() -> None:
    ca = Ca(acct__1=[reply({"orders": f"{HERE}/list"})])
    ca.answers["/list"] = [
        reply({"orders": [f"{HERE}/order/x"] * 50}, link=f'<{HERE}/list>;rel="next"')
    ]
    ca.answers["/order/x"] = [reply(order("valid", certificate=f"{HERE}/c"))]
    assert find(ca) == ()
    assert ca.count("/list") <= 200
    assert ca.count("/order/x") <= 20
