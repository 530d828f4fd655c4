"""Where a challenge is published: in which zone, after which CNAMEs; and where it cannot be."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from sslmd.config.load import load
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.aims import Aim, Aims, Learnt
from sslmd.dns.ask import NameServer
from sslmd.dns.resolver import Resolver
from tests.dns.test_owners import Server
from tests.stand.asking import ASKER
from tests.stand.responder import Responder

OWNER = "_acme-challenge.www.example.com"
FOREIGN = "_acme-challenge.shop.other.net"

Zones = Mapping[str, Sequence[str]]


class World:
    """Zones of ours, for each server; zones of others; a resolver that knows all, and `lies`."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.zones = ["example.com"]
        self.updated: set[str] = set()
        self.ours: list[Zones] = []
        self.foreign: Zones = {}
        self.lies: Zones = {}
        self.dead: set[str] = set()
        self.learnt = Learnt()
        self.responders: list[Responder] = []
        self.resolver = Responder(Server({}), "resolver")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Aims]:
        text = "".join(
            f"[[dns_primary]]\ndomain = '{zone}'\nserver = '127.0.0.1'\n"
            f"update = {str(zone in self.updated).lower()}\n"
            for zone in self.zones
        )
        (self.top / "conf.d").mkdir(exist_ok=True)
        (self.top / "conf.d/ssl-mgr.conf").write_text(text + "[dns]\nacme_dir = '/x'\n")
        (self.top / "conf.d/ca-info.conf").write_text("")
        async with AsyncExitStack() as stack:
            at = [Responder(Server(zones), f"ns{n}") for n, zones in enumerate(self.ours, 1)]
            self.responders = [await stack.enter_async_context(one) for one in at]
            foreign = await stack.enter_async_context(Responder(Server(self.foreign), "foreign"))
            every = {zone: lines for zones in self.ours for zone, lines in zones.items()}
            answers = Server({".": [], **every, **self.foreign, **self.lies})
            self.resolver = await stack.enter_async_context(Responder(answers, "resolver"))

            async def servers(_: ZoneName) -> list[NameServer]:
                return [one.server for one in self.responders]

            async def others(zone: ZoneName) -> list[NameServer]:
                if zone.text in self.dead:
                    raise Transient(f"zone {zone} has no name server that can be asked")
                return [foreign.server]

            known = Resolver(ASKER, [self.resolver.server])
            yield Aims(load(self.top / "conf.d"), known, servers, self.learnt, others)

    async def aim(self, owner: str = OWNER) -> Aim:
        async with self.open() as aims:
            return await aims.find(DomainName(owner))

    async def refused(self, kind: type[SslmError], told: str, owner: str = OWNER) -> None:
        with pytest.raises(kind, match=told) as caught:
            await self.aim(owner)
        assert type(caught.value) is kind or kind is Transient


@pytest.fixture
def here(tmp_path: Path) -> World:
    return World(tmp_path)


def at(owner: str, zone: str = "example.com") -> Aim:
    return Aim(ZoneName(zone), DomainName(owner))


@pytest.mark.parametrize(
    "target", ["cdn.elsewhere.net", "www.example.com", "none.example.com"], ids=str
)
async def test_a_cname_that_a_wildcard_makes_is_not_followed(here: World, target: str) -> None:
    here.ours = [{"example.com": [f"*.example.com CNAME {target}.", "www.example.com A 192.0.2.1"]}]
    owner = "_acme-challenge.example.com"
    assert await here.aim(owner) == Aim(
        ZoneName("example.com"), DomainName(owner), DomainName("*.example.com")
    )


async def test_names_that_a_challenge_takes_from_a_wildcard_are_named(here: World) -> None:
    here.ours = [{"example.com": ["*.example.com CNAME web.example.com."]}]
    aim = await here.aim()
    assert (aim.zone, aim.owner) == (ZoneName("example.com"), DomainName(OWNER))
    assert aim.overshadowed == (DomainName("www.example.com"),)
    assert aim.wildcard == DomainName("*.example.com")


async def test_a_cname_from_one_zone_of_ours_to_another(here: World) -> None:
    here.zones += ["acme.net"]
    here.ours = [
        {
            "example.com": [f"{OWNER} CNAME b.example.com.", "b.example.com CNAME x.acme.net."],
            "acme.net": [],
        }
    ]
    assert await here.aim() == at("x.acme.net", "acme.net")


@pytest.mark.parametrize("both", [True, False], ids=["same server", "referral"])
async def test_a_name_in_a_zone_below(here: World, both: bool) -> None:
    child = {"www.example.com": ["www.example.com A 192.0.2.1"]}
    here.ours = [{"example.com": ["www.example.com NS ns.example.com."], **(child if both else {})}]
    here.foreign = child
    told = r"is in zone www\.example\.com, .* list www\.example\.com as a group"
    await here.refused(Permanent, told)

    here.zones += ["www.example.com"]
    here.ours = [{**here.ours[0], **child}]
    assert await here.aim() == at(OWNER, "www.example.com")


@pytest.mark.parametrize("both", [True, False], ids=["same server", "referral"])
async def test_a_zone_below_that_leads_to_ours(here: World, both: bool) -> None:
    child = {"www.example.com": [f"{OWNER} CNAME x.example.com."]}
    here.ours = [{"example.com": ["www.example.com NS ns.example.com."], **(child if both else {})}]
    here.foreign = child
    assert await here.aim() == at("x.example.com")


async def test_a_challenge_that_is_a_zone_of_its_own(here: World) -> None:
    here.zones += [OWNER]
    here.ours = [{"example.com": [f"{OWNER} NS ns.example.com."], OWNER: []}]
    assert await here.aim() == at(OWNER, OWNER)


async def test_a_group_that_is_no_zone(here: World) -> None:
    here.zones = ["www.example.com"]
    here.ours = [{"example.com": ["www.example.com A 192.0.2.1"]}]
    # Its include file may be one of the zone above.
    assert await here.aim() == at(OWNER, "www.example.com")
    here.updated = {"www.example.com"}
    await here.refused(Permanent, r"is no zone of its own .* list example\.com in")
    here.zones += ["example.com"]
    assert await here.aim() == at(OWNER)


@pytest.mark.parametrize(
    "foreign",
    [
        [f"{FOREIGN} CNAME shop.acme.example.com."],
        ["*.other.net CNAME shop.acme.example.com."],  # nothing of ours ever stands beside it
        [f"{FOREIGN} CNAME b.other.net.", "b.other.net CNAME shop.acme.example.com."],
        ["shop.other.net CNAME x.other.net.", f"{FOREIGN} CNAME shop.acme.example.com."],
    ],
)
@pytest.mark.parametrize("dead", [False, True])
async def test_a_zone_of_others_that_leads_to_ours(
    here: World,
    foreign: list[str],
    dead: bool,
) -> None:
    here.ours = [{"example.com": []}]
    here.foreign = {"other.net": foreign}
    here.dead = {"other.net"} if dead else set()
    assert await here.aim(FOREIGN) == at("shop.acme.example.com")


async def test_a_zone_of_others_that_leads_nowhere(here: World) -> None:
    here.ours = [{"example.com": []}]
    here.foreign = {"other.net": [f"{FOREIGN} CNAME x.other.net."]}
    told = r"\(x\.other\.net\), is in no zone of ours \(example\.com\).* add its zone"
    await here.refused(Permanent, told, FOREIGN)
    here.foreign = {"other.net": []}
    await here.refused(Permanent, rf"or a CNAME from {FOREIGN}", FOREIGN)


async def test_a_resolver_that_lies_about_cnames(here: World) -> None:
    # Of our own zones it is not even asked.
    here.ours = [{"example.com": []}]
    here.lies = {"example.com": [f"{OWNER} CNAME x.evil.net."]}
    assert await here.aim() == at(OWNER)
    assert here.resolver.queries == []
    # Of others, the zone's name servers count: it leads elsewhere, or to nothing.
    here.foreign = {"other.net": [f"{FOREIGN} CNAME shop.acme.example.com."]}
    here.lies = {"other.net": [f"{FOREIGN} CNAME x.evil.net."]}
    assert await here.aim(FOREIGN) == at("shop.acme.example.com")
    here.foreign = {"other.net": []}
    told = r"leads to x\.evil\.net by the resolver, but the name servers of other\.net"
    await here.refused(Transient, told, FOREIGN)


@pytest.mark.parametrize("to", [OWNER, "b.example.com", "c.other.net"])
async def test_a_circle_is_named(here: World, to: str) -> None:
    here.ours = [{"example.com": [f"{OWNER} CNAME {to}.", f"b.example.com CNAME {OWNER}."]}]
    here.foreign = {"other.net": [f"c.other.net CNAME {OWNER}."]}
    middle = "" if to == OWNER else f" -> {to}"
    await here.refused(Permanent, f"in a circle: {OWNER}{middle} -> {OWNER}; correct")


async def test_a_chain_without_end(here: World) -> None:
    names = [OWNER, *(f"n{n}.example.com" for n in range(40))]
    links = [f"{one} CNAME {next_}." for one, next_ in itertools.pairwise(names)]
    here.ours = [{"example.com": links}]
    await here.refused(Permanent, r"lead on and on: .* -> n6\.example\.com -> n7.*shorten")


async def test_a_cname_that_a_silent_server_may_not_have(here: World) -> None:
    here.ours = [{"example.com": [f"{OWNER} CNAME b.example.com."]}, {"example.net": []}]
    await here.refused(Transient, r"leads to b\.example\.com, but ns2 .*REFUSED")
    here.ours[0] = {"example.com": []}
    assert await here.aim() == at(OWNER)  # that it has the record is seen later


async def test_what_was_learnt_is_not_asked_again(here: World) -> None:
    here.ours = [{"example.com": []}]
    for _ in range(2):
        async with here.open() as aims:
            assert await aims.find(DomainName(OWNER)) == at(OWNER)
        if not _:
            assert here.responders[0].asked("CNAME") == [OWNER]
    assert here.responders[0].queries == []
    # What is wrong is looked at again.
    here.ours = [{"example.com": ["api.example.com NS ns."]}]
    api = "_acme-challenge.api.example.com"
    await here.refused(Permanent, r"in zone api\.example\.com", api)
    here.ours = [{"example.com": []}]
    assert await here.aim(api) == at(api)
