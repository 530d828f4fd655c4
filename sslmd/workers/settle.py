"""The end of a roll: what only the old generation needed goes, old sets are cleaned up."""

from __future__ import annotations

from sslmd.core.events import Settled
from sslmd.core.jobs import Settle
from sslmd.core.names import CertId, SetName
from sslmd.store import sets
from sslmd.workers.tools import Tools


async def settle(job: Settle, tools: Tools) -> Settled:
    """Do the job."""
    await clean(job.cert, tools)
    return Settled(tools.now(), sets.read_links(tools.tree, job.cert).prev)


async def clean(cert: CertId, tools: Tools, keep: int | None = None) -> list[SetName]:
    """Remove old sets, all but `keep` (None: `clean_keep`) beside curr, next and prev.

    Return those that were removed.
    """
    return await tools.in_thread(_clean, cert, tools, keep)


def _clean(cert: CertId, tools: Tools, keep: int | None) -> list[SetName]:
    sets.sweep(tools.tree, cert)
    service = tools.config.services.get(cert)
    # Their TLSA records stay as long as some server may use them, and are made of these files.
    used = tools.state_of(cert).retired if service is not None and service.dane else ()
    keep = tools.config.globals.clean_keep if keep is None else keep
    return sets.clean(tools.tree, cert, keep, used)
