"""What a restart comes to for each of its certificates."""

from __future__ import annotations

from pathlib import Path

from sslmd.core.jobs import Pool, Restart, Told
from sslmd.core.state import ServerPhase
from sslmd.daemon.hosts import Hosts
from sslmd.workers.queue import JobQueue
from tests.servers_room.tls import server
from tests.workers.test_proof import Reloading, load, probing, site_of, tls
from tests.workers.test_restart import MAIL
from tests.workers.tools_for_tests import WEB, Site


def hosts_of(site: Site) -> Hosts:
    async def run(job: object) -> None:
        """Nothing is queued here."""

    queue = JobQueue(run, lambda _: None, places=dict.fromkeys(Pool, 1))
    return Hosts(site.tools, site.book, queue, site.apply)


async def test_one_certificate_that_is_not_proven_is_tried_again_alone(tmp_path: Path) -> None:
    site = await site_of(tmp_path, tool="true")
    load(site)
    await site.renew(WEB)
    await site.deliver(WEB)
    hosts = hosts_of(site)
    told = tuple(Told(cert, site.live(cert)) for cert in (WEB, MAIL))
    async with server(Reloading(tmp_path)) as port:
        probing(site, tls(port), seconds=0.3)
        (error,) = await hosts.run(Restart("localhost", (("web", told),), ""))
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
        await hosts.run(Restart("localhost", (("web", (Told(WEB, site.live()),)),), ""))
        hosts.note(WEB)
        old = site.tools.config
        probing(site, tls(port))
        hosts.reconfigured(old)
    (server_,) = site.state(WEB).servers
    assert (server_.attempts, server_.next_try) == (0, None)
