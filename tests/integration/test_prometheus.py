"""Prometheus scrapes the daemon by systemd's socket; an alert of the shipped rules fires and ends.

The rules wait for minutes before they fire, which `promtool test rules` shows; here they do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand import prometheus
from tests.stand.prometheus import MetricsSocket, Prometheus
from tests.stand.server import ROOT, wait_until
from tests.stand.site import Site, first_tables

SHIPPED = ROOT / "docs/monitoring/alerts.yml"

pytestmark = pytest.mark.skipif(bool(prometheus.missing()), reason=prometheus.missing())


@pytest.fixture
def scraped(bare_site: Site, tmp_path: Path) -> Iterator[Prometheus]:
    """A site with a certificate, and its Prometheus."""
    bare_site.put_own_cas()
    bare_site.put_service("example.com/web", "my-int", ["example.com"], more="used_by = 'none'\n")
    bare_site.put("ssl-mgr.conf", first_tables({}, ["ca", "example.com"]))
    bare_site.start()
    bare_site.wait_settled()
    quick = tmp_path / "quick.yml"
    text = SHIPPED.read_text().replace("name: sslmd", "name: quick")
    quick.write_text(re.sub(r"(?m)^( +for:) .*$", r"\1 0s", text))
    with (
        MetricsSocket(tmp_path / "socket", bare_site.socket) as socket,
        Prometheus(tmp_path / "prometheus", socket.port, SHIPPED, quick) as one,
    ):
        yield one


def test_an_alert_fires_and_ends(bare_site: Site, scraped: Prometheus) -> None:
    site = bare_site
    wait_until(lambda: scraped.value("sslmd_up") == 1, "a scrape")
    assert scraped.value("up") == 1
    assert scraped.value("count(sslmd_certificate_not_after_timestamp_seconds)") == 3
    assert not scraped.fires("SslmdConfigurationRefused")

    main = (site.conf / "ssl-mgr.conf").read_text()
    site.put("ssl-mgr.conf", f"{main}\n[nonsense\n")
    site.ctl("reload", status=None)
    wait_until(lambda: scraped.fires("SslmdConfigurationRefused"), "the alert")
    site.put("ssl-mgr.conf", main)
    site.ctl("reload")
    wait_until(lambda: not scraped.fires("SslmdConfigurationRefused"), "its end")

    site.stop()
    wait_until(lambda: scraped.fires("SslmdDown"), "the alert")
    assert scraped.value("up") == 1  # the socket answers, whatever the daemon does
    site.start()
    wait_until(lambda: not scraped.fires("SslmdDown"), "its end")

    # No rule failed, and none of those as they are shipped was in a hurry.
    groups = {one["name"]: one["rules"] for one in scraped.ask("rules")["groups"]}
    assert len(groups["sslmd"]) == len(groups["quick"]) > 10
    assert {one["health"] for rules in groups.values() for one in rules} == {"ok"}
    assert {one["state"] for one in groups["sslmd"]} <= {"inactive", "pending"}
