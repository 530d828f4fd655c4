"""Looking at name servers from here: by UDP and TCP, whatever they answer."""

from __future__ import annotations

import asyncio

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from sslmd.config.model import Endpoint
from sslmd.core.names import ZoneName
from sslmd.dns.reach import Reached, ask_resolvers, reach
from sslmd.dns.resolver import Resolver
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Answering, Responder, Zone

ZONE = ZoneName("example.com")


def _soa(query: dns.message.Message, serial: int = 7) -> dns.message.Message:
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.AA
    text = f"ns1.example.com. admin.example.com. {serial} 1 1 1 1"
    answer.answer.append(dns.rrset.from_text("example.com.", 60, "IN", "SOA", text))
    return answer


def _both(query: dns.message.Message, _: bool) -> Answer:
    return _soa(query)


def _udp_alone(query: dns.message.Message, by_tcp: bool) -> Answer:
    return None if by_tcp else _soa(query)


def _tcp_alone(query: dns.message.Message, by_tcp: bool) -> Answer:
    return _soa(query) if by_tcp else None


def _refusing(query: dns.message.Message, _: bool) -> Answer:
    answer = dns.message.make_response(query)
    answer.set_rcode(dns.rcode.REFUSED)
    return answer


def _borrowed(query: dns.message.Message, _: bool) -> Answer:
    answer = _soa(query)
    answer.flags &= ~dns.flags.AA
    return answer


def _nonsense(_: dns.message.Message, by_tcp: bool) -> Answer:
    return b"\xff" * 12 if by_tcp else None


async def _reached(answering: Answering) -> Reached:
    async with Responder(answering) as one:
        return await reach(ASKER, one.server, ZONE)


async def _all(*answering: Answering) -> list[Reached]:
    return await asyncio.gather(*map(_reached, answering))


def test_every_way_to_answer() -> None:
    both, udp, tcp, refusing, borrowed, nonsense = asyncio.run(
        _all(_both, _udp_alone, _tcp_alone, _refusing, _borrowed, _nonsense)
    )
    assert (both.serial, both.fault, both.udp, both.tcp) == (7, "", "", "")
    assert (udp.serial, udp.udp) == (7, "")
    assert "TCP" in udp.tcp
    assert (tcp.serial, tcp.tcp) == (7, "")
    assert tcp.udp == "did not answer by UDP"
    assert (refusing.serial, refusing.fault) == (None, "answers REFUSED")
    assert (borrowed.serial, borrowed.fault) == (None, "is not authoritative")
    assert nonsense.serial is None
    assert nonsense.udp
    assert nonsense.tcp


def test_what_is_no_zone_is_a_part_of_one() -> None:
    async def look() -> Reached:
        zone = Zone()
        zone.add("www.lab.example.com", "A", "192.0.2.1")
        async with Responder(zone, "ns1") as responder:
            return await reach(ASKER, responder.server, ZoneName("lab.example.com"))

    seen = asyncio.run(look())
    assert (seen.fault, seen.part_of) == ("", "example.com")


def test_resolvers() -> None:
    async def look() -> None:
        async with Responder(_both) as well, Responder(lambda *_: None) as silent:
            own = Resolver(ASKER, [well.server])
            ends = [
                Endpoint(well.server.address, well.server.port),
                Endpoint(silent.server.address, silent.server.port),
            ]
            good, bad = await ask_resolvers(ends, own)
            assert good.problem == ""
            assert "did not answer" in bad.problem
            assert bad.endpoint == ends[1]

    asyncio.run(look())
