"""The log file, and those who may write to its folder."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.daemon.tell.journal import LogFile
from tests.stand.attacker import GROUP, NOBODY, exchanged, let_in

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


@pytest.fixture
def log(folder: Path) -> Iterator[LogFile]:
    log = LogFile(str(folder))
    yield log
    log.close()


def say(log: LogFile, text: str) -> None:
    log.handle(logging.LogRecord("sslmd", logging.INFO, "", 0, "%s", (text,), None))


def test_lines_go_to_a_private_file(log: LogFile, folder: Path) -> None:
    say(log, "one")
    say(log, "two \udcff")
    path = folder / "sslmd.log"
    assert path.read_text() == "one\ntwo \\udcff\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_rotated_file_is_left_and_the_new_one_is_taken(log: LogFile, folder: Path) -> None:
    say(log, "one")
    (folder / "sslmd.log").rename(folder / "sslmd.log.1")
    say(log, "two")
    (folder / "sslmd.log").rename(folder / "sslmd.log.2")
    (folder / "sslmd.log").touch(0o640)  # logrotate's `create`
    say(log, "three")
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert texts == {"sslmd.log.1": "one\n", "sslmd.log.2": "two\n", "sslmd.log": "three\n"}
    assert stat.S_IMODE((folder / "sslmd.log").stat().st_mode) == 0o640


def test_a_new_run_goes_on_in_the_file(folder: Path) -> None:
    for text in ("one", "two"):
        log = LogFile(str(folder))
        say(log, text)
        log.close()
    assert (folder / "sslmd.log").read_text() == "one\ntwo\n"


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _name(path: Path, victim: Path) -> None:
    os.link(victim, path)


def _pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("put", "said"), [(_link, "is a link"), (_name, "has 2 names"), (_pipe, "No such device")]
)
def test_what_is_no_file_of_ours_is_not_written_to(folder: Path, put: object, said: str) -> None:
    victim = folder.parent / "victim"
    victim.write_text("of root's\n")
    assert callable(put)
    put(folder / "sslmd.log", victim)
    with pytest.raises((OSError, Permanent), match=said):
        LogFile(str(folder))
    (folder / "sslmd.log").unlink()
    log = LogFile(str(folder))
    say(log, "one")
    (folder / "sslmd.log").rename(folder / "sslmd.log.1")
    put(folder / "sslmd.log", victim)
    say(log, "two")  # on into the file that was open
    log.close()
    assert (folder / "sslmd.log.1").read_text() == "one\ntwo\n"
    assert victim.read_text() == "of root's\n"


@needs_root
def test_a_file_of_somebody_elses(folder: Path) -> None:
    (folder / "sslmd.log").touch()
    os.chown(folder / "sslmd.log", NOBODY, -1)
    with pytest.raises(Permanent, match=f"belongs to uid {NOBODY}"):
        LogFile(str(folder))


@needs_root
def test_a_folder_that_is_exchanged_all_the_time(tmp_path: Path) -> None:
    shared, ours = tmp_path / "shared", tmp_path / "ours"
    (shared / "log").mkdir(parents=True)
    ours.mkdir(mode=0o700)
    (ours / "sslmd.log").write_text("of root's\n")
    (shared / "link").symlink_to(ours)
    os.chown(shared, -1, GROUP)
    shared.chmod(0o770)
    tmp_path.chmod(0o755)
    let_in(tmp_path)
    log = LogFile(str(shared / "log"))
    with exchanged(shared, "log"):
        for number in range(500):
            say(log, str(number))
    log.close()
    assert (ours / "sslmd.log").read_text() == "of root's\n"
    said = "".join(
        (shared / name / "sslmd.log").read_text()
        for name in ("log", "link")
        if not (shared / name).is_symlink()
    )
    assert said == "".join(f"{number}\n" for number in range(500))
