"""`sslmd init --user` where it cannot be done: it says why, and does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stand.server import ROOT


def init(*words: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sslmd.daemon.main", "init", *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=user,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--user"], "nobody is there to agree; say --yes"),
        (["--trees"], "--trees is for --user"),
        (["--user", "daemon", "--yes"], "invalid choice: 'daemon'"),
        (["--user", "--domain", "example.com", "--yes"], "write one first, without it"),
    ],
)
def test_wrong_usage(words: list[str], told: str) -> None:
    done = init(*words)
    assert done.returncode == 2
    assert told in done.stderr


def test_only_root_may() -> None:
    if os.getuid() != 0:
        done = init("--user", "--yes")
    else:
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "only root can do that; run it as root" in done.stderr


_AS_NOBODY = """\
import os, sys
from sslmd.setup import init, init_user
os.setgid(65534); os.setuid(65534)
sys.exit(init.run(["--user", "--yes"]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="giving trees away needs root")
def test_a_machine_without_systemd_or_the_unit_is_left_alone(tmp_path: Path) -> None:
    done = init("--user", "--yes", "--conf-dir", str(tmp_path))
    assert done.returncode == 1
    assert "systemd does not run here" in done.stderr or "no sslmd.service" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="giving trees away needs root")
def test_trees_want_a_configuration(tmp_path: Path) -> None:
    done = init("--user", "--trees", "--conf-dir", str(tmp_path / "gone"))
    assert done.returncode == 1
    assert "the configuration has to be right first; nothing was done" in done.stderr
