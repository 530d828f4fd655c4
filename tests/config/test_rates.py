"""`ca_limits`: what is taken, and what a mistake says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic_core import PydanticCustomError

from sslmd.config.rates import limits
from sslmd.core.buckets import CaLimit, Rate


def test_limits_are_a_number_in_a_span() -> None:
    written = {"orders": "300/3h", "names": "none", "domain": 0, "failed": "5/h", "accounts": "0"}
    assert dict(limits(written)) == {
        CaLimit.ORDERS: Rate(300, timedelta(hours=3)),
        CaLimit.NAMES: None,
        CaLimit.DOMAIN: None,
        CaLimit.FAILED: Rate(5, timedelta(hours=1)),
        CaLimit.ACCOUNTS: None,
    }


@pytest.mark.parametrize(
    "written",
    [
        "300/3h",
        {"order": "300/3h"},
        {"orders": "300"},
        {"orders": 300},
        {"orders": False},
        {"orders": "0/3h"},
        {"orders": "1/8d"},
        {"orders": "1/999999999d"},
    ],
)
def test_anything_else_is_a_mistake_that_says_what_to_write(written: object) -> None:
    with pytest.raises(PydanticCustomError, match="orders"):
        limits(written)
