"""Name servers that limit their answers: asked slowly, or by TCP, and everything is learnt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto

import dns.flags
import dns.message
import pytest

from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.ask import NameServer, Silent, heard_by_udp
from sslmd.dns.manners import ATTEMPTS, PLACES
from sslmd.dns.owners import OwnerFacts, OwnerLook
from tests.stand import virtual_time
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone

ZONE = ZoneName("example.com")

# Answers a second.
RATE = 5


class Tcp(Enum):
    """What a limit on answers means for TCP."""

    FREE = auto()  # nothing: BIND, Knot, NSD
    LIMITED = auto()
    CLOSED = auto()


class Limited:
    """A name server with response rate limiting.

    `debt`: questions that it drops count as well, for `debt` seconds at most, as BIND does it;
    `slip`: every so many of those it drops gets an answer that was cut short.
    """

    def __init__(self, tcp: Tcp, *, debt: float = 0.0, slip: int = 0) -> None:
        self.tcp = tcp
        self.dropped = 0
        self._zone = Zone()
        self._least = -debt * RATE
        self._slip = slip
        self._credit = float(RATE)
        self._at = 0.0

    def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
        if tcp and self.tcp is not Tcp.LIMITED:
            return self._zone(query, tcp) if self.tcp is Tcp.FREE else None
        now = asyncio.get_running_loop().time()
        self._credit = min(self._credit + (now - self._at) * RATE, RATE)
        self._at = now
        if self._credit >= 1:
            self._credit -= 1
            return self._zone(query, tcp)
        self._credit = max(self._credit - 1, self._least) if self._least else self._credit
        self.dropped += 1
        if not self._slip or self.dropped % self._slip:
            return None
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        return cut


@pytest.mark.parametrize(
    ("server", "number", "longest"),
    [
        (lambda: Limited(Tcp.FREE, debt=15), 200, 5),
        (lambda: Limited(Tcp.FREE, debt=15, slip=2), 1000, 10),
        (lambda: Limited(Tcp.LIMITED), 200, 60),
        (lambda: Limited(Tcp.CLOSED), 200, 80),
        (lambda: Limited(Tcp.CLOSED, debt=15), 1000, 420),
    ],
    ids=["free", "slip", "limited", "closed", "closed-debt"],
)
def test_many_owners_at_five_answers_a_second(
    server: Callable[[], Limited], number: int, longest: float
) -> None:
    owners = [DomainName(f"_acme-challenge.n{n}.example.com") for n in range(number)]

    async def look() -> None:
        async with Responder(server()) as responder:
            found = await OwnerLook(ASKER, ZONE, [responder.server]).all(owners)
            assert asyncio.get_running_loop().time() < longest
        assert all(isinstance(one, OwnerFacts) and one.is_plain for one in found.values())

    virtual_time.run(look())


async def ask_many(server: NameServer, number: int = 40) -> list[object]:
    names = [f"n{n}.example.com" for n in range(number)]
    return list(
        await asyncio.gather(
            *(ASKER.ask(server, name, "A") for name in names), return_exceptions=True
        )
    )


def test_a_server_that_is_dead_costs_one_wait() -> None:
    async def look() -> None:
        async with Responder(lambda _query, _tcp: None) as responder:
            found = await ask_many(responder.server, 1000)
            assert all(isinstance(one, Silent) for one in found)
            assert asyncio.get_running_loop().time() == pytest.approx(3.0)
            assert len(responder.asked("A")) <= 3 * PLACES  # each again, and by TCP
            # It is asked again all the same: it may be there now.
            responder.answering = Zone()
            await ASKER.ask(responder.server, "www.example.com", "A")

    virtual_time.run(look())


def test_a_server_that_dies_under_questions_is_given_up_in_the_end() -> None:
    async def look() -> None:
        async with Responder(Zone()) as responder:
            await ask_many(responder.server)
            responder.answering = lambda _query, _tcp: None
            found = await ask_many(responder.server)
            assert all(isinstance(one, Silent) for one in found)
            assert asyncio.get_running_loop().time() < ATTEMPTS * 5

    virtual_time.run(look())


async def test_few_questions_at_a_time() -> None:
    async with Responder(Zone(), delay=0.01) as responder:
        await ask_many(responder.server)
        assert responder.most == PLACES


async def test_the_same_question_is_asked_once() -> None:
    async with Responder(Zone(), delay=0.01) as responder:
        others = [ASKER.ask(responder.server, f"n{n}.example.com", "A") for n in range(PLACES)]
        same = [ASKER.ask(responder.server, "example.com", "CAA") for _ in range(20)]
        await asyncio.gather(*others, *same)
        assert len(responder.asked("CAA")) == 1
        # But what was sent is the answer of a moment that is over.
        await ASKER.ask(responder.server, "example.com", "CAA")
        assert len(responder.asked("CAA")) == 2


async def test_who_waits_no_more_takes_no_place() -> None:
    async with Responder(Zone(), delay=0.01) as responder:
        asking = [
            asyncio.ensure_future(ASKER.ask(responder.server, f"n{n}.example.com", "A"))
            for n in range(20)
        ]
        await asyncio.sleep(0)
        for one in asking[2:]:
            one.cancel()
        await asyncio.wait(asking)
        await ask_many(responder.server)
        assert responder.most == PLACES


def test_whether_it_was_heard_by_udp() -> None:
    async def look() -> None:
        zone = Zone()
        async with Responder(lambda query, tcp: zone(query, tcp) if tcp else None) as responder:
            await ASKER.ask(responder.server, "example.com", "SOA")
            assert not heard_by_udp(responder.server)
            # What was lost only once is heard the next time.
            responder.answering = zone
            await ASKER.ask(responder.server, "example.com", "SOA")
            assert heard_by_udp(responder.server)
        async with Responder(zone) as responder:
            await ASKER.ask(responder.server, "example.com", "SOA")
            assert heard_by_udp(responder.server)

    virtual_time.run(look())
