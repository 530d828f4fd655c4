"""A daemon, and its client, on a site where somebody else has power over a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.attacker import GROUP, NOBODY
from tests.stand.server import ROOT
from tests.stand.site import PATIENCE, Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "top")
    try:
        yield site
    finally:
        site.end()


def refused(site: Site) -> str:
    """Start the daemon, which has to refuse; return what it says."""
    site.start(ready=False)
    assert site.wait() == 1
    return "\n".join(site.lines)


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("", "conf.d"),
        ("conf.d/example.com", ""),
        ("certs", "certs_dir"),
        ("prod-certs", "prod_cert_dir"),
        ("run", "--socket"),
    ],
)
def test_no_start_where_a_group_may_write(site: Site, name: str, key: str) -> None:
    site.socket = site.top / "run/sock"
    folder = site.top / name
    folder.mkdir(exist_ok=True)
    os.chown(folder, -1, GROUP)
    folder.chmod(0o775)
    said = refused(site)
    assert str(folder) in said
    assert f"chmod g-w {folder}" in said
    assert "mode 0775" in said
    assert not key or f"{folder}: {key}: can be written by gid {GROUP}" in said
    assert not (site.top / "certs/.sslmd.lock").exists()
    # Looked at beforehand, it says the same.
    checked = run(
        *("sslmd.daemon.main", "--check-config", "--conf-dir", str(site.conf)),
        *("--socket", str(site.socket)),
    )
    assert checked.returncode == 1
    assert f"chmod g-w {folder}" in checked.stderr
    folder.chmod(0o755)
    site.start()


def test_a_tree_below_a_folder_of_somebody_elses(site: Site) -> None:
    """They could put another folder in its place at any time."""
    home = site.top / "home"
    (home / "certs").mkdir(parents=True)
    text = (site.conf / "ssl-mgr.conf").read_text()
    text = text.replace("[globals]", f"[globals]\n    certs_dir = '{home}/certs'", 1)
    (site.conf / "ssl-mgr.conf").write_text(text)
    os.chown(home, NOBODY, -1)
    assert f"{home}: certs_dir: belongs to uid {NOBODY}, not to the daemon's user" in refused(site)
    os.chown(home, 0, 0)
    site.start()


def test_a_reload_and_the_doctor(site: Site) -> None:
    prod = site.top / "prod-certs"
    prod.mkdir()
    site.start()
    os.chown(prod, NOBODY, -1)
    done = site.ctl("reload", status=None)
    assert done.returncode == 1
    assert f"{prod}: prod_cert_dir: belongs to uid {NOBODY}" in done.stderr
    assert "the next start would fail" in site.ctl("status", status=None).stdout
    doctor = site.ctl("doctor", status=None).stdout
    assert f"prod_cert_dir: {prod} belongs to uid {NOBODY}" in doctor
    assert f"chown root {prod}" in doctor
    os.chown(prod, 0, -1)
    site.ctl("reload")
    assert f"prod_cert_dir: {prod} belongs" not in site.ctl("doctor", status=None).stdout


def test_what_is_public_may_be_shared_and_is_told(site: Site) -> None:
    log = site.top / "log"
    log.mkdir()
    text = (site.conf / "ssl-mgr.conf").read_text()
    text = text.replace("[globals]", f"[globals]\n    logdir = '{log}'", 1)
    (site.conf / "ssl-mgr.conf").write_text(text)
    os.chown(log, -1, GROUP)
    log.chmod(0o770)
    # What a member puts there.
    victim = site.top / "victim"
    victim.write_text("of root's\n")
    (log / "sslmd.log").symlink_to(victim)
    site.start()
    warning = site.wait_line(f"{log}: logdir: can be written by gid {GROUP}")
    assert warning.endswith(f"run: chmod g-w {log}, unless that is meant")
    site.wait_line("sslmd.log is a link")
    assert "logdir" in site.ctl("doctor", status=None).stdout
    assert site.stop(signal.SIGTERM) == 0
    assert victim.read_text() == "of root's\n"
    (log / "sslmd.log").unlink()
    site.start()
    site.stop(signal.SIGTERM)
    assert "is ready" in (log / "sslmd.log").read_text()


def test_taking_over_says_what_has_to_be_closed(site: Site) -> None:
    certs = site.top / "certs"
    certs.mkdir()
    os.chown(certs, -1, GROUP)
    certs.chmod(0o2775)
    done = run("sslmd.ctl.main", "import", "--check", str(site.top))
    assert done.returncode == 1
    assert f"certs_dir: {certs} can be written by gid {GROUP}" in done.stdout
    assert f"run: chmod g-w {certs}" in done.stdout
