"""Production on a file system of its own: mounted, read-only, behind a link (mount namespaces)."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_real_sites import SILENT, WEB, RealSite
from tests.stand.faketime import needs_faketime
from tests.stand.responder import Responder
from tests.stand.ssl_mgr_site import name_server

CAN_MOUNT = subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0
pytestmark = [
    needs_faketime,
    pytest.mark.skipif(not CAN_MOUNT, reason="mount namespaces need root"),
]


class MountedSite(RealSite):
    """The site with servers on this machine; its production may be mounted for the daemon alone."""

    def __init__(self, folder: Path, *, port: int = SILENT) -> None:
        super().__init__("7.8.1", folder, port=port)
        self.prod = self.top / "prod-certs"

    def start_with(self, mounting: str) -> None:
        """Start the daemon where `mounting`, shell commands with $P for production, is done."""
        script = f'P={self.prod}; {mounting}; exec "$@"'
        wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"]
        self.start(wrapper=wrapper)

    def within(self, command: str) -> None:
        """Do something with the daemon's mounts."""
        assert self.process is not None
        pid = str(self.process.pid)
        subprocess.run(["nsenter", "-t", pid, "-m", "sh", "-ec", command], check=True)

    def seen(self, path: Path) -> Path:
        """Return a path as the daemon sees it."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{path}")

    def spoil(self) -> None:
        """Leave an older set in production than in the working tree."""
        curr = self.in_prod(WEB) / "curr"
        shutil.rmtree(curr)
        shutil.copytree(self.top / "certs" / WEB / "prev", curr)
        self.before = self.there()


READ_ONLY = "mount --bind $P $P; mount -o remount,bind,ro $P"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MountedSite]:
    one = MountedSite(tmp_path)
    yield one
    one.end()


def test_on_another_file_system(site: MountedSite) -> None:
    """Nothing is renamed from one to the other."""
    copy = site.top / "copy"
    shutil.copytree(site.prod, copy)
    site.start_with(f"mount -t tmpfs none $P; cp -a {copy}/. $P")
    site.rest()
    prod = site.seen(site.in_prod(WEB))
    assert prod.stat().st_dev != site.in_prod(WEB).stat().st_dev
    assert not (prod / "curr").is_symlink()
    assert site.ran() == site.commands
    site.ctl("deliver", "example.com:web-ec")
    assert os.readlink(prod / "curr") == os.readlink(site.top / "certs" / WEB / "curr")
    key = prod / "curr/privkey.pem"
    assert key.read_bytes() == (site.live(WEB) / "privkey.pem").read_bytes()
    assert site.ran() == site.commands
    site.stop()
    site.untouched()


def test_behind_a_link(site: MountedSite) -> None:
    site.prod.rename(site.top / "elsewhere")
    site.prod.symlink_to("elsewhere")
    before = site.there()
    site.start()
    site.rest()
    assert site.there() == before
    site.ctl("deliver", "example.com:web-ec")
    curr = site.top / "elsewhere" / WEB / "curr"
    assert os.readlink(curr) == os.readlink(site.top / "certs" / WEB / "curr")
    assert site.ran() == site.commands


def test_read_only_and_as_it_should_be(site: MountedSite) -> None:
    for _ in range(2):
        site.start_with(READ_ONLY)
        site.rest()
        site.stop()
        site.untouched()
        assert not any("Read-only" in line for line in site.lines)


def test_read_only_and_out_of_date(site: MountedSite) -> None:
    """It is told, tried again by the table, and holds up nobody else."""
    site.spoil()
    site.start_with(READ_ONLY)
    line = site.wait_line(f"{WEB}: cannot ")
    assert str(site.in_prod(WEB)) in line
    assert "Read-only file system; mount it" in line
    assert "attempt 1 failed" in line
    status = site.status()
    assert status[WEB]["phase"] == "rolled"
    assert status[WEB]["next_try"] is not None or "next" in status[WEB]["reason"]
    for cert in ("example.com/web-rsa", "example.com/wild-ec"):
        assert site.wait_settled_of(cert)
    assert site.changes() == {}
    assert site.ran() == site.commands
    # The way out, and an admin who does not wait for the next try.
    site.within(f"mount -o remount,bind,rw {site.prod}")
    site.ctl("deliver", "example.com:web-ec")
    assert (site.in_prod(WEB) / "curr").is_symlink()
    assert site.ran() == [*site.commands, "web", "proxy"]


def test_a_key_that_cannot_be_closed(site: MountedSite) -> None:
    """On a read-only file system others go on reading it: that is told, not passed over."""
    key = site.in_prod(WEB) / "curr/privkey.pem"
    key.chmod(0o644)
    site.before = site.there()
    site.start_with(READ_ONLY)
    line = site.wait_line(f"{WEB}: cannot ")
    assert str(key) in line
    assert "Read-only file system" in line
    assert site.wait_settled_of("example.com/web-rsa")
    assert site.changes() == {}


async def test_what_else_is_written_there(tmp_path: Path) -> None:
    """TLSA records and Diffie-Hellman groups: the daemon says so and goes on."""
    async with Responder(name_server) as responder:
        site = MountedSite(tmp_path, port=responder.server.port)
        text = site.main.read_text()
        site.main.write_text(
            text + "\n[dh]\n    groups = ['example.com']\n    params = ['ffdhe2048']\n"
        )
        (site.prod / "example.com/tlsa.example.com").unlink()
        try:
            await asyncio.to_thread(_written_elsewhere, site)
        finally:
            await asyncio.to_thread(site.end)


def _written_elsewhere(site: MountedSite) -> None:
    site.start_with(READ_ONLY)
    line = site.wait_line_of([f"{site.prod}/example.com/dh"])
    assert "Read-only file system; mount it" in line
    line = site.wait_line_of([f"{site.prod}/example.com/tlsa.example.com"])
    assert "Read-only file system; mount it" in line
    for cert in ("example.com/web-ec", "example.com/wild-ec"):
        assert site.wait_settled_of(cert)
    assert site.stop() == 0
    assert not (site.prod / "example.com/dh").exists()
    # The test has removed it.
    assert site.changes() == {"prod-certs/example.com/tlsa.example.com": "gone"}
    assert site.ran() == site.commands
