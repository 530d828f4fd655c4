"""A program whose /etc/resolv.conf names a resolver of the test's, and nobody else's does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stand.server import PLACES

_UNSHARE = ("unshare", "--mount", "--propagation", "private")
_SCRIPT = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'


def missing() -> str:
    """Return which program or right is missing, or nothing."""
    for name in ("unshare", "mount", "ip"):
        if not shutil.which(name, path=PLACES):
            return f"{name} is missing"
    if os.geteuid() != 0:
        return "mount namespaces need root"
    try_out = [*_UNSHARE, "mount", "-t", "tmpfs", "try-out", "/tmp"]
    done = subprocess.run(try_out, capture_output=True, text=True, check=False)
    return f"no mount namespaces: {done.stderr.strip()}" if done.returncode else ""


@contextmanager
def public_address(address: str) -> Iterator[None]:
    """Have an address of the internet on this machine, where nobody else has it meanwhile.

    Name servers of others' zones are asked nowhere else.
    """
    bits = 128 if ":" in address else 32
    command = ["ip", "address", "add", f"{address}/{bits}", "dev", "lo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # One that is there was left by a run that was killed.
    if done.returncode and "exists" not in done.stderr:
        pytest.skip(f"lo cannot be given {address}: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([*command[:2], "del", *command[3:]], check=True)


def asking(folder: Path, address: str) -> list[str]:
    """Return the words before a command that has it ask the resolver at port 53 of `address`."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {address}\n")
    return [*_UNSHARE, "sh", "-c", _SCRIPT, "sh", str(file)]
