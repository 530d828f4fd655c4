"""Changes of an account that an admin asks for: another key, another contact, its end.

The way to another key (RFC 8555 §7.3.5) can be cut short anywhere: the new one is on disk before it
is asked for, and stays beside the old one until the CA was seen to have one of the two
(`Accounts.settled`). There is no moment without a file that holds the valid key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sslmd.acme import account_folders
from sslmd.acme.account_homes import Home
from sslmd.acme.accounts import Accounts, UsedAccount, address_of
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.signing import KnownKey
from sslmd.core.errors import Refused, SslmError
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.net.acme_messages import (
    ACCOUNT,
    KEY_CHANGE,
    Account,
    AcmeAccount,
    ChangeAccount,
    ChangeKey,
)

# Seconds for what is signed by the old key to be at the CA before that has another.
PAUSE = 1.0


async def roll_over(
    accounts: Accounts, home: Home, server: AcmeServer, pause: float = PAUSE
) -> UsedAccount:
    """Give the account in a home another key; return it.

    Raises `Refused` without an account, and `Transient` or `Permanent` in the CA's own words; then
    the account is as it was, or is found out to be changed when it is used next.
    """
    async with _changing(accounts, home, server) as (account, name):
        key = await accounts.in_thread(account_folders.begin_change, account.folder)
        next_name = f"next {name}"
        accounts.signer.enter(next_name, KnownKey(server.url, key))
        address = await accounts.in_thread(address_of, server)
        asked = ChangeKey(address, AcmeAccount(name, account.uri), next_name)
        failed: SslmError | None = None
        try:
            with accounts.signer.paused(account.name):
                await asyncio.sleep(pause)
                try:
                    await accounts.ask(KEY_CHANGE, asked, server)
                except SslmError as err:
                    failed = err
                after = await accounts.settled(home, server)
                if after is not None:  # orders that are under way know it by this name
                    accounts.signer.enter(account.name, KnownKey(server.url, after.key))
        finally:
            accounts.signer.leave(next_name)
    if after is None or after.ident == account.ident:
        raise failed or Refused(Reason(Failed.KEY_NOT_CHANGED, url=server.url))
    return after


async def look(accounts: Accounts, home: Home, server: AcmeServer) -> Account:
    """Return the account as the CA has it."""
    return await _change(accounts, home, server, contact=None)


async def set_contact(
    accounts: Accounts, home: Home, server: AcmeServer, emails: tuple[str, ...]
) -> Account:
    """Have the CA know other addresses (§7.3.2); none for ()."""
    contact = tuple(f"mailto:{email}" for email in emails)
    return await _change(accounts, home, server, contact=contact)


async def deactivate(accounts: Accounts, home: Home, server: AcmeServer) -> str:
    """End an account (§7.3.6), which nothing brings back; return where its files are now.

    One that has ended already, after a try that was cut short, is put away.
    """
    async with _changing(accounts, home, server) as (account, name):
        address = await accounts.in_thread(address_of, server)
        asked = ChangeAccount(address, AcmeAccount(name, account.uri), deactivate=True)
        try:
            await accounts.ask(ACCOUNT, asked, server)
        except SslmError as err:
            if not _has_ended(err):
                raise
        aside = await accounts.in_thread(
            account_folders.set_aside, home.path, server.url, account.folder, accounts.now()
        )
        accounts.signer.leave(account.name)
    return aside


def _has_ended(err: SslmError) -> bool:
    remedy = dict(err.reason.facts).get("remedy")
    return isinstance(remedy, Reason) and remedy.code is Failed.FIX_DEAD_ACCOUNT


async def _change(
    accounts: Accounts, home: Home, server: AcmeServer, contact: tuple[str, ...] | None
) -> Account:
    async with _changing(accounts, home, server) as (account, name):
        address = await accounts.in_thread(address_of, server)
        asked = ChangeAccount(address, AcmeAccount(name, account.uri), contact=contact)
        answer = await accounts.ask(ACCOUNT, asked, server)
    assert isinstance(answer, Account)
    return replace(answer, uri=account.uri)


@asynccontextmanager
async def _changing(
    accounts: Accounts, home: Home, server: AcmeServer
) -> AsyncIterator[tuple[UsedAccount, str]]:
    """Yield the account of a home, under its lock, and a name by which changes are signed."""
    async with accounts.lock(home, server.url):
        account = await accounts.settled(home, server)
        if account is None:
            raise Refused(Reason(Failed.NO_ACCOUNT, url=server.url))
        name = f"change {account.name}"
        accounts.signer.enter(name, KnownKey(server.url, account.key))
        try:
            yield account, name
        finally:
            accounts.signer.leave(name)
