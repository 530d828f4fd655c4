"""The production tree: whole at every instant, without what is not meant for it."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.core.host.needs import KeyAccess
from sslmd.core.names import CertId, SetName
from sslmd.servers import production
from sslmd.store import files
from tests.stand.tools import INT, NOW, ROOT, WEB, Site, leftovers
from tests.stand.watch import Watch

ALL = {
    *("privkey.pem", "csr.pem", "cert.pem", "chain.pem", "fullchain.pem", "bundle.pem"),
    "info",
}
_LOOKED_AT = ("privkey.pem", "cert.pem")


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    """A site with a set in use, one before it, and one on deck; nothing delivered."""
    made = await Site(tmp_path).with_cas()
    await made.renew()
    made.later(days=1)
    await made.renew()
    made.later(days=1)
    await made.make_key()
    await made.certify()
    return made


def update(
    site: Site, curr: SetName | None = None, next_: SetName | None = None, cert: CertId = WEB
) -> bool:
    name = curr or site.live(cert)
    return production.update(site.tree, str(site.prod), cert, name, next_, is_ca=cert.group == "ca")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def a_server_reading(
    path: Path, *allowed: dict[str, bytes], by_path: bool = False
) -> Iterator[None]:
    """Read key and chain through `curr` all the time, as a server does that restarts.

    `by_path`: look up each file anew, so that they may be of two sets; else all of one set.
    """
    stop, began = threading.Event(), threading.Event()
    wrong: list[str] = []

    def read() -> None:
        while not stop.is_set():
            try:
                if by_path:
                    seen = {name: (path / name).read_bytes() for name in _LOOKED_AT}
                    known = [set(one.items()) for one in allowed]
                    if not set(seen.items()) <= set.union(*known):
                        wrong.append("what is in no set")
                    continue
                folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    seen = {name: _read_at(folder, name) for name in _LOOKED_AT}
                except FileNotFoundError:
                    # Held up for longer than the set before is kept, it has been overtaken.
                    if os.path.samestat(os.fstat(folder), os.stat(path)):
                        raise
                    continue
                finally:
                    os.close(folder)
                if not any(seen.items() <= one.items() for one in allowed):
                    wrong.append("a mixture")
            except OSError as err:
                wrong.append(repr(err))
            finally:
                began.set()

    thread = threading.Thread(target=read)
    thread.start()
    began.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not wrong, wrong[:3]


def _read_at(folder: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()


def test_a_first_delivery(site: Site) -> None:
    assert update(site, next_=site.on_deck())
    prod = site.in_prod()
    assert os.readlink(prod / "curr") == f"db/{site.live()}"
    assert os.readlink(prod / "next") == f"db/{site.on_deck()}"
    assert contents(prod / "curr").items() <= contents(site.place() / "curr").items()
    assert set(contents(prod / "curr")) == ALL
    assert set(contents(prod / "next")) == ALL - {"info"}
    for path in prod.rglob("*.pem"):
        private = path.name in ("privkey.pem", "bundle.pem")
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if private else 0o644)
    for path in (prod, prod / "db", *(prod / "db").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert production.serves(site.tree, str(site.prod), WEB, site.live(), is_ca=False)
    assert not production.serves(site.tree, str(site.prod), WEB, site.on_deck(), is_ca=False)
    # The second time there is nothing to do.
    before = (prod / "curr/privkey.pem").stat()
    assert not update(site, next_=site.on_deck())
    assert (prod / "curr/privkey.pem").stat().st_ino == before.st_ino
    # Nothing on deck any more.
    update(site)
    assert not os.path.lexists(prod / "next")


def test_a_hundred_updates_under_the_eyes_of_a_server(site: Site) -> None:
    old, new = site.state(WEB).prev, site.live()
    assert old is not None
    update(site, old)
    both = [contents(site.folder(name)) for name in (old, new)]
    with a_server_reading(site.in_prod() / "curr", *both):
        for number in range(100):
            assert update(site, (new, old)[number % 2])
    assert leftovers(site.prod) == []


def test_the_set_before_stays_and_older_ones_go(site: Site) -> None:
    old, live, on_deck = site.state(WEB).prev, site.live(), site.on_deck()
    assert old is not None
    db = site.in_prod() / "db"

    def there() -> list[str]:
        return sorted(path.name for path in db.iterdir())

    update(site, old)
    update(site, live)
    assert there() == [str(old), str(live)]
    update(site, live)
    assert there() == [str(old), str(live)]
    (db / "notes").mkdir()
    update(site, on_deck)
    assert there() == [str(live), str(on_deck), "notes"]


def test_a_ca_is_there_without_its_key(site: Site) -> None:
    for ca in (ROOT, INT):
        update(site, cert=ca)
        assert set(contents(site.in_prod(ca) / "curr")) >= {"cert.pem", "fullchain.pem", "info"}
        assert not list(site.in_prod(ca).rglob("privkey.pem"))
        assert not list(site.in_prod(ca).rglob("bundle.pem"))
    assert not any(b"PRIVATE" in path.read_bytes() for path in site.prod.rglob("*.pem"))
    # One that another tool had put there is taken away.
    shutil.copy(site.place(INT) / "curr/privkey.pem", site.in_prod(INT) / "curr/privkey.pem")
    update(site, cert=INT)
    assert not list(site.in_prod(INT).rglob("privkey.pem"))
    assert leftovers(site.prod) == []


def test_a_curr_that_ssl_mgr_left_becomes_a_link_without_a_gap(site: Site) -> None:
    old = site.state(WEB).prev
    assert old is not None
    prod = site.in_prod()
    prod.mkdir(parents=True)
    shutil.copytree(site.folder(old), prod / "curr")
    shutil.copytree(site.folder(old), prod / "next")
    both = [contents(site.folder(name)) for name in (old, site.live())]
    with a_server_reading(prod / "curr", *both, by_path=True):
        assert update(site, next_=site.on_deck())
    assert os.readlink(prod / "curr") == f"db/{site.live()}"
    assert os.readlink(prod / "next") == f"db/{site.on_deck()}"
    # And one without a successor goes.
    (prod / "next").unlink()
    shutil.copytree(site.folder(old), prod / "next")
    update(site)
    assert sorted(os.listdir(prod)) == ["curr", "db"]


def test_ssl_mgrs_copy_of_the_same_set_is_no_change(site: Site) -> None:
    prod = site.in_prod()
    prod.mkdir(parents=True)
    shutil.copytree(site.folder(site.live()), prod / "curr")
    assert production.serves(site.tree, str(site.prod), WEB, site.live(), is_ca=False)
    assert not update(site)


@pytest.mark.parametrize(
    "harm", ["content", "missing", "extra", "link", "fifo", "directory", "owner", "long", "set"]
)
def test_a_set_that_was_tampered_with_is_put_right(site: Site, harm: str) -> None:
    update(site)
    good = contents(site.in_prod() / "curr")
    folder = site.in_prod() / "db" / str(site.live())
    victim = folder / "privkey.pem"
    match harm:
        case "content":
            victim.write_bytes(b"evil")
        case "missing":
            victim.unlink()
        case "extra":
            (folder / "extra").write_bytes(b"evil")
        case "link":
            victim.unlink()
            victim.symlink_to(site.folder(site.live()) / "privkey.pem")
        case "fifo":
            victim.unlink()
            os.mkfifo(victim)
        case "directory":
            victim.unlink()
            victim.mkdir()
        case "owner":
            if os.geteuid() != 0:
                pytest.skip("only root can give files away")
            os.chown(victim, 12345, -1)
        case "long":
            with victim.open("ab") as file:
                file.truncate(files.MAX_FILE + 1)
        case "set":
            moved = site.top / "moved"
            folder.rename(moved)
            folder.symlink_to(moved)
            (moved / "cert.pem").write_bytes(b"evil")
    assert update(site) is (harm not in ("extra", "set"))
    assert contents(site.in_prod() / "curr") == good
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert victim.stat().st_uid == os.geteuid()
    assert leftovers(site.prod) == []
    if harm == "set":
        assert (site.top / "moved/cert.pem").read_bytes() == b"evil"


def test_a_key_that_was_opened_to_others_is_closed(site: Site) -> None:
    update(site)
    key = site.in_prod() / "curr/privkey.pem"
    key.chmod(0o644)
    assert not update(site)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_other_files_are_left_alone(site: Site) -> None:
    group = site.prod / "example.com"
    ours = {
        group / "dh/dh2048.pem": "dh",
        group / "tlsa.example.com": "tlsa",
        group / "other/curr/privkey.pem": "another service",
        group / "web/README": "a note",
        site.prod / "notes": "a note",
    }
    for path, text in ours.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for next_ in (site.on_deck(), None):
        update(site, next_=next_)
        for path, text in ours.items():
            assert path.read_text() == text


def test_what_a_killed_daemon_left_is_removed(site: Site) -> None:
    """It may be a key."""
    update(site)
    left = [
        site.in_prod() / f"db/.{site.on_deck()}.00112233445566778899aabb.new",
        site.in_prod() / ".curr.00112233445566778899aabb.new",
    ]
    for folder in left:
        folder.mkdir()
        (folder / "privkey.pem").write_text("key")
    update(site)
    assert leftovers(site.prod) == []


def test_without_a_certificate_nothing_changes(site: Site) -> None:
    update(site)
    before = contents(site.in_prod() / "curr")
    (site.folder(site.on_deck()) / "cert.pem").unlink()
    with pytest.raises(Permanent, match=r"has no certificate to deliver; renew example.com:web"):
        update(site, site.on_deck())
    with pytest.raises(Permanent, match="has no certificate to deliver"):
        update(site, next_=SetName.at(NOW).later())
    assert contents(site.in_prod() / "curr") == before


def test_a_set_of_ssl_mgrs_without_a_bundle_gets_one(site: Site) -> None:
    folder = site.folder(site.live())
    bundle = (folder / "bundle.pem").read_bytes()
    (folder / "bundle.pem").unlink()
    (folder / "info").unlink()
    update(site)
    assert contents(site.in_prod() / "curr")["bundle.pem"] == bundle
    assert set(contents(site.in_prod() / "curr")) == ALL - {"info"}


def test_a_file_where_a_directory_should_be(site: Site) -> None:
    site.prod.mkdir()
    (site.prod / "example.com").touch()
    with pytest.raises(Permanent, match="move away the file"):
        update(site)


# --- who may read keys ---

UID, GID = 5101, 4242
BY_NAME = (pwd.getpwnam("nobody").pw_uid, grp.getgrnam("daemon").gr_gid)
SECRET = ("privkey.pem", "bundle.pem")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def rights(path: Path) -> tuple[int, int, int]:
    info = path.stat()
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


def opened(site: Site, access: KeyAccess, name: SetName | None = None) -> bool:
    return production.update(
        *(site.tree, str(site.prod), WEB, name or site.live(), None), is_ca=False, access=access
    )


@as_root
@pytest.mark.parametrize(
    ("access", "wanted"),
    [
        (KeyAccess(), (0o600, 0, 0)),
        (KeyAccess(group=str(GID)), (0o600, 0, GID)),
        (KeyAccess(group=str(GID), mode=0o640), (0o640, 0, GID)),
        (KeyAccess(owner=str(UID)), (0o600, UID, 0)),
        (KeyAccess(str(UID), str(GID), 0o440), (0o440, UID, GID)),
        (KeyAccess("nobody", "daemon", 0o640), (0o640, *BY_NAME)),
    ],
)
def test_who_may_read_a_key(site: Site, access: KeyAccess, wanted: tuple[int, int, int]) -> None:
    assert opened(site, access)
    curr = site.in_prod() / "curr"
    for name in ALL:
        assert rights(curr / name) == (wanted if name in SECRET else (0o644, 0, 0))
    passing = 0o751 if access.opens else 0o750
    way = (site.prod / "example.com", site.in_prod(), site.in_prod() / "db", curr)
    assert [stat.S_IMODE(path.stat().st_mode) for path in way] == [passing] * 4
    # The second time there is nothing to do.
    before = [(curr / name).stat() for name in sorted(ALL)]
    assert not opened(site, access)
    after = [(curr / name).stat() for name in sorted(ALL)]
    assert [one.st_ino for one in before] == [one.st_ino for one in after]


@as_root
def test_access_that_changes(site: Site) -> None:
    """It is another key file, in the place of the old one at one instant."""
    group, owner = KeyAccess(group=str(GID), mode=0o640), KeyAccess(owner=str(UID))
    assert opened(site, KeyAccess())
    good = contents(site.in_prod() / "curr")
    with a_server_reading(site.in_prod() / "curr", good, by_path=True):
        for access, key in (
            (group, (0o640, 0, GID)),
            (owner, (0o600, UID, 0)),
            (group, (0o640, 0, GID)),
            (KeyAccess(), (0o600, 0, 0)),
        ):
            opened(site, access)
            assert rights(site.in_prod() / "curr/privkey.pem") == key
            assert contents(site.in_prod() / "curr") == good
    assert stat.S_IMODE((site.in_prod() / "curr").stat().st_mode) == 0o750
    assert leftovers(site.prod) == []


@as_root
def test_a_key_is_never_wider_than_it_may_be(site: Site, tmp_path: Path) -> None:
    old = site.state(WEB).prev
    site.prod.mkdir(mode=0o750)
    before = os.umask(0)
    try:
        with Watch(tmp_path / "watch", site.prod, lambda _: 0o640) as watch:
            for number in range(20):
                name = (old, site.live())[number % 2]
                opened(site, KeyAccess(group=str(GID), mode=0o640), name)
            assert watch.too_wide() == []
            assert watch.looks() > 20
            assert 0o640 in {one.mode for one in watch.sightings()}
    finally:
        os.umask(before)


@as_root
@pytest.mark.parametrize(
    ("access", "told"),
    [
        (
            KeyAccess(owner="nobody-there"),
            "no user nobody-there on this machine; correct key_owner",
        ),
        (
            KeyAccess(group="nobody-there"),
            "no group nobody-there on this machine; correct key_group",
        ),
    ],
)
def test_nobody_of_that_name(site: Site, access: KeyAccess, told: str) -> None:
    opened(site, KeyAccess(), site.state(WEB).prev)
    before = contents(site.in_prod() / "curr")
    with pytest.raises(Permanent, match=told):
        opened(site, access)
    assert contents(site.in_prod() / "curr") == before
    assert leftovers(site.prod) == []


# --- what else is there ---


def test_what_is_there(site: Site) -> None:
    assert production.survey(str(site.prod)) == {}
    update(site)
    for path in ("ca/root/curr", "example.net/web/next", "example.com/dh", "Bad Name/web/curr"):
        (site.prod / path).mkdir(parents=True)
    (site.prod / "example.com/broken").mkdir()
    (site.prod / "example.com/broken/curr").symlink_to("db/nowhere")
    (site.prod / "example.com/link").symlink_to("web")
    (site.prod / "README").touch()
    assert production.survey(str(site.prod)) == {
        WEB: True,
        CertId("ca", "root"): False,
        CertId("example.net", "web"): False,
        CertId("example.com", "broken"): False,
    }


def test_what_is_taken_out(site: Site) -> None:
    update(site, next_=site.on_deck())
    mail = CertId("example.com", "mail")
    for path in ("mail/curr", "mail/prev", "mail/db/x", "mail/mine"):
        (site.prod / "example.com" / path).mkdir(parents=True)
    (site.prod / "example.com/mail/curr/privkey.pem").touch(0o600)
    production.drop(str(site.prod), mail)
    assert os.listdir(site.prod / "example.com/mail") == ["mine"]
    production.drop(str(site.prod), WEB)
    assert os.listdir(site.prod / "example.com") == ["mail"]
    production.drop(str(site.prod), CertId("example.net", "nonesuch"))
    (site.prod / "example.com/mail/mine").rmdir()
    production.drop(str(site.prod), mail)
    assert os.listdir(site.prod) == []


def test_nothing_is_taken_out_of_where_others_can_write(site: Site) -> None:
    update(site)
    (site.prod / "example.com").chmod(0o777)
    with pytest.raises(Permanent, match="run: chmod o-w"):
        production.drop(str(site.prod), WEB)
    assert (site.in_prod() / "curr/privkey.pem").exists()
