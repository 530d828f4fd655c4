"""dns-01 with Pebble and BIND: nothing is validated before every name server shows it (I8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand.acme_site import ARG, CERT, ZONE, World, names_of, processes, verify, world
from tests.stand.bind import Zone, answer
from tests.stand.server import wait_until
from tests.stand.site import reasons_of

TEN = [ZONE, f"*.{ZONE}", *(f"{letter}.{ZONE}" for letter in "abcdefgh")]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as one:
        yield one


def test_ten_names_and_a_wildcard(here: World) -> None:
    primary = here.bind()
    one, other = here.secondary("one", primary), here.secondary("other", primary)
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary, [one, other])
    here.site.write({CERT: TEN})

    here.site.start()
    status = here.site.wait_settled()[CERT]
    verify(here.site, ca)
    assert names_of(here.site) == set(TEN)
    assert set(status["curr"]["names"]) == set(TEN)
    assert sorted(ca.validations()) == sorted(name.removeprefix("*.") for name in TEN)
    assert ca.failures() == 0
    assert ca.orders() == 1

    # What is published is taken back, and the file stays.
    here.site.wait_line("challenge records were taken back")
    assert here.site.records(primary) == ""
    # The first start of all, the order, and the end of it.
    assert primary.reloads(ZONE) <= 3
    assert here.site.stop() == 0

    # Nothing is ordered again.
    here.site.start()
    assert here.site.status()[CERT]["curr"]["set"] == status["curr"]["set"]
    assert ca.orders() == 1


def test_a_signed_dynamic_zone(here: World) -> None:
    primary = here.bind(Zone(ZONE, signed=True, dynamic=True))
    secondary = here.secondary("one", primary)
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.update(primary, ZONE, [secondary])
    here.site.write({CERT: TEN})

    here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)
    assert primary.calls() == []
    here.site.wait_line("challenge records were taken back")
    assert answer(primary, f"_acme-challenge.{ZONE}", "TXT") == []
    assert not list((here.site.top / "certs" / ZONE).glob("acme-challenge*"))


def test_a_signed_zone_with_include_files(here: World) -> None:
    primary = here.bind(Zone(ZONE, signed=True))
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary, [here.secondary("one", primary)])
    here.site.write()

    here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)


def test_many_orders_share_reloads(here: World) -> None:
    zones = ["a.test", "b.test", "c.test"]
    primary = here.bind(*zones)
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    services = {
        f"{zones[number % 3]}/s{number:02}": [f"n{number}.{zones[number % 3]}", zones[number % 3]]
        for number in range(20)
    }
    here.site.write(services)

    here.site.start()
    status = here.site.wait_settled()
    assert len(status) == 20
    assert ca.orders() == 20
    assert ca.failures() == 0
    counted = {zone: primary.reloads(zone) for zone in zones}
    print(f"reloads: {counted} for 20 orders with 40 challenges")
    assert max(counted.values()) <= 12
    # Zones share runs as well.
    assert len(primary.calls()) < sum(counted.values())


def test_an_internationalized_name(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.write({CERT: [f"bücher.{ZONE}"]})
    here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)
    assert names_of(here.site) == {f"xn--bcher-kva.{ZONE}"}


def test_a_challenge_that_is_an_alias(here: World) -> None:
    primary = here.bind(
        Zone(
            ZONE,
            f"_acme-challenge CNAME web.acme.test.\n"
            f"_acme-challenge.www CNAME _acme-challenge.{ZONE}.\n",
        ),
        "acme.test",
    )
    ca = here.pebble(here.resolver(primary))
    here.site.use(ca)
    here.site.publish(primary)
    # A zone that holds challenges, and has no certificate itself.
    here.site.primaries["acme.test"] = here.site.primaries["default"]
    here.site.write({CERT: [ZONE, f"www.{ZONE}", f"*.{ZONE}", f"plain.{ZONE}"]})

    here.site.start()
    here.site.wait_settled()
    verify(here.site, ca)
    assert primary.reloads("acme.test") >= 1
    assert primary.queries("web.acme.test", "TXT")


# --- name servers that do not do what they should -------------------------------------------


def test_a_secondary_that_lags_is_waited_for(here: World) -> None:
    _, late, ca = here.lagging()
    assert late.address in here.site.status()[CERT]["reason"]
    assert ca.orders() == 1
    assert ca.validations() == []
    late.refresh(ZONE)
    here.site.wait_settled()
    assert ca.validations() == [ZONE]


def test_a_secondary_with_a_newer_serial_is_fine(here: World) -> None:
    primary = here.bind()
    newer = here.twin(primary)
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary, [newer])
    here.site.write()

    here.site.start()
    here.site.wait_line(f"{newer.address} does not show")
    assert ca.validations() == []
    for _ in range(5):
        newer.reload(ZONE)
    assert newer.serial(ZONE) > primary.serial(ZONE)
    here.site.wait_settled()
    assert ca.failures() == 0


@pytest.mark.parametrize("what", ["down", "servfail", "never", "silent"])
def test_a_secondary_that_never_shows_it_burns_no_attempt(here: World, what: str) -> None:
    primary = here.bind()
    match what:
        case "down":
            bad = here.secondary("bad", primary)
            bad.stop()
            told = f"{bad.address} cannot be asked"
        case "silent":
            bad = here.secondary("bad", primary)
            bad.freeze()
            told = f"{bad.address} did not answer"
        case "servfail":
            bad = here.secondary("bad", None, [ZONE])
            told = f"{bad.address} answers SERVFAIL"
        case _:
            bad = here.secondary("bad", primary, notify=False)
            told = f"{bad.address} does not show _acme-challenge.{ZONE} TXT"
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary, [bad])
    here.site.globals["dns_check_timeout"] = "3"
    here.site.write()

    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert told in line
    one = here.site.status()[CERT]
    assert told in one["last_error"]
    assert one["next_try"]
    assert one["attempts"] == 1
    assert ca.orders() == 1
    assert ca.validations() == []  # the CA was never told to look
    assert processes(here.site) == []
    here.site.wait_line("challenge records were taken back")
    assert here.site.records(primary) == ""


def test_a_reload_that_serves_the_old_zone_is_found_out(here: World) -> None:
    primary = here.bind()
    ca = here.pebble(primary)
    here.site.use(ca)
    here.site.publish(primary)
    here.site.dns = f"acme_dir = '{primary.acme_dir}'\nrestart_cmd = '/bin/true'\n"
    here.site.globals["dns_check_timeout"] = "3"
    here.site.write()

    here.site.start()
    line = here.site.wait_line("attempt 1 failed")
    assert "still serves serial 1" in line
    assert "named-checkzone" in line
    assert ca.validations() == []


def test_an_order_that_is_cancelled(here: World) -> None:
    _, late, ca = here.lagging()
    done = here.site.ctl("cancel", ARG)
    assert "sslmctl renew" in done.stdout
    status = here.site.status()[CERT]
    assert "rests" in reasons_of(status)
    assert (status["attempts"], status["last_error"]) == (0, None), "it is no failure"
    # There is no certificate, and none is on its way: both lines say so.
    told = json.loads(here.site.ctl("status", "--json").stdout)["daemon"]["text"]
    assert "1 in trouble" in told
    assert "1 in trouble" in here.site.ctl("status").stdout
    assert processes(here.site) == []
    here.site.ctl("renew", "--no-wait", ARG)
    here.site.wait_line("order at", 2)
    assert ca.validations() == []

    def is_settled() -> bool:
        late.refresh(ZONE)
        return bool(here.site.status()[CERT]["phase"] == "settled")

    wait_until(is_settled, "the certificate")
    assert ca.failures() == 0
