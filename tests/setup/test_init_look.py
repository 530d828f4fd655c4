"""What sslmd init tries before it writes: what does not answer is not written, or said."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from sslmd.config.first import Answers, FirstCa, Service, Validation, first_files
from sslmd.config.load import load
from sslmd.config.model import Endpoint
from sslmd.dns.ask import NameServer
from sslmd.dns.resolver import Resolver
from sslmd.setup.init_look import Looked, look
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone

DNS = Answers(
    "example.com", (Service("web-ec", ("example.com",)),), FirstCa.LETSENCRYPT, Validation.DNS_01
)
HTTP = replace(DNS, validation=Validation.HTTP_01)
OWN = replace(DNS, ca=FirstCa.OWN)

# What the world says: one name server that is there, one without an address.
RECORDS = {
    ("example.com.", "NS"): ["ns1.example.com.", "ns2.example.com."],
    ("ns1.example.com.", "A"): ["127.0.0.1"],
    ("www.example.com.", "A"): ["192.0.2.1"],
}


def world(query: dns.message.Message, _: bool) -> Answer:
    answer = dns.message.make_response(query)
    question = query.question[0]
    kind = dns.rdatatype.to_text(question.rdtype)
    if found := RECORDS.get((question.name.to_text(), kind)):
        answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, found))
    return answer


def silent(_: dns.message.Message, __: bool) -> Answer:
    return None


def _end(server: NameServer) -> Endpoint:
    return Endpoint(server.address, server.port)


async def _looks() -> tuple[Looked, ...]:
    async with Responder(world) as one, Responder(world) as two, Responder(silent) as dead:
        resolver = Resolver(ASKER, [one.server])
        nobody = Resolver(ASKER, [])
        both = [_end(one.server), _end(two.server)]
        none = [_end(dead.server)]
        return await asyncio.gather(
            look(OWN, resolver, usual=none, primary=dead.server),
            look(DNS, resolver, usual=both, primary=one.server),
            look(DNS, resolver, usual=[*both[:1], *none], primary=dead.server),
            look(DNS, nobody, usual=none, primary=dead.server),
            look(replace(HTTP, services=(Service("web", ("www.example.com", "example.com")),)),
                 resolver, usual=none, primary=dead.server),
            look(DNS, nobody, usual=none, primary=dead.server, limit=0.01),
        )  # fmt: skip


def test_what_answers_is_written_and_what_does_not_is_said() -> None:
    own, well, firewall, offline, http, hurried = asyncio.run(_looks())
    assert own == Looked()
    # The zone's own servers: one has no address, the other one that no zone may have us ask.
    assert well.resolvers is None
    told = "\n".join(well.remarks)
    assert "127.0.0.1" in told
    assert "is not authoritative" in told or "has no SOA" in told
    assert "name server ns2.example.com of example.com has no address" in told
    assert "name servers of example.com: 127.0.0.1 is not asked, it is this machine's own" in told

    assert firewall.resolvers == ("127.0.0.1",)
    assert "firewall" in firewall.remarks[0]
    assert "did not answer" in "\n".join(firewall.remarks)

    # Without any network nothing is known: the default stays.
    assert offline.resolvers is None
    assert "when there is a network" in offline.remarks[0]

    assert http == Looked(None, ("example.com has no address, so the CA would find no web server",))
    assert "sslmctl doctor" in hurried.remarks[0]


def test_a_domain_that_is_no_zone() -> None:
    async def of_part() -> Looked:
        zone = Zone("example.com")
        zone.add("www.lab.example.com", "A", "192.0.2.1")
        async with Responder(zone) as one:
            part = replace(DNS, domain="lab.example.com")
            resolver = Resolver(ASKER, [one.server])
            return await look(part, resolver, usual=[_end(one.server)], primary=one.server)

    told = "\n".join(asyncio.run(of_part()).remarks)
    assert "lab.example.com is no zone, but a part of example.com: make example.com the" in told


def test_what_is_written(tmp_path: Path) -> None:
    """The folder that is made can be loaded, with the resolvers that answer and no others."""
    for number, some in enumerate((None, ("9.9.9.9",), ())):
        conf_dir = tmp_path / str(number) / "conf.d"
        for path, text in first_files(replace(DNS, resolvers=some)).items():
            file = conf_dir / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if path.startswith("tools/") else 0o644)
        extra = [one.host for one in load(conf_dir).globals.dns_extra_servers]
        assert extra == (["1.1.1.1", "8.8.8.8", "9.9.9.9", "208.67.222.222"] if some is None
                         else list(some))  # fmt: skip
