"""Zones and resolvers that are not what they seem: nothing is ordered that could not be proven.

One daemon, one CA, and a certificate for each of them. The system's resolver is Unbound, and lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.integration.test_acme_ca import replace_directory
from tests.stand import system_resolver, unbound
from tests.stand.acme_site import World, names_of, verify, world
from tests.stand.bind import Primary, Zone, answer
from tests.stand.proxy import Answer, Proxy
from tests.stand.server import wait_until
from tests.stand.unbound import Unbound

# Where programs ask that read /etc/resolv.conf, and where name servers of the world are asked.
RESOLVER, PORT_53 = "127.53.0.2", "44.53.0.3"

pytestmark = pytest.mark.skipif(
    bool(lacking := system_resolver.missing() or unbound.missing(RESOLVER, 53)), reason=lacking
)

OURS, SPLIT, UPDATED, NOBODY, OTHER = (
    f"{name}.test" for name in ("example", "split", "updated", "nobody", "other")
)
OWN = f"_acme-challenge.own.{OURS}"
PLAIN, LOOP, OF_ITS_OWN, LIED, FAIR = (
    f"{OURS}/{one}" for one in ("web", "loop", "own", "lied", "fair")
)
CUT, BY_UPDATE, FORBIDDEN = (f"{zone}/web" for zone in (SPLIT, UPDATED, NOBODY))
SERVICES = {
    PLAIN: [OURS],
    LOOP: [f"loop.{OURS}"],
    OF_ITS_OWN: [f"own.{OURS}"],
    LIED: [f"lied.{OTHER}"],
    FAIR: [f"fair.{OTHER}"],
    CUT: [f"host.lab.{SPLIT}"],
    BY_UPDATE: [UPDATED, f"to-file.{UPDATED}"],
    FORBIDDEN: [NOBODY],
}
ZONES = (
    Zone(
        OURS,
        "_acme-challenge.loop CNAME _acme-challenge.pool\n"
        "_acme-challenge.pool CNAME _acme-challenge.loop\n"
        "_acme-challenge.own NS ns1\n",
    ),
    Zone(OWN),
    Zone(SPLIT),
    Zone(
        UPDATED,
        f"_acme-challenge CNAME _dns01\n_acme-challenge.to-file CNAME updated.acme.{OURS}.\n",
        dynamic=True,
    ),
    Zone(NOBODY, '@ CAA 0 issue ";"'),
    # Not ours: its name server is found by the resolver, and asked where the world asks it.
    Zone(OTHER, f"_acme-challenge.fair CNAME fair.acme.{OURS}.", ns1=PORT_53),
)
TRUTH = unbound.data(
    OTHER,
    f"{OTHER}. 60 IN NS ns1.{OTHER}.",
    f"ns1.{OTHER}. 60 IN A {PORT_53}",
    f"_acme-challenge.fair.{OTHER}. 60 IN CNAME fair.acme.{OURS}.",
)
LIES = unbound.cname(f"_acme-challenge.{OURS}", "elsewhere.invalid") + unbound.cname(
    f"_acme-challenge.lied.{OTHER}", f"lied.acme.{OURS}"
)


def _nameless(answer: Answer) -> Answer:
    """Return a directory that does not say by which name CAA knows the CA."""
    if answer.path != "/dir":
        return answer
    found = json.loads(answer.body)
    found.get("meta", {}).pop("caaIdentities", None)
    return replace(answer, body=json.dumps(found).encode())


class Odd:
    """The site, the name server that it publishes by, and another that knows of a cut."""

    def __init__(self, here: World, stack: ExitStack) -> None:
        self.site = here.site
        self.primary = Primary(here.top / "primary", ZONES)
        # A zone of its own has a name server below it, which is no host name.
        self.primary.options = "check-names primary ignore;"
        stack.enter_context(self.primary)
        self.second = stack.enter_context(
            Primary(
                here.top / "second", [Zone(SPLIT, "lab NS ns1")], acme_dir=self.primary.acme_dir
            )
        )
        stack.enter_context(system_resolver.public_address(PORT_53))
        for name, address, local in (("liar", RESOLVER, LIES), ("far", PORT_53, TRUTH)):
            one = Unbound(here.top / name, [self.primary], address=address, port=53, local=local)
            stack.enter_context(one)
        self.ca = here.pebble(here.resolver(self.primary))
        self.proxy = stack.enter_context(Proxy(self.ca, _nameless))
        site = self.site
        site.globals["dns_check_timeout"] = "4"
        site.use(replace_directory(self.ca, self.proxy))
        site.publish(self.primary)
        site.primaries[OWN] = site.primaries["default"]
        site.update(self.primary, UPDATED)
        site.publish(self.primary, [self.second])
        site.primaries[SPLIT] = site.primaries["default"]
        site.publish(self.primary)
        site.write(SERVICES)
        site.start(wrapper=system_resolver.asking(here.top, RESOLVER))

    def settled(self, cert: str) -> None:
        """Wait until a certificate is in use, with the names that were asked for."""
        self.site.wait_settled(*(one for one in SERVICES if one != cert))
        verify(self.site, self.ca, cert)
        assert names_of(self.site, cert) == set(SERVICES[cert])

    def refused(self, cert: str) -> str:
        """Return why a certificate was not even ordered, as its status says."""

        def error() -> str:
            return str(self.site.status()[cert]["last_error"] or "")

        wait_until(error, f"trouble of {cert}")
        assert not [one for one in self.site.lines if f"{cert}: " in one and "order at" in one]
        return error()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    with world(tmp_path_factory.mktemp("odd")) as here, ExitStack() as stack:
        yield Odd(here, stack)


def test_a_resolver_that_lies_about_a_zone_of_ours_changes_nothing(odd: Odd) -> None:
    odd.settled(PLAIN)


def test_a_resolver_that_lies_about_the_zone_of_others_is_found_out(odd: Odd) -> None:
    told = odd.refused(LIED)
    assert f"_acme-challenge.lied.{OTHER} leads to lied.acme.{OURS} by the resolver" in told
    assert f"the name servers of {OTHER} know of no CNAME there" in told


def test_a_zone_of_others_that_leads_to_ours(odd: Odd) -> None:
    odd.settled(FAIR)
    assert odd.primary.reloads(OTHER) == 0


def test_cnames_in_a_circle_are_named_before_an_order(odd: Odd) -> None:
    told = odd.refused(LOOP)
    one, other = f"_acme-challenge.loop.{OURS}", f"_acme-challenge.pool.{OURS}"
    assert f"lead in a circle: {one} -> {other} -> {one}; correct them" in told


def test_a_challenge_that_is_a_zone_of_its_own(odd: Odd) -> None:
    odd.settled(OF_ITS_OWN)
    assert odd.primary.reloads(OWN) >= 1
    assert not [line for line in odd.site.lines if OWN in line and "cannot be published" in line]


def test_an_owner_that_is_a_cname_in_a_zone_that_takes_updates(odd: Odd) -> None:
    """RFC 2136 §3.4.2.2: a record beside a CNAME is ignored, without a word."""
    odd.settled(BY_UPDATE)
    assert odd.primary.queries(f"_dns01.{UPDATED}", "TXT")
    wait_until(lambda: not answer(odd.primary, f"_dns01.{UPDATED}", "TXT"), "what is taken back")
    assert answer(odd.primary, f"_acme-challenge.{UPDATED}", "CNAME") == [f"_dns01.{UPDATED}."]
    assert odd.primary.reloads(UPDATED) == 0


def test_caa_that_allows_nobody_counts_for_a_ca_without_a_name(odd: Odd) -> None:
    assert f"CAA records of {NOBODY}" in odd.refused(FORBIDDEN)


def test_name_servers_that_contradict_each_other_about_a_cut(odd: Odd) -> None:
    told = odd.refused(CUT)
    assert f"zone {SPLIT}: its name servers contradict each other" in told
    assert f"{odd.primary.address.partition(':')[2]} says that it is in zone {SPLIT}; " in told
    assert f"{odd.second.address.partition(':')[2]} says that it is in zone lab.{SPLIT}; " in told
    assert "make the zone the same on all servers" in told
    file = odd.primary.acme_dir / f"acme-challenge.{SPLIT}"
    assert "TXT" not in file.read_text()

    # Corrected; from now on both read what is written.
    zone = odd.second.zone_file(SPLIT)
    zone.write_text(zone.read_text().replace("lab NS ns1", ""))
    odd.second.reload(SPLIT)
    commands = [odd.primary.restart_cmd, odd.second.restart_cmd]
    odd.site.dns = f"acme_dir = '{odd.primary.acme_dir}'\nrestart_cmd = {commands}\n"
    odd.site.write(SERVICES)
    odd.site.ctl("reload")
    odd.site.ctl("renew", CUT.replace("/", ":"))
    odd.settled(CUT)
    assert odd.ca.failures() == 0
