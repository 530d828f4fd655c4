"""Folders for what is temporary: private, below the run folder, and gone after a kill too."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sslmd.store.scratch import Scratch

HOLDS = """
import sys
from sslmd.store.scratch import Scratch
with Scratch(sys.argv[1]).folder() as folder:
    open(f"{folder}/key", "w").close()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "run"


def test_a_folder_is_private_and_goes(run: Path) -> None:
    scratch = Scratch(str(run))
    with scratch.folder() as one, scratch.folder() as other:
        assert one != other
        for path in (Path(one), Path(one).parent):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert Path(one).is_relative_to(run)
        Path(one, "file").touch()
        scratch.sweep()
        Scratch(str(run)).sweep()
        assert Path(one, "file").exists(), "it is in use"
    assert not any(Path(one).parent.iterdir())
    scratch.close()
    assert not any(run.iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o755])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_none_is_made_where_others_could_put_theirs(run: Path, mode: int) -> None:
    """A sticky folder of root's will do, as /tmp; one of somebody else's will not."""
    if mode == 0o755:
        os.chown(run, 12345, -1)
    run.chmod(mode)
    scratch = Scratch(str(run))
    with scratch.folder() as folder:
        where = run if mode == 0o1777 else run.parent / "tmp"
        assert Path(folder).is_relative_to(where)
    scratch.close()
    (run.parent / "tmp").chmod(0o777)
    if mode != 0o1777:
        with pytest.raises(PermissionError, match="chmod o-w"), Scratch(str(run)).folder():
            pass


def test_what_a_killed_process_left_is_removed_and_nothing_else(run: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(run)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    left = Path(process.stdout.readline().strip())
    Scratch(str(run)).sweep()
    assert (left / "key").exists(), "that process is alive"
    process.send_signal(signal.SIGKILL)
    process.communicate()

    elsewhere = run.parent / "elsewhere"
    (elsewhere / "sub").mkdir(parents=True)
    (elsewhere / "sub" / "file").touch()
    elsewhere.chmod(0o700)
    (left / "link").symlink_to(elsewhere)
    (run / ".sslmd-run-aaaaaaaa").symlink_to(elsewhere)
    (run / ".sslmd-run-bbbbbbbb").touch()
    wide = run / ".sslmd-run-cccccccc"
    wide.mkdir()
    wide.chmod(0o755)
    (run / ".sslmd-run-of-mine").mkdir(0o700)
    Scratch(str(run)).sweep()
    assert not left.parent.exists()
    assert (elsewhere / "sub" / "file").exists()
    names = {path.name for path in run.iterdir()}
    assert names == {
        *(".sslmd-run-aaaaaaaa", ".sslmd-run-bbbbbbbb", ".sslmd-run-cccccccc"),
        ".sslmd-run-of-mine",
    }


def test_one_of_another_user_is_left_alone(run: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    other = run / ".sslmd-run-dddddddd"
    other.mkdir(0o700)
    os.chown(other, 65534, 65534)
    Scratch(str(run)).sweep()
    assert other.exists()


def test_where_there_is_no_run_folder_it_is_in_the_temporary_one(run: Path) -> None:
    scratch = Scratch(str(run / "missing"))
    with scratch.folder() as folder:
        assert Path(folder).is_relative_to(run.parent / "tmp")
    scratch.close()
    assert not any((run.parent / "tmp").iterdir())
