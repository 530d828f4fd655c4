"""The proof: who has to show a record, in which order they are asked, what is said meanwhile.

Time is virtual here: a pause of the proof lasts no longer than what happens in it.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import dns.message
import dns.rcode
import pytest

from sslmd.core.errors import Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer, Silent
from sslmd.dns.diagnosis import Behind, Primary, PublishedBy, missing
from sslmd.dns.look import AT_ONCE, TXT, TXT_OF_RESOLVER, look_at_owner, zone_serial
from sslmd.dns.observe import Propagation
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder, Zone

ZONE = ZoneName("example.com")
OWNER = DomainName("_acme-challenge.www.example.com")
ONE = TxtRecord(OWNER, "one")
TWO = TxtRecord(OWNER, "two")
APEX = TxtRecord(DomainName("_acme-challenge.example.com"), "apex")


class Time:
    """Virtual seconds; `at` has something happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self._events: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._events.append((when, event))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        for when, event in [one for one in self._events if one[0] <= self.now]:
            self._events.remove((when, event))
            event()
        await asyncio.sleep(0)

    def clock(self) -> float:
        return self.now


class Site:
    """Some name servers, and a proof that asks them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.time = Time()
        self.told: list[str] = []
        self.proven: list[TxtRecord] = []

    def see(self, behind: Sequence[Behind], primary: Primary | None) -> None:
        if (text := say(missing(ZONE, behind, primary))) not in self.told:
            self.told.append(text)

    async def serve(
        self, answering: Callable[[dns.message.Message, bool], Answer], name: str = "ns.example.com"
    ) -> Responder:
        return await self._stack.enter_async_context(Responder(answering, name))

    def proof(
        self, authoritative: list[Responder], *records: TxtRecord, **more: object
    ) -> Propagation:
        return Propagation(
            ZONE,
            [one.server for one in authoritative],
            records,
            asker=ASKER,
            seen=self.see,
            proven=self.proven.append,
            sleep=self.time.sleep,
            clock=self.time.clock,
            **more,  # type: ignore[arg-type]
        )


@pytest.fixture
async def stack() -> object:
    async with AsyncExitStack() as made:
        yield made


@pytest.fixture
def site(stack: AsyncExitStack) -> Site:
    return Site(stack)


def show(zone: Zone, *records: TxtRecord) -> None:
    for record in records:
        zone.add(str(record.owner), "TXT", f'"{record.value}"')


def nobody() -> NameServer:
    """Return a port where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return NameServer("127.0.0.1", taken.getsockname()[1], "silent.example.com")


# --- one look at one server ---


async def test_a_server_that_shows_it(site: Site) -> None:
    zone = Zone()
    show(zone, ONE, TWO)
    ns = await site.serve(zone)
    seen = await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)
    assert seen.records == {"one", "two"}
    assert seen.fault is None


async def test_a_server_that_lacks_one_of_two(site: Site) -> None:
    zone = Zone(serial=7)
    show(zone, ONE)
    ns = await site.serve(zone)
    seen = await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)
    assert seen.records == {"one"}
    assert seen.fault is None
    assert await zone_serial(ASKER, ns.server, ZONE) == 7


async def test_a_negative_answer_tells_the_serial(site: Site) -> None:
    ns = await site.serve(Zone(serial=9))
    assert (await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)).serial == 9


async def test_a_record_of_several_strings_is_one_value(site: Site) -> None:
    zone = Zone()
    zone.add(str(OWNER), "TXT", '"o" "ne"')
    ns = await site.serve(zone)
    assert (await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)).records == {"one"}


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_refuses(site: Site, rcode: dns.rcode.Rcode) -> None:
    zone = Zone()
    zone.rcode = rcode
    ns = await site.serve(zone)
    seen = await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)
    assert not seen.records
    assert say(seen.fault) == f"answers {dns.rcode.to_text(rcode)} for {OWNER} TXT"


async def test_a_server_that_only_heard_of_it_does_not_count(site: Site) -> None:
    zone = Zone()
    show(zone, ONE)
    zone.authoritative = False
    ns = await site.serve(zone)
    seen = await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)
    assert "not authoritative" in say(seen.fault)
    assert not seen.records
    seen = await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT_OF_RESOLVER)
    assert seen.records == {"one"}
    assert seen.fault is None
    assert await zone_serial(ASKER, ns.server, ZONE) is None


async def test_a_silent_server() -> None:
    with pytest.raises(Silent, match="Connection refused"):
        await look_at_owner(ASKER, ZONE, nobody(), OWNER, TXT)
    with pytest.raises(Silent):
        await zone_serial(ASKER, nobody(), ZONE)


async def test_a_cname_that_hides_it(site: Site) -> None:
    zone = Zone()
    zone.add(str(OWNER), "CNAME", "other.example.net.")
    ns = await site.serve(zone)
    seen = await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)
    assert say(seen.fault) == f"has a CNAME at {OWNER} that leads to other.example.net"


async def test_cnames_in_a_circle_end(site: Site) -> None:
    zone = Zone()
    zone.add(str(OWNER), "CNAME", "b.example.com.")
    zone.add("b.example.com", "CNAME", f"{OWNER}.")
    ns = await site.serve(zone)
    assert not (await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)).records


# --- all of them ---


async def test_what_is_there_is_proven_at_once(site: Site) -> None:
    zone = Zone()
    show(zone, ONE, TWO, APEX)
    first, second = await site.serve(zone), await site.serve(zone)
    await site.proof([first, second], ONE, TWO, APEX).run()
    assert site.proven == sorted([ONE, TWO, APEX])
    assert site.time.now == 0
    assert site.told == []
    assert sorted(first.asked("TXT")) == [str(APEX.owner), str(OWNER)]


async def test_it_waits_for_the_last_server(site: Site) -> None:
    early, late = Zone(serial=13), Zone(serial=12)
    show(early, ONE)
    ns1 = await site.serve(early, "ns1.example.com")
    ns2 = await site.serve(late, "ns2.example.com")
    site.time.at(60, lambda: show(late, ONE))
    await site.proof([ns1, ns2], ONE, primary=ns1.server).run()
    assert site.proven == [ONE]
    assert 60 <= site.time.now < 100
    assert site.told == [
        f"zone example.com: {ns2.server} does not show {OWNER} TXT, its serial 12 is behind the "
        "primary's 13"
    ]


async def test_the_pauses_grow(site: Site) -> None:
    ns = await site.serve(Zone())
    with pytest.raises(Transient):
        await site.proof([ns], ONE, limit=300).run()
    assert site.time.pauses[:4] == [1, 1.5, 2.25, 3.375]
    assert max(site.time.pauses) == 30
    assert site.time.now == 300


async def test_what_was_seen_is_not_asked_again(site: Site) -> None:
    zone = Zone()
    show(zone, APEX)
    ns = await site.serve(zone)
    site.time.at(5, lambda: show(zone, ONE))
    await site.proof([ns], ONE, APEX).run()
    assert ns.asked("TXT").count(str(APEX.owner)) == 1
    assert ns.asked("TXT").count(str(OWNER)) > 1


async def test_orders_are_let_go_one_by_one(site: Site) -> None:
    zone = Zone()
    show(zone, APEX)
    ns = await site.serve(zone)
    seen: list[list[TxtRecord]] = []

    def arrive() -> None:
        seen.append(list(site.proven))
        show(zone, ONE)

    site.time.at(20, arrive)
    await site.proof([ns], ONE, APEX).run()
    assert seen == [[APEX]]
    assert site.proven == [APEX, ONE]


async def test_resolvers_are_asked_last(site: Site) -> None:
    zone, cache = Zone(), Zone()
    cache.authoritative = False
    show(zone, APEX, ONE)
    show(cache, APEX, ONE, TWO)
    ns, resolver = await site.serve(zone), await site.serve(cache, "")
    asked_before: list[str] = []

    def arrive() -> None:
        asked_before.extend(resolver.asked("TXT"))
        show(zone, TWO)

    site.time.at(10, arrive)
    await site.proof([ns], ONE, TWO, APEX, extra=[resolver.server]).run()
    # Both values of an owner are in one answer: half of it must not get into a cache.
    assert asked_before == [str(APEX.owner)]
    assert resolver.queries[0].flags & dns.flags.RD
    assert set(site.proven) == {ONE, TWO, APEX}


async def test_a_resolver_that_does_not_show_it_is_named(site: Site) -> None:
    zone, cache = Zone(), Zone()
    show(zone, ONE)
    ns, resolver = await site.serve(zone), await site.serve(cache, "")
    with pytest.raises(Transient) as caught:
        await site.proof([ns], ONE, extra=[resolver.server], primary=ns.server, limit=90).run()
    assert f"{resolver.server} does not show {OWNER} TXT after 90 s" in str(caught.value)
    assert "dns_xtra_ns" in str(caught.value)
    assert site.proven == []


async def test_a_newer_serial_than_the_primarys_is_fine(site: Site) -> None:
    primary, secondary = Zone(serial=12), Zone(serial=99)
    show(primary, ONE)
    show(secondary, ONE)
    ns1, ns2 = await site.serve(primary), await site.serve(secondary)
    await site.proof([ns1, ns2], ONE, primary=ns1.server, serial_before=11).run()
    assert site.proven == [ONE]


async def test_no_more_than_so_many_questions_at_once(site: Site) -> None:
    zone = Zone()
    records = [TxtRecord(DomainName(f"_acme-challenge.h{n}.example.com"), "v") for n in range(50)]
    show(zone, *records)
    async with Responder(zone, delay=0.01) as ns:
        await site.proof([ns], *records).run()
        assert (ns.most, len(ns.queries)) == (AT_ONCE, 50)
    assert len(site.proven) == 50


async def test_a_silent_server_is_asked_once_a_round(site: Site) -> None:
    records = [TxtRecord(DomainName(f"_acme-challenge.h{n}.example.com"), "v") for n in range(50)]
    ns = await site.serve(lambda _query, _tcp: None, "silent.example.com")
    with pytest.raises(Transient, match=r"silent\.example\.com .* did not answer within 3 s"):
        await site.proof([ns], *records, limit=0).run()
    assert len(set(ns.asked("TXT"))) <= AT_ONCE


IN_NO_NETWORK = """
import asyncio
from sslmd.core.names import *
from sslmd.core.records import TxtRecord
from sslmd.dns.ask import NameServer
from sslmd.dns.observe import Propagation
from tests.stand.asking import ASKER
from tests.stand.responder import Responder, Zone

async def main():
    zone, record = Zone(), TxtRecord(DomainName("_acme-challenge.example.com"), "v")
    zone.add("_acme-challenge.example.com", "TXT", "v")
    far = NameServer("2001:db8::1", name="ns.example.com")
    async with Responder(zone) as ns:
        await Propagation(ZoneName("example.com"), [ns.server, far], [record], asker=ASKER).run()
        print("proven")
    try:
        await Propagation(ZoneName("example.com"), [far], [record], limit=0, asker=ASKER).run()
    except Exception as err:
        print(type(err).__name__, err)

asyncio.run(main())
"""


def test_an_address_that_cannot_be_asked_from_here_is_left_out() -> None:
    unshare = ["unshare", "--map-root-user", "--net", "sh", "-c"]
    command = [*unshare, 'ip link set lo up && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("unshare cannot make a network namespace here")
    done = subprocess.run(
        [*command, sys.executable, "-c", IN_NO_NETWORK],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0] == "proven"
    # With nobody else to ask, nothing is proven.
    assert lines[1].startswith("Transient zone example.com: ns.example.com (2001:db8::1) is out of")


# --- dropping ---


async def test_what_is_dropped_is_not_waited_for(site: Site) -> None:
    zone = Zone()
    show(zone, APEX)
    ns = await site.serve(zone)
    proof = site.proof([ns], ONE, APEX)
    site.time.at(3, lambda: proof.drop(ONE))
    await proof.run()
    assert site.proven == [APEX]


async def test_a_proof_ends_at_once_when_all_is_dropped(site: Site) -> None:
    ns = await site.serve(Zone())
    proof = Propagation(ZONE, [ns.server], [ONE], sleep=lambda _: asyncio.sleep(3600), asker=ASKER)
    running = asyncio.create_task(proof.run())
    while not ns.asked("SOA") and not ns.asked("TXT"):
        await asyncio.sleep(0.01)
    proof.drop(TWO)  # none of its own
    assert not running.done()
    proof.drop(ONE)
    async with asyncio.timeout(5):
        await running


async def test_a_proof_can_be_cancelled(site: Site) -> None:
    ns = await site.serve(lambda _query, _tcp: None)
    running = asyncio.create_task(site.proof([ns], ONE).run())
    while not ns.queries:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_without_servers_there_is_no_proof() -> None:
    with pytest.raises(ValueError, match="no name servers"):
        Propagation(ZONE, [], [ONE], asker=ASKER)


# --- what is said when time is up ---


async def text_of(proof: Propagation) -> str:
    with pytest.raises(Transient) as caught:
        await proof.run()
    return str(caught.value)


async def test_a_secondary_that_lags(site: Site) -> None:
    primary, secondary = Zone(serial=13), Zone(serial=12)
    show(primary, ONE)
    ns1 = await site.serve(primary, "ns1.example.com")
    ns2 = await site.serve(secondary, "ns2.example.com")
    proof = site.proof([ns1, ns2], ONE, primary=ns1.server, serial_before=12, limit=1800)
    assert await text_of(proof) == (
        f"zone example.com: {ns2.server} does not show {OWNER} TXT after 30 min, its serial 12 is "
        "behind the primary's 13; check its transfer from the primary"
    )


async def test_a_reload_that_was_not_taken(site: Site) -> None:
    zone = Zone(serial=12)
    ns = await site.serve(zone, "ns1.example.com")
    proof = site.proof([ns], ONE, primary=ns.server, serial_before=12, limit=1800)
    assert await text_of(proof) == (
        f"zone example.com: the command succeeded, but the primary {ns.server} still serves serial "
        f"12 without {OWNER} TXT after 30 min: the reload was not taken; see its log, run "
        "named-checkzone"
    )


async def test_a_zone_file_that_does_not_include_it(site: Site) -> None:
    ns = await site.serve(Zone(serial=13), "ns1.example.com")
    text = await text_of(site.proof([ns], ONE, primary=ns.server, serial_before=12, limit=60))
    assert "$INCLUDE of acme-challenge.example.com" in text
    assert "not taken" not in text


async def test_an_update_that_is_not_seen(site: Site) -> None:
    ns = await site.serve(Zone(serial=13), "ns1.example.com")
    proof = site.proof([ns], ONE, primary=ns.server, published=PublishedBy.BY_UPDATE, limit=60)
    text = await text_of(proof)
    assert text.startswith(
        f"zone example.com: the update was accepted, but the primary {ns.server}"
    )
    assert "command" not in text


async def test_a_serial_that_was_not_raised(site: Site) -> None:
    primary, secondary = Zone(serial=12), Zone(serial=12)
    show(primary, ONE)
    ns1 = await site.serve(primary, "ns1.example.com")
    ns2 = await site.serve(secondary, "ns2.example.com")
    proof = site.proof([ns1, ns2], ONE, primary=ns1.server, serial_before=12, limit=60)
    text = await text_of(proof)
    assert text.startswith(f"zone example.com: {ns2.server} does not show {OWNER} TXT after 60 s")
    assert "raise the serial" in text


async def test_a_hidden_primary_is_looked_at_too(site: Site) -> None:
    hidden, public = Zone(serial=12), Zone(serial=11)
    ns0 = await site.serve(hidden, "hidden.example.com")
    ns1 = await site.serve(public, "ns1.example.com")
    proof = site.proof([ns1], ONE, primary=ns0.server, serial_before=12, limit=60)
    assert f"the primary {ns0.server} still serves serial 12" in await text_of(proof)


async def test_five_are_named(site: Site) -> None:
    zone = Zone()
    servers = [await site.serve(zone, f"ns{n}.example.com") for n in range(8)]
    text = await text_of(site.proof(servers, ONE, limit=60))
    assert text.count("do not show ") == 1
    assert "ns4.example.com" in text
    assert "ns5.example.com" not in text
    assert " and 3 more" in text


async def test_the_same_text_is_told_once(site: Site) -> None:
    zone = Zone(serial=5)
    ns = await site.serve(zone)
    site.time.at(100, lambda: setattr(zone, "serial", 6))
    await text_of(site.proof([ns], ONE, primary=ns.server, limit=300))
    assert len(site.told) == 2
    assert "serial 5" in site.told[0]
    assert "serial 6" in site.told[1]


async def test_answers_that_come_slowly_do_not_use_up_the_time(site: Site) -> None:
    """A server that limits its answers takes longer for all owners than one order may wait."""
    records = [TxtRecord(DomainName(f"_acme-challenge.h{n}.example.com"), "v") for n in range(20)]
    zone, empty = Zone(), Zone()
    show(zone, *records)

    def slowly(query: dns.message.Message, tcp: bool) -> Answer:
        site.time.now += 15
        return (zone if site.time.now > 900 else empty)(query, tcp)

    ns = await site.serve(slowly)
    await site.proof([ns], *records, limit=60.0).run()
    assert site.time.now > 600


async def test_a_server_that_answers_by_tcp_alone_shows_it_to_no_ca(site: Site) -> None:
    zone = Zone()
    show(zone, ONE)
    ns = await site.serve(lambda query, tcp: zone(query, tcp) if tcp else None)
    seen = await look_at_owner(ASKER, ZONE, ns.server, OWNER, TXT)
    assert "by TCP alone" in say(seen.fault)
