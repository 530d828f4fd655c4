"""TLSA records against BIND: signed zones by include file and by update, with secondaries."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from sslmd.config.load import load
from sslmd.config.model import Argv, Config
from sslmd.core.dane.sighting import OwnerSeen, TlsaSeen, missing_at, surplus
from sslmd.core.dane.tlsa import Content, Owned, Tlsa, TlsaSet
from sslmd.core.errors import Permanent
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.dnssec import Validated, validated
from sslmd.dns.include import TLSA_FILES
from sslmd.dns.look import TLSA, look_at, zone_serial
from sslmd.dns.means import Means
from sslmd.dns.nameservers import mail_of
from sslmd.dns.resolver import Resolver
from sslmd.dns.tlsa_publish import differs, publish
from tests.dns.test_with_bind import Validator, anchor_of
from tests.stand import bind
from tests.stand.asking import ASKER

P = ParamSpec("P")
T = TypeVar("T")

pytestmark = pytest.mark.skipif(bool(bind.missing()), reason=bind.missing())

ZONE = ZoneName("example.com")
MAIL = DomainName("_25._tcp.mail.example.com")
MAIL2 = DomainName("_25._tcp.mail2.example.com")
WEB = DomainName("_443._tcp.example.com")
ALIAS = DomainName("_465._tcp.mail.example.com")
ONE = Tlsa(3, 1, 1, "ab" * 32)
TWO = Tlsa(3, 1, 1, "cd" * 32)
FOREIGN = Tlsa(2, 0, 1, "ef" * 32)
RECORDS = """\
@       MX      10 mail
@       MX      10 mail2
@       MX      20 backup.example.net.
mail    A       192.0.2.1
mail2   A       192.0.2.2
_465._tcp.mail  CNAME   _25._tcp.mail
"""

# Seconds. A bound for what name servers do by themselves.
LONG = 20


def of(*some: Tlsa, ttl: int = 60) -> TlsaSet:
    return TlsaSet(ttl, frozenset(some))


def all_of(content: Content) -> frozenset[Owned]:
    return frozenset((owner, one) for owner, some in content.items() for one in some.records)


def at(server: bind.Named, name: str = "") -> NameServer:
    return NameServer("127.0.0.1", server.port, name)


class Publisher:
    """What publishes into a primary, by its include folders or by update."""

    def __init__(self, top: Path, primary: bind.Primary, *dirs: Path, update: bool = False) -> None:
        (top / "conf.d").mkdir(parents=True, exist_ok=True)
        (top / "conf.d" / "ssl-mgr.conf").write_text(
            f"[[dns_primary]]\ndomain = '{ZONE}'\nserver = '127.0.0.1'\nport = {primary.port}\n"
            f"update = {'true' if update else 'false'}\ntsig_key_file = '{primary.key_file}'\n"
            f"[dns]\ntlsa_dirs = {[str(one) for one in dirs]}\n"
            f"restart_cmd = {primary.restart_cmd!r}\n"
        )
        self.config: Config = load(top / "conf.d")
        self.means = Means(lambda: self.config, self._run, self._thread, Resolver(ASKER, []))

    async def _run(self, argv: Argv) -> None:
        await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True, timeout=30)

    async def _thread(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(func, *args, **kwargs)

    async def publish(self, content: Content) -> None:
        result = await publish(self.means, ZONE, content)
        assert result.left is None
        assert differs(self.means, ZONE, content) is None


async def until(
    servers: list[NameServer], owners: list[DomainName], check: Callable[[TlsaSeen], bool]
) -> list[TlsaSeen]:
    """Return what the servers show as soon as all of them pass the check."""
    async with asyncio.timeout(LONG):
        while True:
            seen = await look_at(ASKER, ZONE, servers, owners, TLSA)
            if all(map(check, seen)):
                return seen
            await asyncio.sleep(0.1)


def shows(content: Content) -> Callable[[TlsaSeen], bool]:
    wanted = all_of(content)
    return lambda seen: not missing_at(seen, wanted) and not surplus(seen, wanted)


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[bind.Primary]:
    zone = bind.Zone(ZONE.text, RECORDS, signed=True)
    with bind.Primary(tmp_path / "ns1", [zone]) as server:
        yield server


@pytest.fixture(scope="module")
def certificate() -> str:
    """Return a certificate with an RSA key of 4096 bits, in hex."""
    key = rsa.generate_private_key(65537, 4096)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.example.com")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(Encoding.DER).hex()


# --- by include file ---


async def test_a_signed_zone_with_a_secondary_that_lags(
    primary: bind.Primary, tmp_path: Path
) -> None:
    publisher = Publisher(tmp_path, primary, primary.tlsa_dir)
    owners = [MAIL, WEB]
    first: Content = {MAIL: of(ONE), WEB: of(ONE)}
    both: Content = {MAIL: of(ONE, TWO), WEB: of(ONE, TWO, ttl=90)}
    with (
        bind.Secondary(tmp_path / "ns2", primary) as follows,
        bind.Secondary(tmp_path / "ns3", primary, notify=False) as lags,
    ):
        servers = [at(primary, "ns1"), at(follows, "ns2"), at(lags, "ns3")]
        await publisher.publish(first)
        seen = await until(servers[:2], owners, shows(first))
        signed = seen[1].owners[MAIL].signed_until
        assert signed is not None
        assert signed > datetime.now(UTC) + timedelta(days=1)
        await asyncio.to_thread(lags.refresh, ZONE.text)
        await until(servers, owners, shows(first))
        await publisher.publish(both)
        await until(servers[:2], owners, shows(both))
        ns1, ns2, ns3 = await look_at(ASKER, ZONE, servers, owners, TLSA)
        wanted = all_of(both)
        assert missing_at(ns3, wanted) == {(MAIL, TWO), (WEB, TWO)}
        assert missing_at(ns1, wanted) == missing_at(ns2, wanted) == frozenset()
        assert (ns2.owners[WEB].ttl, ns3.owners[WEB].ttl) == (90, 60)
        serials = [await zone_serial(ASKER, one, ZONE) for one in servers]
        assert serials[0] is not None
        assert serials[2] is not None
        assert serials[0] == serials[1]
        assert serials[0] > serials[2]
        await asyncio.to_thread(lags.refresh, ZONE.text)
        await until(servers, owners, shows(both))
        # An owner without records, and an alias (RFC 7671 §7).
        last: Content = {MAIL: of(TWO)}
        aliased: Content = {**last, ALIAS: of(TWO)}
        await publisher.publish(last)
        seen = await until(servers[:2], [*owners, ALIAS], shows(aliased))
        for one in seen:
            assert one.owners[WEB] == OwnerSeen()
            assert one.owners[ALIAS].signed_until is not None


async def test_servers_without_an_answer(primary: bind.Primary, tmp_path: Path) -> None:
    await Publisher(tmp_path, primary, primary.tlsa_dir).publish({MAIL: of(ONE)})
    empty = bind.Secondary(tmp_path / "ns2", None, [ZONE.text])
    with empty, bind.Secondary(tmp_path / "ns3", primary) as frozen:
        frozen.freeze()
        seen = await look_at(ASKER, ZONE, [at(empty), at(frozen)], [MAIL, WEB], TLSA)
        frozen.thaw()
    assert say(seen[0].owners[MAIL].fault) == f"answers SERVFAIL for {MAIL} TLSA"
    assert say(seen[1].silent) == "did not answer within 3 s"
    assert not seen[1].owners
    wrong = await look_at(
        ASKER, ZoneName("example.org"), [at(primary)], [DomainName("_1._tcp.example.org")], TLSA
    )
    assert "answers REFUSED" in say(wrong[0].owners[DomainName("_1._tcp.example.org")].fault)


async def test_a_whole_certificate_comes_by_tcp(
    primary: bind.Primary, tmp_path: Path, certificate: str
) -> None:
    content: Content = {MAIL: of(Tlsa(3, 0, 0, certificate), ONE)}
    await Publisher(tmp_path, primary, primary.tlsa_dir).publish(content)
    (seen,) = await until([at(primary)], [MAIL], shows(content))
    assert seen.owners[MAIL].signed_until is not None


def test_named_checkzone_takes_a_whole_certificate(tmp_path: Path, certificate: str) -> None:
    include = tmp_path / "tlsa"
    include.write_bytes(TLSA_FILES.render(ZONE, {MAIL: of(Tlsa(3, 0, 0, certificate * 10))}))
    (tmp_path / "zone").write_text(
        f"$TTL 60\n@ IN SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 192.0.2.1\n$INCLUDE {include}\n"
    )
    done = subprocess.run(
        ["named-checkzone", "-D", ZONE.text, str(tmp_path / "zone")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert certificate * 10 in "".join(done.stdout.lower().split())


async def test_mx_hosts(primary: bind.Primary) -> None:
    hosts = ("backup.example.net", "mail.example.com", "mail2.example.com")
    assert (await mail_of(ASKER, ZONE, [at(primary)])).hosts == tuple(map(DomainName, hosts))


# --- by update ---

POLICY = "grant sslmd subdomain _tcp.mail.{zone}. TLSA; grant sslmd name _443._tcp.{zone}. TLSA;"


def dynamic(policy: str = POLICY) -> bind.Zone:
    foreign = f"_25._tcp.mail TLSA {FOREIGN}\n"
    return bind.Zone(ZONE.text, RECORDS + foreign, signed=True, dynamic=True, update_policy=policy)


async def test_by_update_with_secondaries(tmp_path: Path) -> None:
    owners = [MAIL, WEB]
    with (
        bind.Primary(tmp_path / "ns1", [dynamic()]) as primary,
        bind.Secondary(tmp_path / "ns2", primary) as one,
        bind.Secondary(tmp_path / "ns3", primary) as two,
    ):
        publisher = Publisher(tmp_path, primary, update=True)
        servers = [at(primary), at(one), at(two)]

        async def change(content: Content) -> list[TlsaSeen]:
            await publisher.publish(content)
            # What others put there stays.
            foreign: Content = {MAIL: of(FOREIGN)}
            wanted = all_of(content) | all_of(foreign)
            return await until(
                servers,
                owners,
                lambda seen: not missing_at(seen, wanted) and not surplus(seen, wanted),
            )

        seen = await change({MAIL: of(ONE), WEB: of(ONE)})
        assert all(server.owners[MAIL].signed_until for server in seen)
        await change({MAIL: of(ONE, TWO), WEB: of(ONE, TWO)})
        await change({MAIL: of(TWO)})
        await publisher.publish({MAIL: of(TWO, ttl=300)})
        seen = await until(servers, owners, lambda seen: seen.owners[MAIL].ttl == 300)
        assert all(server.owners[MAIL].records == {TWO, FOREIGN} for server in seen)
        await change({})


async def test_no_record_that_stays_is_ever_away(tmp_path: Path) -> None:
    with bind.Primary(tmp_path / "ns1", [dynamic()]) as primary:
        publisher = Publisher(tmp_path, primary, update=True)
        await publisher.publish({MAIL: of(ONE, TWO)})
        over = asyncio.Event()
        looks = 0

        async def watch() -> None:
            nonlocal looks
            while not over.is_set():
                (seen,) = await look_at(ASKER, ZONE, [at(primary)], [MAIL], TLSA)
                assert ONE in seen.owners[MAIL].records
                looks += 1

        watching = asyncio.create_task(watch())
        for turn in range(15):
            await publisher.publish({MAIL: of(ONE, *([TWO] * (turn % 2)), ttl=60 + turn)})
        over.set()
        await watching
        assert looks > 10


async def test_a_policy_that_lets_some_owners_change(tmp_path: Path) -> None:
    with bind.Primary(tmp_path / "ns1", [dynamic()]) as primary:
        publisher = Publisher(tmp_path, primary, update=True)
        content: Content = {MAIL: of(ONE), MAIL2: of(ONE), WEB: of(ONE)}
        with pytest.raises(Permanent, match=f"let the key change TLSA records of {MAIL2} "):
            await publish(publisher.means, ZONE, content)
        (seen,) = await look_at(ASKER, ZONE, [at(primary)], list(content), TLSA)
    assert missing_at(seen, all_of(content)) == {(MAIL2, ONE)}


async def test_a_whole_certificate_by_update(tmp_path: Path, certificate: str) -> None:
    content: Content = {WEB: of(Tlsa(3, 0, 0, certificate), ONE)}
    with bind.Primary(tmp_path / "ns1", [dynamic()]) as primary:
        await Publisher(tmp_path, primary, update=True).publish(content)
        await until([at(primary)], [WEB], shows(content))


# --- as a validating resolver sees it ---


async def test_validated(primary: bind.Primary, tmp_path: Path) -> None:
    await Publisher(tmp_path, primary, primary.tlsa_dir).publish({MAIL: of(ONE)})
    await until([at(primary)], [MAIL], shows({MAIL: of(ONE)}))
    other_zone = bind.Zone(ZONE.text, signed=True)
    with (
        Validator(tmp_path / "good", primary, anchor_of(primary)) as good,
        bind.Primary(tmp_path / "other", [other_zone]) as other,
        Validator(tmp_path / "wrong", primary, anchor_of(other)) as wrong,
    ):
        for owner in (MAIL, ALIAS):
            found = await validated(ASKER, owner, at(good))
            assert found == Validated(frozenset({ONE}), secure=True)
        none = await validated(ASKER, WEB, at(good))
        assert none == Validated(frozenset(), secure=True)
        bogus = await validated(ASKER, MAIL, at(wrong))
        assert not bogus.secure
        assert "defer all mail to mail.example.com" in say(bogus.problem)
