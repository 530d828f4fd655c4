"""Diffie-Hellman groups in production: what is written, what is left, and what a bad day brings."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent, SslmError
from sslmd.core.reason import Reason
from sslmd.pki.dhparam import dhparam
from sslmd.workers.dh import write_dh
from tests.reasons import text
from tests.stand.tools import MAIN, Site

NOW = datetime.now(UTC)
OPENSSL = """\
#!/bin/sh
echo "$@" >> {folder}/calls
echo "Generating DH parameters, $2 bit long safe prime" >&2
printf '.....+......++*++*++*' >&2
{work}
"""


class World:
    """A site with `[dh]`, and what its folder holds."""

    def __init__(self, top: Path, table: str) -> None:
        self.top = top
        self.site = Site(top, f"{MAIN}\n[dh]\ngroups = ['ALL']\n{table}\n", now=NOW)
        self.told: list[str] = []
        self.site.tools.telling.tell = lambda event, line, _: self.told.append(
            f"{event}: {text(line)}"
        )
        self.folder = self.site.prod / "example.com/dh"

    def _tell(self, event: str, line: Reason | str, _: object) -> None:
        self.told.append(f"{event}: {text(line)}")

    async def write(self) -> list[str]:
        """Let the worker have a look; return what failed."""
        failed = await write_dh(
            self.site.tools.site, self.site.tools.threads, self.site.tools.telling
        )
        assert all(isinstance(err, SslmError) for err in failed), failed
        return [str(err) for err in failed]

    def files(self) -> dict[str, str]:
        """Return the names in the folder, links with what they lead to."""
        return {
            one.name: os.readlink(one) if one.is_symlink() else ""
            for one in sorted(self.folder.iterdir())
        }


@pytest.fixture
def openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, first in PATH, with an openssl that needs no minutes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for bits in (2048, 3072, 8192):
        (folder / f"{bits}.pem").write_bytes(dhparam(bits))
    says(folder, f'cat "{folder}/$2.pem"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def says(folder: Path, work: str) -> None:
    program = folder / "openssl"
    program.write_text(OPENSSL.format(folder=folder, work=work))
    program.chmod(0o755)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


async def test_groups_of_the_rfc_are_written_once(tmp_path: Path) -> None:
    world = World(tmp_path, "params = ['ffdhe3072', 'ffdhe2048']")
    assert await world.write() == []
    assert world.files() == {
        "dh-ffdhe2048.pem": "",
        "dh-ffdhe3072.pem": "",
        "dhparam.pem": "dh-ffdhe3072.pem",
    }
    assert (world.folder / "dhparam.pem").read_bytes() == dhparam(3072)
    assert stat.S_IMODE((world.folder / "dhparam.pem").stat().st_mode) == 0o644
    assert stat.S_IMODE(world.folder.stat().st_mode) == 0o755
    assert stat.S_IMODE(world.folder.parent.stat().st_mode) == 0o750
    assert not (world.site.prod / "ca").exists()
    assert world.told == [
        f"dh-written: {world.folder}: dh-ffdhe3072.pem written, dh-ffdhe2048.pem written, "
        "dhparam.pem leads to dh-ffdhe3072.pem"
    ]
    os.utime(world.folder / "dh-ffdhe3072.pem", (0, 0))  # they do not age
    assert await world.write() == []
    assert len(world.told) == 1


async def test_what_admins_put_there_stays(tmp_path: Path) -> None:
    world = World(tmp_path, "params = ['ffdhe2048']")
    world.folder.mkdir(parents=True)
    (world.folder / "mine.pem").write_text("mine")
    (world.folder / "dh-ffdhe2048.pem").write_text("theirs")
    (world.folder / "dhparam.pem").symlink_to("mine.pem")
    (world.folder / f".dh2048.pem.{'0' * 24}.new").write_text("of a daemon that was killed")
    assert await world.write() == []
    assert world.files() == {
        "dh-ffdhe2048.pem": "",
        "dhparam.pem": "dh-ffdhe2048.pem",
        "mine.pem": "",
    }
    assert (world.folder / "dh-ffdhe2048.pem").read_text() == "theirs"


async def test_a_file_in_place_of_the_link_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, "params = ['ffdhe2048']")
    world.folder.mkdir(parents=True)
    (world.folder / "dhparam.pem").write_text("mine")
    (failed,) = await world.write()
    assert failed == f"{world.folder}/dhparam.pem is not a link to dh-ffdhe2048.pem; move it away"
    assert (world.folder / "dhparam.pem").read_text() == "mine"


async def test_sizes_are_generated_when_they_are_old(tmp_path: Path, openssl: Path) -> None:
    world = World(tmp_path, "params = [2048, 'ffdhe2048']\nmax_age = 100")
    assert await world.write() == []
    assert world.files() == {
        "dh-ffdhe2048.pem": "",
        "dh2048.pem": "",
        "dhparam.pem": "dh2048.pem",
    }
    assert (world.folder / "dh2048.pem").read_bytes() == dhparam(2048)
    assert world.told == [
        f"dh-written: {world.folder}: dh-ffdhe2048.pem written",
        f"dh-written: {world.folder}: dh2048.pem generated, dhparam.pem leads to dh2048.pem",
    ]
    world.site.now = NOW + timedelta(days=99)
    assert await world.write() == []
    assert calls(openssl) == ["dhparam 2048"]
    world.site.now = NOW + timedelta(days=101)
    assert await world.write() == []
    assert calls(openssl) == ["dhparam 2048"] * 2


async def test_the_largest_comes_whole(tmp_path: Path, openssl: Path) -> None:
    says(openssl, f'cat "{openssl}/$2.pem"; printf "%500s" "" >&2')
    world = World(tmp_path, "params = 8192")
    assert await world.write() == []
    assert (world.folder / "dh8192.pem").read_bytes() == dhparam(8192)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("echo 'no entropy' >&2; exit 3", "openssl dhparam 2048 exited with 3: Generating DH "
         "parameters, 2048 bit long safe prime no entropy"),
        ("kill -9 $$", "openssl dhparam 2048 was killed by signal 9: "),
        ("true", "openssl gave no Diffie-Hellman group of 2048 bits"),
        ("cat {folder}/3072.pem", "openssl gave no Diffie-Hellman group of 2048 bits"),
        ("head -c 200 {folder}/2048.pem; echo; echo -----END DH PARAMETERS-----",
         "openssl gave no Diffie-Hellman group of 2048 bits"),
    ],
)  # fmt: skip
async def test_openssl_fails(tmp_path: Path, openssl: Path, work: str, said: str) -> None:
    says(openssl, work.format(folder=openssl))
    world = World(tmp_path, "params = [2048, 'ffdhe2048']")
    (failed,) = await world.write()
    assert said in failed
    assert "..." not in failed
    assert world.files() == {"dh-ffdhe2048.pem": ""}  # and no link to nowhere


async def test_an_old_group_serves_on_while_none_can_be_made(tmp_path: Path, openssl: Path) -> None:
    world = World(tmp_path, "params = 2048")
    await world.write()
    says(openssl, "exit 1")
    world.site.now += timedelta(days=121)
    assert len(await world.write()) == 1
    assert world.files() == {"dh2048.pem": "", "dhparam.pem": "dh2048.pem"}
    assert (world.folder / "dhparam.pem").read_bytes() == dhparam(2048)


async def test_no_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    world = World(tmp_path, "params = [2048, 'ffdhe2048']")
    (failed,) = await world.write()
    assert "openssl, which generates Diffie-Hellman groups, is not installed; install" in failed
    assert "dh-ffdhe2048.pem" in world.files()


async def test_stopped_it_leaves_nothing_behind(tmp_path: Path, openssl: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # It holds the pipe open for as long as it lives.
    says(openssl, f"exec 3> {fifo}; echo here >&3; sleep 600")
    world = World(tmp_path, "params = [2048, 'ffdhe2048']")
    task = asyncio.ensure_future(world.write())
    with await asyncio.to_thread(fifo.open) as pipe:
        assert await asyncio.to_thread(pipe.readline) == "here\n"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(pipe.read) == ""
    assert world.files() == {"dh-ffdhe2048.pem": ""}


# --- a tree that is not to be trusted ---


async def test_a_folder_that_everybody_may_write_to(tmp_path: Path) -> None:
    world = World(tmp_path, "params = 'ffdhe2048'")
    world.folder.mkdir(parents=True)
    world.folder.chmod(0o777)
    (failed,) = await world.write()
    assert failed.startswith(f"{world.folder} can be written by everybody (uid ")
    assert failed.endswith(f", mode 0777); run: chmod o-w {world.folder}")
    assert world.files() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
async def test_what_belongs_to_somebody_else(tmp_path: Path) -> None:
    world = World(tmp_path, "params = 'ffdhe2048'")
    await world.write()
    os.chown(world.folder / "dh-ffdhe2048.pem", 12345, -1)
    (failed,) = await world.write()
    assert "dh-ffdhe2048.pem belongs to uid 12345" in failed
    os.chown(world.folder, 12345, -1)
    (failed,) = await world.write()
    assert f"{world.folder} belongs to uid 12345" in failed


async def test_links_where_files_should_be(tmp_path: Path) -> None:
    world = World(tmp_path, "params = 'ffdhe2048'")
    outside = tmp_path / "outside"
    world.folder.mkdir(parents=True)
    (world.folder / "dh-ffdhe2048.pem").symlink_to(outside)  # to nowhere
    assert await world.write() == []
    assert not outside.exists()
    assert (world.folder / "dh-ffdhe2048.pem").read_bytes() == dhparam(2048)
    assert not (world.folder / "dh-ffdhe2048.pem").is_symlink()


async def test_a_link_to_nowhere_and_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    world = World(tmp_path, "params = 'ffdhe2048'")
    world.folder.parent.mkdir(parents=True)
    world.folder.symlink_to(tmp_path / "none")
    (failed,) = await world.write()
    assert failed.startswith(f"cannot make the directory {world.folder}: Not a directory; move")
    world.folder.unlink()
    world.folder.write_text("mine")
    assert len(await world.write()) == 1
    assert world.folder.read_text() == "mine"


async def test_directories_and_pipes_where_files_should_be(tmp_path: Path) -> None:
    world = World(tmp_path, "params = ['ffdhe3072', 'ffdhe2048']")
    world.folder.mkdir(parents=True)
    os.mkfifo(world.folder / "dh-ffdhe3072.pem")
    (world.folder / "dh-ffdhe2048.pem").mkdir()
    failed = await write_dh(
        world.site.tools.site, world.site.tools.threads, world.site.tools.telling
    )
    assert [type(err) for err in failed] == [Permanent]
    assert "dh-ffdhe2048.pem: Is a directory; move away the directory" in str(failed[0])
    assert (world.folder / "dh-ffdhe3072.pem").read_bytes() == dhparam(3072)


async def test_one_folder_in_trouble_keeps_out_no_other(tmp_path: Path, openssl: Path) -> None:
    net = 'name = "W"\ngroup = "example.net"\nservice = "web"\nsigning_ca = "my-int"\n'
    net += '[X509]\nCN = "example.net"\nsans = ["example.net"]\n'
    world = World(tmp_path, "params = ['ffdhe2048', 2048]")
    world.site.write("example.net/web", net)
    main = (tmp_path / "conf.d/ssl-mgr.conf").read_text()
    main += "[[groups]]\nactive = true\ndomain = 'example.net'\nservices = ['web']\n"
    world.site.write("ssl-mgr.conf", main)
    world.site.reload()
    world.folder.parent.mkdir(parents=True)
    world.folder.write_text("in the way")
    assert len(await world.write()) == 1
    other = world.site.prod / "example.net/dh"
    assert {one.name for one in other.iterdir()} == {
        "dh-ffdhe2048.pem",
        "dh2048.pem",
        "dhparam.pem",
    }
