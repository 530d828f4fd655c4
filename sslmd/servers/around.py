"""What is in a production tree, here or on another machine, and the folders above it.

What of it is removed, and what is reported, `core.host.needs` decides (I1). Folders above the tree
that keep readers of keys out are named, never opened (I2).
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from sslmd.config.model import Config, wanted_here
from sslmd.core.host.needs import Belonging, KeyAccess, Needs, cert_named, needs
from sslmd.core.names import BadName, CertId, SetName, shown
from sslmd.core.reason import Held, Reason
from sslmd.servers.key_rights import Rights
from sslmd.servers.production import ALL_FILES, survey
from sslmd.servers.ssh import ShellAnswer
from sslmd.store.certs import was_delivered
from sslmd.store.layout import CURR, DH, INCOMING, NEXT, PREV, SECRET_FILES, Tree

# Of a look for private keys that are nobody's: folders deep, bytes of a file, and how many are
# listed.
_DEEPEST = 8
_HEAD = 1 << 16
MOST_STRAYS = 100
_SECRET_NAMES = (".key", ".p12", ".pfx", ".jks")
_IN_MAKING = re.compile(r"\..+\.[0-9a-f]{24}\.new")


def needs_here(config: Config, now: datetime) -> Needs:
    """Return what is in production and not meant to be: what is removed, what is reported.

    Blocks. Raises as `production.survey` does.
    """
    prod, tree = str(config.globals.prod_cert_dir), Tree(str(config.globals.certs_dir))
    wanted, found = wanted_here(config), survey(prod)
    things = [
        Belonging(
            str(cert),
            cert,
            has_key=bool(keys_of(prod, cert)),
            is_ours=linked and was_delivered(tree, cert),
        )
        for cert, linked in found.items()
        if cert not in wanted.keys  # nearly all are, and stay with all that they have
    ]
    told = {cert for cert in config.services if cert in found or cert in wanted.keys}
    strays = stray_keys(prod, wanted.certs, told, config.inactive)
    return needs(wanted, now, there=[*things, *map(Belonging, strays)])


def found_there(answer: ShellAnswer, holds: Collection[CertId]) -> list[Belonging]:
    """Return what a host tells that it has (`survey` of remote.sh).

    `holds`: what we once put there. What has no key, and is no certificate's name, is left out.
    """
    there = []
    for text in answer.every("have"):
        key, _, name = text.partition(" ")
        cert = cert_named(name)
        if cert is not None or key == "with":
            there.append(Belonging(name, cert, has_key=key == "with", is_ours=cert in holds))
    return [*there, *map(Belonging, answer.every("stray"))]


def keys_of(prod: str, cert: CertId) -> list[str]:
    """Return the paths of private keys with a certificate in production; never raises."""
    sets = _sets(Tree(prod).cert_dir(cert))
    paths = (f"{folder}/{file}" for folder in sets for file in SECRET_FILES)
    return [path for path in paths if os.path.lexists(path)]


def keys_in(folder: str, *, but: str) -> list[str]:
    """Return the keys of certificates in a folder that was production, by their paths below it.

    `but`: where production is now. The other may be a link to it. Never raises.
    """
    if os.path.realpath(folder) == os.path.realpath(but):
        return []
    certs = ((group, one) for group in _names(folder) for one in _names(f"{folder}/{group}"))
    paths = (
        f"{base}/{file}"
        for group, service in certs
        for base in _sets(f"{folder}/{group}/{service}")
        for file in SECRET_FILES
    )
    return [path[len(folder) + 1 :] for path in paths if os.path.exists(path)]


def _sets(base: str) -> Iterator[str]:
    """Yield the folders in which a certificate of production may have keys."""
    yield from (f"{base}/{name}" for name in (CURR, NEXT, PREV))
    yield from (f"{base}/db/{name}" for name in sorted(_names(f"{base}/db")))


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def stray_keys(
    prod: str, known: Container[CertId], told: Container[CertId], inactive: Container[str]
) -> list[str]:
    """Return the private keys that no certificate of production has, by their paths below it.

    `known`: the certificates of the configuration; `told`: of these, those that may have keys
    there, or are reported with them. Keys of other certificates go with these, and `inactive`
    groups are left alone. Links are not followed. Never raises.
    """
    found: list[str] = []
    for folder, path in _walk(prod):
        parts = path.split("/")
        if parts[0] in inactive or (len(parts) > 1 and parts[1] == DH):
            continue
        cert = _cert_of_set(parts)
        if cert is not None and (cert not in known or (cert in told and parts[-1] in ALL_FILES)):
            continue  # with its certificate
        if _is_secret(f"{folder}/{parts[-1]}"):
            found.append(path)
        if len(found) >= MOST_STRAYS:
            break
    return sorted(found)


def _walk(prod: str) -> Iterator[tuple[str, str]]:
    """Yield each file of the tree: its folder, and its path below `prod`."""
    for folder, folders, names in os.walk(prod):
        depth = folder[len(prod) :].count("/")
        # What is being written, and what is sent here by another daemon, is nobody's yet.
        folders[:] = [] if depth >= _DEEPEST else sorted(f for f in folders if not _is_coming(f))
        for name in names:
            if not _is_coming(name):
                yield folder, f"{folder}/{name}"[len(prod) + 1 :]


def _is_coming(name: str) -> bool:
    return name.startswith(INCOMING) or _IN_MAKING.fullmatch(name) is not None


def _cert_of_set(parts: list[str]) -> CertId | None:
    """Return the certificate that has a file of this path in one of its sets; None for others."""
    with suppress(BadName):
        if len(parts) == 5 and parts[2] == "db":
            SetName.parse(parts[3])
        elif len(parts) != 4 or parts[2] not in (CURR, NEXT, PREV):
            return None
        return cert_named(f"{parts[0]}/{parts[1]}")
    return None


def _is_secret(path: str) -> bool:
    """Whether a file holds a private key: by its content, or by its name where it is not text."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return path.endswith(_SECRET_NAMES) and not os.path.islink(path)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        head = file.read(_HEAD)
    return b"PRIVATE KEY-----" in head or (path.endswith(_SECRET_NAMES) and bool(head))


def closed_above(prod: str, access: KeyAccess) -> list[str]:
    """Return the folders above production through which readers of its keys cannot pass.

    They are not ours to open. Raises `Permanent` for names that are none.
    """
    rights, found = Rights(access), []
    folder = os.path.realpath(prod)
    while folder != "/" and access.opens:
        folder = os.path.dirname(folder)
        with suppress(OSError):
            info = os.stat(folder)
            by_group = rights.gid == info.st_gid and info.st_mode & stat.S_IXGRP
            by_owner = rights.uid == info.st_uid and info.st_mode & stat.S_IXUSR
            if not (info.st_mode & stat.S_IXOTH or by_group or by_owner):
                found.append(folder)
    return found


def closed(folders: Iterable[str], access: KeyAccess) -> Reason:
    """Say whom folders above production keep from its keys, and how to open them."""
    some = sorted(folders)
    return Reason(
        Held.KEYS_CLOSED,
        folders=tuple(map(shown, some)),
        group=access.group or None,
        owner=access.owner or None,
        command=f"chmod o+x {shlex.join(some)}",
    )
