"""sslmctl trust for another user: that user's programs and files get nothing of root's.

In a mount namespace with another /etc/passwd, so that the user is a real one, with a home.
"""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.ctl.fake_daemon import ROOT as PROJECT
from tests.offline.test_trust import Site, needs_certutil, trusted
from tests.stand.attacker import let_in

UID = 4343
PATIENCE = 120

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or shutil.which("unshare") is None
    or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="it takes root and unshare",
)

# What a user can have certutil do who takes it over (ptrace, LD_PRELOAD): tell what it has.
_TAKEN_OVER = """\
#!/usr/bin/python3
import fcntl, json, os, sys, termios
seen = {"env": dict(os.environ), "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "files": [], "typed": [], "input": sys.stdin.read(), "session": os.getsid(0) == os.getpid()}
for handle in range(100):
    try:
        seen["files"].append(os.readlink(f"/proc/self/fd/{handle}").partition(":")[0])
    except OSError:
        pass
for handle in ("/dev/tty", 0, 1, 2):
    try:
        handle = os.open(handle, os.O_RDWR) if isinstance(handle, str) else handle
        seen["typed"].append(os.isatty(handle))
    except OSError as err:
        seen["typed"].append(err.strerror)
open(os.environ["HOME"] + "/seen", "w").write(json.dumps(seen))
"""


class Others(Site):
    """A site, and a user `mallory` with a home."""

    def __init__(self, top: Path) -> None:
        top.chmod(0o755)
        let_in(top)
        super().__init__(top)
        self.passwd, self.group = top / "passwd", top / "group"
        self.passwd.write_text(
            f"root:x:0:0::/root:/bin/sh\nmallory:x:{UID}:{UID}::{self.home}:/bin/sh\n"
        )
        self.group.write_text(f"root:x:0:\nmallory:x:{UID}:\nbooks:x:4444:mallory\n")
        os.chown(self.home, UID, UID)

    def argv(self, *args: str | Path) -> list[str]:
        script = (
            f"mount --bind {shlex.quote(str(self.passwd))} /etc/passwd && "
            f"mount --bind {shlex.quote(str(self.group))} /etc/group && "
            f"exec {shlex.join(self.command(*args))}"
        )
        return ["unshare", "-m", "sh", "-c", script]

    def trust(self, *args: str | Path, **env: str) -> tuple[int, str]:
        """Run it at a terminal of root's, as sudo does; return the status and what was shown."""
        environment = {**os.environ, "SUDO_USER": "mallory", "HOME": "/root", **env}
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(PROJECT)
            argv = self.argv(*args)
            os.execvpe(argv[0], argv, environment)
        shown = b""
        with suppress(OSError):  # EIO: all have closed it
            while piece := os.read(terminal, 4096):
                shown += piece
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), shown.decode()

    def theirs(self, place: str) -> str:
        database = self.database(place)
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, UID, UID, follow_symlinks=False)
        return database


@pytest.fixture
def others(tmp_path: Path) -> Others:
    return Others(tmp_path)


def _program(others: Others, text: str) -> str:
    """Put a certutil first in PATH; return that PATH."""
    folder = others.top / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "certutil").write_text(text)
    (folder / "certutil").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.skipif(not os.access("/usr/bin/python3", os.X_OK), reason="no /usr/bin/python3")
def test_it_has_no_terminal_and_nothing_of_roots(others: Others) -> None:
    folder = others.home / ".pki/nssdb"
    folder.mkdir(parents=True)
    (folder / "cert9.db").touch()
    path = _program(others, _TAKEN_OVER)
    status, shown = others.trust(
        "--store", "nss", others.root, PATH=path, SECRET="of root", SSH_AUTH_SOCK="/run/agent"
    )
    assert status == 0, shown
    seen = json.loads((others.home / "seen").read_text())
    assert seen["typed"] == ["No such device or address", False, False, False]
    assert seen["session"]
    assert seen["env"] == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(others.home),
        "USER": "mallory",
        "LOGNAME": "mallory",
        **{name: text for name, text in seen["env"].items() if name == "LC_CTYPE"},  # Python's
    }
    assert seen["ids"][:2] == [[UID] * 3, [UID] * 3]
    assert sorted(seen["ids"][2]) in ([UID, 4444], [4444])
    assert seen["files"] == ["pipe"] * 3
    assert "BEGIN CERTIFICATE" in seen["input"]
    assert "setsid --wait runuser -u mallory -- env -i " in shown


# In a process without threads, as sslmctl is.
_LIMITS = f"""
import os
from sslmd.console.program import CtlError
from sslmd.offline.other_user import Person, call_as, run_as

someone = Person("nobody", {UID}, {UID}, "/nowhere")
for work in (
    lambda: run_as(someone, ["/bin/sleep", "1000"], b"", 0.5),
    lambda: call_as(someone, lambda: [str(os.read(os.pipe()[0], 1))], 0.5),
):
    try:
        print(work())
    except CtlError as err:
        print(err)
status, said = run_as(someone, ["/bin/sh", "-c", "yes; exit 0"], b"")
print(status != 0, len(said) <= 1 << 16)
print(call_as(someone, lambda: [str(os.getresuid()), str(os.getsid(0) == os.getpid())]))
"""


def test_one_that_hangs_or_talks_for_ever_is_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITS],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.splitlines() == [
        "/bin/sleep did not end within 0.5 s as user nobody, and was ended; see what holds it up",
        "the home of user nobody (/nowhere) cannot be looked through",
        "True True",
        str([str((UID, UID, UID)), "True"]),
    ], done.stderr


@needs_certutil
def test_their_database_is_changed_by_them_and_a_link_leads_nowhere(others: Others) -> None:
    secret = others.top / "of-root"
    secret.mkdir(mode=0o700)
    subprocess.run(["certutil", "-N", "-d", f"sql:{secret}", "--empty-password"], check=True)
    before = (secret / "cert9.db").read_bytes()
    database = others.theirs(".mozilla/firefox/own")
    link = others.home / ".mozilla/firefox/link"
    link.symlink_to(secret)
    status, shown = others.trust("--store", "nss", others.root)
    assert status == 0, shown
    assert str(link) not in shown
    assert (secret / "cert9.db").read_bytes() == before
    assert "sslmd-root" in trusted(database)
    for path in (others.home / ".mozilla/firefox/own").iterdir():
        assert path.stat().st_uid == UID
    status, shown = others.trust("--store", "nss", "--remove", others.root)
    assert status == 0, shown
    assert "sslmd-root" not in trusted(database)
