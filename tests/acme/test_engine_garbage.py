"""Answers of a network process that was taken over: right by their types, and wrong in all else.

What the engine makes of them is an error that a person can read, and nothing is shown that is not
ours to show.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslmd.acme import order_note
from sslmd.acme.attempt import AccountLostError
from sslmd.acme.order_note import NotedOrder
from sslmd.core.errors import SslmError
from sslmd.core.reason import Reason
from sslmd.net.acme_messages import (
    AcmeChallenge,
    AcmeOrder,
    AcmeProblem,
    Authorization,
    Chains,
    Subproblem,
)
from tests.acme import test_engine as engine_cases
from tests.acme.test_engine import CSR, NOW, _Account, _Case, _chain, _Net, _order

# Characters of a fact of a reason.
MOST_FACT = 3000

_STATUSES = ("pending", "ready", "processing", "valid", "invalid", "revoked", "", "x" * 5000)
_TEXTS = st.one_of(
    st.sampled_from(
        (
            "",
            "https://ca.test/order/1",
            "https://evil.test/\x1b[31m\r\nX: y",
            "../../etc/passwd",
            "example.test",
            "*.example.test",
            "\U0001f600" * 5000,
            "dns-01",
            "99999999999999999999",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "badNonce",
            "accountDoesNotExist",
            "rateLimited",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----END CERTIFICATE-----",
        )
    ),
    st.text(max_size=50),
)
_NUMBERS = st.integers(-(1 << 70), 1 << 70)
_PROBLEMS = st.builds(
    AcmeProblem,
    kind=st.sampled_from(("acme", "http", "unreachable", "nonsense", "late")),
    url=_TEXTS,
    status=st.one_of(st.sampled_from((0, 200, 400, 403, 404, 409, 429, 500, 503)), _NUMBERS),
    type=_TEXTS,
    title=_TEXTS,
    detail=_TEXTS,
    instance=_TEXTS,
    terms=st.lists(_TEXTS, max_size=3).map(tuple),
    subproblems=st.lists(st.builds(Subproblem, _TEXTS, _TEXTS, _TEXTS), max_size=3).map(tuple),
    retry_after=_TEXTS,
    new_account=st.booleans(),
    unknown_root=st.booleans(),
)
_ORDERS = st.builds(
    AcmeOrder,
    url=_TEXTS,
    status=st.sampled_from(_STATUSES),
    names=st.lists(_TEXTS, max_size=2).map(tuple),
    authorizations=st.lists(_TEXTS, max_size=2).map(tuple),
    finalize=_TEXTS,
    certificate=_TEXTS,
    problem=st.one_of(st.none(), _PROBLEMS),
    replaces=_TEXTS,
    retry_after=_TEXTS,
)
_AUTHORIZATIONS = st.lists(
    st.builds(
        Authorization,
        url=_TEXTS,
        name=_TEXTS,
        status=st.sampled_from(_STATUSES),
        wildcard=st.booleans(),
        challenges=st.lists(
            st.builds(
                AcmeChallenge,
                st.sampled_from(("dns-01", "http-01", "dns-persist-01", "")),
                _TEXTS,
                st.one_of(_TEXTS, st.just("x" * 43)),
                st.sampled_from(_STATUSES),
            ),
            max_size=2,
        ).map(tuple),
        problem=st.one_of(st.none(), _PROBLEMS),
    ),
    max_size=2,
).map(tuple)
_CHAINS = st.builds(Chains, st.lists(_TEXTS, max_size=2).map(tuple))

_OF = {
    "new_order": _ORDERS,
    "find_order": st.lists(_ORDERS, max_size=2).map(tuple),
    "order": _ORDERS,
    "authorizations": _AUTHORIZATIONS,
    "offer": _AUTHORIZATIONS,
    "finalize": _ORDERS,
    "certificate": _CHAINS,
}


def _longest(why: Reason) -> int:
    """Return how long the longest text is that a reason has: it goes into notes as it is."""
    facts = [fact for one in why.within() for _, fact in one.facts]
    texts = [text for fact in facts for text in (fact if isinstance(fact, tuple) else (fact,))]
    return max((len(text) for text in texts if isinstance(text, str)), default=0)


@st.composite
def _answers(draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, list[Any]]:
    """Draw answers to everything, about half of them as they should be."""
    right: dict[str, Any] = {
        "new_order": _order("pending"),
        "find_order": (),
        "order": _order("pending"),
        "authorizations": engine_cases._authorization(),
        "offer": engine_cases._authorization("valid"),
        "finalize": _order("valid", certificate="https://ca.test/order/1/c"),
        "certificate": _chain(),
    }
    return {
        name: [draw(st.one_of(st.just(right[name]), wrong, _PROBLEMS))]
        for name, wrong in _OF.items()
    }


@pytest.mark.parametrize("begun", [False, True])
@given(answers=_answers())
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_whatever_it_answers(tmp_path: Path, begun: bool, answers: Any) -> None:
    case = _Case(tmp_path, _Net(**answers))
    if begun:
        made = NotedOrder(engine_cases.ORDER, _Account.uri, NOW.isoformat())
        order_note.begin(case.place, CSR, case.server, made)
    engine = case.engine()
    shown: list[Any] = []

    async def prove(challenges: Any) -> None:
        shown.extend(challenges)

    served = engine_cases._SERVED
    why: Reason | None = None
    try:
        issued = await engine.take_up(served) or await engine.issue(served, prove)
        assert issued.cert_pem
    except SslmError as err:
        why = err.reason
    except AccountLostError as err:
        why = err.why
    assert why is None or _longest(why) <= MOST_FACT
    assert {one.name for one in shown} <= {"example.test"}
    assert case.net.count("new_order") <= 1
