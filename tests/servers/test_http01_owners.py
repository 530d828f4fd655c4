"""Challenges in folders that belong to somebody else: written with their rights, and no others."""

from __future__ import annotations

import asyncio
import grp
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.servers import http01
from sslmd.store.foreign import ForeignFolder, apart
from tests.stand import sshd
from tests.stand.attacker import NOBODY, let_by_acl
from tests.stand.far_shell import applets
from tests.stand.sshd import Sshd

P = ParamSpec("P")
T = TypeVar("T")
APEX = "example.com"
OWNER = 54321
TOKEN = "t" * 43
CONTENTS = {TOKEN: f"{TOKEN}.{'x' * 43}"}
SCRIPT = Path(http01.__file__).with_name("challenge.sh")
HERE, FAR = "localhost", "far.example.net"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")


async def in_thread(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.to_thread(func, *args, **kwargs)


@pytest.fixture
def www() -> Iterator[Path]:
    """A folder of somebody's that others may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="sslmd-test-") as name:
        Path(name).chmod(0o755)
        made = Path(name) / "www"
        made.mkdir(0o755)
        os.chown(made, OWNER, OWNER)
        yield made


@pytest.fixture(params=[HERE, FAR])
def host(request: pytest.FixtureRequest, tmp_path: Path,
         monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # fmt: skip
    """This machine, and another one."""
    if request.param == HERE:
        yield HERE
        return
    if lacking := sshd.missing():
        pytest.skip(lacking)
    with Sshd(tmp_path / "sshd", [FAR]) as far:
        monkeypatch.setenv("PATH", f"{far.bin_dir}:{os.environ['PATH']}")
        yield FAR


async def put(host: str, www: Path) -> Path:
    await http01.put([host], www, APEX, CONTENTS, in_thread)
    return www / APEX / ".well-known/acme-challenge" / TOKEN


async def refused(host: str, www: Path) -> str:
    with pytest.raises(SslmError) as caught:
        await put(host, www)
    assert isinstance(caught.value, Permanent if host == HERE else Transient)
    return str(caught.value)


def owner(path: Path) -> tuple[int, int]:
    info = path.stat(follow_symlinks=False)
    return info.st_uid, stat.S_IMODE(info.st_mode)


async def test_all_of_it_is_the_owners(host: str, www: Path) -> None:
    made = await put(host, www)
    assert made.read_text() == CONTENTS[TOKEN]
    for path in (made.parent, made.parent.parent, made.parent.parent.parent):
        assert owner(path) == (OWNER, 0o755)
        assert path.stat().st_gid not in (0, os.getegid())
    assert owner(made) == (OWNER, 0o644)
    assert [path.name for path in made.parent.iterdir()] == [TOKEN]
    await http01.remove([host], www, APEX, [TOKEN], in_thread)
    assert list(made.parent.iterdir()) == []
    # This process is what it was.
    assert (os.geteuid(), os.getgroups()) == (0, os.getgroups())
    (www.parent / "mine").touch()
    assert owner(www.parent / "mine")[0] == 0


async def test_root_does_not_open_what_the_owner_cannot(host: str, www: Path) -> None:
    kept = www / APEX
    kept.mkdir(0o700)  # root's
    text = await refused(host, www)
    assert str(kept) in text
    assert list(kept.iterdir()) == []
    kept.chmod(0o755)
    text = await refused(host, www)
    assert f"{kept}/.well-known" in text
    assert "ermission denied" in text
    assert list(kept.iterdir()) == []


async def test_no_group_of_ours_helps_either(host: str, www: Path) -> None:
    """Root's own groups are not the owner's."""
    (www / APEX).mkdir()
    os.chown(www / APEX, 0, 0)
    (www / APEX).chmod(0o770)
    assert str(www / APEX) in await refused(host, www)
    assert list((www / APEX).iterdir()) == []


@pytest.mark.parametrize(("mode", "who"), [(0o2775, "gid 54321"), (0o777, "everybody")])
async def test_a_folder_of_roots_that_others_write_to(
    host: str, www: Path, mode: int, who: str
) -> None:
    os.chown(www, 0, OWNER)
    www.chmod(mode)
    text = await refused(host, www)
    assert f"{www} can be written by {who}" in text
    assert "; run: chmod " in text
    assert f"or give {www / APEX} to the user of the web site" in text
    # As it says.
    os.chown(www / APEX, OWNER, OWNER)
    assert owner(await put(host, www)) == (OWNER, 0o644)
    shutil.rmtree(www / APEX)
    www.chmod(0o2755)
    assert owner(await put(host, www)) == (0, 0o644)


async def test_an_acl_lets_others_write_to_a_folder_of_roots(www: Path) -> None:
    os.chown(www, 0, 0)
    www.chmod(0o755)
    let_by_acl(www, 7)
    text = await refused("localhost", www)
    assert f"{www} can be written by u:{NOBODY} of its ACL" in text
    assert f"run: setfacl -x u:{NOBODY} {www}, or give {www / APEX}" in text


async def test_in_a_sticky_folder_names_stay_what_they_are(host: str, www: Path) -> None:
    os.chown(www, 0, OWNER)
    www.chmod(0o1777)
    assert owner(await put(host, www)) == (0, 0o644)


async def test_links_of_roots_lead_to_the_server_dir_and_no_others(host: str, www: Path) -> None:
    top = www.parent
    (top / "srv").mkdir(0o755)
    (top / "srv" / "link").symlink_to("../www/.")
    (top / "absolute").symlink_to(top / "srv" / "link")
    assert owner(await put(host, top / "absolute")) == (OWNER, 0o644)
    theirs = top / "theirs"
    theirs.symlink_to(top / "srv")
    os.chown(theirs, OWNER, OWNER, follow_symlinks=False)
    text = await refused(host, theirs / "made")
    assert f"{theirs} is a link; put a directory in its place" in text
    (top / "round").symlink_to("round")
    assert "too many links" in await refused(host, top / "round")
    os.chown(top / "srv", 0, OWNER)
    (top / "srv").chmod(0o775)
    assert f"{top / 'srv'} can be written by gid {OWNER}" in await refused(host, top / "absolute")


async def test_a_server_dir_below_somebody_elses_folder_is_made_by_them(
    host: str, www: Path
) -> None:
    """Also where they put a link to a folder of root's."""
    assert owner(await put(host, www / "a" / "b")) == (OWNER, 0o644)
    assert owner(www / "a") == (OWNER, 0o755)
    root = www.parent / "roots"
    root.mkdir(0o755)
    (www / "c").symlink_to(root)
    os.chown(www / "c", OWNER, OWNER, follow_symlinks=False)
    await refused(host, www / "c" / "d")
    assert list(root.iterdir()) == []


async def test_what_is_not_there_need_not_be_removed(host: str, www: Path) -> None:
    for place in (www, www / "no" / "such"):
        await http01.remove([host], place, APEX, [TOKEN], in_thread)
    assert list(www.iterdir()) == []


def run(argv: list[str], action: str, www: Path, env: dict[str, str]) -> str:
    text = SCRIPT.read_text().replace("PATH=$PATH:/", "PATH=$PATH OTHER=/")
    below = f"{APEX}/.well-known/acme-challenge/"
    words = [word for pair in CONTENTS.items() for word in pair]
    line = [*argv, "-c", 'eval "$1"', "sh", text, action, f"{www}/", below]
    done = subprocess.run(
        [*line, *(words if action == "put" else [TOKEN])],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def without(www: Path, *names: str) -> dict[str, str]:
    """Return an environment where these programs are missing."""
    folder = www.parent / "programs"
    folder.mkdir(0o755)
    for place in ("/usr/sbin", "/usr/bin"):
        for path in Path(place).iterdir():
            link = folder / path.name
            if path.name not in names and not link.is_symlink():
                link.symlink_to(path)
    return {"PATH": str(folder)}


@pytest.mark.parametrize("missing", [(), ("setpriv",), ("setpriv", "chroot")])
def test_programs_that_act_as_others(www: Path, missing: tuple[str, ...]) -> None:
    """util-linux's, that of coreutils, and what busybox and all others have: it wants a name."""
    os.chown(www, 65534, 65534)
    env = without(www, *missing)
    assert run(["sh"], "put", www, env) == ""
    made = www / APEX / ".well-known/acme-challenge" / TOKEN
    assert made.read_text() == CONTENTS[TOKEN]
    assert owner(made) == (65534, 0o644)
    assert run(["sh"], "remove", www, env) == ""
    assert not made.exists()


def test_where_nothing_can_act_as_others_nothing_is_done(www: Path) -> None:
    said = run(["sh"], "put", www, without(www, "setpriv", "chroot", "su"))
    assert f"{www} belongs to uid {OWNER}, and nothing here can act as that user; install" in said
    assert list(www.iterdir()) == []


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_other_shells(tmp_path: Path, www: Path, shell: str) -> None:
    os.chown(www, 0, 0)  # Debian's busybox has no `su`
    if shell == "busybox":
        env = {"PATH": str(applets(tmp_path / "applets"))}
        argv = [str(tmp_path / "applets" / "sh")]
    else:
        env = {"PATH": os.environ["PATH"]}
        argv = [shutil.which(shell) or pytest.skip(f"{shell} is missing")]
    assert run(argv, "put", www, env) == ""
    made = www / APEX / ".well-known/acme-challenge" / TOKEN
    assert owner(made) == (0, 0o644)
    assert run(argv, "put", www, env) == ""
    assert [path.name for path in made.parent.iterdir()] == [TOKEN]
    assert run(argv, "remove", www, env) == ""
    assert list(made.parent.iterdir()) == []


LIMITED = """\
import asyncio, sys
from pathlib import Path
from sslmd.servers import http01
token = "t" * 43
contents = {token: f"{token}.{token}"}
www = Path(sys.argv[1])
asyncio.run(http01.put(["localhost"], www, "example.com", contents, asyncio.to_thread))
"""


def test_where_the_unit_lets_root_be_nobody_else_nothing_is_done(www: Path) -> None:
    """Not even with CAP_DAC_OVERRIDE, by which root could write there as root."""
    limits = ["setpriv", "--bounding-set=-all,+chown,+dac_override", "--inh-caps=-all"]
    done = subprocess.run(
        [*limits, sys.executable, "-c", LIMITED, str(www)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()[-1]
    assert f"{www} belongs to uid {OWNER}, and the daemon cannot act as that user" in said
    assert "CapabilityBoundingSet=CAP_SETUID CAP_SETGID and SystemCallFilter=@setuid" in said
    assert list(www.iterdir()) == []
    # With these, it needs no other.
    limits[1] = "--bounding-set=-all,+chown,+setuid,+setgid"
    subprocess.run([*limits, sys.executable, "-c", LIMITED, str(www)], check=True)
    assert owner(www / APEX / ".well-known/acme-challenge" / TOKEN) == (OWNER, 0o644)


def test_a_thread_of_its_own_has_no_more_than_the_owner(www: Path) -> None:
    """With groups that root has: they are not lent either (setgroups by its number)."""
    groups = os.getgroups()
    staff = grp.getgrnam("staff").gr_gid
    os.setgroups([0, staff])
    try:

        def status() -> tuple[str, list[int]]:
            with ForeignFolder() as folder:
                folder.follow(str(www), make=False)
                lines = Path("/proc/thread-self/status").read_text().splitlines()
                table = dict(line.split(":", 1) for line in lines)
                return table["Uid"].split()[3], [int(one) for one in table["Groups"].split()]

        assert apart(status) == (str(OWNER), [])
        assert os.getgroups() == [0, staff]
    finally:
        os.setgroups(groups)
