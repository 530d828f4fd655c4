"""Which accounts there are at ACME CAs, and which certificates use them. It blocks."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sslmd.acme import account_folders, account_homes
from sslmd.acme.account_folders import Folder
from sslmd.acme.account_homes import Home
from sslmd.acme.certbot import AcmeServer, server_of, test_server_of
from sslmd.config.model import CaInfo, Config, ServiceConfig, Validation
from sslmd.core.names import CertId
from sslmd.core.spec import AcmeCa
from sslmd.store.layout import Tree


@dataclass(frozen=True, slots=True)
class AccountUse:
    """An account, or where one is to be made (`folder` None), with all who use it.

    `ca`: the table of the CA, "" for one that no table names any more, or for a test server's.
    """

    ca: str
    server: AcmeServer
    home: Home
    folder: Folder | None
    certs: tuple[CertId, ...] = ()

    @property
    def name(self) -> str:
        """How people call it: by its CA, or the certificate that has it alone."""
        if self.home.is_shared:
            return self.ca or os.path.basename(self.home.path)
        return self.certs[0].arg


def acme_services(config: Config, ca: str = "") -> Iterator[tuple[ServiceConfig, CaInfo]]:
    """Yield what we look after and ACME CAs sign, or one of them, with its CA."""
    for service in config.services.values():
        signer = service.spec.signer
        if not isinstance(signer, AcmeCa) or not service.managed or ca not in ("", signer.name):
            continue
        if (info := config.cas.get(signer.name)) is not None:
            yield service, info


def account_uses(config: Config, tree: Tree) -> list[AccountUse]:
    """Return every account, those of the CAs in use first, and the ones that are shared."""
    shared: dict[str, Home] = {}
    found: dict[tuple[str, str], AccountUse] = {}
    users: dict[tuple[str, str], list[CertId]] = defaultdict(list)
    for service, ca in acme_services(config):
        server = server_of(ca, service.spec.subject.email)
        own = tree.certbot_dir(service.id)
        if ca.name not in shared:
            shared[ca.name] = account_homes.shared_home(tree, server)
        home = account_homes.chosen(shared[ca.name], server, own)
        place = home.path, server.url
        users[place].append(service.id)
        if place not in found:
            folder = account_folders.newest(home.path, server.url, linked=False)
            found[place] = AccountUse(ca.name, server, home, folder)
    uses = [replace(one, certs=tuple(users[place])) for place, one in found.items()]
    uses.sort(key=lambda one: (one.ca, not one.home.is_shared, one.certs))
    return [*uses, *_unused(config, tree, set(found))]


def _unused(config: Config, tree: Tree, used: set[tuple[str, str]]) -> Iterator[AccountUse]:
    """Yield what is shared and nobody uses: of CAs that are in no table, and of test servers."""
    known: dict[tuple[str, str], AcmeServer] = {}
    for ca in config.cas.values():
        if not ca.is_own:
            for one in (server_of(ca, ""), test_server_of(ca, "", binds_accounts=True)):
                known.setdefault((one.url, one.eab_kid), one)
                known.setdefault((one.url, ""), replace(one, eab_kid="", eab_hmac_key_file=None))
    names = {ca.server: ca.name for ca in config.cas.values() if not ca.is_own}
    for home in account_homes.shared_homes(tree):
        note = home.note
        server = known.get((note.server, note.eab_kid))
        if server is None:
            server = AcmeServer(note.server, None, Validation.DNS_01, eab_kid=note.eab_kid)
        folder = account_folders.newest(home.path, note.server) if note.server else None
        if folder is not None and (home.path, note.server) not in used:
            yield AccountUse(names.get(note.server, ""), server, home, folder)
