"""The main job, on the example configuration: issue, renew, roll, reload, stop."""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.stand.server import ROOT, wait_until
from tests.stand.site import Site, verify

WEB = "example.com/web-ec"


def test_every_certificate_of_the_example_is_live_and_verifies(site: Site) -> None:
    site.start()
    status = site.wait_settled()

    assert len(status) >= 6
    for cert in status:
        verify(site, cert)
        verify(site, cert, base="prod-certs")
    assert not list((site.top / "prod-certs/ca").rglob("privkey.pem"))
    assert not list((site.top / "prod-certs/ca").rglob("bundle.pem"))
    table = site.ctl("status").stdout
    assert all(cert in table for cert in status)


def test_nothing_secret_can_be_read_by_others(site: Site) -> None:
    site.start()
    site.wait_settled()

    secret = [
        path
        for base in ("certs", "prod-certs")
        for name in ("privkey.pem", "bundle.pem")
        for path in (site.top / base).rglob(name)
    ]
    assert len(secret) > 10
    for path in secret:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log = "\n".join(site.lines) + site.ctl("show", WEB).stdout + site.ctl("events").stdout
    assert "PRIVATE KEY" not in log


def test_a_second_start_issues_nothing(site: Site) -> None:
    site.start()
    site.wait_settled()
    before = site.serials()
    assert site.stop(signal.SIGINT) == 0

    site.start()
    assert site.serials() == before
    assert json.loads(site.ctl("status", "--json").stdout)["daemon"]["text"].endswith("live")
    assert site.stop() == 0
    assert not any("issued" in line for line in site.lines)


def test_force_renew_gives_a_next_and_roll_waits_its_time(site: Site) -> None:
    site.start()
    before = site.wait_settled()[WEB]

    site.ctl("force-renew", "example.com:web-ec")
    renewed = site.status(WEB)[WEB]
    assert renewed["curr"] == before["curr"]
    assert renewed["next"]["serial"] != before["curr"]["serial"]
    assert renewed["roll_at"]
    verify(site, WEB, which="next")

    refused = site.ctl("roll", "example.com:web-ec", status=1)
    assert "min_roll_mins" in refused.stderr
    assert site.status(WEB)[WEB]["curr"] == before["curr"]

    site.ctl("roll", "--force", "example.com:web-ec")
    rolled = site.status(WEB)[WEB]
    assert rolled["curr"]["serial"] == renewed["next"]["serial"]
    assert rolled["next"] is None
    assert rolled["phase"] == "settled"
    history = site.ctl("show", "example.com:web-ec").stdout
    assert re.search("forced.* min_roll_mins ", history)


def test_a_next_waits_for_its_window(site: Site) -> None:
    conf, file = site.top / "conf.d/ssl-mgr.conf", site.top / "conf.d" / WEB
    conf.write_text(conf.read_text().replace("min_roll_mins = 90", "min_roll_mins = 0"))
    opens = datetime.now(UTC) + timedelta(days=3)
    window = f"{opens:%a} 02:00-05:00 Europe/Berlin"
    file.write_text(f"roll_window = '{window}'\n{file.read_text()}")
    site.start()
    before = site.wait_settled()[WEB]  # the first one waits for nothing

    site.ctl("force-renew", WEB)
    on_deck = site.wait_reason(WEB, "window")
    assert on_deck["roll_at"] > f"{opens - timedelta(days=2):%F}"
    refused = site.ctl("roll", WEB, status=1)
    assert f"({window})" in refused.stderr
    assert "--force" in refused.stderr
    assert site.status(WEB)[WEB]["curr"] == before["curr"]

    site.ctl("roll", "--force", WEB)
    assert site.status(WEB)[WEB]["curr"]["serial"] == on_deck["next"]["serial"]
    shown = site.ctl("show", WEB).stdout
    assert re.search(rf"forced.* roll_window \({re.escape(window)}\)", shown)


def test_force_renew_replaces_what_is_on_deck_and_renew_does_not(site: Site) -> None:
    site.start()
    site.wait_settled()
    site.ctl("force-renew", WEB)
    first = site.status(WEB)[WEB]["next"]

    site.ctl("renew", WEB)
    assert site.status(WEB)[WEB]["next"] == first
    site.ctl("force-renew", WEB)
    assert site.status(WEB)[WEB]["next"]["serial"] != first["serial"]

    site.ctl("force-renew", status=2)  # all of them only if it is said


def test_reuse_keeps_the_key(site: Site) -> None:
    site.start()
    site.wait_settled()
    key = (site.live(WEB) / "privkey.pem").read_bytes()
    site.ctl("renew", "--force", "--reuse", WEB)
    site.ctl("roll", "--force", WEB)
    assert (site.live(WEB) / "privkey.pem").read_bytes() == key
    verify(site, WEB)


def test_chains_stay_right_while_two_generations_of_a_ca_are_in_use(site: Site) -> None:
    site.start()
    status = site.wait_settled()
    leaves = [cert for cert in status if not cert.startswith("ca/")]
    for ca in ("ca/my-int", "ca/my-root"):
        old_ca = site.status(ca)[ca]["curr"]["serial"]
        site.ctl("force-renew", ca)
        site.ctl("force-renew", leaves[0])
        verify(site, leaves[0], which="next")
        site.ctl("roll", "--force", ca)
        assert site.status(ca)[ca]["curr"]["serial"] != old_ca
        site.ctl("force-renew", leaves[1])
        verify(site, leaves[1], which="next")
        site.ctl("roll", "--force", leaves[0])
        site.ctl("roll", "--force", leaves[1])
        for cert in leaves:
            verify(site, cert)


def test_restarts_come_once_per_batch(site: Site) -> None:
    site.start()
    site.wait_settled()
    log = site.top / "restarts.log"
    assert sorted(line.split()[1] for line in log.read_text().splitlines()) == ["imap", "web"]
    log.unlink()

    leaves = [c for c in site.status() if not c.startswith("ca/")]
    site.ctl("force-renew", *leaves)
    assert not log.exists()
    site.ctl("roll", "--force", *leaves)
    assert sorted(line.split()[1] for line in log.read_text().splitlines()) == ["imap", "web"]


def test_reload_is_all_or_nothing(site: Site) -> None:
    site.start()
    site.wait_settled()
    service = site.conf / "example.com" / "web-ec"
    good = service.read_text()

    service.write_text(good + "\n[KeyOpts]\nktype = 'dsa'\n")
    refused = site.ctl("reload", status=1)
    assert f"{service}:" in refused.stdout + refused.stderr
    before = site.serials()

    shutil.copy(site.conf / "example.net" / "web-ec", site.conf / "example.net" / "web-new")
    new = site.conf / "example.net" / "web-new"
    new.write_text(new.read_text().replace("web-ec", "web-new"))
    service.write_text(good.replace("'*.example.com'", "'alt.example.com', '*.example.com'"))
    conf = site.conf / "ssl-mgr.conf"
    conf.write_text(_listing(conf.read_text(), "web-new"))
    done = site.ctl("reload")
    assert "1 added" in done.stdout
    site.wait_settled(WEB)
    status = site.status()
    assert status["example.net/web-new"]["curr"]
    assert status[WEB]["curr"]["serial"] == before[WEB]
    site.wait_line("asks for other names: +alt.example.com")


def test_named_services_that_are_left_out_are_told_why(site: Site) -> None:
    conf = site.conf / "ssl-mgr.conf"
    good = conf.read_text()
    text = good.replace("'web-rsa', 'mail-ec'", "'mail-ec'")
    conf.write_text(
        text.replace("active = true\n    domain = 'example.net'", "domain = 'example.net'")
    )
    site.start()
    asleep = f"its group is not active: set active = true in [[groups]] of {conf}"
    unlisted = f"its file is there, but `services` of its group in {conf} does not list it"
    for words, said in (
        (("show", "example.net:web-ec"), f"example.net:web-ec: {asleep}"),
        (("renew", "example.net"), f"example.net: {asleep}"),
        (("renew", "example.com:mail-ec,web-rsa"), f"example.com:web-rsa: {unlisted}"),
        (("show", "example.com:nothing"), "there is no example.com:nothing; example.com has"),
    ):
        assert said in site.ctl(*words, status=2).stderr
    old = [sys.executable, "-m", "sslmd.ctl.sslm_mgr", "--socket", str(site.socket)]
    done = subprocess.run(
        [*old, "-renew", "example.net:web-ec"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, asleep in done.stderr) == (2, True)
    conf.write_text(good)
    site.ctl("reload")
    site.ctl("show", "example.net:web-ec")
    site.ctl("show", "example.com:web-rsa")


def _listing(text: str, service: str) -> str:
    """List another service in the group of example.net."""
    head, group, tail = text.partition("example.net")
    before, bracket, rest = tail.partition("services = [")
    assert bracket
    return f"{head}{group}{before}{bracket}'{service}', {rest}"


def test_one_daemon_per_tree(site: Site, tmp_path: Path) -> None:
    site.start()
    other = Site(tmp_path / "other", example=None)
    other.conf = site.conf
    (tmp_path / "other").mkdir()
    other.start(ready=False)
    assert other.wait() == 1
    assert f"another sslmd (pid {site.process.pid if site.process else 0})" in other.lines[-1]
    assert site.stop() == 0


def test_once_does_what_is_due_and_exits(site: Site) -> None:
    site.start("--once", ready=False)
    assert site.wait() == 0
    for cert in ("ca/my-root", "ca/my-int", WEB):
        verify(site, cert)
    made = (site.live(WEB) / "cert.pem").read_bytes()

    site.start("--once", ready=False)
    assert site.wait() == 0
    assert (site.live(WEB) / "cert.pem").read_bytes() == made


def test_once_fails_when_something_failed(site: Site) -> None:
    site.start("--once", ready=False)
    assert site.wait() == 0
    conf = site.conf / "ssl-mgr.conf"
    conf.write_text(conf.read_text().replace("note-restart web", "no-such-command web"))
    site.live(WEB).unlink()

    site.start("--once", ready=False)
    assert site.wait() == 1
    assert any("no-such-command" in line for line in site.lines)
    verify(site, WEB)


def test_a_lost_state_file_loses_only_history(site: Site) -> None:
    site.start()
    site.wait_settled()
    before = site.serials()
    site.stop()
    (site.top / "restarts.log").unlink()
    for path in (site.top / "certs").rglob("state.toml"):
        path.unlink()

    site.start()
    assert {cert: one["curr"]["serial"] for cert, one in site.wait_settled().items()} == before
    assert not (site.top / "restarts.log").exists()


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (b"version = 99\n", True),
        (b"\xff\x00 nonsense [[", False),
        (b"version = 1\ntrouble = 3\n", False),
    ],
)
def test_a_state_file_of_nonsense_or_of_a_later_version(
    site: Site, content: bytes, *, held: bool
) -> None:
    site.start()
    site.wait_settled()
    before = site.serials()
    site.stop()
    state = site.top / "certs" / WEB / "state.toml"
    state.write_bytes(content)

    site.start()
    status = site.wait_settled(*([WEB] if held else []))
    if held:
        assert "version 99" in status[WEB]["reason"]
        assert state.read_bytes() == content
        refused = site.ctl("force-renew", WEB, status=1)
        assert "version 99" in refused.stderr
    else:
        assert status[WEB]["curr"]["serial"] == before[WEB]
        (aside,) = state.parent.glob("state.toml.bad-*")
        assert aside.read_bytes() == content


def test_an_unusable_ca_stops_only_what_it_signs(site: Site) -> None:
    """A CA that no group lists has nothing to sign with and never will by itself."""
    lost = site.conf / "ca" / "lost"
    text = (site.conf / "ca" / "my-int").read_text().replace("my-int", "lost")
    lost.write_text(text.replace("CN = '", "CN = 'Lost "))
    info = site.conf / "ca-info.conf"
    info.write_text(info.read_text() + "\n[lost]\nca_desc = 'lost'\nca_type = 'local'\n")
    service = site.conf / "example.com" / "web-ec"
    service.write_text(service.read_text().replace("signing_ca = 'my-int'", "signing_ca = 'lost'"))

    site.start()
    status = site.wait_settled(WEB)
    site.wait_line("ca/lost has no certificate")
    one = site.status(WEB)[WEB]
    assert one["curr"] is None
    assert one["attempts"] >= 1
    assert one["next_try"]
    assert "ca/lost" in one["last_error"]
    assert len(status) > 4
    assert site.ctl("check", status=2).stdout.startswith("SSLMD CRITICAL")
    assert site.ctl("check", "example.net:ALL").stdout.startswith("SSLMD OK")


@pytest.mark.parametrize("days", [1, 6, 45])
def test_short_lives_do_not_loop(site: Site, days: int) -> None:
    """renew_expire_days = 30, certificates that live less than that or not much longer."""
    intermediate = site.conf / "ca" / "my-int"
    text = intermediate.read_text()
    line = next(one for one in text.splitlines() if "sign_end_days" in one and "=" in one)
    intermediate.write_text(text.replace(line, f"sign_end_days = {days}"))
    site.start()
    site.wait_settled()
    before = site.serials()
    site.ctl("reload")
    site.ctl("renew")
    assert site.serials() == before
    assert sum("certificate issued" in one for one in site.lines) == len(before)
    assert site.status(WEB)[WEB]["renew_at"] > site.status(WEB)[WEB]["curr"]["not_before"]


def test_cancel_drops_what_was_asked_for(site: Site) -> None:
    service = site.conf / "example.com" / "web-rsa"
    service.write_text(service.read_text().replace("rsa_bits = 2048", "rsa_bits = 4096"))
    site.start()
    site.wait_settled()
    cert = "example.com/web-rsa"
    for _ in range(6):  # a key may be made in no time
        before = site.serials()
        site.ctl("force-renew", "--no-wait", cert)
        done = site.ctl("cancel", cert)
        if "is dropped" in done.stdout and site.status()[cert]["next"] is None:
            break
        site.wait_phase(cert, "advertised")
        site.ctl("roll", "--force", cert)
        site.wait_settled()
    else:
        pytest.fail(f"a key of 4096 bits is made quicker than it can be cancelled: {done.stdout}")
    assert cert in done.stdout
    site.ctl("reload")
    assert site.serials() == before
    plan = site.ctl("plan", cert).stdout
    assert "renew" in plan


def test_a_service_of_a_ca_that_cannot_be_reached_says_so_and_comes_back(site: Site) -> None:
    info = site.conf / "ca-info.conf"
    nobody = "ca_server = 'https://127.0.0.1:9/directory'\n"
    info.write_text(info.read_text() + f"\n[far]\nca_type = 'certbot'\n{nobody}")
    service = site.conf / "example.net" / "web-ec"
    text = service.read_text()
    site.start()
    before = site.wait_settled()["example.net/web-ec"]

    service.write_text(text.replace("signing_ca = 'my-int'", "signing_ca = 'far'"))
    site.ctl("reload")
    site.wait_line("attempt 1 failed")
    one = site.status()["example.net/web-ec"]
    assert one["curr"] == before["curr"]
    assert "127.0.0.1:9" in one["last_error"]
    # To take back what was asked for does not bring on the next try of what is due.
    site.ctl("renew", "example.net/web-ec", status=1)
    assert "it rests until" in site.ctl("cancel", "example.net/web-ec").stdout
    one = site.status()["example.net/web-ec"]
    assert (one["attempts"], one["doing"]) == (0, None)
    assert one["next_try"]
    refused = site.ctl("force-renew", "example.net:web-ec", status=1)
    assert "127.0.0.1:9" in refused.stdout + refused.stderr
    assert site.status()["example.net/web-ec"]["curr"] == before["curr"]

    service.write_text(text)
    site.ctl("reload")
    assert site.wait_settled("example.net/web-ec")
    wait_until(lambda: site.status()["example.net/web-ec"]["attempts"] == 0, "no more attempts")


def test_a_refused_configuration_stays_visible_until_a_good_one_is_loaded(site: Site) -> None:
    site.start()
    site.wait_settled()
    conf = site.conf / "ssl-mgr.conf"
    good = conf.read_text()
    conf.write_text(good.replace("[globals]", "[globals]\ncmd_timout = 1\ncmd_timeout = 'long'", 1))
    line = 1 + good[: good.index("[globals]")].count("\n")
    refused = site.ctl("reload", status=1)
    assert f"ssl-mgr.conf:{line + 2}: globals.cmd_timeout" in refused.stderr
    assert f"warning: {conf}:{line + 1}: globals.cmd_timout" in refused.stderr
    assert "in force" in refused.stderr

    mistake = f"{conf}:{line + 2}: globals.cmd_timeout"
    shown = site.ctl("status").stdout
    assert "refused" in shown
    assert mistake in shown
    document = json.loads(site.ctl("status", "--json").stdout)
    assert document["daemon"]["refused"]["consequence"] == "the next start would fail"
    assert mistake in document["daemon"]["refused"]["mistakes"][0]
    checked = site.ctl("check", status=1)
    assert checked.stdout.startswith("SSLMD WARNING - ")
    assert "refused" in checked.stdout
    assert mistake in checked.stdout

    changed = good.replace("[globals]", "[globals]\ncmd_timeout = 30", 1)
    conf.write_text(f"{changed}\n[smtp]\nservers = []\n")
    loaded = site.ctl("reload")
    assert "[globals] of ssl-mgr.conf: cmd_timeout\n" in loaded.stdout
    assert "[smtp] of ssl-mgr.conf is new\n" in loaded.stdout
    site.wait_line("[globals] of ssl-mgr.conf: cmd_timeout; [smtp]")
    assert json.loads(site.ctl("status", "--json").stdout)["daemon"]["refused"] is None
    assert "SSLMD OK" in site.ctl("check").stdout


def test_a_delivery_does_not_fail_because_of_a_renewal(site: Site) -> None:
    """Its CA cannot be reached: that is said by `status`, and is not what was asked for."""
    site.start()
    site.wait_settled()
    with (site.conf / "ca-info.conf").open("a") as file:
        file.write("\n[down]\n    ca_desc = 'nobody answers'\n    ca_type = 'certbot'\n")
        file.write("    ca_validation = 'http-01'\n    ca_server = 'https://127.0.0.1:9/dir'\n")
    main, service = site.conf / "ssl-mgr.conf", site.conf / WEB
    main.write_text(main.read_text().replace("[web]\n", "[web]\n    server_dir = 'acme'\n"))
    (site.top / "acme").mkdir()
    text = service.read_text().replace("signing_ca = 'my-int'", "signing_ca = 'down'")
    service.write_text(text.replace("'*.example.com', ", ""))
    site.ctl("reload")
    site.wait_line("attempt 1 failed")
    delivered = site.ctl("deliver", "example.com:web-ec")
    assert delivered.stdout.startswith(f"{WEB}: done: ")
    assert "web on localhost" in delivered.stdout
    assert site.status(WEB)[WEB]["attempts"] == 1
    assert site.ctl("renew", "example.com:web-ec", status=1).stdout.startswith(f"{WEB}: failed: ")
