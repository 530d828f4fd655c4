"""Whose the keys in production are: `key_owner`, `key_group`, `key_mode`, as numbers of here."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable
from contextlib import suppress

from sslmd.config.model import Config
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.host.needs import KEY_MODE, KeyAccess
from sslmd.core.reason import Reason
from sslmd.store import files, owners
from sslmd.store.layout import SECRET_FILES
from sslmd.store.paths import holding

# Where others than the owner are to get at a key, they may pass through the folders on the way to
# it, and see no name there.
PASSING = 0o001


class Rights:
    """Whose the key files are here, and their mode; raises `Permanent` for names that are none."""

    def __init__(self, access: KeyAccess) -> None:
        self.uid = _number(access.owner, "key_owner", "user", lambda name: pwd.getpwnam(name)[2])
        self.gid = _number(access.group, "key_group", "group", lambda name: grp.getgrnam(name)[2])
        self.mode = access.mode
        self.dir_mode = files.DIR_MODE | (PASSING if access.opens else 0)

    @property
    def foreign(self) -> bool:
        """Whether keys belong to another user than the daemon's."""
        return self.uid not in (-1, os.geteuid())

    @property
    def groups(self) -> tuple[int, ...]:
        """The group that is let in by `key_group`."""
        return () if self.gid == -1 else (self.gid,)

    def give(self, file: int) -> None:
        """Give a file, by its handle, that is ours alone to whom it is for."""
        if self.uid == self.gid == -1 and self.mode == KEY_MODE:
            return
        os.fchmod(file, self.mode)  # first: a file of somebody else's we may not change
        os.fchown(file, self.uid, self.gid)

    def give_all(self, folder: str) -> None:
        """Have the keys of a set that stays be had by no more people than the others are."""
        for name in SECRET_FILES:
            path = f"{folder}/{name}"
            try:
                if self.fit(path):
                    continue
                with holding(path) as (above, _):
                    self._give_one(above, name, path)
            except FileNotFoundError:
                continue
            except OSError as err:
                raise files.trouble(err, "change the rights of", path) from err

    def _give_one(self, above: int, name: str, path: str) -> None:
        if os.stat(name, dir_fd=above, follow_symlinks=False).st_uid != os.geteuid():
            os.unlink(name, dir_fd=above)  # given away: not ours to take back without more rights
            return
        file = owners.open_own(above, name, path)
        try:
            os.fchmod(file, KEY_MODE)  # closed while it changes hands
            self.give(file)
        finally:
            os.close(file)

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
        raise Permanent(Reason(Failed.NO_SUCH_OWNER, what=what, name=name, key=key)) from None


def let_in(config: Config) -> frozenset[int]:
    """Return the groups of this machine that some `key_group` lets in."""
    found: set[int] = set()
    for one in config.server_classes:
        with suppress(Permanent):  # a group of other machines
            found.update(Rights(KeyAccess(group=one.key_group)).groups)
    return frozenset(found)
