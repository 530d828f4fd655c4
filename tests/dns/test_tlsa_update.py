"""TLSA records by dynamic update: what is sent, in how many messages, and what a refusal does."""

from __future__ import annotations

from collections.abc import Mapping

import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.update

from sslmd.config.model import DnsPrimary, Endpoint
from sslmd.core.dane.tlsa import Content, Tlsa, TlsaSet
from sslmd.core.errors import Permanent, SslmError, Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.resolver import Resolver
from sslmd.dns.update import LARGE, change_owners, tlsa_changes
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder

ZONE = ZoneName("example.com")
NOBODY = Resolver(ASKER, [])
MAIL = DomainName("_25._tcp.mail.example.com")
WEB = DomainName("_443._tcp.example.com")
ONE = Tlsa(3, 1, 1, "ab" * 32)
TWO = Tlsa(3, 1, 1, "cd" * 32)


def primary_at(responder: Responder) -> DnsPrimary:
    server = responder.server
    return DnsPrimary(ZONE, Endpoint(server.address, server.port), update=True)


def of(*some: Tlsa, ttl: int = 60) -> TlsaSet:
    return TlsaSet(ttl, frozenset(some))


class Primary:
    """Takes updates, but none of the names in `refused`; `rcode` answers those that it takes."""

    def __init__(self, *refused: DomainName, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> None:
        self.refused = [dns.name.from_text(name.text) for name in refused]
        self.rcode = rcode

    def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
        assert isinstance(query, dns.update.UpdateMessage)
        made = dns.message.make_response(query)
        refused = any(rrset.name in self.refused for rrset in query.update)
        made.set_rcode(dns.rcode.REFUSED if refused else self.rcode)
        return made


async def change(
    responder: Responder, before: Content, after: Content
) -> Mapping[DomainName, SslmError]:
    return await change_owners(ZONE, primary_at(responder), tlsa_changes(before, after), NOBODY)


def said(responder: Responder) -> list[list[str]]:
    """Return what each message says: `-` for what is deleted."""
    found = []
    for query in responder.queries:
        assert isinstance(query, dns.update.UpdateMessage)
        lines = []
        for rrset in query.update:
            assert rrset.deleting in (None, dns.rdataclass.NONE)  # RFC 2136 §2.5.4: this very one
            sign = "+" if rrset.deleting is None else "-"
            name = rrset.name.to_text(omit_final_dot=True)
            for rdata in rrset:
                *numbers, data = rdata.to_text(chunksize=0).split()
                lines.append(" ".join([sign, name, str(rrset.ttl), *numbers, data]))
        found.append(lines)
    return found


async def test_one_message_changes_what_differs() -> None:
    before = {MAIL: of(ONE), WEB: of(ONE)}
    after = {MAIL: of(TWO, ttl=90)}
    async with Responder(Primary()) as responder:
        assert await change(responder, before, after) == {}
    assert said(responder) == [[f"+ {MAIL} 90 {TWO}", f"- {MAIL} 0 {ONE}", f"- {WEB} 0 {ONE}"]]


async def test_records_that_stay_are_never_deleted() -> None:
    before = {MAIL: of(ONE, TWO)}
    async with Responder(Primary()) as responder:
        await change_owners(
            ZONE, primary_at(responder), tlsa_changes(before, {MAIL: of(ONE, ttl=5)}), NOBODY
        )
    assert said(responder) == [[f"+ {MAIL} 5 {ONE}", f"- {MAIL} 0 {TWO}"]]


async def test_nothing_to_say() -> None:
    async with Responder(Primary()) as responder:
        empty: Content = {MAIL: of()}
        assert await change(responder, empty, {}) == {}
    assert responder.queries == []


async def test_an_owner_is_never_split() -> None:
    some = [Tlsa(3, 0, 0, f"{n:04x}" * 1000) for n in range(12)]
    owners = [DomainName(f"_{n}._tcp.example.com") for n in range(5)]
    after = {owner: of(*some[:3]) for owner in owners} | {MAIL: of(*some)}
    async with Responder(Primary()) as responder:
        assert await change(responder, {}, after) == {}
    sent = said(responder)
    assert len(sent) == 4
    assert sorted(line for lines in sent for line in lines) == sorted(
        f"+ {owner} 60 {record}" for owner, one in after.items() for record in one.records
    )
    names = [{line.split()[1] for line in lines} for lines in sent]
    assert sum(map(len, names)) == len(after)
    sizes = [len(query.to_wire(max_size=65535)) for query in responder.queries]
    assert sorted(sizes)[-2] <= LARGE < sorted(sizes)[-1]


async def test_an_owner_that_is_refused_keeps_out_no_other() -> None:
    after = {MAIL: of(ONE), WEB: of(ONE)}
    async with Responder(Primary(WEB)) as responder:
        failed = await change(responder, {}, after)
    assert list(failed) == [WEB]
    assert isinstance(failed[WEB], Permanent)
    text = f"let the key change TLSA records of {WEB} (BIND: update-policy)"
    assert str(failed[WEB]).endswith(text)
    assert [f"+ {MAIL} 60 {ONE}"] in said(responder)


async def test_what_may_pass_is_told_of_every_owner() -> None:
    after = {MAIL: of(ONE), WEB: of(ONE)}
    async with Responder(Primary(rcode=dns.rcode.SERVFAIL)) as responder:
        failed = await change(responder, {}, after)
    assert len(responder.queries) == 3  # one of them may be why: each was tried alone
    assert set(failed) == {MAIL, WEB}
    assert all(isinstance(err, Transient) for err in failed.values())
