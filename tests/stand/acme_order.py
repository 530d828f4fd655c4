"""Orders by the engine at a real CA, without a daemon: for what CAs do, and networks.

Each has a tree, accounts and folders of its own, and the steps of the network process are done in
this process. The CA has to find every name valid (`PEBBLE_VA_ALWAYS_VALID`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sslmd.acme import certbot, directory
from sslmd.acme.accounts import Accounts
from sslmd.acme.attempt import AccountLostError, Attempt
from sslmd.acme.certbot import AcmeServer
from sslmd.acme.engine import Engine
from sslmd.acme.orders import Challenge
from sslmd.acme.signing import Signer
from sslmd.config.model import Validation
from sslmd.core.errors import Permanent, Transient
from sslmd.core.reason import Reason
from sslmd.net.inside import Inside
from sslmd.net.link import Asker
from sslmd.pki.csr import make_csr
from sslmd.pki.local_ca import Issued
from sslmd.store.layout import OrderFolders, Tree
from tests.stand.acme_net import in_thread
from tests.stand.samples import key_pem, leaf_spec

_numbers = itertools.count(1)


class _Service:
    def __init__(self, names: Sequence[str]) -> None:
        self.spec = leaf_spec(names[0], tuple(names))
        self.id = self.spec.id


class Ordering:
    """One certificate. `failures`: what was raised so far; `told`: what was reported.

    `of`: another one, with whose account it is ordered.
    """

    def __init__(
        self,
        top: Path,
        url: str,
        root: Path,
        names: Sequence[str],
        *,
        of: Ordering | None = None,
        **more: Any,
    ) -> None:
        self.top = top
        self.server = AcmeServer(
            url, root, Validation.DNS_01, **{"ca": "pebble", "own": False, **more}
        )
        self.service = _Service(names)
        self.key = key_pem()
        self.csr = make_csr(self.key, self.service.spec)
        self.signer: Signer = of.signer if of else Signer()
        self.net: Asker = of.net if of else Inside(self.signer.handlers())
        self.accounts: Accounts = of.accounts if of else self.accounts_anew()
        self.failures: list[Transient | Permanent] = []
        self.told: list[Reason] = []
        self.proven: list[Challenge] = []
        self.replaces = ""
        home = top / "cb"
        home.mkdir(parents=True, exist_ok=True)
        self.place = OrderFolders(str(home), str(home / "order" / "set"))

    def accounts_anew(self) -> Accounts:
        """Return the accounts of the tree, as after a start."""
        return Accounts(
            Tree(str(self.top)), self._ask, in_thread, _now, lambda _, what: self.told.append(what),
            self.signer,
        )  # fmt: skip

    async def _ask(self, operation: Any, asked: Any) -> Any:
        return await self.net.call(operation, asked)

    async def attempt(self) -> Issued | None:
        """Try once, as the daemon does; None where it failed with what may be tried again."""
        attempt = Attempt(
            self.service, self.server, self.place, self.csr, replaces=self.replaces  # type: ignore[arg-type]
        )  # fmt: skip
        engine = Engine(
            attempt, self.net, self.accounts, in_thread, _now, lambda _: None,
            lambda _, what: self.told.append(what),
        )  # fmt: skip
        try:
            if (found := certbot.collect(self.place, self.csr, self.server)) is not None:
                return found
            served = await directory.fetch(self.server.url, self.server.root, self.net)
            with suppress(AccountLostError):
                if (found := await engine.take_up(served)) is not None:
                    return found
                return await engine.issue(served, self._prove)
            await engine.lose_account()
            return await engine.issue(served, self._prove)
        except (Transient, Permanent) as err:
            self.failures.append(err)
            return None

    async def finish(self, most: int) -> Issued:
        """Try until it is there, so often at most."""
        for _ in range(most):
            if (issued := await self.attempt()) is not None:
                return issued
        raise AssertionError([str(one) for one in self.failures])

    def end(self) -> None:
        """Forget the order: its certificate is in a set."""
        certbot.clear(self.place)

    async def _prove(self, challenges: Sequence[Challenge]) -> None:
        self.proven += challenges


def name_of_its_own() -> str:
    """Return a name that no other order of this process has."""
    return f"n{next(_numbers)}.example.test"


def _now() -> datetime:
    return datetime.now(UTC)
