"""`tlsa.rr` in sets with `dane_tls`: written with the set, or once MX hosts are known."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from sslmd.core.dane.content import ZoneNotes
from sslmd.core.dane.tlsa import Material
from sslmd.core.names import DomainName, SetName, ZoneName
from sslmd.dns.include import parse_tlsa
from sslmd.pki.tlsa import material
from sslmd.store import sets
from sslmd.store.note_kinds import ZONE_NOTE
from sslmd.workers import tlsa_rr
from tests.stand.tools import NOW, WEB, Site

MX = (DomainName.parse("mail.example.com"), DomainName.parse("mx.example.net"))
MAIL = "[25, 'tcp', 3, 1, 1]"
SANS = "[443, 'tcp', 3, 1, 1, 'SANS']"
SERVICE = """\
name = 'Web'
group = 'example.com'
service = 'web'
signing_ca = 'my-int'
dane_tls = [{dane}]
dane_tls_ttl = 3600

[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp256r1'

[X509]
    CN = 'example.com'
    sans = ['example.com', 'www.example.com', '*.example.com']
"""


async def made(top: Path, dane: str, mx: tuple[DomainName, ...] | None = None) -> Site:
    """Return a site with a certificate on deck, made while these MX hosts were known."""
    site = await Site(top, files={"example.com/web": SERVICE.format(dane=dane)}).with_cas()
    if mx is not None:
        path = site.tree.zone_note(ZoneName("example.com"))
        ZONE_NOTE.write(path, ZoneNotes(mx=mx, mx_at=NOW))
    await site.make_key()
    await site.certify()
    return site


def file_of(site: Site) -> Path:
    return site.folder(site.on_deck()) / "tlsa.rr"


def known(site: Site) -> dict[SetName, Material]:
    found = material(sets.read_files(str(site.folder(site.on_deck()))))
    assert found is not None
    return {site.on_deck(): found}


def later(site: Site, mx: tuple[DomainName, ...] | None = MX) -> None:
    """Have the zone's records computed."""
    tlsa_rr.of_known_sets(site.tree, site.tools.site.config.services, {WEB: known(site)}, mx)


def digest(site: Site) -> str:
    """Return what a record 3 1 1 of the key has, by openssl."""
    key = site.folder(site.on_deck()) / "privkey.pem"
    der = subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    return hashlib.sha256(der).hexdigest()


async def test_it_is_written_with_the_set(tmp_path: Path) -> None:
    site = await made(tmp_path, f"{MAIL}, {SANS}", MX)
    data = digest(site)
    assert file_of(site).read_text() == (
        f"; TLSA records of example.com/web, set {site.on_deck()}\n"
        f"_25._tcp.example.com. 3600 IN TLSA 3 1 1 {data}\n"
        f"_25._tcp.mail.example.com. 3600 IN TLSA 3 1 1 {data}\n"
        f"_443._tcp.example.com. 3600 IN TLSA 3 1 1 {data}\n"
        f"_443._tcp.www.example.com. 3600 IN TLSA 3 1 1 {data}\n"
    )
    assert file_of(site).stat().st_mode & 0o777 == 0o644
    assert len(parse_tlsa(file_of(site).read_bytes(), 0)) == 4


async def test_no_mx_hosts_are_needed_for_names_of_the_certificate(tmp_path: Path) -> None:
    site = await made(tmp_path, SANS)
    assert file_of(site).read_text().count(" IN TLSA 3 1 1 ") == 2


@pytest.mark.parametrize("dane", [MAIL, "[25, 'tcp', 3, 1, 1, 'MX']"])
async def test_it_is_written_when_mx_hosts_are_known(tmp_path: Path, dane: str) -> None:
    site = await made(tmp_path, dane)
    assert not file_of(site).exists()
    later(site, None)
    assert not file_of(site).exists()
    later(site)
    assert "_25._tcp.mail.example.com. 3600 IN TLSA 3 1 1 " in file_of(site).read_text()


async def test_one_that_is_there_stays(tmp_path: Path) -> None:
    site = await made(tmp_path, MAIL)
    file_of(site).write_text("of ssl-mgr's\n")
    before = file_of(site).stat()
    later(site)
    assert file_of(site).read_text() == "of ssl-mgr's\n"
    assert file_of(site).stat().st_mtime_ns == before.st_mtime_ns


async def test_without_dane_there_is_none(tmp_path: Path) -> None:
    site = await made(tmp_path, "", MX)
    later(site)
    assert not file_of(site).exists()


async def test_records_of_the_ca_and_of_the_certificate(tmp_path: Path) -> None:
    """What a record may be made of is there with the certificate."""
    entries = "[25, 'tcp', 2, 0, 2], [25, 'tcp', 3, 0, 1], [25, 'tcp', 3, 1, 0]"
    site = await made(tmp_path, entries, MX)
    content = parse_tlsa(file_of(site).read_bytes(), 0)
    for one in content.values():
        assert {str(record.combination) for record in one.records} == {"2 0 2", "3 0 1", "3 1 0"}
    assert len(content) == 2


async def test_a_key_without_a_certificate_has_none_yet(tmp_path: Path) -> None:
    site = await made(tmp_path, MAIL)
    site.later(days=1)
    await site.make_key()
    later(site)
    assert not file_of(site).exists()


async def test_no_certificate_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "certs/example.com/.dane.toml"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    site = await made(tmp_path, f"{MAIL}, {SANS}")
    assert (site.folder(site.on_deck()) / "cert.pem").exists()
    assert not file_of(site).exists()


async def test_it_goes_to_production(tmp_path: Path) -> None:
    """Also where it was written after that: with the roll."""
    site = await made(tmp_path, MAIL)
    await site.roll()
    await site.deliver()
    assert not (site.in_prod() / "curr/tlsa.rr").exists()
    site.later(days=1)
    await site.make_key()
    await site.certify()
    await site.deliver()
    later(site)
    assert not (site.in_prod() / "next/tlsa.rr").exists()
    await site.roll()
    await site.deliver()
    there, here = site.in_prod() / "curr/tlsa.rr", site.place() / "curr/tlsa.rr"
    assert there.read_bytes() == here.read_bytes()
