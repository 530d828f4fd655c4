"""The end of a roll: what only the old generation needed goes, old sets are cleaned up."""

from __future__ import annotations

from sslmd.core.errors import SslmError, together
from sslmd.core.events import Settled
from sslmd.core.jobs import Settle
from sslmd.core.names import CertId, SetName
from sslmd.store import certs, files, sets
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


async def clean_inactive(tools: Tools, keep: int | None = None) -> list[tuple[CertId, SetName]]:
    """The same for certificates in the tree whose group is inactive.

    One in trouble holds up no other; what came of it is raised in the end.
    """
    return await tools.in_thread(_clean_inactive, tools, keep)


def _clean_inactive(tools: Tools, keep: int | None) -> list[tuple[CertId, SetName]]:
    tree = tools.tree
    keep = tools.config.globals.clean_keep if keep is None else keep
    removed = []
    failures: list[SslmError] = []
    for group in sorted(tools.config.inactive):
        for cert in sets.list_certs(tree, group):
            if cert in tools.config.services:
                continue  # a CA that others need is looked after
            try:
                for folder in (tree.group_dir(cert), tree.cert_dir(cert), tree.db_dir(cert)):
                    files.check_dir(folder)
                names = sets.clean(tree, cert, keep, certs.in_use(tree, cert))
            except SslmError as err:
                failures.append(err)
                continue
            removed += [(cert, name) for name in names]
    if failures:
        raise together(failures)
    return removed


def rehearse(cert: CertId, tools: Tools) -> list[SetName]:
    """Return the old sets that the job would remove, and remove nothing; blocks."""
    return sets.superfluous(tools.tree, cert, tools.config.globals.clean_keep, _used(cert, tools))


def _clean(cert: CertId, tools: Tools, keep: int | None) -> list[SetName]:
    sets.sweep(tools.tree, cert)
    keep = tools.config.globals.clean_keep if keep is None else keep
    return sets.clean(tools.tree, cert, keep, _used(cert, tools))


def _used(cert: CertId, tools: Tools) -> tuple[SetName, ...]:
    """Return the sets whose TLSA records may be in use: the records are made of their files."""
    service = tools.config.services.get(cert)
    return tools.state_of(cert).retired if service is not None and service.dane else ()
