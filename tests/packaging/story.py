"""The package in a booted Debian, where nothing else is installed and no network is there.

A story for each release, in files of their own, which run beside each other.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from sslmd import __version__
from sslmd.net.client import USER
from tests.stand.machine import Machine, package, skip_unless_possible
from tests.stand.server import wait_until
from tests.systemd.test_units import EXPOSURE

CERT, ARG = "example.com/web-ec", "example.com:web-ec"
CERTS = ["ca/my-root", "ca/my-int", CERT]
LIVE = f"/etc/ssl-mgr/prod-certs/{CERT}/curr/cert.pem"

# Seconds. Every look starts a program in the machine.
LOOK = 0.2

# What a daemon needs that is a user of its own, and publishes records.
NAME_SERVER = ("bind9", "bind9-dnsutils")

# The waits of the unit, shorter; and no roll before its time, but by force.
DROP_IN = "[Service]\nWatchdogSec=4\nRestartSec=1\n"

# sshd gives another machine's folder to whoever logs in: a server of its own, on this one.
SSHD = """\
Port 2222
ListenAddress 127.0.0.1
PermitRootLogin yes
ForceCommand exec unshare -m sh -c 'mount --bind /srv/web2 /etc/ssl-mgr && \
exec sh -c "$SSH_ORIGINAL_COMMAND"'
"""
SSH = "Host web2.example.com\n  HostName 127.0.0.1\n  Port 2222\n"
NGINX = """\
server {
    listen 127.0.0.1:443 ssl;
    server_name example.com;
    ssl_certificate /etc/ssl-mgr/prod-certs/example.com/web-ec/curr/fullchain.pem;
    ssl_certificate_key /etc/ssl-mgr/prod-certs/example.com/web-ec/curr/privkey.pem;
}
"""
# A later version, out of the package that is installed: it says who it is.
NEXT = """\
set -e
dpkg-deb -R /root/sslmd.deb /root/next
cd /root/next
sed -i 's/^Version: .*/Version: 99.0/' DEBIAN/control
cd usr/lib/sslmd/lib/python3*/site-packages/sslmd
sed -i 's/^__version__ = .*/__version__ = "99.0"/' __init__.py
rm __pycache__/__init__.*
/usr/lib/sslmd/bin/python -m compileall -q -s /root/next -p / __init__.py
dpkg-deb -Znone -b /root/next /root/next.deb
"""
# Where another configuration is, with a mistake in it.
ELSEWHERE = "[Service]\nEnvironment=SSL_MGR_TOPDIR=/srv/elsewhere LANG=C\n"
WANTED_BY = "/etc/systemd/system/multi-user.target.wants/sslmd.service"
LIMITS = ["uid", "capabilities", "no-new-privs", "landlock", "seccomp"]
SERVED = """\
import socket, ssl
context = ssl._create_unverified_context()
line = socket.create_connection(("127.0.0.1", 443))
with context.wrap_socket(line, server_hostname="example.com") as one:
    print(ssl.DER_cert_to_PEM_cert(one.getpeercert(True)), end="")
"""


class Site:
    """A machine with the package, and what is asked of it again and again."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.run = machine.run

    def status(self) -> dict[str, dict[str, Any]]:
        text = self.run("sslmctl", "status", "--json").stdout
        return {f"{one['group']}/{one['service']}": one for one in json.loads(text)["certs"]}

    def wait_settled(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}

        def settled() -> bool:
            nonlocal found
            found = self.status()
            return all(one["phase"] == "settled" and one["curr"] for one in found.values())

        wait_until(settled, "every certificate settled", pause=LOOK)
        return found

    def main_pid(self) -> int:
        return int(self.run("systemctl", "show", "--value", "-p", "MainPID", "sslmd").stdout)

    def wait_back(self, before: int) -> None:
        """Wait until another process of the daemon is READY."""

        def back() -> bool:
            shown = self.run("systemctl", "show", "-p", "ActiveState,MainPID", "sslmd").stdout
            now = dict(line.split("=", 1) for line in shown.splitlines())
            return now["ActiveState"] == "active" and int(now["MainPID"]) not in (0, before)

        wait_until(back, "sslmd is back", pause=LOOK)

    def sets(self) -> str:
        """Return every file of every certificate, with its checksum."""
        every = "find /etc/ssl-mgr -type f -name '*.pem' -exec sha256sum {} + | sort"
        return self.run("sh", "-c", every).stdout


@contextmanager
def site_on(suite: str) -> Iterator[Site]:
    """Boot a Debian of a release, with the package of that release at hand."""
    skip_unless_possible()
    deb = package(suite)
    with Machine(suite) as machine:
        subprocess.run(["cp", str(deb), str(machine.root / "root/sslmd.deb")], check=True)
        # Later there is no network; and what is not needed is not fetched.
        machine.apt(
            "/root/sslmd.deb", "openssh-client", "openssh-server", "rsync", "nginx-light",
            *NAME_SERVER, "polkitd", only_download=True,
        )  # fmt: skip
        machine.boot()
        yield Site(machine)


class Parts(Enum):
    """What is told on a release: all, or that in which its Python, dpkg, systemd, polkit, BIND,
    nginx and sshd can make a difference; what our code alone decides needs to be told once.
    """

    ALL = "all"
    OF_THE_RELEASE = "of the release"


def from_its_installation_to_its_end(site: Site, parts: Parts) -> None:
    """One story: each part stands on the one before, and a machine takes long to make."""
    from tests.packaging import own_user  # it is of a site

    nothing_is_there(site)
    installed(site)
    initialised(site)
    live(site)
    examined(site)
    servers_follow(site)
    exposed_little(site)
    the_network_process_is_apart(site)
    comes_back(site)
    own_user.as_its_own_user(site)
    if parts is Parts.ALL:
        own_user.asked_again(site)
        own_user.cut_short(site)
    upgraded(site)
    own_user.as_root_again(site)
    if parts is Parts.ALL:
        own_user.asked_for_root_again(site)
        state_of_a_later_version(site)
    removed(site)


def nothing_is_there(site: Site) -> None:
    for program in ("cc", "gcc", "python3", "pip", "certbot"):
        assert site.run("sh", "-c", f"command -v {program}", status=None).stdout == ""


def installed(site: Site) -> None:
    done = site.run("apt-get", "install", "--yes", "--no-install-recommends", "/root/sslmd.deb")
    assert "sslmd init" in done.stdout
    assert "Created symlink" not in done.stdout  # nothing starts before it is configured
    assert site.run("systemctl", "is-active", "sslmd", status=None).stdout == "inactive\n"
    refused = site.run("sslmctl", "status", status=3)
    assert "systemctl start sslmd" in refused.stderr
    assert re.search(r"^sslmd:x:\d+:$", site.machine.read("/etc/group"), re.MULTILINE)
    for page in ("man8/sslmd.8.gz", "man1/sslmctl.1.gz", "man1/sslm-mgr.1.gz"):
        site.run("test", "-s", f"/usr/share/man/{page}")
    site.run("test", "-s", "/usr/share/zsh/vendor-completions/_sslmctl")
    missing = site.run("sslmd", "--check-config", status=1)
    assert "sslmd init" in missing.stderr


def initialised(site: Site) -> None:
    site.run("sslmd", "init", "--yes", status=2)
    site.run("sslmd", "init", "--domain", "example.com", "--ca", "own", "--yes")
    again = site.run("sslmd", "init", "--domain", "example.org", "--yes", status=1)
    assert "already" in again.stderr
    assert "3 services, no mistakes" in site.run("sslmd", "--check-config").stdout


def live(site: Site) -> None:
    site.machine.write("/etc/systemd/system/sslmd.service.d/quick.conf", DROP_IN)
    site.run("systemctl", "daemon-reload")
    site.run("systemctl", "enable", "--now", "sslmd")
    assert site.run("systemctl", "is-active", "sslmd").stdout == "active\n"
    assert list(site.wait_settled()) == CERTS
    text = site.run("systemctl", "show", "--value", "-p", "StatusText", "sslmd").stdout
    assert "3 certificates" in text
    assert site.run("sslmctl", "check").stdout.startswith("SSLMD OK")
    verified = site.run(
        "sslm-verify", "--root", "/etc/ssl-mgr/prod-certs/ca/my-root/curr/cert.pem", LIVE
    )
    assert "example.com" in verified.stdout
    keys = site.run("find", "/etc/ssl-mgr", "-name", "privkey.pem", "-perm", "/077").stdout
    assert keys == ""


def examined(site: Site) -> None:
    """The doctor knows the unit: what it does not let the daemon write is found."""
    found = json.loads(site.run("sslmctl", "doctor", "--json").stdout)
    assert "ok" in [one["level"] for one in found if one["where"] == "unit"]
    config = "/etc/ssl-mgr/conf.d/ssl-mgr.conf"
    text = site.machine.read(config)
    site.machine.write(config, text.replace("[globals]", "[globals]\n    logdir = '/srv/log'"))
    found = json.loads(site.run("sslmctl", "doctor", "--json", status=1).stdout)
    (unit,) = [one["text"] for one in found if one["where"] == "unit"]
    assert "ReadWritePaths=/srv/log" in unit
    site.machine.write(config, text)


def servers_follow(site: Site) -> None:
    """A server here and one that is reached by ssh: copied to and restarted by the daemon."""
    machine = site.machine
    site.run(
        "apt-get", "install", "--yes", "--no-install-recommends", "nginx-light", "rsync",
        "openssh-client", "openssh-server",
    )  # fmt: skip
    machine.write("/etc/nginx/conf.d/example.conf", NGINX)
    site.run("systemctl", "restart", "nginx")
    machine.write("/etc/ssh/sshd_config.d/web2.conf", SSHD)
    machine.write("/root/.ssh/config", SSH)
    site.run("mkdir", "-p", "/srv/web2/prod-certs")
    site.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
    site.run("cp", "/root/.ssh/id_ed25519.pub", "/root/.ssh/authorized_keys")
    host_key = machine.read("/etc/ssh/ssh_host_ed25519_key.pub")
    machine.write("/root/.ssh/known_hosts", f"[127.0.0.1]:2222 {host_key}")
    site.run("systemctl", "restart", "ssh")
    config = machine.read("/etc/ssl-mgr/conf.d/ssl-mgr.conf")
    found = config.index("# No such server was found on this machine.")
    config = config[:found] + (
        "[web]\n"
        "    servers = ['localhost', 'web2.example.com']\n"
        "    svc_depends = [['example.com', ['web-ec']]]\n"
        "    restart_cmd = 'systemctl reload nginx'\n"
        "    probe = [[443, 'tls', 'example.com']]\n"
    )
    machine.write("/etc/ssl-mgr/conf.d/ssl-mgr.conf", config)
    site.run("systemctl", "reload", "sslmd")
    wait_until(lambda: "web2.example.com" in json.dumps(site.status()), "the reload")
    site.run("sslmctl", "force-renew", ARG)
    site.run("sslmctl", "roll", "--force", ARG)
    servers = site.wait_settled()[CERT]["servers"]
    assert {(one["host"], one["state"]) for one in servers} >= {("localhost", "proven")}
    cert = machine.read(LIVE)
    assert machine.read(LIVE.replace("/etc/ssl-mgr", "/srv/web2")) == cert
    assert site.run("/usr/lib/sslmd/bin/python", "-c", SERVED).stdout == cert
    story = site.run("journalctl", "-u", "sslmd", f"SSLM_CERT={CERT}", "-o", "cat").stdout
    for event in ("key made", "certificate issued", "is live in place of", "was restarted"):
        assert event in story
    assert "ca/my-root" not in story


def exposed_little(site: Site) -> None:
    shown = site.run("systemd-analyze", "security", "sslmd").stdout
    found = re.search(r"Overall exposure level for sslmd\.service: (\d+)\.(\d)", shown)
    assert found is not None, shown
    assert int(found[1] + found[2]) <= EXPOSURE
    bounds = site.run("systemctl", "show", "sslmd", "-p", "MemoryMax,TasksMax,OOMPolicy").stdout
    assert set(bounds.split()) == {"MemoryMax=2147483648", "TasksMax=1024", "OOMPolicy=continue"}


def the_network_process_is_apart(site: Site) -> None:
    """It has its uid and every limit, under the unit that the package has."""

    def status() -> dict[str, str]:
        name = "grep -ls '^Name:.sslmd-net$' /proc/[0-9]*/status"
        text = site.run("sh", "-c", f"cat $({name})", status=None).stdout
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    wait_until(lambda: status().get("Seccomp") == "2", "the network process has its limits")
    found = status()
    assert int(found["PPid"]) == site.main_pid()
    number = site.run("id", "-u", USER).stdout.strip()
    assert found["Uid"].split() == [number] * 4
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(found[name], 16) == 0
    assert found["NoNewPrivs"] == "1"
    doctor = site.run("sslmctl", "doctor", status=None).stdout
    assert "network process" not in " ".join(doctor.split()), doctor
    told = json.loads(site.run("sslmctl", "status", "--json").stdout)
    assert told["net"] == []
    assert told["daemon"]["network_process"]["limits"] == LIMITS


def comes_back(site: Site) -> None:
    before = site.sets()
    pid = site.main_pid()
    site.run("systemctl", "reload", "sslmd")
    assert site.main_pid() == pid
    main = "/etc/ssl-mgr/conf.d/ssl-mgr.conf"
    good = site.machine.read(main)
    site.machine.write(main, good.replace("[globals]", "[globals]\ncmd_timeout = 'long'", 1))
    site.run("systemctl", "reload", "sslmd", status=1)
    told = site.run("systemctl", "show", "--value", "-p", "StatusText", "sslmd").stdout
    assert "the configuration was refused at" in told
    assert "globals.cmd_timeout" in told
    site.machine.write(main, good)
    site.run("systemctl", "reload", "sslmd")
    told = site.run("systemctl", "show", "--value", "-p", "StatusText", "sslmd").stdout
    assert "refused" not in told
    assert site.main_pid() == pid
    site.run("systemctl", "restart", "sslmd")
    assert site.main_pid() != pid
    for number in ("STOP", "KILL"):
        pid = site.main_pid()
        site.run("kill", f"-{number}", str(pid))
        site.wait_back(pid)
        site.wait_settled()
    results = site.run("journalctl", "-u", "sslmd", "-o", "cat").stdout
    assert "watchdog" in results.lower()
    assert site.sets() == before


def upgraded(site: Site) -> None:
    before, pid, status = site.sets(), site.main_pid(), site.status()
    site.run("sh", "-c", NEXT)
    # The configuration that the unit names has a mistake: the old one runs on.
    drop_in = "/etc/systemd/system/sslmd.service.d/elsewhere.conf"
    site.machine.write(drop_in, ELSEWHERE)
    site.machine.write("/srv/elsewhere/conf.d/ssl-mgr.conf", "[globals]\n    certs_dir = 1\n")
    said = site.run("dpkg", "-i", "/root/next.deb").stderr
    assert "/srv/elsewhere/conf.d/ssl-mgr.conf" in said
    assert "the version before runs on" in said
    assert "systemctl restart sslmd" in said
    assert site.main_pid() == pid
    site.run("dpkg", "-s", "sslmd")
    assert f"\nsslmd {__version__}, pid {pid}," in site.run("sslmctl", "status").stdout
    site.run("rm", drop_in)
    # Without one it is restarted, and it is the new one.
    site.run("dpkg", "-i", "/root/next.deb")
    site.wait_back(pid)
    assert "\nsslmd 99.0, pid " in site.run("sslmctl", "status").stdout
    assert site.sets() == before
    assert site.wait_settled() == status


def state_of_a_later_version(site: Site) -> None:
    path = f"/etc/ssl-mgr/certs/{CERT}/state.toml"
    site.run("systemctl", "stop", "sslmd")
    text = site.machine.read(path)
    later = text.replace("version = 1", "version = 2", 1)
    assert later != text
    site.machine.write(path, later, 0o600)
    site.run("systemctl", "start", "sslmd")
    assert "version 2" in site.run("sslmctl", "status").stdout
    site.run("sslmctl", "force-renew", ARG, status=1)
    assert site.machine.read(path) == later
    site.run("systemctl", "stop", "sslmd")
    site.machine.write(path, text, 0o600)
    site.run("systemctl", "start", "sslmd")
    site.wait_settled()


def _is_stopped(site: Site) -> None:
    """Say why if it is not: a stop that failed stands in the journal."""
    active = site.run("systemctl", "is-active", "sslmd", status=None).stdout
    journal = site.run("journalctl", "-u", "sslmd", "-n", "40", "-o", "cat").stdout
    assert active == "inactive\n", f"{active}{journal}"


def removed(site: Site) -> None:
    before = site.sets()
    site.run("apt-get", "remove", "--yes", "sslmd")
    _is_stopped(site)
    assert not (site.machine.root / "usr/lib/sslmd").exists()
    site.run("test", "!", "-L", WANTED_BY)

    # It comes back disabled, and says so.
    back = site.run("dpkg", "-i", "/root/sslmd.deb").stdout
    assert "systemctl enable --now sslmd" in back
    assert "sslmd init" not in back
    site.run("systemctl", "enable", "sslmd")
    assert "enable --now" not in site.run("dpkg", "-i", "/root/sslmd.deb").stdout
    # As in a chroot, where systemd does not run.
    site.run("test", "-L", WANTED_BY)
    site.run("unshare", "-m", "sh", "-c", "mount -t tmpfs none /run/systemd && dpkg -r sslmd")
    site.run("test", "!", "-L", WANTED_BY)

    purged = site.run("apt-get", "purge", "--yes", "sslmd")
    assert "left as it is" in purged.stdout + purged.stderr
    assert site.sets() == before
    assert Path(site.machine.root / "etc/ssl-mgr/conf.d/ssl-mgr.conf").exists()
    assert site.run("/bin/sh", "-c", "command -v sslmd", status=None).stdout == ""
