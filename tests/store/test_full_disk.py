"""A full disk: whatever cannot be written, nothing is lost, and later it is.

The site is on a file system of its own, which is given room for n more files or n more blocks,
n = 0, 1, 2 …, until the job gets through. So each of its writes fails once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslmd.core.errors import Permanent, Transient
from sslmd.core.jobs import Certify, CertJob, Deliver, MakeKey, Roll
from sslmd.core.state import Phase
from sslmd.store import sets
from sslmd.store.lock import TreeLock
from tests.reasons import because
from tests.stand.tools import MAIN, WEB, Site, leftovers

PAGE = os.sysconf("SC_PAGE_SIZE")
PLENTY = {"nr_inodes": "100000", "size": "64m"}
_SERVED = f"""{MAIN}
[web]
    servers = ['localhost']
    svc_depends = [['any', ['web']]]
    restart_cmd = 'true'
"""


class Disk:
    """A small file system."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def limit(self, **options: str) -> None:
        text = ",".join(f"{name}={value}" for name, value in {**PLENTY, **options}.items())
        subprocess.run(["mount", "-o", f"remount,{text}", str(self.top)], check=True)

    def leave(self, what: str, count: int) -> None:
        """Leave room for so many more files, or blocks."""
        used = os.statvfs(self.top)
        if what == "files":
            self.limit(nr_inodes=str(used.f_files - used.f_ffree + count))
        else:
            blocks = used.f_blocks - used.f_bfree + count
            self.limit(size=str(blocks * used.f_frsize))

    def free(self) -> None:
        self.limit()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    top = tmp_path / "disk"
    top.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0755", "tmpfs", str(top)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield Disk(top)
    subprocess.run(["umount", "--lazy", str(top)], check=True)


async def the_job(site: Site, what: str) -> CertJob:
    """Bring the site to where that job is due."""
    match what:
        case "MakeKey":
            return MakeKey(WEB, because("test"))
        case "Certify":
            return Certify(WEB, await site.make_key(), because("test"))
        case "Roll":
            await site.make_key()
            return Roll(WEB, await site.certify(), because("test"))
        case _:
            live = await site.renew()
            site.later(minutes=1)
            await site.make_key()
            return Deliver(WEB, live, await site.certify(), because("test"))


@pytest.mark.parametrize("room", ["files", "blocks"])
@pytest.mark.parametrize("what", ["MakeKey", "Certify", "Roll", "Deliver"])
async def test_every_write_of_a_job_fails_once(disk: Disk, room: str, what: str) -> None:
    site = await Site(disk.top, _SERVED).with_cas()
    await site.rest()
    site.later(days=80)
    job = await the_job(site, what)
    before = sets.read_links(site.tree, WEB)
    served = live_in_prod(site)
    failed = 0
    while True:
        disk.leave(room, failed)
        said = await failure_of(site, job)
        if not said:
            break
        assert "No space left on device; free some space on that file system" in said
        failed += 1
        assert failed < 100
        now = sets.read_links(site.tree, WEB)
        assert (now.curr, now.remarks) == (before.curr, [])
        if what != "Roll":
            assert now == before
        assert now.curr is not None
        assert sets.read_set(site.tree, WEB, now.curr).complete
        assert live_in_prod(site) == served
        assert leftovers(disk.top) == []
    disk.free()
    assert failed
    site.save(WEB)
    again = Site(disk.top, now=site.now)
    assert again.state(WEB) == site.state(WEB)
    again.later(hours=3)
    await again.rest()
    assert again.state(WEB).phase is Phase.SETTLED
    if what in ("Certify", "Roll"):
        assert again.live() == (before.next or again.live())


async def failure_of(site: Site, job: CertJob) -> str:
    try:
        await site.do(job)
    except Transient as err:
        return str(err)
    return ""


def live_in_prod(site: Site) -> dict[str, bytes]:
    curr = site.in_prod() / "curr"
    return {path.name: path.read_bytes() for path in curr.iterdir()}


@pytest.mark.parametrize("room", ["files", "blocks"])
async def test_notes_that_cannot_be_saved_stand_as_they_were(disk: Disk, room: str) -> None:
    site = await Site(disk.top).with_cas()
    await site.renew()
    site.save(WEB)
    path = site.place() / "state.toml"
    before = path.read_bytes()
    site.later(days=1)
    await site.make_key()
    disk.leave(room, 0)
    with pytest.raises(Transient, match=r"cannot write .*state\.toml: No space left"):
        site.save(WEB)
    assert path.read_bytes() == before
    assert leftovers(disk.top) == []
    # A daemon that starts now knows where it stands all the same: the links tell.
    assert Site(disk.top, now=site.now).state(WEB).phase is Phase.KEYED
    disk.free()
    site.save(WEB)
    assert Site(disk.top).state(WEB) == site.state(WEB)


async def test_a_daemon_starts_on_a_full_disk(disk: Disk) -> None:
    site = await Site(disk.top).with_cas()
    await site.renew()
    disk.leave("blocks", 0)
    lock, second = TreeLock(site.tree.lock_file), TreeLock(site.tree.lock_file)
    lock.take()
    with pytest.raises(Permanent, match=r"another sslmd \(pid unknown\)"):
        second.take()
    lock.release()
    again = Site(disk.top)
    assert again.state(WEB).curr == site.state(WEB).curr
    Path(site.tree.lock_file).unlink()
    disk.leave("files", 0)
    with pytest.raises(Transient, match="free some space"):
        lock.take()


async def test_a_disk_that_can_only_be_read(disk: Disk) -> None:
    site = await Site(disk.top).with_cas()
    await site.renew()
    subprocess.run(["mount", "-o", "remount,ro", str(disk.top)], check=True)
    try:
        with pytest.raises(Transient, match="mount it for writing"):
            await site.make_key()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk.top)], check=True)
    await site.renew()


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """A limit on the size of files is no bug either (ulimit -f)."""
    code = (
        "import resource, signal, sys\n"
        "from sslmd.core.errors import Transient\n"
        "from sslmd.store import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try:\n"
        "    files.write_file(sys.argv[1], b'x' * 100)\n"
        "except Transient as err:\n"
        "    print(err)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "raise the limit on the size of files" in done.stdout
    assert os.listdir(tmp_path) == []
