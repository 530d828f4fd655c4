"""The MX hosts of a zone, by its own name servers."""

from __future__ import annotations

import dns.rcode
import pytest

from sslmd.core.errors import Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.dns.nameservers import mail_of
from tests.stand.asking import ASKER
from tests.stand.responder import Responder, Zone

ZONE = ZoneName("example.com")


@pytest.mark.parametrize(
    ("records", "hosts"),
    [
        ([], []),
        (["0 ."], []),
        (
            ["10 mx2.example.com.", "10 MX1.example.com.", "20 backup.example.net.", "5 ."],
            ["backup.example.net", "mx1.example.com", "mx2.example.com"],
        ),
        (
            [
                "10 *.example.com.",
                r"10 a\.b.example.com.",
                r"10 \000.example.com.",
                "10 192.0.2.1.",
            ],
            [],
        ),
    ],
)
async def test_hosts(records: list[str], hosts: list[str]) -> None:
    zone = Zone()
    if records:
        zone.add(ZONE.text, "MX", *records)
    async with Responder(zone) as responder:
        found = (await mail_of(ASKER, ZONE, [responder.server])).hosts
    assert found == tuple(map(DomainName, hosts))


async def test_the_first_that_answers_with_authority() -> None:
    broken, other, good = Zone(), Zone(), Zone()
    broken.rcode = dns.rcode.SERVFAIL
    other.authoritative = False
    other.add(ZONE.text, "MX", "10 other.example.com.")
    good.add(ZONE.text, "MX", "10 mx.example.com.")
    async with Responder(broken) as one, Responder(other) as two, Responder(good) as three:
        servers = [one.server, two.server, three.server]
        assert (await mail_of(ASKER, ZONE, servers)).hosts == (DomainName("mx.example.com"),)
        with pytest.raises(Transient) as caught:
            await mail_of(ASKER, ZONE, servers[:2])
    text = str(caught.value)
    assert text.startswith("zone example.com: no name server answers for example.com MX: ")
    assert f"{servers[0]} answers SERVFAIL" in text
    assert f"{servers[1]} is not authoritative for example.com" in text


async def test_nobody_to_ask() -> None:
    with pytest.raises(Transient, match=r"zone example\.com"):
        await mail_of(ASKER, ZONE, [])
