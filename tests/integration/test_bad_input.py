"""What an admin, an editor or a careless script can do to a running sslmd: it says what and where.

Nothing of it may be lost, stop another certificate, or be taken for success.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stand.server import ROOT
from tests.stand.site import PATIENCE, Site, without_notes

WEB = "example.com/web-ec"
MAIL = "example.com/mail-ec"


def refusal(site: Site, *, socket: str, conf: str | None = None, cwd: Path | None = None) -> str:
    """Return what a daemon that does not start says; it exits with 1 and no traceback."""
    command = [sys.executable, "-m", "sslmd.daemon.main", "--once"]
    done = subprocess.run(
        [*command, "--conf-dir", conf or str(site.conf), "--socket", socket],
        cwd=cwd or ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- where the socket cannot be ---------------------------------------------------------------


def test_a_file_in_the_place_of_the_socket_is_not_removed(site: Site) -> None:
    (site.top / "precious").write_text("of great value")
    (site.top / "link").symlink_to("precious")
    (site.top / "folder").mkdir()
    for name in ("precious", "link", "folder"):
        assert "is in the way" in refusal(site, socket=str(site.top / name))
    assert (site.top / "precious").read_text() == "of great value"
    assert (site.top / "link").is_symlink()


def test_a_path_too_long_for_a_socket_is_named_as_that(site: Site) -> None:
    path = site.top / ("x" * 60) / ("y" * 60)
    assert "at most 107" in refusal(site, socket=str(path))
    assert not path.parent.exists()


def test_a_relative_socket_starts_at_the_working_directory(site: Site) -> None:
    site.socket = Path("sock")
    site.start("--once", wrapper=("env", "-C", str(site.top), f"PYTHONPATH={ROOT}"))
    assert site.wait() == 0


def test_a_working_directory_that_is_gone_is_named(site: Site) -> None:
    gone = site.top / "gone"
    gone.mkdir()
    script = 'rmdir "$0" && exec "$@"'
    command = [sys.executable, "-m", "sslmd.daemon.main", "--conf-dir", "conf.d"]
    done = subprocess.run(
        ["sh", "-c", script, str(gone), *command],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sslmd: the working directory is gone")


# --- a tree that is not as it should be --------------------------------------------------------


def test_what_is_left_alone_is_shown_as_it_lies_and_check_warns(site: Site) -> None:
    site.start()
    before = site.wait_settled()
    site.stop()
    (site.top / "certs" / WEB / "state.toml").write_text("version = 2\n")
    mail = site.top / "certs" / MAIL / "state.toml"
    mail.unlink()
    mail.mkdir()

    site.start()
    after = site.status()
    for cert in (WEB, MAIL):
        assert without_notes(after[cert]) == without_notes(before[cert])
        assert "state.toml" in after[cert]["last_error"]
        warned = site.ctl("check", cert, status=1)
        assert warned.stdout.startswith("SSLMD WARNING")
        assert "state.toml" in warned.stdout
    assert (site.top / "certs" / WEB / "state.toml").read_text() == "version = 2\n"
    assert "state.toml" in site.ctl("renew", WEB, status=1).stderr

    mail.rmdir()
    (site.top / "certs" / WEB / "state.toml").unlink()
    site.ctl("reload")
    healed = site.wait_settled()
    assert {cert: without_notes(one) for cert, one in healed.items()} == {
        cert: without_notes(one) for cert, one in before.items()
    }


def test_a_key_that_others_could_read_is_told_at_a_reload(site: Site) -> None:
    site.start()
    site.wait_settled()
    key = site.live(WEB) / "privkey.pem"
    key.chmod(0o644)
    site.ctl("reload")
    assert key.stat().st_mode & 0o777 == 0o600
    site.wait_line("could be read by others")


def test_production_that_was_lost_or_moved_is_made_anew_at_a_reload(site: Site) -> None:
    site.start()
    site.wait_settled()
    key = (site.live(WEB) / "privkey.pem").read_bytes()
    shutil.rmtree(site.top / "prod-certs")
    site.ctl("reload")
    site.wait_line(f"{WEB}: in production", 2)
    assert (site.top / "prod-certs" / WEB / "curr/privkey.pem").read_bytes() == key

    change(site.conf / "ssl-mgr.conf", "# prod_cert_dir = 'prod-certs'", "prod_cert_dir = 'live'")
    site.ctl("reload")
    site.wait_line(f"{WEB}: in production", 3)
    assert (site.top / "live" / WEB / "curr/privkey.pem").read_bytes() == key


# --- a configuration that changes while jobs run -----------------------------------------------


def test_reloads_lose_nothing_of_what_is_done_meanwhile(site: Site) -> None:
    """What a reload read before a job's end is older than what the job brought about."""
    site.start()
    site.wait_settled()
    # Notes that take a second to read, of certificates that are read after the other.
    times = (f"{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}" for at in range(25_000))
    slow = "version = 1\n" + "".join(f"[sets.'20200101-{one}']\ndraw=0\n" for one in times)
    for cert in ("example.com/web-rsa", MAIL, "example.net/web-ec"):
        (site.top / "certs" / cert / "state.toml").write_text(slow)
    command = [sys.executable, "-m", "sslmd.ctl.main", "--socket", str(site.socket), "reload"]

    for words in (("force-renew", WEB), ("roll", "--force", WEB)):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as reload:
            site.status()  # by now the reload has begun
            site.ctl(*words)
        assert reload.returncode == 0
        one = site.status(WEB)[WEB]
        assert bool(one["next"]) == (words[0] == "force-renew")
    assert f"db/{one['curr']['set']}" == os.readlink(site.live(WEB))
    assert f"db/{one['curr']['set']}" == os.readlink(site.top / "prod-certs" / WEB / "curr")


@pytest.mark.parametrize("bad", ["/no/such/program imap", "sh -c 'echo a; echo b; exit 3'"])
def test_a_mended_restart_cmd_is_tried_at_the_reload(site: Site, bad: str) -> None:
    main = site.conf / "ssl-mgr.conf"
    good = main.read_text()
    change(main, "'conf.d/tools/note-restart imap'", f'"{bad}"')
    site.start()
    line = site.wait_line("imap on localhost: the restart failed: ")
    assert "next try at" in line  # in one line, whatever the command said
    site.wait_settled(MAIL)
    one = site.status(MAIL)[MAIL]
    assert "next try at" in one["reason"]
    failed = "the restart failed: cannot start /no/such" if "/no" in bad else "exited with 3: a b"
    assert failed in one["servers"][0]["error"]
    said = (
        site.ctl(*words, status=None).stdout for words in (["status"], ["show", MAIL], ["doctor"])
    )
    for text in (*said, site.ctl("check", MAIL, status=1).stdout):
        assert "imap on localhost: the restart failed: " in " ".join(text.split())

    main.write_text(good)
    site.ctl("reload")
    site.wait_settled()
    assert "imap" in (site.top / "restarts.log").read_text()


def test_a_state_file_that_cannot_be_written_shows_in_status_until_it_can(site: Site) -> None:
    site.start()
    site.wait_settled()
    state = site.top / "certs" / WEB / "state.toml"
    state.unlink()
    state.mkdir()
    refused = site.ctl("force-renew", WEB, status=1)
    assert str(state) in refused.stderr + refused.stdout
    assert str(state) in site.status(WEB)[WEB]["last_error"]
    assert site.ctl("check", WEB, status=1).stdout.startswith("SSLMD WARNING")

    state.rmdir()
    site.ctl("force-renew", WEB)
    site.ctl("roll", "--force", WEB)
    assert site.status(WEB)[WEB]["last_error"] is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("folder", ["example.com", WEB, f"{WEB}/db"])
def test_a_folder_of_somebody_else_is_not_worked_in(site: Site, folder: str) -> None:
    site.start()
    site.wait_settled()
    site.stop()
    os.chown(site.top / "certs" / folder, 1234, -1)
    site.start()
    one = site.status(WEB)[WEB]
    assert "belongs to uid 1234" in one["reason"]
    assert one["curr"] is not None
    refused = site.ctl("force-renew", WEB, status=1)
    assert "belongs to uid 1234" in refused.stderr
    assert site.status()["example.net/web-ec"]["phase"] == "settled"


def test_an_emptied_service_file_is_a_mistake_not_a_farewell(site: Site) -> None:
    conf = site.conf / "ssl-mgr.conf"
    lines = [
        "services = ['ALL']" if line.strip().startswith("services") and "my-" not in line else line
        for line in conf.read_text().splitlines()
    ]
    conf.write_text("\n".join(lines) + "\n")
    site.start()
    before = site.wait_settled()
    emptied = site.conf / "example.net" / "web-ec"
    emptied.write_text("")
    refused = site.ctl("reload", status=1)
    assert str(emptied) in refused.stdout + refused.stderr
    assert site.status().keys() == before.keys()

    emptied.unlink()
    site.ctl("reload")
    assert "example.net/web-ec" not in site.status()


def test_a_renewal_that_is_asked_for_tries_failed_restarts_again(site: Site) -> None:
    tool = site.conf / "tools" / "note-restart"
    content = tool.read_text()
    tool.write_text("#!/bin/sh\nexit 3\n")
    site.start()
    site.wait_line("web on localhost: the restart failed: ", count=3)
    tool.write_text(content)
    site.ctl("renew", WEB)
    site.wait_settled("example.com/mail-ec")
    assert "web" in (site.top / "restarts.log").read_text()


def test_a_stop_does_not_wait_for_keys(site: Site) -> None:
    service = site.conf / "example.com" / "web-rsa"
    service.write_text(service.read_text().replace("rsa_bits = 2048", "rsa_bits = 4096"))
    site.start()
    site.wait_settled()
    for _ in range(3):
        site.ctl("force-renew", "--no-wait", "example.com/web-rsa")
        assert site.stop() == 0
        assert not site.socket.exists()
        site.start()
    assert site.wait_on_deck("example.com/web-rsa")
