"""Whether DNSSEC holds, by what a validating resolver says."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from sslmd.core.dane.tlsa import Tlsa
from sslmd.core.errors import Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.dnssec import Validated, bogus, bogus_here, validated
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone
from tests.stand.server import free_port

ZONE = ZoneName("example.com")


class Validating:
    """A resolver: `rcode` of its answers, and of those without the check."""

    def __init__(
        self, rcode: dns.rcode.Rcode, unchecked: dns.rcode.Rcode, *told: dns.edns.Option
    ) -> None:
        self.rcode = rcode
        self.unchecked = unchecked
        self.told = told

    def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
        answer = dns.message.make_response(query)
        checked = not query.flags & dns.flags.CD
        answer.set_rcode(self.rcode if checked else self.unchecked)
        answer.use_edns(0, options=list(self.told))
        answer.set_rcode(self.rcode if checked else self.unchecked)
        return answer


@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
async def test_signed_or_not_all_is_well(rcode: dns.rcode.Rcode) -> None:
    async with Responder(Validating(rcode, rcode), "") as resolver:
        assert await bogus(ASKER, ZONE, resolver.server) is None
        assert len(resolver.queries) == 1
        assert resolver.queries[0].flags & dns.flags.RD


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ((), ""),
        (
            (dns.edns.EDEOption(dns.edns.EDECode.SIGNATURE_EXPIRED, "since\nmay"),),
            r" (signature expired: 'since\nmay')",
        ),
        ((dns.edns.EDEOption(dns.edns.EDECode.make(9999)),), " (9999)"),
    ],
)
async def test_a_bogus_zone(told: tuple[dns.edns.Option, ...], text: str) -> None:
    answering = Validating(dns.rcode.SERVFAIL, dns.rcode.NOERROR, *told)
    async with Responder(answering, "") as resolver:
        said = say(await bogus(ASKER, ZONE, resolver.server))
        port = resolver.server.port
    assert said.startswith(
        f"zone example.com: its DNSSEC does not validate at 127.0.0.1:{port}{text}, and no CA"
    )
    assert f"delv @127.0.0.1 -p {port} example.com SOA" in said
    assert "expired" in said


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_resolver_that_cannot_tell(rcode: dns.rcode.Rcode) -> None:
    async with Responder(Validating(rcode, rcode), "") as resolver:
        with pytest.raises(Transient, match=f"answers {dns.rcode.to_text(rcode)}"):
            await bogus(ASKER, ZONE, resolver.server)


async def test_a_silent_resolver() -> None:
    async with Responder(Validating(dns.rcode.NOERROR, dns.rcode.NOERROR), "") as resolver:
        pass
    with pytest.raises(Transient, match="correct dns_validating_resolver"):
        await bogus(ASKER, ZONE, resolver.server)


# --- TLSA records ---

MAIL = DomainName("_25._tcp.mail.example.com")
WEB = DomainName("_443._tcp.example.com")
ONE = Tlsa(3, 1, 1, "ab" * 32)


@pytest.mark.parametrize("secure", [False, True])
async def test_records_that_validate_and_unsigned_ones(*, secure: bool) -> None:
    served = Zone()
    served.add(MAIL.text, "CNAME", "tlsa.example.com.")
    served.add("tlsa.example.com", "TLSA", str(ONE))

    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = served(query, tcp)
        assert isinstance(made, dns.message.Message)
        if secure:
            made.flags |= dns.flags.AD
        return made

    async with Responder(answer, "") as resolver:
        assert await validated(ASKER, MAIL, resolver.server) == Validated(frozenset({ONE}), secure)
        assert await validated(ASKER, WEB, resolver.server) == Validated(frozenset(), secure)
        assert resolver.queries[0].flags & dns.flags.RD
        assert resolver.queries[0].ednsflags & dns.flags.DO


@pytest.mark.parametrize("unchecked", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
@pytest.mark.parametrize(
    ("owner", "harm"),
    [
        (MAIL, "defer all mail to mail.example.com"),
        (WEB, "do not connect to port 443 of example.com"),
        (DomainName("example.com"), "do not connect"),
    ],
)
async def test_bogus_records(owner: DomainName, harm: str, unchecked: dns.rcode.Rcode) -> None:
    told = dns.edns.EDEOption(dns.edns.EDECode.SIGNATURE_EXPIRED)
    async with Responder(Validating(dns.rcode.SERVFAIL, unchecked, told), "") as resolver:
        found = await validated(ASKER, owner, resolver.server)
        port = resolver.server.port
    assert not found.secure
    assert found.records == frozenset()
    assert say(found.problem).startswith(
        f"{owner}: its TLSA records do not validate at 127.0.0.1:{port} (signature expired), and "
        f"clients of DANE {harm}; look for"
    )
    assert say(found.problem).endswith(f"delv @127.0.0.1 -p {port} {owner} TLSA")


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_whether_records_validate_is_not_known(rcode: dns.rcode.Rcode) -> None:
    async with Responder(Validating(rcode, rcode), "") as resolver:
        with pytest.raises(Transient, match=f"{MAIL}: the resolver .* answers"):
            await validated(ASKER, MAIL, resolver.server)
    with pytest.raises(Transient, match="whether its DNSSEC holds is not known"):
        await validated(ASKER, MAIL, resolver.server)


# --- the system's resolvers, which nobody named for this ----------------------------------------


class Validator(Validating):
    """Refuses example.com; sets AD for the zones `signed`."""

    def __init__(self, *signed: str) -> None:
        super().__init__(dns.rcode.SERVFAIL, dns.rcode.NOERROR)
        self.signed = signed

    def __call__(self, query: dns.message.Message, tcp: bool) -> Answer:
        name = query.question[0].name.to_text(omit_final_dot=True)
        if name == "example.com":
            return super().__call__(query, tcp)
        answer = dns.message.make_response(query)
        if name in self.signed:
            answer.flags |= dns.flags.AD
        return answer


@pytest.mark.parametrize("signed", [".", "com"])
async def test_a_system_resolver_that_validates_is_believed(signed: str) -> None:
    async with Responder(Validator(signed), "") as resolver:
        said = say(await bogus_here(ASKER, ZONE, [resolver.server]))
    assert said.startswith("zone example.com: its DNSSEC does not validate at ")
    assert said.endswith("name one as dns_validating_resolver")


async def test_other_system_resolvers_are_not_believed() -> None:
    """One that never validates; one that is broken; one that is silent; none."""
    broken = Validating(dns.rcode.SERVFAIL, dns.rcode.SERVFAIL)
    fine = Validating(dns.rcode.NOERROR, dns.rcode.NOERROR)
    async with (
        Responder(Validator(), "") as never,
        Responder(broken, "") as down,
        Responder(fine, "") as well,
        Responder(Validator("."), "") as good,
    ):
        others = [never.server, down.server, NameServer("127.0.0.1", free_port()), well.server]
        assert await bogus_here(ASKER, ZONE, others) is None
        assert await bogus_here(ASKER, ZONE, []) is None
        assert "does not validate" in say(await bogus_here(ASKER, ZONE, [*others, good.server]))
