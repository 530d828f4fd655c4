"""sslm-mgr on a real daemon: what hands and cron jobs that are used to ssl-mgr's do with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tomli

from tests.stand.dane_site import ARG, CERT, HOST, clean, dane_world
from tests.stand.server import ROOT, wait_until
from tests.stand.site import PATIENCE, Site, first_tables, reasons_of

WEB = "example.com/web-ec"


def sslm_mgr(site: Site, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "sslmd.ctl.sslm_mgr", *words],
        cwd=ROOT,
        env={**os.environ, "SSLMD_SOCKET": str(site.socket)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
    return done


def ask_of(site: Site, cert: str) -> object:
    """Return what stands in state.toml of what an admin asked for."""
    state = tomli.loads((site.top / "certs" / cert / "state.toml").read_text())
    return state.get("ask")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


# --- rolling -------------------------------------------------------------------------------


def test_minutes_on_the_command_line_count_as_written(site: Site) -> None:
    """The configuration says 90: fewer are enough, more are too early, and are no failure."""
    site.start()
    old = site.wait_settled()[WEB]["curr"]["serial"]
    new = re.compile(rf"{WEB}: done: ")
    assert new.search(sslm_mgr(site, "-f", "-renew", "example.com:web-ec").stdout)

    early = sslm_mgr(site, "-roll", "-roll-mins", "30", "example.com:web-ec")
    assert early.stdout == "nothing to roll\n"
    assert re.fullmatch(rf"{WEB}: not before .+ UTC \(-roll-mins\)\n", early.stderr)
    every = sslm_mgr(site, "-roll", "-roll-mins", "30").stdout
    assert re.search(rf"{WEB} .*30 min .* UTC", every), every
    told = site.ctl("roll", "--min-roll-mins", "30", WEB, status=1).stderr
    assert "30 min" in told
    assert site.status(WEB)[WEB]["curr"]["serial"] == old
    assert ask_of(site, WEB) is None

    done = sslm_mgr(site, "-roll", "-roll-mins", "0", "example.com:web-ec")
    assert re.fullmatch(rf"{WEB}: done: .+\n", done.stdout)
    site.wait_line("roll it 0 min after it was issued")
    assert site.status(WEB)[WEB]["curr"]["serial"] != old
    wait_until(lambda: ask_of(site, WEB) is None, "the note that it is done")
    again = sslm_mgr(site, "-roll", "-roll-mins", "0", "example.com:web-ec")
    assert again.stderr == f"{WEB}: nothing on deck\n"
    assert f"{WEB} has nothing on deck" in sslm_mgr(site, "-roll", "-roll-mins", "0").stdout


def test_minutes_that_make_no_sense_are_refused(site: Site) -> None:
    site.start()
    site.wait_settled()
    for words in (["--force"], ["--back", WEB]):
        told = site.ctl("roll", "--min-roll-mins", "0", *words, status=2).stderr
        assert f"{words[0]} does not wait for min_roll_mins" in told
    assert "at most (a year)" in site.ctl("roll", "--min-roll-mins", "525601", status=1).stderr
    negative = site.ctl("roll", "--min-roll-mins", "-1", status=2).stderr
    assert "is not a whole number, 0 or more" in negative


def test_windows_are_waited_for_and_what_is_served_meanwhile_is_no_end(site: Site) -> None:
    """The request stands. A restart that fails before the roll says nothing about it."""
    service = site.conf / WEB
    far = f"{datetime.now(UTC) + timedelta(days=3):%a} 02:00-03:00 UTC"
    service.write_text(f"roll_window = ['{far}']\n{service.read_text()}")
    site.start()
    old = site.wait_settled()[WEB]["curr"]["serial"]
    sslm_mgr(site, "-f", "-renew", "example.com:web-ec")
    tool = site.conf / "tools/note-restart"
    good = tool.read_text()
    script(tool, "echo it does not start >&2; exit 1\n")
    assert "it does not start" in site.ctl("restart", "web", status=1).stdout

    done = sslm_mgr(site, "-roll", "-roll-mins", "0", "example.com:web-ec")
    assert re.match(rf"{WEB}: waiting: .*roll_window", done.stdout), done.stdout
    assert site.status(WEB)[WEB]["curr"]["serial"] == old
    assert ask_of(site, WEB)
    tool.write_text(good)
    assert "the request to roll it is dropped" in site.ctl("cancel", WEB).stdout
    assert ask_of(site, WEB) is None
    done = sslm_mgr(site, "-roll", "-f", "example.com:web-ec")
    assert re.fullmatch(rf"{WEB}: done: .+\n", done.stdout)


def test_what_is_of_no_use_is_not_rolled_and_stops_no_other(site: Site) -> None:
    rsa = "example.com/web-rsa"
    site.start()
    site.wait_settled()
    sslm_mgr(site, "-f", "-renew", "example.com:web-ec,web-rsa")
    before = site.serials()
    service = site.conf / rsa
    service.write_text(service.read_text().replace("'my-int'", "'my-root'"))
    site.ctl("reload")
    done = sslm_mgr(site, "-roll", "-roll-mins", "0", "example.com:ALL")
    assert f"{WEB}: done: " in done.stdout
    after = site.serials()
    assert after[WEB] != before[WEB]


def test_the_wait_for_dns_is_never_shorter_and_what_was_asked_survives_a_kill(
    tmp_path: Path,
) -> None:
    with dane_world(tmp_path) as world:
        site = world.site
        site.ttl = 3
        site.globals["min_roll_mins"] = "90"
        world.begin()
        probes = world.prober()
        probes.wait_probes(10)
        before = world.renew()
        site.wait_line("its TLSA records are on every name server")
        seen = time.monotonic()
        asked = sslm_mgr(site, "-roll", "-roll-mins", "0", ARG)
        assert asked.stdout.startswith(f"{CERT}: waiting: ")
        assert {"dns-waits", "seen"} <= reasons_of(site.cert()).keys()
        assert site.cert()["curr"]["serial"] == before
        ask = ask_of(site, CERT)
        assert isinstance(ask, dict)
        assert (ask["what"], ask["min_roll_mins"], ask.get("force", False)) == ("roll", 0, False)
        site.kill()
        site.start()
        after = world.wait_rolled(before)
        assert time.monotonic() - seen >= 2 * site.ttl
        assert ask_of(site, CERT) is None
        clean(probes)

        # Without a wait: what that breaks is said.
        assert world.renew() == after
        done = sslm_mgr(site, "dev", "-ntoc", ARG)
        assert re.search(
            rf"check DANE may refuse example.com:{world.port}, {HOST}:{world.port} ",
            done.stderr,
        ), done.stderr
        assert site.cert()["curr"]["serial"] != after


def test_next_becomes_curr_without_waiting(site: Site) -> None:
    site.start()
    old = site.wait_settled()[WEB]["curr"]["serial"]
    sslm_mgr(site, "dev", "-keys", "-csr", "-cert", "example.com:web-ec")
    new = site.status(WEB)[WEB]["next"]["serial"]
    shown = sslm_mgr(site, "dev", "-d", "-ntoc", "example.com:web-ec").stdout
    assert shown.splitlines()[0].endswith("sslmctl roll --force example.com:web-ec")
    assert "on deck" in shown
    assert site.status(WEB)[WEB]["curr"]["serial"] == old
    done = sslm_mgr(site, "dev", "-ntoc", "example.com:web-ec")
    assert re.fullmatch(rf"{WEB}: done: .+\n", done.stdout)
    assert site.status(WEB)[WEB]["curr"]["serial"] == new
    # Nothing on deck: named, that is a mistake; else there is nothing to do.
    told = sslm_mgr(site, "dev", "-ntoc", "example.com:web-ec", status=1).stderr
    assert "nothing on deck" in told
    sslm_mgr(site, "dev", "-ntoc")


# --- DNS and servers -----------------------------------------------------------------------


def site_with_zones(site: Site, dns: str, *zones: str) -> None:
    """Write a configuration with a certificate of the own CA in each zone, and no servers."""
    site.put("ssl-mgr.conf", f"{first_tables({}, ('ca', *zones))}\n[dns]\n{dns}")
    site.put_own_cas()
    for zone in zones:
        site.put_service(f"{zone}/web", "my-int", [f"web.{zone}"])


def runs(log: Path) -> set[str]:
    """Return the arguments that a command was run with, in any run."""
    return {word for line in log.read_text().splitlines() for word in line.split()}


def test_a_zone_that_fails_stops_no_other(bare_site: Site) -> None:
    """There is a folder for TLSA records alone: challenges are none of its business."""
    site, top = bare_site, bare_site.top
    log, broken = top / "resign.log", top / "broken"
    resign = script(
        top / "resign",
        f'echo "$@" >> {log}\n'
        f"test -e {broken} || exit 0\n"
        'case " $* " in *" example.net "*) echo "zone example.net is broken" >&2; exit 1;; esac\n',
    )
    (top / "tlsa").mkdir()
    dns = f"tlsa_dirs = ['{top}/tlsa']\nrestart_cmd = '{resign}'\n"
    site_with_zones(site, dns, "example.com", "example.net", "example.org")
    site.start()
    site.wait_settled()

    log.unlink(missing_ok=True)
    fine = sslm_mgr(site, "-dns")
    assert fine.stdout == "".join(
        f"example.{tld}: no TLSA records given to DNS again\n" for tld in ("com", "net", "org")
    )
    assert {"example.com", "example.net", "example.org"} <= runs(log)

    broken.touch()
    log.unlink()
    for one in (top / "tlsa").iterdir():
        one.unlink()
    told = sslm_mgr(site, "-dns", status=1).stdout.splitlines()
    assert told[0].startswith("example.com: no TLSA records")
    assert told[1].startswith("example.net: failed: ")
    assert "zone example.net is broken" in told[1]
    assert told[2].startswith("example.org: no TLSA records")
    assert {"example.com", "example.net", "example.org"} <= runs(log)
    assert {one.name for one in (top / "tlsa").iterdir()} >= {
        "tlsa.example.com",
        "tlsa.example.org",
    }
    # Named alone, the others are fine.
    sslm_mgr(site, "-dns", "example.com:web", "example.org:web")
    sslm_mgr(site, "-dns", "example.net:web", status=1)
    nothing = sslm_mgr(site, "-dns", "ca:my-root").stdout
    assert nothing.startswith("nothing to do: ")


def test_a_site_without_dns_has_nothing_to_refresh(bare_site: Site) -> None:
    site = bare_site
    site_with_zones(site, "", "example.com")
    site.start()
    site.wait_settled()
    assert sslm_mgr(site, "-dns").stdout.startswith("example.com: nothing to do: ")
    done = sslm_mgr(site, "dev", "-fsr")
    assert done.stdout.startswith("no server has a certificate")


def test_a_command_without_folders_is_run(bare_site: Site) -> None:
    """Without a server in use, forced restarts come to that of DNS."""
    site = bare_site
    log = site.top / "resign.log"
    resign = script(site.top / "resign", f'echo "$@" >> {log}\n')
    site_with_zones(site, f"restart_cmd = '{resign}'\n", "example.com")
    site.start()
    site.wait_settled()
    log.unlink(missing_ok=True)
    done = sslm_mgr(site, "dev", "-fsr")
    nothing, ran = done.stdout.splitlines()
    assert nothing.startswith("no server has a certificate")
    assert ran == "example.com: restart_cmd was run"
    assert log.read_text() == "--serial_bump example.com\n"


def test_servers_in_use_are_restarted_and_dns(site: Site) -> None:
    site.start()
    site.wait_settled()
    log = site.top / "restarts.log"
    log.unlink()
    shown = sslm_mgr(site, "dev", "-d", "-fsr").stdout
    asked = [line.partition("sslmctl ")[2] for line in shown.splitlines()]
    assert [one for one in asked if one] == ["restart imap", "restart web", "dns-refresh"]
    assert not log.exists()
    done = sslm_mgr(site, "dev", "-fsr").stdout
    assert "imap on localhost: done" in done
    assert "web on localhost: done" in done
    assert len(log.read_text().splitlines()) == 2
    # Only those that have the certificate that is named.
    log.unlink()
    sslm_mgr(site, "dev", "-fsr", "example.com:mail-ec")
    (line,) = log.read_text().splitlines()
    assert "imap" in line


# --- showing -------------------------------------------------------------------------------


def test_it_shows_how_long_a_certificate_lives_and_when_it_was_issued(site: Site) -> None:
    site.start()
    site.wait_settled()
    shown = sslm_mgr(site, "-s", "-v", "example.com:web-ec").stdout
    assert re.search(r"valid +\d{4}-\S+.* to \d{4}-.*, \d+ d left", shown), shown
    assert re.search(r"issued +\d{4}-.* UTC, \d min ago", shown), shown
    assert site.status(WEB)[WEB]["curr"]["issued_at"].endswith("Z")
    short = sslm_mgr(site, "-s").stdout
    assert "CERTIFICATE" in short
    assert WEB in short
    # Alone, -d shows what the daemon will do by itself.
    for words in (["-d"], ["dev", "-d"]):
        assert sslm_mgr(site, *words).stdout == site.ctl("plan").stdout
