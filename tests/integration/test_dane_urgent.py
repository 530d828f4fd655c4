"""A CA wants the certificate of a mail server replaced now: no sender with DANE sees a failure.

A roll passes over windows then, and over nothing else: `min_roll_mins` counts, and two TTLs since
every name server was seen with the record of the next key (RFC 7671 §8).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stand import pebble
from tests.stand.acme_site import forget_window, renewal_window
from tests.stand.dane_site import CERT, DaneSite, clean, dane_world
from tests.stand.pebble import Pebble
from tests.stand.server import wait_until
from tests.stand.site import reasons_of

# Seconds.
TTL = 5

DAY = timedelta(days=1)
URL = "https://ca.example/incident"


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "plain"])
def test_rolled_through_a_shut_window_when_dns_allows_it(tmp_path: Path, signed: bool) -> None:
    """With the signed zone DNS is ready first, with the other one `min_roll_mins` is over first."""
    if lacking := pebble.missing():
        pytest.skip(lacking)
    with (
        dane_world(tmp_path, signed=signed) as world,
        Pebble(tmp_path / "pebble", dns=world.primary.address) as ca,
    ):
        site = world.site
        site.ttl, site.globals["min_roll_mins"] = TTL, "60"
        shut = (datetime.now(UTC) + 3 * DAY).strftime("%a")
        site.more = f"""\
roll_window = '{shut} 02:00-03:00 UTC'
restart_window = '{shut} 04:00-05:00 UTC'
"""
        world.use(ca)
        world.begin()
        before = site.cert()["curr"]
        probes = world.prober()
        probes.wait_probes(20)
        wants_it_replaced(site, ca)
        waits = site.wait_on_deck(CERT)[CERT]
        assert URL in waits["replace_now"]
        assert waits["curr"]["serial"] == before["serial"]
        assert "replace-now" in alarms(site)
        if signed:
            waits = site.wait_phase(CERT, "advertised")
            assert "ca-passes-windows" in reasons_of(waits)
            issued, rolls = (_time(text) for text in (waits["next"]["issued_at"], waits["roll_at"]))
            assert timedelta(minutes=59) < rolls - issued < timedelta(minutes=61)
        site.globals["min_roll_mins"] = "0"
        site.write()
        site.ctl("reload")

        world.wait_rolled(before["serial"])
        made = datetime.strptime(waits["next"]["set"], "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        assert _rolled(site) - made >= 2 * timedelta(seconds=TTL)
        assert "replace-now" not in alarms(site)
        assert site.cert()["replace_now"] is None
        assert ca.orders() == 2
        assert clean(probes).first_seen_keys == 2


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _rolled(site: DaneSite) -> datetime:
    text = (site.top / "certs" / CERT / "curr/info").read_text()
    return datetime.strptime(text.strip(), "rolled %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)


def alarms(site: DaneSite) -> list[str]:
    """Return the kinds of what is raised; they are looked for when the daemon starts."""
    site.stop()
    site.start()

    def found() -> dict[str, Any]:
        return dict(json.loads(site.ctl("alarms", "--json", status=None).stdout))

    wait_until(lambda: found()["looked_at"], "a look for alarms")
    return [one["kind"] for one in found()["alarms"]]


def wants_it_replaced(site: DaneSite, ca: Pebble) -> None:
    """Have the CA say so for the certificate in use; the daemon looks when it starts."""
    site.stop()
    now = datetime.now(UTC)
    pem = (site.top / "certs" / CERT / "curr/cert.pem").read_text()
    ca.set_renewal_info(pem, renewal_window(now - 2 * DAY, now - DAY / 2, URL))
    forget_window(site, CERT)
    site.start()
