"""The folders of ACME accounts, as certbot keeps them: `accounts/<host><path>/<id>` below a home.

    private_key.json        its key, 0400, there before the CA is asked for an account
    private_key.json.next   the key that is to follow it, while that is asked for or not known
    regr.json               its URL at the CA
    meta.json               when and where it was made

An account that the CA knows no more goes to `accounts-lost/…`; none is ever removed. All of it
blocks.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sslmd.acme.account_key import AccountKey
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.reason import Reason
from sslmd.store import files
from sslmd.store.layout import (
    ACCOUNT_KEY,
    ACCOUNT_META,
    ACCOUNT_NEXT_KEY,
    ACCOUNT_URI,
    accounts_dir,
)

KEY_MODE = 0o400

# What is being made beside the others, until it is whole; and what is being removed.
_UNFINISHED, _REMOVED = ".sslmd-new", ".sslmd-old"


@dataclass(frozen=True, slots=True)
class Folder:
    """One account's folder. `uri` "": the CA was not asked yet, or its answer was not noted."""

    path: str
    uri: str

    @property
    def ident(self) -> str:
        """Its name."""
        return os.path.basename(self.path)

    def key(self, name: str = ACCOUNT_KEY) -> AccountKey:
        """Return its key, or the next; raises `Permanent` if it cannot be used."""
        path = f"{self.path}/{name}"
        try:
            return AccountKey.of_json(files.read_secret(path))
        except Permanent as err:
            raise Permanent(Reason(Failed.ACCOUNT_KEY_BAD, file=path, why=err.reason)) from None
        except FileNotFoundError:
            raise Permanent(Reason(Failed.ACCOUNT_KEY_GONE, file=path)) from None

    def made(self) -> str:
        """Return when it was made, as it is noted (RFC 3339), "" if it is not."""
        with suppress(OSError, ValueError, Permanent):
            meta = json.loads(files.read_file(f"{self.path}/{ACCOUNT_META}"))
            if isinstance(meta, dict) and isinstance(made := meta.get("creation_dt"), str):
                return datetime.fromisoformat(made).isoformat().replace("+00:00", "Z")
        return ""

    def note_uri(self, uri: str) -> None:
        """Note its URL: from now on it is an account."""
        body = json.dumps({"body": {}, "uri": uri}).encode()
        files.write_file(f"{self.path}/{ACCOUNT_URI}", body)


def is_changing(folder: Folder) -> bool:
    """Whether another key was asked for, and it is not known whether the CA has it."""
    return os.path.lexists(f"{folder.path}/{ACCOUNT_NEXT_KEY}")


def is_unsettled(home: str, url: str) -> bool:
    """Whether a change of keys was begun in a home that did not come to its end."""
    return any(map(is_changing, every(home, url)))


def newest(home: str, url: str, *, linked: bool = True) -> Folder | None:
    """Return the account to use at a CA, None without one; with several certbot would ask.

    A link to the one that is shared goes before those of its own. `linked` False: not a link.
    """
    found = (
        one for one in every(home, url) if one.uri and (linked or not os.path.islink(one.path))
    )
    return max(found, key=_age, default=None)


def _age(folder: Folder) -> tuple[bool, float, str]:
    is_link, at = os.path.islink(folder.path), 0.0
    with suppress(OSError):
        at = os.stat(f"{folder.path}/{ACCOUNT_URI}").st_mtime
    return is_link, at, folder.ident


def every(home: str, url: str) -> Iterator[Folder]:
    """Yield the accounts at a CA, and what was begun and is none yet."""
    folder = accounts_dir(home, url)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = f"{folder}/{name}"
        if not name.startswith(".") and os.path.lexists(f"{path}/{ACCOUNT_KEY}"):
            yield Folder(path, _uri_in(path))
        elif not name.startswith(".") and (uri := _uri_in(path)):
            yield Folder(path, uri)


def _uri_in(path: str) -> str:
    try:
        registration = json.loads(files.read_file(f"{path}/{ACCOUNT_URI}"))
    except (OSError, ValueError, RecursionError, Permanent):
        return ""
    uri = registration.get("uri") if isinstance(registration, dict) else None
    return uri if isinstance(uri, str) else ""


def begin(home: str, url: str, now: datetime) -> Folder:
    """Return the folder of an account that is to be made: one that was begun before, or new.

    Its key is on disk when this returns.
    """
    for one in every(home, url):
        if not (one.uri or is_changing(one) or os.path.islink(one.path)):
            with suppress(Permanent):
                one.key()
                return one
    key = AccountKey.generate()
    return _make(home, url, key, now)


def _make(home: str, url: str, key: AccountKey, now: datetime, uri: str = "") -> Folder:
    """Make an account's folder, whole or not at all."""
    parent = accounts_dir(home, url)
    files.check_dir(home)
    files.make_dirs(parent, 0o700)
    unfinished = f"{parent}/{_UNFINISHED}"
    files.remove_tree(unfinished)
    files.make_dirs(unfinished, 0o700)
    files.write_file(f"{unfinished}/{ACCOUNT_KEY}", key.to_json(), KEY_MODE)
    meta = {
        "creation_dt": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "creation_host": socket.gethostname(),
        "register_to_eff": None,
    }
    files.write_file(f"{unfinished}/{ACCOUNT_META}", json.dumps(meta).encode())
    made = Folder(unfinished, uri)
    if uri:
        made.note_uri(uri)
    path = f"{parent}/{key.ident}"
    try:
        files.move(unfinished, path)
    except OSError as err:
        raise files.trouble(err, "make", path) from err
    return Folder(path, uri)


# --- another key -------------------------------------------------------------------------------


def begin_change(folder: Folder) -> AccountKey:
    """Put another key beside an account's own; return it when it is on disk."""
    key = AccountKey.generate()
    files.write_file(f"{folder.path}/{ACCOUNT_NEXT_KEY}", key.to_json(), KEY_MODE)
    return key


def end_change(folder: Folder) -> None:
    """The CA does not have the next key, and never will."""
    files.remove_file(f"{folder.path}/{ACCOUNT_NEXT_KEY}")


def change(home: str, url: str, folder: Folder, now: datetime) -> Folder:
    """The CA has the next key: have the files follow. certbot names a folder after its key.

    The new folder is whole before anything of the old one goes.
    """
    key = folder.key(ACCOUNT_NEXT_KEY)
    there = _make(home, url, key, now, folder.uri)
    _remove(home, url, folder)
    return there


def finish_changes(home: str, url: str) -> None:
    """Remove what was changed, and was not removed any more."""
    for folder in every(home, url):
        if not is_changing(folder):
            continue
        with suppress(Permanent):
            path = f"{accounts_dir(home, url)}/{folder.key(ACCOUNT_NEXT_KEY).ident}"
            if _uri_in(path) == folder.uri:
                _remove(home, url, folder)


def _remove(home: str, url: str, folder: Folder) -> None:
    old = f"{accounts_dir(home, url)}/{_REMOVED}"
    files.remove_tree(old)
    try:
        files.move(folder.path, old)
    except OSError as err:
        raise files.trouble(err, "remove", folder.path) from err
    files.remove_tree(old)


# --- links, and what is lost -------------------------------------------------------------------


def link(own_home: str, url: str, folder: Folder) -> None:
    """Have certbot, in a certificate's own home, use the account that is shared.

    A link and no copy: there is one key, whatever becomes of it. certbot removes no link.
    """
    parent = accounts_dir(own_home, url)
    files.check_dir(own_home)
    files.make_dirs(parent, 0o700)
    for name in os.listdir(parent):
        path = f"{parent}/{name}"
        if os.path.islink(path) and name != folder.ident:
            files.remove_file(path)
    path = f"{parent}/{folder.ident}"
    target = os.path.relpath(folder.path, parent)
    if not os.path.islink(path) or os.readlink(path) != target:
        if os.path.isdir(path) and not os.path.islink(path):
            raise Permanent(f"{path} stands where a link to {folder.path} should be; move it away")
        files.replace_link(path, target)


def unlink(own_home: str, url: str) -> None:
    """Have certbot use the accounts of a certificate's own home again."""
    for one in list(every(own_home, url)):
        if os.path.islink(one.path):
            files.remove_file(one.path)


def set_aside(home: str, url: str, folder: Folder, now: datetime) -> str:
    """Put away an account that its CA does not know any more; return where it is now.

    Its key is kept: a CA may have been set back by mistake.
    """
    parent = accounts_dir(home, url, lost=True)
    files.make_dirs(parent, 0o700)
    aside = f"{parent}/{folder.ident}"
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = f"{parent}/{folder.ident}.{number}"
    try:
        files.move(folder.path, aside)
        os.utime(aside, (now.timestamp(), now.timestamp()))
    except OSError as err:
        raise files.trouble(err, "set aside", aside) from err
    return aside


def lost_since(home: str, url: str, since: datetime) -> int:
    """Return how many accounts were set aside since a time."""
    folder = accounts_dir(home, url, lost=True)
    number = 0
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                number += os.stat(f"{folder}/{name}").st_mtime >= since.timestamp()
    return number
