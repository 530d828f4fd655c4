"""The production tree: what servers on this machine read, brought up to date atomically.

`<prod>/<group>/<service>/{curr,next}` are links into `db/`, so a reader that follows `curr`
gets one complete set at any instant (I3). CA groups are there without their keys (I1).

A tree that ssl-mgr made has directories in place of the links: `as_found`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress

from sslmd.core.errors import Permanent, SslmError
from sslmd.core.failed import Failed
from sslmd.core.host.needs import KeyAccess, cert_named
from sslmd.core.names import CertId, SetName
from sslmd.core.reason import Reason
from sslmd.core.told import Would
from sslmd.pki.inspect import repairs
from sslmd.servers.key_rights import PASSING, Rights
from sslmd.store import files, owners, sets
from sslmd.store.layout import (
    BUNDLE,
    CERT,
    CHAIN,
    CSR,
    CURR,
    FULLCHAIN,
    INFO,
    NEXT,
    PREV,
    PRIVKEY,
    SECRET_FILES,
    TLSA,
    Tree,
    link_target,
)
from sslmd.store.paths import holding

PUBLIC_FILES = (CERT, CHAIN, FULLCHAIN, CSR, INFO, TLSA)
ALL_FILES = (PRIVKEY, BUNDLE, *PUBLIC_FILES)

# For people. One that cannot be read keeps nothing from being delivered.
_BESIDE = (CSR, INFO, TLSA)

OURS_ALONE = KeyAccess()


def update(
    tree: Tree,
    prod: str,
    cert: CertId,
    curr: SetName,
    next_: SetName | None,
    *,
    is_ca: bool,
    access: KeyAccess = OURS_ALONE,
) -> bool:
    """Make production hold these sets; return whether its `curr` is another one now.

    Raises `Transient` or `Permanent`; the `curr` that was there then still stands.
    """
    place = Tree(prod)
    base = place.cert_dir(cert)
    rights = Rights(access)
    way = (prod, place.group_dir(cert.group), base, place.db_dir(cert))
    for folder in way:
        files.check_dir(folder, rights.groups)
    changed = not serves(tree, prod, cert, curr, is_ca=is_ca, access=access)
    if access.opens:
        files.make_dirs(os.path.dirname(prod), 0o755)  # those that are there stay as they are
    files.make_dirs(place.db_dir(cert))
    # What a killed daemon left half done here holds keys.
    for folder in (base, place.db_dir(cert)):
        files.remove_leftovers(folder)
    if access.opens:
        for folder in way:
            owners.widen_dir(folder, PASSING)
    for name in (curr, next_):
        if name is not None:
            _put_set(place, cert, name, contents(tree, cert, name, is_ca=is_ca), rights)
    old = linked(prod, cert)
    _put_link(f"{base}/{CURR}", curr)
    if next_ is None:
        _drop(f"{base}/{NEXT}")
    else:
        _put_link(f"{base}/{NEXT}", next_)
    # The set before stays: whoever has just followed the link is still reading it.
    others = [name for name in sets.list_sets(place, cert) if name not in (curr, next_)]
    before = old if old != curr else next(reversed(others), None)
    if before is not None and before not in (curr, next_):
        rights.give_all(place.set_dir(cert, before))
    for name in others:
        if name != before:
            files.remove_tree(place.set_dir(cert, name))
    return changed


def differences(
    tree: Tree,
    prod: str,
    cert: CertId,
    curr: SetName,
    next_: SetName | None,
    *,
    is_ca: bool,
    access: KeyAccess = OURS_ALONE,
) -> list[Reason]:
    """Return what `update` would change, and change nothing. Raises as it does."""
    place, rights = Tree(prod), Rights(access)
    base = place.cert_dir(cert)
    for folder in (prod, place.group_dir(cert.group), base, place.db_dir(cert)):
        files.check_dir(folder, rights.groups)
    found = []
    if not serves(tree, prod, cert, curr, is_ca=is_ca, access=access):
        found.append(Reason(Would.PUT_CURR, path=f"{base}/{CURR}", set=curr))
    elif _target(f"{base}/{CURR}") != link_target(curr):
        found.append(Reason(Would.LINK_CURR, path=f"{base}/{CURR}", set=curr))
    elif not _holds(place.set_dir(cert, curr), contents(tree, cert, curr, is_ca=is_ca), rights):
        found.append(Reason(Would.WRITE_CURR, path=f"{base}/{CURR}"))
    if next_ is None:
        if os.path.lexists(f"{base}/{NEXT}"):
            found.append(Reason(Would.REMOVE_PROD_NEXT, path=f"{base}/{NEXT}"))
    elif _target(f"{base}/{NEXT}") != link_target(next_):
        found.append(Reason(Would.LINK_NEXT, path=f"{base}/{NEXT}", set=next_))
    return found


def serves(
    tree: Tree,
    prod: str,
    cert: CertId,
    name: SetName,
    *,
    is_ca: bool,
    access: KeyAccess = OURS_ALONE,
) -> bool:
    """Whether production's `curr` already holds this set, whoever put it there."""
    rights = Rights(access)
    wanted = contents(tree, cert, name, is_ca=is_ca)
    folder = f"{Tree(prod).cert_dir(cert)}/{CURR}"
    read = [file for file in (PRIVKEY, FULLCHAIN) if file in wanted]
    return all(_is(f"{folder}/{file}", wanted[file], rights) for file in read)


def linked(prod: str, cert: CertId) -> SetName | None:
    """Return the set that production's `curr` points to, None without such a link."""
    try:
        return SetName.parse(_target(Tree(prod).link(cert, CURR)).removeprefix("db/"))
    except ValueError:
        return None


def contents(tree: Tree, cert: CertId, name: SetName, *, is_ca: bool) -> dict[str, bytes]:
    """Return the files of a set as servers get them: of a CA, those without its key (I1).

    Raises `Permanent` if there is no certificate in it, or others could put theirs there.
    """
    sets.check_folders(tree, cert, name)
    names = PUBLIC_FILES if is_ca else ALL_FILES
    folder = tree.set_dir(cert, name)
    have = sets.read_files(folder, tuple(file for file in ALL_FILES if file not in _BESIDE))
    have.update(repairs(have))
    for file in _BESIDE:
        with suppress(SslmError):
            have.update(sets.read_files(folder, (file,)))
    found = {file: have[file] for file in names if file in have}
    if CERT not in found or FULLCHAIN not in found:
        raise Permanent(Reason(Failed.SET_WITHOUT_CERT, folder=folder, arg=cert.arg))
    return found


def survey(prod: str) -> dict[CertId, bool]:
    """Return the certificates that are in production, each with whether it is there as we put it.

    What else is there (`dh/`, files of the admin's) is none of ours. Sets without `curr` are as we
    put them: a daemon that was killed had begun to take them away.
    """
    found = {}
    for group in _folders(prod):
        for service in _folders(f"{prod}/{group}"):
            # Folders that are written in another way than ours are none.
            if (cert := cert_named(f"{group}/{service}")) is None:
                continue
            base = Tree(prod).cert_dir(cert)
            if any(os.path.lexists(f"{base}/{name}") for name in (CURR, NEXT, PREV)):
                found[cert] = linked(prod, cert) is not None
            elif sets.list_sets(Tree(prod), cert):
                found[cert] = True
    return found


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as err:
        raise files.trouble(err, "look through", path) from err


def drop(prod: str, cert: CertId, groups: Collection[int] = ()) -> None:
    """Take a certificate out of production; what else lies in its folder stays.

    `groups`: those whose members may write there.
    """
    place = Tree(prod)
    base = place.cert_dir(cert)
    for folder in (prod, place.group_dir(cert.group), base):
        files.check_dir(folder, groups)
    for name in (CURR, NEXT, PREV):
        _drop(f"{base}/{name}")
    files.remove_tree(place.db_dir(cert))
    for folder in (base, place.group_dir(cert.group)):
        with suppress(OSError), holding(folder) as (above, name):
            os.rmdir(name, dir_fd=above)  # unless there is something of the admin's in it


def _is(path: str, data: bytes, rights: Rights) -> bool:
    """Whether a file of ours holds just that; one that somebody else owns is none of ours."""
    try:
        if rights.foreign and rights.fit(path):
            # We gave it away, and without CAP_DAC_OVERRIDE not even root may read it now.
            return os.stat(path).st_size == len(data)
        return files.read_file(path) == data
    except (FileNotFoundError, Permanent):
        return False


def _put_set(
    place: Tree, cert: CertId, name: SetName, wanted: Mapping[str, bytes], rights: Rights
) -> None:
    """Put a whole set beside the others, under its own name only when it is complete."""
    path = place.set_dir(cert, name)
    if os.path.isdir(path) and _holds(path, wanted, rights):
        return
    try:
        with holding(path) as (db, base):
            _put_files(db, base, wanted, rights)
    except OSError as err:
        raise files.trouble(err, "write", path) from err


def _put_files(db: int, base: str, wanted: Mapping[str, bytes], rights: Rights) -> None:
    """Make a set of these files in the folder `db`, which is held."""
    temp = files.temp_name(base)
    try:
        folder = files.make_dir(db, temp, 0o700)
        try:
            for name, data in wanted.items():
                mode = files.KEY_MODE if name in SECRET_FILES else files.FILE_MODE
                files.write_new(name, data, mode, folder)
                if name in SECRET_FILES:
                    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
                    try:
                        rights.give(file)
                    finally:
                        os.close(file)
            os.fchmod(folder, rights.dir_mode)
            os.fsync(folder)
        finally:
            os.close(folder)
        try:
            os.stat(base, dir_fd=db, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(temp, base, src_dir_fd=db, dst_dir_fd=db)
        else:
            files.swap(db, temp, base)  # and what was called so goes with `temp`
        os.fsync(db)
    finally:
        with suppress(FileNotFoundError):
            files.remove_below(db, temp)


def _holds(path: str, wanted: Mapping[str, bytes], rights: Rights) -> bool:
    if set(os.listdir(path)) != set(wanted):
        return False
    if stat.S_IMODE(os.stat(path).st_mode) & ~rights.dir_mode & PASSING:
        return False
    for file, data in wanted.items():
        if file in SECRET_FILES and not rights.fit(f"{path}/{file}"):
            return False
        if not _is(f"{path}/{file}", data, rights):
            return False
    return True


def _put_link(path: str, name: SetName) -> None:
    target = link_target(name)
    if not os.path.islink(path) and os.path.isdir(path):
        _exchange(path, target)
    elif _target(path) != target:
        files.replace_link(path, target)


def _exchange(path: str, target: str) -> None:
    """Put a link in the place of a directory (as ssl-mgr left it) at one instant."""
    try:
        with holding(path) as (folder, name):
            temp = files.temp_name(name)
            try:
                os.symlink(target, temp, dir_fd=folder)
                files.swap(folder, temp, name)
                os.fsync(folder)
            finally:
                with suppress(FileNotFoundError):
                    files.remove_below(folder, temp)
    except OSError as err:
        raise files.trouble(err, "replace the directory", path) from err


def _drop(path: str) -> None:
    """Remove a link, or a directory in its place; that one goes at one instant."""
    try:
        with holding(path) as (folder, name):
            temp = files.temp_name(name)
            os.rename(name, temp, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            files.remove_below(folder, temp)
    except FileNotFoundError:
        return
    except OSError as err:
        raise files.trouble(err, "remove", path) from err


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
