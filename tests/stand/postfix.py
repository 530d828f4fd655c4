"""Postfix: a mail server that shows a certificate after STARTTLS, and takes no mail.

When a new connection gets a new certificate: every connection has a process of its own (smtpd),
which reads key and chain when it starts. So with `KeyFiles.IN_PLACE` the files of the moment are
shown, reloaded or not: that is what Postfix does, whose busy processes end by themselves sooner
or later. With `KeyFiles.COPIED` it is shown what the last reload found, as by servers that read
their files once. Either way a connection begun 1 s after the command has ended is past all doubt:
a process that waits for a connection waits no longer.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from tests.stand.host import Host
from tests.stand.server import LOOPBACK, PLACES, Server, free_port
from tests.stand.unbound import cannot_listen

DAEMONS = Path("/usr/lib/postfix/sbin")


class KeyFiles(Enum):
    """Which files Postfix reads key and chain from."""

    IN_PLACE = "those it was given"
    COPIED = "a copy, made when it starts and when it is reloaded"


def missing(address: str = LOOPBACK, port: int = 0) -> str:
    """Return which program or right is missing, or nothing."""
    if not (shutil.which("postfix", path=PLACES) and (DAEMONS / "master").exists()):
        return "postfix is missing"
    if os.geteuid() != 0:
        return "postfix needs root"
    return cannot_listen(address, port)


class Postfix(Server):
    """A mail server with the private key and the chain of `files`, in this order.

    - `restart_cmd` is for sslmd: `postfix reload`. Each call is noted, see `reloads`.
    - `fail_reloads(n)`: the next n calls fail, and nothing is reloaded.
    - `max_use`: how many connections a process serves; see above what 1 means. With more, there
      is one, which shows what it has read until a reload.
    - `within`: the host that it runs on, at whose address it listens, with its `folder` in that
      host's; `restart_cmd` is to be run there.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[Path],
        *,
        host: str = "mail.example.test",
        address: str = "",
        port: int = 0,
        keys: KeyFiles = KeyFiles.IN_PLACE,
        max_use: int = 1,
        within: Host | None = None,
    ) -> None:
        super().__init__(folder, "postfix")
        self._within = within
        assert within is None or folder.is_relative_to(within.folder), folder
        address = address or (within.address if within else LOOPBACK)
        self.name = host
        self.host = address
        self.port = port or free_port(address)
        self.address = f"{address}:{self.port}"
        self._files = list(files)
        self._keys = keys
        self._config = folder / "etc"
        self._config.mkdir(exist_ok=True)
        self._copy = folder / "copied.pem"
        self._calls = folder / "reloads"
        self._failing = folder / "failing"
        # Postfix leaves root, and then has to come to its queue; scratch folders are for their
        # owner alone. What it changes is therefore kept apart, and goes with this object.
        self._place = Path(tempfile.mkdtemp(prefix="postfix-"))
        self._place.chmod(0o755)
        weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)
        if not missing():
            self._make_queue()
        self._write_config(max_use)
        self.restart_cmd = self._write_restart_cmd()

    # --- what it is made of ---

    def _make_queue(self) -> None:
        owner = pwd.getpwnam("postfix")
        for name in ("data", *(f"queue/{name}" for name in _QUEUES)):
            path = self._place / name
            path.mkdir(mode=0o700, parents=True)
            os.chown(path, owner.pw_uid, -1)
        (self._place / "queue").chmod(0o755)
        (self._place / "queue" / "pid").mkdir(mode=0o755)

    def _write_config(self, max_use: int) -> None:
        copied = self._keys is KeyFiles.COPIED
        files = [self._copy] if copied else self._files
        main = self._config / "main.cf"
        main.write_text(f"""\
compatibility_level = 3.6
config_directory = {self._config}
queue_directory = {self._place}/queue
data_directory = {self._place}/data
maillog_file = {self._place}/data/maillog
maillog_file_prefixes = {self._place}
myhostname = {self.name}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
smtpd_peername_lookup = no
smtpd_recipient_restrictions = reject
smtpd_client_connection_count_limit = 0
smtpd_client_restrictions =
default_transport = discard:
smtpd_tls_security_level = may
smtpd_tls_chain_files = {", ".join(map(str, files))}
smtpd_tls_loglevel = 1
max_use = {max_use}
max_idle = {1 if max_use == 1 else 100}s
""")
        # Postfix waits for seconds if this file is new: somebody might still be writing it.
        os.utime(main, times=(0, 0))
        # Not one of them in a chroot: service type private unpriv chroot wakeup maxproc command.
        (self._config / "master.cf").write_text(f"""\
{self.address} inet n - n - {"-" if max_use == 1 else 1} smtpd
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
discard unix - - n - - discard
postlog unix-dgram n - n - 1 postlogd
""")

    def _write_restart_cmd(self) -> str:
        postfix = shutil.which("postfix", path=PLACES) or "postfix"
        script = self.folder / "reload-postfix"
        script.write_text(f"""\
#!/bin/sh
set -eu
PATH={shlex.quote(PLACES)}
echo "$*" >> {shlex.quote(str(self._calls))}
left=$(cat {shlex.quote(str(self._failing))} 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then
    echo $((left - 1)) > {shlex.quote(str(self._failing))}
    echo "postfix: told to fail, $left times" >&2
    exit 1
fi
{self._copy_command()}
exec {postfix} -c {shlex.quote(str(self._config))} reload
""")
        script.chmod(0o755)
        return shlex.quote(str(script))

    def _copy_command(self) -> str:
        if self._keys is KeyFiles.IN_PLACE:
            return ":"
        new, copy = shlex.quote(f"{self._copy}.new"), shlex.quote(str(self._copy))
        return f"(umask 077; cat {shlex.join(map(str, self._files))} > {new}); mv {new} {copy}"

    # --- what it does ---

    def command(self) -> list[str]:
        # Whatever is said about the log, what goes wrong before it is open comes on stderr.
        run = f"{self._copy_command()} && exec {DAEMONS}/master -c {self._config} -d"
        return self._there(["sh", "-c", run])

    def _there(self, argv: list[str]) -> list[str]:
        return self._within.command_in(argv) if self._within else argv

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as connection:
                return connection.recv(4) == b"220 "
        except OSError:
            return False

    def log(self) -> str:
        """Return what it printed, and its mail log."""
        mail = self._place / "data" / "maillog"
        return super().log() + (mail.read_text(errors="replace") if mail.exists() else "")

    def served(self) -> bytes:
        """Return the certificate that a new connection gets, as DER."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(self.host, self.port, "localhost", timeout=10) as client:
            client.starttls(context=context)
            assert isinstance(client.sock, ssl.SSLSocket)
            found = client.sock.getpeercert(binary_form=True)
            assert found
            return found

    def reload(self) -> subprocess.CompletedProcess[str]:
        """Run `restart_cmd`, as sslmd would."""
        command = self._there(shlex.split(self.restart_cmd))
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def fail_reloads(self, count: int) -> None:
        """Let the next `count` calls of `restart_cmd` fail, and do nothing."""
        self._failing.write_text(f"{count}\n")

    def failures_left(self) -> int:
        """Return how many calls are still to fail."""
        with suppress(OSError):
            return int(self._failing.read_text())
        return 0

    def reloads(self) -> int:
        """Return how often `restart_cmd` was called, failures included."""
        return self._calls.read_text().count("\n") if self._calls.exists() else 0


_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("maildrop", "private", "public", "saved", "trace"),
)
