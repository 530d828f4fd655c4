"""A Debian of its own, booted: systemd is PID 1, and nothing is installed but that.

`base` fetches a release by mmdebstrap(1), once (build/machines, `make clean` removes it);
`Machine` is a copy of it in systemd-nspawn(1), without a network when it runs.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from tests.stand.server import ROOT, wait_until
from tests.stand.wheels import BUILD, at_hand, locked

MIRROR = "http://deb.debian.org/debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Seconds. The first two wait for a mirror.
FETCHING, INSTALLING, RUNNING = 900, 600, 120
LISTS_HOLD = 24 * 3600


def skip_unless_possible() -> None:
    """Skip, saying what is missing, where no machine can be made and booted."""
    if os.getuid() != 0:
        pytest.skip("booting a Debian needs root")
    for program, package in (
        ("mmdebstrap", "mmdebstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("nsenter", "util-linux"),
        ("setpriv", "util-linux"),
        ("dpkg-deb", "dpkg"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian package {package})")


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Hold a lock beside a machine: where nobody holds it, the run that made it was killed.

    Removes what such runs have left. The kernel lets go of the lock with our process, and what
    we start does not inherit it.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    with locked("machines"):
        _sweep(root.parent)
        lock = _lock_of(root).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    with lock:
        yield
        _lock_of(root).unlink()


def _lock_of(root: Path) -> Path:
    return root.with_name(f".{root.name}.lock")


def _sweep(machines: Path) -> None:
    for path in machines.glob(".sslmd-*.lock"):
        with path.open("w") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(machines / path.name.removeprefix(".").removesuffix(".lock"))
            path.unlink(missing_ok=True)


def _remove(root: Path) -> None:
    """Remove a machine that does not run, and what systemd-nspawn(1) and `boot` put beside it."""
    _without_cgroups(root.name)
    # Whatever it mounted is gone with its namespace; nothing of ours is mounted below.
    shutil.rmtree(root, ignore_errors=True)
    for name in (f".#{root.name}.lck", f".{root.name}.log"):
        root.with_name(name).unlink(missing_ok=True)


# One that has to be told which processors and memory it has before it takes a process.
_NOT_TAKEN = "cpuset"


def cgroups(name: str) -> list[Path]:
    """Return the control groups that a machine has for itself, one below each of ours.

    systemd-nspawn(1) with --keep-unit makes none: two machines would share `/system.slice/…`,
    and each would find, stop and wait for processes of the other.
    """
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")
        root, point = before.split(" ")[3:5]
        if kind == "cgroup2" and root == "/":
            mounts[""] = Path(point)
        elif kind == "cgroup" and root == "/":
            mounts.update(dict.fromkeys(options.split(","), Path(point)))
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        first = controllers.split(",")[0]
        if first in mounts and first != _NOT_TAKEN:
            found.append(mounts[first] / path.lstrip("/") / name)
    return found


def _made(group: Path) -> bool:
    """Make a control group, where it is ours to make."""
    try:
        group.mkdir()
    except OSError:
        return False
    return True


def _without_cgroups(name: str) -> None:
    """Remove the control groups of a machine that has ended."""
    for top in cgroups(name):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)


def base(suite: str) -> Path:
    """Return the folder of a Debian with systemd and nothing else."""
    folder = BUILD / "machines" / suite
    with locked(suite):
        if not folder.exists():
            fresh = folder.with_name(f".{suite}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.parent.mkdir(exist_ok=True)
            done = subprocess.run(
                [
                    *("mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd-sysv,dbus"),
                    *("--dpkgopt=force-unsafe-io", "--skip=cleanup/apt/lists"),
                    *(suite, str(fresh), MIRROR),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=FETCHING,
                check=False,
            )
            if done.returncode != 0:
                pytest.skip(f"mmdebstrap could not fetch {suite}: {done.stderr[-500:]}")
            # Nothing in a machine is kept: dpkg need not wait for the disk.
            (fresh / "etc/dpkg/dpkg.cfg.d/quick").write_text("force-unsafe-io\n")
            fresh.rename(folder)
    return folder


def _has_fresh_lists(root: Path) -> bool:
    """Say whether apt knows what the mirror has, as it was within the last day."""
    lists = root / "var/lib/apt/lists"
    fetched = any(lists.glob("*_Packages*"))
    return fetched and time.time() - lists.stat().st_mtime < LISTS_HOLD


def package(suite: str) -> Path:
    """Return the package for a release: `make deb` here, or in a machine of that release."""
    with locked(f"deb-{suite}"):
        found = sorted((BUILD / "debs" / suite).glob("sslmd_*.deb"))
        if found and found[0].stat().st_mtime > _newest_source():
            return found[0]
        if suite in Path("/etc/os-release").read_text():
            source = ROOT
            done = _make_deb(["make", "deb"], {**os.environ, **at_hand()})
        else:
            with Machine(suite) as builder:
                builder.apt("python3-venv", "make")
                source = builder.root / "src"
                names = ["Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"]
                names += ["sslmd", "systemd", "conf.d-example", "docs", "packaging"]
                source.mkdir()
                for name in names:
                    subprocess.run(["cp", "-a", str(ROOT / name), str(source / name)], check=True)
                done = _make_deb([*builder.command(), "make", "-C", "/src", "deb"])
                kept = _kept(source, suite)
                assert done.returncode == 0, done.stderr
                return kept
        assert done.returncode == 0, done.stderr
        return _kept(source, suite)


def _make_deb(
    command: list[str], env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=INSTALLING,
        check=False,
    )


def _kept(source: Path, suite: str) -> Path:
    """Move the package away, to where the next build does not remove it."""
    folder = BUILD / "debs" / suite
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (built,) = (source / "build").glob("sslmd_*.deb")
    return Path(shutil.move(built, folder / built.name))


def _newest_source() -> float:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    files = [ROOT / name for name in listed if name and not name.startswith("tests/")]
    return max(file.lstat().st_mtime for file in files if file.is_symlink() or file.exists())


def _first_process(nspawn: int) -> int:
    """Return the process that is PID 1 in the machine; 0 if there is none yet."""
    for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
        with suppress(OSError):
            status = Path(f"/proc/{child}/status").read_text()
            # proc_pid_status(5): its PID in every namespace, the innermost last.
            if re.search(r"^NSpid:.*\t1$", status, re.MULTILINE):
                return int(child)
    return 0


class Machine:
    """A copy of a release, which is gone in the end."""

    def __init__(self, suite: str) -> None:
        self.name = f"sslmd-{suite}-{uuid.uuid4().hex[:8]}"
        self.root = BUILD / "machines" / self.name
        self._suite = suite
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._held = ExitStack()

    def __enter__(self) -> Self:
        original = base(self._suite)
        self._held.enter_context(in_use(self.root))
        subprocess.run(["cp", "-a", str(original), str(self.root)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._nspawn is not None:
            self._nspawn.send_signal(signal.SIGTERM)  # poweroff
            with suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(30)
            self._nspawn.kill()
            self._nspawn.wait()
        _remove(self.root)
        self._held.close()

    def command(self, *options: str) -> list[str]:
        """Return the beginning of a command that runs in it while it is not booted."""
        settings = [f"--setenv={name}" for name in ("http_proxy", "https_proxy")]
        if certificates := os.environ.get("PIP_CERT"):
            settings += [
                f"--bind-ro={certificates}:/mnt/roots.pem",
                "--setenv=PIP_CERT=/mnt/roots.pem",
            ]
        # It ends when we do, however that is, and takes with it what runs in the machine.
        return [
            "setpriv", "--pdeathsig=KILL",
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe",
            # Landlock, which a container of systemd 252 does not have otherwise.
            "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
            f"--machine={self.name}", "-D", str(self.root), *settings, *options,
        ]  # fmt: skip

    def apt(self, *packages: str, only_download: bool = False) -> None:
        """Install packages while it is not booted, or only fetch them and what they need."""
        install = ["install", "--yes", "--no-install-recommends", *packages]
        for words in [install] if _has_fresh_lists(self.root) else [["update"], install]:
            more = ["--download-only"] if only_download and words[0] == "install" else []
            done = subprocess.run(
                [
                    *self.command("--setenv=DEBIAN_FRONTEND=noninteractive"),
                    "apt-get",
                    *more,
                    *words,
                ],
                capture_output=True,
                text=True,
                timeout=INSTALLING,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def boot(self) -> None:
        """Boot it, without a network; return when systemd says that all is up."""
        command = self.command("--boot", "--private-network")
        command.remove("--pipe")
        groups = [group for group in cgroups(self.name) if _made(group)]
        enter = 'for at; do [ "$at" = -- ] && break; echo $$ >"$at/cgroup.procs"; shift; done'
        shell = ["sh", "-ec", f'{enter}; shift; exec "$@"', "sh"]
        command = [*shell, *map(str, groups), "--", *command]
        log = (self.root.parent / f".{self.name}.log").open("wb")
        with log:
            self._nspawn = subprocess.Popen(
                [*command, "--console=pipe"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        os.unlink(log.name)
        nspawn = self._nspawn.pid
        wait_until(lambda: bool(_first_process(nspawn)), "the machine's PID 1")
        self._leader = _first_process(nspawn)
        # In the beginning nobody answers; who does, waits for the end of the boot.
        wait_until(
            lambda: (
                self.run("systemctl", "is-system-running", "--wait", status=None).stdout.strip()
                in ("running", "degraded")
            ),
            "the machine is up",
        )

    def run(
        self, *command: str, status: int | None = 0, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the booted machine, as root; its status has to be `status`."""
        done = subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", "--wd=/", "env", "-i",
             f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
             *command],
            input=given or "",
            capture_output=True,
            text=True,
            timeout=RUNNING,
            check=False,
        )  # fmt: skip
        assert status is None or done.returncode == status, (command, done.stdout, done.stderr)
        return done

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in it, with the folders that it is in."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        """Return the text of a file in it."""
        return self.run("cat", path).stdout
