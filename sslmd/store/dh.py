"""Diffie-Hellman groups in files, for servers that offer DHE.

    <folder>/dh-ffdhe8192.pem   a group of RFC 7919: always the same, written where there is none
    <folder>/dh4096.pem         a group of the site's own, of so many bits: old after some months
    <folder>/dhparam.pem        a link to the first of those that are wanted

The folder is `dh` beside the services of a group. Nothing in it is secret.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta

from sslmd.core.dh import DhGroup
from sslmd.core.errors import Permanent
from sslmd.store import files

LINK = "dhparam.pem"
DIR_MODE = 0o755


def is_there(folder: str, group: DhGroup, max_age: timedelta, now: datetime) -> bool:
    """Whether the file of a group is there and, for one of the site's own, not older than that.

    Raises `Permanent` or `Transient` if nobody can tell.
    """
    path = f"{folder}/{group.file}"
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as err:
        raise files.trouble(err, "read", path) from err
    if not stat.S_ISREG(info.st_mode):
        return False
    # A group of RFC 7919 does not age.
    return not group.own or now.timestamp() - info.st_mtime <= max_age.total_seconds()


def exists(folder: str, group: DhGroup) -> bool:
    """Whether the file of a group is there, however old."""
    return os.path.isfile(f"{folder}/{group.file}")


def check_owner(folder: str, group: DhGroup) -> None:
    """Raise `Permanent` for a file that somebody else could change at any time."""
    path = f"{folder}/{group.file}"
    try:
        info = os.stat(path)
    except OSError as err:
        raise files.trouble(err, "read", path) from err
    files.check_owner(info, path)


def write(folder: str, group: DhGroup, pem: bytes) -> None:
    """Put a group into its file, all or nothing; raises as `files.write_file` does."""
    files.write_file(f"{folder}/{group.file}", pem, files.FILE_MODE)


def point(folder: str, group: DhGroup) -> bool:
    """Have the link lead to the file of `group`; return whether it led elsewhere.

    Raises `Permanent` if something else stands in its place.
    """
    link = f"{folder}/{LINK}"
    try:
        if os.readlink(link) == group.file:
            return False
    except FileNotFoundError:
        pass
    except OSError as err:
        if os.path.lexists(link) and not os.path.islink(link):
            raise Permanent(f"{link} is not a link to {group.file}; move it away") from err
        raise files.trouble(err, "read", link) from err
    files.replace_link(link, group.file)
    return True
