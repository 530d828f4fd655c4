"""What an owner is: in which zone, a CNAME or not, made by a wildcard or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from sslmd.core.errors import Permanent, Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.owner_view import PROBE, Made, Node
from sslmd.dns.owners import OwnerFacts, OwnerLook
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder

ZONE = ZoneName("example.com")
OWNER = DomainName("_acme-challenge.www.example.com")


class Server:
    """A name server as RFC 1034 §4.3.2 has it: cuts, CNAMEs, DNAMEs, wildcards (RFC 4592).

    `zones`: lines "name TYPE data" of each zone.
    """

    def __init__(self, zones: Mapping[str, Sequence[str]]) -> None:
        self._zones: dict[dns.name.Name, dict[dns.name.Name, dict[str, list[str]]]] = {}
        for zone, lines in zones.items():
            nodes = self._zones[dns.name.from_text(zone)] = {}
            for line in lines:
                name, rdtype, data = line.split(None, 2)
                there = nodes.setdefault(dns.name.from_text(name), {})
                there.setdefault(rdtype, []).append(data)

    def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
        answer = dns.message.make_response(query)
        name, rdtype = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        around = [zone for zone in self._zones if name.is_subdomain(zone)]
        if not around:
            answer.set_rcode(dns.rcode.REFUSED)
            return answer
        zone = max(around, key=len)
        self._fill(answer, zone, name, rdtype)
        return answer

    def _fill(
        self, answer: dns.message.Message, zone: dns.name.Name, name: dns.name.Name, rdtype: str
    ) -> None:
        nodes = self._zones[zone]
        above = [name.split(depth)[1] for depth in range(len(zone) + 1, len(name) + 1)]
        for one in above:
            if "NS" in nodes.get(one, {}):
                answer.authority.append(dns.rrset.from_text(one, 60, "IN", "NS", *nodes[one]["NS"]))
                return
        answer.flags |= dns.flags.AA
        for one in above[:-1]:
            if "DNAME" in nodes.get(one, {}):
                target = dns.name.from_text(nodes[one]["DNAME"][0])
                answer.answer.append(dns.rrset.from_text(one, 60, "IN", "DNAME", target.to_text()))
                made = name.relativize(one).derelativize(target).to_text()
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", made))
                return
        node = self._node(zone, name)
        if node is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        found = "CNAME" if node and "CNAME" in node else rdtype
        if node and found in node:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", found, *node[found]))
        else:
            soa = dns.rrset.from_text(zone, 90, "IN", "SOA", "ns. admin. 1 60 60 60 40")
            answer.authority.append(soa)

    def _node(self, zone: dns.name.Name, name: dns.name.Name) -> dict[str, list[str]] | None:
        nodes = self._zones[zone]
        if name in nodes:
            return nodes[name]
        if name == zone or any(one.is_subdomain(name) for one in nodes):
            return {}
        encloser = name.parent()
        while encloser != zone and not any(one.is_subdomain(encloser) for one in nodes):
            encloser = encloser.parent()
        return nodes.get(dns.name.from_text("*", encloser))


async def look(
    *servers: Sequence[str] | Mapping[str, Sequence[str]], owner: DomainName = OWNER
) -> OwnerFacts:
    """Look at an owner in servers that have these lines of `ZONE`, or these zones."""
    async with Many(*servers) as asked:
        return await OwnerLook(ASKER, ZONE, asked).at(owner)


class Many:
    """Servers, each with its lines."""

    def __init__(self, *servers: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        self.responders = [
            Responder(Server(one if isinstance(one, Mapping) else {"example.com": one}), f"ns{n}")
            for n, one in enumerate(servers, 1)
        ]

    async def __aenter__(self) -> list[NameServer]:
        return [(await one.__aenter__()).server for one in self.responders]

    async def __aexit__(self, *_: object) -> None:
        for one in self.responders:
            await one.__aexit__(None, None, None)


def wide(*names: str) -> tuple[DomainName, ...]:
    return tuple(DomainName(f"{name}.example.com") for name in names)


@pytest.mark.parametrize(
    ("lines", "node"),
    [
        ([], Node.NONE),
        (["www.example.com A 192.0.2.1"], Node.NONE),
        ([f'{OWNER} TXT "old"'], Node.OWN),
        ([f"below.{OWNER} A 192.0.2.1"], Node.OWN),  # an empty non-terminal
        (["*.example.com A 192.0.2.1", "www.example.com A 192.0.2.1"], Node.NONE),
        (["*.example.com A 192.0.2.1", f'{OWNER} TXT "old"'], Node.OWN),
        (["*.example.com CNAME x.example.net.", f'{OWNER} TXT "old"'], Node.OWN),
        (["*.example.com CNAME x.example.net.", f"below.{OWNER} A 192.0.2.1"], Node.OWN),
        ([f"*.{OWNER} A 192.0.2.1", "*.example.com A 192.0.2.2"], Node.OWN),
        ([f"*.{OWNER} TXT x"], Node.OWN),
    ],
)
async def test_a_record_at_the_owner_harms_nothing(lines: list[str], node: Node) -> None:
    found = await look(lines)
    assert (found.zone, found.node, found.alias, found.ttl) == (ZONE, node, None, 40)
    assert found.is_plain


async def test_a_server_for_which_every_name_exists_has_no_wildcards() -> None:
    """Signing as it answers, it says "no such data" of names that do not exist (RFC 9824)."""
    by_the_book = Server({"example.com": ["www.example.com A 192.0.2.1"]})

    def compact(query: dns.message.Message, tcp: bool) -> Answer:
        answer = by_the_book(query, tcp)
        assert isinstance(answer, dns.message.Message)
        answer.set_rcode(dns.rcode.NOERROR)
        return answer

    async with Responder(compact, "ns1") as responder:
        looking = OwnerLook(ASKER, ZONE, [responder.server])
        for owner in (OWNER, DomainName("_25._tcp.a.b.example.com")):
            found = await looking.at(owner)
            assert (found.node, found.wildcard, found.absent) == (Node.OWN, None, ())
            assert found.is_plain


@pytest.mark.parametrize(
    ("lines", "wildcard", "absent"),
    [
        (["*.example.com CNAME cdn.example.net."], "*", ("_acme-challenge.www", "www")),
        (["*.example.com CNAME www.example.com.", "www.example.com A 192.0.2.1"], None, ()),
        (["*.example.com A 192.0.2.1"], "*", ("_acme-challenge.www", "www")),
        (["*.example.com MX 10 mail.example.com."], "*", ("_acme-challenge.www", "www")),
        (["*.www.example.com CNAME x.example.net."], "*.www", ("_acme-challenge.www",)),
        (
            ["*.example.com CNAME x.example.net.", "*.www.example.com CNAME y.example.net."],
            "*.www",
            ("_acme-challenge.www",),
        ),
        (
            ["*.example.com A 192.0.2.1", "*.www.example.com A 192.0.2.2"],
            "*.www",
            ("_acme-challenge.www",),
        ),
        (
            [
                "*.example.com A 192.0.2.1",
                "*.www.example.com A 192.0.2.1",
                "www.example.com MX 10 mail.example.com.",
            ],
            "*.www",
            ("_acme-challenge.www",),
        ),
        (
            ["*.example.com A 192.0.2.1", "*.www.example.com CNAME x.example.net."],
            "*.www",
            ("_acme-challenge.www",),
        ),
    ],
)
async def test_what_a_wildcard_gives(
    lines: list[str], wildcard: str | None, absent: tuple[str, ...]
) -> None:
    found = await look(lines)
    assert found.wildcard == (wildcard and DomainName(f"{wildcard}.example.com"))
    assert found.absent == wide(*absent)
    assert found.overshadowed == wide(*absent[1:])
    assert found.node is (Node.WILDCARD if wildcard else Node.NONE)
    assert found.alias is None or not found.alias.is_real
    assert found.is_plain == (len(absent) <= 1)


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["*.example.com CNAME y.example.net."],
        ["*.example.com CNAME x.example.net."],  # the same as at the owner
        ["*.example.com A 192.0.2.1"],
        ["*.www.example.com CNAME x.example.net."],
        [f"*.{OWNER} CNAME y.example.net."],
        ["www.example.com CNAME z.example.net."],  # an alias above an alias
    ],
)
async def test_a_cname_at_the_owner(more: list[str]) -> None:
    found = await look([f"{OWNER} CNAME X.Example.NET.", *more])
    assert found.alias is not None
    assert found.alias.is_real
    assert (found.alias.target, found.alias.made) == (DomainName("x.example.net"), Made.HERE)
    assert (found.zone, found.node, found.wildcard) == (ZONE, Node.OWN, None)
    assert not found.is_plain


async def test_below_a_dname() -> None:
    found = await look(["www.example.com DNAME www.example.net."])
    assert found.alias is not None
    assert found.alias.is_real
    assert found.alias.target == DomainName("_acme-challenge.www.example.net")
    assert (found.alias.made, found.alias.by) == (Made.DNAME, DomainName("www.example.com"))
    assert found.zone == ZONE


@pytest.mark.parametrize("cut", ["www.example.com", OWNER.text])
@pytest.mark.parametrize("more", [[], [f"{OWNER} CNAME x.example.net."]])
async def test_a_zone_below(cut: str, more: list[str]) -> None:
    parent = [f"{cut} NS ns.example.net."]
    both = {"example.com": parent, cut: more if cut != OWNER.text else []}
    referred = await look(parent)
    assert (referred.zone, referred.node) == (ZoneName(cut), Node.UNKNOWN)
    assert referred.in_child
    for servers in ([both], [parent, both], [both, parent]):
        found = await look(*servers)
        assert found.zone == ZoneName(cut)
        assert found.in_child
        assert (found.alias is not None) == bool(both[cut])


async def test_the_zone_asked_for_is_none() -> None:
    found = await look({"com": ["example.com A 192.0.2.1"]})
    assert found.zone == ZoneName("com")
    assert found.in_parent
    assert not found.in_child
    assert not found.is_plain


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            [],
            ["www.example.com NS ns."],
            r"ns1 .* zone example\.com; ns2 .* zone www\.example\.com",
        ),
        (
            [],
            {"example.com": [], "www.example.com": []},
            r"ns1 .* zone example\.com; ns2 .* zone www\.example\.com",
        ),
        ([], [f"{OWNER} CNAME x.example.net."], r"ns2 .* and a CNAME to x\.example\.net"),
        ([f"{OWNER} CNAME x."], [f"{OWNER} CNAME y."], r"CNAME to x; ns2 .* CNAME to y"),
        (
            [f"{OWNER} CNAME x.example.net."],
            ["*.example.com CNAME x.example.net."],
            r"ns2 .* CNAME to x\.example\.net through \*\.example\.com",
        ),
    ],
)
async def test_servers_that_contradict_each_other(
    first: list[str], second: list[str], told: str
) -> None:
    with pytest.raises(Transient, match=rf"contradict each other about .*{told}.*; wait"):
        await look(first, second)


async def test_what_a_wildcard_makes_may_differ_where_something_is_written() -> None:
    """Views for inside and outside, say: the record itself is served by both."""
    inside, outside = ["*.example.com A 192.0.2.1"], ["*.example.com CNAME x.example.net."]
    lines: list[list[str]] = [inside, outside, []]
    found = await look(*lines)
    assert found.alias is None or not found.alias.is_real
    async with Many(*lines) as asked:
        with pytest.raises(Transient, match=r"through \*\.example\.com"):
            await OwnerLook(ASKER, ZONE, asked, foreign=True).at(OWNER)


async def test_a_server_that_is_no_use_says_nothing() -> None:
    alias = [f"{OWNER} CNAME x.example.net."]
    found = await look({"example.net": []}, alias)
    assert found.alias is not None
    assert len(found.silent) == 1
    assert "ns1 (127.0.0.1" in say(found.silent[0])
    assert "REFUSED" in say(found.silent[0])
    with pytest.raises(Transient, match=r"zone example\.com: no name server answers for .*REFUSED"):
        await look({"example.net": []})


async def test_a_cname_to_what_is_no_host() -> None:
    with pytest.raises(Permanent, match="leads to no host"):
        await look([f"{OWNER} CNAME a\\032b.example.net."])


async def test_a_silent_server_is_asked_once() -> None:
    async with Responder(lambda _query, _tcp: None) as dead:
        gone = dead.server
    async with Many([]) as (good,):
        found = await OwnerLook(ASKER, ZONE, [gone, good]).all(
            DomainName(f"_acme-challenge.n{n}.example.com") for n in range(50)
        )
    assert all(isinstance(one, OwnerFacts) and len(one.silent) == 1 for one in found.values())


async def test_parents_are_asked_once_for_all_owners() -> None:
    zone = [f"_acme-challenge.n{n}.example.com CNAME x{n}.example.net." for n in range(20)]
    servers = Many(zone)
    owners = [DomainName(line.split()[0]) for line in zone]
    async with servers as asked:
        found = await OwnerLook(ASKER, ZONE, asked).all(owners)
    aliases = [one.alias for one in found.values() if isinstance(one, OwnerFacts)]
    assert len(aliases) == 20
    assert all(alias is not None and alias.is_real for alias in aliases)
    questions = servers.responders[0].asked("CNAME")
    assert len(questions) == len(set(questions)) == 60
    assert sum(PROBE in name for name in questions) == 20


async def test_one_owner_keeps_out_no_other() -> None:
    lines = [f"{OWNER} CNAME a\\032b.example.net."]
    async with Many(lines) as asked:
        found = await OwnerLook(ASKER, ZONE, asked).all([OWNER, DomainName("other.example.com")])
    bad, good = found.values()
    assert isinstance(bad, Permanent)
    assert isinstance(good, OwnerFacts)
    assert good.is_plain
