"""The daemon keeps Diffie-Hellman groups beside the certificates: `[dh]`."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import time
from pathlib import Path

from sslmd.pki.dhparam import dhparam
from tests.stand.site import Site

# Seconds in which a daemon that is told to end has ended, on a busy machine.
ENDS = 10.0


def configure(site: Site, table: str) -> None:
    path = site.conf / "ssl-mgr.conf"
    before = path.read_text().partition("\n[dh]\n")[0]
    path.write_text(f"{before}\n[dh]\n{table}\n")


def names(site: Site, group: str = "example.com") -> list[str]:
    return sorted(one.name for one in (site.top / "prod-certs" / group / "dh").iterdir())


def fake_openssl(site: Site, work: str) -> dict[str, str]:
    """Put an openssl first in PATH that needs no minutes; return the environment."""
    program = site.top / "bin/openssl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho $$ >> {shlex.quote(str(site.top))}/began\n{work}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + ENDS
    while not is_gone(pid):
        assert time.monotonic() < end, f"{pid} lives on"
        time.sleep(0.05)


def begun(site: Site, count: int) -> list[int]:
    """Return the process ids of the first `count` calls of openssl, when they are there."""
    path, end = site.top / "began", time.monotonic() + 60
    while True:
        pids = path.read_text().split() if path.exists() else []
        if len(pids) >= count:
            return [int(pid) for pid in pids]
        assert time.monotonic() < end, "openssl was never called"
        time.sleep(0.05)


def test_groups_come_with_the_start_and_follow_a_reload(site: Site) -> None:
    configure(site, "groups = ['ALL']\nparams = ['ffdhe4096', 'ffdhe2048']")
    site.start()
    site.wait_settled()
    for group in ("example.com", "example.net"):
        folder = site.top / "prod-certs" / group / "dh"
        site.wait_line(f"{folder}: dh-ffdhe4096.pem written")
        assert names(site, group) == ["dh-ffdhe2048.pem", "dh-ffdhe4096.pem", "dhparam.pem"]
        assert (folder / "dhparam.pem").read_bytes() == dhparam(4096)
        assert stat.S_IMODE((folder / "dh-ffdhe4096.pem").stat().st_mode) == 0o644
        said = ["openssl", "dhparam", "-in", str(folder / "dhparam.pem"), "-check", "-noout"]
        subprocess.run(said, check=True, capture_output=True)
    assert not (site.top / "prod-certs/ca/dh").exists()

    lost = site.top / "prod-certs/example.com/dh/dh-ffdhe2048.pem"
    lost.unlink()
    configure(site, "groups = ['example.com']\nparams = ['ffdhe2048', 'ffdhe4096']")
    site.ctl("reload")
    site.wait_line("dhparam.pem leads to dh-ffdhe2048.pem")
    assert lost.read_bytes() == dhparam(2048)
    told = [event for event in site.ctl("events").stdout.splitlines() if "dh-" in event]
    assert len(told) == 3

    configure(site, "groups = ['example.cmo']")
    assert "dh.groups: there is no group example.cmo" in site.ctl("reload", status=1).stderr
    assert site.stop() == 0


def test_once_waits_for_what_is_generated(site: Site) -> None:
    (site.top / "2048.pem").write_bytes(dhparam(2048))
    env = fake_openssl(site, f"sleep 1; cat {site.top}/$2.pem")
    configure(site, "groups = ['example.com']\nparams = [2048]")
    site.start("--once", env=env, ready=False)
    assert site.wait() == 0
    assert names(site) == ["dh2048.pem", "dhparam.pem"]

    (site.top / "2048.pem").unlink()
    old = time.time() - 121 * 86400
    os.utime(site.top / "prod-certs/example.com/dh/dh2048.pem", (old, old))
    site.start("--once", env=env, ready=False)
    assert site.wait() == 1
    assert "openssl dhparam 2048 exited with 1: " in site.wait_line("it is tried again every day")
    assert names(site) == ["dh2048.pem", "dhparam.pem"]


def test_generating_holds_up_nothing_and_ends_with_the_daemon(site: Site) -> None:
    env = fake_openssl(site, "printf '...+...' >&2; exec sleep 600")
    configure(site, "groups = ['example.com']\nparams = [2048, 'ffdhe2048']")
    site.start(env=env)
    site.wait_settled()  # with every restart
    site.ctl("force-renew", "example.com:web-ec")
    (pid,) = begun(site, 1)
    assert not is_gone(pid)
    nice = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
    assert nice == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 19)
    assert "write Diffie-Hellman groups" in site.ctl("plan").stdout
    assert names(site) == ["dh-ffdhe2048.pem"]
    before = time.monotonic()
    assert site.stop() == 0
    assert time.monotonic() - before < ENDS
    assert is_gone(pid)
    assert not any("dh-trouble" in line or "it is tried again" in line for line in site.lines)

    site.start(env=env)
    *_, pid = begun(site, 2)
    assert site.process is not None
    os.kill(site.process.pid, signal.SIGKILL)  # the daemon alone
    site.wait()
    wait_until_gone(pid)
    assert names(site) == ["dh-ffdhe2048.pem"]
