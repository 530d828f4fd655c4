"""Orders among reloads, lost hooks, changed aliases, and servers that show a thing only once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import ARG, CERT, ZONE, World, hooks_of, processes, verify, world
from tests.stand.bind import Zone, answer
from tests.stand.proxy import Answer, Proxy
from tests.stand.server import wait_until

NAMES = [ZONE, f"www.{ZONE}"]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, "certbot") as one:
        yield one


def test_a_hook_that_is_killed_ends_the_order_before_the_ca_looks(here: World) -> None:
    _, late, ca = here.lagging()
    for pid in hooks_of(here.site):
        os.kill(pid, signal.SIGKILL)
    here.site.wait_line("attempt 1 failed")
    assert ca.validations() == []
    wait_until(lambda: not processes(here.site), "the end of certbot")
    here.site.ctl("renew", "--no-wait", ARG)
    here.site.wait_line("does not show", 2)
    late.refresh(ZONE)
    here.site.wait_settled()
    verify(here.site, ca)


def test_an_alias_that_one_server_lacks(here: World) -> None:
    """Only its target is watched later; the CA may ask the server that lacks it."""
    primary = here.bind(ZONE, "acme.test")
    late = here.secondary("late", primary, [ZONE], notify=False)
    # The alias comes after the secondary has got the zone.
    zone_file = primary.zone_file(ZONE)
    zone_file.write_text(zone_file.read_text() + "_acme-challenge CNAME web.acme.test.\n")
    primary.reload(ZONE)
    primary.wait_answer(f"_acme-challenge.{ZONE}", "CNAME", "web.acme.test.")
    ca = here.pebble(here.resolver(primary))
    here.site.use(ca)
    here.site.publish(primary)
    here.site.primaries["acme.test"] = here.site.primaries["default"]
    here.site.publish(primary, [late])
    here.site.primaries[ZONE] = here.site.primaries["default"]
    here.site.write()
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert late.address in line
    assert "web.acme.test" in line
    assert ca.orders() == 0

    late.refresh(ZONE)
    here.site.ctl("renew", "--no-wait", ARG)
    here.site.wait_settled()
    verify(here.site, ca)


def test_what_was_shown_once_and_is_gone_does_not_count(here: World) -> None:
    primary = here.bind()
    first = here.secondary("first", primary)
    late = here.secondary("late", primary, notify=False)
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary, [first, late])
    here.site.write()
    here.site.start()
    here.site.wait_line(f"{late.address} does not show")
    assert answer(first, f"_acme-challenge.{ZONE}", "TXT")
    first.stop()
    late.refresh(ZONE)
    here.site.wait_line(f"{first.address} cannot be asked")
    assert ca.validations() == []
    first.start()
    here.site.wait_settled()
    assert ca.failures() == 0


def test_another_ca_while_an_order_waits(here: World) -> None:
    """What the old CA would still give is not taken for the new one's."""
    primary, late, ca = here.lagging()
    other = here.pebble_other(primary)
    here.site.use(other)
    here.site.write()
    here.site.ctl("reload")
    here.site.wait_line(f"order at {other.directory}")
    late.refresh(ZONE)
    here.site.wait_line("does not show", 2)
    late.refresh(ZONE)
    here.site.wait_settled()
    verify(here.site, other)
    assert ca.issued() == 0
    assert ca.validations() == []


def test_other_names_while_an_order_waits(here: World) -> None:
    _, late, ca = here.lagging()
    here.site.write({CERT: NAMES})
    here.site.ctl("reload")
    here.site.wait_line("key made", 2)
    here.site.wait_line("does not show", 2)
    late.refresh(ZONE)
    status = here.site.wait_settled()[CERT]
    assert set(status["curr"]["names"]) == set(NAMES)
    assert ca.issued() == 1


def test_a_service_that_is_taken_away_while_its_order_waits(here: World) -> None:
    primary, _, ca = here.lagging()
    here.site.write_service(f"{ZONE}/other", [f"other.{ZONE}"])
    (here.site.conf / CERT).unlink()
    here.site.ctl("reload")
    here.site.wait_line(f"does not show _acme-challenge.other.{ZONE}")
    assert answer(primary, f"_acme-challenge.{ZONE}", "TXT") == []
    assert ca.validations() == []
    assert not any("sslmd's own" in line for line in here.site.lines)


def test_an_order_cut_short_while_the_ca_validates_is_counted(here: World) -> None:
    """Pebble asks a server that knows nothing: each of these fails, and nobody hears of it."""
    primary = here.bind()
    ca = here.pebble(here.bind_other(), settings={"PEBBLE_VA_SLEEPTIME": "2"})
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write()
    for number in range(1, 5):
        here.site.start()
        wait_until(lambda: len(ca.validations()) >= number, "a validation")  # noqa: B023
        here.site.kill()
    here.site.start()
    here.site.wait_line("cut short too often")
    assert here.site.status()[CERT]["next_try"]
    assert len(ca.validations()) <= 4
    here.site.ctl("force-renew", ARG, status=None)
    assert len(ca.validations()) <= 4


def test_a_certbot_that_is_killed_after_the_ca_issued_is_not_ordered_twice(here: World) -> None:
    """As the kernel does where memory is short; the daemon lives on."""
    primary = here.bind()
    ca = here.pebble(primary)
    working = True

    def change(answer: Answer) -> Answer:
        found = json.loads(answer.body) if answer.path.startswith("/my-order/") else {}
        if not working or found.get("status") != "valid":
            return answer
        body = json.dumps({**found, "status": "processing"}).encode()
        return Answer(answer.path, answer.status, answer.headers, body)

    with Proxy(ca, change) as proxy:
        here.site.use(ca)
        here.site.ca = here.site.ca.replace(ca.directory, proxy.directory)
        here.site.publish(primary)
        here.site.write()
        here.site.start()
        wait_until(lambda: ca.issued() == 1, "a certificate")
        for line in processes(here.site):
            if "certonly" in line:
                os.kill(int(line.split()[0]), signal.SIGKILL)
        assert "died of signal 9" in here.site.wait_line("attempt 1 failed")
        working = False
        here.site.ctl("renew", "--no-wait", ARG)
        here.site.wait_settled()
    verify(here.site, ca)
    assert (ca.orders(), ca.issued()) == (1, 1)


def test_a_certificate_that_cannot_be_written_is_not_ordered_twice(here: World) -> None:
    primary = here.bind()
    late = here.secondary("late", primary, notify=False)
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary, [late])
    here.site.write()
    here.site.start()
    here.site.wait_line(f"{late.address} does not show")
    blocker = here.site.top / "certs" / CERT / "next" / "fullchain.pem"
    blocker.mkdir()
    late.refresh(ZONE)
    assert "fullchain.pem" in here.site.wait_line("attempt 1 failed")
    blocker.rmdir()
    here.site.ctl("renew", ARG)
    here.site.wait_settled()
    verify(here.site, ca)
    assert ca.orders() == 1
    assert ca.issued() == 1


@pytest.mark.parametrize("status", [429, 503])
def test_an_order_is_not_given_up_because_its_ca_is_busy(here: World, status: int) -> None:
    primary = here.bind()
    ca = here.pebble(primary, settings={"PEBBLE_VA_SLEEPTIME": "1"})
    here.site.publish(primary)
    busy = False

    def change(answer: Answer) -> Answer:
        if busy and answer.path.startswith("/my-order/"):
            body = b'{"type":"urn:ietf:params:acme:error:rateLimited","detail":"busy"}'
            return Answer(answer.path, status, answer.headers, body)
        return answer

    with Proxy(ca, change) as proxy:
        here.site.use(ca)
        here.site.ca = here.site.ca.replace(ca.directory, proxy.directory)
        here.site.write()
        here.site.start()
        here.site.wait_line("the CA validates")
        ca.wait_log("set VALID by completed challenge")
        here.site.kill()
        busy = True
        here.site.start()
        assert "cannot be taken up now" in here.site.wait_line("attempt 1 failed")
        busy = False
        here.site.ctl("renew", "--no-wait", ARG)
        here.site.wait_settled()
    assert ca.orders() == 1


def test_a_name_that_the_primary_refuses_keeps_out_no_other(here: World) -> None:
    policy = f"grant sslmd name _acme-challenge.{ZONE}. TXT;"
    primary = here.bind(Zone(ZONE, dynamic=True, update_policy=policy))
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.update(primary, ZONE)
    refused = f"{ZONE}/refused"
    here.site.write({CERT: [ZONE, f"*.{ZONE}"], refused: [f"ftp.{ZONE}"]})
    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert f"_acme-challenge.ftp.{ZONE}" in line
    assert refused in line
    here.site.wait_settled(refused)
    verify(here.site, ca)
    here.site.ctl("force-renew", ARG)
    here.site.wait_line("challenge records were taken back")
    assert not list((here.site.top / "certs" / ZONE).glob("acme-challenge*"))


def test_once_takes_back_what_a_killed_daemon_left(here: World) -> None:
    primary, late, _ = here.lagging()
    here.site.kill()
    assert here.site.records(primary)
    late.stop()
    here.site.globals["dns_check_timeout"] = "1"
    here.site.publish(primary)
    here.site.write()
    here.site.start("--once", ready=False)
    assert here.site.wait() == 0
    assert here.site.records(primary) == ""
    assert answer(primary, f"_acme-challenge.{ZONE}", "TXT") == []


def test_by_other_means_after_a_restart(here: World) -> None:
    """What an update put into a zone goes by update, though files are written now."""
    primary = here.bind(Zone(ZONE, dynamic=True), "other.test")
    late = here.secondary("late", None, [ZONE])
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.update(primary, ZONE, [late])
    here.site.write()
    here.site.start()
    here.site.wait_line(f"{late.address} answers SERVFAIL")
    assert answer(primary, f"_acme-challenge.{ZONE}", "TXT")
    here.site.kill()

    body = here.site.primaries[ZONE].replace("update = true", "update = false")
    here.site.primaries[ZONE] = body
    here.site.dns = f"acme_dir = '{primary.acme_dir}'\nrestart_cmd = '/bin/true'\n"
    here.site.globals["dns_check_timeout"] = "2"
    here.site.write()
    here.site.start()
    here.site.wait_line("attempt 1 failed")
    wait_until(
        lambda: not answer(primary, f"_acme-challenge.{ZONE}", "TXT"), "the end of old records"
    )


def test_two_trials_of_one_certificate(here: World) -> None:
    _, late, _ = here.lagging()
    command = ["renew", "--dry-run", ARG]
    here.site.ctl(*command[:2], "--no-wait", ARG)
    refused = here.site.ctl("renew", "--test", ARG, status=1)
    assert "a dry-run is under way" in refused.stderr
    done = here.site.ctl("cancel", ARG)
    assert "the dry-run was stopped" in done.stdout
    assert here.site.status()[CERT]["last_error"] is None  # its own order goes on
    late.refresh(ZONE)
