"""The production tree: what servers on this machine read, brought up to date atomically.

`<prod>/<group>/<service>/{curr,next}` are links into `db/`, so a reader that follows `curr`
gets one complete set at any instant (I3). CA groups are there without their keys (I1).

A tree that ssl-mgr made has directories in place of the links: `as_found`.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress

from sslmd.core.access import KEY_MODE, KeyAccess
from sslmd.core.errors import Permanent, SslmError
from sslmd.core.names import BadName, CertId, GroupName, SetName, parse_service, shown
from sslmd.pki.inspect import repairs
from sslmd.store import files, sets
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

PUBLIC_FILES = (CERT, CHAIN, FULLCHAIN, CSR, INFO, TLSA)
ALL_FILES = (PRIVKEY, BUNDLE, *PUBLIC_FILES)

# For people. One that cannot be read keeps nothing from being delivered.
_BESIDE = (CSR, INFO, TLSA)

# Where others than the owner are to get at a key, they may pass through the folders on the way to
# it, and see no name there.
_PASSING = 0o001

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
    way = (prod, place.group_dir(cert), base, place.db_dir(cert))
    for folder in way:
        files.check_dir(folder)
    changed = not serves(tree, prod, cert, curr, is_ca=is_ca, access=access)
    if access.opens:
        files.make_dirs(os.path.dirname(prod), 0o755)  # those that are there stay as they are
    files.make_dirs(place.db_dir(cert))
    # What a killed daemon left half done here holds keys.
    for folder in (base, place.db_dir(cert)):
        files.remove_leftovers(folder)
    if access.opens:
        for folder in way:
            files.widen_dir(folder, _PASSING)
    for name in (curr, next_):
        if name is not None:
            _put_set(place, cert, name, contents(tree, cert, name, is_ca=is_ca), rights)
    old = _linked(f"{base}/{CURR}")
    _put_link(f"{base}/{CURR}", curr)
    if next_ is None:
        _drop(f"{base}/{NEXT}")
    else:
        _put_link(f"{base}/{NEXT}", next_)
    # The set before stays: whoever has just followed the link is still reading it.
    before = old if old != curr else _newest_other(place, cert, curr, next_)
    keep = {curr, next_, before}
    if before is not None and before not in (curr, next_):
        rights.give_all(place.set_dir(cert, before))
    for name in sets.list_sets(place, cert):
        if name not in keep:
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
) -> list[str]:
    """Return what `update` would change, in words, and change nothing. Raises as it does."""
    place, rights = Tree(prod), Rights(access)
    base = place.cert_dir(cert)
    for folder in (prod, place.group_dir(cert), base, place.db_dir(cert)):
        files.check_dir(folder)
    found = []
    if not serves(tree, prod, cert, curr, is_ca=is_ca, access=access):
        found.append(f"{base}/{CURR} is another set, or none: set {curr} is put there")
    elif _target(f"{base}/{CURR}") != link_target(curr):
        found.append(f"{base}/{CURR} has the right files, and becomes a link to set {curr}")
    elif not _holds(place.set_dir(cert, curr), contents(tree, cert, curr, is_ca=is_ca), rights):
        found.append(f"{base}/{CURR} has other files, or other permissions: written again")
    if next_ is None:
        if os.path.lexists(f"{base}/{NEXT}"):
            found.append(f"{base}/{NEXT} is removed: nothing is on deck")
    elif _target(f"{base}/{NEXT}") != link_target(next_):
        found.append(f"{base}/{NEXT} becomes a link to set {next_}, which is on deck")
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
    return _linked(f"{Tree(prod).cert_dir(cert)}/{CURR}")


def contents(tree: Tree, cert: CertId, name: SetName, *, is_ca: bool) -> dict[str, bytes]:
    """Return the files of a set as servers get them: of a CA, those without its key (I1).

    Raises `Permanent` if there is no certificate in it.
    """
    names = PUBLIC_FILES if is_ca else ALL_FILES
    folder = tree.set_dir(cert, name)
    have = sets.read_files(folder, tuple(file for file in ALL_FILES if file not in _BESIDE))
    have.update(repairs(have))
    for file in _BESIDE:
        with suppress(SslmError):
            have.update(sets.read_files(folder, (file,)))
    found = {file: have[file] for file in names if file in have}
    if CERT not in found or FULLCHAIN not in found:
        raise Permanent(f"{folder} has no certificate to deliver; renew {cert.arg}")
    return found


def survey(prod: str) -> dict[CertId, bool]:
    """Return the certificates that are in production, each with whether it is there as we put it.

    What else is there (`dh/`, files of the admin's) is none of ours. Sets without `curr` are as we
    put them: a daemon that was killed had begun to take them away.
    """
    found = {}
    for group in _folders(prod):
        for service in _folders(f"{prod}/{group}"):
            try:
                cert = cert_at(group, service)
            except BadName:
                continue
            base = f"{prod}/{group}/{service}"
            if any(os.path.lexists(f"{base}/{name}") for name in (CURR, NEXT)):
                found[cert] = linked(prod, cert) is not None
            elif sets.list_sets(Tree(prod), cert):
                found[cert] = True
    return found


def cert_at(group: str, service: str) -> CertId:
    """Return the certificate that two folders of a production tree are for.

    Raises `BadName`, also for folders that are written in another way than ours are.
    """
    cert = CertId(GroupName.parse(group).text, parse_service(service))
    if str(cert) != f"{group}/{service}":
        raise BadName(f"{shown(group)}/{shown(service)} is not how {cert} is written here")
    return cert


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as err:
        raise files.trouble(err, "look through", path) from err


def drop(prod: str, cert: CertId) -> None:
    """Take a certificate out of production; what else lies in its folder stays."""
    place = Tree(prod)
    base = place.cert_dir(cert)
    for folder in (prod, place.group_dir(cert), base):
        files.check_dir(folder)
    for name in (CURR, NEXT, PREV):
        _drop(f"{base}/{name}")
    files.remove_tree(place.db_dir(cert))
    for folder in (base, place.group_dir(cert)):
        with suppress(OSError):  # there is something of the admin's in it
            os.rmdir(folder)


class Rights:
    """Whose the key files are here, and their mode; raises `Permanent` for names that are none."""

    def __init__(self, access: KeyAccess) -> None:
        self.uid = _number(access.owner, "key_owner", "user", lambda name: pwd.getpwnam(name)[2])
        self.gid = _number(access.group, "key_group", "group", lambda name: grp.getgrnam(name)[2])
        self.mode = access.mode
        self.dir_mode = files.DIR_MODE | (_PASSING if access.opens else 0)

    @property
    def foreign(self) -> bool:
        """Whether keys belong to another user than the daemon's."""
        return self.uid not in (-1, os.geteuid())

    def give(self, path: str) -> None:
        """Give a file that is ours alone, in a folder that is ours alone, to whom it is for."""
        if self.uid == self.gid == -1 and self.mode == KEY_MODE:
            return
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fchmod(handle, self.mode)  # first: a file of somebody else's we may not change
            os.fchown(handle, self.uid, self.gid)
        finally:
            os.close(handle)

    def give_all(self, folder: str) -> None:
        """Have the keys of a set that stays be had by no more people than the others are."""
        for file in SECRET_FILES:
            path = f"{folder}/{file}"
            try:
                if self.fit(path):
                    continue
                if os.stat(path, follow_symlinks=False).st_uid != os.geteuid():
                    os.unlink(path)  # given away: not ours to take back without more rights
                    continue
                os.chmod(path, KEY_MODE, follow_symlinks=False)
                self.give(path)
            except FileNotFoundError:
                continue
            except OSError as err:
                raise files.trouble(err, "change the rights of", path) from err

    def fit(self, path: str) -> bool:
        """Whether a file has these rights."""
        info = os.stat(path, follow_symlinks=False)
        uid = os.geteuid() if self.uid == -1 else self.uid
        return (
            stat.S_ISREG(info.st_mode)
            and stat.S_IMODE(info.st_mode) == self.mode
            and info.st_uid == uid
            and self.gid in (-1, info.st_gid)
        )


def _number(name: str, key: str, what: str, find: Callable[[str], int]) -> int:
    if not name:
        return -1
    if name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError:
        raise Permanent(
            f"there is no {what} {name} on this machine; correct {key}, or add the {what}"
        ) from None


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
    temp = files.temp_name(path)
    try:
        files.make_dir(temp, 0o700)
        for file, data in wanted.items():
            mode = files.KEY_MODE if file in SECRET_FILES else files.FILE_MODE
            files.write_new(f"{temp}/{file}", data, mode)
            if file in SECRET_FILES:
                rights.give(f"{temp}/{file}")
        os.chmod(temp, rights.dir_mode)
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


def _holds(path: str, wanted: Mapping[str, bytes], rights: Rights) -> bool:
    if set(os.listdir(path)) != set(wanted):
        return False
    if stat.S_IMODE(os.stat(path).st_mode) & ~rights.dir_mode & _PASSING:
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
