"""Which set a port serves, told by its certificate and its key."""

from __future__ import annotations

from pathlib import Path

from sslmd.core.dane.tlsa import Material
from sslmd.core.errors import Transient
from sslmd.core.names import CertId, DomainName, SetName
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.core.words.sentence import say
from sslmd.net.inside import Inside
from sslmd.net.probe import facts_of
from sslmd.net.probe_messages import described
from sslmd.pki.tlsa import material
from sslmd.workers.ports import PortSeen, look_at_ports
from tests.stand.server import free_port
from tests.stand.tls import LOOPBACK, TlsPort, context, server
from tests.stand.tools import WEB, Site
from tests.workers.test_restart import FILES, MAIL, MAIN

# A fifth of it is waited for a greeting, because these ports are none that are known.
SECONDS = 2.0
HOST = DomainName("mx.example.com")


async def here(_: DomainName) -> tuple[str, ...]:
    return (LOOPBACK,)


def set_of(site: Site, name: SetName, cert: CertId = WEB) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in site.folder(name, cert).iterdir()}


def material_of(site: Site, name: SetName) -> Material:
    made = material(set_of(site, name))
    assert made is not None
    assert made.leaf is not None
    return made


def port_of(site: Site, folder: Path, name: SetName, cert: CertId = WEB) -> TlsPort:
    files = set_of(site, name, cert)
    return TlsPort(context(folder, (files["privkey.pem"], files["fullchain.pem"])))


async def seen_at(site: Site, handler: TlsPort, *sets: SetName) -> PortSeen:
    known = {name: material_of(site, name) for name in sets}
    async with server(handler) as port:
        (seen,) = await look_at_ports(
            Inside(),
            WEB,
            site.tools.site,
            site.tools.standings,
            known,
            [(HOST, port)] * 2,
            here,
            seconds=SECONDS,
        )
    assert (seen.host, seen.port) == (HOST, port)
    assert handler.names == [HOST.text]
    return seen


async def test_the_set_is_known_by_its_certificate(tmp_path: Path) -> None:
    site = await Site(tmp_path).with_cas()
    old = await site.renew()
    new = await site.renew()
    for name in (old, new):
        seen = await seen_at(site, port_of(site, tmp_path, name), old, new)
        assert (seen.match, seen.other) == (name, None)
        assert seen.served.leaf == material_of(site, name).leaf


async def test_the_same_key_with_another_certificate(tmp_path: Path) -> None:
    site = await Site(tmp_path).with_cas()
    old = await site.renew()
    await site.make_key(reuse=True)
    await site.certify()
    new = await site.roll()
    known = material_of(site, new)
    seen = await seen_at(site, port_of(site, tmp_path, new), old, new)
    assert (seen.match, seen.other) == (new, None)
    seen = await seen_at(site, port_of(site, tmp_path, new), old)
    assert known.leaf is not None
    assert (seen.match, seen.other) == (
        old,
        Reason(AtPort.OF_ITS_KEY, certificate=described(facts_of(known.leaf))),
    )


async def test_somebody_elses(tmp_path: Path) -> None:
    site = await Site(tmp_path, MAIN, files=FILES).with_cas()
    ours = await site.renew()
    theirs = await site.renew(MAIL)
    handler = port_of(site, tmp_path, theirs, MAIL)
    seen = await seen_at(site, handler, ours)
    assert seen.served.leaf is not None
    assert (seen.match, seen.other) == (
        None,
        Reason(AtPort.OF_CERT, cert=MAIL, certificate=described(facts_of(seen.served.leaf))),
    )
    # What is in use no more is only described.
    await site.renew(MAIL)
    handler.names.clear()
    seen = await seen_at(site, handler, ours)
    assert seen.served.leaf is not None
    assert (seen.match, seen.other) == (None, described(facts_of(seen.served.leaf)))


async def test_every_address_of_every_endpoint_is_told(tmp_path: Path) -> None:
    site = await Site(tmp_path).with_cas()
    name = await site.renew()
    unknown, empty = DomainName("a.example.com"), DomainName("b.example.com")

    async def addresses(host: DomainName) -> tuple[str, ...]:
        if host == unknown:
            raise Transient("nobody tells")
        return () if host == empty else (LOOPBACK, "127.0.0.2")

    sets = {name: material_of(site, name)}
    async with server(port_of(site, tmp_path, name)) as port:
        ends = [(HOST, port), (unknown, port), (empty, port), (HOST, free_port())]
        seen = await look_at_ports(
            Inside(),
            WEB,
            site.tools.site,
            site.tools.standings,
            sets,
            ends,
            addresses,
            seconds=SECONDS,
        )
    assert [(one.host, one.served.address, one.match) for one in seen] == [
        (HOST, LOOPBACK, name),
        (HOST, "127.0.0.2", None),
        (unknown, "", None),
        (empty, "", None),
        (HOST, LOOPBACK, None),
        (HOST, "127.0.0.2", None),
    ]
    assert [say(one.what) for one in seen[2:4]] == ["nobody tells", "has no address"]
    assert all("refused" in say(one.what) for one in (seen[1], *seen[4:]))
    assert all(one.other is None for one in seen)
