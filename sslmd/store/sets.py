"""Sets and the links to them: `curr`, `next`, `prev` (I3).

Reading never changes anything but the mode of a key that others could read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.names import BadName, CertId, SetName, parse_service
from sslmd.core.reason import Reason
from sslmd.core.spec import SetFacts
from sslmd.core.told import Odd
from sslmd.pki.inspect import set_facts
from sslmd.store import files, owners
from sslmd.store.layout import (
    CERT,
    CHAIN,
    CURR,
    FULLCHAIN,
    INFO,
    NEXT,
    PREV,
    PRIVKEY,
    SECRET_FILES,
    SET_FILES,
    UNFINISHED,
    Tree,
    link_target,
)
from sslmd.store.paths import holding

# Enough to know a set by.
_TELLING = (PRIVKEY, CERT, CHAIN, FULLCHAIN)


@dataclass(slots=True)
class Links:
    """Where the links point; None: no link, or one of no use, which `remarks` tells."""

    curr: SetName | None = None
    next: SetName | None = None
    prev: SetName | None = None
    remarks: list[Reason] = field(default_factory=list)


def read_links(tree: Tree, cert: CertId) -> Links:
    """Read the three links. What is no link to a set of this certificate counts as none."""
    links = Links()
    for which in (CURR, NEXT, PREV):
        path = tree.link(cert, which)
        try:
            target = os.readlink(path)
        except FileNotFoundError:
            continue
        except OSError as err:
            if err.errno == errno.EINVAL:
                raise Permanent(
                    f"{path} is not a link to a set; move it away, and it is looked at again "
                    "within a minute"
                ) from err
            raise files.trouble(err, "read the link", path) from err
        name = _set_of(tree, cert, target)
        if name is None:
            links.remarks.append(Reason(Odd.LINK_ELSEWHERE, path=path, target=repr(target)))
            continue
        if not os.path.isdir(tree.set_dir(cert, name)):
            links.remarks.append(Reason(Odd.LINK_ASTRAY, path=path, set=name))
            continue
        setattr(links, which, name)
    return links


def _set_of(tree: Tree, cert: CertId, target: str) -> SetName | None:
    """Return the set of this certificate that a link leads to, however it is written."""
    folder, _, base = target.rstrip("/").rpartition("/")
    try:
        name = SetName.parse(base)
    except BadName:
        return None
    if folder != "db":
        there = os.path.realpath(os.path.join(tree.cert_dir(cert), folder))
        if there != os.path.realpath(tree.db_dir(cert)):
            return None
    return name


def check_folders(tree: Tree, cert: CertId, *names: SetName) -> None:
    """Raise `Permanent` where somebody else could put files or links among a certificate's.

    For every job, not only for a start: what was safe then may be open to others now, and the key
    of another certificate, a CA's above all, would be used in the place of this one's (I1).
    """
    way = (tree.root, tree.group_dir(cert.group), tree.cert_dir(cert), tree.db_dir(cert))
    for folder in (*way, *(tree.set_dir(cert, name) for name in names)):
        files.check_dir(folder)


def read_files(folder: str, names: tuple[str, ...] = SET_FILES) -> dict[str, bytes]:
    """Return the contents of those files of a set that are there."""
    contents = {}
    for name in names:
        try:
            contents[name] = files.read_file(f"{folder}/{name}")
        except FileNotFoundError:
            continue
    return contents


def read_set(tree: Tree, cert: CertId, name: SetName, *, deep: bool = True) -> SetFacts:
    """Look at one set.

    `deep`: verify every signature, not only that the names fit. Otherwise the files that are
    only copies or have done their work are not even opened.
    """
    folder = tree.set_dir(cert, name)
    contents = read_files(folder, SET_FILES if deep else _TELLING)
    if not deep and CERT not in contents:
        contents = read_files(folder)
    return set_facts(name, contents, deep=deep)


def tighten_keys(tree: Tree, cert: CertId, name: SetName) -> list[str]:
    """Make keys that others can read private; return the files that were."""
    return [path for path in wide_in(tree, cert, name) if owners.tighten(path)]


def wide_in(tree: Tree, cert: CertId, name: SetName) -> list[str]:
    """Return the keys of a set that others can read.

    Raises `Permanent` for one that belongs to somebody else: it cannot be made private.
    """
    folder = tree.set_dir(cert, name)
    wide = []
    for file in SECRET_FILES:
        path = f"{folder}/{file}"
        try:
            info = os.lstat(path)
        except OSError:  # not there, or reported by who wants to read it
            continue
        if owners.is_wide(info):
            files.check_owner(info, path)
            wide.append(path)
    return wide


def wide_keys(root: str) -> Iterator[str]:
    """Yield the keys below a working tree that others than their owner may read."""
    for folder, _, names in os.walk(root):
        for name in SECRET_FILES:
            path = os.path.join(folder, name)
            if name in names:
                with suppress(OSError):  # cleaned up meanwhile
                    info = os.lstat(path)
                    if stat.S_ISREG(info.st_mode) and info.st_mode & 0o077:
                        yield path


def new_set(tree: Tree, cert: CertId, now: datetime) -> SetName:
    """Make an empty directory for a new set; one that is already there gives a later name.

    First it is noted beside it that we begin it, see `remove_unfinished`.
    """
    files.make_dirs(tree.db_dir(cert))
    name = SetName.at(now)
    while os.path.lexists(tree.set_dir(cert, name)):
        name = name.later()
    path = tree.set_dir(cert, name)
    files.write_file(tree.unfinished(cert, name), b"")
    try:
        with holding(path) as (folder, base):
            os.close(files.make_dir(folder, base, 0o700))
            os.fsync(folder)
    except OSError as err:
        raise files.trouble(err, "make the directory", path) from err
    return name


def finish(tree: Tree, cert: CertId, name: SetName) -> None:
    """Note that a set of ours has its certificate."""
    files.remove_file(tree.unfinished(cert, name))


def remove_unfinished(tree: Tree, cert: CertId) -> list[SetName]:
    """Remove the sets that we began and nobody will finish; return them.

    A killed daemon leaves them, each with a key: between its directory and the link `next`, or
    when `next` was replaced. Only what is noted as begun by us, has no certificate and is in no
    link; so no set of ssl-mgr's or of an admin's. Nothing is removed while a link is wrong.
    """
    links = read_links(tree, cert)
    if links.remarks:
        return []
    removed = []
    begun = []
    for entry in _entries(tree.db_dir(cert)):
        if entry.startswith(".") and entry.endswith(UNFINISHED):
            with suppress(BadName):
                begun.append(SetName.parse(entry[1:].removesuffix(UNFINISHED)))
    for name in sorted(begun):
        folder = tree.set_dir(cert, name)
        if os.path.isdir(folder) and not os.path.lexists(f"{folder}/{CERT}"):
            if name in (links.curr, links.next, links.prev):
                continue
            files.remove_tree(folder)
            files.remove_tree(tree.order(cert, name).order)  # orders are for what is on deck
            removed.append(name)
        finish(tree, cert, name)
    return removed


def write_set_files(tree: Tree, cert: CertId, name: SetName, contents: dict[str, bytes]) -> None:
    """Put files into a set, in their order, private where they hold a key."""
    modes = {file: files.KEY_MODE if file in SECRET_FILES else files.FILE_MODE for file in contents}
    if contents:
        files.write_files(tree.set_dir(cert, name), contents, modes)


def write_set_file(tree: Tree, cert: CertId, name: SetName, file: str, data: bytes) -> None:
    """Put one file into a set, private if it holds a key."""
    write_set_files(tree, cert, name, {file: data})


def put_on_deck(tree: Tree, cert: CertId, name: SetName) -> None:
    """Make a set the `next`."""
    files.replace_link(tree.link(cert, NEXT), link_target(name))


def take_off_deck(tree: Tree, cert: CertId, name: SetName) -> None:
    """Have nothing on deck; raise `Permanent` if that is another set than `name`."""
    on_deck = read_links(tree, cert).next
    if on_deck not in (None, name):
        raise Permanent(
            f"set {name} is no longer on deck; somebody changed the links, run: sslmctl reload",
            about=cert,
        )
    files.remove_file(tree.link(cert, NEXT))


def roll(tree: Tree, cert: CertId, name: SetName, now: datetime) -> None:
    """Make a set the `curr`, the old one `prev`.

    In this order a kill at any instant leaves a `curr` that is complete, and a tree that
    shows how far it got: `next` equal to `curr` is a roll that only has its tail to finish.
    """
    old = read_links(tree, cert).curr
    info = f"rolled {now.strftime('%Y-%m-%d %H:%M:%S')} UTC\n".encode()
    write_set_file(tree, cert, name, INFO, info)
    if old is not None and old != name:
        files.replace_link(tree.link(cert, PREV), link_target(old))
    files.replace_link(tree.link(cert, CURR), link_target(name))
    files.remove_file(tree.link(cert, NEXT))


def finish_roll(tree: Tree, cert: CertId, links: Links) -> None:
    """Remove a `next` that is the `curr`: a roll that was cut short, or ssl-mgr's way."""
    if links.next is not None and links.next == links.curr:
        files.remove_file(tree.link(cert, NEXT))
        links.next = None


def list_certs(tree: Tree, group: str) -> list[CertId]:
    """Return the certificates of a group that have sets in the tree, whoever asks for them."""
    found = []
    for entry in sorted(_entries(tree.group_dir(group))):
        try:
            cert = CertId(group, parse_service(entry))
        except BadName:
            continue
        if os.path.isdir(tree.db_dir(cert)):
            found.append(cert)
    return found


def list_sets(tree: Tree, cert: CertId) -> list[SetName]:
    """Return all sets of a certificate, oldest first; other names in `db/` are left alone."""
    names = []
    for entry in _entries(tree.db_dir(cert)):
        try:
            name = SetName.parse(entry)
        except BadName:
            continue
        if os.path.isdir(tree.set_dir(cert, name)):
            names.append(name)
    return sorted(names)


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as err:
        raise files.trouble(err, "list", folder) from err


def clean(tree: Tree, cert: CertId, keep: int, used: Collection[SetName] = ()) -> list[SetName]:
    """Remove old sets, all but the `keep` newest beside curr, next and prev; return them.

    `used`: sets that servers may still use stay as well.
    """
    removed = superfluous(tree, cert, keep, used)
    for name in removed:
        files.remove_tree(tree.set_dir(cert, name))
    return removed


def superfluous(
    tree: Tree, cert: CertId, keep: int, used: Collection[SetName] = ()
) -> list[SetName]:
    """Return the old sets that `clean` removes. Raises `Permanent` while a link is wrong."""
    links = read_links(tree, cert)
    if links.curr is None and links.remarks:
        raise Permanent(Reason(Failed.LINK_WRONG, why=links.remarks[0]), about=cert)
    linked = {links.curr, links.next, links.prev, *used}
    others = [name for name in list_sets(tree, cert) if name not in linked]
    return others[: -max(keep, 1)]


def sweep(tree: Tree, cert: CertId) -> None:
    """Remove what a killed daemon has left half-made. Only what is its own by its name counts."""
    remove_unfinished(tree, cert)
    folders = [tree.cert_dir(cert), tree.db_dir(cert)]
    links = read_links(tree, cert)
    folders += [tree.set_dir(cert, name) for name in (links.curr, links.next) if name]
    for folder in folders:
        files.remove_leftovers(folder)
