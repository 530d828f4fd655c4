"""What hooks hand in: only their own order's, and only what RFC 8555 calls a challenge."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest

from sslmd.acme.orders import CertbotOrder, Challenge, Orders
from sslmd.core.errors import Refused
from sslmd.core.names import CertId

CERT = CertId("example.com", "web")
HASH = "gfj9Xq-Rg85nM_gfj9Xq-Rg85nM_gfj9Xq-Rg85nM_1"
TOKEN = "DGyRejmCefe7v4NfDGHKfA"
DNS = Challenge("www.example.com", HASH)
HTTP = Challenge("www.example.com", f"{TOKEN}.{HASH}", TOKEN)


def order(*, http: bool = False) -> CertbotOrder:
    one = CertbotOrder(CERT, ["www.example.com", "*.example.com"], http=http)
    one.group = os.getpgid(0)
    return one


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process of this user's, in a group of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process.pid
        process.kill()


async def test_every_hook_but_the_last_is_answered_at_once() -> None:
    one = order()
    for challenge, remaining in ((DNS, 2), (Challenge("example.com", HASH), 1)):
        one.check(challenge, remaining, os.getpid())
        await asyncio.wait_for(one.offer(challenge, remaining), 5)
    assert not one.complete.is_set()

    last = asyncio.ensure_future(one.offer(Challenge("example.com", HASH[::-1]), 0))
    await asyncio.wait_for(one.complete.wait(), 5)
    assert not last.done()
    assert len(one.challenges) == 3
    one.go_ahead()
    await asyncio.wait_for(last, 5)


def test_the_name_of_an_order_is_not_to_be_guessed() -> None:
    orders = Orders()
    one, other = order(), order()
    assert one.ident != other.ident
    assert len(one.ident) == 32
    orders.begin(one)
    assert orders.find(one.ident) is one
    for ident in ("", "../../etc/passwd", other.ident, one.ident.upper() + "0"):
        with pytest.raises(Refused, match="no such order"):
            orders.find(ident)
    orders.end(one)
    with pytest.raises(Refused):
        orders.find(one.ident)
    orders.end(one)  # twice is fine


def test_only_the_orders_own_certbot_hands_in(stranger: int) -> None:
    one = order()
    with pytest.raises(Refused, match="only the certbot of an order"):
        one.check(DNS, 0, stranger)
    with pytest.raises(Refused, match="only the certbot of an order"):
        one.check(DNS, 0, 2**22 + 1)  # no process has such a number (proc(5), pid_max)
    one.group = None  # it has not been started
    with pytest.raises(Refused):
        one.check(DNS, 0, os.getpid())
    assert not one.complete.is_set()
    assert one.problem is None


@pytest.mark.parametrize(
    ("challenge", "http"),
    [
        (Challenge("www.example.org", HASH), False),
        (Challenge("../../etc", HASH), False),
        (Challenge("", HASH), False),
        (Challenge("*.example.com", HASH), False),  # the CA names the host below the star
        (Challenge("www.example.com", ""), False),
        (Challenge("www.example.com", HASH + "\n"), False),
        (Challenge("www.example.com", HASH[:-1]), False),
        (Challenge("www.example.com", HASH[:-1] + '"'), False),
        (Challenge("www.example.com", HASH[:-1] + "é"), False),
        (HTTP, False),
        (DNS, True),
        (Challenge("www.example.com", HTTP.value, "other"), True),
        (Challenge("www.example.com", f"../../etc/cron.{HASH}", "../../etc/cron"), True),
        (Challenge("www.example.com", f"{TOKEN}..{HASH}", TOKEN + "."), True),
        (Challenge("www.example.com", f".{HASH}", ""), True),
        (Challenge("www.example.com", f"{TOKEN}.{HASH}x", TOKEN), True),
        (Challenge("www.example.com", f"{'a' * 257}.{HASH}", "a" * 257), True),
    ],
)
def test_what_is_no_challenge_of_the_order_ends_it(challenge: Challenge, *, http: bool) -> None:
    """certbot would offer it to the CA all the same."""
    one = order(http=http)
    with pytest.raises(Refused):
        one.check(challenge, 0, os.getpid())
    assert one.complete.is_set()
    assert one.problem is not None
    assert one.challenges == []


def test_challenges_of_both_kinds_are_taken() -> None:
    order().check(DNS, 0, os.getpid())
    order().check(Challenge("WWW.Example.com", HASH), 0, os.getpid())
    order(http=True).check(HTTP, 0, os.getpid())
    ip = CertbotOrder(CERT, ["192.0.2.80", "2001:db8::1"], http=True)
    ip.group = os.getpgid(0)
    ip.check(Challenge("2001:db8::1", HTTP.value, TOKEN), 0, os.getpid())


def test_nothing_is_handed_in_after_the_last() -> None:
    one = order()
    one.complete.set()
    with pytest.raises(Refused, match="already"):
        one.check(DNS, 0, os.getpid())


async def test_a_challenge_that_was_lost_on_the_way_ends_the_order() -> None:
    one = order()
    one.check(DNS, 3, os.getpid())
    await one.offer(DNS, 3)
    other = Challenge("example.com", HASH)
    with pytest.raises(Refused, match="lost on the way"):
        one.check(other, 1, os.getpid())
    assert one.complete.is_set()
