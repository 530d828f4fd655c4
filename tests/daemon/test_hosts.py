"""What a restart comes to for each of its certificates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sslmd.config.model import Unprobed
from sslmd.core.events import ServersWanting
from sslmd.core.jobs import Restart, See, Told
from sslmd.core.reason import Reason
from sslmd.core.seen import AtPort
from sslmd.core.state import NOT_YET, Server, ServerPhase, Unseen
from sslmd.core.told import Answered
from sslmd.core.words.sentence import say
from sslmd.daemon.api.deliveries import _together
from sslmd.daemon.hosts import Hosts
from sslmd.store.state import parse
from sslmd.wire.messages import Method, Outcome, RpcRequest
from sslmd.wire.params import Params
from tests.reasons import because
from tests.stand.server import free_port
from tests.stand.tls import server
from tests.stand.tools import WEB, Site, StillLoop
from tests.workers.test_proof import Reloading, load, one_class, probing, site_of, tls
from tests.workers.test_restart import MAIL


def hosts_of(site: Site) -> Hosts:
    return Hosts(site.tools.delivering, site.registry, StillLoop(site.tools.site.now))


async def test_one_certificate_that_is_not_proven_is_tried_again_alone(tmp_path: Path) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    await site.renew(WEB)
    await site.deliver(WEB)
    hosts = hosts_of(site)
    told = tuple(Told(cert, site.live(cert)) for cert in (WEB, MAIL))
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port), seconds=2.0)
        (error,) = await hosts.run(Restart("localhost", (("web", told),), because("")))
    (failed,), (proven,) = site.state(WEB).servers, site.state(MAIL).servers
    assert (failed.phase, failed.set, failed.attempts) == (ServerPhase.FAILED, site.live(WEB), 1)
    assert failed.error == str(error)
    assert failed.next_try is not None
    assert failed.next_try > site.now
    assert (proven.phase, proven.set, proven.error) == (ServerPhase.PROVEN, site.live(MAIL), "")


async def test_other_probes_are_a_reason_to_try_at_once(tmp_path: Path) -> None:
    site = await site_of(tmp_path)
    hosts = hosts_of(site)
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(1), seconds=0.1)
        await hosts.run(Restart("localhost", (("web", (Told(WEB, site.live()),)),), because("")))
        hosts.note(WEB)
        old = site.tools.site.config
        probing(site, tls(port))
        hosts.reconfigured(old)
    (server_,) = site.state(WEB).servers
    assert (server_.attempts, server_.next_try) == (0, None)


def sights(hosts: Hosts, site: Site) -> list[See]:
    return [job for job in hosts.due(site.now) if isinstance(job, See)]


async def test_what_nobody_has_seen_is_looked_at_until_it_is(tmp_path: Path) -> None:
    """At first the default port is silent, then it serves ours; from then on it counts."""
    site = await site_of(tmp_path, tool="true")
    hosts = hosts_of(site)
    port = free_port()
    probing(site, tls(port, optional=True), seconds=0.3)
    restart = Restart("localhost", (("web", (Told(WEB, site.live()),)),), because(""))
    assert await hosts.run(restart) == []
    (unseen,) = site.state(WEB).servers
    assert (unseen.phase, unseen.restarted, unseen.ports) == (
        *(ServerPhase.RESTARTED, site.live()),
        (),
    )
    assert unseen.unseen is not None
    assert f"port {port} cannot be connected to" in say(unseen.unseen.why)
    hosts.note(WEB)
    assert sights(hosts, site) == []  # it was looked at just now
    site.now += timedelta(seconds=5)
    (job,) = sights(hosts, site)
    await hosts.run(job)
    assert site.state(WEB).servers == (unseen,)  # nothing new
    site.now += timedelta(hours=1)
    load(site)
    async with server(Reloading(tmp_path), port=port):
        (job,) = sights(hosts, site)
        assert await hosts.run(job) == []
    (seen,) = site.state(WEB).servers
    assert (seen.phase, seen.proven, seen.seen) == (ServerPhase.PROVEN, site.live(), site.now)
    assert (seen.unseen, seen.ports, seen.since) == (None, (port,), site.now)
    hosts.note(WEB)
    assert sights(hosts, site) == []
    # It counts now, and nobody is there.
    (error,) = await hosts.run(restart)
    (failed,) = site.state(WEB).servers
    assert (failed.phase, failed.ports, failed.error) == (ServerPhase.FAILED, (port,), str(error))


async def test_what_a_class_says_of_probes_is_taken_over_without_a_look(tmp_path: Path) -> None:
    site = await site_of(tmp_path, one_class() + "    probe = false\n")
    hosts = hosts_of(site)
    await hosts.run(Restart("localhost", (("web", (Told(WEB, site.live()),)),), because("")))
    hosts.note(WEB)
    assert sights(hosts, site) == []
    config = site.tools.site.config
    (web,) = config.server_classes
    none = replace(web, unprobed=Unprobed.NONE)
    site.tools.site.config = replace(config, server_classes=(none,))
    hosts.reconfigured(config)
    # The restarts of others come first.
    (before,) = site.state(WEB).servers
    assert hosts._sight(WEB, before, site.now) == site.now
    await hosts.run(See("localhost", (("web", (Told(WEB, site.live()),)),), because("")))
    (found,) = site.state(WEB).servers
    assert found.unseen == Unseen(Reason(AtPort.PROBE_NONE), meant=True)
    assert hosts._sight(WEB, found, site.now) is None


def test_what_an_older_version_called_proven_was_perhaps_not_seen() -> None:
    text = (
        "version = 1\n[[servers]]\nclass = 'web'\nhost = 'h'\nstate = 'proven'\n"
        "set = '20260601-12:00:00'\nproven = '20260601-12:00:00'\n"
    )
    (found,) = parse(text.encode()).state.servers
    assert (found.phase, found.proven) == (ServerPhase.RESTARTED, None)
    assert (found.restarted, found.unseen) == (found.set, NOT_YET)
    (found,) = parse(f"{text}seen = 2026-06-01T12:00:00Z\n".encode()).state.servers
    assert (found.phase, found.proven) == (ServerPhase.PROVEN, found.set)


def test_a_host_with_several_certificates_is_told_of_once() -> None:
    seen = Server("web", "h", ServerPhase.PROVEN)
    restarted = replace(seen, phase=ServerPhase.RESTARTED)
    other = replace(restarted, unseen=Unseen(because("not seen: port 443 is mute")))
    meant = replace(restarted, unseen=Unseen(Reason(AtPort.PROBE_NONE), meant=True))
    wait = Params(RpcRequest(1, Method.RESTART.value, {"class": "web"}))
    for servers, said in (
        ([seen, seen], "restarted: web on h"),
        ([other, other], "restarted: web on h (not seen: port 443 is mute)"),
        ([seen, other], "restarted: web on h (1 of 2 certificates not seen: port 443 is mute)"),
        ([meant, seen], "restarted: web on h"),
    ):
        outcome, why = _together(servers, wait, Answered.RESTARTED)
        assert (outcome, say(why)) == (Outcome.DONE, said)


async def test_what_is_to_be_given_again_is_not_counted_as_restarted(tmp_path: Path) -> None:
    """An admin had it delivered again between the plan of a restart and its beginning."""
    site = await site_of(tmp_path, tool="true")
    load(site)
    hosts = hosts_of(site)
    await site.renew(WEB)
    await site.deliver(WEB)
    told = tuple(Told(cert, site.live(cert)) for cert in (WEB, MAIL))
    site.registry.put(WEB, ServersWanting(site.now, frozenset({"localhost"})))
    probing(site, seconds=0.1)
    assert await hosts.run(Restart("localhost", (("web", told),), because(""))) == []
    (waits,), (done,) = site.state(WEB).servers, site.state(MAIL).servers
    assert waits.phase is ServerPhase.PENDING
    assert done.phase is ServerPhase.RESTARTED
