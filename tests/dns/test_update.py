"""Dynamic updates: keys, what is sent, and what a refusal means."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from sslmd.config.model import DnsPrimary, Endpoint, TsigKey
from sslmd.core.errors import Permanent, Transient
from sslmd.core.names import DomainName, ZoneName
from sslmd.core.records import TxtRecord
from sslmd.dns.resolver import Resolver
from sslmd.dns.update import change_owners, load_key, txt_changes
from tests.stand.asking import ASKER
from tests.stand.responder import Answer, Responder

ZONE = ZoneName("example.com")
RECORD = TxtRecord(DomainName("_acme-challenge.example.com"), "v" * 43)
SECRET = "ab//cdEF//ghIJKLmnOPQR=="
NOBODY = Resolver(ASKER, [])


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


def write(file: Path, text: str) -> None:
    """Write a key as an admin does: for nobody else."""
    file.write_text(text)
    file.chmod(0o600)


def primary_at(responder: Responder, tsig: TsigKey | None = None) -> DnsPrimary:
    server = responder.server
    return DnsPrimary(ZONE, Endpoint(server.address, server.port), update=True, tsig=tsig)


def answering(rcode: dns.rcode.Rcode) -> object:
    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = dns.message.make_response(query)
        made.set_rcode(rcode)
        return made

    return answer


# --- keys ---


@pytest.mark.parametrize(
    "text",
    [
        f'key "k.example" {{\n\talgorithm hmac-sha512;\n\tsecret "{SECRET}";\n}};\n',
        f"key k.example {{ algorithm hmac-sha512; secret {SECRET}; }};",
        f'# one\n// two\n/* three "\n*/\nKEY "k.example." {{ # four\n'
        f'secret "{SECRET}"; // five\n algorithm "HMAC-SHA512"; }};',
        f'key "k.example"{{algorithm hmac-sha512;secret "{SECRET}";}};key "b" {{secret "QQ==";}};',
    ],
)
def test_key_statements(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    write(file, text)
    key = load_key(TsigKey(file))
    assert key.name == dns.name.from_text("k.example")
    assert key.algorithm == dns.tsig.HMAC_SHA512
    assert key.secret == base64.b64decode(SECRET)


@pytest.mark.parametrize(("mode", "right"), [(0o644, "0600"), (0o604, "0600")])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int, right: str) -> None:
    file = tmp_path / "k.key"
    write(file, f'key "k" {{ algorithm hmac-sha256; secret "{SECRET}"; }};')
    file.chmod(mode)
    with pytest.raises(Permanent, match=f"can be read by others .*; run: chmod {right} ") as told:
        load_key(TsigKey(file))
    assert SECRET not in str(told.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_that_the_name_server_has_as_well(tmp_path: Path) -> None:
    file = tmp_path / "k.key"
    write(file, f'key "k" {{ algorithm hmac-sha256; secret "{SECRET}"; }};')
    os.chown(file, -1, 4545)
    file.chmod(0o640)
    assert load_key(TsigKey(file)).secret
    file.chmod(0o644)
    with pytest.raises(Permanent, match="run: chmod 0640 "):
        load_key(TsigKey(file))


def test_one_of_several_keys_by_name(tmp_path: Path) -> None:
    file = tmp_path / "key"
    write(file, 'key a { secret "QQ=="; };\nkey "B" { algorithm hmac-md5; secret "Qg=="; };')
    assert load_key(TsigKey(file, "b")).secret == b"B"
    assert load_key(TsigKey(file, "b")).algorithm == dns.tsig.HMAC_MD5
    assert load_key(TsigKey(file)).secret == b"A"
    with pytest.raises(Permanent, match="has no key c; it has a, b"):
        load_key(TsigKey(file, "c"))


@pytest.mark.parametrize("text", [SECRET, f"  {SECRET}\n", f"# the key\n{SECRET}\n", "//8="])
def test_a_bare_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    write(file, text)
    key = load_key(TsigKey(file, "k.example", "hmac-sha384"))
    assert key.algorithm == dns.tsig.HMAC_SHA384
    assert key.secret in (base64.b64decode(SECRET), b"\xff\xff")


@pytest.mark.parametrize(
    ("text", "name", "algorithm", "problem"),
    [
        ("", "", "", "holds no TSIG key"),
        ("c2VjcmV0", "", "", "holds no TSIG key"),
        ("not base64!", "k", "", "holds no TSIG key"),
        ("c2VjcmV0c", "k", "", "is not base64"),
        ('key k { secret "c2VjcmV0c"; };', "", "", "is not base64"),
        ("key k { algorithm hmac-sha256; };", "", "", "has no secret"),
        ('key k { algorithm hmac-sha3; secret "c2VjcmV0"; };', "", "", "no algorithm"),
        ('key k { algorithm gss-tsig; secret "c2VjcmV0"; };', "", "", "no algorithm"),
        ('key a..b { secret "c2VjcmV0"; };', "", "", "cannot name a key"),
        ("c2VjcmV0", "k", "rot13", "no algorithm"),
    ],
)
def test_what_is_no_key(tmp_path: Path, text: str, name: str, algorithm: str, problem: str) -> None:
    file = tmp_path / "key"
    write(file, text)
    with pytest.raises(Permanent, match=problem) as caught:
        load_key(TsigKey(file, name, algorithm))
    assert str(file) in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value).replace(str(file), "")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="is not there; correct tsig_key_file"):
        load_key(TsigKey(tmp_path / "none"))


# --- what is sent ---


async def test_what_an_update_says() -> None:
    async with Responder(answering(dns.rcode.NOERROR)) as responder:  # type: ignore[arg-type]
        await add(ZONE, primary_at(responder), [RECORD], NOBODY)
        await remove(ZONE, primary_at(responder), [RECORD], NOBODY)
    added, removed = responder.queries
    assert isinstance(added, dns.update.UpdateMessage)
    assert added.zone[0].name == dns.name.from_text("example.com")
    (rrset,) = added.update
    assert rrset.to_text() == f'_acme-challenge.example.com. 60 IN TXT "{RECORD.value}"'
    assert isinstance(removed, dns.update.UpdateMessage)
    (rrset,) = removed.update
    assert rrset.deleting == dns.rdataclass.NONE  # this very record (RFC 2136 §2.5.4)
    assert rrset[0].strings == (RECORD.value.encode(),)


async def test_many_records_go_in_several_messages() -> None:
    names = [DomainName(f"_acme-challenge.{'h' * 60}{n}.example.com") for n in range(250)]
    records = [TxtRecord(name, "v" * 255) for name in names]
    async with Responder(answering(dns.rcode.NOERROR)) as responder:  # type: ignore[arg-type]
        await add(ZONE, primary_at(responder), records, NOBODY)
    sent = [
        rrset.name
        for query in responder.queries
        if isinstance(query, dns.update.UpdateMessage)
        for rrset in query.update
    ]
    assert len(responder.queries) > 1
    assert sorted(sent) == sorted(dns.name.from_text(name.text) for name in names)


# --- what is answered ---


@pytest.mark.parametrize(
    ("rcode", "kind", "way_out"),
    [
        (dns.rcode.REFUSED, Permanent, "update-policy"),
        (dns.rcode.NOTAUTH, Permanent, "has to be the zone's primary"),
        (dns.rcode.NOTZONE, Permanent, "another zone"),
        (dns.rcode.NOTIMP, Permanent, "include files"),
        (dns.rcode.SERVFAIL, Transient, "see its log"),
        (dns.rcode.FORMERR, Transient, "see its log"),
    ],
)
async def test_refusals(rcode: dns.rcode.Rcode, kind: type[Exception], way_out: str) -> None:
    async with Responder(answering(rcode)) as responder:  # type: ignore[arg-type]
        with pytest.raises(kind) as caught:
            await add(ZONE, primary_at(responder), [RECORD], NOBODY)
    text = str(caught.value)
    assert text.startswith(f"zone example.com: the primary 127.0.0.1:{responder.server.port} ")
    assert dns.rcode.to_text(rcode) in text
    assert way_out in text


async def test_a_primary_that_is_gone() -> None:
    async with Responder(answering(dns.rcode.NOERROR)) as responder:  # type: ignore[arg-type]
        pass
    with pytest.raises(Transient, match=r"zone example\.com: the primary .*Connection refused"):
        await add(ZONE, primary_at(responder), [RECORD], NOBODY)


async def test_nonsense() -> None:
    async with Responder(lambda _query, _tcp: b"\x00" * 30) as responder:
        with pytest.raises(Transient, match="answers nonsense"):
            await add(ZONE, primary_at(responder), [RECORD], NOBODY)


async def test_a_primary_without_an_address() -> None:
    primary = DnsPrimary(ZONE, Endpoint("ns.example.com"), update=True)
    with pytest.raises(Transient, match="cannot be looked up"):
        await add(ZONE, primary, [RECORD], NOBODY)


@pytest.fixture
def tsig(tmp_path: Path) -> TsigKey:
    file = tmp_path / "key"
    write(file, f'key "k" {{ algorithm hmac-sha256; secret "{SECRET}"; }};')
    return TsigKey(file)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (dns.rcode.BADTIME, Transient, "clock"),
        (dns.rcode.BADKEY, Permanent, "compare tsig_key_file"),
        (dns.rcode.BADSIG, Permanent, "compare tsig_key_file"),
    ],
)
async def test_keys_that_are_not_accepted(
    tsig: TsigKey, error: dns.rcode.Rcode, kind: type[Exception], text: str
) -> None:
    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = dns.message.make_response(query, tsig_error=error)
        made.set_rcode(dns.rcode.NOTAUTH)
        return made

    key = load_key(tsig)
    async with Responder(answer) as responder:
        responder.keyring = {key.name: key}
        with pytest.raises(kind, match=text):
            await add(ZONE, primary_at(responder, tsig), [RECORD], NOBODY)


async def test_an_unsigned_yes_to_a_signed_update_is_not_believed(tsig: TsigKey) -> None:
    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = dns.message.make_response(query)
        made.tsig = None
        return made

    key = load_key(tsig)
    async with Responder(answer) as responder:
        responder.keyring = {key.name: key}
        with pytest.raises(Transient, match=r"does not sign|requires a TSIG"):
            await add(ZONE, primary_at(responder, tsig), [RECORD], NOBODY)
        responder.answering = answering(dns.rcode.NOERROR)  # type: ignore[assignment]
        await add(ZONE, primary_at(responder, tsig), [RECORD], NOBODY)


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.FORMERR, dns.rcode.REFUSED])
async def test_a_name_that_the_primary_cannot_take_keeps_out_no_other(
    rcode: dns.rcode.Rcode,
) -> None:
    """I6: challenges of several orders go in one message."""
    bad = DomainName("_acme-challenge.bad.example.com")
    good = [DomainName(f"_acme-challenge.{name}.example.com") for name in ("a", "c")]

    def answer(query: dns.message.Message, tcp: bool) -> Answer:
        made = dns.message.make_response(query)
        assert isinstance(query, dns.update.UpdateMessage)
        if any(rrset.name == dns.name.from_text(bad.text) for rrset in query.update):
            made.set_rcode(rcode)
        return made

    wanted = [TxtRecord(name, "v" * 43) for name in (bad, *good)]
    async with Responder(answer) as responder:
        changes = txt_changes(wanted, (), 60)
        failed = await change_owners(ZONE, primary_at(responder), changes, NOBODY)
    assert failed.keys() == {bad}
