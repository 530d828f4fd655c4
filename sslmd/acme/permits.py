"""What may be signed for the network process: what follows from a question of the daemon's (I13).

Whoever has taken that process over can ask for any signature. It gets those that the daemon's own
questions need at that moment, and no other: an order for the names, the profile and the predecessor
that were asked for, a request for a certificate that is ours, what a challenge that was proven
needs, and a change of an account only while an admin wants that. `acts_of` says what a question
needs, `act_of` what a request would do; both have the same form, so that one is looked for in the
other.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sslmd.acme.account_key import b64
from sslmd.net.acme_messages import (
    AskAccount,
    AskOrder,
    AskSignature,
    ChangeAccount,
    ChangeKey,
    Fetch,
    Finalize,
    OfAuthorizations,
    Offer,
    OfOrder,
)

Question = (
    AskAccount
    | ChangeAccount
    | ChangeKey
    | AskOrder
    | OfOrder
    | OfAuthorizations
    | Offer
    | Finalize
    | Fetch
)

# What a request does, by the RFC's name for it, and what decides whether it may.
Act = tuple[object, ...]

# Characters of a payload: an order of 100 names has 45,000, its certificate request as many.
MOST_PAYLOAD = 256 << 10

# An order is signed so often: once for each nonce that the CA does not take (`net.acme_ca`).
MOST_ORDERS = 9

UNKNOWN: Act = ("unknown",)
READ: Act = ("POST-as-GET",)
PUBLIC: Act = ("public key",)

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_JWS = {"protected", "payload", "signature"}


@dataclass(frozen=True, slots=True)
class Permit:
    """One act that a question needs: of which key, and in the name of which account ("": none)."""

    key: str
    uri: str
    act: Act


def acts_of(question: Question, public: Mapping[str, str]) -> set[Permit]:
    """Return what has to be signed for a question; `public`: the account's key, as JWK."""
    account = question.account
    acts: set[Act] = {READ}
    match question:
        case AskAccount():
            acts = _registering(question)
        case ChangeAccount() if question.contact is not None or question.deactivate:
            status = "deactivated" if question.deactivate else None
            acts = {("account", account.uri, question.contact, status)}
        case ChangeKey():
            inner = Permit(question.new_key, "", _inner(account.uri, public))
            return {inner, Permit(account.key, "", PUBLIC)}
        case AskOrder():
            names = tuple(sorted(map(_identifier, question.names)))
            acts.add(("newOrder", names, question.profile or None, question.replaces or None))
        case Offer():
            acts |= {("challenge", url) for url in question.challenges}
        case Finalize():
            acts.add(("finalize", b64(question.csr)))
        case _:
            pass
    return {Permit(account.key, "" if act is PUBLIC else account.uri, act) for act in acts}


def _registering(asked: AskAccount) -> set[Act]:
    if asked.only_existing:
        return {("newAccount", (), True, None)}
    if asked.binding_kid:  # the rest is known when that is signed
        return {PUBLIC, ("externalAccountBinding", asked.binding_kid)}
    return {("newAccount", asked.contact, None, None)}


def follows(question: Question, request: ToBeSigned, jws: Act) -> Permit | None:
    """Return what else may be signed, now that an inner signature was given: what has it in it."""
    if request.nonce:
        return None
    account = question.account
    if isinstance(question, ChangeKey):
        return Permit(account.key, account.uri, ("keyChange", request.url, *jws))
    if isinstance(question, AskAccount) and request.binding_kid:
        binding = (request.url, *jws)
        return Permit(account.key, "", ("newAccount", question.contact, None, binding))
    return None


@dataclass(frozen=True, slots=True)
class ToBeSigned:
    """What is to be signed. `body`: what the payload says, None for an empty one (§6.3)."""

    key: str
    uri: str
    url: str
    nonce: str
    body: Mapping[str, Any] | None
    binding_kid: str = ""


def read(asked: AskSignature) -> ToBeSigned | None:
    """Return a request, None for what is none."""
    payload, body = asked.payload, None
    if len(payload) > MOST_PAYLOAD or not _BASE64URL.fullmatch(payload):
        return None
    if payload:
        try:
            text = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            body = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            return None
        if not isinstance(body, dict):
            return None
    return ToBeSigned(asked.key, asked.uri, asked.url, asked.nonce, body, asked.binding_kid)


def permit_for(request: ToBeSigned) -> Permit:
    """Return what would have to be permitted."""
    return Permit(request.key, request.uri, _act_of(request))


def _act_of(request: ToBeSigned) -> Act:
    body = request.body
    if request.binding_kid:
        return ("externalAccountBinding", request.binding_kid)
    if not request.nonce:  # only what is sent within another request has none (§7.3.5)
        if body is None or request.uri or body.keys() != {"account", "oldKey"}:
            return UNKNOWN
        return _inner(body["account"], body["oldKey"])
    if body is None:
        return READ if request.uri else UNKNOWN
    try:
        return _of_account(request, body) if request.uri else _new_account(request, body)
    except (TypeError, ValueError, KeyError, AttributeError):  # nothing of the form that ours have
        return UNKNOWN


def _of_account(request: ToBeSigned, body: Mapping[str, Any]) -> Act:
    """Return what a request in the name of an account does."""
    keys = body.keys()
    if not keys:
        return ("challenge", request.url)
    if "identifiers" in keys and keys <= {"identifiers", "profile", "replaces"}:
        names = sorted(map(_identifier_in, _list(body["identifiers"])))
        return ("newOrder", tuple(names), _text(body.get("profile")), _text(body.get("replaces")))
    if keys == {"csr"}:
        return ("finalize", _text(body["csr"]))
    if keys == _JWS:
        return ("keyChange", request.url, *_jws(body))
    if keys <= {"contact", "status"}:
        contact = tuple(map(_text, _list(body["contact"]))) if "contact" in keys else None
        return ("account", request.url, contact, _text(body.get("status")))
    return UNKNOWN


def _new_account(request: ToBeSigned, body: Mapping[str, Any]) -> Act:
    keys = body.keys()
    if keys == {"onlyReturnExisting"} and body["onlyReturnExisting"] is True:
        return ("newAccount", (), True, None)
    if not keys <= {"termsOfServiceAgreed", "contact", "externalAccountBinding"}:
        return UNKNOWN
    if body.get("termsOfServiceAgreed") is not True:
        return UNKNOWN
    binding = body.get("externalAccountBinding")
    bound = None
    if binding is not None:
        if binding.keys() != _JWS:
            return UNKNOWN
        bound = (request.url, *_jws(binding))
    return ("newAccount", tuple(map(_text, _list(body.get("contact", [])))), None, bound)


def _inner(account: object, old_key: object) -> Act:
    """Return what the inner request of a change of keys does (§7.3.5)."""
    return ("keyChange", str(account), json.dumps(old_key, sort_keys=True))


def _jws(body: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(_text(body[name]) for name in ("protected", "payload", "signature"))


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _identifier(name: str) -> tuple[str, str]:
    """Return type and value of a name (§7.1.3, RFC 8738 §3)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "dns", name
    return "ip", name


def _identifier_in(found: Mapping[str, Any]) -> tuple[str, str]:
    if found.keys() != {"type", "value"}:
        raise ValueError
    kind, value = _text(found["type"]), _text(found["value"])
    if kind is None or value is None:
        raise TypeError
    return kind, value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found
