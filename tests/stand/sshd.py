"""OpenSSH's server, and an `ssh` that knows it: servers that certificates are copied to.

A test puts `ssh_on_path(…)` first in PATH. What runs `ssh` then uses the test's own client
configuration; nobody's ~/.ssh is read or changed.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sslmd.servers.ssh_line import Connection, ssh_line
from tests.stand.server import LOOPBACK, PLACES, Server, free_port, wait_until

# Set in every session: by it those are found that left sshd's process group.
MARK = "SSLMD_TEST_SSHD"
# Says that a test itself calls `ssh`.
OWN_CALL = "SSLMD_TEST_SSH"


def missing() -> str:
    """Return which programs are missing, or nothing."""
    lacking = [name for name in ("sshd", "ssh") if not shutil.which(name, path=PLACES)]
    return f"{', '.join(lacking)} (openssh-server, openssh-client) missing" if lacking else ""


class Sshd(Server):
    """An SSH server, known to its clients by `names`, that lets `user` in: the current one.

    - `ssh_config`: the client's configuration for it; `bin_dir`: to be put first in PATH, has an
      `ssh` that uses it. For more than one server, see `ssh_on_path`.
    - `commands()`: what clients asked it to run.

    What goes wrong with such servers, from the next login on:

    - `want_password()`: the key is refused, and no password is right; `take_key()`: it is again.
    - `say_first(text)`: every session begins with this on its stdout, as what a chatty start-up
      file of the shell writes does.
    - `hide(program)`: PATH leads to all programs of Debian but this one.
    - `new_host_key()`: from the next start on, its clients do not know it; `know_host_key()`.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str] = ("far.example.net",),
        *,
        address: str = LOOPBACK,
        user: str = "",
    ) -> None:
        super().__init__(folder, "sshd")
        self.names = list(names)
        self.address = address
        self.user = user or getpass.getuser()
        self.port = free_port(address)
        self.ssh_config = folder / "ssh_config"
        self._commands = folder / "commands"
        self._first = folder / "said-first"
        self._forced = folder / "forced"
        self._programs = folder / "programs"
        self._authorized = folder / "authorized_keys"
        self._client_key = _make_key(folder / "client_key")
        self.take_key()
        self.new_host_key()
        self.know_host_key()
        self.ssh_config.write_text(f"""\
Host {" ".join(self.names)}
    HostName {address}
    Port {self.port}
    User {self.user}
    IdentityFile "{folder}/client_key"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile "{folder}/known_hosts"
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
""")
        self.bin_dir = ssh_on_path(folder / "bin", self)

        noting = folder / "note-and-run"
        noting.write_text(f"""\
#!/bin/sh
printf "%s\\0" "$SSH_ORIGINAL_COMMAND" >> {_quoted(self._commands)}
[ ! -e {_quoted(self._forced)} ] || exec /bin/sh {_quoted(self._forced)}
[ ! -e {_quoted(self._first)} ] || cat {_quoted(self._first)}
[ ! -e {_quoted(self._programs)} ] || PATH={_quoted(self._programs)}
exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
""")
        noting.chmod(0o755)
        # SHLVL: at the first level bash, if sshd starts it, runs ~/.bashrc, which may do anything;
        # other shells and sshd have files of their own in HOME. None of that is a test's.
        # StrictModes would want every folder above to be safe from others, and /tmp is not. PAM
        # would want a machine that is set up for logins.
        (folder / "sshd_config").write_text(f"""\
Port {self.port}
ListenAddress {address}
HostKey "{folder}/host_key"
AuthorizedKeysFile "{self._authorized}"
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
PermitUserRC no
SetEnv {MARK}={folder} SHLVL=2 HOME={folder} ZDOTDIR={folder} ENV= BASH_ENV=
ForceCommand {_quoted(noting)}
Subsystem sftp /usr/lib/openssh/sftp-server
""")

    # --- what goes wrong ---

    def want_password(self) -> None:
        """Take the key from the list of those that may log in."""
        self._authorized.write_text("")

    def take_key(self) -> None:
        """Put the key on this list."""
        self._authorized.write_text(f"{self._client_key}\n")

    def new_host_key(self) -> None:
        """Make another key to be known by, which the next start shows."""
        self._host_key = _make_key(self.folder / "host_key")

    def know_host_key(self) -> None:
        """Tell the clients which key it has."""
        known = f"[{self.address}]:{self.port} {self._host_key}\n"
        (self.folder / "known_hosts").write_text(known)

    def say_first(self, text: str) -> None:
        """Begin sessions with this text; with none if it is empty."""
        if text:
            self._first.write_text(text)
            self._first.chmod(0o644)
        else:
            self._first.unlink(missing_ok=True)

    def force(self, command: str) -> None:
        """Run this in place of what clients ask for, as ForceCommand does; "" ends that."""
        if command:
            self._forced.write_text(f"exec {command}\n")
            self._forced.chmod(0o644)
        else:
            self._forced.unlink(missing_ok=True)

    def hide(self, program: str) -> None:
        """Let sessions find every program but this one."""
        shutil.rmtree(self._programs, ignore_errors=True)
        self._programs.mkdir()
        self._programs.chmod(0o755)
        for path in (one for place in ("/usr/bin", "/usr/sbin") for one in Path(place).iterdir()):
            if path.name != program:
                with suppress(FileExistsError):
                    (self._programs / path.name).symlink_to(path)

    def show_all(self) -> None:
        """Let them find every program."""
        shutil.rmtree(self._programs, ignore_errors=True)

    # --- its life ---

    def command(self) -> list[str]:
        if os.geteuid() == 0:
            # Where sshd, run by root, locks up what talks to strangers. It has to be this folder.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        # sshd starts itself again for each connection, so its path has to be a full one.
        program = shutil.which("sshd", path=PLACES) or "sshd"
        return [program, "-D", "-e", "-f", str(self.folder / "sshd_config")]

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL it, and the commands that its clients left running."""
        super().kill()
        wait_until(lambda: not self._end_sessions(), "the end of sshd's sessions")

    def _end_sessions(self) -> int:
        """SIGKILL what runs in its sessions; return how many that were."""
        mark, count = f"{MARK}={self.folder}".encode(), 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
                    count += 1
        return count

    def commands(self) -> list[str]:
        """Return the commands that clients asked it to run, over all its starts."""
        text = self._commands.read_text() if self._commands.exists() else ""
        return text.split("\0")[:-1]


def ssh_on_path(folder: Path, *servers: Sshd) -> Path:
    """Make a folder with an `ssh` that knows these servers; return it, to be first in PATH.

    It refuses command lines that the program does not make in its one place; a test that calls it
    itself sets `OWN_CALL` in the environment, which the program passes to nobody.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "ssh_config"
    config.write_text("".join(f"{server.ssh_config.read_text()}\n" for server in servers))
    script = folder / "ssh"
    program = shutil.which("ssh", path=PLACES) or "ssh"
    begins = " ".join(ssh_line(Connection.NONE)[1:]).partition(" -o ControlMaster=")[0]
    script.write_text(f"""\
#!/bin/sh
case ${{{OWN_CALL}:+own}}$* in own*|{shlex.quote(begins)}*) ;; *)
    echo "ssh was not called as servers/ssh_line.py does it: $*" >&2
    exit 99
esac
exec {shlex.quote(program)} -F {_quoted(config)} "$@"
""")
    script.chmod(0o755)
    return folder


def _make_key(path: Path) -> str:
    """Make a key pair; write the private one, return the public one."""
    key = Ed25519PrivateKey.generate()
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return public.decode()


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
