"""TLSA records in a zone that is not as it seems, by include file: two BINDs, and a resolver that
lies. Nobody listens at the ports: what is published is what matters here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.stand import bind, system_resolver, unbound
from tests.stand.bind import Primary, Zone, answer
from tests.stand.dane_site import ZONE, DaneSite
from tests.stand.server import wait_until
from tests.stand.site import EC, reasons_of
from tests.stand.unbound import Unbound

RESOLVER = "127.53.0.4"
LACKING = bind.missing() or system_resolver.missing() or unbound.missing(RESOLVER, 53)

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

DAY = 86_400
RECORDS = f"""\
mail        A     127.0.0.1
www         A     127.0.0.1
host.lab    A     127.0.0.1
*.apps      A     127.0.0.1
_1._tcp.mail  CNAME _2._tcp.mail
_2._tcp.mail  CNAME _1._tcp.mail
_6._tcp.mail  {DAY} TLSA 3 1 1 {"00" * 32}
"""
# Each certificate has one port at one host.
PORTS = {
    "loop": (1, "mail"),
    "cut": (4, "host.lab"),
    "hand": (6, "mail"),
    "lied": (7, "www"),
    "apps": (8, "a.apps"),
}
LATER = {"owner": (3, "mail"), "broken": (5, "mail")}


def owner(service: str) -> str:
    port, host = (PORTS | LATER)[service]
    return f"_{port}._tcp.{host}.{ZONE}"


class World:
    """The site, the name server that it publishes by, and one that knows of a cut besides."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        self.primary = stack.enter_context(Primary(top / "ns1", [Zone(ZONE, RECORDS)]))
        cut = RECORDS.replace("host.lab    A     127.0.0.1", "lab NS ns1")
        self.second = Primary(top / "ns2", [Zone(ZONE, cut)], tlsa_dir=self.primary.tlsa_dir)
        stack.enter_context(self.second)
        lies = unbound.cname(f"www.{ZONE}", "elsewhere.invalid")
        liar = Unbound(top / "liar", [self.primary], address=RESOLVER, port=53, local=lies)
        stack.enter_context(liar)
        site = self.site = DaneSite(top / "site")
        stack.callback(site.end)
        address, _, port = self.primary.address.partition(":")
        site.primary = (
            f"[[dns_primary]]\ndomain = 'default'\nserver = '{address}'\nport = {port}\n"
            f"nameservers = ['{self.primary.address}', '{self.second.address}']\n"
        )
        commands = [self.primary.restart_cmd, self.second.restart_cmd]
        site.dns = f"tlsa_dirs = ['{self.primary.tlsa_dir}']\nrestart_cmd = {commands}\n"
        site.smtp = (
            f"[smtp]\nservers = ['localhost']\nsvc_depends = [['{ZONE}', ['ALL']]]\n"
            "probe = 'none'\n"
        )
        self.write(*(one for one in PORTS if one != "hand"))
        site.start(wrapper=system_resolver.asking(top, RESOLVER))
        site.wait_settled()
        self.shows("lied")
        self.write(*PORTS)
        site.ctl("reload")

    def write(self, *services: str) -> None:
        """Write the configuration, with these services."""
        self.site.services = dict.fromkeys(services, EC)
        for one in services:
            port, host = (PORTS | LATER)[one]
            self.site.danes[one] = f"[[{port}, 'tcp', 3, 1, 1, ['{host}.{ZONE}']]]"
        self.site.write()

    def shows(self, service: str, where: str = "") -> None:
        """Wait until both name servers show a record for a service."""
        for one in (self.primary, self.second):
            one.wait_answer(where or owner(service), "TLSA", "3 1 1 ")

    def dane(self, service: str, status: int = 1) -> str:
        """Return what `sslmctl dane` says; ports where nobody listens are never seen."""
        return self.site.ctl("dane", "--now", f"{ZONE}:{service}", status=status).stdout

    @property
    def include(self) -> str:
        """What is written for the zone."""
        return (self.primary.tlsa_dir / f"tlsa.{ZONE}").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("odd"), stack)


def test_a_resolver_that_lies_about_a_host_of_ours_changes_nothing(world: World) -> None:
    assert f"{owner('lied')}." in world.include
    told = world.dane("lied")
    assert "elsewhere.invalid" not in told
    assert f"name server {world.second.address}: " in told


def test_cnames_in_a_circle(world: World) -> None:
    assert owner("loop") not in world.include
    told = world.dane("loop")
    assert f"{owner('loop')}: no record is written" in told
    assert "in a circle" in told
    # Nobody finds records there, so a roll waits for none.
    before = world.site.status()[f"{ZONE}/loop"]["curr"]["serial"]
    world.site.ctl("force-renew", f"{ZONE}:loop")
    world.site.wait_line(f"{ZONE}/loop: set ", 2)
    assert world.site.status()[f"{ZONE}/loop"]["curr"]["serial"] != before


def test_a_host_that_has_its_address_from_a_wildcard_keeps_it(world: World) -> None:
    assert answer(world.second, f"a.apps.{ZONE}", "A") == ["127.0.0.1"]
    assert f"a.apps.{ZONE} has its records from *.apps.{ZONE} alone" in world.dane("apps")


def test_the_ttl_of_a_record_made_by_hand_is_waited_for(world: World) -> None:
    """Also by the first set: whose key the port serves meanwhile is not known (I4)."""
    site = world.site
    cert = f"{ZONE}/hand"
    site.wait_line(f"{cert}: its TLSA records are on every name server")
    assert f"\n{owner('hand')}." in f"\n{world.include}"
    found = site.status()[cert]
    assert found["curr"] is None
    assert reasons_of(found)["seen"]["ttl"] == DAY
    opens = datetime.fromisoformat(found["roll_at"])
    assert opens > datetime.now(UTC) + timedelta(seconds=2 * DAY - 60)


def test_name_servers_that_contradict_each_other_about_a_cut(world: World) -> None:
    assert owner("cut") not in world.include
    told = world.dane("cut")
    assert f"contradict each other about {owner('cut')}: " in told
    assert f"{world.primary.address.partition(':')[2]} says that it is in zone {ZONE}; " in told
    assert f"{world.second.address.partition(':')[2]} says that it is in zone lab.{ZONE}; " in told
    # What is known is published all the same, and no key is served whose record may be missing.
    world.site.ctl("force-renew", f"{ZONE}:cut")
    wait_until(
        lambda: "contradict each other" in world.site.status()[f"{ZONE}/cut"]["reason"],
        "what holds up the roll",
    )

    zone = world.second.zone_file(ZONE)
    zone.write_text(zone.read_text().replace("lab NS ns1", "host.lab A 127.0.0.1"))
    world.second.reload(ZONE)
    world.second.wait_answer(f"host.lab.{ZONE}", "A", "127.0.0.1")
    world.site.ctl("dns-refresh", f"{ZONE}:cut")
    world.shows("cut")
    assert "contradict" not in world.dane("cut")


def test_an_owner_that_is_a_cname_breaks_no_zone(world: World) -> None:
    for one in (world.primary, world.second):
        zone = one.zone_file(ZONE)
        zone.write_text(f"{zone.read_text()}_3._tcp.mail CNAME _dane.mail\n")
        one.reload(ZONE)
        one.wait_answer(owner("owner"), "CNAME", "_dane")
    world.write(*PORTS, "owner")
    world.site.ctl("reload")
    world.shows("owner")
    assert f"\n_dane.mail.{ZONE}." in f"\n{world.include}"
    assert owner("owner") not in world.include
    assert f"its records are written at _dane.mail.{ZONE}" in world.dane("owner")
    # The next start of the name server serves the zone.
    world.primary.stop()
    world.primary.start()
    world.shows("lied")


def test_a_file_that_makes_a_reload_fail_is_put_back(world: World) -> None:
    """The admin makes a CNAME where a record is to come, and has not loaded it yet."""
    # Nothing else is to change meanwhile: a reload for that would load the CNAME.
    world.site.wait_phase(f"{ZONE}/cut", "settled")
    world.site.ctl("dns-refresh", f"{ZONE}:cut")
    before = world.include
    zone = world.primary.zone_file(ZONE)
    zone.write_text(f"{zone.read_text()}_5._tcp.mail CNAME mail\n")
    world.write(*PORTS, "owner", "broken")
    world.site.ctl("reload")
    world.site.wait_line("without its new records")
    wait_until(lambda: world.include == before, "the file as it was")
    world.primary.stop()
    world.primary.start()
    world.shows("lied")
