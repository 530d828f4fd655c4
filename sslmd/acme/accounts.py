"""Accounts at ACME CAs, as certbot keeps them below `cb/`: found, and put aside, never removed."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from sslmd.core.errors import Permanent
from sslmd.store import files
from sslmd.store.layout import accounts_dir


def newest_account(home: str, url: str) -> str:
    """Return the name of the account to use, "" without one; with several certbot would ask."""
    folder = accounts_dir(home, url)
    found = []
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                found.append((os.stat(f"{folder}/{name}/regr.json").st_mtime, name))
    return max(found, default=(0.0, ""))[1]


def account_uri(home: str, url: str) -> str:
    """Return the account's URL at the CA (RFC 8555 §7.3), "" where there is none yet."""
    name = newest_account(home, url)
    if not name:
        return ""
    try:
        registration = json.loads(files.read_file(f"{accounts_dir(home, url)}/{name}/regr.json"))
    except (OSError, ValueError, Permanent):
        return ""
    uri = registration.get("uri") if isinstance(registration, dict) else None
    return uri if isinstance(uri, str) else ""


def set_account_aside(home: str, url: str) -> str:
    """Put away an account that its CA does not know any more; return where it is now.

    Its key is kept: a CA may have been set back by mistake. Blocks; "" if there was none.
    """
    name = newest_account(home, url)
    if not name:
        return ""
    folder = accounts_dir(home, url, lost=True)
    files.make_dirs(folder, 0o700)
    aside = f"{folder}/{name}"
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = f"{folder}/{name}.{number}"
    try:
        files.move(f"{accounts_dir(home, url)}/{name}", aside)
    except OSError as err:
        raise files.trouble(err, "set aside", aside) from err
    return aside
