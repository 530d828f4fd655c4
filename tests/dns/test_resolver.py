"""Resolvers: what is empty, what failed, and which of them are asked."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dns.flags
import dns.rcode
import pytest

from sslmd.core.errors import Transient
from sslmd.core.names import ZoneName
from sslmd.dns.ask import NameServer
from sslmd.dns.resolver import Resolver
from sslmd.net.dns_messages import Target
from tests.stand.asking import ASKER
from tests.stand.responder import Responder, Zone


def closed() -> NameServer:
    """Return a port where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return NameServer("127.0.0.1", taken.getsockname()[1])


def zone() -> Zone:
    made = Zone()
    made.add("www.example.com", "A", "192.0.2.1", "192.0.2.2")
    made.add("www.example.com", "AAAA", "2001:db8::1")
    made.add("alias.example.com", "CNAME", "www.example.com.")
    made.add("circle.example.com", "CNAME", "circle.example.com.")
    return made


@pytest.mark.parametrize("host", ["www.example.com", "www.example.com.", "alias.example.com"])
async def test_addresses_of_both_families_through_cnames(host: str) -> None:
    async with Responder(zone(), "") as responder:
        found = await Resolver(ASKER, [responder.server]).addresses(host)
        assert responder.queries[0].flags & dns.flags.RD
    assert set(found) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}


async def test_a_cname_itself() -> None:
    async with Responder(zone(), "") as responder:
        found = await Resolver(ASKER, [responder.server]).lookup("alias.example.com", "CNAME")
    assert found is not None
    assert found.records == (Target("www.example.com"),)


@pytest.mark.parametrize("name", ["example.com", "www.example.com", "none.example.com"])
async def test_the_zone_of_a_name(name: str) -> None:
    async with Responder(zone(), "") as responder:
        assert await Resolver(ASKER, [responder.server]).zone_of(name) == ZoneName("example.com")


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
async def test_an_address_is_its_own(address: str) -> None:
    assert await Resolver(ASKER, []).addresses(address) == (address,)


async def test_empty_is_no_failure() -> None:
    async with Responder(zone(), "") as responder:
        resolver = Resolver(ASKER, [responder.server])
        assert await resolver.lookup("none.example.com", "A") is None
        assert await resolver.lookup("www.example.com", "TXT") is None
        assert await resolver.lookup("circle.example.com", "A") is None
        assert await resolver.addresses("none.example.com") == ()


async def test_the_next_one_is_asked_when_one_is_no_use() -> None:
    broken = Zone()
    broken.rcode = dns.rcode.SERVFAIL
    async with Responder(broken, "") as first, Responder(zone(), "") as second:
        resolver = Resolver(ASKER, [closed(), first.server, second.server])
        found = await resolver.lookup("www.example.com", "A")
    assert found is not None
    assert len(found.records) == 2


async def test_a_failure_names_who_said_what() -> None:
    broken = Zone()
    broken.rcode = dns.rcode.SERVFAIL
    silent = closed()
    async with Responder(broken, "") as responder:
        resolver = Resolver(ASKER, [silent, responder.server])
        with pytest.raises(Transient) as caught:
            await resolver.lookup("www.example.com", "A")
    text = str(caught.value)
    assert text.startswith("www.example.com A cannot be looked up: ")
    assert f"{silent} cannot be asked: Connection refused" in text
    assert f"{responder.server} answers SERVFAIL" in text


async def test_nobody_to_ask() -> None:
    with pytest.raises(Transient, match="there is no resolver to ask"):
        await Resolver(ASKER, []).lookup("www.example.com", "A")


# --- the system's ---


async def test_the_file_of_the_system(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    resolver = Resolver(ASKER, file=str(file))
    with pytest.raises(Transient, match=r"cannot read .*resolv\.conf: No such file"):
        await resolver.lookup("www.example.com", "A")
    file.write_text("# nothing\noptions edns0\n")
    with pytest.raises(Transient, match=r"resolv\.conf names no resolver"):
        await resolver.lookup("www.example.com", "A")


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    # Ports cannot be written in it: nobody answers at 53 of these, and that is what is told.
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.1.2.3\n")
    resolver = Resolver(ASKER, file=str(file))
    with pytest.raises(Transient, match=r"127\.1\.2\.3"):
        await resolver.lookup("www.example.com", "A")
    other = tmp_path / "new"
    other.write_text("nameserver 127.3.2.1\n")
    os.replace(other, file)
    with pytest.raises(Transient, match=r"127\.3\.2\.1"):
        await resolver.lookup("www.example.com", "A")


async def test_names_that_this_machine_alone_knows(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.1.2.3\n")
    assert "127.0.0.1" in await Resolver(ASKER, file=str(file)).addresses("localhost")
