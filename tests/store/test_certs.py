"""Whole trees: as we left them, as ssl-mgr did, and as nobody should."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.core.jobs import MakeKey
from sslmd.core.lifecycle import with_sets
from sslmd.core.names import SetName
from sslmd.core.reason import Held, Reason
from sslmd.core.roll_wait import BACKDATED, issued_at
from sslmd.core.state import CertState, Phase
from sslmd.core.told import Odd, Would
from sslmd.core.words.sentence import say
from sslmd.store import certs, sets, state
from tests.reasons import because
from tests.stand.tools import INT, NOW, ROOT, WEB, Site
from tests.store.test_state import NONSENSE

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    """A site at rest, with one set in use and one before it."""
    made = await Site(tmp_path).with_cas()
    await made.renew()
    made.later(days=1)
    await made.renew()
    await made.rest()
    return made


def as_ssl_mgr_left_it(site: Site) -> None:
    """Turn the tree into one of ssl-mgr's: no notes, no bundles, keys that all can read."""
    for cert in (ROOT, INT, WEB):
        place = site.place(cert)
        (place / "state.toml").unlink()
        for folder in (place / "db").iterdir():
            (folder / "bundle.pem").unlink()
            (folder / "info").unlink(missing_ok=True)
            (folder / "privkey.pem").chmod(0o644)
            folder.chmod(0o755)
    cb = site.place() / "cb/accounts/acme-v02.api.letsencrypt.org/directory/abc"
    cb.mkdir(parents=True)
    (cb / "private_key.json").write_text("{}")


# --- trees of ssl-mgr -----------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-6, 1, 13])
async def test_when_it_was_issued_is_told_by_the_certificate(site: Site, hours: int) -> None:
    """The name of its set is in local time, and its files are as old as the copy of the tree."""
    site.later(days=1)
    await site.make_key()
    await site.certify()
    issued = site.now
    as_ssl_mgr_left_it(site)
    name = site.on_deck()
    local = SetName.at(issued + timedelta(hours=hours))
    site.folder(name).rename(site.folder(local))
    (site.place() / "next").unlink()
    (site.place() / "next").symlink_to(f"db/{local}")
    site.later(hours=20)
    for _ in range(2):
        os.utime(site.folder(local) / "cert.pem", (0, site.now.timestamp()))
        site.take(WEB, site.read(WEB))
        state = site.state(WEB)
        assert state.next is not None
        assert state.next.cert is not None
        at = issued_at(state.next, state.next_note)
        assert state.next.cert.not_before <= at <= state.next.cert.not_before + BACKDATED
        site.save(WEB)
        site.later(hours=1)


def test_a_tree_of_ssl_mgrs_is_adopted(site: Site) -> None:
    before = {cert: site.state(cert) for cert in (ROOT, INT, WEB)}
    as_ssl_mgr_left_it(site)
    for cert, was in before.items():
        loaded = site.read(cert)
        assert loaded.hold is None
        assert loaded.unsaved  # the draw
        assert loaded.state.adopted
        assert loaded.state.curr is not None
        assert loaded.state.curr.complete
        assert loaded.state.curr == was.curr
        assert loaded.state.prev == was.prev
        assert loaded.state.phase is Phase.ROLLED
        keys = sorted((site.place(cert) / "db").glob("*/privkey.pem"))  # those of older sets, too
        assert {one.code for one in loaded.remarks} == {Odd.KEY_WAS_WIDE}
        assert sorted(str(one["path"]) for one in loaded.remarks) == list(map(str, keys))
        assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
        # The remark is made once.
        assert site.read(cert).remarks == []
    assert (site.place() / "cb/accounts").is_dir()


@needs_root
def test_an_older_set_that_is_somebody_elses_holds_nothing_up(site: Site) -> None:
    as_ssl_mgr_left_it(site)
    older = min((site.place() / "db").iterdir()) / "privkey.pem"
    os.chown(older, 65534, -1)
    loaded = site.read(WEB)
    assert loaded.hold is None
    assert any(f"{older} belongs to uid 65534" in say(one) for one in loaded.remarks)


async def test_an_adopted_tree_comes_to_rest_without_a_new_key(site: Site) -> None:
    as_ssl_mgr_left_it(site)
    live = site.live()
    again = Site(site.top, now=site.now)
    await again.rest()
    assert again.live() == live
    assert again.state(WEB).phase is Phase.SETTLED
    assert not again.state(WEB).adopted
    assert (again.in_prod() / "curr/bundle.pem").exists()
    assert Site(site.top, now=site.now).state(WEB).phase is Phase.SETTLED


def test_next_that_is_curr_is_no_next(site: Site) -> None:
    as_ssl_mgr_left_it(site)
    (site.place() / "next").symlink_to(os.readlink(site.place() / "curr"))
    loaded = site.read(WEB)
    assert loaded.state.next is None
    assert not os.path.lexists(site.place() / "next")
    assert loaded.state.curr is not None


@pytest.mark.parametrize("files", [(), ("privkey.pem",), ("privkey.pem", "csr.pem")])
def test_an_incomplete_next_is_there_but_not_complete(site: Site, files: tuple[str, ...]) -> None:
    as_ssl_mgr_left_it(site)
    name = SetName.at(NOW).later()
    folder = site.folder(name)
    folder.mkdir()
    for file in files:
        shutil.copy(site.place() / "curr" / file, folder)
    (site.place() / "next").symlink_to(f"db/{name}")
    loaded = site.read(WEB)
    assert loaded.hold is None
    assert loaded.state.phase is Phase.KEYED
    assert loaded.state.next is not None
    assert loaded.state.next.problem == ("no cert.pem" if files else "no privkey.pem")
    assert loaded.state.next.has_key is bool(files)
    assert loaded.state.next_note is not None


def test_a_tree_without_anything(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.read(WEB) == certs.Loaded(CertState())
    assert not (tmp_path / "certs").exists()


# --- notes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda text: repr(text[:40]))
def test_bad_notes_are_set_aside_and_never_lost(site: Site, nonsense: str) -> None:
    path = site.place() / "state.toml"
    path.write_bytes(nonsense.encode())
    loaded = site.read(WEB)
    assert loaded.hold is None
    assert loaded.state.curr == site.state(WEB).curr
    (aside,) = site.place().glob("state.toml.bad-*")
    assert aside.read_bytes() == nonsense.encode()
    (remark,) = loaded.remarks
    assert (remark.code, remark["aside"]) == (Odd.STATE_ASIDE, str(aside))
    assert not path.exists()


def test_two_bad_files_of_one_second_are_both_kept(site: Site) -> None:
    for number in range(3):
        (site.place() / "state.toml").write_text(f"bad {number}")
        assert site.read(WEB).hold is None
    kept = sorted(path.read_text() for path in site.place().glob("state.toml.bad-*"))
    assert kept == ["bad 0", "bad 1", "bad 2"]


def test_notes_of_a_later_version_are_left_alone_and_their_certificate_too(site: Site) -> None:
    path = site.place() / "state.toml"
    path.write_text("version = 2\nnew = 'things'\n")
    (site.place() / "next").symlink_to(os.readlink(site.place() / "curr"))
    loaded = site.read(WEB)
    assert loaded.hold is not None
    assert loaded.hold.code is Held.LATER_STATE
    assert "version 2" in say(loaded.hold)
    assert path.read_text() == "version = 2\nnew = 'things'\n"
    assert os.path.lexists(site.place() / "next")
    assert site.read(INT).hold is None


def test_deleted_notes_lose_only_history(site: Site) -> None:
    (site.place() / "state.toml").unlink()
    loaded = site.read(WEB)
    assert loaded.hold is None
    assert loaded.remarks == []
    assert loaded.state.curr == site.state(WEB).curr
    assert loaded.state.prev == site.state(WEB).prev


def test_notes_come_back(site: Site) -> None:
    entry = state.HistoryEntry(NOW, "rolled", str(site.live()), "it is in use")
    was = site.state(WEB)
    certs.save(site.tree, WEB, was, times={"renew_at": NOW}, entries=[entry])
    path = site.place() / "state.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = site.read(WEB)
    assert loaded.state == was
    assert not loaded.unsaved
    assert certs.history(site.tree, WEB)[-1] == entry
    # Nothing new to say: the file is not touched.
    before = path.stat()
    certs.save(site.tree, WEB, was, times={"renew_at": NOW}, entries=[])
    assert path.stat().st_ino == before.st_ino


def test_the_draw_stays_as_it_was_drawn(site: Site) -> None:
    first = site.state(WEB).curr_note
    assert first is not None
    assert Site(site.top).state(WEB).curr_note == first


def test_reread_keeps_the_notes_and_takes_the_links(site: Site) -> None:
    known = site.state(WEB)
    prev = os.readlink(site.place() / "prev")
    (site.place() / "next").symlink_to(prev)
    fresh = with_sets(known, certs.reread(site.tree, WEB, known, draw=site.tools.site.draw))
    assert fresh.curr == known.curr
    assert fresh.next is not None
    assert f"db/{fresh.next.name}" == prev
    assert fresh.phase is Phase.ISSUED
    assert fresh.settled == known.settled


def test_what_may_still_be_served_is_known_without_curr(site: Site) -> None:
    """Its TLSA records have to stay (I4)."""
    site.save(WEB)
    live = site.live()
    assert site.read(WEB).state.retired == ()
    (site.place() / "curr").unlink()
    assert site.read(WEB).state.retired == (live,)
    known = site.state(WEB)
    found = certs.reread(site.tree, WEB, known, draw=site.tools.site.draw)
    assert with_sets(known, found).retired == (live,)


async def test_a_roll_that_fails_at_its_very_end_retires_what_it_replaced(site: Site) -> None:
    old = site.live()
    await site.make_key()
    await site.certify()
    known = site.state(WEB)
    sets.roll(site.tree, WEB, site.on_deck(), site.now)  # and then nobody hears of it
    fresh = with_sets(known, certs.reread(site.tree, WEB, known, draw=site.tools.site.draw))
    assert fresh.curr is not None
    assert fresh.curr.name == site.on_deck()
    assert fresh.retired == (old,)


# --- what cannot be dealt with --------------------------------------------------------------


async def test_unreadable_things_hold_that_certificate_alone(site: Site) -> None:
    """I6: whatever is wrong with one, the others go on."""

    def key_is_a_directory(place: Path) -> None:
        (place / "curr/privkey.pem").unlink()
        (place / "curr/privkey.pem").mkdir()

    def cert_is_a_fifo(place: Path) -> None:
        (place / "curr/cert.pem").unlink()
        os.mkfifo(place / "curr/cert.pem")

    def key_is_a_link(place: Path) -> None:
        (place / "curr/privkey.pem").unlink()
        (place / "curr/privkey.pem").symlink_to("/etc/shadow")

    def chain_is_too_long(place: Path) -> None:
        with (place / "curr/chain.pem").open("ab") as file:
            file.truncate(1 << 21)

    def notes_are_a_directory(place: Path) -> None:
        (place / "state.toml").unlink()
        (place / "state.toml").mkdir()

    def notes_are_too_long(place: Path) -> None:
        with (place / "state.toml").open("ab") as file:
            file.truncate(1 << 21)

    def curr_is_a_directory(place: Path) -> None:
        (place / "curr").unlink()
        (place / "curr").mkdir()

    def place_is_a_file(place: Path) -> None:
        shutil.rmtree(place)
        place.touch()

    def key_is_somebodys(place: Path) -> None:
        os.chown(place / "curr/privkey.pem", 12345, -1)

    harms = [
        key_is_a_directory,
        cert_is_a_fifo,
        key_is_a_link,
        chain_is_too_long,
        notes_are_a_directory,
        notes_are_too_long,
        curr_is_a_directory,
        place_is_a_file,
    ]
    if os.geteuid() == 0:
        harms.append(key_is_somebodys)
    for number, harm in enumerate(harms):
        top = site.top / f"copy-{number}"
        shutil.copytree(site.top / "conf.d", top / "conf.d")
        shutil.copytree(site.top / "certs", top / "certs", symlinks=True)
        place = top / "certs/example.com/web"
        harm(place)
        again = Site(top, now=site.now)
        hold = again.registry[WEB].hold
        assert hold is not None
        assert hold.code is Held.LEFT_ALONE, harm
        assert str(place) in say(hold)
        assert "; " in say(hold), hold
        assert again.registry[INT].hold is again.registry[ROOT].hold is None
        await again.rest()  # nothing is done with it


def test_files_that_make_no_sense_are_a_problem_of_the_set_not_a_hold(site: Site) -> None:
    for file in ("privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"):
        path = site.place() / "curr" / file
        good = path.read_bytes()
        for bad in (b"", b"\x00\xff" * 50, good[: len(good) // 2], good + good, b"-----BEGIN "):
            path.write_bytes(bad)
            loaded = site.read(WEB)
            assert loaded.hold is None, file
            assert loaded.state.curr is not None
            assert not loaded.state.curr.complete, (file, bad)
        path.write_bytes(good)
    assert site.read(WEB).state.curr == site.state(WEB).curr


async def test_two_sets_of_one_second(site: Site) -> None:
    first = await site.make_key()
    await site.do(MakeKey(WEB, because("another one")))
    assert site.on_deck() == first.later()


# --- looking without a change ---------------------------------------------------------------


def everything(top: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        data = os.readlink(path).encode() if path.is_symlink() else b""
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else data
        found[str(path)] = (info.st_mode, info.st_ino, info.st_mtime_ns, data)
    return found


def look(site: Site) -> certs.Loaded:
    reported = certs.Repair.REPORTED
    return certs.load(site.tree, WEB, draw=lambda: 0.5, now=site.now, repair=reported)


def test_a_look_finds_what_a_load_would_and_changes_nothing(site: Site) -> None:
    as_ssl_mgr_left_it(site)
    (site.place() / "next").symlink_to(os.readlink(site.place() / "curr"))
    before = everything(site.place().parents[1])
    looked = look(site)
    assert everything(site.place().parents[1]) == before
    loaded = certs.load(site.tree, WEB, draw=lambda: 0.5, now=site.now)
    assert looked == loaded
    assert looked.state.next is None
    assert looked.repairs == [Reason(Would.REMOVE_NEXT, path=f"{site.place()}/next")]
    assert len(looked.wide) == 2
    assert all(path.endswith("privkey.pem") for path in looked.wide)
    # Now it was put right.
    again = look(site)
    assert (again.wide, again.repairs) == ([], [])


def test_a_look_sets_no_bad_notes_aside(site: Site) -> None:
    notes = site.place() / "state.toml"
    notes.write_bytes(b"\0\1\2")
    before = everything(site.place().parents[1])
    looked = look(site)
    assert everything(site.place().parents[1]) == before
    (told,) = looked.repairs
    assert (told.code, told["path"]) == (Would.SET_ASIDE, str(notes))
    assert looked.state == certs.load(site.tree, WEB, draw=lambda: 0.5, now=site.now).state


@needs_root
def test_a_look_holds_what_a_load_holds(site: Site) -> None:
    as_ssl_mgr_left_it(site)
    curr = (site.place() / "curr").resolve()
    os.chown(curr / "privkey.pem", 65534, -1)
    looked = look(site)
    assert "belongs to uid 65534" in say(looked.hold)
    assert looked == certs.load(site.tree, WEB, draw=lambda: 0.5, now=site.now)
