"""sslmctl trust, with the system's own commands and real browser databases."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sslmd.ctl import main as sslmctl
from tests.ctl.fake_daemon import ROOT as PROJECT
from tests.stand.forked import run_forked
from tests.stand.samples import ca_spec, key_pem, make_leaf, make_root, make_sub

NOW = datetime.now(UTC).replace(microsecond=0)

needs_certutil = pytest.mark.skipif(
    shutil.which("certutil") is None, reason="certutil (libnss3-tools) is not installed"
)


class Site:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.home = top / "home"
        self.home.mkdir()
        root = make_root(now=NOW - timedelta(days=1))
        sub = make_sub(root, now=NOW)
        leaf = make_leaf(sub, now=NOW)
        self.root, self.sub, self.leaf = top / "root.pem", top / "sub.pem", top / "leaf.pem"
        self.root.write_bytes(root.cert_pem)
        self.sub.write_bytes(sub.cert_pem)
        self.leaf.write_bytes(leaf.cert_pem)

    def command(self, *args: str | Path) -> list[str]:
        return [sys.executable, "-m", "sslmd.ctl.main", "trust", *map(str, args)]

    def run(self, *args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name != "SUDO_USER"}
        env = {**clean, "HOME": str(self.home), **env}
        done = run_forked(sslmctl.main, ["sslmctl", "trust", *args], env=env)
        assert "Traceback" not in done.stderr
        return done

    def database(self, place: str) -> str:
        folder = self.home / place
        folder.mkdir(parents=True)
        database = f"sql:{folder}"
        subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True)
        return database


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def trusted(database: str) -> str:
    return subprocess.run(
        ["certutil", "-L", "-d", database], check=True, capture_output=True, text=True
    ).stdout


@needs_certutil
def test_browsers_that_are_snaps(site: Site) -> None:
    database = site.database("snap/chromium/current/.pki/nssdb")
    assert site.run("--store", "nss", site.root).returncode == 0
    assert "sslmd-root" in trusted(database)


@needs_certutil
def test_browsers_believe_it_and_no_longer(site: Site) -> None:
    databases = [site.database(".pki/nssdb"), site.database(".mozilla/firefox/a b.default")]
    (site.home / ".mozilla/firefox/none").mkdir()
    done = site.run("--store", "nss", site.root)
    assert done.returncode == 0, done.stderr
    for database in databases:
        (line,) = [one for one in trusted(database).splitlines() if "sslmd-root" in one]
        assert line.split()[1] == "C,,"
    assert site.run("--store", "nss", "--remove", site.root).returncode == 0
    for database in databases:
        assert "sslmd-root" not in trusted(database)
    # One that lacks it is told; the others are seen to.
    site.run("--store", "nss", site.root)
    subprocess.run(["certutil", "-D", "-d", databases[0], "-n", "sslmd-root"], check=True)
    done = site.run("--store", "nss", "--remove", site.root)
    assert done.returncode == 1
    assert "certutil failed" in done.stderr
    assert "sslmd-root" not in trusted(databases[1])


@pytest.mark.skipif(
    os.geteuid() != 0
    or shutil.which("unshare") is None
    or not Path("/usr/sbin/update-ca-certificates").exists()
    or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="it takes root, unshare, and Debian's update-ca-certificates",
)
def test_the_system_believes_it_and_no_longer(site: Site) -> None:
    """In a mount namespace: what is changed there is nobody else's."""
    certs = site.top / "certs"
    shutil.copytree("/etc/ssl/certs", certs, symlinks=True)
    verify = f"openssl verify -CApath /etc/ssl/certs -untrusted {site.sub} {site.leaf}"
    script = f"""
        set -eu
        mount --make-rprivate /
        mount --bind {certs} /etc/ssl/certs
        mount -t tmpfs none /usr/local/share/ca-certificates
        ! {verify} >/dev/null 2>&1
        {shlex.join(site.command("--store", "system", site.root))}
        {verify}
        stat -c %a /usr/local/share/ca-certificates/sslmd-root.crt
        {shlex.join(site.command("--store", "system", "--remove", site.root))}
        ! {verify} >/dev/null 2>&1
        ls -A /usr/local/share/ca-certificates
        echo all of it
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert f"{site.leaf}: OK" in lines
    assert "644" in lines
    assert lines[-2].endswith("update-ca-certificates --fresh")  # and ls shows nothing
    assert lines[-1] == "all of it"


def test_print_only_shows_the_commands(site: Site) -> None:
    done = site.run("--print", "--store", "system", site.root)
    if done.returncode:
        assert "no trust store that is known here" in done.stderr
        return
    install, update = done.stdout.splitlines()
    assert install.startswith(f"install -m 0644 {site.root} ")
    assert install.endswith("/sslmd-root.crt")
    assert "update-ca-" in update
    assert not Path(install.split()[-1]).exists()


def test_the_roots_of_the_configuration(site: Site) -> None:
    shutil.copytree(PROJECT / "conf.d-example", site.top / "conf.d")
    place = site.top / "certs/ca/my-root/curr"
    place.mkdir(parents=True)
    shutil.copy(site.root, place / "cert.pem")
    conf = site.top / "conf.d"
    for words in ([], ["ca:my-root"], ["ca/my-root"]):
        done = site.run("--print", "--store", "nss", "--conf-dir", conf, *words)
        assert "no browser has a database" in done.stderr  # it was found
    done = site.run("--print", "--conf-dir", conf, "ca:my-int")
    assert done.returncode == 2
    assert "ca:my-int is no root of the configuration; there is ca:my-root" in done.stderr
    done = site.run("--print", "--conf-dir", site.top / "none")
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    (place / "cert.pem").unlink()
    assert "cannot be read" in site.run("--print", "--conf-dir", conf).stderr


def test_what_is_no_root_is_refused(site: Site) -> None:
    old = site.top / "old.pem"
    spec = ca_spec("old", days=10)
    old.write_bytes(make_root(spec, now=NOW - timedelta(days=20)).cert_pem)
    key = site.top / "key.pem"
    key.write_bytes(key_pem())
    for file, said in (
        (site.sub, "it is no root: another CA signed it"),
        (site.leaf, "it is no root"),
        (old, "it has expired"),
        (key, "it holds no certificates instead of one"),
        (site.top / "none.pem", "cannot be read"),
    ):
        done = site.run("--print", file)
        assert done.returncode == 1
        assert f"{file}: {said}" in done.stderr
        assert done.stdout == ""


def test_without_certutil_and_browsers(site: Site) -> None:
    assert "start it once" in site.run("--store", "nss", site.root).stderr
    folder = site.home / ".pki/nssdb"
    folder.mkdir(parents=True)
    (folder / "cert9.db").touch()
    done = site.run("--store", "nss", site.root, PATH="/nonexistent")
    assert done.returncode == 1
    assert "certutil, which writes browsers' databases, is not installed" in done.stderr
