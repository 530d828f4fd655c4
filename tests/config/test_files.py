"""Files and folders that cannot be used, or should not be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.core.errors import ConfigError
from tests.stand.conf import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_broken_files_of_every_kind_at_once(tree: Tree) -> None:
    tree.write("ssl-mgr.conf", "[globals]\nverb = tru\n")
    tree.write("ca-info.conf", b"[a]\n# f\xfcr\n")
    tree.write("example.com/web", "group = 'example.com'\n\nservice = 'web\n")
    main, ca_info, service = tree.mistakes()
    # What stands between is the TOML parser's own text.
    assert main.startswith("ssl-mgr.conf:2: this is not TOML: ")
    assert main.endswith("; correct what stands here or before it")
    assert ca_info == "ca-info.conf:2: byte 0xfc is not UTF-8; save the file as UTF-8 text"
    assert service.startswith("example.com/web:3: this is not TOML: ")


@pytest.mark.parametrize("text", ["group = " + "[" * 5000, "group = " + "1" * 5000])
def test_values_beyond_measure(tree: Tree, text: str) -> None:
    tree.write("example.com/web", text)
    (mistake,) = tree.mistakes()
    assert mistake.startswith("example.com/web")


def test_no_main_file(tree: Tree) -> None:
    tree.path("ssl-mgr.conf").unlink()
    assert tree.mistakes() == [
        "ssl-mgr.conf: there is no such file or directory; "
        "make a first one by `sslmd init`, or name another directory with --conf-dir"
    ]


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none")
    assert str(caught.value) == (
        f"{tmp_path}/none: there is no such file or directory; create it, or correct its name"
    )


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "conf.d").write_text("")
    with pytest.raises(ConfigError, match=r"conf\.d: it is not a directory; put a directory"):
        load(tmp_path / "conf.d")


def test_directories_and_pipes_in_place_of_files(tree: Tree) -> None:
    for name in ("example.com/web", "ca-info.conf"):
        tree.path(name).unlink()
    tree.path("ca-info.conf").mkdir(mode=0o755)
    os.mkfifo(tree.path("example.com/web"))
    assert tree.mistakes() == [
        "ca-info.conf: it is a directory; put a file in its place",
        "example.com/web: it is not a regular file; put a file in its place",
    ]


def test_unreadable_files() -> None:
    me, nobody = os.geteuid(), 65534
    with tempfile.TemporaryDirectory() as top:  # pytest's own folders are closed to others
        Path(top).chmod(0o755)
        tree = Tree(Path(top))
        tree.path("example.com/web").chmod(0)
        if me == 0:  # root reads everything
            os.seteuid(nobody)
        try:
            assert tree.mistakes() == [
                "example.com/web: it cannot be read: Permission denied; it must be readable for "
                f"the user of the daemon (uid {me or nobody}), and the folders above it searchable"
            ]
        finally:
            os.seteuid(me)


def test_files_that_others_may_write(tree: Tree) -> None:
    tree.path("example.com/web").chmod(0o646)
    tree.path("example.com").chmod(0o777)
    assert tree.mistakes() == [
        "example.com: everybody may write it (mode 0777), and so has power over the daemon; "
        "chmod o-w example.com",
        "example.com/web: everybody may write it (mode 0646), and so has power over the daemon; "
        "chmod o-w example.com/web",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another group")
def test_files_that_a_group_may_write(tree: Tree) -> None:
    for path, mode in (("example.com/web", 0o664), ("example.com", 0o2775), ("", 0o770)):
        os.chown(tree.conf / path, -1, 4545)
        (tree.conf / path).chmod(mode)
    assert tree.mistakes() == [
        "…: group 4545 may write it (mode 0770), and so has power over the daemon; chmod g-w …",
        "example.com: group 4545 may write it (mode 2775), and so has power over the daemon; "
        "chmod g-w example.com",
        "example.com/web: group 4545 may write it (mode 0664), and so has power over the daemon; "
        "chmod g-w example.com/web",
    ]


def test_files_of_other_users(tree: Tree) -> None:
    me = os.geteuid()
    with pytest.raises(ConfigError) as caught:
        load(tree.conf, owners={me + 1})
    assert tree.short(str(caught.value.mistakes[0])) == (
        f"…: it belongs to user {me}, who so has power over the daemon; chown root …"
    )
    assert load(tree.conf, owners={me}).services
