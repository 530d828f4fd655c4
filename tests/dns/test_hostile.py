"""Name servers that mean harm: what they send costs little, and what they name is left alone."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from sslmd.config.model import DnsPrimary, Endpoint
from sslmd.core.errors import Permanent, Transient
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer, Silent
from sslmd.dns.bounds import (
    MOST_ADDRESSES,
    MOST_DOUBTFUL,
    MOST_QUESTIONS,
    MOST_SERVERS,
    bounds,
    why_not_asked,
)
from sslmd.dns.look import TLSA, look_at
from sslmd.dns.manners import LEAST_PAUSE, LONGEST_PAUSE, PLACES, REST, USELESS
from sslmd.dns.nameservers import authoritative, follow, name_servers
from sslmd.dns.owners import OwnerLook
from sslmd.dns.resolver import Resolver
from sslmd.net.dns_messages import MOST_RECORDS, DnsAnswer
from tests.stand import virtual_time
from tests.stand.asking import ASKER
from tests.stand.hostile_answers import (
    Talk,
    bomb,
    colliding,
    cutting_short,
    datagrams,
    framed,
    many_records,
)
from tests.stand.responder import Answer, Responder, Zone
from tests.stand.stalls import LONGEST, watched

ZONE = ZoneName("example.com")
WWW = DomainName("www.example.com")
Bytes = Callable[[dns.message.Message], bytes]


def good(query: dns.message.Message) -> bytes:
    return many_records(query, 1)


def _too_long(query: dns.message.Message) -> bytes:
    return many_records(query, 100)  # 1.6 KB, and we said 1232


def _other_id(query: dns.message.Message) -> bytes:
    wire = many_records(query, 60)
    return struct.pack("!H", query.id ^ 1) + wire[2:]


def _other_name(query: dns.message.Message) -> bytes:
    return many_records(dns.message.make_query("xxx.example.com", "A", id=query.id), 60)


def _other_type(query: dns.message.Message) -> bytes:
    return many_records(dns.message.make_query("www.example.com", "TXT", id=query.id), 60)


def _two_questions(query: dns.message.Message) -> bytes:
    wire = many_records(query, 60)
    return wire[:4] + b"\0\2" + wire[6:]


def _a_question(query: dns.message.Message) -> bytes:
    wire = many_records(query, 60)
    return wire[:2] + b"\4\0" + wire[4:]


def _an_update(query: dns.message.Message) -> bytes:
    wire = many_records(query, 60)
    return wire[:2] + b"\xac\0" + wire[4:]


FORGED = [_too_long, _other_id, _other_name, _other_type, _two_questions, _a_question, _an_update]


@pytest.mark.parametrize("forged", FORGED)
async def test_what_is_no_answer_is_dropped_before_it_is_parsed(
    forged: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    reader = dns.message._WireReader

    class Noted(reader):  # type: ignore[misc, valid-type]
        def __init__(self, wire: bytes, *args: object, **more: object) -> None:
            parsed.append(wire)
            super().__init__(wire, *args, **more)

    def answers(query: dns.message.Message) -> list[bytes]:
        parsed.clear()  # the test's own parsing of the query
        return [forged(query)] * 50 + [good(query)]

    monkeypatch.setattr(dns.message, "_WireReader", Noted)
    async with datagrams(answers) as (server, _):
        answer = await ASKER.ask(server, WWW, "A")
    assert len(answer.answer[0].records) == 1
    assert len(parsed) == 1


async def test_a_datagram_from_another_address_is_not_heard() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self._transport = cast(asyncio.DatagramTransport, transport)

            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                query = dns.message.from_wire(data)
                forger.sendto(many_records(query, 2), addr)
                loop.call_later(0.05, self._transport.sendto, good(query), addr)

        udp, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
        try:
            port = udp.get_extra_info("sockname")[1]
            answer = await ASKER.ask(NameServer("127.0.0.1", port), WWW, "A")
        finally:
            udp.abort()
    assert len(answer.answer[0].records) == 1


async def test_answers_that_cannot_be_read_are_not_waited_for_without_end() -> None:
    async with datagrams(lambda query: [good(query)[:-3]] * 1000) as (server, _):
        with pytest.raises(Silent, match="answers nonsense"):
            await ASKER.ask(server, WWW, "A")


def by_tcp(answer: Bytes) -> Talk:
    async def talk(query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
        writer.write(framed(answer(query)))
        await writer.drain()

    return talk


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (many_records, rf"answer of 3800 records, and no more than {MOST_RECORDS} are"),
        (lambda query: bomb(query, 4000), "answer of 4000 records"),
        (bomb, "an answer whose names take too long to read"),
        (colliding, ""),
    ],
    ids=["many", "many-bombs", "bomb", "colliding"],
)
async def test_a_long_answer_to_everything_stalls_nothing_and_is_told(
    answer: Bytes, told: str
) -> None:
    owners = [DomainName(f"_{n}._tcp.www.example.com") for n in range(1, 9)]
    async with cutting_short(by_tcp(answer)) as server, watched() as stalls:
        (seen,) = await look_at(ASKER, ZONE, [server], owners, TLSA)
    assert stalls.longest < LONGEST
    if told:
        # As `status` has it, for the zone: its server, and what it does.
        assert "records" in say(seen.silent) or "too long" in say(seen.silent)
        async with cutting_short(by_tcp(answer)) as server:
            with pytest.raises(Silent, match=told):
                await ASKER.ask(server, WWW, "A")


async def test_a_hundred_bombs_by_udp_stall_nothing() -> None:
    # 1200 bytes hold 66 names of 120 labels: 0.1 s each for dnspython.
    async with datagrams(lambda query: [bomb(query, 66)]) as (server, asked), watched() as stalls:
        looks = (ASKER.ask(server, f"n{n}.example.com", "A") for n in range(100))
        await asyncio.gather(*looks, return_exceptions=True)
    assert asked
    assert stalls.longest < LONGEST


async def test_an_answer_of_as_much_as_is_read_is_read() -> None:
    most = MOST_RECORDS
    async with cutting_short(by_tcp(lambda query: many_records(query, most))) as server:
        answer = await ASKER.ask(server, WWW, "A")
    assert len(answer.answer[0].records) == most


async def test_long_values_of_many_orders_are_read() -> None:
    zone = Zone()
    zone.add("_acme-challenge.example.com", "TXT", *(f'"{n:043}"' for n in range(250)))
    name = dns.name.from_text("_acme-challenge.example.com")

    def wire(query: dns.message.Message) -> bytes:
        answer = zone(query, True)
        assert isinstance(answer, dns.message.Message)
        return answer.to_wire(max_size=65535)

    async with cutting_short(by_tcp(wire)) as server:
        answer = await ASKER.ask(server, name.to_text(), "TXT")
    assert len(answer.answer[0].records) == 250


# --- TCP ------------------------------------------------------------------------------------


async def a_byte_a_second(query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
    for byte in framed(good(query)):
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def without_end(query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(framed(good(query)) * 100)
        await writer.drain()


async def a_longer_length(query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\xff\xff" + good(query))
    await asyncio.sleep(10)


async def a_shorter_length(query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\0\5" + good(query))
    await writer.drain()


async def another_question(query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
    writer.write(framed(_other_name(query)))
    await writer.drain()


def test_slow_and_wrong_tcp_ends_in_time() -> None:
    async def look(talk: Talk) -> tuple[float, str]:
        async with cutting_short(talk) as server:
            begin = asyncio.get_running_loop().time()
            try:
                await ASKER.ask(server, WWW, "A")
                text = "answered"
            except Silent as err:
                text = err.problem
            return asyncio.get_running_loop().time() - begin, text

    late, nonsense = "did not answer by TCP within 3 s", "answers nonsense by TCP"
    for talk, longest, told in (
        (a_byte_a_second, 3.1, late),
        (a_longer_length, 3.1, late),
        (a_shorter_length, 0.1, nonsense),
        (another_question, 0.1, nonsense),
    ):
        taken, text = virtual_time.run(look(talk))
        assert text == told
        assert taken <= longest


async def test_answers_without_end_cost_one() -> None:
    ended = asyncio.Event()

    async def talk(query: dns.message.Message, writer: asyncio.StreamWriter) -> None:
        try:
            await without_end(query, writer)
        finally:
            ended.set()

    async with cutting_short(talk) as server:
        assert len((await ASKER.ask(server, WWW, "A")).answer[0].records) == 1
        await asyncio.wait_for(ended.wait(), 10)  # it was hung up on


# --- how many, and how often ----------------------------------------------------------------


async def test_a_zone_gets_so_many_servers_and_addresses() -> None:
    world = Zone()
    for n in range(40):
        host = f"ns{n:02}.example.net"
        world.add("example.com", "NS", f"{host}.")
        world.add(host, "A", *(f"192.0.2.{m}" for m in range(1, 30)))
    async with Responder(world, "") as responder:
        resolver = Resolver(ASKER, [responder.server])
        found = await authoritative(ZONE, None, resolver)
        assert len({one.name for one in found}) == MOST_SERVERS
        assert len(found) == MOST_SERVERS * MOST_ADDRESSES
        (told,) = map(say, bounds().remarks())
        assert told.startswith("zone example.com: of its 40 name servers the first 16 by name are ")
        assert "of the 29 addresses of ns00.example.net the first 8 are asked" in told
        assert "nameservers in [[dns_primary]]" in told
        # Nothing is told any more once it fits.
        world.records[dns.name.from_text("example.com"), dns.rdatatype.NS] = ["one.example.net."]
        world.add("one.example.net", "A", "192.0.2.1")
        await authoritative(ZONE, None, resolver)
        assert bounds().remarks() == []


async def test_no_more_servers_are_looked_up_than_are_asked() -> None:
    world = Zone()
    for n in range(200):
        world.add("example.com", "NS", f"ns{n:03}.example.net.")
    async with Responder(world, "") as responder:
        await name_servers(ZONE, None, Resolver(ASKER, [responder.server]))
        assert len(set(responder.asked("A"))) == MOST_SERVERS


@pytest.mark.parametrize(
    ("address", "ours", "others"),
    [
        ("127.0.0.1", False, False),
        ("127.9.9.9", False, False),
        ("::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("10.1.2.3", True, False),
        ("192.168.1.1", True, False),
        ("fd00::1", True, False),
        ("::ffff:10.0.0.1", True, False),
        ("64:ff9b::7f00:1", False, False),
        ("64:ff9b::a00:1", True, False),
        ("2002:7f00:1::", False, False),
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
    ],
)
def test_addresses_that_zones_may_have_us_ask(address: str, ours: bool, others: bool) -> None:
    assert (why_not_asked(address, foreign=False) is None) is ours
    assert (why_not_asked(address, foreign=True) is None) is others


async def test_ns_records_do_not_lead_into_this_machine_or_network() -> None:
    world = Zone()
    world.add("example.com", "NS", "ns1.example.com.", "ns2.example.com.")
    world.add("ns1.example.com", "A", "127.0.0.1", "8.8.8.8")
    world.add("ns2.example.com", "A", "10.0.0.1")
    async with Responder(world, "") as responder:
        resolver = Resolver(ASKER, [responder.server])
        own = await authoritative(ZONE, None, resolver)
        with pytest.raises(Transient, match=r"ns2.*have no address.*10\.0\.0\.1 is not asked, it "):
            await authoritative(ZONE, None, resolver, foreign=True)
        assert [one.address for one in own] == ["8.8.8.8", "10.0.0.1"]
        # Who writes it in the configuration may have it.
        named = DnsPrimary(ZONE, Endpoint("10.0.0.2"), (Endpoint("127.0.0.1", 5353),))
        assert await authoritative(ZONE, named, resolver) == (NameServer("127.0.0.1", 5353),)


def refused(query: dns.message.Message, _: bool) -> Answer:
    answer = dns.message.make_response(query)
    answer.set_rcode(dns.rcode.REFUSED)
    return answer


def lame(query: dns.message.Message, _: bool) -> Answer:
    return dns.message.make_response(query)


@pytest.mark.parametrize("victim", [refused, lame], ids=["refused", "lame"])
def test_many_zones_that_name_one_address_ask_it_hardly_at_all(
    victim: Callable[[dns.message.Message, bool], Answer],
) -> None:
    zones = [ZoneName(f"z{n}.example.com") for n in range(300)]

    async def look() -> None:
        async with Responder(victim) as responder:

            async def every_round(zone: ZoneName) -> None:
                owners = [DomainName(f"_{port}._tcp.{zone}") for port in (25, 443)]
                for _ in range(10):
                    await look_at(ASKER, zone, [responder.server], owners, TLSA)
                    await asyncio.sleep(30)

            await asyncio.gather(*map(every_round, zones))
            seconds = asyncio.get_running_loop().time()
            most = USELESS + PLACES + seconds / LONGEST_PAUSE
            assert len(responder.queries) <= most
            # As soon as it answers, it is asked as others are.
            responder.answering = Zone()
            before = len(responder.queries)
            looks = (ASKER.ask(responder.server, f"n{n}.example.com", "A") for n in range(50))
            await asyncio.gather(*looks)
            assert len(responder.queries) - before == 50
            assert asyncio.get_running_loop().time() < seconds + (PLACES + 1) * LONGEST_PAUSE

    virtual_time.run(look())


def test_no_address_is_asked_faster_than_the_schedule_says() -> None:
    async def look() -> None:
        async with Responder(Zone()) as responder:
            times: list[float] = []
            answer = responder.answering

            def noted(query: dns.message.Message, tcp: bool) -> Answer:
                times.append(asyncio.get_running_loop().time())
                return answer(query, tcp)

            responder.answering = noted
            looks = (ASKER.ask(responder.server, f"n{n}.example.com", "A") for n in range(1000))
            await asyncio.gather(*looks)
            assert len(times) == 1000
            for begin in times:
                within = sum(begin <= one < begin + 1 for one in times)
                assert within <= (1 + REST) / LEAST_PAUSE + 1

    virtual_time.run(look())


def test_silent_servers_leave_turns_to_those_that_answer() -> None:
    async def look() -> None:
        silent = [Responder(lambda _query, _tcp: None) for _ in range(40)]
        most, worst = 0, 0.0
        async with Responder(Zone()) as well:
            for one in silent:
                await one.__aenter__()

            async def harm(one: Responder) -> None:
                for _ in range(10):
                    looks = (ASKER.ask(one.server, f"n{n}.example.com", "A") for n in range(PLACES))
                    await asyncio.gather(*looks, return_exceptions=True)

            await ASKER.ask(well.server, "example.com", "A")
            harming = [asyncio.ensure_future(harm(one)) for one in silent]
            loop = asyncio.get_running_loop()
            for n in range(100):
                begin = loop.time()
                await ASKER.ask(well.server, f"n{n}.example.com", "A")
                worst = max(worst, loop.time() - begin)
                most = max(most, bounds().under_way)
                await asyncio.sleep(0.1)
            assert MOST_DOUBTFUL <= most <= MOST_QUESTIONS
            assert worst < 0.1
            assert [told.code for told in bounds().remarks()] == [Failed.QUEUED]
            for task in harming:
                task.cancel()
            await asyncio.gather(*harming, return_exceptions=True)
            for one in silent:
                await one.__aexit__(None, None, None)

    virtual_time.run(look())


def test_so_many_questions_are_under_way_in_all() -> None:
    async def look() -> None:
        servers = [Responder(Zone(), delay=0.5) for _ in range(40)]
        for one in servers:
            await one.__aenter__()
        await asyncio.gather(*(ASKER.ask(one.server, "example.com", "A") for one in servers))
        looks = [
            asyncio.ensure_future(ASKER.ask(one.server, f"n{n}.example.com", "A"))
            for one in servers
            for n in range(PLACES)
        ]
        most = 0
        while not all(one.done() for one in looks):
            most = max(most, bounds().under_way)
            await asyncio.sleep(0.05)
        assert most == MOST_QUESTIONS
        for one in servers:
            await one.__aexit__(None, None, None)

    virtual_time.run(look())


# --- chains ---------------------------------------------------------------------------------


def endless_cnames(query: dns.message.Message, _: bool) -> Answer:
    """Each name leads to the next."""
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.AA
    name = query.question[0].name
    number = int(name.labels[0][1:] or b"0")
    target = f"n{number + 1}.example.com."
    answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
    return answer


async def test_cnames_without_end() -> None:
    async with Responder(endless_cnames) as responder:
        with pytest.raises(Permanent, match="lead on and on"):
            await follow(ASKER, DomainName("n0.example.com"), ZONE, [responder.server])
        assert len(responder.queries) <= 10


async def test_referrals_without_end() -> None:
    """A server that refers every name to a zone one label deeper."""

    def refers(query: dns.message.Message, _: bool) -> Answer:
        answer = dns.message.make_response(query)
        name = query.question[0].name
        answer.authority.append(dns.rrset.from_text(name, 60, "IN", "NS", "ns.example.com."))
        return answer

    async with Responder(refers) as responder:
        finding = await OwnerLook(ASKER, ZONE, [responder.server]).at(WWW)
        assert finding.in_child
        assert len(responder.queries) <= 10


async def test_a_zone_that_a_server_does_not_have_takes_no_turn_from_its_others() -> None:
    """One that is named in a zone by mistake serves others well."""
    zone = Zone()
    good = [f"n{number}.example.com" for number in range(10)]
    for name in good:
        zone.add(name, "A", "192.0.2.1")

    def answering(query: dns.message.Message, tcp: bool) -> Answer:
        if not query.question[0].name.to_text().endswith(".example.org."):
            return zone(query, tcp)
        refusal = dns.message.make_response(query)
        refusal.set_rcode(dns.rcode.REFUSED)
        return refusal

    async with Responder(answering) as responder:
        lame = [ASKER.ask(responder.server, f"n{number}.example.org", "A") for number in range(60)]
        found = await asyncio.gather(
            *lame,
            *(ASKER.ask(responder.server, name, "A") for name in good),
            return_exceptions=True,
        )
    refused, answers = found[: len(lame)], found[len(lame) :]
    assert any(isinstance(one, Silent) for one in refused)
    assert all(isinstance(one, DnsAnswer) and one.answer for one in answers)
