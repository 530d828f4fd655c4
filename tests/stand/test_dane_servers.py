"""What tests of DANE stand on: a resolver that validates, a mail server, those who judge both."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import dns.flags
import dns.rcode
import pytest

from tests.stand import bind, dane_tools, postfix, unbound
from tests.stand.bind import TTL, Named, Primary, Secondary, Zone
from tests.stand.dane_tools import danetool_check, posttls_finger
from tests.stand.pair import Pair
from tests.stand.postfix import KeyFiles, Postfix
from tests.stand.probing import Prober
from tests.stand.server import members
from tests.stand.unbound import Cache, Unbound

ZONE = "example.com"
HOST = f"mail.{ZONE}"
SIGNED = Zone(ZONE, records=f"@ MX 10 {HOST}.\nmail A 127.0.0.1", signed=True)

# Where nothing else is; a resolver that programs can find in /etc/resolv.conf.
ADDRESS_53 = "127.53.0.1"


def need(*missing: str) -> None:
    if lacking := "; ".join(filter(None, missing)):
        pytest.skip(lacking)


def publish(
    primary: Primary, port: int, records: Sequence[str], ttl: int = TTL, *also: Named
) -> None:
    """Have these TLSA records served, by the primary and by others."""
    name = f"_{port}._tcp.{HOST}"
    include = primary.tlsa_dir / f"tlsa.{ZONE}"
    include.write_text("".join(f"{name}. {ttl} IN TLSA {one}\n" for one in records))
    primary.reload(ZONE)

    def serve() -> bool:
        return all(
            bind.answer(server, name, "TLSA") == sorted(records) for server in (primary, *also)
        )

    primary.wait_until(serve, f"TLSA {records}")


class Mail:
    """A signed zone with two secondaries, and a mail server that has DANE."""

    def __init__(self, top: Path, stack: ExitStack) -> None:
        self.top = top
        self.stack = stack
        self.production = top / "production"
        self.production.mkdir()
        self.first, self.second = Pair(top, "first"), Pair(top, "second")
        self.primary = stack.enter_context(Primary(top / "primary", [SIGNED]))
        self.secondaries = [
            stack.enter_context(Secondary(top / name, self.primary)) for name in ("ns2", "ns3")
        ]
        files = self.first.put(self.production)
        self.server = stack.enter_context(
            Postfix(top / "postfix", files, host=HOST, keys=KeyFiles.COPIED)
        )
        self.publish(self.first.record)

    def publish(self, *records: str, ttl: int = TTL) -> None:
        publish(self.primary, self.server.port, records, ttl, *self.secondaries)

    def deploy(self, pair: Pair) -> None:
        pair.put(self.production)
        done = self.server.reload()
        assert done.returncode == 0, done.stderr

    def prober(self) -> Prober:
        servers = [self.primary, *self.secondaries]
        one = Prober(self.top / "prober", HOST, self.server.port, servers)
        return self.stack.enter_context(one)

    def resolver(self, name: str, anchors: Mapping[str, str] | None = None) -> Unbound:
        one = Unbound(
            self.top / name,
            [self.primary],
            address=ADDRESS_53,
            port=53,
            cache=Cache.NONE,
            anchors=anchors,
        )
        return self.stack.enter_context(one)


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[Mail]:
    need(bind.missing(), postfix.missing())
    with ExitStack() as stack:
        yield Mail(tmp_path, stack)


# --- Unbound ---


def test_unbound_vouches_for_what_is_signed(tmp_path: Path) -> None:
    need(bind.missing(), unbound.missing())
    with (
        Primary(tmp_path / "primary", [SIGNED, "example.net"]) as primary,
        Unbound(tmp_path / "unbound", [primary]) as resolver,
    ):
        assert resolver.validated(HOST, "A")
        assert not resolver.validated("ns1.example.net", "A")
        assert resolver.ask("ns1.example.net", "A").rcode() == dns.rcode.NOERROR
        denied = resolver.ask(f"nothing.{ZONE}", "A")
        assert denied.rcode() == dns.rcode.NXDOMAIN
        assert denied.flags & dns.flags.AD
        pid = resolver.pid
    assert not members(pid)


def test_unbound_believes_nothing_that_another_key_signed(tmp_path: Path) -> None:
    need(bind.missing(), unbound.missing())
    with (
        Primary(tmp_path / "primary", [SIGNED]) as primary,
        Primary(tmp_path / "other", [SIGNED]) as other,
    ):
        key = bind.answer(other, ZONE, "DNSKEY")[0]
        with Unbound(tmp_path / "unbound", [primary], anchors={ZONE: key}) as resolver:
            assert resolver.ask(HOST, "A").rcode() == dns.rcode.SERVFAIL
            assert "validation failure" in resolver.log()


def test_unbound_remembers_or_does_not(tmp_path: Path) -> None:
    need(bind.missing(), unbound.missing())
    name = f"_25._tcp.{HOST}"
    old, new = "3 1 1 " + "ab" * 32, "3 1 1 " + "cd" * 32
    with (
        Primary(tmp_path / "primary", [SIGNED]) as primary,
        Unbound(tmp_path / "keeps", [primary]) as keeps,
        Unbound(tmp_path / "asks", [primary], cache=Cache.NONE) as asks,
    ):
        for records in ([old], [new]):
            publish(primary, 25, records, 3600)
            known = [one.ask(name, "TLSA").answer[0][0].to_text() for one in (keeps, asks)]
            assert known == [old, *records]
        keeps.flush()
        assert keeps.ask(name, "TLSA").answer[0][0].to_text() == new


# --- Postfix ---


@pytest.mark.parametrize(
    ("keys", "max_use"), [(KeyFiles.COPIED, 1), (KeyFiles.IN_PLACE, 100), (KeyFiles.IN_PLACE, 1)]
)
def test_postfix_shows_what_it_read_last(tmp_path: Path, keys: KeyFiles, max_use: int) -> None:
    need(postfix.missing())
    first, second = Pair(tmp_path, "first"), Pair(tmp_path, "second")
    files = first.put(tmp_path)
    with Postfix(tmp_path / "postfix", files, keys=keys, max_use=max_use) as server:
        assert server.served() == first.der
        second.put(tmp_path)
        # A process that has not read the files before reads those of now.
        rereads = keys is KeyFiles.IN_PLACE and max_use == 1
        assert server.served() == (second.der if rereads else first.der)
        done = server.reload()
        assert done.returncode == 0, done.stderr
        server.wait_until(lambda: server.served() == second.der, "the new certificate")
        pid = server.pid
    assert not members(pid)
    with server:
        assert server.served() == second.der


def test_a_reload_of_postfix_that_fails_changes_nothing(tmp_path: Path) -> None:
    need(postfix.missing())
    first, second = Pair(tmp_path, "first"), Pair(tmp_path, "second")
    files = first.put(tmp_path)
    with Postfix(tmp_path / "postfix", files, keys=KeyFiles.COPIED) as server:
        second.put(tmp_path)
        server.fail_reloads(2)
        for left in (1, 0):
            assert server.reload().returncode == 1
            assert server.failures_left() == left
            assert server.served() == first.der
        assert server.reload().returncode == 0
        server.wait_until(lambda: server.served() == second.der, "the new certificate")
        assert server.reloads() == 3


# --- the prober ---


def test_all_is_well_until_records_vanish(mail: Mail) -> None:
    probes = mail.prober()
    probes.wait_probes(10)
    assert probes.failures() == []
    mail.publish()
    assert probes.wait_failure().records == []
    found = probes.outcome()
    assert {one.reason for one in found.failures} == {"vanished"}
    assert found.probes >= 10
    assert found.checks == 5 * found.probes
    assert (found.no_tlsa, found.unreachable, found.unresolved) == (0, 0, 0)
    assert found.keys == [mail.first.digest]
    assert found.longest_gap < 1


def test_a_key_is_rolled_in_good_order(mail: Mail) -> None:
    mail.publish(mail.first.record, ttl=1)
    probes = mail.prober()
    mail.publish(mail.first.record, mail.second.record, ttl=1)
    time.sleep(1)  # until no cache can know the first record alone
    mail.deploy(mail.second)
    probes.wait_probes(3)
    mail.publish(mail.second.record, ttl=1)
    probes.wait_probes(12)
    found = probes.outcome()
    assert found.failures == []
    assert found.keys == [mail.first.digest, mail.second.digest]


def test_a_key_without_a_record_and_no_tls_at_all_are_found(mail: Mail) -> None:
    probes = mail.prober()
    mail.deploy(mail.second)
    failure = probes.wait_failure()
    assert failure.reason == "no record matches"
    assert failure.records == [mail.first.record]
    assert failure.key == mail.second.digest
    # What Postfix does with a key that does not belong to the certificate.
    shutil.copy(mail.first.key_file, mail.production / "privkey.pem")
    assert mail.server.reload().returncode == 0
    assert probes.wait_failure("TLS not available").records == [mail.first.record]
    assert probes.outcome().first_seen_keys == 2


def test_no_records_are_no_failure(mail: Mail) -> None:
    mail.publish()
    probes = mail.prober()
    probes.wait_probes(3)
    found = probes.outcome()
    assert found.failures == []
    assert found.no_tlsa == 5 * found.probes


def test_a_roll_without_a_wait_is_found_by_those_who_remember(mail: Mail) -> None:
    mail.publish(mail.first.record, ttl=3)
    probes = mail.prober()
    # In the end everything is right on the servers themselves; not so in the caches of others.
    mail.publish(mail.second.record, ttl=3)
    mail.deploy(mail.second)
    deployed = time.time()

    def remembered() -> list[float]:
        failures = [one for one in probes.failures() if one.time > deployed]
        return [one.age for one in failures if one.records == [mail.first.record]]

    probes.wait_until(remembered, "a failure of a cache that has the first record")
    assert 0 < max(remembered()) < 3.5


def test_an_issuer_is_looked_for_in_what_is_served(mail: Mail) -> None:
    mail.deploy(Pair(mail.top, "leaf", mail.first))
    mail.publish(f"2 1 1 {mail.first.digest}")
    probes = mail.prober()
    probes.wait_probes(2)
    found = probes.outcome()
    assert found.failures == []
    assert found.checks > 0


def test_what_cannot_be_reached_is_counted_apart(mail: Mail) -> None:
    mail.publish(mail.first.record, ttl=1)
    probes = mail.prober()
    mail.server.stop()
    probes.wait_probes(3)
    mail.server.start()
    # One name server is silent, one is gone: the third is asked.
    mail.primary.freeze()
    mail.secondaries[0].stop()
    probes.wait_probes(15)
    found = probes.outcome()
    assert found.failures == []
    assert found.unreachable >= 3
    assert found.unresolved == 0


# --- the opinion of others ---


def test_posttls_finger_and_danetool_agree(mail: Mail) -> None:
    need(unbound.missing(ADDRESS_53, 53), dane_tools.missing())
    resolver = mail.resolver("unbound")
    for record, good in ((mail.first.record, True), (mail.second.record, False)):
        mail.publish(record)
        for tool in (posttls_finger, danetool_check):
            verified, text = tool(HOST, mail.server.port, resolver)
            assert verified is good, text
    mail.deploy(mail.second)
    for tool in (posttls_finger, danetool_check):
        verified, text = tool(HOST, mail.server.port, resolver)
        assert verified, text
    resolver.stop()
    other = mail.stack.enter_context(Primary(mail.top / "other", [SIGNED]))
    doubts = mail.resolver("doubts", {ZONE: bind.answer(other, ZONE, "DNSKEY")[0]})
    for tool in (posttls_finger, danetool_check):
        verified, text = tool(HOST, mail.server.port, doubts)
        assert not verified, text
