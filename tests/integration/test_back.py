"""Going back: what was in use before a roll is in use again, on a real daemon."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from sslmd.wire.messages import ErrorCode
from tests.stand.dane_site import ARG, CERT, clean, dane_world
from tests.stand.server import wait_until
from tests.stand.site import Site, codes_in, reasons_of, verify

WEB = "example.com/web-ec"
ROOT_CA = "ca/my-root"


def rolled_forward(site: Site, cert: str = WEB) -> tuple[str, str]:
    """Renew and roll; return the serials before and after."""
    site.start()
    old = site.wait_settled()[cert]["curr"]["serial"]
    return old, next_generation(site, cert)


def next_generation(site: Site, cert: str = WEB) -> str:
    site.ctl("force-renew", cert)
    site.ctl("roll", "--force", cert)
    return str(site.status()[cert]["curr"]["serial"])


def serial_in(folder: Path) -> str:
    """Return the serial of the certificate that a folder's files hold."""
    found = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    return f"{found.serial_number:x}"


def back(site: Site, *certs: str, force: bool = False) -> list[dict[str, Any]]:
    return site.ask("roll", certs=certs, back=True, force=force, wait=True)


def events(said: list[dict[str, Any]]) -> list[str]:
    return [one["params"]["event"] for one in said if one.get("method") == "progress"]


def refused(site: Site, *certs: str) -> dict[str, dict[str, Any]]:
    """Return why, by its codes; nothing has changed."""
    before = site.status()
    answer = back(site, *certs)[-1]
    assert answer["error"]["code"] == ErrorCode.REFUSED
    assert site.ctl("roll", "--back", *certs, status=1).stderr
    assert site.status() == before
    return codes_in(answer)


def test_back_and_forth(site: Site) -> None:
    """`min_roll_mins` is 90 in the example: it does not hold what was in use before."""
    old, new = rolled_forward(site)
    log = site.top / "restarts.log"
    log.unlink()
    renew_at = site.status(WEB)[WEB]["renew_at"]

    for want, other in ((old, new), (new, old)):
        said = back(site, "example.com:web-ec")
        assert "rolled-and-deployed" in codes_in(said[-1])
        assert "put-back" in events(said)
        notices = [one["params"] for one in said if one.get("method") == "progress"]
        assert {one["text_code"] for one in notices} >= {"back-asked", "put-back", "set-rolled"}
        found = site.status(WEB)[WEB]
        assert (found["curr"]["serial"], found["next"]) == (want, None)
        assert found["phase"] == "settled"
        assert serial_in(site.top / "prod-certs" / WEB / "curr") == want
        assert serial_in(site.live(WEB).parent / "prev") == other
        verify(site, WEB)
        verify(site, WEB, base="prod-certs")
        assert len(log.read_text().splitlines()) == 1
        log.unlink()
    # The place in the spread was drawn once.
    assert site.status(WEB)[WEB]["renew_at"] == renew_at
    assert site.ctl("show", WEB).stdout.count("  put-back  ") == 2
    # Nothing of it is left to do for a daemon that starts.
    site.stop()
    site.start()
    assert site.status(WEB)[WEB]["curr"]["serial"] == new
    site.stop()
    assert not any("rolled" in line or "put-back" in line for line in site.lines)


def test_what_is_refused_changes_nothing(site: Site) -> None:
    site.start()
    site.wait_settled()
    assert "no-prev" in refused(site, WEB)
    assert "name the certificates" in site.ctl("roll", "--back", status=2).stderr
    assert site.ask("roll", back=True)[-1]["error"]["code"] == ErrorCode.INVALID_PARAMS

    next_generation(site)
    prev = site.live(WEB).parent / "prev"
    good = (prev / "chain.pem").read_bytes()
    other = site.live("ca/my-root") / "cert.pem"
    (prev / "chain.pem").write_bytes(other.read_bytes())
    told = refused(site, WEB)
    assert told["unusable"]["problem"].startswith("chain.pem: ")
    assert told["cannot-go-back"]["arg"] == "example.com:web-ec"
    (prev / "chain.pem").write_bytes(good)
    # All or none of them.
    assert refused(site, WEB, "example.com:mail-ec")["no-prev"]["cert"] == "example.com/mail-ec"
    key = prev / "privkey.pem"
    moved = key.rename(prev / "elsewhere")
    assert refused(site, WEB)["unusable"]["problem"] == "no privkey.pem"
    moved.rename(key)
    site.ctl("roll", "--back", WEB)


def test_a_renewal_that_was_asked_for_goes_first_or_is_cancelled(site: Site) -> None:
    old, new = rolled_forward(site)
    key = site.live("ca/my-int") / "privkey.pem"
    away = key.rename(site.top / "away.pem")
    site.ctl("force-renew", WEB, status=1)
    assert refused(site, WEB)["asked-before"]["what"] == "renew"
    away.rename(key)
    assert site.status(WEB)[WEB]["curr"]["serial"] == new
    site.ctl("cancel", WEB)
    # What was made for it is off the deck, unfinished as it is.
    site.ctl("roll", "--back", WEB)
    found = site.status(WEB)[WEB]
    assert (found["curr"]["serial"], found["next"]) == (old, None)
    assert not (site.live(WEB).parent / "next").exists()


def test_a_next_on_deck_makes_room_and_is_told(site: Site) -> None:
    old, _ = rolled_forward(site)
    site.ctl("force-renew", WEB)
    on_deck = site.status(WEB)[WEB]["next"]["set"]
    done = site.ctl("roll", "--back", WEB)
    assert on_deck in done.stderr
    found = site.status(WEB)[WEB]
    assert (found["curr"]["serial"], found["next"]) == (old, None)
    assert (site.live(WEB).parent / "db" / on_deck / "cert.pem").exists()


def test_the_service_file_asks_for_something_else(site: Site) -> None:
    """It goes back all the same, and the renewal that follows is told of, and waits its time."""
    old, _ = rolled_forward(site)
    service = site.conf / WEB
    text = service.read_text()
    changed = text.replace("sans = [", "sans = ['more.example.com', ", 1)
    assert changed != text
    service.write_text(changed)
    site.ctl("reload")
    site.wait_on_deck(WEB)
    site.ctl("roll", "--force", WEB)
    newer = site.status(WEB)[WEB]["curr"]
    assert "more.example.com" in newer["names"]

    done = site.ctl("roll", "--back", WEB)
    assert "renewed" in done.stderr
    assert "+more.example.com" in done.stderr
    found = site.wait_on_deck(WEB)[WEB]
    assert found["curr"]["serial"] not in (old, newer["serial"])
    assert "more.example.com" not in found["curr"]["names"]
    assert "more.example.com" in found["next"]["names"]
    assert found["roll_at"]


def test_a_server_that_does_not_take_the_newer_set(site: Site) -> None:
    """What an admin goes back for. The failure of the newer set is no end of going back."""
    old, _ = rolled_forward(site)
    main = site.conf / "ssl-mgr.conf"
    good = main.read_text()
    main.write_text(good.replace("restart_cmd = ", "restart_cmd = 'false' # "))
    site.ctl("reload")
    site.ctl("force-renew", WEB)
    answer = site.ask("roll", certs=[WEB], force=True, wait=True)[-1]
    assert answer["result"]["certs"][0]["outcome"] == "failed"
    assert "false exited with 1" in codes_in(answer)["restart-failed"]["error"]
    assert site.status(WEB)[WEB]["phase"] == "rolled"
    main.write_text(good)
    site.ctl("reload")
    assert "rolled-and-deployed" in codes_in(back(site, WEB))
    assert site.status(WEB)[WEB]["curr"]["serial"] != old


def _uses(site: Site, serial: str) -> bool:
    return bool(site.status()[WEB]["curr"]["serial"] == serial)


def test_killed_right_after_it_was_accepted(site: Site) -> None:
    old, new = rolled_forward(site)
    for want in (old, new):
        site.ctl("roll", "--back", "--no-wait", WEB)
        site.kill()
        site.start()
        # It is settled until the first turn begins what was asked for.
        wait_until(partial(_uses, site, want), "the set that was asked for")
        site.wait_settled()
        assert serial_in(site.top / "prod-certs" / WEB / "curr") == want
        verify(site, WEB)


def test_a_ca_goes_back_and_what_it_signed_stays_valid(site: Site) -> None:
    site.start()
    site.wait_settled()
    root = site.status(ROOT_CA)[ROOT_CA]["curr"]["serial"]
    next_generation(site, ROOT_CA)
    next_generation(site, "ca/my-int")
    next_generation(site)
    site.ctl("roll", "--back", "ca:my-root", "ca:my-int")
    assert site.status(ROOT_CA)[ROOT_CA]["curr"]["serial"] == root
    verify(site, WEB)
    assert next_generation(site)
    verify(site, WEB)
    verify(site, "ca/my-int")


# --- with DANE -----------------------------------------------------------------------------


def test_no_sender_notices(tmp_path: Path) -> None:
    """There and back, there and back: both keys are known to every cache when one is served."""
    with dane_world(tmp_path) as world:
        world.begin()
        site = world.site
        first = world.served()
        probes = world.prober()
        probes.wait_probes(20)
        world.cycle()
        second = world.served()
        for key in (first, second, first):
            before = site.cert()["curr"]["serial"]
            done = site.ctl("roll", "--back", ARG, status=None)  # done, or it waits for its records
            assert "on deck" in done.stderr
            world.wait_rolled(before)
            assert world.served() == key
            assert world.wait_shown(1) == {key}
        assert clean(probes).first_seen_keys == 2


def test_a_key_whose_records_are_still_there_is_not_waited_for(tmp_path: Path) -> None:
    """A roll that the server did not take: the old key was never gone."""
    with dane_world(tmp_path) as world:
        site = world.site
        site.ttl = 4
        world.begin()
        first = world.served()
        probes = world.prober()
        probes.wait_probes(20)
        before = site.cert()["curr"]["serial"]
        # Once: the daemon's own next try comes a minute later.
        assert world.mail is not None
        world.mail.fail_reloads(1)
        site.ctl("force-renew", ARG)
        site.wait_cert(lambda one: one["phase"] == "rolled", "a roll")
        site.wait_line("the restart failed: ")
        assert world.served() == first

        (outcome,) = back(site, ARG)[-1]["result"]["certs"]
        assert (outcome["cert"], outcome["reason_code"]) == (CERT, "rolled-and-deployed")
        assert site.cert()["curr"]["serial"] == before
        assert world.served() == first
        assert world.wait_shown(1) == {first}
        assert clean(probes).first_seen_keys <= 2


def test_it_waits_for_its_records_over_a_crash_and_can_be_called_off(tmp_path: Path) -> None:
    with dane_world(tmp_path) as world:
        site = world.site
        world.begin()
        first = world.served()
        probes = world.prober()
        probes.wait_probes(10)
        before = world.cycle()
        second = world.served()
        site.ttl = 20
        site.write()
        site.ctl("reload")
        site.wait_settled()

        (outcome,) = back(site, ARG)[-1]["result"]["certs"]
        assert (outcome["cert"], outcome["outcome"]) == (CERT, "waiting")
        assert codes_in(outcome)["dns-waits"]["back"]
        world.wait_shown(2)
        assert world.served() == second
        site.kill()
        site.start()
        waiting = site.wait_cert(lambda one: one["next"] and "seen" in reasons_of(one), "the wait")
        assert waiting["curr"]["serial"] == before
        again = site.ask("renew", certs=[ARG], force=True, wait=True)[-1]
        assert "going-back" in codes_in(again["error"])
        site.ctl("force-renew", ARG, status=1)
        early = site.ctl("roll", ARG, status=1).stderr
        assert "rolls by itself" in early or "its TLSA records" in early

        assert "go back" in site.ctl("cancel", ARG).stdout
        site.wait_line("no longer on deck")
        site.wait_settled()
        assert site.cert()["next"] is None
        assert world.wait_shown(1) == {second}

        # By force it says what it breaks; that prober has an end before.
        clean(probes)
        done = site.ctl("roll", "--back", "--force", ARG)
        assert "refuse" in done.stderr
        world.wait_rolled(before)
        assert world.served() == first
