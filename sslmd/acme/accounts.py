"""Accounts at ACME CAs (RFC 8555 §7.3): whose a certificate uses; made once, and never lost (I5).

An account's key is on disk before the CA is asked, and the CA gives the same account to the same
key: whoever is killed meanwhile makes no second one. Where another key was asked for
(`account_changes`), and it is not known which of the two the CA has, it is asked here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sslmd.acme import account_folders, account_homes
from sslmd.acme.account_folders import Folder
from sslmd.acme.account_homes import Home
from sslmd.acme.account_key import AccountKey
from sslmd.acme.ca_problem import ca_error
from sslmd.acme.certbot import AcmeServer, eab_key
from sslmd.acme.certbot_log import MOST_NAME, one_line
from sslmd.acme.directory import roots_in
from sslmd.acme.new_accounts import NewAccounts
from sslmd.acme.signing import Binding, KnownKey, Signer, is_of
from sslmd.config.model import Engines
from sslmd.core.errors import Permanent, RateLimited, SslmError, Transient
from sslmd.core.failed import Failed
from sslmd.core.holds import Holds
from sslmd.core.reason import Reason, Said
from sslmd.net.acme_messages import (
    DIRECTORY,
    REGISTER,
    Account,
    AcmeAccount,
    AcmeProblem,
    AskAccount,
    CaAddress,
)
from sslmd.net.link import Operation
from sslmd.processes import InThread
from sslmd.store.layout import ACCOUNT_NEXT_KEY, Tree
from sslmd.store.note_kinds import HOLDS_NOTE, HoldsNote

Ask = Callable[[Operation[Any, Any], Any], Awaitable[Any]]

# Seconds for the CA to answer, where a network process is not what hangs.
ASKING = 120.0

_LATE = Reason(Failed.NO_ANSWER, seconds=ASKING)

# Accounts that a CA may lose before it is given none any more: in how long.
MOST_LOST, LOST_WITHIN = 3, timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class UsedAccount:
    """An account that can be used. `name`: how the network process knows its key."""

    home: Home
    folder: Folder
    server: str
    name: str
    key: AccountKey = field(repr=False, compare=False)

    @property
    def uri(self) -> str:
        """Its URL at the CA."""
        return self.folder.uri

    @property
    def ident(self) -> str:
        """The name of its folder, by which certbot knows it."""
        return self.folder.ident

    @property
    def asked(self) -> AcmeAccount:
        """How the network process is asked for something in its name."""
        return AcmeAccount(self.name, self.uri)


def account_uri(home: str, url: str) -> str:
    """Return the URL of the account in a home (RFC 8555 §7.3), "" without one; blocks."""
    there = account_folders.newest(home, url)
    return there.uri if there is not None else ""


def account_used(tree: Tree, server: AcmeServer, own: str) -> str:
    """Return the URL of a certificate's account, "" without one; `own`: its `cb/`. Blocks."""
    if server.engine is Engines.CERTBOT:
        return account_uri(own, server.url)
    there = account_homes.used(tree, server, own)
    return there.uri if there is not None else ""


def set_account_aside(home: str, url: str, now: datetime) -> str:
    """Put away the account in a home, which its CA does not know any more; "" without one.

    Return where it is now; blocks.
    """
    there = account_folders.newest(home, url)
    return account_folders.set_aside(home, url, there, now) if there is not None else ""


class Accounts:
    """All accounts of a tree. `ask` asks the network process; `tell` reports: event and text."""

    def __init__(
        self,
        tree: Tree,
        ask: Ask,
        in_thread: InThread,
        now: Callable[[], datetime],
        tell: Callable[[str, Reason], object],
        signer: Signer | None = None,
    ) -> None:
        self.tree, self.signer = tree, signer or Signer()
        self.in_thread, self.now = in_thread, now
        self.net_ask, self._tell = ask, tell
        self.holds = Holds()
        self.new = NewAccounts(self.holds, now, self.note_holds)
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._making: dict[tuple[str, str], asyncio.Task[UsedAccount]] = {}
        # A claim of a home's name, and notes, one at a time.
        self._claiming, self._noting = asyncio.Lock(), asyncio.Lock()

    def load(self) -> None:
        """Read what CAs asked for and made before a restart; blocks."""
        note = HOLDS_NOTE.read(self.tree.holds_note)
        for hold in note.hold:
            self.holds.add(hold, self.now())
        for made in note.made:
            self.holds.account_made(made)

    async def note_holds(self) -> None:
        """Note what CAs asked to be left alone with, and the accounts that they made."""
        async with self._noting:
            note = HoldsNote(self.holds.noted(), tuple(self.holds.accounts_made()))
            await self.in_thread(HOLDS_NOTE.write, self.tree.holds_note, note)

    def lock(self, home: Home, server: str) -> asyncio.Lock:
        """Return what is held by whoever changes the accounts of a CA in a home."""
        return self._locks.setdefault((home.path, server), asyncio.Lock())

    async def known(self, server: AcmeServer, own: str) -> UsedAccount | None:
        """Return a certificate's account, None if none is there yet. `own`: its `cb/`.

        Raises `Transient` or `Permanent` for one that cannot be used.
        """
        home = await self.in_thread(account_homes.home_of, self.tree, server, own)
        return await self._there(home, server)

    async def account_for(self, server: AcmeServer, own: str) -> UsedAccount:
        """Return a certificate's account, made if there is none.

        However many ask, one is made; and if that fails, it fails for all who waited. Raises
        `Transient` or `Permanent` in the CA's own words.
        """
        home = await self.in_thread(account_homes.home_of, self.tree, server, own)
        return await self.account_in(home, server)

    async def linked(self, server: AcmeServer, own: str, *, make: bool) -> UsedAccount | None:
        """Have certbot, in a certificate's own `cb/`, use the account that it is to use.

        Return it where it is shared, made if there is none and `make`; else certbot's are its own.
        """
        home = await self.in_thread(account_homes.home_of, self.tree, server, own)
        account = None
        if home.is_shared:
            account = await (self.account_in(home, server) if make else self._there(home, server))
        if account is None:
            await self.in_thread(account_folders.unlink, own, server.url)
        else:
            await self.in_thread(account_folders.link, own, server.url, account.folder)
        return account

    async def shared(self, server: AcmeServer) -> UsedAccount:
        """Return the account that certificates share at a CA, made if there is none."""
        home = await self.in_thread(account_homes.shared_home, self.tree, server)
        return await self.account_in(home, server)

    async def account_in(self, home: Home, server: AcmeServer) -> UsedAccount:
        """Return the account of a home; see `account_for`."""
        if found := await self._there(home, server):
            return found
        if home.is_shared:
            async with self._claiming:
                home = await self.in_thread(account_homes.shared_home, self.tree, server)
                home = await self.in_thread(account_homes.claimed, home, server)
        place = home.path, server.url
        making = self._making.get(place)
        if making is None:
            making = asyncio.ensure_future(self._make(home, server))
            self._making[place] = making
            making.add_done_callback(lambda _: self._making.pop(place, None))
        return await asyncio.shield(making)

    async def of_uri(self, server: AcmeServer, own: str, uri: str) -> UsedAccount | None:
        """Return the account with that URL, whoever uses it: that of an order of before.

        Raises `Transient` as long as the CA does not tell which key it has.
        """
        shared = await self.in_thread(account_homes.shared_home, self.tree, server)
        for home in (shared, Home(own, is_shared=False)):
            if await self.in_thread(account_folders.is_unsettled, home.path, server.url):
                async with self.lock(home, server.url):
                    await self.settled(home, server)
            for folder in await self.in_thread(_every, home.path, server.url):
                if folder.uri == uri and not account_folders.is_changing(folder):
                    return await self.entered(home, server, folder)
        return None

    async def lost(self, account: UsedAccount) -> str:
        """Put away an account that its CA does not know any more; return where it is, or "".

        "": somebody else has done it. Raises `Transient` if a CA loses one after the other.
        """
        home, url, now = account.home, account.server, self.now()
        async with self.lock(home, url):
            there = await self.in_thread(_real, home.path, url)
            if there is None or there.ident != account.ident:
                return ""
            since = now - LOST_WITHIN
            lost = await self.in_thread(account_folders.lost_since, home.path, url, since)
            if lost >= MOST_LOST:
                why = Reason(Failed.ACCOUNTS_LOST, url=url, number=lost, within=LOST_WITHIN)
                raise Transient(why, retry_at=now + LOST_WITHIN)
            aside = await self.in_thread(account_folders.set_aside, home.path, url, there, now)
        self._tell("order-trouble", Reason(Failed.ACCOUNT_LOST, aside=aside))
        return aside

    # --- below ---

    async def _there(self, home: Home, server: AcmeServer) -> UsedAccount | None:
        folder = await self.in_thread(_real, home.path, server.url)
        if folder is None:
            return None
        if await self.in_thread(account_folders.is_unsettled, home.path, server.url):
            async with self.lock(home, server.url):
                return await self.settled(home, server)
        return await self.entered(home, server, folder)

    async def entered(self, home: Home, server: AcmeServer, folder: Folder) -> UsedAccount:
        """Return an account whose key may be asked to sign."""
        key = await self.in_thread(folder.key)
        name = f"{home.path} {server.url} {folder.ident}"
        self.signer.enter(name, KnownKey(server.url, key))
        return UsedAccount(home, folder, server.url, name, key)

    async def settled(self, home: Home, server: AcmeServer) -> UsedAccount | None:
        """Return the account of a home, of which it is known which key the CA has. Under its lock.

        Raises `Transient` as long as the CA does not tell.
        """
        await self.in_thread(account_folders.finish_changes, home.path, server.url)
        folder = await self.in_thread(_real, home.path, server.url)
        if folder is None:
            return None
        if not await self.in_thread(account_folders.is_changing, folder):
            return await self.entered(home, server, folder)
        for name in (ACCOUNT_NEXT_KEY, ""):
            key = await self.in_thread(folder.key, *filter(None, (name,)))
            found = await self._existing(server, key)
            if found is None or found.uri != folder.uri:
                continue
            if name:
                folder = await self.in_thread(
                    account_folders.change, home.path, server.url, folder, self.now()
                )
            else:
                await self.in_thread(account_folders.end_change, folder)
            return await self.entered(home, server, folder)
        aside = await self.in_thread(
            account_folders.set_aside, home.path, server.url, folder, self.now()
        )
        self._tell("order-trouble", Reason(Failed.ACCOUNT_LOST, aside=aside))
        return None

    async def _existing(self, server: AcmeServer, key: AccountKey) -> Account | None:
        """Return the account that the CA has for a key (RFC 8555 §7.3.1), None for none."""
        name = f"look {server.url} {key.ident}"
        self.signer.enter(name, KnownKey(server.url, key))
        try:
            asked = AskAccount(
                await self.in_thread(address_of, server), AcmeAccount(name), only_existing=True
            )
            answer = await self.ask(REGISTER, asked, server)
        except NoAccountError:
            return None
        finally:
            self.signer.leave(name)
        assert isinstance(answer, Account)
        return answer

    async def _make(self, home: Home, server: AcmeServer) -> UsedAccount:
        """Make an account, with the key of an earlier try if there is one."""
        async with self.new.turn(server), self.lock(home, server.url):
            if (found := await self.settled(home, server)) is not None:
                return found  # it was made meanwhile
            binding = await self.in_thread(_binding, server)
            self.new.check(server)
            folder = await self.in_thread(account_folders.begin, home.path, server.url, self.now())
            account = await self.entered(home, server, folder)
            self.signer.enter(account.name, KnownKey(server.url, account.key, binding))
            asked = AskAccount(
                await self.in_thread(address_of, server),
                AcmeAccount(account.name),
                contact=(f"mailto:{server.email}",) if server.email else (),
                binding_kid=server.eab_kid,
            )
            try:
                answer = await self.ask(REGISTER, asked, server)
            except NoAccountError as err:
                raise err.error from None
            except RateLimited as err:
                await self.new.refused(server, err)
                raise
            finally:
                self.signer.enter(account.name, KnownKey(server.url, account.key))
            assert isinstance(answer, Account)
            if not is_of(answer.uri, server.url):
                raise _foreign(answer.uri, server.url)
            await self.new.count(server, home)
            await self.in_thread(folder.note_uri, answer.uri)
        self._tell("account-made", Reason(Failed.ACCOUNT_MADE, account=answer.uri))
        return replace(account, folder=replace(folder, uri=answer.uri))

    async def ask(self, operation: Operation[Any, Any], asked: Any, server: AcmeServer) -> Any:
        """Ask the CA something; raises what it refuses."""
        # A directory is no account's, and needs no signature.
        signs = nullcontext() if operation is DIRECTORY else self.signer.asking(asked)
        try:
            with signs:
                async with asyncio.timeout(ASKING):
                    answer = await self.net_ask(operation, asked)
        except TimeoutError:
            raise Transient(Reason(Failed.CA_UNREACHABLE, url=server.url, why=_LATE)) from None
        if isinstance(answer, AcmeProblem):
            error = ca_error(answer, server.url, self.now(), binds=bool(server.eab_kid))
            if answer.type == "accountDoesNotExist":
                raise NoAccountError(error)
            raise error
        return answer


class NoAccountError(Exception):
    """The CA has no account with that key. `error`: in its words."""

    def __init__(self, error: SslmError) -> None:
        super().__init__(error)
        self.error = error


def _foreign(uri: str, url: str) -> Transient:
    """Return what tells of an account for which nothing could ever be signed."""
    what, said = Said("other-host"), Said(one_line(uri, MOST_NAME))
    return Transient(Reason(Failed.CA_ODD, url=url, what=what, said=said))


def _real(home: str, url: str) -> Folder | None:
    return account_folders.newest(home, url, linked=False)


def _every(home: str, url: str) -> list[Folder]:
    return list(account_folders.every(home, url))


def address_of(server: AcmeServer) -> CaAddress:
    """Return how the network process is told of a CA; blocks."""
    return CaAddress(server.url, roots_in(server.root, server.url), server.requests)


def _binding(server: AcmeServer) -> Binding | None:
    if not server.eab_kid:
        return None
    text = eab_key(server)
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        path = str(server.eab_hmac_key_file)
        raise Permanent(Reason(Failed.EAB_FILE_BAD, file=path)) from None
    return Binding(server.eab_kid, key)
