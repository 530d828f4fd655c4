"""Production as ssl-mgr left it: directories that stay until there is something to deliver."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent
from sslmd.core.events import ProdUpdated, ServersWanting
from sslmd.core.names import CertId, SetName
from sslmd.core.plan import decide
from sslmd.core.reason import Reason
from sslmd.core.told import Odd
from sslmd.core.words.sentence import say, written
from sslmd.servers import as_found, production
from tests.stand.tools import INT, NOW, WEB, Site

# What servers read, and what is for people.
SERVED = ("privkey.pem", "bundle.pem", "cert.pem", "chain.pem", "fullchain.pem")
BESIDE = ("csr.pem", "info", "tlsa.rr")


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    """Two sets of one certificate, and production as ssl-mgr makes it of them."""
    made = await Site(tmp_path).with_cas()
    await made.renew()
    made.later(days=1)
    await made.renew()
    for cert in (INT, WEB):
        made.in_prod(cert).mkdir(parents=True)
        shutil.copytree(made.place(cert) / "curr", made.in_prod(cert) / "curr")
        (made.place(cert) / "state.toml").unlink(missing_ok=True)
    # What version 5 leaves after a roll.
    old = made.state(WEB).prev
    assert old is not None
    shutil.copytree(made.folder(old), made.in_prod() / "next")
    return Site(tmp_path, now=made.now)


def snapshot(top: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (info.st_ino, info.st_mode, info.st_mtime_ns, data)
    return found


def holds(site: Site, name: SetName | None = None, cert: CertId = WEB) -> bool:
    prod = str(site.prod)
    return as_found.holds(site.tree, prod, cert, name or site.live(cert), is_ca=cert == INT)


async def delivered(site: Site, cert: CertId = WEB) -> ProdUpdated:
    """Do the delivery that the plan wants."""
    decision = decide(site.registry.view(cert), site.now)
    while (event := decision.advertised or decision.event) is not None:
        site.apply(cert, event)
        decision = decide(site.registry.view(cert), site.now)
    job = decision.job
    assert job is not None, decision
    updated = await site.do(job)
    assert isinstance(updated, ProdUpdated)
    return updated


@pytest.mark.parametrize("cert", [WEB, INT])
async def test_what_is_right_stays_as_it_is(site: Site, cert: CertId) -> None:
    before = snapshot(site.prod)
    assert holds(site, cert=cert)
    event = await delivered(site, cert)
    assert event.delivered.curr == site.live(cert)
    assert snapshot(site.prod) == before
    # Whatever has to be delivered later without being new.
    job = decide(site.registry.view(cert), site.now).job
    assert type(job).__name__ != "Deliver"


async def test_its_own_files_make_no_difference(site: Site) -> None:
    curr = site.in_prod() / "curr"
    (curr / "info").write_text("# web rolled to curr : 20260602-12:00:00\n")
    (curr / "csr.pem").unlink()
    (curr / "tlsa.rr").write_text("of ssl-mgr's\n")
    (curr / "notes").write_text("of the admin's\n")
    before = snapshot(site.prod)
    await delivered(site)
    assert snapshot(site.prod) == before


@pytest.mark.parametrize("harm", ["content", "missing", "link", "long", "fifo"])
@pytest.mark.parametrize("file", SERVED)
async def test_a_difference_is_delivered(site: Site, file: str, harm: str) -> None:
    victim = site.in_prod() / "curr" / file
    match harm:
        case "content":
            victim.write_bytes(victim.read_bytes()[:-1])
        case "missing":
            victim.unlink()
        case "link":
            victim.unlink()
            victim.symlink_to(site.folder(site.live()) / file)
        case "long":
            with victim.open("ab") as stream:
                stream.truncate(1 << 21)
        case "fifo":
            victim.unlink()
            os.mkfifo(victim)
    assert not holds(site)
    await delivered(site)
    assert os.readlink(site.in_prod() / "curr") == f"db/{site.live()}"
    assert not os.path.lexists(site.in_prod() / "next")
    for name in SERVED:
        good = site.folder(site.live()) / name
        assert (site.in_prod() / "curr" / name).read_bytes() == good.read_bytes()


async def test_another_set_is_delivered(site: Site) -> None:
    """A roll of ssl-mgr's that did not reach production."""
    shutil.rmtree(site.in_prod() / "curr")
    (site.in_prod() / "next").rename(site.in_prod() / "curr")
    assert not holds(site)
    await delivered(site)
    assert os.readlink(site.in_prod() / "curr") == f"db/{site.live()}"


async def test_a_set_without_a_bundle_in_both_trees_is_the_same(site: Site) -> None:
    (site.folder(site.live()) / "bundle.pem").unlink()
    assert not holds(site)
    (site.in_prod() / "curr/bundle.pem").unlink()
    assert holds(site)


async def test_keys_that_others_could_read_are_closed_and_told(site: Site) -> None:
    told: list[tuple[str, str]] = []
    site.tools.telling.tell = lambda event, line, _: told.append((event, written(line)))
    wide = [
        site.in_prod() / "curr/privkey.pem",
        site.in_prod() / "curr/bundle.pem",
        site.in_prod() / "next/privkey.pem",
    ]
    for path in wide:
        path.chmod(0o640)
    inodes = [path.stat().st_ino for path in wide]
    await delivered(site)
    assert [stat.S_IMODE(path.stat().st_mode) for path in wide] == [0o600] * 3
    assert [path.stat().st_ino for path in wide] == inodes
    assert [event for event, _ in told] == ["tree-remark"] * 3
    for path in wide:
        text = f"{path} could be read by others; it is 0600 now, consider a new key"
        assert ("tree-remark", text) in told


async def test_a_folder_that_everybody_may_write_to_is_refused(site: Site) -> None:
    site.in_prod().chmod(0o777)
    with pytest.raises(Permanent, match="chmod o-w"):
        await delivered(site)


async def test_it_is_ours_from_the_next_roll_on(site: Site) -> None:
    await delivered(site)
    old = site.live()
    await site.make_key()
    await site.certify()
    await site.roll()
    await delivered(site)
    assert os.readlink(site.in_prod() / "curr") == f"db/{site.live()}"
    assert site.live() != old
    assert not os.path.lexists(site.in_prod() / "next")


async def test_what_is_newly_on_deck_is_shown(site: Site) -> None:
    """Also by a `next` that version 5 had left: it is another set."""
    await delivered(site)
    await site.make_key()
    await site.certify()
    event = await delivered(site)
    assert event.delivered.next == site.on_deck()
    assert os.readlink(site.in_prod() / "curr") == f"db/{site.live()}"
    assert os.readlink(site.in_prod() / "next") == f"db/{site.on_deck()}"


@pytest.mark.parametrize("looked_at", [True, False])
async def test_an_admin_who_asks_has_it_made_ours(site: Site, looked_at: bool) -> None:
    """Also where that is asked for before production was looked at, and over a restart."""
    if looked_at:
        for cert in (WEB, INT):
            await delivered(site, cert)
    for cert in (WEB, INT):
        site.apply(cert, ServersWanting(NOW, frozenset({"localhost"})))
        site.save(cert)
    again = Site(site.top, now=site.now)
    for cert in (WEB, INT):
        await delivered(again, cert)
        assert os.readlink(again.in_prod(cert) / "curr") == f"db/{again.live(cert)}"
        assert sorted(os.listdir(again.in_prod(cert))) == ["curr", "db"]
    assert not list(again.in_prod(INT).rglob("privkey.pem"))
    # And once it is, a later start finds nothing to do.
    for cert in (WEB, INT):
        assert not again.state(cert).whole


async def test_an_interrupted_first_start_restarts_nothing(site: Site) -> None:
    """The notes are written before production is looked at; killed between, it is still adopted."""
    site.save(WEB)
    again = Site(site.top, now=site.now)
    assert again.state(WEB).adopted
    job = decide(again.registry.view(WEB), again.now).job
    assert job is not None
    assert getattr(job, "adopt", None)
    assert getattr(job, "leave", None)
    await again.do(job)
    again.save(WEB)
    assert not Site(site.top, now=site.now).state(WEB).adopted


def keys(prod: str) -> str:
    remarks = as_found.ca_keys(prod, INT, managed=True)
    return say(remarks[-1]) if remarks else ""


def test_keys_of_a_ca_are_reported(site: Site) -> None:
    prod = str(site.prod)
    assert as_found.ca_keys(prod, INT, managed=False)[-1].get("arg") is None
    text = keys(prod)
    curr = site.in_prod(INT) / "curr"
    assert f"{curr}/privkey.pem, {curr}/bundle" in text
    assert "sslmctl deliver ca:my-int" in text
    (curr / "privkey.pem").chmod(0o644)
    wide, _ = as_found.ca_keys(prod, INT, managed=True)
    assert wide == Reason(Odd.KEY_WAS_WIDE, path=f"{curr}/privkey.pem")
    assert stat.S_IMODE((curr / "privkey.pem").stat().st_mode) == 0o600
    assert len(as_found.ca_keys(prod, INT, managed=True)) == 1
    shutil.copytree(curr, site.in_prod(INT) / "next")
    assert "and 1 more" in keys(prod)
    production.update(site.tree, prod, INT, site.live(INT), None, is_ca=True)
    assert keys(prod) == ""
    assert keys(str(site.top / "nothing")) == ""
    # Also in a set that is not in use.
    (site.in_prod(INT) / "db/20200101-00:00:00").mkdir()
    (site.in_prod(INT) / "db/20200101-00:00:00/bundle.pem").touch()
    assert "20200101-00:00:00/bundle.pem" in keys(prod)


def test_nothing_is_closed_where_others_can_write(site: Site) -> None:
    """They may have put a file of somebody else's there."""
    curr = site.in_prod(INT) / "curr"
    (curr / "privkey.pem").chmod(0o644)
    for folder in (curr, site.in_prod(INT), site.prod / "ca"):
        mode = stat.S_IMODE(folder.stat().st_mode)
        folder.chmod(0o777)
        why, reported = as_found.ca_keys(str(site.prod), INT, managed=True)
        assert f"run: chmod o-w {folder}" in say(why)
        assert reported.code is Odd.CA_KEYS_IN_PRODUCTION
        folder.chmod(mode)
    assert stat.S_IMODE((curr / "privkey.pem").stat().st_mode) == 0o644
    (site.in_prod() / "next").chmod(0o777)
    with pytest.raises(Permanent, match="chmod o-w"):
        as_found.close_keys(str(site.prod), WEB)


def test_a_set_of_an_earlier_version_is_no_other(site: Site) -> None:
    """One that was delivered before csr.pem and tlsa.rr were: nothing is restarted for them."""
    prod = str(site.prod)
    production.update(site.tree, prod, WEB, site.live(), None, is_ca=False)
    (site.in_prod() / "curr/csr.pem").unlink()
    assert holds(site)
    assert not production.update(site.tree, prod, WEB, site.live(), None, is_ca=False)
    assert (site.in_prod() / "curr/csr.pem").exists()


@pytest.mark.parametrize("file", BESIDE)
def test_a_file_for_people_keeps_nothing_from_being_delivered(site: Site, file: str) -> None:
    path = site.folder(site.live()) / file
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    shutil.rmtree(site.in_prod())
    assert production.update(site.tree, str(site.prod), WEB, site.live(), None, is_ca=False)
    assert not (site.in_prod() / "curr" / file).exists()
    assert set(os.listdir(site.in_prod() / "curr")) >= set(SERVED)
