"""A fault of the network process says nothing of what was asked about, whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sslmd.acme.accounts import Accounts
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.directory import fetch
from sslmd.config.kinds import Validation
from sslmd.core.ari import Fault
from sslmd.core.errors import Failure, SslmError, Transient, kind_of
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.starttls import ProbeWord
from sslmd.dns.ask import DnsAsker, NameServer, Unasked
from sslmd.dns.manners import manners_at
from sslmd.net.acme_messages import CaAddress
from sslmd.net.link import NetBug, NetGone
from sslmd.net.probe_messages import Reach
from sslmd.servers.http01_look import fetch_back, same_for_any
from sslmd.servers.local import Locality
from sslmd.servers.probe import served_at
from sslmd.store.layout import Tree
from sslmd.workers import ari

CA = "https://ca.test/dir"
SERVER = NameServer("192.0.2.77")
ADDRESS = "192.0.2.78"


class _Faulty:
    """Who meets a fault whatever is asked."""

    async def call(self, operation: Any, _: Any) -> Any:
        raise NetBug(operation.name, "KeyError")


NET = _Faulty()


async def test_a_name_server_has_not_failed() -> None:
    asker = DnsAsker(NET)
    for asking in (
        asker.ask(SERVER, DomainName("www.example.com"), "A"),
        asker.by_tcp(SERVER, ZoneName("example.com"), "SOA"),
        asker.send_update(SERVER, b"x" * 20, 1.0),
    ):
        with pytest.raises(Unasked) as caught:
            await asking
        assert Failed.NET_FAULT in {one.code for one in caught.value.reason.within()}
    assert manners_at(SERVER.address, SERVER.port)._useless == 0
    assert await asker.look_up("www.example.com") == ()


async def test_a_port_was_not_looked_at() -> None:
    seen = await served_at(NET, ADDRESS, 443, ProbeWord.TLS, "www.example.com")
    assert (seen.reach, seen.reached, seen.chain) == (Reach.NOT_TRIED, False, ())


async def test_a_challenge_was_not_looked_for() -> None:
    (found,) = await fetch_back(NET, "www.example.com", [ADDRESS], 80, "token", "content")
    assert (found.address, found.status, found.led) == (ADDRESS, 0, "")
    assert (found.untried, found.out_of_reach) == (True, False)
    assert not await same_for_any(NET, "www.example.com", ADDRESS, 80, "other.invalid")


async def test_whether_a_host_is_this_machine_is_not_known() -> None:
    assert await Locality(NET).is_local("mail.example.com") is None


async def test_a_directory_is_asked_for_again_later() -> None:
    await _is_nobodys_fault(lambda: fetch(CA, None, NET))


async def test_an_account_is_asked_for_again_later(tmp_path: Path) -> None:
    async def in_thread(func: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return func(*args, **options)

    def told(*_: object) -> None:
        raise AssertionError

    accounts = Accounts(Tree(str(tmp_path)), NET.call, in_thread, lambda: datetime.now(UTC), told)
    server = AcmeServer(CA, None, Validation.DNS_01)
    await _is_nobodys_fault(lambda: accounts.account_for(server, str(tmp_path / "cb")))


async def _is_nobodys_fault(ask: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(Transient) as caught:
        await ask()
    assert kind_of(caught.value) is Failure.TRANSIENT
    assert caught.value.reason.code is Failed.NET_FAULT


async def test_a_window_is_asked_for_again_soon() -> None:
    now = datetime.now(UTC)
    assert await ari.ask(NET, CaAddress(CA), "a.b", None, now) is Fault.TEMPORARY


def test_it_is_one_of_the_ways_in_which_there_is_no_answer() -> None:
    assert isinstance(NetBug("dns.exchange", "KeyError"), NetGone)
    assert isinstance(NetBug("dns.exchange", "KeyError"), SslmError)
    with pytest.raises(Unasked):
        asyncio.run(DnsAsker(NET).ask(SERVER, DomainName("www.example.com"), "A"))
