"""The engine's decisions, with a CA that answers what it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sslmd.acme import certbot, order_note
from sslmd.acme.account_key import AccountKey
from sslmd.acme.attempt import AccountLostError, Attempt
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.directory import Directory
from sslmd.acme.engine import Engine
from sslmd.acme.order_note import NotedOrder
from sslmd.acme.orders import Challenge
from sslmd.acme.signing import Signer
from sslmd.config.model import Validation
from sslmd.core.errors import Permanent, Transient, ValidationFailed
from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say
from sslmd.net import acme_messages as messages
from sslmd.net.acme_messages import (
    AcmeAccount,
    AcmeChallenge,
    AcmeOrder,
    AcmeProblem,
    Authorization,
    Chains,
)
from sslmd.pki.csr import make_csr
from sslmd.store.layout import OrderFolders
from tests.stand.samples import key_pem, leaf_spec, make_leaf, make_root, make_sub

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
CA = "https://ca.test/dir"
ORDER, AUTHORIZATION = "https://ca.test/order/1", "https://ca.test/authz/1"
TOKEN = "x" * 43
SPEC = leaf_spec("example.test", ("example.test",))
KEY = key_pem()
CSR = make_csr(KEY, SPEC)


class _Service:
    spec = SPEC
    id = SPEC.id


class _Account:
    uri, key = "https://ca.test/account/1", AccountKey.generate()
    asked = AcmeAccount("name", uri)


class _Accounts:
    """The accounts: one, until it is lost."""

    def __init__(self) -> None:
        self.lost_ones = 0
        self.signer = Signer()

    async def account_for(self, *_: object) -> _Account:
        return _Account()

    async def of_uri(self, _server: object, _own: str, uri: str) -> _Account | None:
        return _Account() if uri == _Account.uri else None

    async def lost(self, _: object) -> str:
        self.lost_ones += 1
        return "aside"


class _Net:
    """The CA. `answers` by the name of the operation: one after the other, the last for ever."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    async def call(self, operation: Any, asked: Any) -> Any:
        name = operation.name.removeprefix("acme.").replace("-", "_")
        self.asked.append((name, asked))
        left = self.answers[name]
        return left.pop(0) if len(left) > 1 else left[0]

    def count(self, name: str) -> int:
        return sum(one == name for one, _ in self.asked)


def _order(status: str, **more: Any) -> AcmeOrder:
    return AcmeOrder(ORDER, status, ("example.test",), (AUTHORIZATION,), f"{ORDER}/f", **more)


def _authorization(status: str = "pending", name: str = "example.test", **more: Any) -> Any:
    challenge = AcmeChallenge("dns-01", "https://ca.test/chal/1", TOKEN, "pending")
    return (Authorization(AUTHORIZATION, name, status, challenges=(challenge,), **more),)


def _chain() -> Chains:
    sub = make_sub(make_root())
    leaf = make_leaf(sub, SPEC, key=KEY)
    return Chains(((leaf.cert_pem + leaf.chain_pem).decode(),))


def _net(**other: list[Any]) -> _Net:
    usual: dict[str, list[Any]] = {
        "new_order": [_order("pending")],
        "order": [_order("pending")],
        "authorizations": [_authorization()],
        "offer": [_authorization("valid")],
        "finalize": [_order("valid", certificate=f"{ORDER}/c")],
        "certificate": [_chain()],
    }
    return _Net(**{**usual, **other})


class _Case:
    def __init__(self, top: Path, net: _Net, **more: Any) -> None:
        self.net, self.told = net, list[str]()
        self.proven: list[list[Challenge]] = []
        self.accounts = _Accounts()
        home = top / "cb"
        home.mkdir(exist_ok=True)
        self.place = OrderFolders(str(home), str(home / "order" / "set"))
        self.server = AcmeServer(CA, None, Validation.DNS_01, **more.pop("server", {}))
        self.attempt = Attempt(_Service(), self.server, self.place, CSR, **more)  # type: ignore[arg-type]

    def engine(self, now: datetime = NOW) -> Engine:
        async def in_thread(func: Callable[..., Any], *args: Any, **options: Any) -> Any:
            return func(*args, **options)

        def tell(_: str, what: Reason) -> None:
            self.told.append(say(what))

        return Engine(
            self.attempt,
            self.net,
            self.accounts,  # type: ignore[arg-type]
            in_thread,
            lambda: now,
            lambda _: None,
            tell,
        )

    async def prove(self, challenges: Any) -> None:
        assert self.noted is not None  # before anything else
        assert not self.net.count("offer")  # I8
        self.proven.append(list(challenges))

    @property
    def noted(self) -> NotedOrder | None:
        return order_note.noted(self.place, CSR, self.server, "", NOW)


_SERVED = Directory(
    "https://ca.test/new-order", profiles=("short",), renewal_info="https://ca.test/renewal"
)


async def test_an_order_from_its_beginning_to_the_certificate(tmp_path: Path) -> None:
    case = _Case(tmp_path, _net())
    engine = case.engine()
    assert await engine.take_up(_SERVED) is None
    issued = await engine.issue(_SERVED, case.prove)
    assert issued.cert_pem.count(b"BEGIN") == 1
    assert issued.chain_pem.count(b"BEGIN") >= 1
    ((challenge,),) = case.proven
    assert (challenge.name, challenge.token) == ("example.test", "")
    assert certbot.offered(case.place) == ()
    assert [name for name, _ in case.net.asked] == [
        *("new_order", "authorizations", "offer", "finalize", "certificate")
    ]


@pytest.mark.parametrize("status", ["pending", "ready", "processing", "valid"])
async def test_an_order_is_gone_on_with(tmp_path: Path, status: str) -> None:
    case = _Case(tmp_path, _net(order=[_order(status, certificate=f"{ORDER}/c")]))
    made = NotedOrder(ORDER, _Account.uri, NOW.isoformat())
    order_note.begin(case.place, CSR, case.server, made)
    engine = case.engine()
    issued = await engine.take_up(_SERVED)
    if status == "pending":
        assert issued is None
        issued = await engine.issue(_SERVED, case.prove)
    assert issued is not None
    assert case.net.count("new_order") == 0


@pytest.mark.parametrize(
    "found",
    [
        _order("invalid"),
        AcmeProblem("acme", ORDER, 404, "malformed", detail="no such order"),
        AcmeProblem("http", ORDER, 404),
        AcmeProblem("acme", ORDER, 400, "accountDoesNotExist"),
    ],
    ids=["invalid", "malformed", "http", "account"],
)
async def test_an_order_that_is_no_more_is_dropped(tmp_path: Path, found: Any) -> None:
    case = _Case(tmp_path, _net(order=[found]))
    order_note.begin(case.place, CSR, case.server, NotedOrder(ORDER, _Account.uri, NOW.isoformat()))
    assert await case.engine().take_up(_SERVED) is None
    assert case.noted is None


async def test_an_order_that_cannot_be_asked_for_is_kept(tmp_path: Path) -> None:
    down = AcmeProblem("unreachable", ORDER, type="system", detail="Connection refused")
    case = _Case(tmp_path, _net(order=[down]))
    order_note.begin(case.place, CSR, case.server, NotedOrder(ORDER, _Account.uri, NOW.isoformat()))
    with pytest.raises(Transient, match="cannot be taken up now"):
        await case.engine().take_up(_SERVED)
    assert case.noted is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"x"',
        "[" * 100_000,
        '{"url": 5, "account": "https://ca.test/account/1", "made": "2026-11-30T12:00:00+00:00"}',
        '{"url": "https://ca.test/order/1"}',
        json.dumps({"url": ORDER, "account": _Account.uri, "made": "yesterday"}),
        json.dumps({"url": ORDER, "account": _Account.uri, "made": "2026-11-30T12:00:00"}),
        json.dumps({"url": ORDER, "account": _Account.uri, "made": "2026-11-01T12:00:00+00:00"}),
        json.dumps({"url": ORDER, "account": _Account.uri, "made": NOW.isoformat(), "x": 1}),
    ],
    ids=range(11),
)
async def test_an_unusable_note_is_no_order(tmp_path: Path, text: str) -> None:
    case = _Case(tmp_path, _net())
    order_note.begin(case.place, CSR, case.server, NotedOrder(ORDER, _Account.uri, NOW.isoformat()))
    Path(case.place.order_note).write_text(text)
    assert await case.engine().take_up(_SERVED) is None
    assert case.net.asked == []


async def test_an_order_of_another_account_or_profile_is_not_gone_on_with(tmp_path: Path) -> None:
    for made in (
        NotedOrder(ORDER, "https://ca.test/account/2", NOW.isoformat()),
        NotedOrder(ORDER, _Account.uri, NOW.isoformat(), "short"),
    ):
        case = _Case(tmp_path, _net())
        order_note.begin(case.place, CSR, case.server, made)
        assert await case.engine().take_up(_SERVED) is None
        assert case.net.asked == []


async def test_names_that_were_not_validated_are_told_and_end_the_order(tmp_path: Path) -> None:
    wrong = AcmeProblem("acme", AUTHORIZATION, 200, "unauthorized", detail="No TXT record")
    case = _Case(tmp_path, _net(offer=[_authorization("invalid", problem=wrong)]))
    with pytest.raises(ValidationFailed, match="No TXT record") as caught:
        await case.engine().issue(_SERVED, case.prove)
    assert caught.value.names == ("example.test",)
    assert case.noted is None
    assert certbot.offered(case.place) == ()


async def test_what_may_pass_keeps_the_order_and_what_is_final_ends_it(tmp_path: Path) -> None:
    for problem, kept in (
        (AcmeProblem("acme", ORDER, 503, "serverInternal", retry_after="120"), True),
        (AcmeProblem("acme", ORDER, 429, "rateLimited"), True),
        (AcmeProblem("unreachable", ORDER, type="cut-short"), True),
        (AcmeProblem("late", ORDER), True),
        (AcmeProblem("acme", ORDER, 403, "caa", detail="CAA forbids"), False),
    ):
        case = _Case(tmp_path, _net(finalize=[problem]))
        with pytest.raises((Transient, Permanent)):
            await case.engine().issue(_SERVED, case.prove)
        assert (case.noted is not None) == kept, problem


async def test_an_order_that_is_processed_is_kept_and_says_until_when(tmp_path: Path) -> None:
    case = _Case(tmp_path, _net(finalize=[_order("processing", retry_after="3600")]))
    with pytest.raises(Transient, match="still at work on the order") as caught:
        await case.engine().issue(_SERVED, case.prove)
    assert caught.value.retry_at == NOW + timedelta(hours=1)
    assert case.noted is not None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (_authorization(name="evil.test"), "name: evil.test"),
        (_authorization("revoked"), "revoked"),
    ],
)
async def test_odd_authorizations(tmp_path: Path, found: Any, said: str) -> None:
    case = _Case(tmp_path, _net(authorizations=[found]))
    with pytest.raises(Transient, match=said):
        await case.engine().issue(_SERVED, case.prove)
    assert case.proven == []


async def test_a_validation_that_is_not_offered(tmp_path: Path) -> None:
    case = _Case(
        tmp_path, _net(authorizations=[(Authorization(AUTHORIZATION, "example.test", "pending"),)])
    )
    with pytest.raises(Permanent, match="does not offer for every name"):
        await case.engine().issue(_SERVED, case.prove)


async def test_an_account_that_is_lost(tmp_path: Path) -> None:
    lost = AcmeProblem("acme", ORDER, 400, "accountDoesNotExist", detail="who are you?")
    case = _Case(tmp_path, _net(new_order=[lost]))
    engine = case.engine()
    with pytest.raises(AccountLostError):
        await engine.issue(_SERVED, case.prove)
    await engine.lose_account()
    assert case.accounts.lost_ones == 1


@pytest.mark.parametrize(
    "problem",
    [
        AcmeProblem("acme", ORDER, 409, "alreadyReplaced", detail="there is another"),
        AcmeProblem("http", ORDER, 409),
        AcmeProblem("acme", ORDER, 404, "malformed", detail="which certificate?"),
        AcmeProblem("acme", ORDER, 403, "unauthorized", detail="of another account"),
    ],
    ids=lambda one: one.type or one.kind,
)
async def test_a_replacement_that_is_refused_is_ordered_without(
    tmp_path: Path, problem: AcmeProblem
) -> None:
    case = _Case(tmp_path, _net(new_order=[problem, _order("pending")]), replaces="aki.serial")
    await case.engine().issue(_SERVED, case.prove)
    asked = [one.replaces for name, one in case.net.asked if name == "new_order"]
    assert asked == ["aki.serial", ""]
    assert "does not take the order as a replacement" in case.told[0]


async def test_a_limit_is_not_got_round_by_leaving_out_what_is_replaced(tmp_path: Path) -> None:
    limited = AcmeProblem("acme", ORDER, 429, "rateLimited", detail="too many")
    case = _Case(tmp_path, _net(new_order=[limited]), replaces="aki.serial")
    with pytest.raises(Transient, match="too many"):
        await case.engine().issue(_SERVED, case.prove)
    assert case.net.count("new_order") == 1


@pytest.mark.parametrize(("wish", "asked"), [("short", "short"), ("other", "")])
async def test_a_profile_is_a_wish(tmp_path: Path, wish: str, asked: str) -> None:
    case = _Case(tmp_path, _net(), server={"profile": wish})

    async def prove(_: Any) -> None:
        return

    await case.engine().issue(_SERVED, prove)
    (order,) = [one for name, one in case.net.asked if name == "new_order"]
    assert isinstance(order, messages.AskOrder)
    assert order.profile == asked


async def test_a_replacement_is_not_asked_of_a_ca_that_knows_none(tmp_path: Path) -> None:
    case = _Case(tmp_path, _net(), replaces="aki.serial")
    await case.engine().issue(replace(_SERVED, renewal_info=""), case.prove)
    assert [one.replaces for name, one in case.net.asked if name == "new_order"] == [""]
