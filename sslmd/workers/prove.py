"""The end of a roll: ports with TLSA records serve the new key, before old records go (I4)."""

from __future__ import annotations

from sslmd.core.events import ServersProven
from sslmd.core.jobs import Prove
from sslmd.workers.tools import Tools


async def prove(job: Prove, tools: Tools) -> ServersProven:
    """Do the job. Raises `Transient` while a port still serves an older key."""
    await tools.prove_ports(job.cert, job.set)
    return ServersProven(tools.now())
