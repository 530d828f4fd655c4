"""One question to one server, whatever it answers."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sslmd.core.names import DomainName
from sslmd.dns.ask import NameServer, Silent
from sslmd.net.dns_messages import Address
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone

WWW = DomainName("www.example.com")


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (NameServer("192.0.2.7"), "192.0.2.7"),
        (NameServer("192.0.2.7", 5353), "192.0.2.7:5353"),
        (NameServer("2001:db8::7"), "2001:db8::7"),
        (NameServer("2001:db8::7", 5353), "[2001:db8::7]:5353"),
        (NameServer("192.0.2.7", 53, "ns2.example.com"), "ns2.example.com (192.0.2.7)"),
        (NameServer("2001:db8::7", 99, "ns2.example.com"), "ns2.example.com ([2001:db8::7]:99)"),
    ],
)
def test_how_a_server_is_written(server: NameServer, text: str) -> None:
    assert str(server) == text


async def test_an_answer() -> None:
    zone = Zone()
    zone.add("www.example.com", "A", "192.0.2.1")
    async with Responder(zone) as responder:
        answer = await ASKER.ask(responder.server, WWW, "A")
    assert answer.rcode == dns.rcode.NOERROR
    assert answer.answer[0].records == (Address("192.0.2.1"),)


async def test_what_is_asked_for() -> None:
    async with Responder(Zone()) as responder:
        await ASKER.ask(responder.server, WWW, "A")
        await ASKER.ask(
            responder.server, WWW, "A", recursive=True, dnssec=True, checking_disabled=True
        )
    plain, full = responder.queries
    assert not plain.flags & (dns.flags.RD | dns.flags.CD)
    assert (plain.edns, plain.payload) == (0, 1232)
    assert not plain.ednsflags & dns.flags.DO
    assert full.flags & dns.flags.RD
    assert full.flags & dns.flags.CD
    assert full.ednsflags & dns.flags.DO
    assert plain.id != full.id


@pytest.mark.parametrize("rcode", [dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS])
@pytest.mark.parametrize("bare", [False, True])
async def test_a_server_without_edns_is_asked_without_it(
    rcode: dns.rcode.Rcode, bare: bool
) -> None:
    zone = Zone()
    zone.add("www.example.com", "A", "192.0.2.1")

    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        if query.edns < 0:
            return zone(query, tcp)
        refusal = dns.message.make_response(query)
        refusal.set_rcode(rcode)
        if rcode != dns.rcode.BADVERS:
            refusal.use_edns(False)
            if bare:  # nothing but its header: it could not read the question
                refusal.question = []
        return refusal

    async with Responder(answering) as responder:
        answer = await ASKER.ask(responder.server, WWW, "A", recursive=True)
        assert answer.rcode == dns.rcode.NOERROR
        assert answer.answer[0].records == (Address("192.0.2.1"),)
        first, second = responder.queries
        assert (first.edns, second.edns) == (0, -1)
        assert second.flags & dns.flags.RD
        assert first.id != second.id


async def test_a_server_without_edns_is_no_useless_one_however_much_is_asked() -> None:
    zone = Zone()
    names = [f"n{number}.example.com" for number in range(100)]
    for name in names:
        zone.add(name, "A", "192.0.2.1")

    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        if query.edns < 0:
            return zone(query, tcp)
        refusal = dns.message.make_response(query)
        refusal.use_edns(False)
        refusal.set_rcode(dns.rcode.FORMERR)
        return refusal

    async with Responder(answering) as responder:
        answers = await asyncio.gather(*(ASKER.ask(responder.server, name, "A") for name in names))
    assert all(answer.answer for answer in answers)
    assert len(responder.queries) == 2 * len(names)


async def test_one_that_understands_nothing_is_asked_twice_and_no_more() -> None:
    def answering(query: dns.message.Message, _: bool) -> Answer:
        refusal = dns.message.make_response(query)
        refusal.set_rcode(dns.rcode.FORMERR)
        return refusal

    async with Responder(answering) as responder:
        assert (await ASKER.ask(responder.server, WWW, "A")).rcode == dns.rcode.FORMERR
        assert len(responder.queries) == 2


async def test_a_long_answer_comes_by_tcp() -> None:
    zone = Zone()
    zone.add("www.example.com", "TXT", *(f'"{n:0200}"' for n in range(50)))

    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        if tcp:
            return zone(query, tcp)
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        return cut

    async with Responder(answering) as responder:
        answer = await ASKER.ask(responder.server, WWW, "TXT")
    assert len(answer.answer[0].records) == 50


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR])
async def test_a_refusal_is_an_answer(rcode: dns.rcode.Rcode) -> None:
    zone = Zone()
    zone.rcode = rcode
    async with Responder(zone) as responder:
        assert (await ASKER.ask(responder.server, WWW, "A")).rcode == rcode


def wrong_id(query: dns.message.Message, tcp: bool) -> Answer:
    answer = dns.message.make_response(query)
    answer.id ^= 1
    return answer


def wrong_name(query: dns.message.Message, tcp: bool) -> Answer:
    other = dns.message.make_query("www.example.net", "A", id=query.id)
    return dns.message.make_response(other)


def noise(query: dns.message.Message, tcp: bool) -> Answer:
    return b"\x00" * 7


def half(query: dns.message.Message, tcp: bool) -> Answer:
    return dns.message.make_response(query).to_wire()[:-4]


def echo(query: dns.message.Message, tcp: bool) -> Answer:
    return query.to_wire()


@pytest.mark.parametrize("answering", [wrong_id, wrong_name, noise, half, echo])
async def test_what_does_not_answer_the_question_is_passed_over(
    answering: object,
) -> None:
    assert callable(answering)
    async with Responder(answering) as responder:
        with pytest.raises(Silent, match=r"ns\.example\.com .* that answers the question"):
            await ASKER.ask(responder.server, WWW, "A", timeout=0.1)


async def test_an_answer_after_forged_ones_is_taken() -> None:
    zone = Zone()
    zone.add("www.example.com", "A", "192.0.2.1")
    forged = iter([noise, wrong_id])

    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        return next(forged, zone)(query, tcp)

    async with Responder(answering) as responder:
        for _ in range(2):
            with pytest.raises(Silent):
                await ASKER.ask(responder.server, WWW, "A", timeout=0.05)
        assert (await ASKER.ask(responder.server, WWW, "A")).answer


async def test_a_lost_question_is_sent_again() -> None:
    zone = Zone()
    times = iter([True])

    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        return None if next(times, False) else zone(query, tcp)

    async with Responder(answering) as responder:
        await ASKER.ask(responder.server, WWW, "A")
    assert len(responder.queries) == 2


async def test_silence() -> None:
    async with Responder(lambda _query, _tcp: None) as responder:
        with pytest.raises(Silent, match=r"did not answer within 0\.1 s") as caught:
            await ASKER.ask(responder.server, WWW, "A", timeout=0.1)
    assert caught.value.problem == "did not answer within 0.1 s"
    assert caught.value.server == responder.server


async def test_a_port_where_nobody_listens_is_noticed_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(Silent, match="Connection refused"):
        await ASKER.ask(NameServer("127.0.0.1", port), WWW, "A")


@pytest.mark.parametrize("reply", [None, b"\x00" * 20])
async def test_a_tcp_side_that_is_no_use(reply: bytes | None) -> None:
    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        if tcp:
            return reply
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        return cut

    async with Responder(answering) as responder:
        with pytest.raises(Silent, match="TCP"):
            await ASKER.ask(responder.server, WWW, "A")


async def test_a_server_without_an_address() -> None:
    with pytest.raises(Silent, match="has no address"):
        await ASKER.ask(NameServer("ns.example.com"), WWW, "A")


NO_NETWORK = ["unshare", "--map-root-user", "--net"]
ASK = """
import asyncio, sys
from sslmd.dns.ask import *
from sslmd.net.inside import Inside
try:
    server = NameServer(sys.argv[1], name="ns.example.com")
    asyncio.run(DnsAsker(Inside()).ask(server, "example.com", "SOA"))
except OutOfReach as err:
    print(err)
"""


@pytest.mark.parametrize(("address", "family"), [("192.0.2.1", "IPv4"), ("2001:db8::1", "IPv6")])
def test_no_way_there(address: str, family: str) -> None:
    if subprocess.run([*NO_NETWORK, "true"], check=False, capture_output=True).returncode:
        pytest.skip("unshare cannot make a network namespace here")
    done = subprocess.run(
        [*NO_NETWORK, sys.executable, "-c", ASK, address],
        capture_output=True,
        text=True,
        check=False,
    )
    text = f"ns.example.com ({address}) is out of reach from here by {family}: "
    assert done.stdout.startswith(text), done.stderr
