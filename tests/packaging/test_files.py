"""How `make install` puts what was laid out below its prefix, and takes it away: files.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stand.attacker import NOBODY, let_in
from tests.stand.server import ROOT

FIRST = {
    "bin/sslmd": "-> ../lib/sslmd/bin/sslmd",
    "lib/sslmd/bin/sslmd": "first",
    "share/man/man8/sslmd.8": "first",
    "share/man/man1/gone.1": "first",
    "share/gone/deep/page": "first",
}
SECOND = {
    "bin/sslmd": "-> ../lib/sslmd/bin/sslmd",
    "lib/sslmd/bin/sslmd": "second",
    "share/man/man8/sslmd.8": "second",
    "share/man/man1/new.1": "second",
}


class Places:
    """A prefix, and what is to be put there."""

    def __init__(self, folder: Path) -> None:
        self.staged, self.prefix = folder / "staged", folder / "prefix"
        self.script = folder / "files.py"
        shutil.copy(ROOT / "packaging/files.py", self.script)

    def put(self, wanted: dict[str, str], *, user: int | None = None) -> str:
        shutil.rmtree(self.staged, ignore_errors=True)
        write(self.staged, wanted)
        return self.run("put", str(self.staged), user=user)

    def run(self, verb: str, *folders: str, user: int | None = None) -> str:
        """Return what it says of a failure; nothing if all went well."""
        python = sys.executable if user is None else "/usr/bin/python3"
        done = subprocess.run(
            [python, "-I", self.script, verb, *folders, self.prefix],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (1 if done.stderr else 0), done.stderr
        return done.stderr

    def there(self) -> dict[str, str]:
        """Return what lies below the prefix, less the list."""
        return {
            name: text
            for name, text in read(self.prefix).items()
            if name != "lib/sslmd/installed-files"
        }


def write(top: Path, wanted: dict[str, str]) -> None:
    for name, text in wanted.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)


def read(top: Path) -> dict[str, str]:
    return {
        str(one.relative_to(top)): f"-> {one.readlink()}" if one.is_symlink() else one.read_text()
        for one in top.rglob("*")
        if one.is_symlink() or not one.is_dir()
    }


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_what_a_later_version_leaves_out_is_taken_away(places: Places) -> None:
    assert places.put(FIRST) == ""
    assert places.there() == FIRST
    write(places.prefix, {"share/man/man1/mine.1": "mine"})
    assert places.put(SECOND) == ""
    assert places.there() == {**SECOND, "share/man/man1/mine.1": "mine"}
    assert not (places.prefix / "share/gone").exists()
    assert places.run("take") == ""
    assert places.there() == {"share/man/man1/mine.1": "mine"}
    assert not (places.prefix / "lib").exists()


def test_folders_that_were_there_stay(places: Places) -> None:
    (places.prefix / "share/man/man8").mkdir(parents=True)
    assert places.put(FIRST) == ""
    assert places.put(SECOND) == ""
    assert places.run("take") == ""
    assert [str(one.relative_to(places.prefix)) for one in sorted(places.prefix.rglob("*"))] == [
        "share",
        "share/man",
        "share/man/man8",
    ]


def test_all_goes_with_what_was_made_for_it(places: Places) -> None:
    assert places.put(SECOND) == ""
    assert places.run("take") == ""
    assert not places.prefix.exists()
    assert "there is no sslmd" in places.run("take")


def test_links_are_replaced_and_folders_followed(places: Places) -> None:
    """Somebody keeps a page, and all the manuals, elsewhere."""
    elsewhere = places.prefix.parent / "elsewhere"
    write(elsewhere, {"page": "mine", "man8/other.8": "mine"})
    write(places.prefix, {"share/man/man8": f"-> {elsewhere}/man8"})
    write(places.prefix, {"share/man/man1/new.1": f"-> {elsewhere}/page"})
    assert places.put(SECOND) == ""
    assert (elsewhere / "page").read_text() == "mine"
    assert places.there()["share/man/man1/new.1"] == "second"
    assert (places.prefix / "share/man/man8").is_symlink()
    assert (elsewhere / "man8/sslmd.8").read_text() == "second"


@pytest.mark.parametrize("verb", ["put", "take"])
def test_a_switch_that_ended_between_two_renames_is_mended(places: Places, verb: str) -> None:
    assert places.put(FIRST) == ""
    lib = places.prefix / "lib"
    (lib / "sslmd").rename(lib / ".sslmd.old")
    write(lib, {".sslmd.new/bin/sslmd": "half of it"})
    if verb == "put":
        assert places.put(SECOND) == ""
        assert places.there() == SECOND
    else:
        assert places.run("take") == ""
        assert not places.prefix.exists()


def test_what_is_refused_leaves_the_only_copy(places: Places) -> None:
    assert places.put(FIRST) == ""
    lib = places.prefix / "lib"
    (lib / "sslmd").rename(lib / ".sslmd.old")
    before = read(places.prefix)
    write(places.prefix, {"share/man/man1/new.1/a-file": "in a folder"})
    said = places.put(SECOND)
    assert f"{places.prefix}/share/man/man1/new.1 is a folder" in said
    assert "nothing was changed" in said
    assert read(places.prefix).items() >= before.items()


def test_a_file_where_a_folder_is_wanted(places: Places) -> None:
    write(places.prefix, {"share/man": "a file"})
    said = places.put(SECOND)
    assert f"{places.prefix}/share/man is no folder" in said
    assert places.there() == {"share/man": "a file"}


@pytest.mark.parametrize("verb", ["put", "take", "may-take"])
def test_rights_are_looked_at_everywhere_first(places: Places, verb: str) -> None:
    if os.getuid() != 0:
        pytest.skip("running as another user needs root")
    assert places.put(FIRST) == ""
    for one in [places.prefix, *places.prefix.rglob("*")]:
        os.chown(one, NOBODY, NOBODY, follow_symlinks=False)
    for name in ("share/man/man1", "share/gone/deep"):
        os.chown(places.prefix / name, 0, 0)
    let_in(places.prefix.parent)
    before = read(places.prefix)
    said = places.put(SECOND, user=NOBODY) if verb == "put" else places.run(verb, user=NOBODY)
    for name in ("share/man/man1", "share/gone/deep"):
        assert f"{places.prefix}/{name}" in said
    assert "nothing was changed" in said
    assert read(places.prefix) == before
    assert sorted(one.name for one in (places.prefix / "lib").iterdir()) == ["sslmd"]
