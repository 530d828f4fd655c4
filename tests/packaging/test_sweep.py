"""Machines that a killed run has left are removed by the next one; those in use are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stand.machine import in_use
from tests.stand.server import ROOT

HOLD = """\
import sys, time
from pathlib import Path
from tests.stand.machine import in_use

root = Path(sys.argv[1])
with in_use(root):
    (root / "etc").mkdir(parents=True)
    print("made", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path) -> None:
    left, used, more = (tmp_path / f"sslmd-suite-{name}" for name in ("left", "used", "more"))
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(left)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"made\n"
        with in_use(used):
            used.mkdir()
            assert left.exists()
            run.kill()
            run.wait()
            with in_use(more):
                assert not left.exists()
                assert used.exists()
    used.rmdir()
    assert list(tmp_path.iterdir()) == []
