"""A production tree in which the group of `key_group` may write: its members get no further."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent, SslmError
from sslmd.core.host.needs import KeyAccess
from sslmd.servers import production
from sslmd.servers.key_rights import Rights
from tests.stand.attacker import GROUP, exchanged, let_in
from tests.stand.tools import WEB, Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

ACCESS = KeyAccess("", str(GROUP), 0o640)
ROUNDS = 150


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    """A site whose certificate is in production, in folders that a group may write to."""
    tmp_path.chmod(0o755)
    let_in(tmp_path)
    made = await Site(tmp_path).with_cas()
    await made.renew()
    made.later(days=1)
    await made.renew()
    deliver(made)
    for folder in (made.prod, made.prod / WEB.group, base(made), base(made) / "db"):
        os.chown(folder, -1, GROUP)
        folder.chmod(0o770)
    return made


def base(site: Site) -> Path:
    return site.prod / WEB.group / WEB.service


def deliver(site: Site, access: KeyAccess = ACCESS) -> None:
    production.update(
        site.tree, str(site.prod), WEB, site.live(WEB), None, is_ca=False, access=access
    )


def secret(site: Site) -> Path:
    """Return a folder of root's with what a member would like to have changed."""
    folder = site.top / "of-root"
    shutil.copytree(base(site), folder, symlinks=True)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            os.chown(path, 0, 0)
            path.chmod(0o700 if path.is_dir() else 0o600)
    (folder / "next").symlink_to("db")  # what a delivery removes
    (folder / "db/20200101-00:00:00").mkdir(mode=0o700)
    (folder / "db/20200101-00:00:00/kept").touch()
    return folder


def look(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    found = {}
    for path in (folder, *folder.rglob("*")):
        info = path.lstat()
        found[str(path)] = (info.st_ino, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
    return found


def test_the_group_is_let_in_where_key_group_says_so(site: Site) -> None:
    deliver(site)
    assert (base(site) / "curr/privkey.pem").stat().st_gid == GROUP
    for access in (production.OURS_ALONE, KeyAccess("", str(GROUP + 1), 0o640)):
        with pytest.raises(Permanent, match=f"can be written by gid {GROUP}"):
            deliver(site, access)


@pytest.mark.parametrize("name", ["", "db"])
def test_a_link_of_a_member_leads_nowhere(site: Site, name: str) -> None:
    victim = secret(site)
    before = look(victim)
    place = base(site) / name
    place.rename(place.with_name("aside"))
    place.symlink_to(victim / name)
    shutil.rmtree(site.top / "gone", ignore_errors=True)
    with pytest.raises(Permanent, match=f"{place} is a link, and others may write to the folder"):
        deliver(site)
    assert look(victim) == before


@pytest.mark.parametrize("name", ["", "db"])
def test_a_member_who_exchanges_folders_changes_nothing_elsewhere(site: Site, name: str) -> None:
    victim = secret(site)
    before = look(victim)
    place = base(site) / name
    (place.parent / "link").symlink_to(victim / name)
    done = 0
    with exchanged(place.parent, place.name):
        for _ in range(ROUNDS):
            with suppress(SslmError, FileNotFoundError, NotADirectoryError):
                deliver(site)
                done += 1
            assert look(victim) == before
    (place.parent / "link").is_symlink()


def test_a_key_that_a_member_gave_another_name_keeps_its_rights(site: Site) -> None:
    """A link(2) to any file of root's in the place of a key that stays."""
    victim = site.top / "shadow"
    victim.write_text("of root's")
    victim.chmod(0o600)
    old = production.linked(str(site.prod), WEB)
    site.later(days=1)
    key = base(site) / "db" / str(old) / "privkey.pem"
    key.unlink()
    os.link(victim, key)
    with pytest.raises(Permanent, match="has 2 names"):
        Rights(ACCESS).give_all(str(key.parent))
    assert (victim.stat().st_gid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o600)
