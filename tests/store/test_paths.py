"""The way to a folder, with real owners, links and somebody who exchanges them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent, SslmError
from sslmd.core.safe_path import trust_of
from sslmd.store import files, owners
from sslmd.store.paths import dangers, holding, open_folder, own_trust
from tests.stand.attacker import GROUP, NOBODY, exchanged, let_by_acl, let_in
from tests.stand.server import ROOT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def found(path: Path | str, *, sticky: bool = False) -> list[str]:
    return [str(one) for one in dangers(str(path), own_trust(), sticky=sticky)]


def where(handle: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


# --- who else has power over it -------------------------------------------------------------


def test_a_scratch_tree_of_ours_is_safe(tmp_path: Path) -> None:
    """/tmp itself may be written by everybody; what belongs to us in it may not."""
    assert found(tmp_path) == found(tmp_path / "not/there") == []


@needs_root
def test_every_folder_on_the_way_counts(tmp_path: Path) -> None:
    tree = tmp_path / "a/b/c"
    tree.mkdir(parents=True)
    os.chown(tmp_path / "a", NOBODY, -1)
    (tmp_path / "a/b").chmod(0o777)
    owned, wide = found(tree)
    assert owned.startswith(f"{tmp_path}/a belongs to uid {NOBODY}, ")
    assert wide.startswith(f"{tmp_path}/a/b can be written by everybody ")
    assert found(tree / "not-there") == [owned, wide]


@needs_root
def test_links_are_followed_and_what_they_lead_through_counts(tmp_path: Path) -> None:
    (tmp_path / "real/tree").mkdir(parents=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to("theirs/../real")  # by way of a folder of theirs
    os.chown(tmp_path / "theirs", NOBODY, -1)
    (said,) = found(tmp_path / "link/tree")
    assert said.startswith(f"{tmp_path}/theirs belongs to uid {NOBODY}")
    os.chown(tmp_path / "theirs", 0, -1)
    assert found(tmp_path / "link/tree") == []
    (tmp_path / "absolute").symlink_to(tmp_path / "link")
    (tmp_path / "real").chmod(0o757)
    (said,) = found(tmp_path / "absolute/tree")
    assert said.startswith(f"{tmp_path}/real can be written by everybody")


@needs_root
def test_a_link_in_a_sticky_folder_is_whose_it_says(tmp_path: Path) -> None:
    shared, real = tmp_path / "shared", tmp_path / "real"
    shared.mkdir()
    shared.chmod(0o1777)
    real.mkdir()
    link = shared / "link"
    link.symlink_to(real)
    assert found(link) == []
    os.chown(link, NOBODY, -1, follow_symlinks=False)
    (said,) = found(link)
    assert said.startswith(f"{link} belongs to uid {NOBODY}")
    with pytest.raises(Permanent, match="is a link, and others may write to the folder"):
        open_folder(str(link))


def test_a_sticky_folder_is_no_tree(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (said,) = found(tmp_path)
    assert said.startswith(f"{tmp_path} can be written by everybody")
    assert found(tmp_path, sticky=True) == found(tmp_path / "in-it") == []


@needs_root
def test_a_group_and_the_groups_that_are_let_in(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.chown(tree, -1, GROUP)
    tree.chmod(0o770)
    (said,) = found(tree)
    assert f"can be written by gid {GROUP}" in said
    assert said.endswith(f"run: chmod g-w {tree}")
    assert list(dangers(str(tree), own_trust().with_groups({GROUP}))) == []
    with pytest.raises(Permanent, match="can be written by gid"):
        files.check_dir(str(tree))
    files.check_dir(str(tree), {GROUP})


@needs_root
def test_an_acl_is_read(tmp_path: Path) -> None:
    """POSIX ACLs: their mask is what stat(2) shows as the rights of the group."""

    let_by_acl(tmp_path, 5)
    assert tmp_path.stat().st_mode & stat.S_IWGRP
    assert found(tmp_path) == []  # nobody whom it names may write
    let_by_acl(tmp_path, 7)
    (said,) = found(tmp_path)
    assert f"can be written by u:{NOBODY} of its ACL" in said
    assert said.endswith(f"run: setfacl -x u:{NOBODY} {tmp_path}")


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        found(tmp_path / "one")


def test_a_file_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        found(tmp_path / "file/tree")


@needs_root
def test_of_a_user_of_its_own() -> None:
    assert list(dangers("/", trust_of(NOBODY, NOBODY))) == []


# --- a folder by its handle -----------------------------------------------------------------


def test_a_link_of_ours_leads_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real/in").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/up").symlink_to("../real/./in")
    for path in (tmp_path / "real/in", tmp_path / "link/in", tmp_path / "link/up"):
        assert where(open_folder(str(path))) == str(tmp_path / "real/in")
    assert where(open_folder(f"{tmp_path}/link//../link/in/")) == str(tmp_path / "real/in")


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom sslmd.store import files\nfrom sslmd.store.paths import *\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "files.make_dirs(f'{sys.argv[1]}/a/b'); files.write_file(f'{sys.argv[1]}/a/b/c', b'x')\n"
        "assert list(dangers(sys.argv[1], own_trust())) == []\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "a/b/c").read_bytes() == b"x"


def test_a_relative_path(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert where(open_folder("in")) == str(tmp_path / "in")
        assert found("in") == []
    finally:
        os.chdir(before)


@needs_root
@pytest.mark.parametrize("how", ["group", "everybody", "owner"])
def test_a_link_in_a_folder_of_others_leads_nowhere(tmp_path: Path, how: str) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir(mode=0o700)
    (theirs / "link").symlink_to(ours)
    os.chown(theirs, NOBODY if how == "owner" else 0, GROUP)
    theirs.chmod({"group": 0o775, "everybody": 0o777, "owner": 0o755}[how])
    path = str(theirs / "link")
    acts: list[Callable[[], object]] = [
        lambda: files.write_file(f"{path}/file", b"x"),
        lambda: files.replace_link(f"{path}/file", "target"),
        lambda: files.remove_file(f"{path}/file"),
        lambda: files.remove_tree(f"{path}/file"),
        lambda: files.remove_leftovers(path),
        lambda: owners.widen_dir(path, 0o005),
        lambda: files.make_dirs(f"{path}/a/b"),
        lambda: files.move(f"{path}/file", f"{tmp_path}/file"),
    ]
    for act in acts:
        with pytest.raises(Permanent, match=f"{path} is a link, and others may write"):
            act()
    assert os.listdir(ours) == []
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700
    # A directory is written to: what is in it is theirs anyway.
    files.write_file(f"{theirs}/file", b"x")


@needs_root
def test_a_key_with_another_name_is_not_changed(tmp_path: Path) -> None:
    """Who may write to a folder can give any file a name there (link(2))."""
    victim = tmp_path / "victim"
    victim.write_text("everybody reads it")
    victim.chmod(0o644)
    os.link(victim, tmp_path / "privkey.pem")
    with pytest.raises(Permanent, match="has 2 names"):
        owners.tighten(str(tmp_path / "privkey.pem"))
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644


# --- a race ---------------------------------------------------------------------------------

ROUNDS = 500


@needs_root
@pytest.mark.parametrize(
    "act",
    [
        lambda path: files.write_file(f"{path}/file", b"x"),
        lambda path: files.replace_link(f"{path}/file", "target"),
        lambda path: files.remove_file(f"{path}/kept"),
        lambda path: files.remove_tree(f"{path}/kept"),
        lambda path: files.make_dirs(f"{path}/a/b"),
        lambda path: owners.widen_dir(path, 0o005),
        lambda path: owners.tighten(f"{path}/kept"),
    ],
    ids=["write", "link", "remove", "remove-tree", "make", "widen", "tighten"],
)
def test_who_exchanges_a_folder_gets_nothing_done_elsewhere(
    tmp_path: Path, act: Callable[[str], object]
) -> None:
    shared, ours = tmp_path / "shared", tmp_path / "ours"
    (shared / "folder").mkdir(parents=True)
    ours.mkdir(mode=0o700)
    (ours / "kept").write_text("of root's")
    (ours / "kept").chmod(0o644)
    (shared / "link").symlink_to(ours)
    os.chown(shared, -1, GROUP)
    shared.chmod(0o770)
    tmp_path.chmod(0o755)
    let_in(tmp_path)
    done = 0
    with exchanged(shared, "folder"):
        for _ in range(ROUNDS):
            with suppress(SslmError, FileNotFoundError):
                act(str(shared / "folder"))
                done += 1
            assert os.listdir(ours) == ["kept"]
            assert stat.S_IMODE(ours.stat().st_mode) == 0o700
            assert stat.S_IMODE((ours / "kept").stat().st_mode) == 0o644


def test_holding_gives_folder_and_name(tmp_path: Path) -> None:
    with holding(f"{tmp_path}/name") as (folder, name):
        assert os.readlink(f"/proc/self/fd/{folder}") == str(tmp_path)
        assert name == "name"


@needs_root
def test_a_link_that_somebody_else_left_is_no_folder_of_ours(tmp_path: Path) -> None:
    """They may have written there once: what they put stays when the folder is closed to them."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    files.check_dir(str(link))
    os.chown(link, NOBODY, -1, follow_symlinks=False)
    with pytest.raises(Permanent, match=f"run: chown -h root {link}"):
        files.check_dir(str(link))
    os.chown(link, 0, -1, follow_symlinks=False)
    (tmp_path / "real").chmod(0o757)
    with pytest.raises(Permanent, match="can be written by everybody"):
        files.check_dir(str(link))
    (tmp_path / "nowhere").symlink_to("none")
    files.check_dir(str(tmp_path / "nowhere"))
