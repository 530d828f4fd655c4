"""The production tree, and which servers now have to be told or copied to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from sslmd.config.model import Config, is_meant, places
from sslmd.core.errors import Permanent
from sslmd.core.events import ProdUpdated
from sslmd.core.failed import Failed
from sslmd.core.host.needs import KeyAccess
from sslmd.core.host.server import UNTOUCHED, HostUse, in_production
from sslmd.core.jobs import Deliver
from sslmd.core.names import CertId, SetName, machine_of
from sslmd.core.reason import Reason
from sslmd.core.state import CertState, Delivered
from sslmd.servers import around, as_found, production
from sslmd.servers.local import Locality
from sslmd.store import sets
from sslmd.store.layout import Tree
from sslmd.workers.tools import Delivering, Site, Standings


def as_configured(config: Config, cert: CertId, state: CertState) -> CertState:
    """Return the state with production to be updated where a key is to be had by others now."""
    for server in state.servers:
        if server.access != _access(config, cert, server.host):
            return replace(state, delivered=Delivered())
    return state


def _access(config: Config, cert: CertId, host: str) -> str:
    if not is_meant(config, cert, host):
        return UNTOUCHED
    return str(config.access(cert, (host,)))


async def deliver(job: Deliver, delivering: Delivering) -> ProdUpdated:
    """Do the job."""
    site, standings = delivering.site, delivering.standings
    known = await delivering.locality.local(host for _, host in places(site.config, job.cert))
    noted = {one.host for one in standings.state_of(job.cert).servers if one.here}
    # While a name cannot be looked up, it is what it was.
    unsure = {host for host, found in known.items() if found is None}
    here = {host for host, found in known.items() if found} | (unsure & noted)
    remarks: list[Reason] = []
    try:
        return await delivering.threads.in_thread(_deliver, job, site, standings, here, remarks)
    finally:
        for remark in remarks:
            delivering.telling.tell("tree-remark", remark, job.cert)


async def is_here(
    host: str, certs: Iterable[CertId], standings: Standings, locality: Locality
) -> bool:
    """Whether a host is this machine; while its name cannot be looked up, it is what it was."""
    found = await locality.is_local(host)
    if found is not None:
        return found
    servers = (one for cert in certs for one in standings.state_of(cert).servers)
    return any(one.here for one in servers if one.host == host)


def _deliver(
    job: Deliver, site: Site, standings: Standings, here: Collection[str], remarks: list[Reason]
) -> ProdUpdated:
    if job.curr is None:
        raise Permanent(Reason(Failed.NO_SET_TO_DELIVER, cert=job.cert))
    access = site.config.access(job.cert, here)
    place = (site.tree, str(site.config.globals.prod_cert_dir), job.cert, job.curr)
    if changed := not stays(job, job.curr, site, access):
        is_ca = site.service(job.cert).spec.ca is not None
        changed = production.update(*place, job.next, is_ca=is_ca, access=access)
        if folders := around.closed_above(place[1], access):
            remarks.append(around.closed(folders, access))
    else:
        remarks += as_found.close_keys(place[1], job.cert)
    return _updated(job, site, standings, here, changed=changed)


@dataclass(frozen=True, slots=True)
class RehearsedDelivery:
    """What the job would change in production, and what it would report.

    `wide`: the keys there that others can read, and that it would make private.
    """

    event: ProdUpdated
    changes: list[Reason]
    wide: list[str]


def rehearse(
    job: Deliver, site: Site, standings: Standings, here: Collection[str]
) -> RehearsedDelivery:
    """Return what the job would do, and do nothing; blocks. Raises as the job does.

    `here`: those hosts that are this machine.
    """
    if job.curr is None:
        raise Permanent(Reason(Failed.NO_SET_TO_DELIVER, cert=job.cert))
    place = (site.tree, str(site.config.globals.prod_cert_dir), job.cert, job.curr)
    is_ca = site.service(job.cert).spec.ca is not None
    access = site.config.access(job.cert, here)
    if stays(job, job.curr, site, access):
        wide = list(sets.wide_keys(Tree(place[1]).cert_dir(job.cert)))
        return RehearsedDelivery(_updated(job, site, standings, here, changed=False), [], wide)
    changes = production.differences(*place, job.next, is_ca=is_ca, access=access)
    changed = not production.serves(*place, is_ca=is_ca, access=access)
    return RehearsedDelivery(_updated(job, site, standings, here, changed=changed), changes, [])


def _updated(
    job: Deliver, site: Site, standings: Standings, here: Collection[str], *, changed: bool
) -> ProdUpdated:
    """Return how the servers stand once production holds what it is to hold.

    `changed`: its `curr` is another set now.
    """
    config, now = site.config, site.now()
    after_copy = {machine_of(one.host) for one in config.globals.post_copy}
    # What was taken over as it is was not copied, so no command comes after that.
    as_found = job.adopt and not changed
    uses = []
    for kind, host in sorted(places(config, job.cert)):
        access = _access(config, job.cert, host)
        waits = machine_of(host) in after_copy and not as_found
        is_visited = access != UNTOUCHED and (host not in here or waits)
        uses.append(HostUse(kind, host, access, host in here, is_visited))
    assert job.curr is not None
    servers = in_production(
        standings.state_of(job.cert), uses, job.curr, now, changed=changed, adopt=job.adopt
    )
    return ProdUpdated(now, Delivered(job.curr, job.next), servers)


def stays(job: Deliver, curr: SetName, site: Site, access: KeyAccess) -> bool:
    """Whether production stays as ssl-mgr left it. Raises as `as_found.stays` does."""
    if not job.leave or access != production.OURS_ALONE:
        return False
    prod = str(site.config.globals.prod_cert_dir)
    is_ca = site.service(job.cert).spec.ca is not None
    return as_found.stays(site.tree, prod, job.cert, curr, is_ca=is_ca)
