"""The production tree: what servers on this machine read, brought up to date atomically.

`<prod>/<group>/<service>/{curr,next}` are links into `db/`, so a reader that follows `curr`
gets one complete set at any instant (I3). CA groups are there without their keys (I1).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from sslmd.core.errors import Permanent
from sslmd.core.names import CertId, SetName
from sslmd.pki.inspect import repairs
from sslmd.store import files, sets
from sslmd.store.layout import (
    BUNDLE,
    CERT,
    CHAIN,
    CURR,
    FULLCHAIN,
    INFO,
    NEXT,
    PRIVKEY,
    SECRET_FILES,
    Tree,
    link_target,
)

PUBLIC_FILES = (CERT, CHAIN, FULLCHAIN, INFO)
ALL_FILES = (PRIVKEY, BUNDLE, *PUBLIC_FILES)


def update(
    tree: Tree, prod: str, cert: CertId, curr: SetName, next_: SetName | None, *, is_ca: bool
) -> bool:
    """Make production hold these sets; return whether its `curr` is another one now.

    Raises `Transient` or `Permanent`; the `curr` that was there then still stands.
    """
    names = PUBLIC_FILES if is_ca else ALL_FILES
    place = Tree(prod)
    base = place.cert_dir(cert)
    for folder in (prod, place.group_dir(cert), base, place.db_dir(cert)):
        files.check_dir(folder)
    changed = not serves(tree, prod, cert, curr, is_ca=is_ca)
    files.make_dirs(place.db_dir(cert))
    # What a killed daemon left half done here holds keys.
    for folder in (base, place.db_dir(cert)):
        files.remove_leftovers(folder)
    for name in (curr, next_):
        if name is not None:
            _put_set(place, cert, name, _contents(tree, cert, name, names))
    old = _linked(f"{base}/{CURR}")
    _put_link(f"{base}/{CURR}", curr)
    if next_ is None:
        _drop(f"{base}/{NEXT}")
    else:
        _put_link(f"{base}/{NEXT}", next_)
    # The set before stays: whoever has just followed the link is still reading it.
    keep = {curr, next_, old if old != curr else _newest_other(place, cert, curr, next_)}
    for name in sets.list_sets(place, cert):
        if name not in keep:
            files.remove_tree(place.set_dir(cert, name))
    return changed


def serves(tree: Tree, prod: str, cert: CertId, name: SetName, *, is_ca: bool) -> bool:
    """Whether production's `curr` already holds this set, whoever put it there."""
    names = PUBLIC_FILES if is_ca else ALL_FILES
    wanted = _contents(tree, cert, name, names)
    folder = f"{Tree(prod).cert_dir(cert)}/{CURR}"
    read = [file for file in (PRIVKEY, FULLCHAIN) if file in wanted]
    return all(_is(f"{folder}/{file}", wanted[file]) for file in read)


def linked(prod: str, cert: CertId) -> SetName | None:
    """Return the set that production's `curr` points to, None without such a link."""
    return _linked(f"{Tree(prod).cert_dir(cert)}/{CURR}")


def _contents(tree: Tree, cert: CertId, name: SetName, names: tuple[str, ...]) -> dict[str, bytes]:
    have = sets.read_files(tree.set_dir(cert, name), (*ALL_FILES, INFO))
    have.update(repairs(have))
    contents = {file: have[file] for file in names if file in have}
    if CERT not in contents or FULLCHAIN not in contents:
        raise Permanent(
            f"{tree.set_dir(cert, name)} has no certificate to deliver; renew {cert.arg}"
        )
    return contents


def _is(path: str, data: bytes) -> bool:
    """Whether a file of ours holds just that; one that somebody else owns is none of ours."""
    try:
        return files.read_file(path) == data
    except (FileNotFoundError, Permanent):
        return False


def _put_set(place: Tree, cert: CertId, name: SetName, contents: dict[str, bytes]) -> None:
    """Put a whole set beside the others, under its own name only when it is complete."""
    path = place.set_dir(cert, name)
    if os.path.isdir(path) and _holds(path, contents):
        return
    temp = files.temp_name(path)
    try:
        files.make_dir(temp, files.DIR_MODE)
        for file, data in contents.items():
            mode = files.KEY_MODE if file in SECRET_FILES else files.FILE_MODE
            files.write_new(f"{temp}/{file}", data, mode)
        files.sync_dir(temp)
        if os.path.isdir(path):
            files.swap(temp, path)
        else:
            os.rename(temp, path)
        files.sync_dir(os.path.dirname(path))
    except OSError as err:
        raise files.trouble(err, "write", path) from err
    finally:
        files.remove_tree(temp)


def _holds(path: str, contents: dict[str, bytes]) -> bool:
    if set(os.listdir(path)) != set(contents):
        return False
    for file, data in contents.items():
        if not _is(f"{path}/{file}", data):
            return False
        if file in SECRET_FILES:
            files.tighten(f"{path}/{file}")
    return True


def _put_link(path: str, name: SetName) -> None:
    target = link_target(name)
    if not os.path.islink(path) and os.path.isdir(path):
        _exchange(path, target)
    elif _target(path) != target:
        files.replace_link(path, target)


def _exchange(path: str, target: str) -> None:
    """Put a link in the place of a directory (as ssl-mgr left it) at one instant."""
    temp = files.temp_name(path)
    try:
        os.symlink(target, temp)
        files.swap(temp, path)
        files.sync_dir(os.path.dirname(path))
    except OSError as err:
        with suppress(OSError):
            os.unlink(temp)
        raise files.trouble(err, "replace the directory", path) from err
    files.remove_tree(temp)


def _drop(path: str) -> None:
    if not os.path.lexists(path):
        return
    if stat.S_ISLNK(os.lstat(path).st_mode):
        files.remove_file(path)
        return
    temp = files.temp_name(path)
    try:
        os.rename(path, temp)
    except OSError as err:
        raise files.trouble(err, "remove", path) from err
    files.remove_tree(temp)


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _linked(path: str) -> SetName | None:
    try:
        return SetName.parse(_target(path).removeprefix("db/"))
    except ValueError:
        return None


def _newest_other(
    place: Tree, cert: CertId, curr: SetName, next_: SetName | None
) -> SetName | None:
    others = [name for name in sets.list_sets(place, cert) if name not in (curr, next_)]
    return others[-1] if others else None
