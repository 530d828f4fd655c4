"""`accounts` and `account`: which accounts there are at ACME CAs, and changes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sslmd.acme import account_changes, account_folders, account_homes
from sslmd.acme.accounts import address_of
from sslmd.acme.certbot import AcmeServer, server_of
from sslmd.config.model import CaAccount
from sslmd.core.errors import SslmError
from sslmd.core.names import GroupName
from sslmd.core.reason import Reason
from sslmd.core.told import Answered, Denied
from sslmd.core.words.sentence import say
from sslmd.daemon.api.server import Client
from sslmd.daemon.api.users import denied
from sslmd.daemon.hub import Hub
from sslmd.net.acme_messages import DIRECTORY, AcmeDirectory, OfServer
from sslmd.wire.messages import ErrorCode
from sslmd.wire.params import Params
from sslmd.workers.accounts import AccountUse, account_uses, acme_services

# Certificates and zones of an account that an answer names.
MOST_NAMED = 20

# Seconds to wait for a CA that is asked how CAA records name it, and how long that is known.
ASKING = 5.0
KNOWN = timedelta(hours=1)


class AccountMethods:
    """Answers both."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._identities: dict[str, tuple[datetime, tuple[str, ...]]] = {}

    async def listed(self, client: Client, params: Params) -> dict[str, Any]:
        """Return every account, or those of a CA or a certificate, with what to put into CAA."""
        of = params.text("of")
        async with client.user.making():
            uses = await self._uses(of)
            return {"accounts": [await self._row(one, in_full=bool(of)) for one in uses]}

    async def change(self, params: Params) -> dict[str, Any]:
        """Change accounts; each result is a row with a text for people."""
        actions: dict[str, Callable[[AccountUse, Params], Any]] = {
            "contact": self._contact,
            "rollover": self._roll_over,
            "deactivate": self._deactivate,
        }
        of, action = params.text("of"), params.text("action")
        every = params.flag("all")
        if action == "share":
            return {"changed": [await self._share(ca) for ca in self._cas(of, every=every)]}
        if action not in actions:
            raise denied(Reason(Denied.ACTION, named=repr(action)), ErrorCode.INVALID_PARAMS)
        if not of:
            raise denied(Reason(Denied.ACCOUNT_OF_WHAT), ErrorCode.INVALID_PARAMS)
        chosen = [one for one in await self._uses(of) if one.folder is not None]
        if of in self._hub.site.config.cas:
            chosen = [one for one in chosen if one.home.is_shared]
        if not chosen:
            raise denied(Reason(Denied.NO_ACCOUNT_THERE, named=of))
        changed = []
        for use in chosen:
            what = await actions[action](use, params)
            self._hub.telling.tell("account-changed", what.of(use.name), None)
            changed.append({"name": use.name, "text": say(what)})
        return {"changed": changed}

    # --- which ---

    async def _uses(self, of: str) -> list[AccountUse]:
        """Return the accounts of a CA, of a certificate, or all for ""."""
        hub = self._hub
        config = hub.site.config
        uses = await hub.threads.in_thread(account_uses, config, hub.site.tree)
        if not of:
            return uses
        named = [one for one in uses if of in (one.ca, one.name)]
        if named or of in config.cas:
            return named
        if ":" not in of and "/" not in of:
            known = tuple(sorted(ca.name for ca in config.cas.values() if not ca.is_own))
            raise denied(Reason(Denied.NO_CA, named=of, known=known), ErrorCode.INVALID_PARAMS)
        certs = set(hub.registry.select([of]))
        return [one for one in uses if certs & set(one.certs)]

    def _cas(self, of: str, *, every: bool) -> Sequence[str]:
        config = self._hub.site.config
        shared = [ca for ca in config.cas.values() if not ca.is_own]
        if every and not of:
            return [ca.name for ca in shared if ca.account is CaAccount.SHARED]
        if not of:
            raise denied(Reason(Denied.ACCOUNT_OF_WHAT, all="all"), ErrorCode.INVALID_PARAMS)
        if of not in config.cas or config.cas[of].is_own:
            known = tuple(sorted(ca.name for ca in shared))
            raise denied(Reason(Denied.NO_CA, named=of, known=known), ErrorCode.INVALID_PARAMS)
        if config.cas[of].account is CaAccount.OWN:
            raise denied(Reason(Denied.OWN_ACCOUNTS, ca=of))
        return [of]

    # --- what is told ---

    async def _row(self, use: AccountUse, *, in_full: bool) -> dict[str, Any]:
        in_thread, folder = self._hub.threads.in_thread, use.folder
        row = {
            "name": use.name,
            "ca": use.ca or None,
            "server": use.server.url,
            "eab_kid": use.server.eab_kid or None,
            "url": folder.uri if folder else None,
            "since": (await in_thread(folder.made) or None) if folder else None,
            "shared": use.home.is_shared,
            "folder": folder.path if folder else use.home.path,
            "key_changing": folder is not None
            and await in_thread(account_folders.is_changing, folder),
            "count": len(use.certs),
            "certs": [str(cert) for cert in use.certs[: None if in_full else MOST_NAMED]],
        }
        if in_full and folder is not None:
            row["caa"] = await self._caa(use)
        return row

    async def _caa(self, use: AccountUse) -> list[str]:
        """Return the CAA records that allow this account alone (RFC 8657), a zone each."""
        assert use.folder is not None
        identities = await self._identities_of(use.server)
        method = use.server.validation.value
        zones = dict.fromkeys(one.group for one in use.certs if one.group != GroupName.CA)
        return [
            f'{zone}. CAA 0 issue "{identity}; accounturi={use.folder.uri}; '
            f'validationmethods={method}"'
            for zone in list(zones)[:MOST_NAMED]
            for identity in identities[:1]
        ]

    async def _identities_of(self, server: AcmeServer) -> tuple[str, ...]:
        """Return how CAA records name a CA, as it says; () if it does not."""
        now = self._hub.site.now()
        at, known = self._identities.get(server.url, (now - KNOWN, ()))
        if now - at < KNOWN:
            return known
        accounts = self._hub.ordering.accounts
        try:
            address = await accounts.in_thread(address_of, server)
            async with asyncio.timeout(ASKING):
                answer = await accounts.ask(DIRECTORY, OfServer(address), server)
        except (TimeoutError, SslmError):
            return known
        assert isinstance(answer, AcmeDirectory)
        self._identities[server.url] = now, answer.caa_identities
        return answer.caa_identities

    # --- changes ---

    async def _contact(self, use: AccountUse, params: Params) -> Reason:
        emails = params.texts("emails")
        accounts = self._hub.ordering.accounts
        answer = await account_changes.set_contact(accounts, use.home, use.server, emails)
        contact = tuple(one.removeprefix("mailto:") for one in answer.contact) or emails
        return Reason(Answered.CONTACT_SET, emails=contact)

    async def _roll_over(self, use: AccountUse, _: Params) -> Reason:
        accounts = self._hub.ordering.accounts
        after = await account_changes.roll_over(accounts, use.home, use.server)
        return Reason(Answered.KEY_CHANGED, url=after.uri, folder=after.folder.path)

    async def _deactivate(self, use: AccountUse, params: Params) -> Reason:
        if not params.flag("sure"):
            assert use.folder is not None
            raise denied(Reason(Denied.NOT_SURE, number=len(use.certs), url=use.folder.uri))
        accounts = self._hub.ordering.accounts
        aside = await account_changes.deactivate(accounts, use.home, use.server)
        return Reason(Answered.DEACTIVATED, aside=aside)

    async def _share(self, name: str) -> dict[str, Any]:
        """Have all certificates of a CA use one account, which is made first if there is none."""
        hub = self._hub
        accounts, ca = hub.ordering.accounts, hub.site.config.cas[name]
        certs = [one for one, _ in acme_services(hub.site.config, name)]
        email = next((one.spec.subject.email for one in certs if one.spec.subject.email), "")
        server = server_of(ca, email)
        account = await accounts.shared(server)
        now, before = hub.site.now(), await self._uses(name)
        joining = [one for one in before if not one.home.is_shared]
        await accounts.in_thread(account_homes.share, account.home, server, now)
        what = Reason(Answered.SHARED, url=account.uri, number=len(joining))
        hub.telling.tell("account-changed", what.of(name), None)
        row = {"name": name, "text": say(what), "url": account.uri}
        uses = [one for one in await self._uses(name) if one.home.is_shared]
        return {**row, "caa": [line for one in uses for line in await self._caa(one)]}
