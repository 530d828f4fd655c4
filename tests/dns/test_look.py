"""What name servers show of TLSA records, however wrong they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmd.core.dane.sighting import OwnerSeen, TlsaSeen, missing_at, surplus
from sslmd.core.dane.tlsa import Owned, Tlsa
from sslmd.core.failed import Failed
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.look import AT_ONCE, TLSA, look_at
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Answering, Responder, Zone

ZONE = ZoneName("example.com")
MAIL = DomainName("_25._tcp.mail.example.com")
WEB = DomainName("_443._tcp.example.com")
ONE = Tlsa(3, 1, 1, "ab" * 32)
TWO = Tlsa(3, 1, 1, "cd" * 32)


def owned(*some: tuple[DomainName, Tlsa]) -> frozenset[Owned]:
    return frozenset(some)


def zone(*records: Tlsa, serial: int = 7) -> Zone:
    made = Zone(serial=serial)
    made.add(MAIL.text, "TLSA", *map(str, records))
    return made


def changed(change: Callable[[dns.message.Message], None]) -> Answering:
    """Return proper answers, but with something wrong in those to TLSA."""

    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = zone(ONE)(query, tcp)
        assert isinstance(made, dns.message.Message)
        if query.question[0].rdtype == dns.rdatatype.TLSA:
            change(made)
        return made

    return answer


def without_authority(answer: dns.message.Message) -> None:
    answer.flags &= ~dns.flags.AA


def of_another_owner(answer: dns.message.Message) -> None:
    answer.answer[0].name = dns.name.from_text("_25._tcp.mail2.example.com")


def of_another_class(answer: dns.message.Message) -> None:
    answer.answer[0].rdclass = dns.rdataclass.CH


def to_another_question(answer: dns.message.Message) -> None:
    answer.id ^= 1


async def seen(answering: Answering, *owners: DomainName) -> TlsaSeen:
    async with Responder(answering) as responder:
        (found,) = await look_at(ASKER, ZONE, [responder.server], owners, TLSA)
        return found


async def test_what_each_server_shows() -> None:
    async with Responder(zone(ONE, TWO)) as good, Responder(zone(ONE, serial=6)) as lags:
        both = await look_at(ASKER, ZONE, [good.server, lags.server], [WEB, MAIL], TLSA)
        assert good.asked("TLSA") == [MAIL.text, WEB.text]
        assert all(query.ednsflags & dns.flags.DO for query in good.queries[1:])
        assert not any(query.flags & dns.flags.RD for query in good.queries)
        servers = [good.server, lags.server]
    assert [one.server for one in both] == [str(one) for one in servers]
    assert both[0].owners == {MAIL: OwnerSeen(frozenset({ONE, TWO}), 60), WEB: OwnerSeen()}
    assert [one.owners[WEB].serial for one in both] == [7, 6]
    wanted = owned((MAIL, ONE), (MAIL, TWO), (WEB, ONE))
    assert missing_at(both[0], wanted) == owned((WEB, ONE))
    assert missing_at(both[1], wanted) == owned((WEB, ONE), (MAIL, TWO))
    assert surplus(both[0], owned((MAIL, ONE))) == owned((MAIL, TWO))
    assert surplus(both[1], wanted) == frozenset()


async def test_nobody_and_nothing() -> None:
    assert await look_at(ASKER, ZONE, [], [MAIL], TLSA) == []
    assert (await seen(zone(ONE))).owners == {}


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
async def test_what_is_no_answer(rcode: dns.rcode.Rcode) -> None:
    served = zone(ONE)
    served.rcode = rcode
    found = await seen(served, MAIL)
    fault = Reason(Failed.NS_ANSWERS, rcode=dns.rcode.to_text(rcode), owner=MAIL, type="TLSA")
    assert found.owners == {MAIL: OwnerSeen(fault=fault)}
    assert missing_at(found, owned((MAIL, ONE))) == owned((MAIL, ONE))


async def test_an_answer_without_authority_is_none() -> None:
    found = await seen(changed(without_authority), MAIL)
    assert found.owners == {MAIL: OwnerSeen(fault=Reason(Failed.NS_NOT_AUTHORITATIVE, owner=MAIL))}


async def test_aliases() -> None:
    served = Zone()
    served.add(MAIL.text, "CNAME", "tlsa.example.com.")
    served.add("tlsa.example.com", "TLSA", str(ONE))
    served.add(WEB.text, "CNAME", "tlsa.example.net.")
    round_ = DomainName("_1._tcp.example.com")
    served.add(round_.text, "CNAME", f"{round_}.")
    found = await seen(served, MAIL, WEB, round_)
    there = DomainName("tlsa.example.com")
    assert found.owners[MAIL] == OwnerSeen(frozenset({ONE}), 60, cname=there)
    assert say(found.owners[WEB].fault) == f"has a CNAME at {WEB} that leads to tlsa.example.net"
    assert found.owners[round_].records == frozenset()


@pytest.mark.parametrize("change", [of_another_owner, of_another_class])
async def test_records_of_others_do_not_count(
    change: Callable[[dns.message.Message], None],
) -> None:
    found = await seen(changed(change), MAIL)
    assert found.owners == {MAIL: OwnerSeen()}


async def test_forged_answers_are_passed_over() -> None:
    found = await seen(changed(to_another_question), MAIL)
    assert found.owners == {}
    assert "sent nothing within 3 s that answers the question" in say(found.silent)


async def test_signatures() -> None:
    def rrsig(kind: str, end: str) -> str:
        return f"{kind} 13 5 60 {end} 20260101000000 1 example.com. {'A' * 86}=="

    served = zone(ONE)

    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = served(query, tcp)
        assert isinstance(made, dns.message.Message)
        for covered, end, name in [
            ("TLSA", "20260301000000", MAIL),
            ("TLSA", "20260401000000", MAIL),
            ("TLSA", "20290101000000", WEB),
            ("A", "20290101000000", MAIL),
        ]:
            text = rrsig(covered, end)
            made.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "RRSIG", text))
        return made

    found = await seen(answer, MAIL, WEB)
    assert found.owners[MAIL].signed_until == datetime(2026, 4, 1, tzinfo=UTC)
    assert found.owners[WEB].signed_until is None


async def test_a_server_that_is_gone_is_asked_once() -> None:
    owners = [DomainName(f"_{n}._tcp.example.com") for n in range(50)]
    async with Responder(zone(ONE)) as responder:
        server = responder.server
    async with Responder(zone(ONE)) as good:
        gone, fine = await look_at(ASKER, ZONE, [server, good.server], owners, TLSA)
    assert "Connection refused" in say(gone.silent)
    assert gone.owners == {}
    assert not gone.out_of_reach
    assert len(fine.owners) == 50
    assert missing_at(gone, owned((MAIL, ONE))) == owned((MAIL, ONE))


async def test_a_server_without_an_address() -> None:
    (found,) = await look_at(ASKER, ZONE, [NameServer("no address")], [MAIL], TLSA)
    assert found.silent
    assert found.owners == {}


async def test_not_too_many_questions_at_a_time() -> None:
    owners = [DomainName(f"_{n}._tcp.example.com") for n in range(30)]
    async with Responder(zone(ONE), delay=0.05) as responder:
        (found,) = await look_at(ASKER, ZONE, [responder.server], owners, TLSA)
        assert responder.most == AT_ONCE
    assert len(found.owners) == 30


async def test_what_does_not_fit_comes_by_tcp() -> None:
    large = Tlsa(3, 0, 0, "ab" * 3000)
    served = zone(large, ONE)

    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        if tcp or query.question[0].rdtype != dns.rdatatype.TLSA:
            return served(query, tcp)
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.AA | dns.flags.TC
        return cut

    found = await seen(answer, MAIL)
    assert found.owners[MAIL].records == {large, ONE}


def with_rdata(rdata: bytes) -> Answering:
    """Return answers whose TLSA record has this data, whatever it is."""

    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        if query.question[0].rdtype != dns.rdatatype.TLSA:
            return zone(ONE)(query, tcp)
        made = dns.message.make_response(query)
        made.flags |= dns.flags.AA
        if not tcp:
            made.flags |= dns.flags.TC  # by TCP, noise is told from an answer at once
            return made
        wire = bytearray(made.to_wire())
        at = 12 + len(query.question[0].name.to_wire() or b"") + 4
        wire[6:8] = b"\x00\x01"
        record = b"\xc0\x0c\x00\x34\x00\x01\x00\x00\x00\x3c" + len(rdata).to_bytes(2, "big") + rdata
        return bytes(wire[:at] + record + wire[at:])

    return answer


async def test_data_of_any_kind() -> None:
    found = await seen(with_rdata(b"\x03\x01\x01" + b"\xab" * 32), MAIL)
    assert found.owners[MAIL].records == {ONE}
    for broken in (b"", b"\x03", b"\x03\x01", b"\x03\x01\x01"):
        found = await seen(with_rdata(broken), MAIL)
        assert found.owners == {}
        assert say(found.silent) == "answers nonsense by TCP"


@settings(max_examples=60)
@given(st.binary(max_size=60), st.integers(0, 200), st.booleans())
def test_garbage_never_raises(noise: bytes, at: int, whole: bool) -> None:
    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = zone(ONE)(query, tcp)
        assert isinstance(made, dns.message.Message)
        if not tcp:
            made.flags |= dns.flags.TC
            return made
        wire = made.to_wire()
        return noise if whole else wire[:at] + noise + wire[at + len(noise) :]

    async def go() -> None:
        async with AsyncExitStack() as stack:
            responder = await stack.enter_async_context(Responder(answer))
            (found,) = await look_at(ASKER, ZONE, [responder.server], [MAIL], TLSA)
            assert missing_at(found, owned((MAIL, TWO))) or found.owners[MAIL].records

    asyncio.run(go())
