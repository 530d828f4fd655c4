"""What is signed for a network process that was taken over: what we ask for, and no more."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sslmd.acme import permits, signing
from sslmd.acme.account_key import AccountKey, b64
from sslmd.acme.permits import Question
from sslmd.acme.signing import Binding, KnownKey, Signer
from sslmd.core.failed import Failed
from sslmd.core.trouble import NETWORK
from sslmd.core.words.sentence import say
from sslmd.net.acme import AcmeSteps
from sslmd.net.acme_ca import MOST_NONCES
from sslmd.net.acme_messages import (
    DIRECTORY,
    AcmeAccount,
    AcmeDirectory,
    AskAccount,
    AskOrder,
    CaAddress,
    ChangeAccount,
    ChangeKey,
    Fetch,
    Finalize,
    OfAuthorizations,
    Offer,
    OfOrder,
    OfServer,
)
from sslmd.net.acme_read import ProblemError
from sslmd.net.client import Net
from sslmd.net.messages import PING, Alive
from sslmd.net.sign_messages import PUBLIC_KEY, SIGN, AskSignature, OfKey, Signature
from tests.stand.server import ROOT
from tests.stand.stalls import LONGEST, watched
from tests.stand.virtual_time import run

CA = "https://ca.test/dir"
SERVER = CaAddress(CA)
NAME, NEW = "the account's key", "its next key"
URI = "https://ca.test/account/1"
ACCOUNT, UNMADE = AcmeAccount(NAME, URI), AcmeAccount(NAME)
ORDER, AUTHZ = "https://ca.test/order/1", "https://ca.test/authz/1"
CHALLENGE, FINALIZE = "https://ca.test/challenge/1", "https://ca.test/order/1/finalize"
NEW_ORDER, NEW_ACCOUNT = "https://ca.test/new-order", "https://ca.test/new-account"
KEY_CHANGE, REVOKE = "https://ca.test/key-change", "https://ca.test/revoke"
CSR = b"a request for a certificate"
NAMES = ("example.com", "*.example.com", "192.0.2.1")
MAC = b"k" * 32

KEY, NEXT = AccountKey.generate(), AccountKey.generate()


def _dns(*names: str) -> list[dict[str, str]]:
    return [{"type": "dns", "value": name} for name in names]


IDENTIFIERS = [*_dns(*NAMES[:2]), {"type": "ip", "value": NAMES[2]}]

ASK_ORDER = AskOrder(SERVER, ACCOUNT, NAMES, "short", "aki.serial")
ASK_OFFER = Offer(SERVER, ACCOUNT, (CHALLENGE,), (AUTHZ,), 60.0)
ASK_FINALIZE = Finalize(SERVER, ACCOUNT, ORDER, CSR, 60.0)
ASK_MADE = AskAccount(SERVER, UNMADE, ("mailto:a@example.com",))
ASK_BOUND = AskAccount(SERVER, UNMADE, ("mailto:a@example.com",), "kid")
ASK_THERE = AskAccount(SERVER, UNMADE, only_existing=True)
ASK_CONTACT = ChangeAccount(SERVER, ACCOUNT, ("mailto:b@example.com",))
ASK_END = ChangeAccount(SERVER, ACCOUNT, deactivate=True)
ASK_LOOK = ChangeAccount(SERVER, ACCOUNT)
ASK_KEY = ChangeKey(SERVER, ACCOUNT, NEW)
READING: tuple[Question, ...] = (
    OfOrder(SERVER, ACCOUNT, ORDER),
    OfAuthorizations(SERVER, ACCOUNT, (AUTHZ,)),
    Fetch(SERVER, ACCOUNT, "https://ca.test/cert/1"),
    ASK_LOOK,
)
EVERY: tuple[Question, ...] = (
    *READING,
    *(ASK_ORDER, ASK_OFFER, ASK_FINALIZE, ASK_MADE, ASK_BOUND),
    *(ASK_THERE, ASK_CONTACT, ASK_END, ASK_KEY),
)

ORDERED = {"identifiers": IDENTIFIERS, "profile": "short", "replaces": "aki.serial"}
REGISTERED = {"termsOfServiceAgreed": True, "contact": ["mailto:a@example.com"]}


class _TakenOver:
    """A network process that asks for what it likes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.signer = Signer(self.told.append)
        self.signer.enter(NAME, KnownKey(CA, KEY, Binding("kid", MAC)))
        self.signer.enter(NEW, KnownKey(CA, NEXT))

    async def sign(
        self, url: str, body: object = None, *, uri: str = URI, nonce: str = "nonce", **more: Any
    ) -> Signature:
        payload = "" if body is None else b64(json.dumps(body).encode())
        given: dict[str, Any] = {"server": CA, "key": NAME, "payload": payload, **more}
        asked = AskSignature(url=url, uri=uri, nonce=nonce, **given)
        found = await self.signer.handlers()[SIGN](asked)
        assert isinstance(found, Signature)
        return found

    async def public_key(self, key: str = NAME) -> str:
        return str((await self.signer.handlers()[PUBLIC_KEY](OfKey(key))).jwk)

    async def gets(self, url: str, body: object = None, **more: Any) -> bool:
        return bool((await self.sign(url, body, **more)).signature)

    def asked(self, *questions: Question) -> ExitStack:
        stack = ExitStack()
        for question in questions:
            stack.enter_context(self.signer.asking(question))
        return stack


def _head(found: Signature) -> dict[str, Any]:
    text = base64.urlsafe_b64decode(found.protected + "=" * (-len(found.protected) % 4))
    head = json.loads(text)
    assert isinstance(head, dict)
    return head


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _is_by(found: Signature, payload: object, key: AccountKey) -> bool:
    both = _bytes(found.signature)
    numbers = (int.from_bytes(both[at : at + 32], "big") for at in (0, 32))
    signed = f"{found.protected}.{b64(json.dumps(payload).encode())}".encode()
    x, y = (int.from_bytes(_bytes(key.public[part]), "big") for part in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    try:
        public.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# What it asks for: the URL, the body, and the question of ours that it follows from.
RIGHT: dict[str, tuple[Question, str, object, dict[str, Any]]] = {
    "newOrder": (ASK_ORDER, NEW_ORDER, ORDERED, {}),
    "finalize": (ASK_FINALIZE, FINALIZE, {"csr": b64(CSR)}, {}),
    "challenge": (ASK_OFFER, CHALLENGE, {}, {}),
    "newAccount": (ASK_MADE, NEW_ACCOUNT, REGISTERED, {"uri": ""}),
    "existing": (ASK_THERE, NEW_ACCOUNT, {"onlyReturnExisting": True}, {"uri": ""}),
    "contact": (ASK_CONTACT, URI, {"contact": ["mailto:b@example.com"]}, {}),
    "deactivate": (ASK_END, URI, {"status": "deactivated"}, {}),
    "inner": (ASK_KEY, KEY_CHANGE, {"account": URI, "oldKey": KEY.public},
              {"key": NEW, "uri": "", "nonce": ""}),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
async def test_what_is_asked_for_is_signed_while_it_is_asked_for_and_by_nobody_else(
    kind: str,
) -> None:
    question, url, body, more = RIGHT[kind]
    other = _TakenOver()
    others = [one for one in EVERY if one is not question]
    with other.asked(*others):
        assert not await other.gets(url, body, **more)
    assert len(other.told) == 1

    taken = _TakenOver()
    with taken.asked(question):
        found = await taken.sign(url, body, **more)
        assert _is_by(found, body, NEXT if kind == "inner" else KEY)
        head = _head(found)
        assert (head["url"], head["alg"]) == (url, "ES256")
        assert ("kid" in head) == ("uri" not in more)
        for wrong in (
            {"uri": "https://ca.test/account/2"},
            {"uri": "" if "uri" not in more else URI},
            {"server": "https://other.test/dir"},
            {"key": "no key"},
            {"nonce": "" if more.get("nonce", "x") else "nonce"},
        ):
            assert not await taken.gets(url, body, **{**more, **wrong}), wrong
        assert not await taken.gets("https://other.test/x", body, **more)
    assert not await taken.gets(url, body, **more)


@pytest.mark.parametrize("question", READING, ids=lambda one: type(one).__name__)
async def test_what_is_there_is_read_while_something_is_asked(question: Question) -> None:
    taken = _TakenOver()
    assert not await taken.gets(ORDER)
    with taken.asked(question):
        assert await taken.gets(ORDER)
        assert not await taken.gets(ORDER, uri="")
        assert not await taken.gets("https://ca.test.evil.test/order/1")
        for body in (ORDERED, {}, {"csr": b64(CSR)}, {"status": "deactivated"}, REGISTERED):
            assert not await taken.gets(ORDER, body)


@pytest.mark.parametrize(
    "body",
    [
        {**ORDERED, "identifiers": _dns("evil.test")},
        {**ORDERED, "identifiers": [*IDENTIFIERS, *_dns("evil.test")]},
        {**ORDERED, "identifiers": IDENTIFIERS[:2]},
        {**ORDERED, "identifiers": [*IDENTIFIERS, IDENTIFIERS[0]]},
        {**ORDERED, "identifiers": _dns(*NAMES)},
        {**ORDERED, "identifiers": [{**one, "more": 1} for one in IDENTIFIERS]},
        {**ORDERED, "identifiers": {}},
        {**ORDERED, "identifiers": None},
        {**ORDERED, "identifiers": [None]},
        {**ORDERED, "identifiers": [[]]},
        {**ORDERED, "identifiers": [{"type": 5, "value": []}]},
        {**ORDERED, "profile": "long"},
        {**ORDERED, "profile": ["short"]},
        {**ORDERED, "replaces": "aki.other"},
        {**ORDERED, "notAfter": "2030-01-01T00:00:00Z"},
        {"identifiers": IDENTIFIERS, "profile": "short"},
        {"identifiers": IDENTIFIERS, "replaces": "aki.serial"},
        {"identifiers": IDENTIFIERS},
        {**ORDERED, "csr": b64(CSR)},
        [ORDERED],
        "identifiers",
    ],
    ids=lambda body: str(body)[:40],
)
async def test_another_order_is_not_signed(body: object) -> None:
    taken = _TakenOver()
    with taken.asked(ASK_ORDER):
        assert not await taken.gets(NEW_ORDER, body)
        assert taken.told
        assert await taken.gets(NEW_ORDER, ORDERED)


async def test_an_order_without_profile_and_predecessor() -> None:
    taken = _TakenOver()
    with taken.asked(AskOrder(SERVER, ACCOUNT, NAMES)):
        for more in ({"profile": "short"}, {"replaces": "aki.serial"}, {"profile": ""}):
            assert not await taken.gets(NEW_ORDER, {"identifiers": IDENTIFIERS, **more})
        assert await taken.gets(NEW_ORDER, {"identifiers": IDENTIFIERS})


async def test_an_order_is_signed_once_for_each_nonce_and_no_more() -> None:
    assert permits.MOST_ORDERS == MOST_NONCES + 1
    taken = _TakenOver()
    with taken.asked(ASK_ORDER):
        for _ in range(permits.MOST_ORDERS):
            assert await taken.gets(NEW_ORDER, ORDERED)
        assert not await taken.gets(NEW_ORDER, ORDERED)
        with taken.asked(ASK_ORDER):  # for another certificate with the same names
            assert await taken.gets(NEW_ORDER, ORDERED)


@pytest.mark.parametrize(
    ("url", "body", "more"),
    [
        (CHALLENGE.replace("1", "2"), {}, {}),
        (URI, {}, {}),
        (FINALIZE, {"csr": b64(b"another")}, {}),
        (FINALIZE, {"csr": b64(CSR), "more": 1}, {}),
        (FINALIZE, {"csr": [b64(CSR)]}, {}),
        (URI, {"contact": ["mailto:evil@example.com"]}, {}),
        (URI, {"contact": []}, {}),
        (URI, {"contact": "mailto:b@example.com"}, {}),
        (URI, {"contact": {"mailto:b@example.com": 1}}, {}),
        (ORDER, {"contact": ["mailto:b@example.com"]}, {}),
        (AUTHZ, {"status": "deactivated"}, {}),
        (URI, {"status": "revoked"}, {}),
        (URI, {"status": None}, {}),
        (REVOKE, {"certificate": b64(CSR)}, {}),
        (REVOKE, {"certificate": b64(CSR), "reason": 1}, {}),
        (REVOKE, {"certificate": b64(CSR)}, {"uri": ""}),
        (NEW_ACCOUNT, {**REGISTERED, "contact": ["mailto:evil@example.com"]}, {"uri": ""}),
        (NEW_ACCOUNT, {**REGISTERED, "termsOfServiceAgreed": False}, {"uri": ""}),
        (NEW_ACCOUNT, {**REGISTERED, "externalAccountBinding": {}}, {"uri": ""}),
        (NEW_ACCOUNT, {**REGISTERED, "externalAccountBinding": "x"}, {"uri": ""}),
        (NEW_ACCOUNT, {"onlyReturnExisting": "yes"}, {"uri": ""}),
        (NEW_ACCOUNT, {}, {"uri": ""}),
        (NEW_ACCOUNT, None, {"uri": ""}),
        (KEY_CHANGE, {"account": URI, "oldKey": KEY.public}, {}),
        (KEY_CHANGE, {"account": URI, "oldKey": KEY.public}, {"uri": "", "nonce": ""}),
        (KEY_CHANGE, {"account": "https://ca.test/account/2", "oldKey": KEY.public},
         {"key": NEW, "uri": "", "nonce": ""}),
        (KEY_CHANGE, {"account": URI, "oldKey": NEXT.public},
         {"key": NEW, "uri": "", "nonce": ""}),
        (KEY_CHANGE, {"protected": "x", "payload": "y", "signature": "z"}, {}),
        (KEY_CHANGE, {"protected": "x", "payload": "y", "signature": []}, {}),
        (NEW_ORDER, {"anything": 1}, {}),
        (NEW_ORDER, [], {}),
        (NEW_ORDER, "text", {}),
    ],
    ids=lambda one: str(one)[:50],
)  # fmt: skip
async def test_nothing_else_is_signed_whatever_is_asked(
    url: str, body: object, more: dict[str, Any]
) -> None:
    taken = _TakenOver()
    with taken.asked(*EVERY):
        assert not await taken.gets(url, body, **more)
    assert len(taken.told) == 1


@pytest.mark.parametrize(
    "payload",
    [
        "=", "a.b", "ä", "x", b64(b"{"), b64(b"[" * 100_000), b64(b"\xff"),
        b64(b'{"csr": "a", "csr": "b"}'), "A" * (permits.MOST_PAYLOAD + 1),
    ],
    ids=lambda one: repr(one[:20]),
)  # fmt: skip
async def test_a_payload_that_is_none(payload: str) -> None:
    taken = _TakenOver()
    with taken.asked(*EVERY):
        assert not await taken.gets(NEW_ORDER, payload=payload)
    assert len(taken.told) == 1


async def test_a_name_twice_hides_nothing() -> None:
    """A CA might go by the first."""
    twice = '{"identifiers": ' + json.dumps(_dns("evil.test")) + "," + json.dumps(ORDERED)[1:]
    taken = _TakenOver()
    with taken.asked(ASK_ORDER):
        assert not await taken.gets(NEW_ORDER, payload=b64(twice.encode()))


# --- inner signatures ---


async def test_an_account_is_bound_to_the_external_account_that_was_asked_for() -> None:
    taken = _TakenOver()
    ours = b64(json.dumps(KEY.public).encode())
    bind: dict[str, Any] = {"uri": "", "nonce": "", "binding_kid": "kid"}
    assert not await taken.gets(NEW_ACCOUNT, payload=ours, **bind)
    with taken.asked(*(one for one in EVERY if one is not ASK_BOUND)):
        assert not await taken.gets(NEW_ACCOUNT, payload=ours, **bind)
    with taken.asked(ASK_BOUND):
        assert not await taken.gets(NEW_ACCOUNT, REGISTERED, uri="")  # without it
        assert not await taken.gets(NEW_ACCOUNT, payload=ours, **{**bind, "binding_kid": "other"})
        assert not await taken.gets(NEW_ACCOUNT, NEXT.public, **bind)
        found = await taken.sign(NEW_ACCOUNT, payload=ours, **bind)
        signed = f"{found.protected}.{ours}".encode()
        assert _bytes(found.signature) == hmac.new(MAC, signed, hashlib.sha256).digest()
        assert _head(found) == {"alg": "HS256", "kid": "kid", "url": NEW_ACCOUNT}
        jws = {"protected": found.protected, "payload": ours, "signature": found.signature}
        body = {**REGISTERED, "externalAccountBinding": jws}
        evil = {**REGISTERED, "externalAccountBinding": {**jws, "protected": b64(b"{}")}}
        assert not await taken.gets(NEW_ACCOUNT, evil, uri="")
        assert not await taken.gets("https://ca.test/other", body, uri="")
        assert await taken.gets(NEW_ACCOUNT, body, uri="")
    assert not await taken.gets(NEW_ACCOUNT, body, uri="")


async def test_an_account_gets_the_key_that_was_made_for_it() -> None:
    taken = _TakenOver()
    body = {"account": URI, "oldKey": KEY.public}
    inner: dict[str, Any] = {"key": NEW, "uri": "", "nonce": ""}
    with taken.asked(ASK_KEY):
        found = await taken.sign(KEY_CHANGE, body, **inner)
        assert _head(found)["jwk"] == NEXT.public
        payload = b64(json.dumps(body).encode())
        jws = {"protected": found.protected, "payload": payload, "signature": found.signature}
        # By a key of somebody else's.
        theirs = AccountKey.generate()
        head = {"alg": "ES256", "url": KEY_CHANGE, "jwk": theirs.public}
        protected = b64(json.dumps(head).encode())
        evil = {"protected": protected, "payload": payload}
        evil["signature"] = theirs.sign(protected, payload)
        assert not await taken.gets(KEY_CHANGE, evil)
        assert not await taken.gets("https://ca.test/other", jws)
        assert not await taken.gets(KEY_CHANGE, jws, key=NEW)
        assert await taken.gets(KEY_CHANGE, jws)
    assert not await taken.gets(KEY_CHANGE, jws)


async def test_a_public_key_is_told_where_it_is_needed() -> None:
    taken = _TakenOver()
    assert await taken.public_key() == ""
    with taken.asked(*(one for one in EVERY if one not in (ASK_KEY, ASK_BOUND))):
        assert await taken.public_key() == ""
    for question in (ASK_KEY, ASK_BOUND):
        with taken.asked(question):
            assert json.loads(await taken.public_key()) == KEY.public
            assert await taken.public_key(NEW) == ""
            assert await taken.public_key("no key") == ""


# --- what is told of it ---


def test_a_question_that_is_over_may_still_be_on_its_way() -> None:
    async def story() -> None:
        taken = _TakenOver()
        with taken.asked(ASK_FINALIZE):
            pass
        assert not await taken.gets(FINALIZE, {"csr": b64(CSR)})
        assert (taken.told, taken.signer.trouble) == ([], None)
        assert not await taken.gets(FINALIZE, {"csr": b64(b"another")})
        assert len(taken.told) == 1
        taken.told.clear()
        await asyncio.sleep(3600.0)
        assert not await taken.gets(FINALIZE, {"csr": b64(CSR)})
        assert len(taken.told) == 1

    run(story())


def test_what_was_refused_is_told_now_and_then_and_is_trouble_for_a_day() -> None:
    async def story() -> None:
        taken = _TakenOver()
        assert taken.signer.trouble is None
        for _ in range(500):
            assert not await taken.gets(NEW_ORDER, ORDERED)
        assert len(taken.told) == 1
        assert "newOrder" in taken.told[0]
        trouble = taken.signer.trouble
        assert trouble is not None
        assert (trouble.code, trouble["times"]) == (Failed.NET_FORGES, 500)
        assert str(trouble.code) in NETWORK
        assert "newOrder" in say(trouble)
        await asyncio.sleep(signing.WITHIN + 1)
        assert taken.signer.trouble is None

    run(story())


async def test_questions_that_are_over_are_not_kept_for_ever() -> None:
    taken = _TakenOver()
    for number in range(signing._MOST_LATE // 2 + 100):
        with taken.asked(Finalize(SERVER, ACCOUNT, ORDER, str(number).encode(), 60.0)):
            pass
    assert not taken.signer._open
    assert len(taken.signer._over) <= signing._MOST_LATE


async def test_a_rollover_of_the_key_keeps_requests_back_and_checks_them_after() -> None:
    taken = _TakenOver()
    with taken.asked(ASK_ORDER):
        with taken.signer.paused(NAME):
            asking = asyncio.ensure_future(taken.sign(NEW_ORDER, ORDERED))
            forging = asyncio.ensure_future(taken.sign(NEW_ORDER, {"identifiers": []}))
            await asyncio.sleep(0)
            assert not asking.done()
            taken.signer.enter(NAME, KnownKey(CA, NEXT))
        assert _is_by(await asking, ORDERED, NEXT)
        assert not (await forging).signature


# --- the steps that the network process takes ---


async def test_a_step_without_a_signature_is_a_problem_and_no_fault() -> None:
    async def sign(_: AskSignature) -> Signature:
        return Signature()

    async def public_key(_: str) -> str:
        return ""

    with pytest.raises(ProblemError) as caught:
        await AcmeSteps(sign, public_key)._key(ACCOUNT)
    assert caught.value.problem.type == "not-signed"


# --- a process that does so ---

_PROGRAM = f"""
import asyncio, sys
sys.path.insert(0, {str(ROOT)!r})
from sslmd.net import child
from sslmd.net.acme_messages import DIRECTORY, AcmeDirectory
from sslmd.net.sign_messages import SIGN, AskSignature

def handlers_of(daemon):
    async def directory(asked):
        bodies = ["", asked.server.roots] * 1250
        said = ({CA!r}, {NAME!r}, {NEW_ORDER!r})
        requests = [AskSignature(*said, one, "n", {URI!r}) for one in bodies]
        found = await asyncio.gather(*(daemon.call(SIGN, request) for request in requests))
        return AcmeDirectory("https://ca.test/" + str(sum(bool(one.signature) for one in found)))
    return {{DIRECTORY: directory}}

child.handlers_of = handlers_of
child.main(sys.argv[1:])
"""


async def test_a_flood_of_requests_gets_what_follows_and_stalls_nobody() -> None:
    taken = _TakenOver()
    net = Net(taken.signer.handlers(), print, print, user="nobody")
    net._command = (sys.executable, "-c", _PROGRAM)
    payload = b64(json.dumps(ORDERED).encode())
    await net.start()
    try:
        await net.call(PING, Alive())
        with taken.asked(ASK_ORDER):
            async with watched() as stalls:
                found = await net.call(DIRECTORY, OfServer(CaAddress(CA, payload)))
    finally:
        await net.stop()
    assert isinstance(found, AcmeDirectory)
    assert int(found.new_order.rpartition("/")[2]) == 1250 + permits.MOST_ORDERS
    assert len(taken.told) == 1
    assert stalls.longest < LONGEST
