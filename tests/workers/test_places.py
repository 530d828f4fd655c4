"""Where the records of owners belong, by what name servers say, however odd that is (I4)."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest

from sslmd.core.dane.places import Fate, Place, asked_at, moved, sure_places
from sslmd.core.dane.tlsa import Combination
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.nameservers import addresses_at, end_of_host
from sslmd.dns.resolver import Resolver
from sslmd.workers.places import places_of
from tests.reasons import because
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone

ZONE = ZoneName("example.com")
MAIL = DomainName("_25._tcp.mail.example.com")
OTHER = DomainName("_465._tcp.mail.example.com")
ALONE = DomainName("_dane.example.com")


def zone(**cnames: str) -> Zone:
    served = Zone()
    served.add("mail.example.com", "A", "192.0.2.1")
    for number, (owner, target) in enumerate(cnames.items()):
        served.add(owner if "." in owner else f"{owner}.example.com", "CNAME", target)
        assert number < 9
    return served


def cname(target: str, owner: DomainName = MAIL) -> Zone:
    return zone(**{owner.text: target})


class Cut(Zone):
    """Refers to a zone below it."""

    def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
        if not query.question[0].name.to_text().endswith("mail.example.com."):
            return super().__call__(query, tcp)
        answer = dns.message.make_response(query)
        below = dns.rrset.from_text("mail.example.com.", 60, "IN", "NS", "ns.other.example.")
        answer.authority.append(below)
        return answer


async def place(*served: Zone, more: tuple[NameServer, ...] = ()) -> Place:
    async with Responder(served[0]) as one, Responder(served[-1]) as two:
        servers = [one.server, two.server, *more]
        return (await places_of(ASKER, ZONE, [MAIL], servers))[MAIL]


async def test_what_is_written_where() -> None:
    assert await place(zone()) == Place(Fate.HERE, MAIL)
    there = await place(cname("_dane.example.com."))
    assert (there.fate, there.at, there.cname) == (Fate.MOVED, ALONE, ALONE)
    away = await place(cname("x.example.net."))
    assert (away.fate, away.at.text) == (Fate.ELSEWHERE, "x.example.net")
    assert "not in zone example.com" in say(away.why)
    below = await place(Cut())
    assert (below.fate, below.is_cut) == (Fate.ELSEWHERE, True)
    assert "list mail.example.com in [[groups]]" in say(below.why)


async def test_through_several_to_the_end() -> None:
    served = cname("a.example.com.")
    served.add("a.example.com", "CNAME", "b.example.com.")
    found = await place(served)
    assert (found.fate, found.at.text) == (Fate.MOVED, "b.example.com")
    assert found.cname == DomainName("a.example.com")


@pytest.mark.parametrize("back", [MAIL.text, "a.example.com"])
async def test_in_a_circle(back: str) -> None:
    served = cname("a.example.com.")
    served.add("a.example.com", "CNAME", f"{back}.")
    found = await place(served)
    assert found.fate is Fate.NOWHERE
    assert "lead in a circle" in say(found.why)


async def test_servers_that_contradict_each_other() -> None:
    for one, other in ((zone(), Cut()), (zone(), cname("x.example.net."))):
        found = await place(one, other)
        assert found.fate is Fate.UNKNOWN
        assert "contradict each other" in say(found.why)


async def test_nobody_tells() -> None:
    found = (await places_of(ASKER, ZONE, [MAIL], [NameServer("127.0.0.1", 9)]))[MAIL]
    assert found.fate is Fate.UNKNOWN


def test_while_nobody_tells_what_is_there_stays() -> None:
    unknown = {MAIL: Place(Fate.UNKNOWN, MAIL, because("nobody tells"))}
    away = Place(Fate.ELSEWHERE, DomainName("x.example.net"))
    assert sure_places(unknown, {}, {}, {}) == unknown
    assert sure_places(unknown, {MAIL: ALONE}, {}, {})[MAIL].at == ALONE
    assert sure_places(unknown, {}, {MAIL: ...}, {}) == {}  # type: ignore[dict-item]
    assert sure_places(unknown, {}, {}, {MAIL: away}) == {MAIL: away}


def test_two_owners_at_one_name() -> None:
    first, second = Combination(3, 1, 1), Combination(3, 1, 2)
    wants = {MAIL: frozenset({first}), OTHER: frozenset({second})}
    places = {owner: Place(Fate.MOVED, ALONE, None, ALONE) for owner in wants}
    assert moved(wants, places) == {ALONE: frozenset({first, second})}
    assert asked_at(wants, places, {ALONE}) == {MAIL, OTHER}
    assert asked_at(wants, {}, {MAIL}) == {MAIL}


async def test_a_host_that_is_a_cname_is_found_where_it_leads() -> None:
    served = zone()
    served.add("www.example.com", "CNAME", "mail.example.com.")
    served.add("far.example.com", "CNAME", "host.example.net.")
    served.add("loop.example.com", "CNAME", "pool.example.com.")
    served.add("pool.example.com", "CNAME", "loop.example.com.")
    away = Zone("example.net")
    away.add("host.example.net", "A", "192.0.2.9")
    async with Responder(served) as ns, Responder(away) as resolver:
        known = Resolver(ASKER, [resolver.server])
        for name, address in (("www", "192.0.2.1"), ("far", "192.0.2.9")):
            host = DomainName(f"{name}.example.com")
            assert await addresses_at(ASKER, host, ZONE, [ns.server], known) == (address,)
        # Where clients look for records first (RFC 7671 §7).
        for name, end in (
            ("www", "mail.example.com"),
            ("far", "host.example.net"),
            ("mail", "mail.example.com"),
            ("loop", "loop.example.com"),
        ):
            host = DomainName(f"{name}.example.com")
            assert (await end_of_host(host, ZONE, [ns.server], known)).text == end
