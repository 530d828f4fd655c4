"""A web server's folder belongs to somebody who exchanges names while root writes there.

Whatever they do, nothing outside of it is touched, read or made. 100 runs of each kind take a
minute; SSLMD_RACE_RUNS says how many.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sslmd.core.errors import SslmError
from sslmd.servers import http01
from tests.stand.racer import PARTS, PRECIOUS, WAYS

RUNS = int(os.environ.get("SSLMD_RACE_RUNS", "100"))
OWNER, LOGIN = 54321, 54322
APEX = PARTS[1]
SCRIPT = Path(http01.__file__).with_name("challenge.sh")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led to write elsewhere")

Facts = dict[str, tuple[int, ...]]


class Site:
    """`site` and `www` in it are somebody else's; `outside` and `precious` are not."""

    def __init__(self, top: Path, victim: int) -> None:
        self.site, self.outside, self.victim = top / "site", top / "outside", victim
        self.www = self.site / "www"
        for folder in (self.site, self.outside):
            folder.mkdir()
        inside = "/".join(PARTS[1:])
        for folder in (self.www / inside, self.outside / inside):
            folder.mkdir(parents=True)
        (self.outside / "key").write_text("secret")
        (self.outside / "key").chmod(0o600)
        for root, folders, names in os.walk(top):
            for name in (*folders, *names):
                path = Path(root, name)
                is_theirs = path.is_relative_to(self.site)
                os.chown(path, OWNER if is_theirs else victim, victim if is_theirs else -1)
        for folder in (self.site, self.www, *(self.www / one for one in self._way())):
            folder.chmod(0o2775 if victim else 0o755)
        # Where root keeps something in the folder of somebody else: not theirs to open.
        self.precious = self.www / PRECIOUS
        self.precious.mkdir(0o700)
        (self.precious / "/".join(PARTS[2:])).mkdir(parents=True)
        for path in (self.outside, self.precious):
            for root, folders, names in os.walk(path, topdown=False):
                for name in (*folders, *names):
                    os.utime(Path(root, name), ns=(0, os.stat(Path(root, name)).st_mtime_ns))
        self._handle = os.open(self.precious, os.O_RDONLY | os.O_DIRECTORY)
        self._by_handle = f"/proc/self/fd/{self._handle}/"
        self.before = self.facts()

    def close(self) -> None:
        os.close(self._handle)

    @staticmethod
    def _way() -> list[str]:
        return ["/".join(PARTS[1:n]) for n in range(2, 5)]

    def facts(self) -> Facts:
        """Return all that is known of what is not theirs; it is found by its inode."""
        found: Facts = {}
        # By its handle: its name is exchanged for another one all the time.
        for label, start in (("outside", f"{self.outside}/"), (PRECIOUS, self._by_handle)):
            for root, folders, names in os.walk(start):
                for one in ("", *folders, *names):
                    path = os.path.join(root, one)
                    info = os.lstat(path)
                    # Of folders others than the reader's look change the time of the last access.
                    read = info.st_atime_ns if one in names else 0
                    facts = (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_ino,
                             info.st_mtime_ns, info.st_ctime_ns, read)  # fmt: skip
                    found[f"{label}/{path.removeprefix(start)}"] = facts
        # To be renamed, in the folder of somebody else, changes this.
        top = found[f"{PRECIOUS}/"]
        found[f"{PRECIOUS}/"] = (*top[:6], 0, top[7])
        return found

    def check(self) -> None:
        """Nothing outside is touched, read or made."""
        assert self.facts() == self.before
        assert (self.outside / "key").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="sslmd-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def attacked(site: Site, how: str) -> Iterator[None]:
    argv = [sys.executable, "-m", "tests.stand.racer"]
    process = subprocess.Popen(
        [*argv, str(OWNER), str(site.site), str(site.outside), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() is None
    finally:
        process.communicate()


async def in_thread(func: Callable[[], object]) -> object:
    return await asyncio.to_thread(func)


def contents() -> dict[str, str]:
    token = secrets.token_urlsafe(32)
    return {token: f"{token}.{secrets.token_urlsafe(32)}"}


async def here(www: Path, _uid: int) -> bool:
    """Put a challenge as on this machine, and take it away; return whether it got there."""
    some = contents()
    try:
        await http01.put(["localhost"], www, APEX, some, in_thread)  # type: ignore[arg-type]
        await http01.remove(["localhost"], www, APEX, some, in_thread)  # type: ignore[arg-type]
    except SslmError:
        return False
    return True


async def there(www: Path, uid: int) -> bool:
    """Do what a web server's shell does."""
    some = contents()
    words = [word for pair in some.items() for word in pair]
    below = "/".join(PARTS[1:]) + "/"
    text = SCRIPT.read_text()
    login = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
    for line in (["put", f"{www}/", below, *words], ["remove", f"{www}/", below, *some]):
        process = await asyncio.create_subprocess_exec(
            *(*login, "sh", "-c", 'eval "$1"', "sh", text, *line),
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        if await process.wait():
            return False
    return True


Do = Callable[[Path, int], Awaitable[bool]]


async def race(place: Path, do: Do, victim: int, ways: tuple[str, ...]) -> dict[str, int]:
    """Do it while each kind of attack goes on; return how often it was done all the same."""
    done = {}
    for how in ways:
        top = place / how
        top.mkdir()
        site = Site(top, victim)
        with attacked(site, how):
            done[how] = 0
            for _ in range(max(RUNS // len(ways), 1)):
                done[how] += await do(site.www, victim)
                site.check()
        site.close()
        shutil.rmtree(top)
    return done


@pytest.mark.parametrize("do", [here, there])
async def test_root_is_led_nowhere(place: Path, do: Do) -> None:
    done = await race(place, do, 0, WAYS)
    print(do.__name__, RUNS, done)


async def test_a_login_that_shares_the_folder_is_led_nowhere(place: Path) -> None:
    ways = tuple(one for one in WAYS if one != PRECIOUS)
    done = await race(place, there, LOGIN, ways)
    print("login", RUNS, done)


@pytest.mark.parametrize(("do", "victim"), [(here, 0), (there, 0), (there, LOGIN)])
async def test_it_works_where_nobody_races(place: Path, do: Do, victim: int) -> None:
    site = Site(place, victim)
    assert await do(site.www, victim)
    site.close()
