"""Which servers are a zone's, and where a name leads."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sslmd.config.model import DnsPrimary, Endpoint
from sslmd.core.errors import Permanent, Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.ask import NameServer
from sslmd.dns.nameservers import Followed, authoritative, follow, primary_server
from sslmd.dns.resolver import Resolver
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone

ZONE = ZoneName("example.com")
OWNER = DomainName("_acme-challenge.www.example.com")


def zone() -> Zone:
    made = Zone()
    made.add("example.com", "NS", "ns1.example.com.", "ns2.example.net.")
    made.add("ns1.example.com", "A", "192.0.2.1")
    made.add("ns1.example.com", "AAAA", "2001:db8::1")
    return made


def world() -> Zone:
    made = zone()
    made.authoritative = False
    made.add("ns2.example.net", "A", "192.0.2.2")
    # What the primary says of its own zone counts, not this.
    made.records.pop((dns.name.from_text("ns1.example.com"), dns.rdatatype.AAAA))
    return made


def primary_at(server: NameServer, *nameservers: Endpoint) -> DnsPrimary:
    return DnsPrimary(ZONE, Endpoint(server.address, server.port), tuple(nameservers))


async def test_every_address_of_every_server() -> None:
    def outside(query: dns.message.Message, tcp: bool) -> Answer:
        # It refuses what is in no zone of its own.
        if not query.question[0].name.is_subdomain(dns.name.from_text("example.com")):
            answer = dns.message.make_response(query)
            answer.set_rcode(dns.rcode.REFUSED)
            return answer
        return zone()(query, tcp)

    async with Responder(outside) as primary, Responder(world(), "") as resolver:
        found = await authoritative(
            ZONE, primary_at(primary.server), Resolver(ASKER, [resolver.server])
        )
    assert found == (
        NameServer("192.0.2.1", 53, "ns1.example.com"),
        NameServer("2001:db8::1", 53, "ns1.example.com"),
        NameServer("192.0.2.2", 53, "ns2.example.net"),
    )


async def test_without_a_primary_the_resolver_tells() -> None:
    async with Responder(world(), "") as resolver:
        found = await authoritative(ZONE, None, Resolver(ASKER, [resolver.server]))
    assert [one.address for one in found] == ["192.0.2.1", "192.0.2.2"]


async def test_named_servers_stand_in_place_of_the_lookup() -> None:
    named = (Endpoint("192.0.2.9", 5353), Endpoint("ns2.example.net"), Endpoint("192.0.2.9", 5353))
    async with Responder(world(), "") as resolver:
        primary = primary_at(NameServer("192.0.2.250"), *named)
        found = await authoritative(ZONE, primary, Resolver(ASKER, [resolver.server]))
    assert found == (
        NameServer("192.0.2.9", 5353),
        NameServer("192.0.2.2", 53, "ns2.example.net"),
    )


async def test_a_primary_without_authority_is_not_believed() -> None:
    async with Responder(world(), "") as primary:
        with pytest.raises(Transient, match=r"zone example\.com: its primary .* with authority"):
            await authoritative(ZONE, primary_at(primary.server), Resolver(ASKER, []))


async def test_half_an_answer_of_the_primary_is_none() -> None:
    inside = zone()

    def no_ipv6(query: dns.message.Message, tcp: bool) -> Answer:
        answer = inside(query, tcp)
        if query.question[0].rdtype == dns.rdatatype.AAAA:
            answer = dns.message.make_response(query)
            answer.set_rcode(dns.rcode.SERVFAIL)
        return answer

    async with Responder(no_ipv6) as primary, Responder(zone(), "") as resolver:
        inside.records[dns.name.from_text("example.com"), dns.rdatatype.NS] = ["ns1.example.com."]
        found = await authoritative(
            ZONE, primary_at(primary.server), Resolver(ASKER, [resolver.server])
        )
    assert [one.address for one in found] == ["192.0.2.1", "2001:db8::1"]


async def test_a_server_without_an_address_is_not_passed_over() -> None:
    async with Responder(zone(), "") as resolver:
        with pytest.raises(Transient, match=r"ns2\.example\.net have no address.*nameservers in"):
            await authoritative(ZONE, None, Resolver(ASKER, [resolver.server]))


async def test_a_zone_that_is_none_has_those_of_the_zone_around_it() -> None:
    part = ZoneName("b.lab.example.com")
    expected = (NameServer("192.0.2.2", 53, "ns2.example.net"),)
    own, wide = zone(), world()
    own.records[dns.name.from_text("example.com"), dns.rdatatype.NS] = ["ns2.example.net."]
    wide.records[dns.name.from_text("example.com"), dns.rdatatype.NS] = ["ns2.example.net."]
    async with Responder(own) as primary, Responder(wide, "") as resolver:
        asked = Resolver(ASKER, [resolver.server])
        assert await authoritative(part, primary_at(primary.server), asked) == expected
        assert await authoritative(part, None, asked) == expected


async def test_no_name_servers_at_all() -> None:
    async with Responder(Zone(), "") as resolver:
        with pytest.raises(Transient, match=r"zone example\.com: .*nameservers in"):
            await authoritative(ZONE, None, Resolver(ASKER, [resolver.server]))


async def test_a_silent_primary_is_told_with_the_way_out() -> None:
    async with Responder(zone()) as primary:
        server = primary.server
    with pytest.raises(
        Transient, match=r"zone example\.com: its primary .*refused; correct server"
    ):
        await authoritative(ZONE, primary_at(server), Resolver(ASKER, []))


async def test_the_primary_by_name() -> None:
    primary = DnsPrimary(ZONE, Endpoint("ns2.example.net", 5353))
    async with Responder(world(), "") as resolver:
        known = Resolver(ASKER, [resolver.server])
        assert await primary_server(ZONE, primary, known) == NameServer(
            "192.0.2.2", 5353, "ns2.example.net"
        )
        assert await primary_server(ZONE, DnsPrimary(ZONE, Endpoint("none.example")), known) is None


async def test_of_a_primary_all_addresses_are_asked_until_one_answers() -> None:
    """It listens on one of them alone, as on one of the two of localhost."""
    async with Responder(zone()) as primary:
        told = world()
        told.add("ns2.example.net", "A", "127.0.0.3", primary.server.address, "127.0.0.4")
        async with Responder(told, "") as resolver:
            known = Resolver(ASKER, [resolver.server])
            named = DnsPrimary(ZONE, Endpoint("ns2.example.net", primary.server.port))
            found = await primary_server(ZONE, named, known)
            assert found == NameServer(
                primary.server.address, primary.server.port, "ns2.example.net"
            )
        # Where none of them answers, it is the first, whichever that is in the answer.
        nobody = Zone()
        nobody.authoritative = False
        nobody.add("ns2.example.net", "A", "127.0.0.3", "127.0.0.4")
        async with Responder(nobody, "") as resolver:
            found = await primary_server(ZONE, named, Resolver(ASKER, [resolver.server]))
            assert found is not None
            assert found.address in ("127.0.0.3", "127.0.0.4")


# --- where a name leads ---


@pytest.mark.parametrize(
    ("cnames", "target"),
    [
        ({}, OWNER.text),
        ({OWNER.text: "a.example.com."}, "a.example.com"),
        ({OWNER.text: "a.example.com.", "a.example.com": "B.Example.COM."}, "b.example.com"),
        ({OWNER.text: "a.example.com.", "a.example.com": "x.example.net."}, "x.example.net"),
    ],
)
async def test_cnames_are_followed(cnames: dict[str, str], target: str) -> None:
    served = Zone()
    for name, where in cnames.items():
        served.add(name, "CNAME", where)
    async with Responder(served) as ns:
        assert await follow(ASKER, OWNER, ZONE, [ns.server]) == Followed(DomainName(target))


@pytest.mark.parametrize("where", [f"{OWNER}.", "a.example.com."])
async def test_cnames_in_a_circle(where: str) -> None:
    served = Zone()
    served.add(OWNER.text, "CNAME", where)
    served.add("a.example.com", "CNAME", f"{OWNER}.")
    async with Responder(served) as ns:
        with pytest.raises(Permanent, match="lead on and on"):
            await follow(ASKER, OWNER, ZONE, [ns.server])


async def test_a_cname_to_what_is_no_name() -> None:
    served = Zone()
    served.add(OWNER.text, "CNAME", "a\\032b.example.com.")
    async with Responder(served) as ns:
        with pytest.raises(Permanent, match="leads to no host"):
            await follow(ASKER, OWNER, ZONE, [ns.server])


def referral(child: str, *, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Zone:
    class Parent(Zone):
        def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
            answer = dns.message.make_response(query)
            answer.set_rcode(rcode)
            answer.authority.append(dns.rrset.from_text(child, 60, "IN", "NS", "ns.other.example."))
            return answer

    return Parent()


@pytest.mark.parametrize("child", ["www.example.com", OWNER.text])
@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
async def test_a_delegation(child: str, rcode: dns.rcode.Rcode) -> None:
    async with Responder(referral(f"{child}.", rcode=rcode)) as ns:
        assert await follow(ASKER, OWNER, ZONE, [ns.server]) == Followed(OWNER, ZoneName(child))


@pytest.mark.parametrize("above", ["com.", ".", "example.com.", "other.example.com."])
async def test_a_referral_elsewhere_is_no_answer(above: str) -> None:
    async with Responder(referral(above)) as lame, Responder(Zone()) as good:
        assert await follow(ASKER, OWNER, ZONE, [lame.server, good.server]) == Followed(OWNER)
        with pytest.raises(Transient, match="is not authoritative"):
            await follow(ASKER, OWNER, ZONE, [lame.server])


async def test_servers_that_are_no_use_are_passed_over() -> None:
    broken = Zone()
    broken.rcode = dns.rcode.SERVFAIL
    gone = Responder(Zone())
    async with gone:
        pass
    async with Responder(broken) as first, Responder(Zone()) as second:
        servers = [gone.server, first.server, second.server]
        assert await follow(ASKER, OWNER, ZONE, servers) == Followed(OWNER)
        with pytest.raises(Transient, match=r"Connection refused; .* answers SERVFAIL"):
            await follow(ASKER, OWNER, ZONE, servers[:2])
