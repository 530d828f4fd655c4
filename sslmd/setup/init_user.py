"""`sslmd init --user`: the daemon runs as a user of its own, and `--user root` as root again.

What is done is files of the system, one after another, and a restart. Interrupted anywhere, the
unit starts: as root while there is no drop-in; from then on as the user that the drop-in says, and
before it starts, its `ExecStartPre=+` gives that user the trees (`--trees`), however far that had
come. When they are given, that line goes.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sslmd.config.load import load, locate_conf_dir
from sslmd.config.model import Config
from sslmd.core.errors import ConfigError, Permanent, SslmError
from sslmd.servers import own_user
from sslmd.servers.local import hosts_here
from sslmd.servers.own_user import DROP_IN, POLKIT, ROOT, SOCKET, SYSUSERS, TMPFILES, USER
from sslmd.servers.unit import NAME, read_unit
from sslmd.store import files
from sslmd.store.layout import Tree
from sslmd.store.owners import GivenAway, Whose, give
from sslmd.store.ssl_mgr import at_work

# Seconds for a command of systemd's; a restart waits for the daemon.
LIMIT = 330

# What there may be afterwards.
_FILES = (DROP_IN, SOCKET, TMPFILES, POLKIT, SYSUSERS)

# What stays with somebody else that is listed.
_SHOWN = 10


def run(args: argparse.Namespace, parser: argparse.ArgumentParser, *, asks: bool) -> int:
    """Do it; return the exit status."""
    try:
        if os.geteuid() != 0:
            raise Permanent("only root can do that; run it as root")
        if args.trees:
            config = _load(locate_conf_dir(args.conf_dir, os.environ))
            _tell_left(_give(config, args.user))
            return 0
        if not os.path.isdir("/run/systemd/system"):
            raise Permanent("systemd does not run here, and it is its unit that names the user")
        unit = read_unit()
        if not unit.path:
            raise Permanent("there is no sslmd.service; install the package, or say: make install")
        # The configuration that the unit's daemon reads.
        if not args.conf_dir and unit.top is None:
            parser.error("the unit names a folder with --conf-dir; say the same here")
        conf_dir = os.path.abspath(args.conf_dir) if args.conf_dir else f"{unit.top}/conf.d"
        return _Change(args.user, Path(conf_dir)).run(asks=asks)
    except (SslmError, OSError, subprocess.TimeoutExpired) as err:
        print(f"sslmd init: {err}", file=sys.stderr)
        return 1


def _load(conf_dir: Path) -> Config:
    try:
        return load(conf_dir)
    except ConfigError as err:
        lines = "\n".join(map(str, err.mistakes))
        raise Permanent(
            f"the configuration has to be right first; nothing was done:\n{lines}"
        ) from None


@dataclass(slots=True)
class _Change:
    """From one user to the other."""

    user: str
    conf_dir: Path

    def run(self, *, asks: bool) -> int:
        config = _load(self.conf_dir)
        needs = own_user.needs_of(config, hosts_here(config), _unit_name)
        if self.user != ROOT:
            if other := at_work(self.conf_dir):
                needs.refused.append(
                    f"ssl-mgr works on the tree (process {other.pid}), and is not seen by {USER}; "
                    "stop what starts it first: sslmctl import --check"
                )
            if needs.refused:
                print(f"As {USER} this would not work; nothing was done:", file=sys.stderr)
                for text in needs.refused:
                    print(f"  {text}", file=sys.stderr)
                return 1
        texts = self._texts(config, needs)
        self._show(config, texts, asks=asks)
        if asks and input("Do it? [yes]: ").strip().lower() not in ("", "y", "yes"):
            print("nothing was done", file=sys.stderr)
            return 1
        if self.user == ROOT:
            self._to_root(config)
        else:
            self._to_user(config, texts)
        self._tell(needs)
        return 0

    # --- what is shown ---

    def _texts(self, config: Config, needs: own_user.UserNeeds) -> dict[str, str]:
        """Return the files that there are in the end."""
        if self.user == ROOT:
            return {}
        closed = own_user.closed_homes(config)
        texts = {
            SYSUSERS: own_user.sysusers(needs.groups),
            DROP_IN: own_user.drop_in(closed_homes=closed),
            SOCKET: own_user.socket(),
            TMPFILES: own_user.tmpfiles(),
        }
        return texts | ({POLKIT: own_user.polkit(needs.units)} if needs.units else {})

    def _show(self, config: Config, texts: dict[str, str], *, asks: bool) -> None:
        for path in _FILES:
            with suppress(FileNotFoundError):
                if own_user.MARK not in files.read_file(path).decode("utf-8", "replace"):
                    raise Permanent(f"{path} is there, and not by sslmd init; move it away first")
        if texts:
            print("These files are written:" if asks else "Writes:")
            for path, text in texts.items():
                print(
                    f"\n{path}\n" + "".join(f"    {line}\n" for line in text.splitlines()), end=""
                )
        else:
            there = [
                path
                for path in (DROP_IN, SOCKET, TMPFILES, POLKIT, SYSUSERS)
                if os.path.exists(path)
            ]
            print(f"Removes: {', '.join(there) or 'nothing, none of the files is there'}")
        gifts = own_user.gifts(config)
        try:
            whose = _whose(self.user)
        except KeyError:
            if self.user == ROOT:
                return  # it was never anybody else's
            paths = ", ".join(gift.path for gift in gifts)
            print(f"\nMakes the user {USER}, and gives it what is root's in: {paths}")
            return
        given = [(gift.path, give(gift, whose, dry=True)) for gift in gifts]
        counts = [f"{one.changed} in {path}" for path, one in given if one.changed]
        print(f"\nGives to {self.user}: {', '.join(counts) or 'nothing, it has all'}")

    def _tell(self, needs: own_user.UserNeeds) -> None:
        if self.user == ROOT:
            print(f"sslmd runs as root. If the user {USER} is there, it stays: userdel {USER}")
            return
        print(f"sslmd runs as {USER}. To go back: sslmd init --user root")
        if needs.remarks:
            print("What is left to do:")
            for text in needs.remarks:
                print(f"    {text}")
        print("    sslmctl doctor           # looks at what usually goes wrong")

    # --- what is done ---

    def _to_user(self, config: Config, texts: dict[str, str]) -> None:
        self._write(SYSUSERS, texts[SYSUSERS])
        _run("systemd-sysusers", SYSUSERS)
        self._check_readable()
        closed = own_user.closed_homes(config)
        self._write(DROP_IN, own_user.drop_in(self._trees(), closed_homes=closed))
        self._write(SOCKET, texts[SOCKET])
        _run("systemctl", "daemon-reload")
        for path in (TMPFILES, POLKIT):
            if path in texts:
                self._write(path, texts[path])
            else:
                files.remove_file(path)
        _run("systemd-tmpfiles", "--create", os.path.basename(TMPFILES))
        self._start(config)
        self._write(DROP_IN, texts[DROP_IN])
        _run("systemctl", "daemon-reload")

    def _to_root(self, config: Config) -> None:
        self._write(DROP_IN, own_user.drop_in(self._trees(), user=ROOT))
        if os.path.lexists(SOCKET):
            files.remove_file(SOCKET)
        _run("systemctl", "daemon-reload")
        for path in (TMPFILES, POLKIT, SYSUSERS):
            if os.path.lexists(path):
                files.remove_file(path)
        self._start(config)
        _run("systemd-tmpfiles", "--create", os.path.basename(TMPFILES), status=None)
        files.remove_file(DROP_IN)
        _run("systemctl", "daemon-reload")

    def _trees(self) -> str:
        """Return the command that gives the trees, for the unit."""
        words = [_program(), "init", "--user", self.user, "--trees"]
        if any(char in str(self.conf_dir) for char in "%$\\\"'"):
            raise Permanent(f"{self.conf_dir} cannot be named in a unit; move it")
        return shlex.join([*words, "--conf-dir", str(self.conf_dir)])

    def _write(self, path: str, text: str) -> None:
        files.make_dirs(os.path.dirname(path), 0o755)
        files.write_file(path, text.encode(), 0o644)

    def _check_readable(self) -> None:
        """Raise `Permanent` if the user cannot read the configuration."""
        user = pwd.getpwnam(USER)
        done = subprocess.run(
            [_program(), "--check-config", "--conf-dir", str(self.conf_dir)],
            user=user.pw_uid, group=user.pw_gid, extra_groups=os.getgrouplist(USER, user.pw_gid),
            cwd="/", capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Permanent(
                f"{USER} cannot read the configuration, so nothing more was done; let others read "
                f"{self.conf_dir} (keys are not in it), and try again:\n{done.stderr.strip()}"
            )

    def _start(self, config: Config) -> None:
        """Have the trees given: by the restart of a unit that runs, else here."""
        active = _run("systemctl", "is-active", NAME, status=None)
        if active in ("active", "activating", "reloading", "deactivating"):
            # It counts no starts that an admin asked for: StartLimitBurst=.
            _run("systemctl", "reset-failed", NAME, status=None)
            _run("systemctl", "restart", NAME)
        else:
            _tell_left(_give(config, self.user))


def _program() -> str:
    """Return the path of `sslmd`, which runs as it was called."""
    called = os.path.abspath(sys.argv[0])
    return called if os.path.basename(called) == "sslmd" else "/usr/bin/sslmd"


def _unit_name(name: str) -> str:
    """Return what systemd calls a unit that may be named by an alias."""
    shown = _run("systemctl", "show", "-p", "Id", "--value", name, status=None)
    return shown if shown and shown.isprintable() and " " not in shown else name


def _run(*command: str, status: int | None = 0) -> str:
    """Run a program of systemd's; return what it said. Raises `Permanent`."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if status is not None and done.returncode != status:
        said = " ".join((done.stderr or done.stdout).split()) or "it said nothing"
        raise Permanent(
            f"{shlex.join(command)} exited with {done.returncode}: {said}; run the same again when "
            f"that is corrected, or: sslmd init --user {ROOT}"
        )
    return done.stdout.strip()


# --- the trees --------------------------------------------------------------------------


def _whose(user: str) -> Whose:
    """Return from whom to whom; raises KeyError where the user is not there."""
    own = pwd.getpwnam(USER)
    if user == ROOT:
        return Whose(0, 0, own.pw_uid, own.pw_gid)
    return Whose(own.pw_uid, own.pw_gid, 0, 0)


def _give(config: Config, user: str) -> list[GivenAway]:
    try:
        whose = _whose(user)
    except KeyError:
        if user == ROOT:
            return []  # it was never anybody else's
        raise Permanent(f"there is no user {user}; run: sslmd init --user") from None
    with_lock = Tree(os.path.realpath(config.globals.certs_dir)).lock_file
    handle = _locked(with_lock)
    try:
        return [give(gift, whose) for gift in own_user.gifts(config)]
    finally:
        if handle >= 0:
            os.close(handle)


def _locked(path: str) -> int:
    """Hold the lock of the tree, whoever it belongs to; raise `Permanent` if a daemon has it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Permanent(
            f"a daemon works on {os.path.dirname(path)}; run first: systemctl stop sslmd"
        ) from None
    return handle


def _tell_left(given: Sequence[GivenAway]) -> None:
    left = [text for one in given for text in one.left]
    for text in left[:_SHOWN]:
        print(f"left as it is: {text}", file=sys.stderr)
    if len(left) > _SHOWN:
        print(f"left as they are: {len(left) - _SHOWN} more", file=sys.stderr)
