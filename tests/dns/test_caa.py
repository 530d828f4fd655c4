"""CAA: who may issue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sslmd.core.errors import Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.caa import Property, caa_lookup, forbidden, names_account
from sslmd.dns.resolver import Resolver
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone
from tests.stand.server import free_port

ZONE = ZoneName("example.com")
ACCOUNT = "https://ca.example/acct/1"
MINE = "ca.example"


async def judged(
    name: str, records: Mapping[str, Sequence[str]], method: str = "dns-01", account: str = ACCOUNT
) -> str:
    """Return what is said of a name, with these records (`flags tag value`) by domain."""

    async def lookup(domain: str) -> Sequence[Property]:
        found = []
        for text in records.get(domain, ()):
            flags, tag, value = text.split(" ", 2)
            found.append(Property(int(flags), tag, value))
        return found

    return say(
        await forbidden(DomainName.parse(name), [MINE, "CA2.example"], method, account, lookup)
    )


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("www.example.com", {}),
        ("www.example.com", {"example.com": ["0 issue ca.example"]}),
        ("www.example.com", {"example.com": ["0 issue  CA.Example. "]}),
        ("www.example.com", {"com": ["0 issue ca2.example"]}),
        ("www.example.com", {"example.com": ["0 issue other.example", "0 issue ca.example"]}),
        # The nearest counts, and it alone.
        (
            "www.example.com",
            {"www.example.com": ["0 issue ca.example"], "example.com": ["0 issue ;"]},
        ),
        # Others' properties keep nobody out.
        ("www.example.com", {"example.com": ["0 iodef mailto:x@example.com"]}),
        ("www.example.com", {"example.com": ["128 iodef mailto:x@example.com"]}),
        ("www.example.com", {"example.com": ["0 issuewild ;"]}),
        ("www.example.com", {"example.com": ["0 unheard-of x"]}),
        ("*.example.com", {"example.com": ["0 issue ca.example"]}),
        ("*.example.com", {"example.com": ["0 issue ;", "0 issuewild ca.example"]}),
        ("www.example.com", {"example.com": ["0 issue ca.example; validationmethods=dns-01"]}),
        (
            "www.example.com",
            {"example.com": ["0 issue ca.example; validationmethods=http-01,dns-01"]},
        ),
        ("www.example.com", {"example.com": [f"0 issue ca.example;accounturi={ACCOUNT}"]}),
    ],
)
async def test_allowed(name: str, records: dict[str, Sequence[str]]) -> None:
    assert await judged(name, records) == ""


@pytest.mark.parametrize(
    ("name", "records", "text"),
    [
        ("www.example.com", {"example.com": ["0 issue ;"]}, "allow nobody, not ca.example"),
        ("www.example.com", {"com": ["0 issue other.example"]}, "records of com allow other"),
        ("www.example.com", {"example.com": ["0 ISSUE other.example"]}, "allow other.example"),
        ("www.example.com", {"example.com": ["0 issue %%%"]}, "allow %%%"),
        ("*.example.com", {"example.com": ["0 issue ;"]}, "allow nobody"),
        (
            "*.example.com",
            {"example.com": ["0 issue ca.example", "0 issuewild ;"]},
            '; add `example.com. CAA 0 issuewild "ca.example"`',
        ),
        ("www.example.com", {"example.com": ["128 unheard-of x"]}, "demand 'unheard-of'"),
        (
            "www.example.com",
            {"example.com": ["0 issue ca.example; validationmethods=http-01"]},
            "only by http-01, not by dns-01",
        ),
        (
            "www.example.com",
            {"example.com": ["0 issue ca.example; accounturi=https://ca.example/acct/2"]},
            "only for the account https://ca.example/acct/2, ours is https://ca.example/acct/1",
        ),
    ],
)
async def test_forbidden(name: str, records: dict[str, Sequence[str]], text: str) -> None:
    said = await judged(name, records)
    assert said.startswith(f"{name} must not be issued: the CAA records of ")
    assert text in said


async def test_http_01_and_no_account_yet() -> None:
    methods = {"example.com": ["0 issue ca.example; validationmethods=dns-01"]}
    assert "not by http-01" in await judged("example.com", methods, method="http-01")
    bound = {"example.com": [f"0 issue ca.example; accounturi={ACCOUNT}"]}
    assert "no account there yet" in await judged("example.com", bound, account="")


async def for_any_ca(name: str, *records: str) -> str:
    """Return what is said of a CA that does not name itself."""

    async def lookup(domain: str) -> Sequence[Property]:
        found = (text.split(" ", 2) for text in records if domain == "example.com")
        return [Property(int(flags), tag, value) for flags, tag, value in found]

    return say(await forbidden(DomainName.parse(name), [], "dns-01", "", lookup))


@pytest.mark.parametrize(
    ("name", "records", "forbids"),
    [
        ("www.example.com", ["0 issue ;"], True),
        ("www.example.com", ["0 issue "], True),
        ("www.example.com", ["0 issue %%%"], True),
        ("*.example.com", ["0 issue ca.example", "0 issuewild ;"], True),
        ("*.example.com", ["0 issue ;"], True),
        ("www.example.com", ["128 unheard-of x"], True),
        ("www.example.com", ["0 issue ca.example", "0 issuewild ;"], False),
        ("www.example.com", ["0 issue ;", "0 issue whoever.example"], False),
        ("*.example.com", ["0 issue ;", "0 issuewild whoever.example"], False),
        ("www.example.com", ["0 issue whoever.example; accounturi=https://x.example/1"], False),
        ("www.example.com", [], False),
    ],
)
async def test_what_forbids_every_ca(name: str, records: list[str], *, forbids: bool) -> None:
    """Whoever the CA is: `;` allows nobody."""
    said = await for_any_ca(name, *records)
    assert bool(said) is forbids
    assert not said or said.startswith(f"{name} must not be issued: the CAA records of example.com")


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("ca.example;", True),
        ("ca.example ; ", True),
        ("ca.example; x=y; validationmethods=dns-01", True),
        ("ca.example;validationmethods = dns-01", True),
        ("ca.example; x=", True),
        # What does not follow the grammar allows nobody (RFC 8659 §4.2).
        ("ca.example; x", False),
        ("ca.example; x=y;", False),
        ("ca.example; x=y z", False),
        ("ca.example; x_y=z", False),
        ("ca example", False),
        # Twice the same condition is one that nobody meets (RFC 8657 §3).
        (f"ca.example; accounturi={ACCOUNT}; accounturi={ACCOUNT}", False),
        ("ca.example; validationmethods=dns-01; validationmethods=dns-01", False),
        (f"ca.example; accounturi={ACCOUNT}; validationmethods=http-01", False),
        ("ca.example; validationmethods=", False),
        ("ca.example; accounturi=", False),
    ],
)
async def test_values_and_their_parameters(value: str, *, allowed: bool) -> None:
    said = await judged("www.example.com", {"example.com": [f"0 issue {value}"]})
    assert (said == "") is allowed


async def test_the_way_out_names_our_account() -> None:
    bound = {"example.com": ["0 issue ca.example; accounturi=https://ca.example/acct/2"]}
    said = await judged("www.example.com", bound)
    assert said.endswith(f'write `example.com. CAA 0 issue "ca.example; accounturi={ACCOUNT}"`')


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ("0 issue ca.example; accounturi=https://ca.example/acct/2", True),
        ("0 issue other.example; accounturi=https://other.example/acct/2", False),
        ("0 issuewild ca.example; accounturi=https://ca.example/acct/2", False),
        ("0 issue ca.example", False),
    ],
)
async def test_records_that_name_an_account(record: str, *, named: bool) -> None:
    flags, tag, value = record.split(" ", 2)

    async def lookup(_: str) -> Sequence[Property]:
        return [Property(int(flags), tag, value)]

    assert await names_account(DomainName("www.example.com"), [MINE], lookup) is named


# --- looking them up ---


def served() -> Zone:
    zone = Zone()
    zone.add("example.com", "CAA", '0 issue "ca.example"')
    zone.add("alias.example.com", "CNAME", "x.example.net.")
    zone.add("www.example.com", "A", "192.0.2.1")
    return zone


def outside() -> Zone:
    zone = Zone("example.net")
    zone.authoritative = False
    zone.add("x.example.net", "CAA", '128 issue "other.example"')
    zone.add("alias.example.com", "CNAME", "x.example.net.")
    return zone


async def test_our_servers_for_our_zones_resolvers_for_others() -> None:
    async with Responder(served()) as ns, Responder(outside(), "") as resolver:
        lookup = caa_lookup({ZONE: [ns.server]}, Resolver(ASKER, [resolver.server]))
        assert await lookup("example.com") == [Property(0, "issue", "ca.example")]
        assert await lookup("www.example.com") == []
        assert resolver.queries == []
        assert await lookup("x.example.net") == [Property(128, "issue", "other.example")]
        # A CNAME out of the zone has the records of where it leads (RFC 8659 §3).
        assert await lookup("alias.example.com") == [Property(128, "issue", "other.example")]
        before = len(ns.queries)
        await lookup("example.com")
        assert len(ns.queries) == before


async def test_a_zone_below_is_looked_up_by_resolvers() -> None:
    def parent(query: dns.message.Message, tcp: bool) -> Answer:
        answer = dns.message.make_response(query)
        answer.authority.append(
            dns.rrset.from_text("sub.example.com.", 60, "IN", "NS", "ns.other.example.")
        )
        return answer

    below = Zone("sub.example.com")
    below.add("sub.example.com", "CAA", '0 issue "other.example"')
    async with Responder(parent) as ns, Responder(below, "") as resolver:
        lookup = caa_lookup({ZONE: [ns.server]}, Resolver(ASKER, [resolver.server]))
        assert await lookup("sub.example.com") == [Property(0, "issue", "other.example")]


async def test_what_resolvers_cannot_tell_is_left_to_the_ca() -> None:
    lookup = caa_lookup({}, Resolver(ASKER, []))
    assert await lookup("www.example.org") == []


async def test_what_our_own_servers_cannot_tell_is_trouble() -> None:
    broken, lame = Zone(), Zone()
    broken.rcode = dns.rcode.SERVFAIL
    lame.authoritative = False
    async with Responder(broken) as first, Responder(lame) as second, Responder(served()) as good:
        servers = [first.server, second.server]
        with pytest.raises(Transient) as caught:
            await caa_lookup({ZONE: servers}, Resolver(ASKER, []))("example.com")
        lookup = caa_lookup({ZONE: [*servers, good.server]}, Resolver(ASKER, []))
        assert await lookup("example.com") == [Property(0, "issue", "ca.example")]
    text = str(caught.value)
    assert text.startswith("zone example.com: no name server gives the CAA records of example.com")
    assert "answers SERVFAIL" in text
    assert "is not authoritative" in text


async def test_silent_servers_of_ours_leave_it_to_the_resolver_and_then_to_the_ca() -> None:
    """As behind a firewall that lets no DNS out, but to a resolver."""
    nowhere = [NameServer("127.0.0.1", free_port()) for _ in range(2)]
    unknown: dict[str, Reason] = {}
    async with Responder(served(), "") as resolver:
        lookup = caa_lookup(
            {ZONE: nowhere}, Resolver(ASKER, [resolver.server]), unknown.__setitem__
        )
        assert await lookup("example.com") == [Property(0, "issue", "ca.example")]
        # Nobody tells which they are: the same.
        lookup = caa_lookup({ZONE: []}, Resolver(ASKER, [resolver.server]), unknown.__setitem__)
        assert await lookup("example.com") == [Property(0, "issue", "ca.example")]
    assert unknown == {}
    lookup = caa_lookup({ZONE: nowhere}, Resolver(ASKER, []), unknown.__setitem__)
    assert await lookup("www.example.com") == await lookup("example.com") == []
    assert list(unknown) == ["www.example.com", "example.com"]
    assert str(nowhere[0]) in say(unknown["www.example.com"])


async def test_a_resolver_knows_better_than_our_own_broken_server() -> None:
    broken = Zone()
    broken.rcode = dns.rcode.SERVFAIL
    async with Responder(broken) as ns, Responder(served(), "") as resolver:
        lookup = caa_lookup({ZONE: [ns.server]}, Resolver(ASKER, [resolver.server]))
        assert await lookup("example.com") == [Property(0, "issue", "ca.example")]
    unknown: dict[str, Reason] = {}
    async with Responder(broken, "") as resolver:
        lookup = caa_lookup({}, Resolver(ASKER, [resolver.server]), unknown.__setitem__)
        assert await lookup("www.example.org") == []
    assert "answers SERVFAIL" in say(unknown["www.example.org"])
