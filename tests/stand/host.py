"""Other machines, all of them this one: each has a login, users, and a folder of its own.

A host is an sshd in a mount namespace. In it, one absolute path leads to a folder that belongs to
the host, whatever is there outside; and around this path nothing is left of what tests keep there,
so that it is empty like another machine. The network, the processes and the programs are those of
the machine.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.stand import sshd
from tests.stand.server import PATIENCE, PLACES, wait_until
from tests.stand.sshd import Sshd

# Puts a host's view of the machine together, says so, and keeps it until stdin is closed: which
# it is at the latest when the test's process ends, however that happens.
#
# What is to cover the path is built elsewhere, and moved: it hides the host's own folder too.
_HOLD = """\
set -eu
umask 022
cover=$1 path=$2 folder=$3 disk=$4
stage=$folder/stage
mount -t tmpfs -o mode=755 stage "$stage"
seen=$folder
case $folder in "$cover"/*)
    seen=$stage${folder#"$cover"}
    mkdir -p "$seen"
    mount --bind "$folder" "$seen"
esac
root=$seen/root
if [ "$disk" ]; then
    mount -t tmpfs -o "size=$disk,mode=755" disk "$seen/disk"
    mkdir "$seen/disk/root"
    chown --reference="$root" "$seen/disk/root"
    root=$seen/disk/root
fi
mkdir -p "$stage${path#"$cover"}"
mount --bind "$root" "$stage${path#"$cover"}"
mount --move "$stage" "$cover"
for file in passwd group shadow; do
    mount --bind "$folder/etc/$file" "/etc/$file"
done
echo ready
exec cat
"""


@dataclass(frozen=True)
class User:
    """Somebody who is only there; the group of the same name and number is made too."""

    name: str
    number: int
    groups: Sequence[str] = ()


def missing() -> str:
    """Return which program or right is missing, or nothing."""
    if lacking := sshd.missing():
        return lacking
    if not shutil.which("rsync", path=PLACES):
        return "rsync is missing"
    return missing_namespaces()


def missing_namespaces() -> str:
    """Return what mount namespaces need and this machine has not, or nothing."""
    for name in ("unshare", "nsenter", "mount"):
        if not shutil.which(name, path=PLACES):
            return f"{name} is missing"
    if os.geteuid() != 0:
        return "mount namespaces need root"
    try_out = [*_UNSHARE, "mount", "-t", "tmpfs", "try-out", "/tmp"]
    done = subprocess.run(try_out, capture_output=True, text=True, check=False)
    return f"no mount namespaces: {done.stderr.strip()}" if done.returncode else ""


class Host(Sshd):
    """A machine of which `path` is its own, reachable by ssh as `names`.

    - `path` need not exist outside. There, what the host has at it is `root`; it belongs to
      `user`, whom clients log in as.
    - `address`: one of loopback's, for sshd and for servers that are run within.
    - `users` and `groups` (name -> number) are there beside the machine's own, or in their place;
      a group without a number is not there at all.
    - `disk`: how large a file system of its own `path` is on, as for mount: `256k`.
    - `command_in(argv)`: the command line that runs another one there. Its servers keep their
      files below `folder`: of what is around `path`, a host sees nothing else.

    `stop` and `start` concern its sshd, as do `freeze` and `thaw`: the rest stays until `close`.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        path: Path,
        *,
        address: str = "127.0.0.2",
        user: str = "root",
        users: Sequence[User] = (),
        groups: Mapping[str, int | None] | None = None,
        disk: str = "",
    ) -> None:
        super().__init__(folder, names, address=address, user=user)
        self.path = path
        self._disk = disk
        self._cover = _cover(path)
        assert not folder.is_relative_to(path), f"{folder}: would be hidden by {path}"
        self._cover.mkdir(parents=True, exist_ok=True)
        for name in ("root", "disk", "stage", "etc"):
            (folder / name).mkdir(exist_ok=True)
        _write_accounts(folder / "etc", users, groups or {})
        # Who logs in needs these, whatever the umask is.
        self._commands.touch()
        for file, mode in (("", 0o755), ("root", 0o755), ("authorized_keys", 0o644)):
            (folder / file).chmod(mode)
        self._commands.chmod(0o666)
        numbers = {one.name: one.number for one in users}
        owner = numbers[user] if user in numbers else pwd.getpwnam(user).pw_uid
        os.chown(folder / "root", owner, owner if user in numbers else -1)
        self._holder: subprocess.Popen[str] | None = None

    # --- what it has ---

    @property
    def root(self) -> Path:
        """What the host has at `path`, as seen from outside."""
        return self._seen("disk/root") if self._disk else self.folder / "root"

    def fill_disk(self, leave: int = 0) -> None:
        """Fill its disk up, but for so many bytes; these become whole pages."""
        self.free_disk()
        with self._filler.open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        os.truncate(self._filler, max(0, self._filler.stat().st_size - leave))

    def free_disk(self) -> None:
        """Give back what `fill_disk` took."""
        assert self._disk, "it shares the machine's disk"
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self._seen("disk/filler")

    def _seen(self, name: str) -> Path:
        """Return the way to a file in its folder with what is mounted there."""
        return Path(f"/proc/{self._held()}/root{self.folder}/{name}")

    # --- what runs there ---

    def command_in(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` on the host; its first word is a full path."""
        return [_NSENTER, f"--mount=/proc/{self._held()}/ns/mnt", "--", *argv]

    def run(self, argv: Sequence[str], *, user: str = "root") -> str:
        """Run a command on the host; return what it prints, or fail with what it says."""
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]
        done = subprocess.run(
            self.command_in([*(as_user if user != "root" else ()), *argv]),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{self.names[0]}: {argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def command(self) -> list[str]:
        return self.command_in(super().command())

    # --- its life ---

    def _held(self) -> int:
        """Return the process that keeps its namespace; there is one from now on."""
        if self._holder is None:
            places = [self._cover, self.path, self.folder, self._disk]
            with self.log_file.open("ab") as log:
                self._holder = subprocess.Popen(
                    [*_UNSHARE, "sh", "-c", _HOLD, "hold", *map(str, places)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
            assert self._holder.stdout
            if self._holder.stdout.readline() != "ready\n":
                self.close()
                raise AssertionError(f"no namespace:\n{self.log()}")
        return self._holder.pid

    def close(self) -> None:
        """End the host, with all that runs there; `root` stays if it is not on its own disk."""
        self.stop()
        if self._holder is None:
            return
        wait_until(lambda: not self._end_others(), "the end of what runs on the host")
        self._holder.kill()
        self._holder.communicate()
        self._holder = None

    def _end_others(self) -> int:
        """SIGKILL what runs there beside the holder; return how many that were."""
        assert self._holder
        own = os.readlink(f"/proc/{self._holder.pid}/ns/mnt")
        ended = 0
        for process in Path("/proc").glob("[0-9]*"):
            # Those that only wait to be reaped have no namespace any more.
            with suppress(OSError):
                if int(process.name) != self._holder.pid and os.readlink(process / "ns/mnt") == own:
                    os.kill(int(process.name), signal.SIGKILL)
                    ended += 1
        return ended

    def __exit__(self, *_: object) -> None:
        self.close()


_UNSHARE = ("unshare", "--mount", "--propagation", "private")
_NSENTER = shutil.which("nsenter", path=PLACES) or "nsenter"


def _cover(path: Path) -> Path:
    """Return what is to be hidden around a path: from the first folder on that is closed to others.

    Whoever logs in comes to the path then, which scratch folders would not let happen.
    """
    assert path.is_absolute(), path
    for one in reversed(path.parents):
        if one.exists() and not one.stat().st_mode & 0o001:
            return one
    assert len(path.parents) > 1, f"{path}: all of the machine would be hidden"
    return path.parent


def _write_accounts(folder: Path, users: Sequence[User], groups: Mapping[str, int | None]) -> None:
    """Write the three files that say which users and groups there are."""
    numbers = {**groups, **{one.name: one.number for one in users}}
    members = {name: ",".join(one.name for one in users if name in one.groups) for name in numbers}
    # With `*` there is no password that is right; with `!` sshd would let nobody in.
    lines: dict[str, dict[str, str | None]] = {
        "passwd": {one.name: f"x:{one.number}:{one.number}::/:/bin/sh" for one in users},
        "shadow": {one.name: "*:19000:0:99999:7:::" for one in users},
        "group": {
            name: None if number is None else f"x:{number}:{members[name]}"
            for name, number in numbers.items()
        },
    }
    for file, own in lines.items():
        source = Path("/etc") / file
        kept = [
            line for line in source.read_text().splitlines() if line.partition(":")[0] not in own
        ]
        # What start-up files of the machine's own shells do is no business of its hosts.
        kept = [re.sub(r"^(root:.*:)/\S*sh$", r"\1/bin/sh", line) for line in kept]
        made = [f"{name}:{rest}" for name, rest in own.items() if rest is not None]
        (folder / file).write_text("\n".join([*kept, *made]) + "\n")
        shutil.copystat(source, folder / file)
        owner = source.stat()
        os.chown(folder / file, owner.st_uid, owner.st_gid)
