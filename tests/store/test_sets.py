"""Sets and links: what they say when all is well, and when somebody was at them by hand."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.core.names import CertId, SetName
from sslmd.core.told import Odd
from sslmd.core.words.sentence import say
from sslmd.store import sets
from sslmd.store.layout import Tree
from tests.stand.samples import set_files
from tests.stand.tools import NOW, WEB

SETS = [SetName.at(NOW + timedelta(days=number)) for number in range(10)]


class Place:
    """A certificate's folder with some sets in it."""

    def __init__(self, top: Path, count: int = 3) -> None:
        self.tree = Tree(f"{top}/certs")
        self.dir = Path(self.tree.cert_dir(WEB))
        for name in SETS[:count]:
            self.add(name)

    def add(self, name: SetName) -> Path:
        folder = Path(self.tree.set_dir(WEB, name))
        folder.mkdir(parents=True)
        for file, content in set_files().items():
            (folder / file).write_bytes(content)
            (folder / file).chmod(0o600)
        return folder

    def link(self, which: str, target: str | SetName) -> None:
        path = self.dir / which
        path.unlink(missing_ok=True)
        path.symlink_to(f"db/{target}" if isinstance(target, SetName) else target)

    def links(self) -> sets.Links:
        return sets.read_links(self.tree, WEB)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_no_folder_at_all(tmp_path: Path) -> None:
    tree = Tree(f"{tmp_path}/certs")
    assert sets.read_links(tree, WEB) == sets.Links()
    assert sets.list_sets(tree, WEB) == []
    assert sets.clean(tree, WEB, 1) == []
    sets.sweep(tree, WEB)


def test_new_set_finds_a_free_name(place: Place) -> None:
    made = [sets.new_set(place.tree, WEB, NOW + timedelta(days=5)) for _ in range(3)]
    assert made == [SetName.at(NOW + timedelta(days=5, seconds=number)) for number in range(3)]
    # Whatever has the name: a file, or a link to nowhere.
    after = NOW + timedelta(days=6)
    (place.dir / "db" / str(SetName.at(after))).touch()
    (place.dir / "db" / str(SetName.at(after).later())).symlink_to("nowhere")
    assert sets.new_set(place.tree, WEB, after) == SetName.at(after).later().later()


@pytest.mark.parametrize("mask", [0, 0o777])
def test_new_set_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    tree = Tree(f"{tmp_path}/certs")
    before = os.umask(mask)
    try:
        name = sets.new_set(tree, WEB, NOW)
        sets.write_set_file(tree, WEB, name, "privkey.pem", b"key")
        sets.write_set_file(tree, WEB, name, "cert.pem", b"cert")
    finally:
        os.umask(before)
    folder = Path(tree.set_dir(WEB, name))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *sorted(folder.iterdir()))]
    assert modes == [0o700, 0o644, 0o600]


def test_roll(place: Place) -> None:
    sets.put_on_deck(place.tree, WEB, SETS[0])
    sets.roll(place.tree, WEB, SETS[0], NOW)
    assert place.links() == sets.Links(curr=SETS[0])
    sets.put_on_deck(place.tree, WEB, SETS[1])
    sets.roll(place.tree, WEB, SETS[1], NOW)
    assert place.links() == sets.Links(curr=SETS[1], prev=SETS[0])
    assert os.readlink(place.dir / "curr") == f"db/{SETS[1]}"
    assert (place.dir / "curr/info").read_text() == "rolled 2026-06-01 12:00:00 UTC\n"
    # Rolled once more (a kill before `next` was gone): `prev` stays what it was.
    sets.put_on_deck(place.tree, WEB, SETS[1])
    sets.roll(place.tree, WEB, SETS[1], NOW)
    assert place.links() == sets.Links(curr=SETS[1], prev=SETS[0])


def test_finish_roll(place: Place) -> None:
    place.link("curr", SETS[1])
    place.link("next", SETS[1])
    links = place.links()
    sets.finish_roll(place.tree, WEB, links)
    assert links.next is None
    assert place.links() == sets.Links(curr=SETS[1])
    place.link("next", SETS[2])
    sets.finish_roll(place.tree, WEB, place.links())
    assert place.links() == sets.Links(curr=SETS[1], next=SETS[2])
    (place.dir / "curr").unlink()
    sets.finish_roll(place.tree, WEB, place.links())
    assert place.links() == sets.Links(next=SETS[2])


# --- links edited by hand -------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["db/{}", "./db/{}", "db/{}/", "db//{}", "{dir}/db/{}", "../web/db/{}", "alias/{}"]
)
def test_a_link_to_a_set_of_its_own_counts_however_it_is_written(place: Place, form: str) -> None:
    (place.dir / "alias").symlink_to("db")
    place.link("curr", form.format(SETS[0], dir=place.dir))
    assert (place.dir / "curr/cert.pem").exists()
    assert place.links() == sets.Links(curr=SETS[0])
    # What is linked is never cleaned away.
    assert SETS[0] not in sets.clean(place.tree, WEB, 1)


@pytest.mark.parametrize(
    "target",
    [
        "{}",
        "db",
        "db/.",
        "db/../..",
        "/etc",
        "../other/db/{}",
        "{top}/certs/example.com/other/db/{}",
        "curr",
        "db/2026",
        "db/{}/../../..",
        "db/{}/privkey.pem",
        "db/\udcff",
    ],
)
def test_any_other_link_counts_as_none_and_is_told(
    tmp_path: Path, place: Place, target: str
) -> None:
    (tmp_path / f"certs/example.com/other/db/{SETS[0]}").mkdir(parents=True)
    place.link("curr", target.format(SETS[0], top=tmp_path))
    place.link("next", SETS[1])
    links = place.links()
    assert (links.curr, links.next) == (None, SETS[1])
    (remark,) = links.remarks
    assert (remark.code, remark["path"]) == (Odd.LINK_ELSEWHERE, f"{place.dir}/curr")
    assert say(remark).isprintable()


def test_dangling_and_looping_links_count_as_none(place: Place) -> None:
    place.link("curr", SETS[7])
    (place.dir / "db" / str(SETS[8])).symlink_to(str(SETS[8]))
    place.link("next", SETS[8])
    (place.dir / "db" / str(SETS[9])).touch()
    place.link("prev", SETS[9])
    links = place.links()
    assert (links.curr, links.next, links.prev) == (None, None, None)
    assert [remark.code for remark in links.remarks] == [Odd.LINK_ASTRAY] * 3


def test_a_directory_in_place_of_a_link(place: Place) -> None:
    (place.dir / "curr").mkdir()
    with pytest.raises(Permanent, match=r"curr is not a link to a set; move it away"):
        place.links()
    (place.dir / "curr").rmdir()
    (place.dir / "curr").touch()
    with pytest.raises(Permanent, match=r"curr is not a link to a set"):
        place.links()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    tree = Tree(f"{tmp_path}/certs")
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/example.com").touch()
    with pytest.raises(Permanent, match="move away the file"):
        sets.read_links(tree, WEB)
    with pytest.raises(Permanent, match="move away the file"):
        sets.new_set(tree, WEB, NOW)


# --- cleaning -------------------------------------------------------------------------------


def test_clean_keeps_what_is_linked_and_the_newest(tmp_path: Path) -> None:
    place = Place(tmp_path, 10)
    place.link("prev", SETS[0])
    place.link("curr", SETS[2])
    place.link("next", SETS[1])
    foreign = ["notes.txt", "2026", "20260101-00:00:00.old", "20261301-00:00:00"]
    for name in foreign:
        (place.dir / "db" / name).mkdir()
    assert sets.clean(place.tree, WEB, 3) == SETS[3:7]
    assert sets.list_sets(place.tree, WEB) == [*SETS[:3], *SETS[7:]]
    assert sets.clean(place.tree, WEB, 3) == []
    # At least one is kept, whatever is asked for.
    assert sets.clean(place.tree, WEB, 0) == SETS[7:9]
    for name in foreign:
        assert (place.dir / "db" / name).is_dir()


def test_clean_removes_nothing_while_curr_is_wrong(place: Place) -> None:
    place.link("curr", "/srv/elsewhere")
    with pytest.raises(Permanent, match="nothing is removed while a link is wrong"):
        sets.clean(place.tree, WEB, 1)
    assert len(sets.list_sets(place.tree, WEB)) == 3


def test_clean_without_a_curr_keeps_the_newest(place: Place) -> None:
    assert sets.clean(place.tree, WEB, 1) == SETS[:2]


def test_clean_leaves_the_target_of_a_linked_set_alone(tmp_path: Path, place: Place) -> None:
    """An admin moved an old set to another disk."""
    moved = tmp_path / "archive"
    old = place.dir / "db" / str(SETS[0])
    old.rename(moved)
    old.symlink_to(moved)
    (place.dir / "db" / str(SETS[9])).write_text("a file is no set")
    place.link("curr", SETS[2])
    assert sets.clean(place.tree, WEB, 1) == [SETS[0]]
    assert not os.path.lexists(old)
    assert (moved / "privkey.pem").exists()
    assert (place.dir / "db" / str(SETS[9])).exists()


def test_sweep_takes_only_leftovers_of_other_runs(place: Place) -> None:
    place.link("curr", SETS[0])
    place.link("next", SETS[1])
    other = ".state.toml.012345670123456701234567x.new"
    spared, gone = [], []
    for folder in (place.dir, place.dir / "curr", place.dir / "next"):
        spared += [folder / name for name in ("notes", ".notes.new", other)]
        gone += [folder / ".curr.00112233445566778899aabb.new"]
    for path in (*spared, *gone):
        path.touch()
    sets.sweep(place.tree, WEB)
    assert all(path.exists() for path in spared)
    assert not any(path.exists() for path in gone)


def test_what_we_began_and_nobody_finishes_goes_and_nothing_else(place: Place) -> None:
    place.link("curr", SETS[0])
    db = place.dir / "db"

    def begun(days: int, *, marked: bool = True) -> SetName:
        name = sets.new_set(place.tree, WEB, NOW + timedelta(days=days))
        sets.write_set_file(place.tree, WEB, name, "privkey.pem", b"key")
        if not marked:
            sets.finish(place.tree, WEB, name)
        return name

    left, on_deck, issued, foreign, gone = (begun(day, marked=day != 8) for day in range(5, 10))
    place.link("next", on_deck)
    sets.write_set_file(place.tree, WEB, issued, "cert.pem", b"killed before it was noted")
    shutil.rmtree(db / str(gone))
    order = Path(place.tree.order(WEB, left).order)
    order.mkdir(parents=True)

    (place.dir / "prev").symlink_to("db/20200101-00:00:00")
    assert sets.remove_unfinished(place.tree, WEB) == [], "a link is wrong"
    (place.dir / "prev").unlink()
    assert sets.remove_unfinished(place.tree, WEB) == [left]
    assert not order.exists()
    assert {on_deck, issued, foreign, SETS[0]} <= set(sets.list_sets(place.tree, WEB))
    marks = [path.name for path in db.iterdir() if path.name.startswith(".")]
    assert marks == [f".{on_deck}.unfinished"]

    (place.dir / "next").unlink()
    sets.sweep(place.tree, WEB)
    assert on_deck not in sets.list_sets(place.tree, WEB)


# --- reading sets ---------------------------------------------------------------------------


def test_read_set_deep_and_shallow(place: Place) -> None:
    for deep in (True, False):
        facts = sets.read_set(place.tree, WEB, SETS[0], deep=deep)
        assert facts.complete
        assert facts.name == SETS[0]
    (Path(place.tree.set_dir(WEB, SETS[0])) / "cert.pem").unlink()
    for deep in (True, False):
        facts = sets.read_set(place.tree, WEB, SETS[0], deep=deep)
        assert facts.cert is None
        assert facts.asked_names == {"www.example.com"}


def test_tighten_keys(place: Place) -> None:
    folder = Path(place.tree.set_dir(WEB, SETS[0]))
    for path in folder.iterdir():
        path.chmod(0o644)
    told = sets.tighten_keys(place.tree, WEB, SETS[0])
    assert sorted(told) == [f"{folder}/bundle.pem", f"{folder}/privkey.pem"]
    assert sets.tighten_keys(place.tree, WEB, SETS[0]) == []
    assert stat.S_IMODE((folder / "cert.pem").stat().st_mode) == 0o644


def test_names_cannot_lead_out_of_the_tree() -> None:
    for bad in ("../x", "a/b", "..", "", "a\0b"):
        with pytest.raises(ValueError):
            CertId.of("example.com", bad)
        with pytest.raises(ValueError):
            SetName.parse(bad)
