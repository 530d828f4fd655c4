"""Somebody else on the machine, who may write to a folder, and tries to get further."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# A user without rights.
NOBODY = 65534

# A group that they are in, and nobody else.
GROUP = 4545

# A directory is exchanged with a link, as fast as that goes.
_EXCHANGES = f"""
import ctypes, os, sys
os.setgroups([{GROUP}]); os.setgid({NOBODY}); os.setuid({NOBODY})
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None)
print("ready", flush=True)
while os.getppid() == int(sys.argv[3]):
    for _ in range(1000):
        libc.renameat2(-100, sys.argv[2].encode(), -100, b"link", 2)
"""


def let_in(folder: Path) -> None:
    """Let others come to a scratch folder: those above it are for us alone."""
    for one in (folder, *folder.parents):
        if one.stat().st_uid == os.getuid() and one.stat().st_mode & 0o077 == 0:
            one.chmod(0o755)


def let_by_acl(path: Path, rights: int) -> None:
    """Let NOBODY have these rights (bits of an rwx) by a POSIX ACL; its mask lets all pass.

    Skips the test where the file system has no ACLs.
    """
    entries = [(1, 7, -1), (2, rights, NOBODY), (4, 5, -1), (0x10, 7, -1), (0x20, 0, -1)]
    if path.is_dir():
        entries[-1] = (0x20, 5, -1)
    data = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, right, whose & 0xFFFFFFFF) for tag, right, whose in entries
    )
    try:
        os.setxattr(path, "system.posix_acl_access", data)
    except OSError as err:
        if err.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("this file system has no ACLs")


@contextmanager
def exchanged(folder: Path, name: str) -> Iterator[None]:
    """Have a member of GROUP exchange `name` and `link` in a folder, for as long as this lasts."""
    attacker = subprocess.Popen(
        [sys.executable, "-c", _EXCHANGES, str(folder), name, str(os.getpid())],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert attacker.stdout is not None
    try:
        assert attacker.stdout.readline() == "ready\n"
        yield
    finally:
        attacker.kill()
        attacker.wait()
        attacker.stdout.close()
