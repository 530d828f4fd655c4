"""Trees are given to another user, and nothing that is not in them."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.store.files import DEEPEST
from sslmd.store.owners import Gift, Whose, give

ROOT, THEM, OTHER = 0, 64001, 64002
TO_THEM = Whose(THEM, THEM, ROOT, ROOT)
BACK = Whose(ROOT, ROOT, THEM, THEM)
GROUP = 64003
OURS = re.compile(r"acme-challenge\..*|tlsa\..*")

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="giving files away needs root")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree as the daemon has it, beside a file that is none of its business."""
    (tmp_path / "passwd").write_text("root")
    tree = tmp_path / "certs"
    folder = tree / "example.com/web/db/set"
    folder.mkdir(parents=True)
    for name in ("privkey.pem", "cert.pem"):
        (folder / name).write_text(name)
        (folder / name).chmod(0o600)
    (tree / "example.com/web/curr").symlink_to("db/set")
    return tree


def owners(tree: Path) -> set[tuple[int, int]]:
    """Return who owns what is in a tree, links by themselves."""
    found = {(path.lstat().st_uid, path.lstat().st_gid) for path in tree.rglob("*")}
    return found | {(tree.lstat().st_uid, tree.lstat().st_gid)}


def test_a_tree_there_and_back(tree: Path) -> None:
    counted = give(Gift(str(tree)), TO_THEM, dry=True)
    assert owners(tree) == {(ROOT, ROOT)}
    given = give(Gift(str(tree)), TO_THEM)
    assert owners(tree) == {(THEM, THEM)}
    assert given == counted
    assert (given.changed, given.left) == (8, [])
    assert (tree / "example.com/web/curr/privkey.pem").stat().st_mode & 0o777 == 0o600
    assert give(Gift(str(tree)), TO_THEM).changed == 0
    assert give(Gift(str(tree)), BACK).changed == 8
    assert owners(tree) == {(ROOT, ROOT)}
    assert give(Gift(str(tree / "gone")), TO_THEM).changed == 0


def test_what_was_cut_short_is_gone_on_with(tree: Path) -> None:
    os.chown(tree / "example.com/web/db", THEM, THEM)
    os.chown(tree / "example.com/web/db/set/cert.pem", THEM, THEM)
    give(Gift(str(tree)), TO_THEM)
    assert owners(tree) == {(THEM, THEM)}


def test_a_group_that_was_given_a_key_keeps_it(tree: Path) -> None:
    key = tree / "example.com/web/db/set/privkey.pem"
    os.chown(key, ROOT, GROUP)
    give(Gift(str(tree)), TO_THEM)
    assert (key.stat().st_uid, key.stat().st_gid) == (THEM, GROUP)


def test_what_is_somebody_elses_stays(tree: Path) -> None:
    strange = tree / "example.com/notes"
    strange.write_text("")
    os.chown(strange, OTHER, OTHER)
    given = give(Gift(str(tree)), TO_THEM)
    assert strange.stat().st_uid == OTHER
    assert given.left == [f"{strange} belongs to uid {OTHER}"]


def test_links_lead_nowhere(tree: Path) -> None:
    outside = tree.parent / "passwd"
    (tree / "link").symlink_to(outside)
    (tree / "folder").symlink_to(tree.parent)
    give(Gift(str(tree)), TO_THEM)
    assert outside.stat().st_uid == tree.parent.stat().st_uid == ROOT
    assert (tree / "link").lstat().st_uid == THEM


def test_a_second_name_of_a_file_is_not_given(tree: Path) -> None:
    outside = tree.parent / "passwd"
    os.link(outside, tree / "mine")
    given = give(Gift(str(tree)), TO_THEM)
    assert outside.stat().st_uid == ROOT
    assert given.left == [f"{tree}/mine has 2 names, and may be somebody else's"]


def test_a_tree_without_an_end_ends(tree: Path) -> None:
    at = tree
    for _ in range(DEEPEST + 5):
        at = at / "d"
        at.mkdir()
    given = give(Gift(str(tree)), TO_THEM)
    assert len(given.left) == 1
    assert f"is {DEEPEST} folders down" in given.left[0]


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_way_that_others_can_change_is_refused(tree: Path, mode: int) -> None:
    os.chown(tree.parent, ROOT, OTHER)
    tree.parent.chmod(mode)
    with pytest.raises(Permanent, match=f"others may write to {tree.parent}"):
        give(Gift(str(tree)), TO_THEM)
    tree.parent.chmod(0o1777)  # as /tmp is
    give(Gift(str(tree)), TO_THEM)
    assert owners(tree) == {(THEM, THEM)}


def test_a_way_that_belongs_to_another_is_refused(tree: Path) -> None:
    os.chown(tree.parent, OTHER, OTHER)
    with pytest.raises(Permanent, match=f"{tree.parent} belongs to uid {OTHER}"):
        give(Gift(str(tree)), TO_THEM)
    assert owners(tree) == {(ROOT, ROOT)}


def test_include_files_are_given_and_nothing_beside_them(tree: Path) -> None:
    folder = tree.parent / "bind"
    folder.mkdir()
    for name in ("tlsa.example.com", "acme-challenge.example.com", "named.conf"):
        (folder / name).write_text("")
    (folder / "tlsa.link").symlink_to(tree.parent / "passwd")
    given = give(Gift(str(folder), OURS), TO_THEM)
    assert (folder / "tlsa.example.com").stat().st_uid == THEM
    assert (folder / "named.conf").stat().st_uid == folder.stat().st_uid == ROOT
    assert (tree.parent / "passwd").stat().st_uid == ROOT
    assert given.left == [f"{folder} holds files of others as well"]
    for name in ("named.conf", "tlsa.link"):
        (folder / name).unlink()
    give(Gift(str(folder), OURS), TO_THEM)
    assert folder.stat().st_uid == THEM


def test_one_file(tree: Path) -> None:
    key = tree.parent / "tsig.key"
    key.write_text("")
    assert give(Gift(str(key)), TO_THEM).changed == 1
    assert key.stat().st_uid == THEM
    assert tree.stat().st_uid == ROOT


def test_who_races_gets_nothing_of_others(tree: Path) -> None:
    """Whoever owns the tree exchanges a file and a folder for links out of it, again and again."""
    outside = tree.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("")
    inside, lure = tree / "mine", tree / "lure"
    inside.mkdir()
    (inside / "secret").write_text("")
    lure.symlink_to(outside)
    rename = ctypes.CDLL(None).renameat2
    over = threading.Event()
    turns = 0

    def exchange() -> None:
        nonlocal turns
        one, other = os.fsencode(inside), os.fsencode(lure)
        while not over.is_set():
            rename(-100, one, -100, other, 2)
            turns += 1

    racer = threading.Thread(target=exchange)
    racer.start()
    try:
        for _ in range(1000):
            give(Gift(str(tree)), TO_THEM)
            give(Gift(str(tree)), BACK)
    finally:
        over.set()
        racer.join()
    assert turns > 1000
    for path in (outside, outside / "secret", tree.parent / "passwd"):
        assert path.stat().st_uid == ROOT
