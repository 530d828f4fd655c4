"""The room against BIND: updates, name servers, the proof with real secondaries, DNSSEC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sslmd.config.model import DnsPrimary, Endpoint, TsigKey
from sslmd.core.errors import Permanent, Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.reason import Reason
from sslmd.core.records import TxtRecord
from sslmd.core.words.sentence import say
from sslmd.dns.ask import NameServer
from sslmd.dns.caa import Property, caa_lookup
from sslmd.dns.diagnosis import Behind, Primary, missing
from sslmd.dns.dnssec import bogus
from sslmd.dns.include import CHALLENGE_FILES
from sslmd.dns.look import TXT, look_at_owner, zone_serial
from sslmd.dns.nameservers import Followed, authoritative, follow
from sslmd.dns.observe import Propagation
from sslmd.dns.owners import OwnerLook
from sslmd.dns.resolver import Resolver
from sslmd.dns.update import change_owners, txt_changes
from sslmd.store.layout import challenge_file
from tests.stand import bind
from tests.stand.asking import ASKER

pytestmark = pytest.mark.skipif(bool(bind.missing()), reason=bind.missing())

ZONE = ZoneName("example.com")
APEX = DomainName("_acme-challenge.example.com")
ONE = TxtRecord(APEX, "one")
TWO = TxtRecord(APEX, "two")
WWW = TxtRecord(DomainName("_acme-challenge.www.example.com"), "www")
NOBODY = Resolver(ASKER, [])

RECORDS = """\
www     A       192.0.2.1
@       CAA     0 issue "ca.example"
_acme-challenge.in      CNAME   _acme-challenge.in2
_acme-challenge.in2     CNAME   here
here    TXT     "here"
_acme-challenge.out     CNAME   x.example.net.
_acme-challenge.round   CNAME   _acme-challenge.round2
_acme-challenge.round2  CNAME   _acme-challenge.round
sub     NS      ns.sub
ns.sub  A       192.0.2.53
_acme-challenge.alone   NS      ns.example.net.
"""


async def add(
    zone: ZoneName, primary: DnsPrimary, records: list[TxtRecord], resolver: Resolver
) -> None:
    """Add TXT records; raise what that fails with."""
    for err in (
        await change_owners(zone, primary, txt_changes(records, (), 60), resolver)
    ).values():
        raise err


async def remove(
    zone: ZoneName, primary: DnsPrimary, records: list[TxtRecord], resolver: Resolver
) -> None:
    """Remove TXT records; raise what that fails with."""
    for err in (
        await change_owners(zone, primary, txt_changes((), records, 60), resolver)
    ).values():
        raise err


def at(server: bind.Named, name: str = "") -> NameServer:
    return NameServer("127.0.0.1", server.port, name)


def primary_at(server: bind.Primary, tsig: TsigKey | None = None) -> DnsPrimary:
    return DnsPrimary(ZONE, Endpoint("127.0.0.1", server.port), update=True, tsig=tsig)


def write(primary: bind.Primary, *records: TxtRecord) -> None:
    path = Path(challenge_file(primary.acme_dir, ZONE))
    path.write_bytes(CHALLENGE_FILES.render(ZONE, frozenset(records)))


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[bind.Primary]:
    with bind.Primary(tmp_path / "ns1", [bind.Zone(ZONE.text, RECORDS)]) as server:
        yield server


# --- a zone as it is ---


async def test_what_a_zone_says(primary: bind.Primary) -> None:
    ns = at(primary)
    assert await authoritative(ZONE, primary_at(primary), NOBODY) == (
        NameServer("127.0.0.1", 53, "ns1.example.com"),
    )
    assert await zone_serial(ASKER, ns, ZONE) == 1
    assert await zone_serial(ASKER, ns, ZoneName("example.org")) is None
    unknown: dict[str, Reason] = {}
    lookup = caa_lookup({ZONE: [ns]}, NOBODY, unknown.__setitem__)
    assert await lookup("example.com") == [Property(0, "issue", "ca.example")]
    assert await lookup("www.example.com") == []
    assert await lookup("_acme-challenge.in.example.com") == []  # a CNAME, and nothing there
    assert unknown == {}
    with pytest.raises(Permanent, match="lead on and on"):
        await lookup("_acme-challenge.round.example.com")
    refused = await look_at_owner(ASKER, ZONE, ns, DomainName("_acme-challenge.example.org"), TXT)
    assert "answers REFUSED" in say(refused.fault)


@pytest.mark.parametrize(
    ("owner", "followed"),
    [
        ("example.com", Followed(APEX)),
        ("none.example.com", Followed(DomainName("_acme-challenge.none.example.com"))),
        ("in.example.com", Followed(DomainName("here.example.com"))),
        ("out.example.com", Followed(DomainName("x.example.net"))),
        (
            "www.sub.example.com",
            Followed(
                DomainName("_acme-challenge.www.sub.example.com"), ZoneName("sub.example.com")
            ),
        ),
        (
            "alone.example.com",
            Followed(
                DomainName("_acme-challenge.alone.example.com"),
                ZoneName("_acme-challenge.alone.example.com"),
            ),
        ),
    ],
)
async def test_where_names_lead(primary: bind.Primary, owner: str, followed: Followed) -> None:
    name = DomainName(f"_acme-challenge.{owner}")
    assert await follow(ASKER, name, ZONE, [at(primary)]) == followed


async def test_a_circle(primary: bind.Primary) -> None:
    with pytest.raises(Permanent, match="lead on and on"):
        await follow(ASKER, DomainName("_acme-challenge.round.example.com"), ZONE, [at(primary)])


# --- updates ---


@pytest.mark.parametrize("signed", [False, True])
async def test_updates(tmp_path: Path, *, signed: bool) -> None:
    zone = bind.Zone(ZONE.text, dynamic=True, signed=signed)
    with bind.Primary(tmp_path / "ns1", [zone]) as server:
        to, ns = primary_at(server, TsigKey(server.key_file)), at(server)
        await add(ZONE, to, [ONE, TWO, WWW], NOBODY)
        await add(ZONE, to, [ONE], NOBODY)  # again: nothing changes
        assert (await look_at_owner(ASKER, ZONE, ns, APEX, TXT)).records == {"one", "two"}
        await remove(ZONE, to, [ONE, WWW], NOBODY)
        await remove(ZONE, to, [ONE], NOBODY)  # absent is fine
        assert (await look_at_owner(ASKER, ZONE, ns, APEX, TXT)).records == {"two"}
        assert not (await look_at_owner(ASKER, ZONE, ns, WWW.owner, TXT)).records


async def test_updates_that_are_refused(tmp_path: Path) -> None:
    policy = "grant sslmd name _acme-challenge.{zone}. TXT;"
    zone = bind.Zone(ZONE.text, dynamic=True, update_policy=policy)
    other = tmp_path / "other.key"
    with bind.Primary(tmp_path / "ns1", [zone]) as server:
        key = TsigKey(server.key_file)
        await add(ZONE, primary_at(server, key), [ONE], NOBODY)
        with pytest.raises(Permanent, match=r"answers REFUSED to the update; let the key"):
            await add(ZONE, primary_at(server, key), [WWW], NOBODY)
        with pytest.raises(Permanent, match="REFUSED"):
            await add(ZONE, primary_at(server), [ONE], NOBODY)
        other.touch(0o600)
        other.write_text(bind.key_statement("sslmd"))
        with pytest.raises(Permanent, match="does not accept the TSIG key"):
            await add(ZONE, primary_at(server, TsigKey(other)), [ONE], NOBODY)
        other.write_text(bind.key_statement("unknown"))
        with pytest.raises(Permanent, match="does not accept the TSIG key"):
            await add(ZONE, primary_at(server, TsigKey(other)), [ONE], NOBODY)
        elsewhere = ZoneName("example.org")
        record = TxtRecord(DomainName("_acme-challenge.example.org"), "x")
        with pytest.raises(Permanent, match="has to be the zone's primary"):
            await add(elsewhere, primary_at(server, key), [record], NOBODY)


# --- the proof ---


async def test_a_secondary_that_was_notified(primary: bind.Primary, tmp_path: Path) -> None:
    with bind.Secondary(tmp_path / "ns2", primary) as secondary:
        before = await zone_serial(ASKER, at(primary), ZONE)
        write(primary, ONE, TWO, WWW)
        primary.reload(ZONE.text)
        seen: list[TxtRecord] = []
        servers = [at(primary, "ns1.example.com"), at(secondary, "ns2.example.com")]
        proof = Propagation(
            ZONE,
            servers,
            [ONE, TWO, WWW],
            asker=ASKER,
            primary=servers[0],
            serial_before=before,
            limit=20,
            proven=seen.append,
        )
        await proof.run()
        assert set(seen) == {ONE, TWO, WWW}


async def test_a_secondary_that_lags(primary: bind.Primary, tmp_path: Path) -> None:
    with bind.Secondary(tmp_path / "ns2", primary, notify=False) as secondary:
        write(primary, ONE)
        primary.reload(ZONE.text)
        primary.wait_answer(APEX.text, "TXT", "one")
        servers = [at(primary, "ns1.example.com"), at(secondary, "ns2.example.com")]
        told: list[str] = []

        def see(behind: Sequence[Behind], primary: Primary | None) -> None:
            told.append(say(missing(ZONE, behind, primary)))

        async def pause(_: float) -> None:
            await asyncio.to_thread(secondary.refresh, ZONE.text)

        with pytest.raises(Transient) as caught:
            await Propagation(
                ZONE, servers, [ONE], primary=servers[0], serial_before=1, limit=0, asker=ASKER
            ).run()
        text = str(caught.value)
        behind = f"its serial 1 is behind the primary's {primary.serial(ZONE.text)}"
        assert text.startswith(
            f"zone example.com: {servers[1]} does not show {APEX} TXT after 0 s, "
        )
        assert behind in text
        assert text.endswith("check its transfer from the primary")
        await Propagation(
            ZONE, servers, [ONE], primary=servers[0], limit=20, seen=see, sleep=pause, asker=ASKER
        ).run()
        assert len(set(told)) == 1
        assert behind in told[0]


async def text_of(proof: Propagation) -> str:
    with pytest.raises(Transient) as caught:
        await proof.run()
    return str(caught.value)


async def test_a_reload_that_was_not_taken(primary: bind.Primary) -> None:
    ns = at(primary, "ns1.example.com")
    write(primary, ONE)
    proof = Propagation(ZONE, [ns], [ONE], primary=ns, serial_before=1, limit=0, asker=ASKER)
    text = await text_of(proof)
    assert f"but the primary {ns} still serves serial 1 without {APEX} TXT" in text
    assert "the reload was not taken" in text


async def test_a_serial_that_was_not_raised(primary: bind.Primary, tmp_path: Path) -> None:
    with bind.Secondary(tmp_path / "ns2", primary) as secondary:
        write(primary, ONE)
        primary.rndc("reload", ZONE.text)
        primary.wait_answer(APEX.text, "TXT", "one")
        servers = [at(primary, "ns1.example.com"), at(secondary, "ns2.example.com")]
        proof = Propagation(
            ZONE, servers, [ONE], primary=servers[0], serial_before=1, limit=0, asker=ASKER
        )
        assert "let restart_cmd of [dns] raise the serial" in await text_of(proof)


async def test_a_secondary_without_data_and_one_that_is_silent(
    primary: bind.Primary, tmp_path: Path
) -> None:
    write(primary, ONE)
    primary.reload(ZONE.text)
    primary.wait_answer(APEX.text, "TXT", "one")
    empty = bind.Secondary(tmp_path / "ns2", None, [ZONE.text])
    with empty, bind.Secondary(tmp_path / "ns3", primary) as frozen:
        frozen.freeze()
        servers = [at(primary), at(empty, "ns2.example.com"), at(frozen, "ns3.example.com")]
        proof = Propagation(ZONE, servers, [ONE], primary=servers[0], limit=0, asker=ASKER)
        text = await text_of(proof)
        frozen.thaw()
    assert f"{servers[1]} answers SERVFAIL for {APEX} TXT" in text
    assert f"{servers[2]} did not answer within 3 s" in text
    assert "take it out of the zone's NS records" in text


# --- DNSSEC ---


class Validator(bind.Named):
    """A resolver that validates, and asks a primary; `anchor` is the key that it trusts."""

    def __init__(self, folder: Path, primary: bind.Primary, anchor: str) -> None:
        super().__init__(folder, primary.zones)
        self._primary = primary
        self._anchor = anchor

    def write_config(self) -> None:
        super().write_config()
        file = self.folder / "named.conf"
        text = file.read_text().replace("recursion no;", "recursion yes;")
        file.write_text(text.replace("dnssec-validation no;", "dnssec-validation yes;"))

    def zone_statements(self) -> str:
        return (
            f"trust-anchors {{ {self._anchor} }};\n"
            f'zone "{ZONE}" {{ type forward; forward only;\n'
            f"    forwarders {{ 127.0.0.1 port {self._primary.port}; }}; }};\n"
        )

    def answers(self) -> bool:
        try:
            bind.query(self, ZONE.text, "SOA", timeout=0.2)
        except Exception:
            return False
        return True


def anchor_of(server: bind.Primary) -> str:
    flags, protocol, algorithm, *key = bind.answer(server, ZONE.text, "DNSKEY")[0].split()
    return f'"{ZONE}" static-key {flags} {protocol} {algorithm} "{"".join(key)}";'


async def test_dnssec(tmp_path: Path) -> None:
    same = "".join(f"{name} A 192.0.2.1\n" for name in ("*", "mail", "*.mail"))
    signed = bind.Zone(ZONE.text, same, signed=True)
    with (
        bind.Primary(tmp_path / "ns1", [signed]) as server,
        bind.Primary(tmp_path / "other", [signed]) as other,
    ):
        # The same data everywhere: only signatures tell which wildcard is meant.
        found = await OwnerLook(ASKER, ZONE, [at(server)]).at(
            DomainName("_25._tcp.mail.example.com")
        )
        assert found.wildcard == DomainName("*.mail.example.com")
        assert found.overshadowed == (DomainName("_tcp.mail.example.com"),)
        with Validator(tmp_path / "good", server, anchor_of(server)) as good:
            assert await bogus(ASKER, ZONE, at(good)) is None
            server.stop()
            good.rndc("flush")
            with pytest.raises(Transient, match="answers SERVFAIL"):
                await bogus(ASKER, ZONE, at(good))
        server.start()
        with Validator(tmp_path / "wrong", server, anchor_of(other)) as wrong:
            assert "its DNSSEC does not validate" in say(await bogus(ASKER, ZONE, at(wrong)))


async def test_a_signed_zone_by_include_file(tmp_path: Path) -> None:
    with bind.Primary(tmp_path / "ns1", [bind.Zone(ZONE.text, signed=True)]) as server:
        ns = at(server, "ns1.example.com")
        before = await zone_serial(ASKER, ns, ZONE)
        write(server, ONE, TWO)
        server.reload(ZONE.text)
        proof = Propagation(
            ZONE, [ns], [ONE, TWO], primary=ns, serial_before=before, limit=20, asker=ASKER
        )
        await proof.run()
