"""files.py: private from birth, atomic, and clear about what is in the way."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.store import files, owners

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_modes_are_right_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        files.make_dirs(f"{tmp_path}/a/b")
        files.write_file(f"{tmp_path}/a/b/key", b"secret")
        files.write_file(f"{tmp_path}/a/b/cert", b"public", files.FILE_MODE)
    assert mode(tmp_path / "a") == mode(tmp_path / "a/b") == 0o750
    assert mode(tmp_path / "a/b/key") == 0o600
    assert mode(tmp_path / "a/b/cert") == 0o644


def test_a_key_is_private_before_it_has_content(tmp_path: Path) -> None:
    """A reader in a thread watches every file of the folder from birth."""
    wide: list[str] = []

    def look() -> None:
        for entry in os.scandir(tmp_path):
            with suppress(FileNotFoundError):
                if stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode) & 0o177:
                    wide.append(entry.name)

    with umask(0), watching(look):
        for number in range(200):
            files.write_file(f"{tmp_path}/key", b"%d" % number)
    assert not wide


@contextmanager
def watching(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` again and again in a thread; what it raises is raised here at the end."""
    stop, began = threading.Event(), threading.Event()
    trouble: list[BaseException] = []

    def loop() -> None:
        try:
            while not stop.is_set():
                look()
                began.set()
        except BaseException as err:
            trouble.append(err)
        finally:
            began.set()

    thread = threading.Thread(target=loop)
    thread.start()
    began.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if trouble:
        raise trouble[0]


def test_a_reader_never_sees_a_missing_or_partial_file(tmp_path: Path) -> None:
    path = f"{tmp_path}/file"
    contents = [bytes([65 + number]) * 50_000 for number in range(2)]
    files.write_file(path, contents[0])

    def look() -> None:
        with open(path, "rb") as file:
            assert file.read() in contents

    with watching(look):
        for number in range(200):
            files.write_file(path, contents[number % 2])
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_never_sees_a_missing_link(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    path = f"{tmp_path}/link"
    files.replace_link(path, "a")

    def look() -> None:
        with open(path) as file:
            assert file.read() in ("a", "b")

    with watching(look):
        for number in range(300):
            files.replace_link(path, "ab"[number % 2])
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "link"]


@contextmanager
def held(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def test_swap_exchanges_at_one_instant(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/file").write_text("old")
    (tmp_path / "new").mkdir()
    (tmp_path / "new/file").write_text("new")

    def look() -> None:
        with open(tmp_path / "old/file") as file:
            assert file.read() in ("old", "new")

    with held(tmp_path) as folder:
        with watching(look):
            for _ in range(301):
                files.swap(folder, "old", "new")
        assert (tmp_path / "old/file").read_text() == "new"
        assert (tmp_path / "new/file").read_text() == "old"
        with pytest.raises(FileNotFoundError):
            files.swap(folder, "old", "nothing")


def test_a_file_system_that_cannot_exchange(tmp_path: Path) -> None:
    """It says EINVAL, as for a folder and what is in it."""
    (tmp_path / "curr/within").mkdir(parents=True)
    with held(tmp_path) as folder, pytest.raises(OSError, match="cannot exchange") as caught:
        files.swap(folder, "curr", "curr/within")
    told = str(files.trouble(caught.value, "replace the directory", f"{tmp_path}/curr"))
    assert told.endswith("; move it away; it is written again with the next try")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(Permanent, match="move away the directory"):
        files.write_file(f"{tmp_path}/target", b"new")
    with pytest.raises(Permanent, match="cannot replace the link"):
        files.replace_link(f"{tmp_path}/target", "elsewhere")
    assert os.listdir(tmp_path) == ["target"]
    with pytest.raises(Permanent, match="cannot write"):
        files.write_file(f"{tmp_path}/no/such/folder", b"new")


def test_leftovers_are_those_of_other_runs(tmp_path: Path) -> None:
    ours = files.temp_name("state.toml")
    assert not files.is_leftover(ours)
    code = "from sslmd.store import files; print(files.temp_name('20260101-00:00:00'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    other = done.stdout.strip()
    assert files.is_leftover(other)
    for name in ("state.toml", ".hidden", ".sslmd.lock", "x.new", f"a{other}", f"{other}~"):
        assert not files.is_leftover(name)
    (tmp_path / other).mkdir()
    (tmp_path / other / "privkey.pem").touch()
    (tmp_path / ours).touch()
    (tmp_path / other.replace("2026", "2027")).symlink_to("nowhere")
    files.remove_leftovers(str(tmp_path))
    files.remove_leftovers(f"{tmp_path}/not-there")
    assert os.listdir(tmp_path) == [ours]


# --- what stands in the way -----------------------------------------------------------------


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "good").write_text("good")
    (tmp_path / "link").symlink_to("good")
    (tmp_path / "loop").symlink_to("loop")
    os.symlink("/dev/zero", tmp_path / "zero")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{tmp_path}/socket")
    for name in ("dir", "fifo", "link", "loop", "zero", "socket", "good/below"):
        with pytest.raises(Permanent, match=f"{tmp_path}/{name}") as caught:
            files.read_file(f"{tmp_path}/{name}")
        assert "; " in str(caught.value)
    with pytest.raises(Permanent, match="not a regular file"):
        files.read_file("/dev/zero")
    with pytest.raises(FileNotFoundError):
        files.read_file(f"{tmp_path}/not-there")
    assert files.read_file(f"{tmp_path}/good") == b"good"


def test_a_file_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * files.MAX_FILE)
    assert len(files.read_file(str(path))) == files.MAX_FILE
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(Permanent, match="1048577 bytes, more than 1048576"):
        files.read_file(str(path))


@needs_root
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "privkey.pem"
    path.write_text("key")
    os.chown(path, 12345, 0)
    with pytest.raises(Permanent, match=r"belongs to uid 12345, .*chown"):
        files.read_file(str(path))


def test_make_dirs_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "dangling"):
        for below in ("", "/a"):
            with pytest.raises(Permanent, match="move away the file"):
                files.make_dirs(f"{tmp_path}/{name}{below}")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    files.make_dirs(f"{tmp_path}/link/a/b")
    assert (tmp_path / "real/a/b").is_dir()


_AS_NOBODY = """
import json, os, sys
from sslmd.core.errors import SslmError
from sslmd.store import files, owners
top = sys.argv[1]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
calls = {
    "read": lambda: files.read_file(f"{top}/secret"),
    "write": lambda: files.write_file(f"{top}/closed/file", b""),
    "link": lambda: files.replace_link(f"{top}/closed/link", "a"),
    "unlink": lambda: files.remove_file(f"{top}/closed/there"),
    "mkdir": lambda: files.make_dirs(f"{top}/closed/a/b"),
    "rmtree": lambda: files.remove_tree(f"{top}/closed"),
    "tighten": lambda: owners.tighten(f"{top}/wide"),
    "leftovers": lambda: files.remove_leftovers(f"{top}/private"),
}
said = {}
for name, call in calls.items():
    try:
        call()
        said[name] = "no error"
    except SslmError as err:
        said[name] = f"{type(err).__name__}: {err}"
print(json.dumps(said))
"""


@needs_root
def test_what_the_daemons_user_may_not_do() -> None:
    # pytest's own folders are closed to other users.
    top = Path(tempfile.mkdtemp())
    try:
        top.chmod(0o755)
        (top / "closed").mkdir(mode=0o755)
        (top / "closed/there").symlink_to("x")
        (top / "private").mkdir(mode=0o700)
        (top / "secret").touch(mode=0o600)
        (top / "wide").touch()
        (top / "wide").chmod(0o644)
        command = [sys.executable, "-c", _AS_NOBODY, str(top)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(top)
    said = json.loads(done.stdout)
    assert len(said) == 8
    for what in said.values():
        assert what.startswith("Permanent: cannot "), said
        assert "; let the daemon's user read and write there" in what, said


# --- removing -------------------------------------------------------------------------------


def test_remove_tree_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep me")
    tree = tmp_path / "tree"
    (tree / "deep/deeper").mkdir(parents=True)
    (tree / "deep/file").touch()
    (tree / "dir-link").symlink_to(precious)
    (tree / "deep/file-link").symlink_to(precious / "file")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    files.remove_tree(str(tree))
    files.remove_tree(str(tree))
    (tmp_path / "alias").symlink_to(precious)
    files.remove_tree(f"{tmp_path}/alias")
    assert sorted(os.listdir(tmp_path)) == ["precious"]
    assert (precious / "file").read_text() == "keep me"


def test_who_makes_folders_without_end_is_told_of(tmp_path: Path) -> None:
    """Others may have them made, where `key_group` may write: neither stack nor handles run out."""
    deep = tmp_path / "deep"
    deep.mkdir()
    above = os.open(deep, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("a", dir_fd=above)
        below = os.open("a", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    with pytest.raises(Permanent, match=f"^{deep} has more than 64 folders below"):
        files.remove_tree(str(deep))
    subprocess.run(["rm", "-r", str(deep)], check=True)
    fine = tmp_path / "fine"
    fine.joinpath(*"a" * files.DEEPEST).mkdir(parents=True)
    files.remove_tree(str(fine))
    assert not fine.exists()


def test_remove_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    files.remove_file(f"{tmp_path}/link")
    files.remove_file(f"{tmp_path}/link")
    assert os.listdir(tmp_path) == []
    (tmp_path / "dir").mkdir()
    with pytest.raises(Permanent, match="cannot remove"):
        files.remove_file(f"{tmp_path}/dir")


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o600), (0o640, 0o600), (0o700, 0o600), (0o600, 0), (0o400, 0)]
)
def test_tighten(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "key"
    path.touch()
    path.chmod(before)
    assert owners.tighten(str(path)) is bool(after)
    assert mode(path) == (after or before)


def test_tighten_touches_no_link(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o644)
    (tmp_path / "link").symlink_to("file")
    assert not owners.tighten(f"{tmp_path}/link")
    assert mode(tmp_path / "file") == 0o644


# --- files that others read, and links in their place ---------------------------------------


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "zones").mkdir()
    path, end = tmp_path / "include/tlsa", tmp_path / "zones/tlsa"
    path.symlink_to("../zones/tlsa")
    files.write_shared(str(path), b"one")  # it leads to nothing yet
    assert files.read_shared(str(path)) == b"one"
    files.write_shared(str(path), b"two")
    assert path.is_symlink()
    assert not end.is_symlink()
    assert (end.read_bytes(), mode(end)) == (b"two", 0o644)
    assert sorted(one.name for one in end.parent.iterdir()) == ["tlsa"]


@needs_root
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda path, end: os.lchown(path, 12345, 0), "is a link that belongs to uid 12345"),
        (lambda path, end: os.chown(end.parent, 12345, 0), "not safe: .*belongs to uid 12345"),
        (lambda path, end: end.parent.chmod(0o777), "not safe: .*written by everybody"),
        (lambda path, end: end.symlink_to(path), "leads on and on"),
    ],
)
def test_a_link_that_others_could_turn_is_refused(
    tmp_path: Path, spoil: Callable[[Path, Path], None], text: str
) -> None:
    (tmp_path / "zones").mkdir()
    path, end = tmp_path / "tlsa", tmp_path / "zones/tlsa"
    path.symlink_to(end)
    spoil(path, end)
    for act in (lambda: files.write_shared(str(path), b"x"), lambda: files.read_shared(str(path))):
        with pytest.raises(Permanent, match=text):
            act()
    assert path.is_symlink()
    assert end.is_symlink() or not end.exists()
