"""The end of a roll: ports with TLSA records serve the new key, before old records go (I4)."""

from __future__ import annotations

from sslmd.core.events import ServersProven
from sslmd.core.jobs import Prove
from sslmd.workers.tools import RollGate, Site


async def prove(job: Prove, site: Site, gate: RollGate) -> ServersProven:
    """Do the job. Raises `Transient` while a port still serves an older key."""
    await gate.prove_ports(job.cert, job.set)
    return ServersProven(site.now())
