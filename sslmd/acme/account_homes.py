"""Where accounts are: one home for each CA, shared, or a certificate's own `cb/`.

    certs/.accounts/<ca>                one for a CA's directory and EAB key, whatever its table is
                                        called by now
    certs/<group>/<service>/cb          with `ca_account = 'own'`, and where an account has been
                                        since before they were shared, until `sslmctl account share`

Both are certbot's configuration folders. All of it blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from sslmd.acme import account_folders
from sslmd.acme.account_folders import Folder
from sslmd.acme.certbot import AcmeServer
from sslmd.store import files
from sslmd.store.layout import Tree, account_home_note
from sslmd.store.note_kinds import HOME_NOTE, HomeNote

_NO_NOTE = HomeNote()


@dataclass(frozen=True, slots=True)
class Home:
    """A folder of accounts. `is_shared`: by all certificates of a CA that have none of their own.

    `note` says whose accounts they are; that of an own home is empty.
    """

    path: str
    is_shared: bool
    note: HomeNote = _NO_NOTE

    def write(self, note: HomeNote) -> Home:
        """Note whose accounts they are."""
        files.check_dir(os.path.dirname(self.path))
        files.check_dir(self.path)
        if note != self.note:
            files.make_dirs(self.path, 0o700)
            HOME_NOTE.write(account_home_note(self.path), note)
        return replace(self, note=note)


def home_of(tree: Tree, server: AcmeServer, own: str) -> Home:
    """Return where the account of a certificate is, or is to be made; `own`: its own `cb/`."""
    return chosen(shared_home(tree, server), server, own)


def chosen(shared: Home, server: AcmeServer, own: str) -> Home:
    """Return the shared home or a certificate's own one, see `home_of`."""
    if server.own or (shared.note.shared_at is None and has_own(own, server.url)):
        return Home(own, is_shared=False)
    return shared


def has_own(own: str, url: str) -> bool:
    """Whether a certificate has an account of its own at a CA."""
    return account_folders.newest(own, url, linked=False) is not None


def shared_home(tree: Tree, server: AcmeServer) -> Home:
    """Return the home of the account that certificates share at a CA: as found, or to be made."""
    unknown = None
    for home in shared_homes(tree):
        note = home.note
        if (note.server, note.eab_kid) == (server.url, server.eab_kid):
            return home
        # Without its note, its accounts tell the CA; whose EAB key it was, only its name.
        named = os.path.basename(home.path) == server.ca
        if not note.server and (named or not server.eab_kid) and _has_any(home.path, server.url):
            unknown = home if unknown is None or named else unknown
    if unknown is not None:
        return unknown
    number, path = 1, tree.account_home(server.ca)
    while os.path.lexists(path) and (os.listdir(path) if os.path.isdir(path) else True):
        number += 1
        path = tree.account_home(f"{server.ca}.{number}")
    return Home(path, is_shared=True)


def shared_homes(tree: Tree) -> Iterator[Home]:
    """Yield every home that is shared."""
    try:
        names = sorted(os.listdir(tree.accounts_dir))
    except OSError:
        return
    for name in names:
        path = tree.account_home(name)
        if not name.startswith(".") and os.path.isdir(path):
            yield Home(path, is_shared=True, note=HOME_NOTE.read(account_home_note(path)))


def _has_any(home: str, url: str) -> bool:
    return next(account_folders.every(home, url), None) is not None


def claimed(home: Home, server: AcmeServer) -> Home:
    """Return a home of which it is noted whose accounts it has."""
    if not home.is_shared:
        return home
    return home.write(replace(home.note, server=server.url, eab_kid=server.eab_kid))


def share(home: Home, server: AcmeServer, now: datetime) -> Home:
    """Have certificates with accounts of their own use the shared one from now on."""
    return home.write(replace(home.note, server=server.url, eab_kid=server.eab_kid, shared_at=now))


def used(tree: Tree, server: AcmeServer, own: str) -> Folder | None:
    """Return the account that a certificate uses, None as long as there is none."""
    return account_folders.newest(home_of(tree, server, own).path, server.url)
