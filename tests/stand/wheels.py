"""Files of the Python packages that the lock names, fetched once for every build in tests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stand.server import ROOT

BUILD = ROOT / "build"
PYTHON = "/usr/bin/python3"  # what `make install` and `make deb` take

_LOCKS = tuple(ROOT / "packaging/lock" / name for name in ("build.txt", "packages.txt"))
_FETCHING = 600  # seconds


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Be alone with a part of the build folder, whoever else runs tests here."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def at_hand() -> dict[str, str]:
    """Return settings by which pip takes all packages from a folder and asks no index.

    Otherwise each build asks for a page and a file of every package. The folder (build/fetched,
    `make clean` removes it) is filled by the lock as well, and what builds looks at the hashes
    again. The package for another release is built in a machine of it, out of the index.
    """
    if "PYTHON=" in os.environ.get("MAKEFLAGS", ""):
        return {}  # make passes it on: another Python, which may want other files
    folder = BUILD / "fetched"
    complete = folder / "complete"
    with locked("fetched"):
        version = subprocess.run([PYTHON, "-V"], capture_output=True, check=True).stdout
        digest = hashlib.sha256(version)
        for lock in _LOCKS:
            digest.update(lock.read_bytes())
        if not complete.exists() or complete.read_text() != digest.hexdigest():
            shutil.rmtree(folder, ignore_errors=True)
            _fetch(str(folder))
            complete.write_text(digest.hexdigest())
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.as_uri()}


def _fetch(folder: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"),
            *("--python", PYTHON, "download", "--require-hashes", "--no-deps", "--dest", folder),
            *(word for lock in _LOCKS for word in ("-r", str(lock))),
        ],
        capture_output=True,
        text=True,
        timeout=_FETCHING,
        check=False,
    )
    assert done.returncode == 0, done.stderr
