"""Parameters: each is checked by name and by type."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.wire.messages import ErrorCode, Method, RpcRequest, WireError
from sslmd.wire.params import PARAMS, Params


def params(method: str, **values: Any) -> Params:
    return Params(RpcRequest(3, method, values))


def test_every_method_says_what_it_takes() -> None:
    assert set(PARAMS) == set(Method)


def test_an_unknown_method() -> None:
    with pytest.raises(WireError, match="no method 'stauts'") as caught:
        params("stauts")
    assert (caught.value.code, caught.value.id) == (ErrorCode.METHOD_NOT_FOUND, 3)


def test_an_unknown_parameter_is_refused_by_name() -> None:
    with pytest.raises(WireError, match=r"no parameter 'dryrun'.*dry_run") as caught:
        params("renew", dryrun=True)
    assert (caught.value.code, caught.value.id) == (ErrorCode.INVALID_PARAMS, 3)
    with pytest.raises(WireError, match="takes none"):
        params("reload", certs=None)


def test_certs() -> None:
    assert params("renew").certs() is None
    assert params("renew", certs=None).certs() is None
    assert params("renew", certs=["a.de:x", "b.de"]).certs() == ("a.de:x", "b.de")


@pytest.mark.parametrize("value", ["a.de", 1, {}, [1], [""], ["a", None], True])
def test_wrong_certs(value: Any) -> None:
    with pytest.raises(WireError, match="certs must be a list"):
        params("renew", certs=value).certs()


def test_an_empty_list_is_not_all() -> None:
    with pytest.raises(WireError, match="leave it out"):
        params("renew", certs=[]).certs()


def test_cert() -> None:
    assert params("show", cert="a.de:x").cert() == "a.de:x"
    for value in (None, "", 1, ["a"]):
        with pytest.raises(WireError, match="cert must be"):
            params("show", cert=value).cert()


def test_flags() -> None:
    assert params("renew", force=True).flag("force")
    assert not params("renew").flag("force")
    assert params("renew").flag("wait", default=True)
    for value in (None, 0, 1, "yes"):
        with pytest.raises(WireError, match="force must be true or false"):
            params("renew", force=value).flag("force")


def test_a_number_that_may_be_left_out() -> None:
    assert params("clean").count_if_given("keep") is None
    assert params("clean", keep=None).count_if_given("keep") is None
    assert params("clean", keep=0).count_if_given("keep") == 0
    for value in (-1, True, "3", 1.5):
        with pytest.raises(WireError, match="keep must be a whole number"):
            params("clean", keep=value).count_if_given("keep")


def test_reading_an_undeclared_flag_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        params("clean").flag("force")


@given(st.text(), st.dictionaries(st.text(), st.none() | st.text() | st.booleans()))
def test_nothing_but_wire_errors(method: str, values: dict[str, Any]) -> None:
    with suppress(WireError):
        Params(RpcRequest(1, method, values))
