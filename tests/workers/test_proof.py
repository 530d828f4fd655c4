"""Proof after restarts: a server that reads production when its restart_cmd tells it to."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sslmd.config.model import Probe
from sslmd.core.errors import Permanent, Transient
from sslmd.core.jobs import Restart, See, Told
from sslmd.core.names import CertId
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.core.starttls import ProbeWord
from sslmd.core.state import Unseen
from sslmd.core.words.sentence import say
from sslmd.dns.resolver import Resolver
from sslmd.workers.proof import Sight, name_of
from sslmd.workers.restart import ClassRestarted, restart, see
from tests.reasons import because
from tests.stand.asking import ASKER
from tests.stand.server import free_port
from tests.stand.tls import Reader, TlsPort, Writer, server
from tests.stand.tools import INT, WEB, Site, believe
from tests.workers.test_restart import MAIL, MAIN, NET, NOTE, make

# What restart_cmd does: the server goes by its own copy of production.
TOOL = "rm -rf loaded; cp -rL prod-certs loaded"


class Reloading:
    """A server that serves what was loaded last, by name; `default` where it knows none."""

    def __init__(self, top: Path, default: CertId | None = WEB) -> None:
        self._top = top
        self._default = default
        self.looks = 0

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        """Serve one client."""
        self.looks += 1
        port = TlsPort(self._context(self._default))
        port.tls.sni_callback = self._choose
        await writer.start_tls(port.tls)
        await reader.read()

    def _choose(self, tls: ssl.SSLObject, name: str | None, _: object) -> int | None:
        for cert in (WEB, MAIL, NET):
            if name in (f"{cert.service}.{cert.group}", cert.group) and self._path(cert).exists():
                tls.context = self._context(cert)
                return None
        return None if self._default else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    def _path(self, cert: CertId) -> Path:
        return self._top / f"loaded/{cert.group}/{cert.service}/curr/bundle.pem"

    def _context(self, cert: CertId | None) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if cert and self._path(cert).exists():
            made.load_cert_chain(self._path(cert))
        return made


def one_class(*certs: str, restart_cmd: str = NOTE) -> str:
    granted = ", ".join(f"['any', ['{cert}']]" for cert in certs or ("ALL",))
    return (
        MAIN.partition("[dns]")[0]
        + f"""
[web]
    servers = ['localhost']
    svc_depends = [{granted}]
    restart_cmd = '{restart_cmd}'
"""
    )


async def site_of(top: Path, main: str = "", tool: str = TOOL) -> Site:
    site = await make(top, main or one_class(), tool).with_cas()
    for cert in (WEB, MAIL, NET):
        await site.renew(cert)
        await site.deliver(cert)
    return site


def probing(site: Site, *probes: Probe, seconds: float = 10) -> None:
    """Have the web class probed like that."""
    config = site.tools.site.config
    (web,) = config.server_classes
    limit = timedelta(seconds=seconds)
    web = replace(web, probes=probes, probe_timeout=limit)
    site.tools.site.config = replace(config, server_classes=(web,))


def tls(port: int, *, optional: bool = False, name: str = "") -> Probe:
    return Probe(port, ProbeWord.TLS, name, optional)


async def restarted(site: Site, *certs: CertId) -> ClassRestarted:
    told = tuple(Told(cert, site.live(cert)) for cert in certs)
    (outcome,) = await restart(
        Restart("localhost", (("web", told),), because("")), site.tools.delivering
    )
    return outcome


def unseen(outcome: ClassRestarted, cert: CertId) -> str:
    """Return why nobody saw that a certificate is served."""
    found = outcome.sight_of(cert).unseen
    assert found is not None
    assert not found.meant
    return say(found.why)


def noted(site: Site, cert: CertId, *ports: int) -> None:
    """Note that these default ports have served a certificate."""
    servers = tuple(replace(one, ports=ports) for one in site.state(cert).servers)
    believe(site.registry, cert, state=replace(site.state(cert), servers=servers))


def load(site: Site) -> None:
    """Have the server load what is in production now, as if it had been restarted before."""
    (site.top / "loaded").mkdir(exist_ok=True)
    for cert in (WEB, MAIL, NET):
        source = site.in_prod(cert) / "curr" / "bundle.pem"
        if source.exists():
            target = site.top / f"loaded/{cert.group}/{cert.service}/curr/bundle.pem"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())


async def test_proven(tmp_path: Path) -> None:
    site = await site_of(tmp_path)
    web = Reloading(tmp_path)
    async with server(web) as port:
        probing(site, tls(port), tls(port, name="www.example.com"))
        outcome = await restarted(site, WEB, MAIL, NET)
    assert outcome.errors == []
    # A name is asked for only where a certificate has it.
    assert web.looks == 4


async def test_a_server_that_keeps_the_old_one_is_not_proven(tmp_path: Path) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    old = site.state(WEB).curr
    await site.renew(WEB)
    await site.deliver(WEB)
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port), seconds=1.0)
        outcome = await restarted(site, WEB, MAIL)
    assert outcome.error is None
    # It keeps no other from being proven.
    assert set(outcome.unproven) == {WEB}
    error = outcome.error_of(WEB)
    assert isinstance(error, Transient)
    assert old is not None
    assert old.cert is not None
    assert f"127.0.0.1 port {port} serves serial {old.cert.serial} for 'example.com, " in str(error)
    assert f"reads {site.in_prod(WEB)}/curr, and whether" in str(error)
    assert outcome.error_of(MAIL) is None
    assert outcome.errors == [error]


async def test_a_server_that_comes_back_late_is_proven(tmp_path: Path) -> None:
    site = await site_of(tmp_path)
    port = free_port()
    probing(site, tls(port))
    restarting = asyncio.create_task(restarted(site, WEB))
    while not (tmp_path / "loaded/example.com/web/curr/bundle.pem").exists():
        await asyncio.sleep(0)
    async with server(Reloading(tmp_path), port=port):
        assert (await restarting).errors == []


async def test_where_nothing_listens(tmp_path: Path) -> None:
    site = await site_of(tmp_path)
    port = free_port()
    probing(site, tls(port), seconds=0.1)
    outcome = await restarted(site, WEB)
    assert f"127.0.0.1 port {port} cannot be connected to: connection refused" in str(
        outcome.error_of(WEB)
    )
    # A default port that never served it does not count, and proves nothing.
    probing(site, tls(port, optional=True), seconds=0.1)
    outcome = await restarted(site, WEB)
    assert outcome.errors == []
    assert unseen(outcome, WEB).startswith(
        f"not seen: 127.0.0.1 port {port} cannot be connected to"
    )


async def test_a_command_that_failed_needs_no_look(tmp_path: Path) -> None:
    site = await site_of(tmp_path, tool="exit 3")
    web = Reloading(tmp_path)
    async with server(web) as port:
        probing(site, tls(port))
        outcome = await restarted(site, WEB)
    assert "exited with 3" in str(outcome.error)
    assert outcome.errors == [outcome.error_of(WEB)]
    assert web.looks == 0


async def test_without_probes_success_counts(tmp_path: Path) -> None:
    main = one_class() + "    probe = false\n"
    site = await site_of(tmp_path, main)
    assert site.tools.site.config.server_classes[0].probes == ()
    outcome = await restarted(site, WEB, INT)
    assert outcome.errors == []
    assert outcome.sight_of(WEB) == Sight(unseen=Unseen(Reason(AtPort.PROBE_FALSE)))
    of_ca = outcome.sight_of(INT).unseen
    assert of_ca is not None
    assert of_ca.meant


async def test_a_default_port_that_has_served_it_counts(tmp_path: Path) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    await site.renew(WEB)
    await site.deliver(WEB)
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port, optional=True), seconds=1.0)
        outcome = await restarted(site, WEB, MAIL)
    assert set(outcome.unproven) == {WEB}
    assert outcome.sight_of(WEB).ports == outcome.sight_of(MAIL).ports == (port,)
    assert outcome.sight_of(MAIL) == Sight(ports=(port,))


async def test_a_default_port_with_a_foreign_certificate_proves_nothing(tmp_path: Path) -> None:
    """As before the server was pointed at ours; once it serves ours, it counts."""
    site = await site_of(tmp_path, tool="true")
    (tmp_path / "other").mkdir()
    other = await make(tmp_path / "other", one_class(), "true").with_cas()
    await other.renew(WEB)
    foreign = (other.folder(other.live(WEB), WEB) / "bundle.pem").read_bytes()
    load(site)
    shown = tmp_path / "loaded/example.com/web/curr/bundle.pem"
    ours = shown.read_bytes()
    shown.write_bytes(foreign)
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port, optional=True), seconds=1.0)
        outcome = await restarted(site, WEB)
        assert outcome.errors == []
        assert f"127.0.0.1 port {port} serves serial " in unseen(outcome, WEB)
        assert outcome.sight_of(WEB).ports == ()
        job = See("localhost", (("web", (Told(WEB, site.live(WEB)),)),), because(""))
        (seen,) = await see(job, site.tools.delivering)
        assert seen.sight_of(WEB).unseen is not None
        shown.write_bytes(ours)
        (seen,) = await see(job, site.tools.delivering)
        assert seen.sight_of(WEB) == Sight(ports=(port,))


async def test_a_default_port_of_another_certificate_does_not_count(tmp_path: Path) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    site.top.joinpath("loaded/example.net/web/curr/bundle.pem").unlink()
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port, optional=True), seconds=1.0)
        outcome = await restarted(site, WEB, NET)
        assert outcome.errors == []
        assert outcome.sight_of(WEB) == Sight(ports=(port,))
        assert "for 'example.com, " in unseen(outcome, NET)
        # One that has served it counts, unless it goes on with another of ours.
        noted(site, NET, port)
        outcome = await restarted(site, WEB, NET)
        assert outcome.errors == []
        assert unseen(outcome, NET).endswith("serves example.com/web: not counted")
        # A port that was named does count.
        probing(site, tls(port), seconds=1.0)
        assert set((await restarted(site, WEB, NET)).unproven) == {NET}


async def test_a_default_port_that_a_restart_has_silenced_counts_at_the_next_try(
    tmp_path: Path,
) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    await site.renew(WEB)
    await site.deliver(WEB)
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port, optional=True), seconds=0.1)
        outcome = await restarted(site, WEB)
        assert set(outcome.unproven) == {WEB}
    noted(site, WEB, *outcome.sight_of(WEB).ports)
    # Now nobody listens there any more.
    assert set((await restarted(site, WEB)).unproven) == {WEB}
    load(site)
    async with server(Reloading(tmp_path), port=port):
        assert (await restarted(site, WEB)).sight_of(WEB) == Sight(ports=(port,))


async def test_a_default_port_that_refuses_a_name_does_not_count_for_it(tmp_path: Path) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    site.top.joinpath("loaded/example.net/web/curr/bundle.pem").unlink()
    async with server(Reloading(tmp_path, default=None)) as port:
        probing(site, tls(port, optional=True), seconds=1.0)
        assert (await restarted(site, WEB, NET, MAIL)).errors == []
        assert (await restarted(site, NET)).errors == []


async def test_only_what_a_class_is_granted_is_looked_for(tmp_path: Path) -> None:
    main = one_class("web") + "    depends = ['cert']\n"
    site = await site_of(tmp_path, main)
    probing(site, tls(free_port()), seconds=0.1)
    assert set((await restarted(site, WEB, MAIL, INT)).unproven) == {WEB}


async def test_the_certificate_of_a_ca_is_no_servers(tmp_path: Path) -> None:
    site = await site_of(tmp_path)
    probing(site, tls(free_port()), seconds=0.1)
    assert set((await restarted(site, MAIL, INT)).unproven) == {MAIL}


async def test_a_set_that_is_gone(tmp_path: Path) -> None:
    site = await site_of(tmp_path)
    (site.folder(site.live(NET), NET) / "cert.pem").unlink()
    (site.folder(site.live(MAIL), MAIL) / "cert.pem").write_text("nothing")
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port))
        outcome = await restarted(site, WEB, NET, MAIL)
    assert set(outcome.unproven) == {NET, MAIL}
    assert "cert.pem: No such file" in str(outcome.error_of(NET))
    assert isinstance(outcome.error_of(MAIL), Permanent)


async def test_a_host_that_nobody_knows(tmp_path: Path) -> None:
    site = await site_of(tmp_path)
    site.tools.delivering.resolver = Resolver(ASKER, [])
    told = (Told(WEB, site.live(WEB)),)
    for optional in (False, True):
        probing(site, tls(free_port(), optional=optional))
        (web,) = site.tools.site.config.server_classes
        silent = replace(web, restart=())
        site.tools.site.config = replace(site.tools.site.config, server_classes=(silent,))
        job = Restart("mx.example.invalid", (("web", told),), because(""))
        (outcome,) = await restart(job, site.tools.delivering)
        assert (outcome.unproven == {}) is optional
        if not optional:
            assert "cannot be looked up" in str(outcome.error_of(WEB))


async def test_a_class_that_hangs_holds_up_no_command(tmp_path: Path) -> None:
    tool = "echo $1 >> log"
    site = await make(tmp_path, MAIN, tool).with_cas()
    await site.renew(WEB)
    await site.deliver(WEB)
    config = site.tools.site.config
    probes = (tls(free_port()),)
    short = timedelta(seconds=0.1)
    site.tools.site.config = replace(
        config,
        server_classes=tuple(
            replace(one, probes=probes, probe_timeout=short) for one in config.server_classes
        ),
    )
    told = (Told(WEB, site.live(WEB)),)
    job = Restart("localhost", (("web", told), ("dns", told)), because(""))
    web, dns = await restart(job, site.tools.delivering)
    assert set(web.unproven) == {WEB}
    assert (dns.error, dns.unproven) == (None, {})
    assert (tmp_path / "log").read_text() == "web\ndns\n"


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["example.com", "www.example.com"], "example.com"),
        (["*.example.com", "example.com"], "example.com"),
        (["192.0.2.1", "*.example.com", "*.example.net"], "sslmd.example.com"),
        (["192.0.2.1", "2001:db8::1"], ""),
        (["not a name", "example.com"], "example.com"),
        ([], ""),
    ],
)
def test_the_name_that_is_asked_for(names: list[str], asked: str) -> None:
    assert name_of(names) == asked
