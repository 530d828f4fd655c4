"""Postfix that takes mail: from programs by sendmail(8), and from anybody by SMTP on loopback.

It runs in a mount namespace in which /etc/postfix and its queue are its own, so that its sendmail
and its setgid postdrop work as on every machine. Whatever comes, to whom ever, lies in `mails`.
"""

from __future__ import annotations

import email
import email.policy
import grp
import mailbox
import os
import pwd
import shutil
import subprocess
import tempfile
import weakref
from email.message import EmailMessage
from pathlib import Path

from tests.stand import postfix
from tests.stand.host import missing_namespaces
from tests.stand.server import LOOPBACK, PLACES, Server, free_port, wait_until

DAEMONS = postfix.DAEMONS
HOST = "mail.example.test"

# What the namespace has in place of what the machine has.
_PLACES = {"etc": "/etc/postfix", "queue": "/var/spool/postfix", "data": "/var/lib/postfix"}
_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("private", "saved", "trace"),
)


def missing() -> str:
    """Return which program or right is missing, or nothing."""
    return postfix.missing() or missing_namespaces()


class MailHost(Server):
    """A mail server; `within(argv)` is the command line that runs another one where it is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "postfix")
        self.port = free_port()
        # Postfix leaves root: scratch folders are for their owner alone.
        self._place = Path(tempfile.mkdtemp(prefix="mailhost-"))
        self._place.chmod(0o755)
        weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)
        self._make_folders()
        self._write_config()

    def _make_folders(self) -> None:
        owner, drop = pwd.getpwnam("postfix"), grp.getgrnam("postdrop").gr_gid
        for name in (*_PLACES, "box", "queue/pid"):
            (self._place / name).mkdir(mode=0o755)
        for name in (*_QUEUES,):
            (self._place / "queue" / name).mkdir(mode=0o700)
            os.chown(self._place / "queue" / name, owner.pw_uid, -1)
        # postfix-files(5): whoever is of the group postdrop may put mail there, and call pickup.
        for name, mode in (("maildrop", 0o1730), ("public", 0o2710)):
            (self._place / "queue" / name).mkdir()
            os.chown(self._place / "queue" / name, owner.pw_uid, drop)
            (self._place / "queue" / name).chmod(mode)
        os.chown(self._place / "data", owner.pw_uid, -1)
        os.chown(self._place / "box", pwd.getpwnam("nobody").pw_uid, -1)

    def _write_config(self) -> None:
        nobody = pwd.getpwnam("nobody")
        main = self._place / "etc/main.cf"
        main.write_text(f"""\
compatibility_level = 3.6
maillog_file = /var/lib/postfix/maillog
maillog_file_prefixes = /var/lib/postfix
myhostname = {HOST}
myorigin = {HOST}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = {HOST}
virtual_mailbox_base = {self._place}/box
virtual_mailbox_maps = static:mails
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
default_transport = error:only {HOST} is here
""")
        os.utime(main, times=(0, 0))
        (self._place / "etc/master.cf").write_text(f"""\
{LOOPBACK}:{self.port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
""")

    def command(self) -> list[str]:
        mounts = [f"mount --bind {self._place}/{name} {path}" for name, path in _PLACES.items()]
        script = " && ".join([*mounts, f"exec {DAEMONS}/master -d"])
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", script]

    def answers(self) -> bool:
        done = subprocess.run(
            self.within(["postqueue", "-p"]),
            env={**os.environ, "PATH": PLACES},
            capture_output=True,
            text=True,
            check=False,
        )
        return "Mail queue is empty" in done.stdout

    def within(self, argv: list[str]) -> list[str]:
        """Return the command line that runs another one with this mail server."""
        return ["nsenter", f"--target={self.pid}", "--mount", f"--wd={self.folder}", *argv]

    def log(self) -> str:
        """Return what it printed, and its mail log."""
        mail = self._place / "data/maillog"
        return super().log() + (mail.read_text(errors="replace") if mail.exists() else "")

    @property
    def mails(self) -> list[EmailMessage]:
        """What has come, in order."""
        path = self._place / "box/mails"
        if not path.exists():
            return []
        box = mailbox.mbox(path, create=False)
        try:
            data = [box.get_bytes(key) for key in box.iterkeys()]
        finally:
            box.close()
        return [
            email.message_from_bytes(one, _class=EmailMessage, policy=email.policy.default)
            for one in data
        ]

    def wait_mails(self, count: int) -> list[EmailMessage]:
        """Return what has come when it is so many mails."""
        wait_until(lambda: len(self.mails) >= count, f"{count} mails; {self.log()[-2000:]}")
        return self.mails
