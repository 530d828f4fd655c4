"""The production tree, and which servers now have to be told."""

from __future__ import annotations

from sslmd.config.model import Config, Trigger
from sslmd.core.errors import Permanent
from sslmd.core.jobs import Deliver
from sslmd.core.lifecycle import ProdUpdated
from sslmd.core.names import CertId, SetName
from sslmd.core.state import Delivered, Server, ServerPhase
from sslmd.servers import production
from sslmd.servers.local import is_local
from sslmd.workers.tools import Tools

DNS = "dns"
THIS_HOST = "localhost"


def places(config: Config, cert: CertId) -> frozenset[tuple[str, str]]:
    """Return the (class, host) pairs that depend on `cert`, the name servers' own last."""
    found = {
        (str(server_class.kind), host)
        for server_class in config.server_classes
        if server_class.receives(cert) or Trigger.CERT in server_class.depends
        for host in server_class.servers
    }
    if Trigger.CERT in config.dns.depends and config.dns.restart:
        found.add((DNS, THIS_HOST))
    return frozenset(found)


def class_order(config: Config) -> tuple[str, ...]:
    """Return the classes in the order of the file, DNS last (design, section 6)."""
    return (*(str(server_class.kind) for server_class in config.server_classes), DNS)


async def deliver(job: Deliver, tools: Tools) -> ProdUpdated:
    """Do the job."""
    return await tools.in_thread(_deliver, job, tools)


def _deliver(job: Deliver, tools: Tools) -> ProdUpdated:
    if job.curr is None:
        raise Permanent(f"{job.cert} has nothing to deliver")
    is_ca = tools.service(job.cert).spec.ca is not None
    prod = str(tools.config.globals.prod_cert_dir)
    there = not production.update(tools.tree, prod, job.cert, job.curr, job.next, is_ca=is_ca)
    # What was proven with other files than those that are there now is not proven.
    known = {(s.kind, s.host): s for s in tools.state_of(job.cert).servers if there}
    servers = tuple(
        _server(kind, host, job.curr, known.get((kind, host)), adopt=job.adopt and there)
        for kind, host in sorted(places(tools.config, job.cert))
    )
    return ProdUpdated(tools.now(), Delivered(job.curr, job.next), servers)


def _server(kind: str, host: str, name: SetName, old: Server | None, *, adopt: bool) -> Server:
    if not is_local(host):
        return Server(
            kind,
            host,
            ServerPhase.PENDING,
            old.set if old else None,
            "this version delivers to this machine only",
        )
    if old is not None and old.set == name and old.phase is not ServerPhase.PENDING:
        return old
    # Production as ssl-mgr left it: its servers were restarted when it was put there.
    return Server(kind, host, ServerPhase.PROVEN if adopt else ServerPhase.DELIVERED, name)
