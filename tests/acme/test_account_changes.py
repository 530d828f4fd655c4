"""Another key for an account, killed at every step; another contact; its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sslmd.acme import account_changes, account_folders, account_homes
from sslmd.acme.account_homes import Home
from sslmd.acme.accounts import Accounts, UsedAccount, address_of
from sslmd.acme.certbot import AcmeServer
from sslmd.core.errors import Permanent, Refused, Transient
from sslmd.net.acme_messages import KEY_CHANGE, NEW_ORDER, AcmeOrder, AskOrder
from sslmd.store.layout import Tree, accounts_dir
from tests.stand.acme_net import accounts_on, acme_server
from tests.stand.pebble import Pebble, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    settings = {"PEBBLE_WFE_NONCEREJECT": "10"}
    with Pebble(tmp_path_factory.mktemp("ca"), settings=settings) as pebble:
        yield pebble


async def _orders(accounts: Accounts, server: AcmeServer, account: UsedAccount) -> bool:
    asked = AskOrder(address_of(server), account.asked, ("www.example.com",))
    return isinstance(await accounts.ask(NEW_ORDER, asked, server), AcmeOrder)


def _home(root: Path, server: AcmeServer) -> Home:
    return account_homes.shared_home(Tree(str(root)), server)


async def test_another_key_while_orders_are_made(ca: Pebble, tmp_path: Path) -> None:
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        first = await accounts.account_for(server, "")
        going = True

        async def order() -> int:
            number = 0
            while going:
                account = await accounts.account_for(server, "")
                assert await _orders(accounts, server, account)
                number += 1
            # What was begun before goes on by the name that it knows.
            assert await _orders(accounts, server, first)
            return number

        ordering = [asyncio.ensure_future(order()) for _ in range(5)]
        await asyncio.sleep(0.3)
        after = await account_changes.roll_over(accounts, first.home, server)
        going = False
        assert sum(await asyncio.gather(*ordering)) > 5
        assert (after.uri, after.ident == first.ident) == (first.uri, False)
    assert os.listdir(accounts_dir(first.home.path, ca.directory)) == [after.ident]


def _killed_at(number: int, work: Callable[[], None]) -> int:
    """Do `work` in a process that is killed at its `number`th touch of a file; its status."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal seen
            seen += event.startswith("os.") or event == "open"
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def test_killed_at_every_touch_of_a_file(ca: Pebble, tmp_path: Path) -> None:
    """What the CA does with the files of the change, without and with its agreement."""
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        made = await accounts.account_for(server, "")
        home = made.home.path
        for has_agreed in (False, True):
            number = 0
            while True:
                number += 1
                folder = account_folders.newest(home, server.url)
                assert folder is not None
                if has_agreed:
                    account = await accounts.entered(made.home, server, folder)
                    await _asked_only(accounts, server, account)
                    status = _killed_at(number, lambda f=folder: _follow(home, server.url, f))  # type: ignore[misc]
                else:
                    status = _killed_at(number, lambda f=folder: _begin(f))  # type: ignore[misc]
                after = await accounts.account_for(server, "")
                assert after.uri == made.uri, number
                assert await _orders(accounts, server, after), number
                assert (after.ident != folder.ident) == has_agreed
                left = os.listdir(accounts_dir(home, server.url))
                assert [one for one in left if not one.startswith(".")] == [after.ident], number
                if status == 0:
                    break
                assert status == -signal.SIGKILL
            assert number > 3


def _begin(folder: account_folders.Folder) -> None:
    account_folders.begin_change(folder)


def _follow(home: str, url: str, folder: account_folders.Folder) -> None:
    account_folders.change(home, url, folder, datetime.now(UTC))


async def _asked_only(accounts: Accounts, server: AcmeServer, account: UsedAccount) -> None:
    """Ask for another key, and be killed when the CA has it."""
    with pytest.raises(_Killed):
        async with _killing(accounts, after=True):
            await account_changes.roll_over(accounts, account.home, server, 0)


class _Killed(BaseException):
    """The end, in place of a process that is killed."""


@asynccontextmanager
async def _killing(accounts: Accounts, *, after: bool) -> AsyncIterator[None]:
    """Have it end before, or after, the CA is asked for another key."""
    ask = accounts.net_ask

    async def asking(operation: Any, asked: Any) -> Any:
        if operation is not KEY_CHANGE:
            return await ask(operation, asked)
        if after:
            await ask(operation, asked)
        raise _Killed

    accounts.net_ask = asking
    try:
        yield
    finally:
        accounts.net_ask = ask


@pytest.mark.parametrize("after", [False, True])
async def test_killed_when_the_ca_is_asked(ca: Pebble, tmp_path: Path, after: bool) -> None:
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        first = await accounts.account_for(server, "")
        with pytest.raises(_Killed):
            async with _killing(accounts, after=after):
                await account_changes.roll_over(accounts, first.home, server, 0)
    async with accounts_on(tmp_path) as accounts:
        found = await accounts.account_for(server, "")
        assert (found.uri, found.ident == first.ident) == (first.uri, not after)
        assert await _orders(accounts, server, found)


async def test_a_ca_that_is_away_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    with Pebble(tmp_path / "ca") as ca:
        server = acme_server(ca)
        async with accounts_on(tmp_path) as accounts:
            first = await accounts.account_for(server, "")
            ca.stop()
            with pytest.raises(Transient):
                await account_changes.roll_over(accounts, first.home, server, 0)
            with pytest.raises(Transient):
                await accounts.account_for(server, "")
    assert account_folders.is_changing(first.folder)


async def test_contact_and_end(ca: Pebble, tmp_path: Path) -> None:
    server = acme_server(ca)
    async with accounts_on(tmp_path) as accounts:
        with pytest.raises(Refused, match="no account"):
            await account_changes.set_contact(accounts, _home(tmp_path, server), server, ())
        account = await accounts.account_for(server, "")
        home, emails = account.home, ("a@example.com", "b@example.com")
        assert (await account_changes.set_contact(accounts, home, server, emails)).contact
        told = await account_changes.look(accounts, home, server, account.folder)
        assert (told.status, told.uri) == ("valid", account.uri)
        assert told.contact == ("mailto:a@example.com", "mailto:b@example.com")
        assert not [name for name in accounts.signer._keys if name.startswith("look")]
        aside = await account_changes.deactivate(accounts, home, server)
        assert "accounts-lost" in aside
        assert await accounts.known(server, "") is None
        # A try that was cut short before the files were put away.
        os.rename(aside, account.folder.path)
        again = await accounts.account_for(server, "")
        assert again.uri == account.uri
        with pytest.raises(Permanent):
            await _orders(accounts, server, again)
        assert await account_changes.deactivate(accounts, home, server)
        assert (await accounts.account_for(server, "")).uri != account.uri
