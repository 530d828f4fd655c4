"""Files that the system's resolver goes by, which the network process may read (`sandbox`).

Landlock knows files and not names: of one that is replaced, as editors and DHCP clients do it, the
process can only read the old one. So the daemon looks, and starts another process.
"""

from __future__ import annotations

import os

FILES = ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf")

Identities = tuple[tuple[int, int] | None, ...]


def identities() -> Identities:
    """Return which files these are now; None for what is not there."""
    found: list[tuple[int, int] | None] = []
    for path in FILES:
        try:
            info = os.stat(path)
            found.append((info.st_dev, info.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)
